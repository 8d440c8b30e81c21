/* imapd/cmd_append.c - APPEND (RFC 3501 §6.3.11), APPENDUID (RFC 4315 §3). The message goes to the store as it comes, in pieces
 * of at most IMAPD_PIECE_OCTETS; while the store writes one, the client is not read. A synchronising literal is asked
 * for only when the mailbox is there and ready; one that comes unasked is read to its end in any case. */
#include "imapd/rows.h"

#include "base/mem.h"
#include "mime/mime.h"

#include <stdlib.h>

struct append_args {
    struct slice mailbox;
    struct imap_flags flags;
    bool has_date;
    int64_t date_unix_s;
    int16_t tz_minutes;
};

struct append {                 /* run_state */
    struct store_append *store; /* NULL: failed, the reply is there */
};

/* SP mailbox [SP flag-list] [SP date-time] SP; the literal follows. */
enum parse_rc
imap_parse_append(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct append_args *a = ARENA_NEW(&c->mem, struct append_args);
    struct slice date;

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK ||
        imap_take_astring(in, &c->mem, &a->mailbox, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (sl_starts(*in, '(') && (imap_take_flags(in, false, &c->mem, &a->flags, e) != PARSE_OK ||
                                imap_take_sp(in, e) != PARSE_OK))
        return PARSE_BAD;
    if (sl_starts(*in, '"')) {
        if (imap_take_string(in, &c->mem, &date, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        if (!mime_parse_imap_date(date, &a->date_unix_s, &a->tz_minutes))
            return err_parse(e, "Invalid internal date");
        a->has_date = true;
    }
    return PARSE_OK;
}

void
imap_done_append(struct imap_cmd *c)
{
    struct append *ap = c->run_state;

    free(ap);
}

static void
give_up(struct imap_cmd *c, const struct err *e, struct slice name)
{
    struct append *ap = c->run_state;

    if (e)
        imap_fail(c, e, name, "TRYCREATE");
    store_append_abort(&ap->store);
    ap->store = NULL;
}

static void
begin(struct imap_cmd *c)
{
    const struct append_args *a = c->args;
    struct append *ap = MEM_NEW(struct append);
    const char **keywords = arena_alloc(&c->mem, (a->flags.n_keywords + 1) * sizeof(*keywords));
    struct slice name;
    struct err e = { 0 };

    c->run_state = ap;
    if (c->stream_octets == 0) { /* how a MULTIAPPEND is given up; a message it is none */
        imap_reply(c, "NO Can't save a zero byte message.");
        return;
    }
    if (!imap_name_decode(c, a->mailbox, &name))
        return;
    if (store_append_begin(c->s->store, name, &ap->store, &e) < 0) {
        ap->store = NULL;
        imap_fail(c, &e, name, "TRYCREATE");
        return;
    }
    for (size_t i = 0; keywords && i < a->flags.n_keywords; i++)
        keywords[i] = arena_dupz(&c->mem, a->flags.keywords[i]);
    if (!keywords || store_append_expect(ap->store, c->stream_octets, &e) < 0 ||
        store_append_msg(ap->store, a->flags.sys, keywords, a->flags.n_keywords,
                         a->has_date ? a->date_unix_s : 0, a->tz_minutes, &e) < 0)
        give_up(c, &e, name);
}

static void
commit(struct imap_cmd *c)
{
    const struct append_args *a = c->args;
    struct append *ap = c->run_state;
    uint32_t uidvalidity, *uids = NULL;
    struct slice name = a->mailbox;
    size_t n = 0;
    struct err e = { 0 };

    if (store_append_commit(&ap->store, &uidvalidity, &uids, &n, &e) < 0) {
        ap->store = NULL;
        imap_fail(c, &e, name, "TRYCREATE");
        return;
    }
    ap->store = NULL;
    imap_reply(c, "OK [APPENDUID %u %u] Append completed.", uidvalidity, n ? uids[0] : 0);
    free(uids);
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

enum cmd_rc
imap_run_append(struct imap_cmd *c)
{
    struct append *ap = c->run_state;
    struct err e = { 0 };

    if (!ap) {
        begin(c);
        ap = c->run_state;
        if (c->is_stream_sync) {
            if (!ap->store)
                return CMD_DONE;
            buf_addz(&c->out, "+ OK\r\n");
        }
        return CMD_INPUT;
    }
    if (imap_is_cancelled(c)) {
        store_append_abort(&ap->store);
        return CMD_DONE;
    }
    if (c->is_stream_end) {
        if (c->is_stream_bad) {
            imap_bad(c, "BAD Error in IMAP command APPEND: expected the end of the command after "
                        "the literal.");
            store_append_abort(&ap->store);
        } else if (ap->store) {
            commit(c);
        }
        return CMD_DONE;
    }
    replace_nuls(&c->piece);
    if (ap->store && c->piece.n > 0 && store_append_octets(ap->store, buf_slice(&c->piece), &e) < 0)
        give_up(c, &e, sl_n(NULL, 0));
    buf_reset(&c->piece);
    return CMD_INPUT;
}
