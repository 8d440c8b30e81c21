/* queue/report_to.h - who gets a report: the sender, or where the virtual aliases of the sender's address lead. Mail that
 * clients send has its aliases followed by smtpd; what qmgr writes itself comes past here. Layer: queue, on the loop. */
#ifndef POSTERN_QUEUE_REPORT_TO_H
#define POSTERN_QUEUE_REPORT_TO_H

#include "base/slice.h"

enum {
    REPORT_TO_MAX = 1000,      /* addresses looked at for one report */
    REPORT_TO_RETRY_MS = 10000 /* tables that cannot be asked are asked again */
};

/* fn from the loop or from here, exactly once; v (at least one) is valid during the call. Tables that do not answer are
 * asked until they do. An alias that leads to nobody, or to more than there may be, leaves the address as it is. */
void report_to_find(struct slice sender, void (*fn)(void *arg, const struct slice *v, size_t n),
                    void *arg);

#endif
