/* queue/bounce_template.h - the words of reports: four templates, built in or out of bounce_template_file (bounce(5)).
 * Layer: queue. Reentrant; blocking only in bounce_templates_load(). */
#ifndef POSTERN_QUEUE_BOUNCE_TEMPLATE_H
#define POSTERN_QUEUE_BOUNCE_TEMPLATE_H

#include "base/arena.h"
#include "conf/conf.h"

enum bounce_kind {
    BOUNCE_FAILURE,
    BOUNCE_DELAY,
    BOUNCE_SUCCESS, /* delivered, relayed, expanded */
    BOUNCE_VERIFY,
    BOUNCE_KINDS
};
enum { BOUNCE_TEMPLATES_OCTETS_MAX = 256 * 1024 };

struct bounce_template {
    struct slice charset;            /* of text */
    struct slice from;               /* as written: without a domain it gets myorigin */
    struct slice subject;            /* for the sender */
    struct slice postmaster_subject; /* for postmaster's copy, which has no text */
    struct slice text;               /* lines end LF; $name is not expanded yet */
    unsigned line;                   /* of the file; 0: built in */
};
struct bounce_templates {
    struct bounce_template v[BOUNCE_KINDS];
    struct arena mem;
    unsigned refs; /* the loop's */
};

/* Take the templates that text names, in place of those in out; slices point into text. -1: the first error, and its line. */
int bounce_templates_parse(struct slice text, struct bounce_template out[BOUNCE_KINDS],
                           unsigned *line, struct err *e);
/* "postern check" and qmgr: the templates with $name expanded. Where the file is bad the built-in one is taken and ps has a
 * warning. One reference. */
struct bounce_templates *bounce_templates_load(const struct conf *c, struct conf_problems *ps);
void bounce_templates_unref(struct bounce_templates **t);

#endif
