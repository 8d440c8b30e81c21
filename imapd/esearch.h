/* imapd/esearch.h - RETURN (...) of SEARCH, SORT and ESEARCH, and the untagged response that answers it: RFC 4731; SAVE: RFC 5182;
 * CONTEXT, UPDATE, PARTIAL, and RETURN in SORT: RFC 5267; PARTIAL from the end: RFC 9394; MAILBOX and UIDVALIDITY: RFC 7377.
 * Folder-private. */
#ifndef POSTERN_IMAPD_ESEARCH_H
#define POSTERN_IMAPD_ESEARCH_H

#include "imapd/cmd.h"

enum {
    ESEARCH_MIN = 1,
    ESEARCH_MAX = 2,
    ESEARCH_ALL = 4,
    ESEARCH_COUNT = 8,
    ESEARCH_PARTIAL = 16,
    ESEARCH_SAVE = 32,
    ESEARCH_UPDATE = 64
};
struct esearch {
    bool is_asked;        /* RETURN was there: the answer is ESEARCH */
    unsigned want;        /* ESEARCH_*; with is_asked never 0 */
    uint32_t first, last; /* PARTIAL: places among the results from 1, first <= last */
    bool is_from_end;     /* counted from the end */
    struct slice items;   /* UPDATE's "(UID FLAGS)" as written (RFC 5465 §7); n 0: none */
};
/* ["RETURN" SP "(" [option *(SP option)] ")"], after its space. */
enum parse_rc esearch_take(struct slice *in, struct arena *mem, struct esearch *r, struct err *e);

/* The first and the last so many results are enough to answer; 0, 0: all are needed. */
void esearch_limit(const struct esearch *r, size_t *first, size_t *last);

struct esearch_found {
    const struct store_view *view;
    const uint32_t *seqs; /* in order; those that esearch_limit() asks for, or more */
    size_t n;
    bool is_uid, has_modseq;
    const char *word;     /* without RETURN: "SEARCH", "SORT" */
    struct slice mailbox; /* p NULL: the selected one, and it is not told */
    uint32_t uidvalidity; /* with mailbox */
};
/* "* ESEARCH ...", or "* SEARCH 1 2 3". Nothing for RETURN (SAVE) alone. */
void esearch_tell(struct imap_cmd *c, const struct esearch *r, const struct esearch_found *f);
/* RETURN (SAVE): into the session's "$". */
void esearch_save(struct imap_sess *s, const struct esearch *r, const struct esearch_found *f);
/* "* ESEARCH (TAG "a1") UID"; the rest of the line is the caller's. */
void esearch_begin(struct imap_cmd *c, struct slice tag, bool is_uid);
/* "4,2:3": numbers in their order, ranges only upwards (RFC 5267 §3). */
void esearch_add_numbers(struct buf *out, const uint32_t *v, size_t n);

#endif
