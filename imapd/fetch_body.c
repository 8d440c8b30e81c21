/* imapd/fetch_body.c - sections of a message: BODY[section]<partial> and RFC822 (RFC 3501 §6.4.5). What is not there is
 * empty, as with Dovecot. */
#include "imapd/fetch.h"

static bool
is_named(const struct imap_fetch_item *it, struct slice name)
{
    for (size_t i = 0; i < it->n_fields; i++)
        if (sl_ieq(it->fields[i], name))
            return true;
    return false;
}

/* HEADER.FIELDS and HEADER.FIELDS.NOT: whole fields, and the empty line in any case. */
static struct slice
pick_fields(struct fetch *f, const struct imap_fetch_item *it, struct slice header)
{
    struct mime_field field;

    buf_reset(&f->fields);
    while (mime_next_field(&header, &field))
        if (is_named(it, field.name) == (it->text == IMAP_SECTION_FIELDS)) {
            buf_adds(&f->fields, field.whole);
            if (!sl_ends(field.whole, '\n')) /* the message ends in it */
                buf_addz(&f->fields, "\r\n");
        }
    buf_addz(&f->fields, "\r\n");
    return buf_slice(&f->fields);
}

bool
fetch_is_cached(const struct imap_fetch_item *it)
{
    if (it->kind != IMAP_FETCH_SECTION || it->n_part > 0 || it->text != IMAP_SECTION_FIELDS)
        return false;
    for (size_t i = 0; i < it->n_fields; i++)
        if (!store_caches_field(it->fields[i]))
            return false;
    return true;
}

static struct slice
text_of(struct slice message, struct slice header)
{
    return sl_from(message, header.n);
}

/* The part that the numbers name, or NULL. */
static const struct mime_part *
part_of(struct fetch *f, const struct imap_fetch_item *it)
{
    if (!f->tree)
        f->tree = mime_parse(f->message, &f->tree_mem);
    return mime_find_part(f->tree, it->part, it->n_part);
}

static struct slice
numbered_section(struct fetch *f, const struct imap_fetch_item *it)
{
    const struct mime_part *p = part_of(f, it), *inside;

    if (!p)
        return SL("");
    if (it->text == IMAP_SECTION_ALL)
        return p->body;
    if (it->text == IMAP_SECTION_MIME)
        return p->header;
    if (!p->is_message || p->n_kids == 0)
        return SL(""); /* HEADER and TEXT are of messages */
    inside = &p->kids[0];
    if (it->text == IMAP_SECTION_TEXT)
        return inside->body;
    return it->text == IMAP_SECTION_HEADER ? inside->header : pick_fields(f, it, inside->header);
}

static struct slice
message_section(struct fetch *f, enum imap_section_text text, const struct imap_fetch_item *it)
{
    struct slice header;

    if (text == IMAP_SECTION_ALL)
        return f->message;
    if (it->kind == IMAP_FETCH_SECTION && f->msg.headers.p && fetch_is_cached(it))
        return pick_fields(f, it, f->msg.headers);
    header = mime_header_of(f->message);
    if (text == IMAP_SECTION_TEXT)
        return text_of(f->message, header);
    return text == IMAP_SECTION_HEADER ? header : pick_fields(f, it, header);
}

struct slice
fetch_section(struct fetch *f, const struct imap_fetch_item *it, struct imap_stats *stats)
{
    struct slice s;
    bool is_header = false;

    switch (it->kind) {
    case IMAP_FETCH_RFC822:
        s = message_section(f, IMAP_SECTION_ALL, it);
        break;
    case IMAP_FETCH_RFC822_HEADER:
        s = message_section(f, IMAP_SECTION_HEADER, it);
        is_header = true;
        break;
    case IMAP_FETCH_RFC822_TEXT:
        s = message_section(f, IMAP_SECTION_TEXT, it);
        break;
    default:
        s = it->n_part ? numbered_section(f, it) : message_section(f, it->text, it);
        is_header = it->text != IMAP_SECTION_ALL && it->text != IMAP_SECTION_TEXT;
    }
    if (it->is_partial) {
        s = it->first >= s.n ? SL("") : sl_from(s, (size_t)it->first);
        s = it->count < s.n ? sl_head(s, (size_t)it->count) : s;
    }
    *(is_header ? &stats->hdr_count : &stats->body_count) += 1;
    *(is_header ? &stats->hdr_octets : &stats->body_octets) += s.n;
    return s;
}

void
fetch_begin_section(struct fetch *f, const struct imap_fetch_item *it, struct imap_stats *stats,
                    struct buf *out)
{
    f->left = fetch_section(f, it, stats);
    buf_adds(out, it->label);
    buf_addf(out, " {%zu}\r\n", f->left.n);
}
