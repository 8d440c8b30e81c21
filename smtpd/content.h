/* smtpd/content.h - a message's content on its way from the client to the queue: our Received line in front, header
 * fields that are the server's own business taken out, loops counted, what local clients leave out added. Everything
 * that looks into content happens here and at the end of data, once. RFC 5321 §4.4, RFC 5322 §3.6. Layer: smtpd. */
#ifndef POSTERN_SMTPD_CONTENT_H
#define POSTERN_SMTPD_CONTENT_H

#include "smtpd/smtpd.h"

/* The transaction has its queue id and recipients. Never NULL. */
struct content *content_new(struct smtpd_sess *s);
void content_write(struct content *c, struct slice canonical); /* lines end CRLF; any pieces */
void content_end(struct content *c);              /* the header is complete even without a body */
bool content_has_looped(const struct content *c); /* hopcount_limit Received lines */
size_t content_backlog(struct content *c);
/* The queue's handle; the content is freed and no longer owns it. */
struct queue_put *content_take_put(struct content **c);
void content_free(struct content **c); /* with the handle; NULL-safe */

#endif
