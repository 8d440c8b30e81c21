/* queue/report_to.h - who gets a report: the sender, or where the aliases of the sender's address lead. Mail that clients send
 * has its aliases followed by smtpd; what qmgr writes itself comes past here. Layer: queue, on the loop. */
#ifndef POSTERN_QUEUE_REPORT_TO_H
#define POSTERN_QUEUE_REPORT_TO_H

#include "session/queue_client.h"

enum {
    REPORT_TO_MAX = 1000,      /* addresses looked at for one report */
    REPORT_TO_RETRY_MS = 10000 /* tables that cannot be asked are asked again */
};

/* virtual_alias_maps, and for addresses of mydestination alias_maps. postmaster's mail goes to root where postmaster has
 * neither alias nor mailbox.
 * fn from the loop or from here, exactly once; v (at least one; addr, kind and target are set) is valid during the call.
 * Tables that do not answer are asked until they do. An alias that leads to nobody, or to more than there may be, leaves the
 * address as it is. */
void report_to_find(struct slice sender,
                    void (*fn)(void *arg, const struct queue_rcpt *v, size_t n), void *arg);

#endif
