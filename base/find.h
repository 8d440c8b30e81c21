/* base/find.h - is a text in another, at memory speed: many octets are compared at once, with or without ASCII case.
 * Layer: base. Reentrant. */
#ifndef POSTERN_BASE_FIND_H
#define POSTERN_BASE_FIND_H

#include "base/slice.h"

struct find {
    struct slice needle; /* borrowed */
    bool is_icase;
    size_t at[2];    /* two octets of it that are rare in texts, where */
    uint8_t want[2], /* what they are, without the bits that case changes */
        mask[2];
};
/* is_icase: ASCII letters without case. */
void find_init(struct find *f, struct slice needle, bool is_icase);
/* The offset of the first place, or SL_NPOS. An empty needle is at 0. */
size_t find_in(const struct find *f, struct slice hay);

/* How many octets of s are c. */
size_t find_count(struct slice s, char c);
/* How many octets in front are ASCII. */
size_t find_ascii(struct slice s);

#endif
