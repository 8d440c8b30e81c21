/* session/domlist.h - lists of domains as main.cf has them: names, literals, and look-up tables that authd
 * answers for. Lists of networks are core/netlist.h. Layer: session. */
#ifndef POSTERN_SESSION_DOMLIST_H
#define POSTERN_SESSION_DOMLIST_H

#include "conf/conf.h"
#include "core/netlist.h"

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

#endif
