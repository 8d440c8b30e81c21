/* queue/bounce.h - what a report says: multipart/report (RFC 6522) with a text, message/delivery-status (RFC 3464), and the
 * original or its header; the forms of RFC 6533 for mail that needs SMTPUTF8. Built as Postfix builds them, for programs that
 * read bounces. Layer: queue. Pure. */
#ifndef POSTERN_QUEUE_BOUNCE_H
#define POSTERN_QUEUE_BOUNCE_H

#include "base/buf.h"
#include "queue/bounce_template.h"

struct bounce_rcpt {
    struct slice addr;   /* where it was to go */
    struct slice orig;   /* as RCPT had it */
    struct slice orcpt;  /* "type;address", or empty */
    const char *action;  /* "failed", "delayed", "delivered", "relayed", "expanded" */
    struct slice status; /* "5.1.1" */
    struct slice why;    /* what the log has in brackets */
    int64_t attempt_s;   /* when it was tried last; 0: not known */
};

struct bounce_report {
    enum bounce_kind kind;
    bool is_copy; /* for postmaster: another subject, no words for people, headers only */
    const struct bounce_templates *templates;
    const char *myhostname, *myorigin, *mail_name;
    const char *id; /* the report's own */
    int64_t now_s;
    struct slice to; /* for its header */
    /* of the message that it is about */
    const char *of;
    struct slice sender, envid;
    int64_t arrived_s, expires_s;
    bool is_utf8, wants_header_only;
    struct slice original; /* content, or its beginning when not is_whole */
    bool is_whole;
    const struct bounce_rcpt *rcpts;
    size_t n_rcpts;
};
void bounce_build(const struct bounce_report *r, struct buf *out);
/* Does what it says need 8BITMIME? Of what bounce_build() made. */
bool bounce_is_8bit(struct slice report);

/* "host NAME[IP]:PORT said: REPLY (in reply to ...)" and "delivery via NAME[IP]:PORT: REPLY" have a host and its words. */
bool bounce_split_said(struct slice why, struct slice *host, struct slice *said);

#endif
