/* session/header_split.h - the fields of one header out of a stream of content, as an MTA sees them (RFC 5322 §2.2, §4.5): a field is
 * gathered with the lines that continue it, blanks before the colon go, what follows a NUL in a line goes, and an mbox
 * "From " line in front becomes a field of its own. What ends a header is an empty line, or a line that is no field. Content may come in any pieces.
 * Layer: session (base only). Reentrant. */
#ifndef POSTERN_SESSION_HEADER_SPLIT_H
#define POSTERN_SESSION_HEADER_SPLIT_H

#include "base/buf.h"

enum { HEADER_NAME_OCTETS = 1000 }; /* what is longer is no name */

struct header_split {
    /* Set by the user. */
    size_t limit; /* header_size_limit: octets of a field; more than HEADER_NAME_OCTETS */
    /* A field is whole. text: "Name:value", lines parted by LF, without the last one's end; what is beyond the limit is
     * gone: at the end of a line when not more than a tenth is lost by that (is_cut). */
    void (*field)(void *arg, struct slice text, bool is_cut);
    void *arg;
    bool
        is_primary; /* not a part's header: "From " may stand in front, and a missing empty line is added */
    /* Its own, zeroed. */
    struct buf held; /* the start of a line */
    size_t name_len; /* of what is held: octets of a field's name */
    struct buf text;
    unsigned char state;
    bool is_begun; /* a line has come */
    bool is_nul, is_cut;
};

/* Take header lines (their ends CRLF, nothing bare) from the front of *in. True: the header is over; what has to come
 * before the rest of *in is appended to rest: the empty line, or (is_primary) one and what was held of a line that is no field. False: *in is
 * used up. After true it may be used for another header once header_split_again() was called. */
bool header_split_take(struct header_split *h, struct slice *in, struct buf *rest);
/* There is no more. True: what was held was no field's line, and is in rest, as above. False: the header had no end. */
bool header_split_end(struct header_split *h, struct buf *rest);
/* Forget the header under way, keep the settings. */
void header_split_again(struct header_split *h);
void header_split_free(struct header_split *h);

#endif
