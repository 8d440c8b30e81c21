/* dns/dns.h - DNS questions on the loop, by c-ares, with a cache bounded in entries and kept by TTL.
 * The only folder that includes <ares.h>. Layer: dns. Belongs to the loop's thread.
 *
 * Each question is answered exactly once by its callback, from the loop and never from inside the call, also when the
 * answer was in the cache. The asker names itself by a session id (core/loop.h id_add); when it is gone by then the
 * callback finds nothing and returns. Equal questions under way are asked once.
 *
 * A name is asked as it stands, no search list (as Postfix does); one with U-labels under its A-labels. "localhost" and names under it are the loopback
 * addresses without asking anybody (RFC 6761 §6.3). CNAMEs are followed as the resolver's answer has them. */
#ifndef POSTERN_DNS_DNS_H
#define POSTERN_DNS_DNS_H

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "core/addr.h"

enum {
    DNS_NAME_OCTETS = 256,    /* a name as text with its NUL, RFC 1035 §2.3.4 */
    DNS_RR_MAX = 128,         /* records of one answer that are looked at; the rest is dropped */
    DNS_CACHE_ENTRIES = 4096, /* the oldest goes first */
    DNS_CACHE_TTL_MAX_S = 3600,
    DNS_NEGATIVE_TTL_S = 60, /* NODATA and NXDOMAIN; TEMP is never kept */
    DNS_TIMEOUT_MS = 5000    /* one try of one resolver; two rounds over all of them */
};

enum dns_rc {
    DNS_OK,       /* n >= 1 records */
    DNS_NODATA,   /* the name is there, records of this type are not */
    DNS_NXDOMAIN, /* no such name */
    DNS_TEMP /* SERVFAIL, REFUSED, time-out, no resolver, an answer that does not parse: nothing is known */
};

enum dns_type {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_TLSA = 52
};

struct dns_rr {
    enum dns_type type;
    uint16_t pref; /* MX: preference */
    struct slice
        text; /* MX: host; NS, PTR, CNAME: name (no final dot, lower case; MX "" is the null MX of RFC 7505);
                        * TXT: the strings joined; TLSA: certificate association data */
    struct addr addr;                  /* A and AAAA, port 0 */
    uint8_t usage, selector, matching; /* TLSA, RFC 6698 §2.1 */
};

struct dns_answer {
    enum dns_rc rc;
    const char *name;  /* what was asked, lower case */
    const char *cname; /* where its CNAMEs lead, or name itself */
    const struct dns_rr *rrs;
    size_t n;
    uint32_t ttl_s; /* least of the records */
    bool
        is_secure; /* AD was set; worth something only from a resolver that is trusted (loopback) */
    enum dns_type
        about; /* dns_addr() without records: of which of its two questions rc is the answer */
    const char
        *why; /* DNS_TEMP: "DNS server returned general failure", "timed out", ... ; "" otherwise */
};

/* a and all in it are valid during the call only. */
typedef void dns_fn(uint64_t id, const struct dns_answer *a);

struct dns;

/* resolvers: "127.0.0.1", "127.0.0.1:5353", "[::1]:5353", a host name with optional port (looked up once, blocking, at
 * this call); empty: /etc/resolv.conf. ERR_CONFIG when one is not understood. Daemons pass &conf->dns_resolvers. */
int dns_new(const struct conf_list *resolvers, struct dns **out, struct err *e);
/* Are all resolvers loopback addresses? Only then is an answer's is_secure worth something (RFC 7672 §2.1.1): on any other way
 * the bit may have been set by whoever sits there. */
bool dns_is_trusted(const struct dns *d);
void dns_free(struct dns **d); /* questions under way get no callback; NULL-safe */

/* MX records in ascending preference, equal ones in random order. No MX at all is DNS_NODATA: the caller falls back to
 * the address (RFC 5321 §5.1). */
void dns_mx(struct dns *d, struct slice name, dns_fn *cb, uint64_t id);

/* Addresses of a name: A and AAAA asked side by side, one answer; AAAA first (what a caller prefers it sorts itself).
 * DNS_OK when either gave one; DNS_TEMP when neither did and one of them was DNS_TEMP. */
enum { DNS_WANT_A = 1, DNS_WANT_AAAA = 2, DNS_WANT_HOSTS = 4 /* look into /etc/hosts first */ };
void dns_addr(struct dns *d, struct slice name, unsigned want, dns_fn *cb, uint64_t id);

/* The name of an address, /etc/hosts first as getnameinfo(3) does: text of the records is the name. The caller checks it
 * forward with dns_addr(DNS_WANT_HOSTS) before believing it. */
void dns_ptr(struct dns *d, const struct addr *a, dns_fn *cb, uint64_t id);

void dns_txt(struct dns *d, struct slice name, dns_fn *cb, uint64_t id);

/* "_25._tcp.host" records; usable only where is_secure. */
void dns_tlsa(struct dns *d, struct slice name, dns_fn *cb, uint64_t id);

/* One type as it is, e.g. DNS_A of a block list. */
void dns_query(struct dns *d, enum dns_type type, struct slice name, dns_fn *cb, uint64_t id);

/* The name that is asked for an address under a zone: "1.2.0.192.zone", nibbles for IPv6. 0, or -1 when it does not fit. */
int dns_reverse_name(const struct addr *a, const char *zone, char out[DNS_NAME_OCTETS]);

#endif
