/* core/netlist.h - lists of networks as main.cf has them: mynetworks, haproxy_trusted_networks. Layer: core. Reentrant. */
#ifndef POSTERN_CORE_NETLIST_H
#define POSTERN_CORE_NETLIST_H

#include "conf/conf.h"
#include "core/addr.h"

struct net {
    struct addr addr;
    unsigned bits;
    bool is_not; /* "!" in front: what lies in it is not in the list */
};
/* "192.0.2.1", "!192.0.2.0/24", "[2001:db8::]/32". IPv4-mapped IPv6 networks are taken as IPv4. -1: it is none. */
int net_parse(struct slice text, struct net *out);

struct netlist {
    struct net *v;
    size_t n;
};
/* ERR_CONFIG names param and the item. */
int netlist_init(struct netlist *l, const char *param, struct conf_list items, struct err *e);
void netlist_free(struct netlist *l);
bool netlist_match(const struct netlist *l, const struct addr *a);

#endif
