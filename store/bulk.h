/* store/bulk.h - what the index has of many messages, for SEARCH, SORT and THREAD: tables are gone through in the order of
 * UIDs, side by side, not asked for each message. What is missing is computed first (cache_fill()). Folder-private. */
#ifndef POSTERN_STORE_BULK_H
#define POSTERN_STORE_BULK_H

#include "store/store_int.h"

enum {
    BULK_BLOCK = 512, /* messages between two questions to yield; user.lock is held for so many */
    BULK_SPARSE = 8   /* where fewer than one in so many are wanted, rows between are not read */
};
enum {                  /* what must be there; the row in messages always is read */
       BULK_SIZE = 1,   /* crlf */
       BULK_THREAD = 2, /* thread */
       BULK_SORT = 4,
       BULK_HEADERS = 8,
       BULK_BRIEF = 16,   /* of messages crlf and date alone: the rest of the row stays zero */
       BULK_SUBJECT = 32, /* of cache_sort base_subject alone */
       BULK_LINKS = 64,   /* of cache_sort what THREAD needs alone */
       BULK_SENT = 128    /* of cache_sort sent alone */
};
struct bulk_row { /* slices are good during the call */
    uint32_t seq, uid;
    bool is_there;                                   /* false: expunged; nothing below counts */
    int64_t crlf, date_s, savedate_s, email, thread; /* crlf -1, thread 0: not known */
    int tz_minutes;                                  /* may be TZ_LOCAL */
    int dir;
    struct slice file;
    bool has_sort; /* of cache_sort */
    struct slice base_subject, from_key, to_key, cc_key, from_name, to_name, message_id, refs;
    bool is_reply, has_sent;
    int64_t sent_s;
    int16_t sent_tz_minutes;
    bool has_headers; /* of cache_headers; headers.p NULL: they are too long for the index */
    struct slice headers;
};
struct bulk {
    struct store_view *v;
    unsigned need;
    const uint32_t *seqs; /* borrowed, ascending */
    size_t n, at;
    size_t end;                /* of the block in work */
    struct store_uids missing; /* of it */
    uint32_t fill_at;
};
/* take() is called once for each message, under user.lock: it does not block. Order: ascending, but for those that were
 * computed first. 0 done, 1 stopped by yield (call again), -1 e. yield may be NULL. Free missing by bulk_end(). */
int bulk_run(struct bulk *b, void (*take)(void *to, const struct bulk_row *r), void *to,
             bool (*yield)(void *), void *arg, struct err *e);
void bulk_end(struct bulk *b);

#endif
