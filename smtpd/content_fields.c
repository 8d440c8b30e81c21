/* smtpd/content_fields.c - what becomes of a header field: passed on as it came, or written anew where addresses in it had to
 * be completed, or dropped; and what a header lacks. */
#include "smtpd/content_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_header.h"
#include "smtpd/loops.h"
#include "smtpd/received.h"
#include "smtpd/rewrite.h"

#include <stdio.h>
#include <time.h>

enum {
    MESSAGE_ID_MAX_OCTETS = 998,           /* in the log */
    REWRITE_ARENA_OCTETS = 4 * 1024 * 1024 /* for one field; with less it stays as it came */
};

/* Fields that mean something here. */
enum field {
    FIELD_DATE,
    FIELD_DELIVERED,
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
    { SL_INIT("Delivered-To"), FIELD_DELIVERED, false, false },
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

static void putf(struct content *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
putf(struct content *c, const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    content_put(c, buf_slice(&b));
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
    else if (k->field == FIELD_DELIVERED)
        loops_note(c->s->tx, value);
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

void
content_log_cut(struct content *c, struct slice text)
{
    if (is_dropped(c, sl_head(text, sl_find_char(text, ':'))))
        return;
    log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "header.cut", LOG_F(LF_Z("qid", c->s->tx->id)),
              "%s: a header field of over %zu octets is cut (header_size_limit): %.*s",
              c->s->tx->id, (size_t)c->s->cfg->conf->header_size_limit, SL_ARG(sl_head(text, 60)));
}

/* Put out a field's lines. A line that writing anew has made gets its white space here, and what is then beyond
 * header_size_limit goes, as header_split.h has it. */
static void
put_field(struct content *c, struct slice field)
{
    size_t limit = (size_t)c->s->cfg->conf->header_size_limit, at = 0, end;

    do {
        end = sl_find_char(sl_from(field, at), '\n');
        end = end == SL_NPOS ? field.n : at + end;
        if (end > limit) {
            content_log_cut(c, field);
            if (at > limit - limit / 10)
                break;
            end = limit;
        }
        if (at > 0 && at < end && field.p[at] != ' ' && field.p[at] != '\t')
            content_put(c, SL("\t"));
        content_put(c, sl_n(field.p + at, end - at));
        content_put(c, SL("\r\n"));
        at = end + 1;
    } while (at <= field.n && end < limit);
}

static void
put_addresses(struct content *c, struct slice field, struct slice name)
{
    struct smtp_addr_rules rules;
    struct arena mem = { .cap = REWRITE_ARENA_OCTETS };
    struct buf out = { 0 };
    size_t n_stripped = 0, max = (size_t)c->s->cfg->conf->header_address_token_limit;

    if (rewrite_header_rules(c->s, &rules) &&
        smtp_header_rewrite(&rules, name, sl_from(field, name.n + 1), max, &mem, &out, &n_stripped))
        put_field(c, buf_slice(&out));
    else
        put_field(c, field);
    if (n_stripped)
        log_event(LOG_LV_WARN, c->s->cfg->cleanup_ident, "header.stripped",
                  LOG_F(LF_Z("qid", c->s->tx->id)),
                  "%s: stripping too many comments from %zu addresses of %.*s", c->s->tx->id,
                  n_stripped, SL_ARG(name));
    buf_free(&out);
    arena_free(&mem);
}

void
content_take_field(struct content *c, struct slice field, bool is_fixed)
{
    struct slice name = sl_head(field, sl_find_char(field, ':'));
    const struct kind *k;
    bool is_resent;

    if (is_fixed) {
        put_field(c, field);
        return;
    }
    k = find_kind(name, &is_resent);
    if (k)
        note_field(c, k, is_resent, sl_from(field, name.n + 1));
    if (is_dropped(c, name))
        return;
    if (k && k->has_addresses)
        put_addresses(c, field, name);
    else
        put_field(c, field);
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
    struct buf line = { 0 };

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
        if (tx->from.n)
            from = smtp_addr_quote(tx->from, &tx->mem);
        if (c->s->pickup && c->s->pickup->full_name.n)
            pickup_from_field(c->s, resent, from, &line);
        else
            buf_addf(&line, "%sFrom: %.*s\r\n", resent, SL_ARG(from));
        content_put(c, buf_slice(&line));
        buf_free(&line);
    }
    if (!((c->seen | c->seen_resent) & 1u << FIELD_RECIPIENT) && undisclosed[0])
        putf(c, "%s\r\n", undisclosed);
}

void
content_end_header(struct content *c)
{
    if (c->s->tx->rewrite != REWRITE_NONE || c->s->cfg->conf->always_add_missing_headers)
        add_missing(c);
    if (!(c->seen & 1u << FIELD_MESSAGE_ID))
        log_message_id(c, "", SL("<>"));
}
