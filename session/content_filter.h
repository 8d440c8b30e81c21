/* session/content_filter.h - content on its way through: the header's fields gathered in batches and sent through checks
 * (header_checks(5)) and further stages (session/header.h), the body walked through and its lines checked. What waits for an
 * answer is bounded: what is written meanwhile is kept, and content_filter_kept() is what the writer must heed.
 * Where nothing is to be asked, content streams: a field is passed on when it is whole, the body as it comes.
 * Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_CONTENT_FILTER_H
#define POSTERN_SESSION_CONTENT_FILTER_H

#include "session/checks.h"
#include "session/mime_walk.h"

enum { CONTENT_BATCH_OCTETS = 64 * 1024, CONTENT_BATCH_ITEMS = 4096 };

struct content_filter_conf {          /* lives as long as the filter */
    const struct checks_conf *checks; /* NULL: none */
    struct lookup_client *lookup;     /* with checks: a connection for lines */
    struct mime_walk_conf mime;
    bool has_walk;                     /* the body is looked into; else it streams */
    const struct header_stage *stages; /* after the checks; they live as header.h says */
    size_t n_stages;
};

/* A field or a line that a table has something to say about. */
struct filter_line {
    bool is_header;
    const char *map; /* "body_checks" */
    struct slice text, value;
    struct checks_action action;
};
enum filter_verdict {
    FILTER_KEEP,
    FILTER_OFF, /* it stays, and nothing more is looked at */
    FILTER_END, /* the message comes to nothing: nothing more is passed on */
    FILTER_UNKNOWN
};

struct content_filter_ops {
    /* What only some can do: BCC, DISCARD, FILTER, HOLD, PASS, REDIRECT, REJECT. It logs, too. */
    enum filter_verdict (*act)(void *arg, const struct filter_line *l);
    /* "action: header Subject: x ...: text" */
    void (*log)(void *arg, const struct filter_line *l);
    void (*warn)(void *arg, const char *text); /* of a table's entry: nonsense */
    void (*cut)(void *arg, struct slice field);
    void (*mime_error)(void *arg, enum mime_error e, struct slice where);
    /* The way out. Fields of the message's own header: lines parted by LF. */
    void (*field)(void *arg, struct slice text, bool is_fixed);
    void (*end_header)(void *arg);
    void (*body)(void *arg, struct slice octets); /* begins with the empty line */
    /* A look-up failed (map), or a stage did (NULL, e): the message cannot be taken now. Nothing more is passed on. */
    void (*failed)(void *arg, const char *map, const struct err *e);
    void (*moved)(
        void *arg); /* after a wait: some of what was kept has gone. May be NULL. Last of all */
};

struct content_filter;
struct content_filter *content_filter_new(const struct content_filter_conf *c,
                                          const struct content_filter_ops *ops, void *arg);
void content_filter_free(struct content_filter **f); /* no callback any more; NULL-safe */
/* A field before the first one that is written; it goes the same way. */
void content_filter_add(struct content_filter *f, struct slice text);
void content_filter_write(struct content_filter *f,
                          struct slice s); /* lines end CRLF; any pieces */
/* All is written. done at once or later: all is passed on, or never will be. */
void content_filter_end(struct content_filter *f, void (*done)(void *arg));
size_t content_filter_kept(const struct content_filter *f);
/* From inside a callback or without: the rest comes to nothing. */
void content_filter_drop(struct content_filter *f);

/* A field's lines, each with CRLF; where one that continues begins without white space, a tab is put before it. */
void content_filter_lines(struct slice text, struct buf *out);

#endif
