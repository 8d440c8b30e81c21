/* pop3d/surrogate.c - a message for a client that has not said UTF8: where header fields, of the message or of its parts, are in
 * UTF-8, fields in ASCII stand in their place (RFC 6856 §2.1). The body is as it was, and so is a message without such
 * fields, whatever its charset. */
#include "pop3d/pop3d.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "mime/ascii_header.h"
#include "mime/mime.h"

enum { PARTS_MAX = 2 * 500 + 1 }; /* fields beyond are sent as they are */

struct pieces {
    struct slice *v, text;
    size_t n;
    const char *done; /* of text, up to here */
    struct arena *mem;
    uint64_t octets;
};

static void
add(struct pieces *p, struct slice s)
{
    if (s.n > 0)
        p->v[p->n++] = s;
    p->octets += s.n;
}

static void
take_header(struct pieces *p, struct slice header)
{
    struct buf ascii = { 0 };

    if (header.n == 0 || p->n + 3 > PARTS_MAX || header.p < p->done ||
        header.p + header.n > p->text.p + p->text.n)
        return;
    if (mime_ascii_header(header, &ascii)) {
        add(p, sl_n(p->done, (size_t)(header.p - p->done)));
        add(p, arena_dup(p->mem, buf_slice(&ascii)));
        p->done = header.p + header.n;
    }
    buf_free(&ascii);
}

static void
take_kids(struct pieces *p, const struct mime_part *part)
{
    for (size_t i = 0; i < part->n_kids; i++) {
        take_header(p, part->kids[i].header);
        take_kids(p, &part->kids[i]);
    }
}

size_t
pop3_surrogate(struct store_file *f, struct slice text, struct arena *mem, struct slice **parts,
               uint64_t *octets)
{
    struct slice header = mime_header_of(text);
    struct pieces p = { .text = text, .done = text.p, .mem = mem };

    if (utf8_is_ascii(text))
        return 0;
    p.v = arena_alloc(mem, sizeof p.v[0] * PARTS_MAX);
    take_header(&p, header);
    if (header.n < text.n) /* else the file may have been read no further */
        take_kids(&p, store_file_tree(f));
    if (p.done == text.p)
        return 0;
    add(&p, sl_n(p.done, (size_t)(text.p + text.n - p.done)));
    *parts = p.v;
    *octets = p.octets;
    return p.n;
}
