/* smtpd/content.c - a header field is gathered, looked at when it is whole, and passed on: as it came, or written anew
 * where addresses in it had to be completed. header_size_limit bounds what is gathered; a body streams through. */
#include "smtpd/content.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_header.h"
#include "smtpd/received.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    NAME_MAX_OCTETS = 1000,
    MESSAGE_ID_MAX_OCTETS = 998,           /* in the log */
    REWRITE_ARENA_OCTETS = 4 * 1024 * 1024 /* for one field; with less it stays as it came */
};

enum state {
    AT_LINE,  /* the start of a header line is in `held` */
    IN_FIELD, /* the rest of a line goes to `field` */
    IN_BODY
};

/* Fields that mean something here. */
enum field {
    FIELD_DATE,
    FIELD_FROM,
    FIELD_MESSAGE_ID,
    FIELD_RECIPIENT, /* that is visible: To, Cc */
    FIELD_RECEIVED,
    FIELD_OTHER
};
struct kind {
    struct slice name; /* without "Resent-" */
    enum field field;
    bool has_addresses, may_be_resent;
};

static const struct kind kinds[] = {
    { SL_INIT("Apparently-To"), FIELD_OTHER, true, false },
    { SL_INIT("Bcc"), FIELD_OTHER, true, true },
    { SL_INIT("Cc"), FIELD_RECIPIENT, true, true },
    { SL_INIT("Date"), FIELD_DATE, false, true },
    { SL_INIT("Disposition-Notification-To"), FIELD_OTHER, true, false },
    { SL_INIT("Errors-To"), FIELD_OTHER, true, false },
    { SL_INIT("From"), FIELD_FROM, true, true },
    { SL_INIT("Mail-Followup-To"), FIELD_OTHER, true, false },
    { SL_INIT("Message-Id"), FIELD_MESSAGE_ID, false, true },
    { SL_INIT("Received"), FIELD_RECEIVED, false, false },
    { SL_INIT("Reply-To"), FIELD_OTHER, true, true },
    { SL_INIT("Return-Path"), FIELD_OTHER, true, false },
    { SL_INIT("Return-Receipt-To"), FIELD_OTHER, true, false },
    { SL_INIT("Sender"), FIELD_OTHER, true, true },
    { SL_INIT("To"), FIELD_RECIPIENT, true, true },
};

struct content {
    struct smtpd_sess *s;
    struct queue_put *put;
    struct buf held;
    size_t name_len;  /* of what is held: octets of a field's name */
    struct buf field; /* lines parted by LF, without the last one's end */
    enum state state;
    unsigned seen, seen_resent; /* 1 << enum field */
    unsigned hops;
    bool is_resent; /* it has been sent on by somebody: that block is the one that must be whole */
    bool is_first;  /* no line of the client's has come yet */
    bool is_nul;    /* what follows a NUL in a header line goes, as in Postfix */
    bool is_cut;    /* the field is longer than header_size_limit */
};

static void
put(struct content *c, struct slice s)
{
    if (s.n)
        queue_put_write(c->put, s);
}

static void putf(struct content *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
putf(struct content *c, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    put(c, buf_slice(&b));
    buf_free(&b);
}

/* ---- one field ---- */

static const struct kind *
find_kind(struct slice name, bool *is_resent)
{
    struct slice plain = name;

    *is_resent = sl_take_iprefix(&plain, SL("Resent-"));
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (sl_ieq(plain, kinds[i].name) && (!*is_resent || kinds[i].may_be_resent))
            return &kinds[i];
    return NULL;
}

static void
log_message_id(struct content *c, const char *resent, struct slice id)
{
    if (c->s->tx->wishes.discard)
        return; /* nothing comes of it */
    log_event(LOG_LV_INFO, c->s->cfg->cleanup_ident, "msg.id",
              LOG_F(LF_Z("qid", c->s->tx->id), LF_S("message_id", id)), "%s: %smessage-id=%.*s",
              c->s->tx->id, resent, SL_ARG(id));
}

static void
note_field(struct content *c, const struct kind *k, bool is_resent, struct slice value)
{
    *(is_resent ? &c->seen_resent : &c->seen) |= 1u << k->field;
    c->is_resent = c->is_resent || is_resent;
    if (k->field == FIELD_RECEIVED)
        c->hops++;
    else if (k->field == FIELD_MESSAGE_ID)
        log_message_id(c, is_resent ? "resent-" : "",
                       sl_head(sl_trim(value), MESSAGE_ID_MAX_OCTETS));
}

static bool
is_dropped(const struct content *c, struct slice name)
{
    struct conf_list l = c->s->cfg->conf->message_drop_headers;

    for (size_t i = 0; i < l.n; i++)
        if (sl_lower_char(l.v[i][0]) == sl_lower_char(name.p[0]) && sl_ieqz(name, l.v[i]))
            return true;
    return false;
}

/* Put out a field's lines. What is beyond header_size_limit goes: at the end of a line when not more than a tenth is
 * lost by that. A line that writing anew has made gets its white space here. */
static void
put_field(struct content *c, struct slice field)
{
    size_t limit = (size_t)c->s->cfg->conf->header_size_limit, at = 0, end;

    do {
        end = sl_find_char(sl_from(field, at), '\n');
        end = end == SL_NPOS ? field.n : at + end;
        if (end > limit) {
            c->is_cut = true;
            if (at > limit - limit / 10)
                break;
            end = limit;
        }
        if (at > 0 && at < end && field.p[at] != ' ' && field.p[at] != '\t')
            put(c, SL("\t"));
        put(c, sl_n(field.p + at, end - at));
        put(c, SL("\r\n"));
        at = end + 1;
    } while (at <= field.n && end < limit);
    if (c->is_cut)
        log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "header.cut",
                  LOG_F(LF_Z("qid", c->s->tx->id)),
                  "%s: a header field of over %zu octets is cut (header_size_limit): %.*s",
                  c->s->tx->id, limit, SL_ARG(sl_head(field, 60)));
    c->is_cut = false;
}

/* How this client's addresses are completed. False: not at all. */
static bool
get_rules(const struct content *c, struct smtp_addr_rules *out)
{
    *out = c->s->cfg->rules;
    if (c->s->tx->rewrite == REWRITE_REMOTE)
        out->myorigin = out->mydomain = sl_z(c->s->cfg->conf->remote_header_rewrite_domain);
    return c->s->tx->rewrite != REWRITE_NONE;
}

static void
put_addresses(struct content *c, struct slice name, struct slice value)
{
    struct smtp_addr_rules rules;
    struct arena mem = { .cap = REWRITE_ARENA_OCTETS };
    struct buf out = { 0 };
    size_t n_stripped = 0, max = (size_t)c->s->cfg->conf->header_address_token_limit;

    if (get_rules(c, &rules) &&
        smtp_header_rewrite(&rules, name, value, max, &mem, &out, &n_stripped))
        put_field(c, buf_slice(&out));
    else
        put_field(c, buf_slice(&c->field));
    if (n_stripped)
        log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "header.stripped",
                  LOG_F(LF_Z("qid", c->s->tx->id)),
                  "%s: stripping too many comments from %zu addresses of %.*s", c->s->tx->id,
                  n_stripped, SL_ARG(name));
    buf_free(&out);
    arena_free(&mem);
}

static void
end_field(struct content *c)
{
    struct slice field = buf_slice(&c->field), name;
    const struct kind *k;
    bool is_resent;

    if (field.n == 0)
        return;
    name = sl_head(field, sl_find_char(field, ':'));
    k = find_kind(name, &is_resent);
    if (k)
        note_field(c, k, is_resent, sl_from(field, name.n + 1));
    if (is_dropped(c, name))
        c->is_cut = false;
    else if (k && k->has_addresses)
        put_addresses(c, name, sl_from(field, name.n + 1));
    else
        put_field(c, field);
    buf_reset(&c->field);
}

/* One octet more than the limit is kept, so that the end is seen to be missing. */
static void
add_to_field(struct content *c, struct slice s)
{
    size_t room = (size_t)c->s->cfg->conf->header_size_limit + 1;

    room = c->field.n < room ? room - c->field.n : 0;
    c->is_cut = c->is_cut || s.n > room;
    buf_adds(&c->field, sl_head(s, room));
}

/* A line that an access table put in front. */
static void
put_prepended(struct content *c, struct slice line)
{
    add_to_field(c, line);
    end_field(c);
}

/* ---- the end of the header ---- */

static void
add_missing(struct content *c)
{
    const char *resent = c->is_resent ? "Resent-" : "";
    unsigned seen = c->is_resent ? c->seen_resent : c->seen;
    struct smtpd_tx *tx = c->s->tx;
    const char *undisclosed = c->s->cfg->conf->undisclosed_recipients_header;
    char date[RECEIVED_DATE_OCTETS], id[300];
    struct slice from = SL("MAILER-DAEMON");

    if (!(seen & 1u << FIELD_MESSAGE_ID)) {
        char stamp[20];
        time_t t = (time_t)clock_unix_s();
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(stamp, sizeof(stamp), "%Y%m%d%H%M%S", &tm);
        snprintf(id, sizeof(id), "<%s.%s@%s>", stamp, tx->id, c->s->cfg->limits.myhostname);
        putf(c, "%sMessage-Id: %s\r\n", resent, id);
        log_message_id(c, c->is_resent ? "resent-" : "", sl_z(id));
        c->seen |= c->is_resent ? 0 : 1u << FIELD_MESSAGE_ID;
    }
    if (!(seen & 1u << FIELD_DATE)) {
        received_date(tx->began_unix_s, date);
        putf(c, "%sDate: %s\r\n", resent, date);
    }
    if (!(seen & 1u << FIELD_FROM)) {
        if (tx->sender.given.n)
            from = smtp_addr_quote(smtp_addr_rewrite(&c->s->cfg->rules, tx->sender.given, &tx->mem),
                                   &tx->mem);
        putf(c, "%sFrom: %.*s\r\n", resent, SL_ARG(from));
    }
    if (!((c->seen | c->seen_resent) & 1u << FIELD_RECIPIENT) && undisclosed[0])
        putf(c, "%s\r\n", undisclosed);
}

static void
end_header(struct content *c)
{
    end_field(c);
    if (c->s->tx->rewrite != REWRITE_NONE || c->s->cfg->conf->always_add_missing_headers)
        add_missing(c);
    if (!(c->seen & 1u << FIELD_MESSAGE_ID))
        log_message_id(c, "", SL("<>"));
    buf_free(&c->field);
    c->state = IN_BODY;
}

/* ---- lines ---- */

/* What is held is the start of a line: 1 a field whose name is known, 0 not known yet, -1 no field. Looks at the octet
 * that came last: a name may have a thousand, and a message a hundred thousand names. */
static int
look_at_name(struct content *c)
{
    char last = c->held.p[c->held.off + c->held.n - 1];
    bool is_blank = last == ' ' || last == '\t';

    if (last > ' ' && last < 127 && last != ':' && c->name_len == c->held.n - 1)
        c->name_len++;
    else if (c->name_len == 0 || !is_blank)
        return c->name_len && last == ':' ? 1 : -1;
    return c->held.n > NAME_MAX_OCTETS ? -1 : 0;
}

static void
drop_held(struct content *c)
{
    buf_reset(&c->held);
    c->name_len = 0;
}

/* The line is no field: the header has ended, with an empty line that we add if it was none. */
static void
not_a_field(struct content *c)
{
    struct slice held = buf_slice(&c->held);

    while (sl_starts(held, '>'))
        held = sl_from(held, 1);
    if (c->is_first && sl_has_prefix(held, SL("From "))) { /* mbox */
        held = buf_slice(&c->held);
        held.n -= sl_ends(held, '\r'); /* canonical: half of the line's end */
        add_to_field(c, SL("X-Mailbox-Line: "));
        add_to_field(c, held);
        drop_held(c);
        c->state = IN_FIELD;
        return;
    }
    end_header(c);
    if (!sl_has_prefix(buf_slice(&c->held), SL("\r\n")))
        put(c, SL("\r\n"));
    put(c, buf_slice(&c->held));
    drop_held(c);
}

/* Enough of a line's start has come to say what it is? */
static void
start_of_line(struct content *c)
{
    struct slice held = buf_slice(&c->held);
    int known;

    if (sl_starts(held, '\r')) { /* canonical: LF follows */
        if (held.n > 1)
            not_a_field(c);
        return;
    }
    if (!c->is_first && (sl_starts(held, ' ') || sl_starts(held, '\t'))) {
        add_to_field(c, SL("\n"));
        add_to_field(c, held);
    } else {
        known = look_at_name(c);
        if (known == 0)
            return;
        if (known < 0) {
            not_a_field(c);
            c->is_first = false;
            return;
        }
        end_field(c);
        /* Blanks before the colon are obsolete (RFC 5322 §4.5) and go. The colon is the last octet held. */
        add_to_field(c, sl_head(held, c->name_len));
        add_to_field(c, SL(":"));
    }
    c->is_first = false;
    c->state = IN_FIELD;
    drop_held(c);
}

static void
rest_of_line(struct content *c, struct slice *in)
{
    size_t lf = sl_find_char(*in, '\n');
    struct slice part = lf == SL_NPOS ? *in : sl_head(*in, lf);

    *in = sl_from(*in, part.n + (lf != SL_NPOS));
    if (sl_ends(part, '\r')) /* canonical: half of the line's end */
        part.n--;
    if (!c->is_nul) {
        size_t nul = sl_find_char(part, '\0');

        c->is_nul = nul != SL_NPOS;
        add_to_field(c, sl_head(part, nul));
    }
    if (lf != SL_NPOS) {
        c->state = AT_LINE;
        c->is_nul = false;
    }
}

void
content_write(struct content *c, struct slice in)
{
    while (in.n) {
        if (c->state == IN_BODY) {
            put(c, in);
            return;
        }
        if (c->state == AT_LINE) { /* one octet at a time, of a name only */
            buf_addc(&c->held, in.p[0]);
            in = sl_from(in, 1);
            start_of_line(c);
        } else {
            rest_of_line(c, &in);
        }
    }
}

void
content_end(struct content *c)
{
    if (c->state == IN_BODY)
        return;
    if (c->held
            .n) { /* an unfinished name: canonical content ends in CRLF, so this is a line of it */
        not_a_field(c);
        return;
    }
    end_header(c);
}

bool
content_has_looped(const struct content *c)
{
    return c->hops >= (unsigned)c->s->cfg->conf->hopcount_limit;
}

static void
on_ready(uint64_t id)
{
    struct smtp_sess *s = id_get(id);

    if (s)
        smtp_sess_backlog_fell(s);
}

size_t
content_backlog(struct content *c)
{
    size_t n = queue_put_backlog(c->put);

    if (n >= SMTP_BACKLOG_OCTETS) /* the client is about to be held up: wake it again, this time */
        queue_put_on_ready(c->put, on_ready, c->s->smtp.id);
    return n;
}

struct content *
content_new(struct smtpd_sess *s)
{
    struct content *c = MEM_NEW(struct content);
    struct buf trace = { 0 };

    c->s = s;
    c->put = queue_put_new(smtpd_env.queue);
    c->is_first = true;
    c->hops = 1; /* our own */
    for (const struct tx_line *l = s->tx->wishes.prepend; l; l = l->next)
        put_prepended(c, l->text);
    received_line(s, &trace);
    put(c, buf_slice(&trace));
    buf_free(&trace);
    return c;
}

struct queue_put *
content_take_put(struct content **c)
{
    struct queue_put *p = (*c)->put;

    (*c)->put = NULL;
    content_free(c);
    return p;
}

void
content_free(struct content **c)
{
    struct content *old = *c;

    *c = NULL;
    if (old == NULL)
        return;
    if (old->put)
        queue_put_abort(&old->put);
    buf_free(&old->held);
    buf_free(&old->field);
    free(old);
}
