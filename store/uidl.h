/* store/uidl.h - what an old server called messages in POP3: the UIDLs and the order it gave them, kept so that no client
 * downloads anything twice. Layer: store. Blocking. */
#ifndef POSTERN_STORE_UIDL_H
#define POSTERN_STORE_UIDL_H

#include "store/store.h"

#include <stdint.h>

enum {
    STORE_UIDL_MAX_OCTETS = 512
}; /* of printable ASCII; RFC 1939 §7 has 70, Dovecot keeps longer ones */

struct store_uidl {
    uint32_t uid;
    uint32_t order; /* place in LIST; UINT32_MAX: none, behind all that have one */
    char *uidl;     /* NULL: none of its own, the server's form counts */
};
struct store_uidls {
    struct store_uidl *v; /* by UID, ascending; only messages that have one or the other */
    size_t n;
};
int store_uidls(struct store_view *v, struct store_uidls *out, struct err *e);
void store_uidls_free(struct store_uidls *l);

#endif
