/* imapd/search.h - the search program of the wire as the tree that the store runs, and running it in turns: what SEARCH, SORT,
 * THREAD and ESEARCH share. Folder-private. */
#ifndef POSTERN_IMAPD_SEARCH_H
#define POSTERN_IMAPD_SEARCH_H

#include "imapd/esearch.h"
#include "imapd/rows.h"

#include "store/search.h"

/* ---- search.c: the program ---- */
struct search_text {
    struct slice
        text; /* ["CHARSET" SP charset SP] keys; must_have_charset: charset SP keys (RFC 5256 §5) */
    size_t at; /* where it begins in the command, for the position in BAD */
    bool must_have_charset;
    bool no_numbers;         /* message numbers are BAD */
    struct store_view *view; /* what sets are resolved against */
    struct arena *mem;
};
struct search_program {
    struct search_node
        *root; /* in mem; sets in it are malloc'ed; slices point into the text or into mem */
    struct slice charset;
    size_t n_nodes;
    bool has_modseq; /* MODSEQ was among the keys: results tell it (RFC 7162 §3.1.5) */
    bool has_age;    /* OLDER, YOUNGER: what matches changes with nothing happening */
};
/* False: replied. Free in either case. On the pool. */
bool search_program_parse(struct imap_cmd *c, const struct search_text *t,
                          struct search_program *p);
void search_program_free(struct search_program *p);
/* Message numbers become UIDs, so that it can be run again when they have changed. */
void search_program_pin(struct search_node *root, const struct store_view *v);

/* "1-Feb-1994" with or without quotes, as days since 1970-01-01. */
bool search_take_date(struct slice *in, int64_t *day);

/* ---- search_run.c: run() of the commands, a turn at a time ---- */
enum {
    SEARCH_TURN_MS = 20 /* how long one of them keeps a thread while others wait */
};
struct search_run { /* zeroed, with text and, where RETURN is allowed, returns set */
    struct search_text text;
    const struct esearch *returns; /* NULL: all results are wanted */
    bool needs_all;                /* whatever is returned: SORT */
    bool is_whole;                 /* not of some messages only: THREAD */
    struct search_program program;
    struct store_search *search;
    uint64_t turn_until_ms;
    struct imap_cmd *c;
};
/* SP program, to the end of the command; parsed in run(): sets need the view. */
enum parse_rc search_take_text(struct imap_cmd *c, struct slice *in, struct search_text *t,
                               struct err *e);
void search_turn_begin(struct search_run *r, struct imap_cmd *c);
bool search_turn_is_over(void *run); /* for the store's yield; also when the client is gone */
/* CMD_DONE with *is_found: r->search has the result; without: replied. CMD_YIELD, CMD_FLUSH: again. */
enum cmd_rc search_run(struct search_run *r, bool *is_found);
/* The same for what goes on with the n messages found, *seqs, in a turn of its own. False: *rc is this turn's answer. */
bool search_run_first(struct search_run *r, const uint32_t **seqs, size_t *n, enum cmd_rc *rc);
/* An engine of the store was stopped (rc 1) with so many of all messages done, or failed. */
enum cmd_rc search_run_stopped(struct search_run *r, int rc, const struct err *e, size_t done,
                               size_t all);
void search_run_free(struct search_run *r);
/* What SEARCH and SORT do when the result is there, in order: tell, save, keep as a context (by, n_by: a SORT's). */
struct sort_by;
void search_run_finish(struct search_run *r, const uint32_t *seqs, size_t n,
                       const struct sort_by *by, size_t n_by);

#endif
