/* store/scan_int.h - what scan.c (reading) and scan_apply.c (into the index) share. Private to the two. */
#ifndef POSTERN_STORE_SCAN_INT_H
#define POSTERN_STORE_SCAN_INT_H

#include "store/store_int.h"

#include "base/arena.h"

enum {
    SCAN_BATCH = 512, /* differences in a transaction: some milliseconds */
    SCAN_IDS = 32
};

struct scan_row { /* a message the index knows */
    uint32_t uid;
    uint16_t base_n; /* of file */
    uint8_t dir, seen_dir;
    const char *file;
    const char *seen; /* the name on disk (file itself when it is that), or NULL */
};

struct scan_cand { /* a file the index does not know */
    const char *file;
    uint64_t s, us; /* of its name */
    uint16_t base_n;
    uint8_t dir;
    bool is_twin; /* its base name is another message's */
};

struct scan_twin { /* another file of a row's base name */
    size_t row;
    const char *file;
    int dir;
};

struct scan {
    struct store_user *u;
    struct slice normal;
    const char *dir;
    struct mbox *mb;
    bool take_new, in_tx; /* in_tx: all of it in a transaction of the caller's */
    struct map *hints;
    int64_t start_ns;
    /* reading */
    struct arena mem;
    struct scan_row *rows;
    size_t n_rows, cap_rows, n_unseen;
    uint32_t *slots; /* base name -> row + 1, open addressing */
    size_t mask;
    struct scan_cand *cands;
    size_t n_cands, cap_cands;
    struct scan_twin *twins;
    size_t n_twins, cap_twins;
    bool is_full;        /* not new/ alone */
    bool is_same;        /* mtimes did not change while folders were read */
    bool is_still;       /* and that proves that the folders did not */
    int64_t mtime_ns[2]; /* of new/ and cur/, as read; with our own renames since */
    bool is_proof[2];    /* a later change has another */
    bool is_whole;       /* nothing was left for the next scan */
    /* applying */
    uint64_t read;       /* the MODSEQ when the first row was read */
    uint64_t known;      /* what changed after this MODSEQ is in `since` */
    struct map *since;   /* base names of rows made or changed since the rows were read */
    struct map *pending; /* base names that a record is about */
    struct parts parts;
    uint64_t letters; /* keyword letters met */
    const char *last; /* base name of the last file taken */
    size_t last_n;
    bool is_first, did_move;
    uint32_t last_cur_uid;
    uint64_t ids[SCAN_IDS]; /* random numbers in store */
    size_t n_ids;
    /* of the transaction */
    bool is_moved, is_noted; /* noted: quota knows of the scan */
    bool was_same[2];        /* folders as we know them, when it began */
    struct own_change own;
    struct quota_charge done; /* deliveries that were done before anything was read */
};

struct slice scan_base(const char *file);
const char *scan_part(int dir);

/* A transaction of the scan, or nothing within the caller's; others get their turn after it. */
int scan_tx_begin(struct scan *c, struct err *e);
int scan_tx_end(struct scan *c, int rc, struct err *e);
/* All differences, by transactions. */
int scan_apply(struct scan *c, bool may_expunge, struct err *e);
/* Are rows of new/ whose files were not met still what the index has? 1, 0, -1. */
int scan_is_missing(struct scan *c, struct err *e);
/* What the index has in new/ goes to cur/. */
int scan_take_new(struct scan *c, struct err *e);

#endif
