/* imapd/section.c - see section.h. What is not there is empty, as with Dovecot. */
#include "imapd/section.h"

enum {
    SECTION_PIECE_OCTETS = 64 * 1024,
    SECTION_KEPT_OCTETS = 1024 * 1024 /* what is longer decoded is decoded once more to be sent */
};

void
section_source_close(struct section_source *src)
{
    store_file_close(&src->file);
    buf_free(&src->fields);
    *src = (struct section_source){ 0 };
}

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
pick_fields(struct section_source *src, const struct imap_fetch_item *it, struct slice header)
{
    struct mime_field field;

    buf_reset(&src->fields);
    while (mime_next_field(&header, &field))
        if (is_named(it, field.name) == (it->text == IMAP_SECTION_FIELDS)) {
            buf_adds(&src->fields, field.whole);
            if (!sl_ends(field.whole, '\n')) /* the message ends in it */
                buf_addz(&src->fields, "\r\n");
        }
    buf_addz(&src->fields, "\r\n");
    return buf_slice(&src->fields);
}

bool
section_is_cached(const struct imap_fetch_item *it)
{
    if (it->kind != IMAP_FETCH_SECTION || it->n_part > 0 || it->text != IMAP_SECTION_FIELDS)
        return false;
    for (size_t i = 0; i < it->n_fields; i++)
        if (!store_caches_field(it->fields[i]))
            return false;
    return true;
}

bool
section_is_header(const struct imap_fetch_item *it)
{
    return it->kind == IMAP_FETCH_RFC822_HEADER ||
           (it->kind == IMAP_FETCH_SECTION && it->n_part == 0 && it->text != IMAP_SECTION_ALL &&
            it->text != IMAP_SECTION_TEXT);
}

const struct mime_part *
section_part(struct section_source *src, const struct imap_fetch_item *it)
{
    const struct mime_part *root = store_file_tree(src->file);

    return it->n_part ? mime_find_part(root, it->part, it->n_part) : root;
}

static struct slice
numbered_section(struct section_source *src, const struct imap_fetch_item *it)
{
    const struct mime_part *p = section_part(src, it), *inside;

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
    return it->text == IMAP_SECTION_HEADER ? inside->header : pick_fields(src, it, inside->header);
}

static struct slice
message_section(struct section_source *src, const struct imap_fetch_item *it,
                enum imap_section_text text)
{
    struct slice message, header;

    if (it->kind == IMAP_FETCH_SECTION && src->headers.p && section_is_cached(it))
        return pick_fields(src, it, src->headers);
    message = store_file_octets(src->file);
    if (text == IMAP_SECTION_ALL)
        return message;
    header = mime_header_of(message);
    if (text == IMAP_SECTION_TEXT)
        return sl_from(message, header.n);
    return text == IMAP_SECTION_HEADER ? header : pick_fields(src, it, header);
}

static struct slice
octets_of(struct section_source *src, const struct imap_fetch_item *it)
{
    switch (it->kind) {
    case IMAP_FETCH_RFC822:
        return message_section(src, it, IMAP_SECTION_ALL);
    case IMAP_FETCH_RFC822_HEADER:
        return message_section(src, it, IMAP_SECTION_HEADER);
    case IMAP_FETCH_RFC822_TEXT:
        return message_section(src, it, IMAP_SECTION_TEXT);
    default:
        return it->n_part ? numbered_section(src, it) : message_section(src, it, it->text);
    }
}

/* ---- decoded ---- */

/* What of s, which begins at octet `at` of the section, lies in [first, end). */
static struct slice
within(struct slice s, uint64_t at, uint64_t first, uint64_t end)
{
    if (at < first)
        s = first - at < s.n ? sl_from(s, (size_t)(first - at)) : sl_n(NULL, 0);
    else
        first = at;
    return s.n > 0 && first < end ? sl_head(s, end - first < s.n ? (size_t)(end - first) : s.n)
                                  : sl_n(NULL, 0);
}

/* Its length and whether there are NULs is told before it is sent, so it is decoded here; if it is long, only to see. */
static void
look(struct section *s, uint64_t first, uint64_t end)
{
    struct buf piece = { 0 };
    uint64_t at = 0;

    while (at < end && mime_stream_next(&s->stream, &piece)) {
        struct slice in = within(buf_slice(&piece), at, first, end);

        at += piece.n;
        s->octets += in.n;
        s->has_nul = s->has_nul || (in.n > 0 && memchr(in.p, '\0', in.n) != NULL);
        if (s->octets > SECTION_KEPT_OCTETS) {
            s->is_stream = true;
            buf_free(&s->kept);
        } else {
            buf_adds(&s->kept, in);
        }
        buf_reset(&piece);
    }
    buf_free(&piece);
    if (!s->is_stream) {
        s->left = buf_slice(&s->kept);
        return;
    }
    mime_stream_rewind(&s->stream);
    s->skip = first;
    s->stream_left = s->octets;
}

static int
open_binary(struct section *s, struct section_source *src, const struct imap_fetch_item *it)
{
    const struct mime_part *p = section_part(src, it);
    uint64_t first = it->is_partial ? it->first : 0, end = UINT64_MAX;

    if (p == NULL)
        return 0;
    if (mime_stream_open(&s->stream, p, it->n_part == 0))
        return -1;
    if (it->is_partial && it->count < end - first)
        end = first + it->count;
    look(s, first, end);
    return 0;
}

int
section_open(struct section *s, struct section_source *src, const struct imap_fetch_item *it)
{
    *s = (struct section){ 0 };
    if (it->kind == IMAP_FETCH_BINARY || it->kind == IMAP_FETCH_BINARY_SIZE)
        return open_binary(s, src, it);
    s->left = octets_of(src, it);
    if (it->is_partial)
        s->left = within(s->left, 0, it->first,
                         it->count < UINT64_MAX - it->first ? it->first + it->count : UINT64_MAX);
    s->octets = s->left.n;
    return 0;
}

/* ---- sending ---- */

static void
mask(struct buf *out, size_t from)
{
    char *at = out->p + out->off + from, *end = out->p + out->off + out->n;

    for (; at < end && (at = memchr(at, '\0', (size_t)(end - at))) != NULL; at++)
        *at = (char)0x80;
}

static bool
send_stream(struct section *s, struct buf *out)
{
    struct buf piece = { 0 };
    struct slice in;

    if (s->stream_left == 0 || !mime_stream_next(&s->stream, &piece))
        return false;
    in = within(buf_slice(&piece), 0, s->skip, s->skip + s->stream_left);
    s->skip -= s->skip < piece.n ? s->skip : piece.n;
    s->stream_left -= in.n;
    buf_adds(out, in);
    buf_free(&piece);
    return true;
}

bool
section_send(struct section *s, struct buf *out, bool mask_nul)
{
    size_t was = out->n, n;

    if (s->is_stream) {
        if (!send_stream(s, out))
            return false;
    } else if (s->left.n == 0) {
        return false;
    } else {
        n = s->left.n < SECTION_PIECE_OCTETS ? s->left.n : SECTION_PIECE_OCTETS;
        buf_adds(out, sl_head(s->left, n));
        s->left = sl_from(s->left, n);
    }
    if (mask_nul)
        mask(out, was);
    return true;
}

void
section_close(struct section *s)
{
    mime_stream_free(&s->stream);
    buf_free(&s->kept);
    *s = (struct section){ 0 };
}
