/* smtpd/domlist.h - lists of domains and networks as main.cf has them: names, literals, and look-up tables that authd
 * answers for. Layer: smtpd. */
#ifndef POSTERN_SMTPD_DOMLIST_H
#define POSTERN_SMTPD_DOMLIST_H

#include "conf/conf.h"
#include "core/addr.h"

/* A list of domains, e.g. mydestination. Borrowed from the configuration. */
struct domlist {
    const char *param; /* its name: what authd is asked under when all items are tables */
    struct conf_list items;
    size_t n_tables;
    bool with_subdomains; /* a name stands for what is below it too (relay_domains) */
};
enum domlist_rc { DOMLIST_NO, DOMLIST_YES, DOMLIST_ASK /* the tables know */ };

void domlist_init(struct domlist *l, const char *param, struct conf_list items,
                  bool with_subdomains);
/* Names only; "!name" excludes. ASK when no name decided and there are tables. */
enum domlist_rc domlist_match(const struct domlist *l, struct slice domain);
bool domlist_is_table(const char *item);

struct netlist {
    struct net {
        struct addr addr;
        unsigned bits;
        bool is_not;
    } * v;
    size_t n;
};
/* "192.0.2.0/24 [2001:db8::]/32 !192.0.2.7". IPv4-mapped IPv6 networks are taken as IPv4. ERR_CONFIG names the item. */
int netlist_init(struct netlist *l, const char *param, struct conf_list items, struct err *e);
void netlist_free(struct netlist *l);
bool netlist_match(const struct netlist *l, const struct addr *a);

#endif
