/* store/rows.h - what views know of the messages of a mailbox: UID, flags, keywords, MODSEQ, by ascending UID.
 *
 * Rows never change once made: a new state shares with the old one all chunks in which nothing changed, and views that are
 * in the same state share all of it. So any thread reads what it holds a reference to, without a lock. Private to store/. */
#ifndef POSTERN_STORE_ROWS_H
#define POSTERN_STORE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ROWS_CHUNK = 1024 }; /* rows in a chunk at most; a change copies one */

struct vrow {
    uint32_t uid, sys; /* STORE_SEEN .. STORE_DRAFT */
    uint64_t kw, modseq;
};

struct rows; /* counted */
struct rows *rows_ref(struct rows *r);
void rows_unref(struct rows **r); /* NULL-safe */

size_t rows_count(const struct rows *r);
size_t rows_unseen(const struct rows *r);
/* i < rows_count() */
struct vrow rows_at(const struct rows *r, size_t i);
uint32_t rows_uid_at(const struct rows *r, size_t i);
size_t rows_at_least(const struct rows *r, uint32_t uid); /* the first with at least that UID */
size_t rows_first_unseen(const struct rows *r);           /* rows_count() when all are seen */
/* What only this holds is freed with it; for tests. */
size_t rows_shared_chunks(const struct rows *a, const struct rows *b);
size_t rows_chunks(const struct rows *r);

/* Rows from the first to the last. */
struct rows_maker;
struct rows_maker *rows_maker_new(void);
void rows_maker_add(struct rows_maker *m, const struct vrow *row); /* UIDs ascend */
struct rows *rows_maker_end(struct rows_maker **m);
void rows_maker_free(struct rows_maker **m);

struct rows_change {
    struct vrow row; /* put in, or in the place of the one with this UID */
    bool is_gone;    /* take it out, if it is there */
};
/* Changes by ascending UID, one a UID. */
struct rows *rows_apply(const struct rows *old, const struct rows_change *changes, size_t n);
/* No MODSEQ below that one. */
struct rows *rows_raise(struct rows *old, uint64_t floor);

/* What is different in b, by ascending UID. Costs what the chunks cost that they do not share. */
struct rows_diff_ops {
    void (*only_a)(void *arg, size_t index_in_a, uint32_t uid);
    void (*only_b)(void *arg, const struct vrow *row);
    void (*changed)(void *arg, const struct vrow *now);
};
void rows_diff(const struct rows *a, const struct rows *b, const struct rows_diff_ops *ops,
               void *arg);

#endif
