/* imapd/fetch_msg.c - one message of a FETCH: items from the index come first, then sections, as with Dovecot. */
#include "imapd/fetch.h"

static bool
is_section(const struct imap_fetch_item *it)
{
    switch (it->kind) {
    case IMAP_FETCH_SECTION:
    case IMAP_FETCH_RFC822:
    case IMAP_FETCH_RFC822_HEADER:
    case IMAP_FETCH_RFC822_TEXT:
    case IMAP_FETCH_BINARY:
    case IMAP_FETCH_BINARY_SIZE:
        return true;
    default:
        return false;
    }
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
    case IMAP_FETCH_SNIPPET:
        return STORE_GET_PREVIEW;
    case IMAP_FETCH_SAVEDATE:
        return STORE_GET_SAVEDATE;
    case IMAP_FETCH_EMAILID:
    case IMAP_FETCH_THREADID:
        return STORE_GET_IDS;
    case IMAP_FETCH_SECTION:
        return section_is_cached(it) ? STORE_GET_HEADERS : 0;
    default:
        return 0;
    }
}

static bool
is_range(const struct imap_fetch_item *it)
{
    return it->kind == IMAP_FETCH_SECTION && it->n_part == 0 && it->text == IMAP_SECTION_ALL &&
           it->is_partial && it->count <= STORE_RANGE_MAX_OCTETS;
}

void
fetch_plan(struct fetch *f, const struct imap_fetch_items *items, bool is_examine)
{
    size_t n_file = 0;

    f->items = items;
    for (size_t i = 0; i < items->n; i++) {
        const struct imap_fetch_item *it = &items->v[i];
        bool is_peek = it->is_peek || it->kind == IMAP_FETCH_BINARY_SIZE;

        f->want |= want_of(it);
        f->is_flags_asked = f->is_flags_asked || it->kind == IMAP_FETCH_FLAGS;
        if (!is_section(it))
            continue;
        f->has_sections = true;
        f->sets_seen = f->sets_seen || (!is_peek && !is_examine);
        f->needs_body = f->needs_body || !section_is_header(it);
        if (section_is_cached(it))
            continue;
        n_file++;
        if (is_range(it))
            f->only_range = it;
    }
    f->needs_file = n_file > 0;
    if (n_file != 1)
        f->only_range = NULL;
}

/* ---- what the index has ---- */

static void
add_date(struct buf *out, int64_t unix_s, int16_t tz_minutes)
{
    char date[MIME_DATE_OCTETS];

    buf_addc(out, '"');
    buf_addz(out, mime_format_imap_date(unix_s, tz_minutes, date));
    buf_addc(out, '"');
}

static void
add_item(struct imap_cmd *c, const struct imap_fetch_item *it, const struct store_row *row,
         const struct store_msg *m)
{
    struct buf *out = &c->out;

    buf_adds(out, it->label);
    buf_addc(out, ' ');
    switch (it->kind) {
    case IMAP_FETCH_UID:
        buf_addu(out, row->uid);
        break;
    case IMAP_FETCH_FLAGS:
        imap_add_flags(out, c->s, &row->flags);
        break;
    case IMAP_FETCH_INTERNALDATE:
        add_date(out, m->internaldate_unix_s, m->tz_minutes);
        break;
    case IMAP_FETCH_SIZE:
        buf_addu(out, m->size_octets);
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
    case IMAP_FETCH_SNIPPET:
        buf_addz(out, "(FUZZY ");
        mime_imap_nstring(m->preview, out);
        buf_addc(out, ')');
        break;
    case IMAP_FETCH_SAVEDATE:
        if (m->savedate_unix_s > 0)
            add_date(out, m->savedate_unix_s, mime_local_tz_minutes(m->savedate_unix_s));
        else
            buf_addz(out, "NIL"); /* nobody knows it: RFC 8514 §4.2 */
        break;
    case IMAP_FETCH_MODSEQ:
        imap_note_modseq(c->s, row->modseq);
        buf_addc(out, '(');
        buf_addu(out, row->modseq);
        buf_addc(out, ')');
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

/* ---- the message ---- */

static int
open_file(struct imap_cmd *c, struct fetch *f, uint32_t seq, struct err *e)
{
    struct store_view *v = c->s->view;

    /* Not when some field must be looked for in the file, too: the index does not keep long headers. */
    f->is_range = f->only_range && (f->msg.headers.p || !(f->want & STORE_GET_HEADERS));
    if (f->is_range)
        return store_file_range(v, seq, f->only_range->first, f->only_range->count, &f->src.file,
                                e);
    if (!f->needs_file && (!f->has_sections || f->msg.headers.p))
        return 0;
    return (f->needs_body ? store_file_open : store_header_open)(v, seq, &f->src.file, e);
}

int
fetch_begin_message(struct imap_cmd *c, struct fetch *f, uint32_t seq, struct err *e)
{
    const struct imap_fetch_items *items = f->items;
    struct store_row row;
    bool becomes_seen;

    if (!store_view_row(c->s->view, seq, &row))
        return err_set(e, ERR_NOTFOUND, "no such message");
    if (f->want && store_fetch(c->s->view, seq, f->want, &f->msg, e) < 0)
        return -1;
    if (open_file(c, f, seq, e) < 0) {
        store_msg_free(&f->msg);
        return -1;
    }
    f->src.headers = f->msg.headers;
    f->is_begun = true;
    becomes_seen = f->sets_seen && !(row.flags.sys & STORE_SEEN);
    if (becomes_seen) {
        row.flags.sys |= STORE_SEEN;
        store_uids_add(&f->seen, row.uid, row.uid);
    }
    imap_begin_fetch(c, seq, row.uid);
    f->is_first = true;
    for (size_t i = 0; i < items->n; i++)
        if (!is_section(&items->v[i])) {
            add_space(c, f);
            add_item(c, &items->v[i], &row, &f->msg);
        }
    if (becomes_seen && !f->is_flags_asked) {
        add_space(c, f);
        buf_addz(&c->out, "FLAGS ");
        imap_add_flags(&c->out, c->s, &row.flags);
    }
    f->item = 0;
    return 0;
}

static bool
is_of_header(const struct imap_fetch_item *it)
{
    return it->kind == IMAP_FETCH_RFC822_HEADER ||
           (it->kind == IMAP_FETCH_SECTION && it->text != IMAP_SECTION_ALL &&
            it->text != IMAP_SECTION_TEXT);
}

static void
count_section(struct imap_stats *stats, const struct imap_fetch_item *it, uint64_t octets)
{
    bool is_header = is_of_header(it);

    *(is_header ? &stats->hdr_count : &stats->body_count) += 1;
    *(is_header ? &stats->hdr_octets : &stats->body_octets) += octets;
}

/* Name and literal's head; its octets are left to send. */
static void
begin_section(struct imap_cmd *c, struct fetch *f, const struct imap_fetch_item *it)
{
    struct imap_fetch_item whole = *it;
    int rc;

    whole.is_partial = it->is_partial && !(f->is_range && it == f->only_range); /* the file is it */
    rc = section_open(&f->section, &f->src, &whole);
    add_space(c, f);
    buf_adds(&c->out, it->label);
    if (it->kind == IMAP_FETCH_BINARY_SIZE) {
        buf_addf(&c->out, " %llu", (unsigned long long)f->section.octets);
        section_close(&f->section);
    } else if (rc < 0) {
        buf_addz(&c->out, " NIL");
        section_close(&f->section);
    } else {
        f->is_binary = it->kind == IMAP_FETCH_BINARY && f->section.has_nul;
        buf_addf(&c->out, " %s{%llu}\r\n", f->is_binary ? "~" : "",
                 (unsigned long long)f->section.octets);
        count_section(&c->s->stats, it, f->section.octets);
        f->is_sending = true;
    }
    f->is_encoded = f->is_encoded || rc < 0;
}

bool
fetch_go_on(struct imap_cmd *c, struct fetch *f)
{
    const struct imap_fetch_items *items = f->items;

    if (f->is_sending) {
        if (!section_send(&f->section, &c->out, !f->is_binary)) {
            section_close(&f->section);
            f->is_sending = false;
        }
        return true;
    }
    while (f->item < items->n && !is_section(&items->v[f->item]))
        f->item++;
    if (f->item == items->n)
        return false;
    begin_section(c, f, &items->v[f->item++]);
    return true;
}

void
fetch_end_message(struct fetch *f)
{
    f->is_begun = f->is_sending = false;
    section_close(&f->section);
    section_source_close(&f->src);
    store_msg_free(&f->msg);
}
