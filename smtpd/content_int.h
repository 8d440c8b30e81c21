/* smtpd/content_int.h - between content.c (the stream, waiting, the queue) and content_fields.c (what becomes of a
 * header's fields). Layer: smtpd, folder-private. */
#ifndef POSTERN_SMTPD_CONTENT_INT_H
#define POSTERN_SMTPD_CONTENT_INT_H

#include "session/header.h"
#include "session/header_split.h"
#include "smtpd/content.h"

enum { CONTENT_STAGES_MAX = 4 };

enum content_state {
    CONTENT_HEADER,
    CONTENT_HEADER_END, /* all fields have come; the last of them may be with a stage */
    CONTENT_BODY
};

struct content {
    uint64_t id;
    struct smtpd_sess *s;
    struct queue_put *put;
    enum content_state state;
    struct header_split split;
    struct buf rest; /* of the header: what its body begins with */
    /* fields.c */
    unsigned seen, seen_resent; /* 1 << enum field */
    unsigned hops;
    bool is_resent; /* it has been sent on by somebody: that block is the one that must be whole */
    /* Where stages wait: fields go through them in batches, and what comes meanwhile is kept. */
    struct header_stage stages[CONTENT_STAGES_MAX];
    size_t n_stages;
    struct header batch;
    struct buf kept;
    bool is_waiting, is_running;
    bool is_dropped;     /* refused, or for nobody: the rest is read and forgotten */
    const char *refusal; /* NULL: none */
    void (*done)(struct smtpd_sess *s);
};

void content_put(struct content *c, struct slice s);

/* ---- content_fields.c ---- */
/* A field on its way to the queue, after all stages. is_fixed: it is not looked at (an action put it there). */
void content_take_field(struct content *c, struct slice text, bool is_fixed);
void content_log_cut(struct content *c, struct slice text); /* unless it is dropped anyway */
/* What the header lacks, after its last field. */
void content_end_header(struct content *c);

#endif
