/* session/addr_map.h - addresses through tables: canonical(5), generic(5), and what masquerade_domains hides. Whole lists
 * of them at a time: each address is asked for once a message, the questions go out side by side.
 * An address is asked for under the keys of proto/lookup_keys.h. What a table says is completed as a local address is
 * ("u": at myorigin), "@d" is the same user there, and the address extension that an entry had not is put behind the
 * local part where propagate_unmatched_extensions wants it.
 * Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_ADDR_MAP_H
#define POSTERN_SESSION_ADDR_MAP_H

#include "auth/lookup_client.h"
#include "conf/conf.h"
#include "core/own_addrs.h"
#include "proto/smtp_addr.h"
#include "session/domlist.h"
#include "session/words.h"

enum {
    ADDR_MAP_TABLES_MAX = 2,
    ADDR_MAP_ROUNDS_MAX = 10,    /* a result is mapped again, as often as Postfix does */
    ADDR_MAP_WINDOW = 64,        /* addresses of a message that are asked for at a time */
    ADDR_MAP_KEPT_MAX = 10000,   /* answers kept of a message; with more it begins anew */
    ADDR_MAP_VALUE_OCTETS = 8192 /* a longer value is no address */
};

/* What is done with addresses of one sort: tables, one after the other, then masquerading. */
struct addr_plan {
    unsigned number; /* of the sort, below 256: what is kept of one is not for another */
    struct addr_plan_table {
        const char *param; /* "canonical_maps" */
    } tables[ADDR_MAP_TABLES_MAX];
    size_t n_tables;
    /* ADDR_MAP_ROUNDS_MAX: until an address is its own result; 1: once; 0: the first table's value is wanted as it
     * stands (recipient_bcc_maps). */
    unsigned rounds;
    bool keeps_extension;
    struct conf_list masquerade;    /* domains */
    const struct words *exceptions; /* local parts that are not masqueraded; NULL: none */
};
static inline bool
addr_plan_is_empty(const struct addr_plan *p)
{
    return p->n_tables == 0 && p->masquerade.n == 0;
}

/* What an address is in. All of it, and the plans, live until release(owner) is called. */
struct addr_map_conf {
    struct lookup_client *lookup;
    const struct conf *conf;
    const struct smtp_addr_rules *rules; /* how results are completed */
    const struct domlist *mydestination; /* domains that have names without a domain, as myorigin */
    const struct own_addrs *own;         /* and "[literal]" of these */
    const char *ident;                   /* in log lines; NULL: the program's */
    const char *outcome;                 /* of trouble, for the log: "message deferred" */
    void (*release)(void *owner);        /* may be NULL */
    void *owner;
};

struct addr_map; /* of one message; counted: who waits keeps it */
/* label: the queue id for log lines; copied. */
struct addr_map *addr_map_new(const struct addr_map_conf *c, const char *label);
struct addr_map *addr_map_ref(struct addr_map *m);
void addr_map_unref(struct addr_map **m); /* NULL-safe */

struct addr_mapped {
    struct slice addr; /* internal; rounds 0: the value */
    bool is_changed;   /* rounds 0: there is one */
};
/* n addresses, internal and complete, are mapped. done comes exactly once, at once or later from the loop, also after the
 * last addr_map_unref(): id and arg are the caller's to see whether anybody is still interested. v is in the order of
 * addrs and valid during the call. !good: a table could not be asked, or said what is no address; it was logged. */
typedef void addr_map_fn(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n);
void addr_map_run(struct addr_map *m, const struct addr_plan *plan, const struct slice *addrs,
                  size_t n, addr_map_fn *done, uint64_t id, void *arg);

#endif
