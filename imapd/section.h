/* imapd/section.h - sections of a message, BODY[section]<partial> and BINARY[section]<partial> (RFC 3501 §6.4.5, RFC 3516),
 * on their way to a client: for FETCH and URLFETCH. Folder-private. */
#ifndef POSTERN_IMAPD_SECTION_H
#define POSTERN_IMAPD_SECTION_H

#include "base/buf.h"
#include "mime/stream.h"
#include "proto/imap.h"
#include "store/store.h"

/* A message that sections are taken of. Zeroed at first; section_source_close() in the end. */
struct section_source {
    struct store_file *file; /* NULL: nothing but `headers` */
    struct slice headers;    /* the usual fields, as the index has them; p NULL: it has not */
    struct buf fields;       /* what HEADER.FIELDS picked */
};
void section_source_close(struct section_source *src);

/* Is it fields of the message's header that the index has? */
bool section_is_cached(const struct imap_fetch_item *it);
/* Of the message's own header alone: the rest of the file need not be read. */
bool section_is_header(const struct imap_fetch_item *it);
/* The part that the numbers name, the message itself when there are none; NULL: there is none. */
const struct mime_part *section_part(struct section_source *src, const struct imap_fetch_item *it);

struct section {
    uint64_t octets; /* all of it */
    bool has_nul;
    struct slice left; /* in memory: of the message, the fields, or `kept` */
    struct buf kept;
    bool is_stream; /* else decoded again as it is sent */
    struct mime_stream stream;
    uint64_t skip, stream_left;
};
/* Begin; section_close() in either case. What is not there is empty. -1: encoded in a way that nobody knows. */
int section_open(struct section *s, struct section_source *src, const struct imap_fetch_item *it);
/* Append a piece to out; false: all has been. mask_nul: 0x80 for a NUL, which no literal of RFC 3501 may hold. */
bool section_send(struct section *s, struct buf *out, bool mask_nul);
void section_close(struct section *s);

#endif
