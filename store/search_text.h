/* store/search_text.h - is a text in a header or a body, without case, whatever its charset and encoding. Folder-private.
 * Texts are compared folded by i;unicode-casemap (base/fold.h). What is ASCII is not copied: it is looked through where it
 * is, and what is not is decoded and folded into scratch memory that is used again. Line ends may be LF or CRLF. */
#ifndef POSTERN_STORE_SEARCH_TEXT_H
#define POSTERN_STORE_SEARCH_TEXT_H

#include "base/find.h"
#include "mime/mime.h"

struct needle {
    struct slice folded; /* without CRs, so that a line end in it is found in either form */
    bool is_ascii, has_line_end;
    struct find in_ascii, in_folded;
};
void needle_init(struct needle *n, struct slice utf8, struct arena *mem);

struct search_scratch {
    struct buf octets, utf8, text, folded, without_cr;
};
void search_scratch_free(struct search_scratch *s);

/* Any field of that name; an empty needle asks whether there is one (RFC 3501 §6.4.4). */
bool search_field_has(struct search_scratch *s, struct slice header, struct slice name,
                      const struct needle *n);

/* ---- many needles: each text is decoded and folded once for all ---- */

struct search_key {
    struct needle needle;
    bool in_headers; /* TEXT; else BODY */
    bool
        is_found; /* set by the functions below, which pass by who is found; an empty needle is in any text */
};
/* Those with in_headers: in any field, as "Name: value" decoded. */
void search_header_keys(struct search_scratch *s, struct slice header, struct search_key *keys,
                        size_t n);
/* Text parts, HTML as people read it, and attached messages with their headers; in_headers: those of parts too. */
void search_body_keys(struct search_scratch *s, const struct mime_part *root,
                      struct search_key *keys, size_t n);

#endif
