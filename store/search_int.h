/* store/search_int.h - a search in work: search.c goes through messages, search_match.c knows what matches. Folder-private. */
#ifndef POSTERN_STORE_SEARCH_INT_H
#define POSTERN_STORE_SEARCH_INT_H

#include "store/bulk.h"
#include "store/search.h"
#include "store/search_text.h"

enum level { LEVEL_ROW, LEVEL_INDEX, LEVEL_FILE };
enum tri { NO, YES, MAYBE };
struct plan {
    const struct search_node *node;
    enum level level;
    struct plan **kids; /* cheapest first */
    size_t n_kids;
    struct needle needle; /* HEADER */
    size_t key;           /* BODY, TEXT: in the search's keys */
    uint64_t keyword_bit; /* 0: the mailbox has no such keyword */
    int64_t id;           /* EMAILID, THREADID; 0: none that is ours */
};

struct candidate {
    uint32_t seq;
    enum tri is;
    struct bulk_row *
        index; /* in block_mem, without texts but for the file's name: what is MAYBE after LEVEL_INDEX */
};

enum phase { PHASE_ROWS, PHASE_INDEX, PHASE_FILES };

struct store_search {
    struct store_view *view;
    struct arena plan_mem, block_mem, mime_mem;
    const struct plan *plan;
    unsigned need;           /* BULK_* */
    bool must_read_body;     /* where a file is opened at all */
    struct search_key *keys; /* of all BODY and TEXT */
    size_t n_keys, cap_keys;
    bool are_keys_known; /* of the message at hand, each found or not */
    size_t
        key_at; /* those before it are known of the message at hand, which has not all had its turn */
    int64_t now_unix_s;
    uint32_t *seqs; /* what was found, upwards and then from the end down */
    size_t n, cap;
    size_t most_first, most_last; /* as many are enough; 0, 0: all */
    bool has_among;
    struct store_uids among; /* only these sequence numbers */
    size_t range;            /* of among, where at is */
    uint32_t exists, at;     /* at: last sequence number looked at */
    bool is_down;            /* from the end now: */
    size_t n_up;             /* found before */
    uint32_t top, floor;     /* next to look at, and where to stop before */
    enum phase phase;
    struct candidate block[BULK_BLOCK];
    size_t n_block, at_file,
        n_yes; /* of the block those that are decided, in the direction of the search */
    uint32_t maybe[BULK_BLOCK];
    struct bulk bulk;
    struct search_scratch scratch;
    int dir_fd[2]; /* new/ and cur/, once one is needed; -1 */
    struct buf octets;
};

/* The message at hand; at LEVEL_FILE header and root are of its file. */
struct message {
    uint32_t seq;
    struct store_row row;
    const struct bulk_row *index; /* NULL: not read yet */
    bool has_file;
    struct slice header; /* of the file */
    const struct mime_part *root;
};

/* The program made ready: in plan_mem, with what it needs noted in s. */
struct plan *search_make_plan(struct store_search *s, const struct search_node *n);
/* Thousands of keys in a large message are looked for in several turns, with its file. False: there are some left. */
bool search_some_keys(struct store_search *s, const struct message *m, size_t octets);
/* With what is known of the message so far. */
enum tri search_match(struct store_search *s, const struct message *m);

#endif
