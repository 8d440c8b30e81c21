/* core/own_addrs.h - the addresses at which mail is ours: Postfix's inet_interfaces and proxy_interfaces. Layer: core.
 * Blocking for as long as the kernel takes to list the interfaces. */
#ifndef POSTERN_CORE_OWN_ADDRS_H
#define POSTERN_CORE_OWN_ADDRS_H

#include "conf/conf.h"
#include "core/addr.h"

struct own_addrs {
    struct addr *v;
    size_t n;
};
/* Those of the interfaces when inet_interfaces is all or loopback-only, else those it lists; and proxy_interfaces. */
void own_addrs_init(struct own_addrs *o, const struct conf *c);
void own_addrs_free(struct own_addrs *o);
bool own_addrs_has(const struct own_addrs *o, const struct addr *a); /* whatever the port */

#endif
