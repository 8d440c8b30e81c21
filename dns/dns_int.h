/* dns/dns_int.h - between dns.c (asking, cache), answer.c (reading answers) and hosts.c. Layer: dns, private. */
#ifndef POSTERN_DNS_DNS_INT_H
#define POSTERN_DNS_DNS_INT_H

#include "base/arena.h"
#include "base/list.h"
#include "dns/dns.h"

enum { ENTRY_OCTETS_MAX = 64 * 1024 };

/* An answer that is kept: by the cache, and by those who are about to be told. */
struct entry {
    struct dns_answer a;
    struct arena arena; /* all that a points to */
    size_t cap;         /* of a.rrs */
    char *key;          /* in the cache; NULL: not kept */
    uint64_t until_ms;
    struct list link; /* dns.lru, the oldest first */
    unsigned refs;
};

/* A new entry with one reference; name is copied, lower case. */
struct entry *entry_new(struct slice name, enum dns_rc rc, const char *why);
void entry_unref(struct entry *e);
/* Append a record; false when it is full. text is copied. */
bool entry_add(struct entry *e, const struct dns_rr *rr);

/* Read a DNS message that answers a question of this type for e->a.name; fills rc, records, cname, ttl. RFC 1035 §4. */
void answer_read(struct entry *e, enum dns_type type, const unsigned char *msg, int n);

/* /etc/hosts: addresses of a name, or names of an address; false when there are none. */
bool hosts_addr(struct slice name, unsigned want, struct entry *e);
bool hosts_name(const struct addr *a, struct entry *e);

#endif
