/* mime/mime_int.h - what the files of mime/ share. Layer: mime, folder-private. */
#ifndef POSTERN_MIME_MIME_INT_H
#define POSTERN_MIME_MIME_INT_H

#include "mime/mime.h"

/* Step *in past blanks, line ends and (nested (comments)): CFWS, RFC 5322 §3.2.2. */
void mime_skip_cfws(struct slice *in);

/* The first of the addresses of a raw field, in the arena; false: there is none. */
bool mime_first_address(struct slice raw, struct arena *mem, struct mime_address *out);

/* Is a line of a multipart's body (with its end) one of that boundary's? RFC 2046 §5.1.1 */
enum { MIME_BOUNDARY_MAX = 1000 };
enum mime_line { MIME_LINE_OTHER, MIME_LINE_DELIMITER, MIME_LINE_CLOSE };
enum mime_line mime_classify_line(struct slice line, struct slice boundary);

/* v[0..n), of one field, with what is in pieces joined in place (RFC 2231 §3); how many are left. Values in the arena. */
size_t mime_join_params(struct mime_param *v, size_t n, struct arena *mem);

#endif
