/* smtpd/content.h - a message's content on its way from the client to the queue: our Received line in front, header
 * fields that are the server's own business taken out, loops counted, what local clients leave out added. Everything
 * that looks into content happens here and at the end of data, once. RFC 5321 §4.4, RFC 5322 §3.6. Layer: smtpd. */
#ifndef POSTERN_SMTPD_CONTENT_H
#define POSTERN_SMTPD_CONTENT_H

#include "smtpd/smtpd.h"

/* The transaction has its queue id and recipients. Never NULL. */
struct content *content_new(struct smtpd_sess *s);
void content_write(struct content *c, struct slice canonical); /* lines end CRLF; any pieces */
/* All has come. done at once or later: all of it is looked at and with the queue's handle. */
void content_end(struct content *c, void (*done)(struct smtpd_sess *s));
/* After that: why the message is not to be taken, "554 5.4.0 ..."; NULL: it is. Lives as long as the transaction. */
const char *content_refusal(const struct content *c);
size_t content_backlog(struct content *c);
/* The queue's handle; the content is freed and no longer owns it. */
struct queue_put *content_take_put(struct content **c);
void content_free(struct content **c); /* with the handle; NULL-safe */

#endif
