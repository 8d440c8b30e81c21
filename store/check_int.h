/* store/check_int.h - check's files among themselves: check.c (the user), check_box.c and check_disk.c (a mailbox
 * compared), check_fix.c (put right). Folder-private. */
#ifndef POSTERN_STORE_CHECK_INT_H
#define POSTERN_STORE_CHECK_INT_H

#include "base/arena.h"
#include "store/maintain.h"
#include "store/store_int.h"

enum fault { /* the table of sentences is check_box.c's */
             FAULT_NO_FILE,
             FAULT_NO_ROW,
             FAULT_OTHER_NAME,
             FAULT_FLAGS,
             FAULT_SIZE,
             FAULT_CRLF,
             FAULT_TWIN,
             FAULT_UIDNEXT,
             FAULT_MODSEQ,
             FAULT_SUMS,
             FAULT_LOG,
             FAULT_KEYWORD,
             FAULT_KEYWORD_FILE,
             FAULT_SNAPSHOT,
             FAULT_UIDVALIDITY,
             FAULTS
};

struct check_row { /* of messages */
    uint32_t uid;
    int dir;
    const char *file;
    struct store_flags flags;
    uint64_t modseq;
    int64_t size, crlf;
    bool is_seen; /* its base name is on disk */
    bool is_size_wrong, is_crlf_wrong, is_flags_wrong, is_twin;
    int64_t right_crlf;
};

struct check_box { /* one mailbox, as of one moment */
    struct store_user *u;
    struct slice name;
    const char *dir;
    int64_t id;
    bool reads_files;
    struct mbox mb;
    struct arena mem;
    struct check_row *rows; /* by UID */
    size_t n, cap;
    struct map *by_base; /* row + 1 */
    uint64_t faults[FAULTS];
    char first[FAULTS][160]; /* of each: an example */
    uint64_t pending;
    bool is_moving; /* it changed all the time: not compared */
};

struct check_disk {
    int64_t new_ns, cur_ns;
    bool is_in_line; /* the index takes itself to be up to date with the folders */
};
int check_disk(struct check_box *c, const struct check_disk *d, struct err *e);
/* Count a fault; the words tell of its first example. */
void check_found(struct check_box *c, enum fault f, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
struct slice check_base_of(const char *file);

/* Compare. -1: e. The arrays stay until check_box_free(). */
int check_box(struct check_box *c, struct err *e);
void check_box_reset(struct check_box *c);
void check_box_free(struct check_box *c);
uint64_t check_box_count(const struct check_box *c);
void check_box_tell(const struct check_box *c, const struct store_teller *t);
/* What check_box() found is put right, as far as it still is so; in a transaction of its own. */
int check_box_fix(struct check_box *c, struct err *e);

#endif
