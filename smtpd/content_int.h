/* smtpd/content_int.h - between content.c (the stream and the queue), content_fields.c (what becomes of a header's fields)
 * and content_checks.c (what header and body checks want done). Layer: smtpd, folder-private. */
#ifndef POSTERN_SMTPD_CONTENT_INT_H
#define POSTERN_SMTPD_CONTENT_INT_H

#include "session/content_filter.h"
#include "smtpd/content.h"

enum { CONTENT_STAGES_MAX = 4 };

struct content {
    struct smtpd_sess *s;
    struct queue_put *put;
    struct content_filter *filter;
    struct content_filter_conf conf;
    struct header_stage stages[CONTENT_STAGES_MAX];
    /* content_fields.c */
    unsigned seen, seen_resent; /* 1 << enum field */
    unsigned hops;
    bool is_resent; /* it has been sent on by somebody: that block is the one that must be whole */
    /* content_checks.c */
    const char *refusal;        /* NULL: none */
    enum mime_error mime_error; /* the worst one; 0: none */
    void (*done)(struct smtpd_sess *s);
};

void content_put(struct content *c, struct slice s);

/* ---- content_fields.c ---- */
/* A field on its way to the queue, after all stages. is_fixed: it is not looked at (an action put it there). */
void content_take_field(struct content *c, struct slice text, bool is_fixed);
void content_log_cut(struct content *c, struct slice text); /* unless it is dropped anyway */
/* What the header lacks, after its last field. */
void content_end_header(struct content *c);

/* ---- content_checks.c: functions of struct content_filter_ops ---- */
enum filter_verdict content_act(void *arg, const struct filter_line *l);
void content_log_action(void *arg, const struct filter_line *l);
void content_warn(void *arg, const char *text);
void content_mime_error(void *arg, enum mime_error e, struct slice where);
void content_failed(void *arg, const char *map, const struct err *e);

#endif
