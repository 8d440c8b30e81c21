/* base/deflate.h - raw DEFLATE streams (RFC 1951) as a conversation needs them: flushed whenever there is nothing more to say,
 * and small while nothing is said. The only user of zlib's compression. Layer: base. Not thread-safe. */
#ifndef POSTERN_BASE_DEFLATE_H
#define POSTERN_BASE_DEFLATE_H

#include "base/buf.h"

enum { DEFLATE_LEVEL_MAX = 9 };

/* ---- out ---- */
struct deflater;
/* level 1 (fast) .. 9 (small). A new one may go on where another was freed after a flush: its octets refer to nothing that was
 * said before. Takes some 270 KiB. */
struct deflater *deflater_new(int level);
void deflater_free(struct deflater **d); /* NULL-safe */
/* Append plain, compressed, so that the other side can read all of it: to a flush, or is_last to the stream's end. */
void deflater_add(struct deflater *d, struct slice plain, bool is_last, struct buf *out);
size_t deflater_octets(const struct deflater *d); /* of memory; NULL: 0 */

/* ---- in ---- */
struct inflater;
enum inflate_rc {
    INFLATE_OK,
    INFLATE_END, /* of the stream; what is left of *in is not of it */
    INFLATE_BAD  /* this is no such stream */
};
struct inflater *inflater_new(void);
void inflater_free(struct inflater **i); /* NULL-safe */
/* Append at most room octets to plain; *in is stepped past what was taken. A little input can become a thousand times as
 * much: with *has_more there is more to come from what was taken already. */
enum inflate_rc inflater_run(struct inflater *i, struct slice *in, size_t room, struct buf *plain,
                             bool *has_more);
/* Nothing comes for a while: keep no more than what later octets may refer to, which is what came, at most 32 KiB. Only where
 * a flush left the stream between two octets; else, and when resting already, nothing is done. The next run wakes it. */
void inflater_rest(struct inflater *i);
/* Whether a block has begun and not ended: its rest is still on its way. */
bool inflater_is_amid(const struct inflater *i);
size_t inflater_octets(const struct inflater *i); /* of memory; NULL: 0 */

#endif
