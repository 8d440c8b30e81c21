/* imapd/cmd_append.c - APPEND (RFC 3501 §6.3.11, 9051 §6.3.12) of one message or several (MULTIAPPEND, RFC 3502), each a
 * literal, a literal8 (RFC 3516 §4.4), that of "UTF8 (~{n})" (RFC 6855 §4), or put together from texts and URLs (CATENATE,
 * RFC 4469); APPENDUID (RFC 4315 §3); and REPLACE (RFC 8508), which is an APPEND of one message in place of another.
 *
 * The command comes line by line and piece by piece (struct imap_stream): text is parsed as far as it goes, octets go to the
 * store as they come. While the store writes, the client is not read. A synchronising literal is asked for only when
 * what it brings is wanted. At the first thing that is wrong the command ends; the reader passes over what is left of it. */
#include "imapd/rows.h"
#include "imapd/url.h"

#include "base/clock.h"
#include "base/mem.h"
#include "mime/mime.h"
#include "mime/unbinary.h"

#include <stdlib.h>

enum { APPEND_TURN_MS = 20 };

struct append_args {
    struct slice mailbox;
    bool is_replace;
    uint32_t number; /* REPLACE: of the message that goes, IMAP_STAR the last */
};

enum append_at {
    AT_MESSAGE, /* before a message, or at the end of the command */
    AT_PART,    /* of CATENATE: before one */
    AT_PART_END /* behind one */
};

struct append { /* run_state */
    struct store_append *store;
    struct slice name; /* of the mailbox */
    enum append_at at;
    bool is_in_utf8;  /* the ')' of "UTF8 (~{n})" is to come */
    struct buf text;  /* not parsed yet; literals that are arguments in place */
    uint64_t text_at; /* where in the command it begins */
    bool is_argument; /* the literal on its way belongs to the text */
    struct arena mem; /* of what is being parsed */
    /* the message being written */
    bool is_catenated;
    uint64_t octets;                /* as they come */
    struct mime_unbinary *unbinary; /* NULL: it has no binary parts */
    size_t n;                       /* messages that are whole */
};

enum taken {
    TAKEN,
    TAKEN_LITERAL, /* the literal that follows is wanted */
    TAKEN_ASK,     /* authd is asked; again from where the item begins */
    TAKEN_TURN,    /* others' turn, then on */
    TAKEN_OVER,    /* the command is over: replied */
    TAKEN_BAD      /* e; *in is left where it is wrong */
};

/* ---- the first arguments ---- */

enum parse_rc
imap_parse_append(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct append_args *a = ARENA_NEW(&c->mem, struct append_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_astring(in, &c->mem, &a->mailbox, e);
}

/* SP seq-number SP mailbox: RFC 8508 §5. */
enum parse_rc
imap_parse_replace(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct append_args *a = ARENA_NEW(&c->mem, struct append_args);
    uint64_t number = IMAP_STAR;

    c->args = a;
    a->is_replace = true;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '*') &&
        (sl_starts(*in, '0') || imap_take_number(in, UINT32_MAX, &number, e) != PARSE_OK))
        return err_parse(e, "expected a message number");
    a->number = (uint32_t)number;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_astring(in, &c->mem, &a->mailbox, e);
}

void
imap_done_append(struct imap_cmd *c)
{
    struct append *ap = c->run_state;

    if (ap == NULL)
        return;
    store_append_abort(&ap->store);
    mime_unbinary_free(&ap->unbinary);
    buf_free(&ap->text);
    arena_free(&ap->mem);
    free(ap);
}

/* ---- octets ---- */

static enum taken
fail(struct imap_cmd *c, const struct err *e)
{
    const struct append *ap = c->run_state;

    imap_fail(c, e, ap->name, "TRYCREATE");
    return TAKEN_OVER;
}

/* RFC 3501 §9 CHAR8: a literal has no NUL. Messages in the wild have; Dovecot keeps them with 0x80 instead. */
static void
replace_nuls(struct buf *b)
{
    char *p = b->p + b->off, *nul;
    size_t left = b->n;

    while (left > 0 && (nul = memchr(p, '\0', left)) != NULL) {
        *nul = (char)0x80;
        left -= (size_t)(nul + 1 - p);
        p = nul + 1;
    }
}

static int
write_octets(struct append *ap, struct buf *octets, struct err *e)
{
    if (octets->n == 0)
        return 0;
    replace_nuls(octets);
    return store_append_octets(ap->store, buf_slice(octets), e);
}

static int
put(struct append *ap, struct buf *octets, struct err *e)
{
    struct buf out = { 0 };
    int rc;

    if (ap->unbinary == NULL)
        return write_octets(ap, octets, e);
    mime_unbinary_add(ap->unbinary, buf_slice(octets), &out);
    rc = write_octets(ap, &out, e);
    buf_free(&out);
    return rc;
}

static int
put_part(struct append *ap, struct slice part, struct err *e)
{
    struct buf piece = { 0 };
    int rc = 0;

    while (rc == 0 && part.n > 0) {
        struct slice some = sl_head(part, IMAPD_PIECE_OCTETS);

        buf_reset(&piece);
        buf_adds(&piece, some);
        rc = put(ap, &piece, e);
        part = sl_from(part, some.n);
    }
    buf_free(&piece);
    return rc;
}

/* ---- messages ---- */

struct message_head {
    struct imap_flags flags;
    int64_t date_unix_s; /* 0: now */
    int16_t tz_minutes;
};

/* So much more is to come of the message. False: replied. */
static bool
expect(struct imap_cmd *c, uint64_t octets)
{
    struct append *ap = c->run_state;
    uint64_t most = (uint64_t)c->s->conf->imap_max_append_size;
    struct err e = { 0 };

    if (octets > most || ap->octets > most - octets) {
        imap_reply(c, "NO [TOOBIG] Message size exceeds the limit.");
        return false;
    }
    if (store_append_expect(ap->store, octets, &e) < 0) {
        fail(c, &e);
        return false;
    }
    ap->octets += octets;
    return true;
}

static bool
begin_message(struct imap_cmd *c, const struct message_head *h, bool may_be_binary)
{
    struct append *ap = c->run_state;
    const char **keywords = arena_alloc(&ap->mem, (h->flags.n_keywords + 1) * sizeof(*keywords));
    struct err e = { 0 };

    if (!imap_limit_all(c, ap->n + 1)) /* RFC 9738 §3.1 */
        return false;
    for (size_t i = 0; keywords && i < h->flags.n_keywords; i++)
        keywords[i] = arena_dupz(&ap->mem, h->flags.keywords[i]);
    if (!keywords || store_append_msg(ap->store, h->flags.sys, keywords, h->flags.n_keywords,
                                      h->date_unix_s, h->tz_minutes, &e) < 0) {
        fail(c, &e);
        return false;
    }
    if (may_be_binary)
        ap->unbinary = mime_unbinary_new();
    return true;
}

/* False: replied. */
static bool
end_message(struct imap_cmd *c)
{
    struct append *ap = c->run_state;
    struct buf out = { 0 };
    struct err e = { 0 };
    int rc = 0;

    if (ap->octets == 0) {
        imap_reply(c, "NO Can't save a zero byte message.");
        return false;
    }
    if (ap->unbinary != NULL) {
        mime_unbinary_end(ap->unbinary, &out);
        mime_unbinary_free(&ap->unbinary);
        rc = write_octets(ap, &out, &e);
        buf_free(&out);
    }
    if (rc || store_append_end(ap->store, &e)) {
        fail(c, &e);
        return false;
    }
    ap->n++;
    ap->octets = 0;
    ap->is_catenated = false;
    arena_reset(&ap->mem);
    return true;
}

/* ---- the beginning and the end ---- */

/* UID of the message that is to go; 0: replied. */
static uint32_t
replaced_uid(struct imap_cmd *c)
{
    const struct append_args *a = c->args;
    struct store_view *v = c->s->view;
    struct store_box box;
    struct store_row row;
    uint32_t seq;

    store_view_box(v, &box);
    seq = a->number == IMAP_STAR ? box.exists
          : c->is_uid            ? store_view_seq(v, a->number)
                                 : a->number;
    if (store_view_row(v, seq, &row))
        return row.uid;
    if (c->is_uid)
        imap_reply(c, "NO Invalid UID for replaced message.");
    else
        imap_bad(c, "BAD Error in IMAP command REPLACE: Invalid messageset");
    return 0;
}

/* False: replied. */
static bool
begin(struct imap_cmd *c)
{
    const struct append_args *a = c->args;
    struct append *ap = MEM_NEW(struct append);
    struct err e = { 0 };
    uint32_t uid = 0;

    c->run_state = ap;
    if ((a->is_replace && (uid = replaced_uid(c)) == 0) ||
        !imap_name_decode(c, a->mailbox, &ap->name))
        return false;
    if (store_append_begin(c->s->store, ap->name, &ap->store, &e) < 0) {
        fail(c, &e);
        return false;
    }
    if (a->is_replace && store_append_replace(ap->store, c->s->view, uid, &e) < 0) {
        imap_fail(c, &e, store_view_name(c->s->view), "NONEXISTENT");
        return false;
    }
    return true;
}

static enum taken
commit(struct imap_cmd *c)
{
    const struct append_args *a = c->args;
    struct append *ap = c->run_state;
    struct buf set = { 0 };
    uint32_t uidvalidity, *v = NULL;
    size_t n = 0;
    struct err e = { 0 };

    if (store_append_commit(&ap->store, &uidvalidity, &v, &n, &e) < 0)
        return fail(c, &e);
    imap_notify_added(c, ap->name, v, n);
    imap_add_number_set(&set, v, n);
    if (a->is_replace) { /* RFC 8508 §4.3: told before the other's EXPUNGE */
        imap_untagged(c, "OK [APPENDUID %u %s] Replacement message saved.", uidvalidity,
                      buf_z(&set));
        imap_reply(c, "OK Replace completed.");
    } else {
        imap_reply(c, "OK [APPENDUID %u %s] Append completed.", uidvalidity, buf_z(&set));
    }
    buf_free(&set);
    free(v);
    return TAKEN_OVER;
}

/* ---- text ---- */

static enum taken
bad(struct err *e, const char *expected)
{
    err_parse(e, "expected %s", expected);
    return TAKEN_BAD;
}

static bool
is_at_literal(const struct imap_cmd *c, struct slice in)
{
    return in.n == 0 && !c->stream.is_end;
}

static enum taken
want_literal(struct imap_cmd *c)
{
    const struct imap_stream *st = &c->stream;

    if (!st->is_sync && st->octets > IMAPD_LITERAL_MINUS_OCTETS && c->s->is_literal_minus) {
        imap_bad(c, "BAD [TOOBIG] Literals that come unasked may have 4096 octets.");
        return TAKEN_OVER;
    }
    if (st->is_sync)
        buf_addz(&c->out, "+ OK\r\n");
    return TAKEN_LITERAL;
}

/* "(~" of UTF8, before its literal: RFC 6855 §4. */
static bool
take_utf8(struct imap_cmd *c, struct slice *in)
{
    struct append *ap = c->run_state;
    struct slice at = *in;

    if (!(c->s->enabled & IMAP_ON_UTF8) || !imap_take_keyword(&at, "UTF8") ||
        !sl_take_prefix(&at, SL(" (")) || !is_at_literal(c, at) || !c->stream.is_binary)
        return false;
    *in = at;
    ap->is_in_utf8 = true;
    return true;
}

/* [flag-list SP] [date-time SP] */
static enum parse_rc
take_head(struct append *ap, struct slice *in, struct message_head *h, struct err *e)
{
    struct slice at = *in, date;

    if (sl_starts(*in, '(') && (imap_take_flags(in, false, &ap->mem, &h->flags, e) != PARSE_OK ||
                                imap_take_sp(in, e) != PARSE_OK))
        return PARSE_BAD;
    if (!sl_starts(*in, '"'))
        return PARSE_OK;
    at = *in;
    if (imap_take_string(&at, &ap->mem, &date, e) != PARSE_OK)
        return PARSE_BAD;
    if (!mime_parse_imap_date(date, &h->date_unix_s, &h->tz_minutes))
        return err_parse(e, "Invalid internal date");
    *in = at;
    return imap_take_sp(in, e);
}

/* append-message = [SP flag-list] [SP date-time] SP append-data, or the end of the command. */
static enum taken
take_message(struct imap_cmd *c, struct slice *in, struct err *e)
{
    const struct append_args *a = c->args;
    struct append *ap = c->run_state;
    struct message_head h = { 0 };

    if (in->n == 0 && c->stream.is_end && ap->n > 0)
        return commit(c);
    if (a->is_replace && ap->n > 0)
        return bad(e, "the end of the command");
    if (ap->n == STORE_APPEND_MAX) {
        imap_reply(c, "NO [LIMIT] Too many messages in one APPEND.");
        return TAKEN_OVER;
    }
    if (imap_take_sp(in, e) != PARSE_OK || take_head(ap, in, &h, e) != PARSE_OK)
        return TAKEN_BAD;
    if (imap_take_keyword(in, "CATENATE")) {
        if (!sl_take_prefix(in, SL(" (")))
            return bad(e, "a list of parts");
        if (!expect(c, 0) || !begin_message(c, &h, true))
            return TAKEN_OVER;
        ap->is_catenated = true;
        ap->at = AT_PART;
        return TAKEN;
    }
    if (!take_utf8(c, in) && !is_at_literal(c, *in))
        return bad(e, "a literal");
    if (c->stream.octets == 0) { /* how a MULTIAPPEND is given up; a message it is none */
        imap_reply(c, "NO Can't save a zero byte message.");
        return TAKEN_OVER;
    }
    if (!expect(c, c->stream.octets) || !begin_message(c, &h, c->stream.is_binary))
        return TAKEN_OVER;
    return want_literal(c);
}

/* A URL that is a literal becomes part of the text, and is parsed when it is there. */
static enum taken
want_argument(struct imap_cmd *c)
{
    struct append *ap = c->run_state;
    const struct imap_stream *st = &c->stream;
    uint64_t most = (uint64_t)c->s->conf->imap_max_line_length;

    if (st->is_binary) {
        imap_bad(c, "BAD Binary literals are not allowed here.");
        return TAKEN_OVER;
    }
    if (st->octets > most || ap->text.n + st->octets > most) {
        imap_bad(c, "BAD [TOOBIG] Literal size too large.");
        return TAKEN_OVER;
    }
    buf_addf(&ap->text, "{%llu}\r\n", (unsigned long long)st->octets);
    ap->is_argument = true;
    return want_literal(c);
}

static enum taken
put_url(struct imap_cmd *c, struct slice url)
{
    struct append *ap = c->run_state;
    struct imap_url_part part = { 0 };
    struct buf told = { 0 };
    struct err e = { 0 };
    int rc = imap_url_open(c, url, &part, &e);

    if (rc == 1)
        return TAKEN_ASK;
    if (rc == 0) {
        rc = !expect(c, part.octets.n) ? 1 : put_part(ap, part.octets, &e);
        imap_url_part_close(&part);
        return rc < 0 ? fail(c, &e) : rc > 0 ? TAKEN_OVER : TAKEN;
    }
    if (e.kind != ERR_CLIENT && e.kind != ERR_NOTFOUND)
        return fail(c, &e);
    for (size_t i = 0; i < url.n; i++) /* url-resp-text has no ']' */
        if (url.p[i] == ']')
            buf_addz(&told, "%5D");
        else
            buf_addc(&told, url.p[i]);
    imap_reply(c, "NO [BADURL %s] %s.", buf_z(&told), e.msg);
    buf_free(&told);
    return TAKEN_OVER;
}

/* cat-part = "URL" SP url / "TEXT" SP literal / "UTF8" SP "(" literal8 ")" */
static enum taken
take_part(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct append *ap = c->run_state;
    struct slice url;
    enum taken rc;

    if (imap_take_keyword(in, "URL")) {
        if (imap_take_sp(in, e) != PARSE_OK)
            return TAKEN_BAD;
        if (is_at_literal(c, *in))
            return want_argument(c);
        if (imap_take_astring(in, &ap->mem, &url, e) != PARSE_OK)
            return TAKEN_BAD;
        rc = put_url(c, url);
        if (rc == TAKEN)
            ap->at = AT_PART_END;
        return rc;
    }
    if (imap_take_keyword(in, "TEXT")) {
        if (imap_take_sp(in, e) != PARSE_OK)
            return TAKEN_BAD;
        if (!is_at_literal(c, *in))
            return bad(e, "a literal");
    } else if (!take_utf8(c, in)) {
        return bad(e, "URL or TEXT");
    }
    if (!expect(c, c->stream.octets))
        return TAKEN_OVER;
    ap->at = AT_PART_END;
    return want_literal(c);
}

static enum taken
take_part_end(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct append *ap = c->run_state;

    if (sl_take_char(in, ' ')) {
        ap->at = AT_PART;
        return TAKEN;
    }
    if (!sl_take_char(in, ')'))
        return bad(e, "')'");
    if (!end_message(c))
        return TAKEN_OVER;
    ap->at = AT_MESSAGE;
    return TAKEN;
}

static enum taken
take_item(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct append *ap = c->run_state;

    if (ap->is_in_utf8) {
        if (!sl_take_char(in, ')'))
            return bad(e, "')'");
        ap->is_in_utf8 = false;
        return TAKEN;
    }
    return ap->at == AT_MESSAGE ? take_message(c, in, e)
           : ap->at == AT_PART  ? take_part(c, in, e)
                                : take_part_end(c, in, e);
}

/* All that there is of the text. */
static enum taken
take_text(struct imap_cmd *c)
{
    struct append *ap = c->run_state;
    uint64_t until_ms = clock_mono_ms() + APPEND_TURN_MS;
    struct err e = { 0 };
    enum taken rc;

    do {
        struct slice text = buf_slice(&ap->text), in = text;

        rc = take_item(c, &in, &e);
        if (rc == TAKEN_BAD)
            imap_bad(c, "BAD Error in IMAP command %s%s: %s at position %llu (syntax: %s).",
                     c->is_uid ? "UID " : "", c->row->name, e.msg,
                     (unsigned long long)(ap->text_at + (uint64_t)(in.p - text.p) + 1),
                     c->row->usage);
        if (rc == TAKEN || (rc == TAKEN_LITERAL && !ap->is_argument)) {
            buf_consume(&ap->text, text.n - in.n);
            ap->text_at += text.n - in.n;
        }
    } while (rc == TAKEN && clock_mono_ms() < until_ms);
    return rc == TAKEN ? TAKEN_TURN : rc;
}

/* ---- what the reader brings ---- */

static enum taken
take_line(struct imap_cmd *c)
{
    struct append *ap = c->run_state;
    struct slice line = buf_slice(&c->stream.piece);

    if (sl_find_char(line, '\r') != SL_NPOS || sl_find_char(line, '\0') != SL_NPOS) {
        imap_bad(c, "BAD Error in IMAP command %s: control octet in a line.", c->row->name);
        return TAKEN_OVER;
    }
    if (ap->text.n + line.n > (uint64_t)c->s->conf->imap_max_line_length) {
        imap_bad(c, "BAD [TOOBIG] Command line too long.");
        return TAKEN_OVER;
    }
    if (ap->text.n == 0)
        ap->text_at = c->stream.at;
    ap->is_argument = false;
    buf_adds(&ap->text, line);
    return take_text(c);
}

static enum taken
take_octets(struct imap_cmd *c)
{
    struct append *ap = c->run_state;
    struct err e = { 0 };

    if (ap->is_argument) {
        buf_adds(&ap->text, buf_slice(&c->stream.piece));
        return TAKEN_LITERAL;
    }
    if (put(ap, &c->stream.piece, &e))
        return fail(c, &e);
    if (c->stream.left == 0 && !ap->is_catenated && !end_message(c))
        return TAKEN_OVER;
    return TAKEN_LITERAL;
}

enum cmd_rc
imap_run_append(struct imap_cmd *c)
{
    bool is_new = c->stream.is_new;
    struct append *ap;
    enum taken rc;

    c->stream.is_new = false;
    if (c->run_state == NULL && !begin(c))
        rc = TAKEN_OVER;
    else if (imap_is_cancelled(c))
        rc = TAKEN_OVER;
    else if (!is_new)
        rc = take_text(c); /* authd has answered, or others had their turn */
    else
        rc = c->stream.is_line ? take_line(c) : take_octets(c);
    ap = c->run_state;
    if (rc == TAKEN_LITERAL)
        return CMD_INPUT;
    if (rc == TAKEN_ASK)
        return CMD_ASK;
    if (rc == TAKEN_TURN)
        return CMD_YIELD;
    store_append_abort(&ap->store); /* here, for it unlinks files */
    return CMD_DONE;
}
