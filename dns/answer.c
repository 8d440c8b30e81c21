/* dns/answer.c - DNS messages into records. c-ares expands the names; the rest of the message is read here, so that every
 * type has its TTL and the AD bit, and nothing is trusted to be as long as it says. */
#include "dns/dns_int.h"

#include "base/mem.h"

#include <ares.h>
#include <stdlib.h>

enum {
    HEADER_OCTETS = 12,
    RR_FIXED_OCTETS = 10,
    RCODE_MASK = 0x0f,
    RCODE_NXDOMAIN = 3,
    FLAG_AD = 0x20,
    TYPE_OPT = 41,
    CNAMES_MAX = 16
};

struct entry *
entry_new(struct slice name, enum dns_rc rc, const char *why)
{
    struct entry *e = MEM_NEW(struct entry);
    char *z;

    e->arena.cap = ENTRY_OCTETS_MAX;
    e->refs = 1;
    list_init(&e->link);
    if (name.n >= DNS_NAME_OCTETS)
        name.n = DNS_NAME_OCTETS - 1;
    z = arena_dupz(&e->arena, name);
    for (size_t i = 0; i < name.n; i++)
        z[i] = sl_lower_char(z[i]);
    e->a.name = e->a.cname = z;
    e->a.rc = rc;
    e->a.why = why;
    e->a.ttl_s = DNS_NEGATIVE_TTL_S;
    return e;
}

void
entry_unref(struct entry *e)
{
    if (e == NULL || --e->refs > 0)
        return;
    arena_free(&e->arena);
    free(e->key);
    free(e);
}

bool
entry_add(struct entry *e, const struct dns_rr *rr)
{
    struct dns_rr *v = (struct dns_rr *)(uintptr_t)e->a.rrs; /* ours */
    struct slice text;

    if (e->a.n == DNS_RR_MAX)
        return false;
    if (e->a.n == e->cap) {
        size_t cap = e->cap == 0 ? 2 : e->cap * 2;

        v = arena_alloc(&e->arena, cap * sizeof *v);
        if (v == NULL)
            return false;
        if (e->a.n > 0)
            memcpy(v, e->a.rrs, e->a.n * sizeof *v);
        e->a.rrs = v;
        e->cap = cap;
    }
    text = arena_dup(&e->arena, rr->text);
    if (text.p == NULL && rr->text.n > 0)
        return false;
    v[e->a.n] = *rr;
    v[e->a.n].text = text;
    e->a.n++;
    return true;
}

/* ---- reading ---- */

static unsigned
get16(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* A name at `at`; octets it takes, or -1. Lower case, no final dot. */
static long
take_name(const unsigned char *msg, int n, const unsigned char *at, char out[DNS_NAME_OCTETS])
{
    char *s = NULL;
    long len = 0;
    size_t k;

    if (at >= msg + n || ares_expand_name(at, msg, n, &s, &len) != ARES_SUCCESS)
        return -1;
    k = strlen(s);
    if (k >= DNS_NAME_OCTETS) {
        ares_free_string(s);
        return -1;
    }
    for (size_t i = 0; i <= k; i++)
        out[i] = sl_lower_char(s[i]);
    if (k > 0 && out[k - 1] == '.')
        out[k - 1] = '\0';
    ares_free_string(s);
    return len;
}

static bool
take_txt(struct entry *e, struct dns_rr *rr, const unsigned char *p, unsigned n)
{
    struct buf joined = { .max = ENTRY_OCTETS_MAX };
    bool is_ok = true;

    while (n > 0 && is_ok) {
        unsigned len = p[0];

        is_ok = len + 1 <= n && buf_add(&joined, p + 1, len) == 0;
        p += len + 1;
        n -= is_ok ? len + 1 : 0;
    }
    rr->text = buf_slice(&joined);
    if (is_ok)
        is_ok = entry_add(e, rr);
    buf_free(&joined);
    return is_ok;
}

/* One record's data into the entry; false when it is malformed. */
static bool
take_rdata(struct entry *e, enum dns_type type, const unsigned char *msg, int n,
           const unsigned char *p, unsigned len)
{
    struct dns_rr rr = { .type = type };
    char name[DNS_NAME_OCTETS];

    switch (type) {
    case DNS_A:
        if (len != 4)
            return false;
        rr.addr.u.in4.sin_family = AF_INET;
        memcpy(&rr.addr.u.in4.sin_addr, p, 4);
        rr.addr.len = sizeof rr.addr.u.in4;
        return entry_add(e, &rr);
    case DNS_AAAA:
        if (len != 16)
            return false;
        rr.addr.u.in6.sin6_family = AF_INET6;
        memcpy(&rr.addr.u.in6.sin6_addr, p, 16);
        rr.addr.len = sizeof rr.addr.u.in6;
        return entry_add(e, &rr);
    case DNS_MX:
        if (len < 3 || take_name(msg, n, p + 2, name) < 0)
            return false;
        rr.pref = (uint16_t)get16(p);
        rr.text = sl_z(name);
        return entry_add(e, &rr);
    case DNS_NS:
    case DNS_PTR:
    case DNS_CNAME:
        if (take_name(msg, n, p, name) < 0)
            return false;
        rr.text = sl_z(name);
        return entry_add(e, &rr);
    case DNS_TXT:
        return take_txt(e, &rr, p, len);
    case DNS_TLSA:
        if (len < 4)
            return false;
        rr.usage = p[0];
        rr.selector = p[1];
        rr.matching = p[2];
        rr.text = sl_n((const char *)p + 3, len - 3);
        return entry_add(e, &rr);
    }
    return false;
}

static void
become_bad(struct entry *e, const char *why)
{
    e->a.rc = DNS_TEMP;
    e->a.n = 0;
    e->a.why = why;
}

void
answer_read(struct entry *e, enum dns_type type, const unsigned char *msg, int n)
{
    const unsigned char *at = msg + HEADER_OCTETS, *end = msg + n;
    unsigned questions, answers, cnames = 0;
    char owner[DNS_NAME_OCTETS], target[DNS_NAME_OCTETS];

    if (n < HEADER_OCTETS) {
        become_bad(e, "DNS answer is too short");
        return;
    }
    questions = get16(msg + 4);
    answers = get16(msg + 6);
    e->a.is_secure = (msg[3] & FLAG_AD) != 0;
    if ((msg[3] & RCODE_MASK) != 0 && (msg[3] & RCODE_MASK) != RCODE_NXDOMAIN) {
        become_bad(e, "DNS server returned an error");
        return;
    }
    while (questions-- > 0) {
        long len = take_name(msg, n, at, owner);

        if (len < 0 || at + len + 4 > end) {
            become_bad(e, "DNS answer is malformed");
            return;
        }
        at += len + 4;
    }
    e->a.ttl_s = DNS_CACHE_TTL_MAX_S;
    while (answers-- > 0) {
        long len = take_name(msg, n, at, owner);
        unsigned rr_type, rd_len;
        uint32_t ttl;

        if (len < 0 || at + len + RR_FIXED_OCTETS > end) {
            become_bad(e, "DNS answer is malformed");
            return;
        }
        at += len;
        rr_type = get16(at);
        ttl = (uint32_t)get16(at + 4) << 16 | get16(at + 6);
        rd_len = get16(at + 8);
        at += RR_FIXED_OCTETS;
        if (at + rd_len > end) {
            become_bad(e, "DNS answer is malformed");
            return;
        }
        if (sl_ieqz(sl_z(owner), e->a.cname)) {
            if (ttl < e->a.ttl_s)
                e->a.ttl_s = ttl;
            if (rr_type == DNS_CNAME && type != DNS_CNAME && cnames++ < CNAMES_MAX &&
                take_name(msg, n, at, target) >= 0)
                e->a.cname = arena_dupz(&e->arena, sl_z(target));
            else if (rr_type == (unsigned)type && e->a.n < DNS_RR_MAX &&
                     !take_rdata(e, type, msg, n, at, rd_len)) {
                become_bad(e, "DNS answer is malformed");
                return;
            }
        }
        at += rd_len;
    }
    e->a.rc = e->a.n > 0                                ? DNS_OK
              : (msg[3] & RCODE_MASK) == RCODE_NXDOMAIN ? DNS_NXDOMAIN
                                                        : DNS_NODATA;
    if (e->a.rc != DNS_OK)
        e->a.ttl_s = DNS_NEGATIVE_TTL_S;
    e->a.why = "";
}
