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
    struct buf octets, utf8, text, folded;
};
void search_scratch_free(struct search_scratch *s);

bool search_text_has(struct search_scratch *s, struct slice utf8, const struct needle *n);
/* Any field, as "Name: value" decoded. */
bool search_header_has(struct search_scratch *s, struct slice header, const struct needle *n);
/* Any field of that name; an empty needle asks whether there is one (RFC 3501 §6.4.4). */
bool search_field_has(struct search_scratch *s, struct slice header, struct slice name,
                      const struct needle *n);
/* Text parts, HTML as people read it, and attached messages with their headers. with_headers: those of parts too. */
bool search_body_has(struct search_scratch *s, const struct mime_part *root, bool with_headers,
                     const struct needle *n);

#endif
