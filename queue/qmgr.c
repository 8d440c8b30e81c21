/* queue/qmgr.c - what the parts of qmgr have in common. */
#include "queue/qmgr_int.h"

#include "base/mem.h"

#include <stdio.h>

enum { IDENTS_MAX = 16 };

struct qmgr qm;

const char *
qmgr_ident(const char *what)
{
    static struct {
        const char *what;
        char *ident;
    } known[IDENTS_MAX];
    size_t i = 0, n;

    while (i < IDENTS_MAX && known[i].what && strcmp(known[i].what, what) != 0)
        i++;
    if (i == IDENTS_MAX)
        return what;
    if (known[i].what == NULL) {
        n = strlen(qm.conf->syslog_name) + strlen(what) + 2;
        known[i].ident = mem_alloc(n);
        snprintf(known[i].ident, n, "%s/%s", qm.conf->syslog_name, what);
        known[i].what = what;
    }
    return known[i].ident;
}
