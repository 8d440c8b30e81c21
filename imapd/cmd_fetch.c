/* imapd/cmd_fetch.c - FETCH and UID FETCH (RFC 3501 §6.4.5). The run function is a machine that may stop after any piece: it hands
 * output over at IMAPD_OUT_MARK and goes on when the client has taken enough, so that a message of any size costs that much
 * memory and the others their turn. Items from the index come first, then sections, as with Dovecot. */
#include "imapd/fetch.h"

#include "base/mem.h"

#include <stdlib.h>

enum parse_rc
imap_parse_fetch(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct fetch_args *a = ARENA_NEW(&c->mem, struct fetch_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_set(in, &c->mem, &a->set, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK ||
        imap_take_fetch_items(in, &c->mem, &a->items, e) != PARSE_OK)
        return PARSE_BAD;
    if (c->is_uid && imap_fetch_want_uid(&a->items, &c->mem) < 0)
        return err_parse(e, "command too long");
    return PARSE_OK;
}

static bool
is_section(const struct imap_fetch_item *it)
{
    return it->kind == IMAP_FETCH_SECTION || it->kind == IMAP_FETCH_RFC822 ||
           it->kind == IMAP_FETCH_RFC822_HEADER || it->kind == IMAP_FETCH_RFC822_TEXT;
}

/* Of the message's own header alone: the rest of the file need not be read. */
static bool
is_header_section(const struct imap_fetch_item *it)
{
    return it->kind == IMAP_FETCH_RFC822_HEADER ||
           (it->kind == IMAP_FETCH_SECTION && it->n_part == 0 && it->text != IMAP_SECTION_ALL &&
            it->text != IMAP_SECTION_TEXT);
}

/* What the store is asked for; 0 for what is always at hand. */
static unsigned
want_of(const struct imap_fetch_item *it)
{
    switch (it->kind) {
    case IMAP_FETCH_INTERNALDATE:
        return STORE_GET_DATE;
    case IMAP_FETCH_SIZE:
        return STORE_GET_SIZE;
    case IMAP_FETCH_ENVELOPE:
        return STORE_GET_ENVELOPE;
    case IMAP_FETCH_BODY:
        return STORE_GET_BODY;
    case IMAP_FETCH_BODYSTRUCTURE:
        return STORE_GET_BODYSTRUCTURE;
    case IMAP_FETCH_PREVIEW:
        return STORE_GET_PREVIEW;
    case IMAP_FETCH_EMAILID:
    case IMAP_FETCH_THREADID:
        return STORE_GET_IDS;
    case IMAP_FETCH_SECTION:
        return fetch_is_cached(it) ? STORE_GET_HEADERS : 0;
    default:
        return 0;
    }
}

static bool
fetch_begin(struct imap_cmd *c)
{
    const struct fetch_args *a = c->args;
    struct fetch *f = MEM_NEW(struct fetch);

    c->run_state = f;
    if (!imap_set_resolve(c, &a->set, c->is_uid, &f->seqs))
        return false;
    for (size_t i = 0; i < a->items.n; i++) {
        const struct imap_fetch_item *it = &a->items.v[i];

        f->want |= want_of(it);
        f->has_sections = f->has_sections || is_section(it);
        f->needs_file = f->needs_file || (is_section(it) && !fetch_is_cached(it));
        f->needs_body = f->needs_body || (is_section(it) && !is_header_section(it));
        f->is_flags_asked = f->is_flags_asked || it->kind == IMAP_FETCH_FLAGS;
        f->sets_seen = f->sets_seen || (is_section(it) && !it->is_peek && !c->s->is_examine);
    }
    f->seq = f->seqs.n > 0 ? f->seqs.v[0].first : 0;
    return true;
}

static void
end_message(struct fetch *f)
{
    f->is_begun = false;
    store_file_close(&f->file);
    store_msg_free(&f->msg);
    arena_free(&f->tree_mem);
    buf_free(&f->fields);
    f->tree = NULL;
    f->left = sl_n(NULL, 0);
}

void
imap_done_fetch(struct imap_cmd *c)
{
    struct fetch *f = c->run_state;

    if (!f)
        return;
    end_message(f);
    store_uids_free(&f->seqs);
    store_uids_free(&f->seen);
    free(f);
}

/* ---- one message ---- */

static void
add_item(struct imap_cmd *c, const struct imap_fetch_item *it, const struct store_row *row,
         const struct store_msg *m)
{
    struct buf *out = &c->out;
    char date[MIME_DATE_OCTETS];

    buf_adds(out, it->label);
    buf_addc(out, ' ');
    switch (it->kind) {
    case IMAP_FETCH_UID:
        buf_addf(out, "%u", row->uid);
        break;
    case IMAP_FETCH_FLAGS:
        imap_add_flags(out, c->s->view, &row->flags);
        break;
    case IMAP_FETCH_INTERNALDATE:
        buf_addf(out, "\"%s\"", mime_format_imap_date(m->internaldate_unix_s, m->tz_minutes, date));
        break;
    case IMAP_FETCH_SIZE:
        buf_addf(out, "%llu", (unsigned long long)m->size_octets);
        break;
    case IMAP_FETCH_ENVELOPE:
        buf_adds(out, m->envelope);
        break;
    case IMAP_FETCH_BODY:
        buf_adds(out, m->body);
        break;
    case IMAP_FETCH_BODYSTRUCTURE:
        buf_adds(out, m->bodystructure);
        break;
    case IMAP_FETCH_PREVIEW:
        mime_imap_nstring(m->preview, out);
        break;
    case IMAP_FETCH_EMAILID:
        buf_addf(out, "(%s)", m->email_id);
        break;
    case IMAP_FETCH_THREADID:
        if (m->thread_id[0])
            buf_addf(out, "(%s)", m->thread_id);
        else
            buf_addz(out, "NIL"); /* none could be kept: it is not told what may change */
        break;
    default:
        break;
    }
}

static void
add_space(struct imap_cmd *c, struct fetch *f)
{
    if (!f->is_first)
        buf_addc(&c->out, ' ');
    f->is_first = false;
}

/* The first half: "* n FETCH (" and what the index has. -1 with e: nothing was written. */
static int
begin_message(struct imap_cmd *c, struct fetch *f, uint32_t seq, struct err *e)
{
    const struct fetch_args *a = c->args;
    struct store_row row;
    bool becomes_seen;

    if (!store_view_row(c->s->view, seq, &row))
        return err_set(e, ERR_NOTFOUND, "no such message");
    if (f->want && store_fetch(c->s->view, seq, f->want, &f->msg, e) < 0)
        return -1;
    if ((f->needs_file || (f->has_sections && !f->msg.headers.p)) &&
        (f->needs_body ? store_file_open : store_header_open)(c->s->view, seq, &f->file, e) < 0) {
        store_msg_free(&f->msg);
        return -1;
    }
    if (f->file)
        f->message = store_file_octets(f->file);
    f->is_begun = true;
    becomes_seen = f->sets_seen && !(row.flags.sys & STORE_SEEN);
    if (becomes_seen) {
        row.flags.sys |= STORE_SEEN;
        store_uids_add(&f->seen, row.uid, row.uid);
    }
    buf_addf(&c->out, "* %u FETCH (", seq);
    f->is_first = true;
    for (size_t i = 0; i < a->items.n; i++)
        if (!is_section(&a->items.v[i])) {
            add_space(c, f);
            add_item(c, &a->items.v[i], &row, &f->msg);
        }
    if (becomes_seen && !f->is_flags_asked) {
        add_space(c, f);
        buf_addz(&c->out, "FLAGS ");
        imap_add_flags(&c->out, c->s->view, &row.flags);
    }
    f->item = 0;
    return 0;
}

/* The next section of the message; false: it is whole. */
static bool
next_section(struct imap_cmd *c, struct fetch *f)
{
    const struct fetch_args *a = c->args;

    while (f->item < a->items.n && !is_section(&a->items.v[f->item]))
        f->item++;
    if (f->item == a->items.n)
        return false;
    add_space(c, f);
    fetch_begin_section(f, &a->items.v[f->item++], &c->s->stats, &c->out);
    return true;
}

/* A literal carries no NUL (RFC 3501 §9, CHAR8): 0x80 in its place, as Dovecot does. */
static void
send_piece(struct imap_cmd *c, struct fetch *f)
{
    size_t n = f->left.n < IMAPD_PIECE_OCTETS ? f->left.n : IMAPD_PIECE_OCTETS, was = c->out.n;
    char *at, *end;

    buf_adds(&c->out, sl_head(f->left, n));
    at = c->out.p + c->out.off + was;
    for (end = at + n; (at = memchr(at, '\0', (size_t)(end - at))) != NULL; at++)
        *at = (char)0x80;
    f->left = sl_from(f->left, n);
}

/* ---- all of them ---- */

/* The next message's number; false: no more. */
static bool
next_seq(struct fetch *f, uint32_t *seq)
{
    if (f->range == f->seqs.n)
        return false;
    *seq = f->seq;
    if (f->seq < f->seqs.v[f->range].last)
        f->seq++;
    else if (++f->range < f->seqs.n)
        f->seq = f->seqs.v[f->range].first;
    return true;
}

/* \Seen for all that were told with it, in one change; nobody hears of it again in this session. */
static int
store_seen(struct imap_cmd *c, struct fetch *f, struct err *e)
{
    struct store_flag_change ch = { .op = STORE_ADD,
                                    .flags = { STORE_SEEN, 0 },
                                    .is_silent = true };

    if (f->seen.n == 0)
        return 0;
    return store_change_flags(c->s->view, &f->seen, &ch, NULL, e);
}

static enum cmd_rc
finish(struct imap_cmd *c, struct fetch *f, const struct err *failed)
{
    struct err e = { 0 };

    if (store_seen(c, f, &e) < 0 && !failed)
        failed = &e;
    if (failed)
        imap_fail(c, failed, store_view_name(c->s->view), "NONEXISTENT");
    else if (f->was_expunged)
        imap_reply(c, "OK [EXPUNGEISSUED] Some messages were already expunged.");
    else
        imap_reply(c, "OK Fetch completed.");
    return CMD_DONE;
}

enum cmd_rc
imap_run_fetch(struct imap_cmd *c)
{
    struct fetch *f = c->run_state;
    struct err e = { 0 };
    uint32_t seq;

    if (!f && !fetch_begin(c))
        return CMD_DONE;
    f = c->run_state;
    while (!imap_is_cancelled(c)) {
        if (c->out.n >= IMAPD_OUT_MARK)
            return CMD_FLUSH;
        if (f->left.n > 0) {
            send_piece(c, f);
        } else if (f->is_begun && next_section(c, f)) {
            continue;
        } else if (f->is_begun) {
            buf_addz(&c->out, ")\r\n");
            end_message(f);
        } else if (!next_seq(f, &seq)) {
            break;
        } else if (begin_message(c, f, seq, &e) < 0) {
            if (e.kind != ERR_NOTFOUND)
                return finish(c, f, &e);
            f->was_expunged = true;
        }
    }
    return finish(c, f, NULL);
}
