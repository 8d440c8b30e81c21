/* smtpd/hostlist.h - lists of clients as main.cf has them, by address or by name: smtpd_authorized_xclient_hosts and its
 * like (postconf(5)). No look-up tables: who may speak for others is not asked for elsewhere. Layer: smtpd. Reentrant. */
#ifndef POSTERN_SMTPD_HOSTLIST_H
#define POSTERN_SMTPD_HOSTLIST_H

#include "core/netlist.h"

struct host {
    struct net net;   /* addr.len 0: a name */
    const char *name; /* borrowed; ".example.com": what is below it */
    bool is_not;
};
struct hostlist {
    struct host *v;
    size_t n;
};
/* "192.0.2.1", "192.0.2.0/24", "[2001:db8::]/32", "host.example.com", ".example.com", and "!" in front. The names are
 * borrowed from the configuration. ERR_CONFIG names param and the item. */
int hostlist_init(struct hostlist *l, const char *param, struct conf_list items, struct err *e);
void hostlist_free(struct hostlist *l);
/* The first item that fits decides. name: the verified one; "unknown" is no name. */
bool hostlist_match(const struct hostlist *l, const char *name, const struct addr *a);

#endif
