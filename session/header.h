/* session/header.h - header fields that were gathered from a stream of content, and the stages that look into them or
 * change them and that may have to wait for others: checks, then the mapping of addresses.
 *
 * A header is gathered whole where it fits into HEADER_BATCH_OCTETS and _FIELDS; of a longer one each batch goes through all stages
 * before the next is begun, so that nothing passes a stage by and memory stays bounded.
 * Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_HEADER_H
#define POSTERN_SESSION_HEADER_H

#include "base/buf.h"
#include "base/err.h"

/* An empty field of two octets costs some hundred in memory: the octets alone would be no bound. */
enum { HEADER_BATCH_OCTETS = 1024 * 1024, HEADER_BATCH_FIELDS = 16 * 1024 };

/* Whose header a field is in. Fields about MIME are HEADER_MIME wherever they stand in header_checks(5)'s sense; that is
 * the checks' business, not this. */
enum header_class {
    HEADER_PRIMARY, /* the message's own */
    HEADER_MIME,    /* a part's */
    HEADER_NESTED   /* an attached message's */
};

struct header_field {
    struct header_field *next;
    size_t name_n; /* octets of the name; a colon follows */
    struct buf
        text; /* name, colon, value; its lines parted by LF, no end of the last one. A line that continues should
                      * begin with white space: where it does not, a tab is put in front */
    bool
        is_fixed; /* an action put it there (PREPEND): it is not rewritten, and does not count as one of the client's */
};

/* One batch. In order. */
struct header {
    struct header_field *first, **end;
    size_t n, octets;
    enum header_class class;
};

void header_init(struct header *h);
/* text is copied. The name ends at the first colon: there is one. */
struct header_field *header_add(struct header *h, struct slice text);
/* One that is in no header; it is moved. */
void header_push(struct header *h, struct header_field *f);
void header_field_free(struct header_field *f); /* in no header; NULL-safe */
void header_clear(struct header *h);            /* fields are freed; it can be used on */

static inline struct slice
header_field_name(const struct header_field *f)
{
    return sl_head(buf_slice(&f->text), f->name_n);
}
/* What follows the colon, raw: with its leading blank and its folded lines. */
static inline struct slice
header_field_value(const struct header_field *f)
{
    return sl_from(buf_slice(&f->text), f->name_n + 1);
}
/* Write it anew. text: name, colon, value. */
void header_field_set(struct header_field *f, struct slice text);

/* ---- stages ---- */

struct header_run;

/* One stage. run looks at h, changes texts, adds and takes out fields, and ends in header_run_next(), once, at once or
 * later from the loop. Until then r and h are there, also when whose header it is has gone; id may be dead by then. arg
 * must live until then: something counted, or a daemon's own. */
struct header_stage {
    void (*run)(void *arg, uint64_t id, struct header *h, struct header_run *r);
    void *arg;
};

/* Send a batch through the stages: its fields are moved, h is empty again. done comes once, at once if no stage waits:
 * rc 0 and the fields, which are the callee's to use until it returns; or -1 with e, where a stage failed: nobody can
 * say what this header should be. It does not come when id is gone. stages live until done, or as long as the arg of
 * those that wait. */
void header_run_start(struct header *h, const struct header_stage *stages, size_t n,
                      void (*done)(uint64_t id, int rc, struct header *h, const struct err *e),
                      uint64_t id);
/* rc -1: e. */
void header_run_next(struct header_run *r, int rc, const struct err *e);

#endif
