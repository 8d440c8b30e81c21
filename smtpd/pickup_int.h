/* smtpd/pickup_int.h - what pickup's files share. Layer: smtpd. */
#ifndef POSTERN_SMTPD_PICKUP_INT_H
#define POSTERN_SMTPD_PICKUP_INT_H

#include "smtpd/pickup.h"

#include "base/arena.h"
#include "base/err.h"
#include "core/work.h"
#include "proto/drop.h"
#include "session/smtp_client.h"

enum {
    PICKUP_NAME_OCTETS = 64, /* of a file; longer ones are not postdrop's */
    PICKUP_PIECE_OCTETS = 256 * 1024
};

/* A file of maildrop/, opened. What read it (on a thread) belongs to it. */
struct pickup_file {
    char name[PICKUP_NAME_OCTETS];
    int fd;
    struct pickup_from from;
    char *user; /* the owner's login; NULL: he has none */
    struct arena mem;
    struct drop_seen seen;
    struct smtp_tx tx; /* without size: of content_octets */
    struct smtp_tx_rcpt *rcpts;
    size_t cap;
    off_t at;         /* of the next record to be read */
    struct buf piece; /* content octets read last */
    bool is_end;
};
enum pickup_rc {
    PICKUP_OK,
    PICKUP_WRECK, /* no message: e says why */
    PICKUP_AGAIN, /* cannot tell now: e */
    PICKUP_GONE   /* somebody else has it */
};
/* All blocking, on a thread of the pool. The first reads it from end to end: envelope, sizes. */
enum pickup_rc pickup_file_open(const char *dir, struct pickup_file *f, struct err *e);
/* The next piece of content into f->piece; is_end behind the last. */
int pickup_file_read(struct pickup_file *f, struct err *e);
void pickup_file_close(struct pickup_file *f);

enum feed_rc {
    FEED_QUEUED,
    FEED_REFUSED, /* for all recipients */
    FEED_PARTLY,  /* queued for some; nobody would have the others' addresses */
    FEED_AGAIN
};
/* Push the message through a session. done comes once, from the loop; text: "5.7.1 ..." why it was refused, or why it has
 * to be tried again. The file stays open. */
struct pickup_feed;
void pickup_feed(struct work_pool *pool, struct pickup_file *f,
                 void (*done)(void *arg, enum feed_rc rc, struct slice text), void *arg);

#endif
