/* store/notify.h - telling every imapd worker that mailboxes changed, by datagrams on private/imapd-notify-N.
 * A datagram is lines of SENDER TAB USER TAB MAILBOX LF (names as in store.h), or, when it is more than messages and flags that
 * changed, SENDER TAB USER TAB MAILBOX TAB KIND MORE LF, with a letter of NOTIFY_KINDS in the place of its store_event_kind. USER
 * NOTIFY_ALL: anything may have changed. A
 * worker whose queue is full is told a moment later: lines wait, and when they are too many NOTIFY_ALL takes their place.
 * Made and freed on the loop; the rest is thread-safe and never blocks. Layer: store. */
#ifndef POSTERN_STORE_NOTIFY_H
#define POSTERN_STORE_NOTIFY_H

#include "base/buf.h"
#include "conf/conf.h"

enum {
    NOTIFY_DATAGRAM_MAX = 8 * 1024,
    NOTIFY_WORKERS_MAX = 256,
    NOTIFY_SENDER_OCTETS = 17,
    NOTIFY_WAITING_MAX = 64 * 1024, /* octets, for a worker */
    NOTIFY_RETRY_MS = 5
};
#define NOTIFY_ALL   "*"
#define NOTIFY_KINDS "-CDRSUM"

struct notifier;
struct notifier *notifier_new(const struct conf *c);
void notifier_free(struct notifier **n);
const char *
notifier_sender(const struct notifier *n); /* names this process: own datagrams are skipped */

/* Add a line to a datagram in the making (not twice in a row); notifier_send() sends what is there and empties it. */
void notifier_add(struct notifier *n, struct buf *datagram, struct slice user,
                  struct slice mailbox);
/* event: KIND MORE */
void notifier_add_event(struct notifier *n, struct buf *datagram, struct slice user,
                        struct slice mailbox, struct slice event);
void notifier_send(struct notifier *n, struct buf *datagram);

/* Take a line; false at the end or on what is none. */
struct notify_line {
    struct slice sender, user, mailbox;
    struct slice event; /* KIND MORE, or empty */
};
bool notifier_take(struct slice *datagram, struct notify_line *out);

#endif
