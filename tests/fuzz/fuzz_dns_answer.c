/* DNS answers off the wire: whatever a server sends becomes records within their bounds, or trouble that passes. */
#include "dns/dns_int.h"
#include "tests/fuzz/fuzz.h"

static const enum dns_type types[] = { DNS_A,   DNS_AAAA, DNS_MX,    DNS_NS,
                                       DNS_TXT, DNS_PTR,  DNS_CNAME, DNS_TLSA };

static void
must_be_a_name(const char *z)
{
    MUST(strlen(z) < DNS_NAME_OCTETS);
    for (; *z; z++)
        MUST(sl_lower_char(*z) == *z);
}

static void
must_be_good(const struct dns_rr *rr, enum dns_type type)
{
    size_t sum = 0;

    MUST(rr->type == type);
    for (size_t i = 0; i < rr->text.n; i++)
        sum += (unsigned char)rr->text.p[i]; /* the sanitizer sees whether it is all there */
    MUST(sum <= rr->text.n * 255);
    if (type == DNS_A || type == DNS_AAAA)
        MUST(rr->addr.len == (type == DNS_A ? sizeof rr->addr.u.in4 : sizeof rr->addr.u.in6));
    if (type == DNS_MX || type == DNS_NS || type == DNS_PTR || type == DNS_CNAME)
        must_be_a_name(rr->text.p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), msg;
    enum dns_type type = types[fuzz_choice(&in) % (sizeof types / sizeof *types)];
    struct entry *e = entry_new(SL("Asked.Example.TEST"), DNS_TEMP, "not read");

    msg = fuzz_dup(in);
    answer_read(e, type, (const unsigned char *)msg.p, (int)msg.n);
    fuzz_free(msg); /* nothing points into it */
    MUST(e->a.rc == DNS_OK || e->a.rc == DNS_NXDOMAIN || e->a.rc == DNS_NODATA ||
         e->a.rc == DNS_TEMP);
    MUST((e->a.rc == DNS_OK) == (e->a.n > 0));
    MUST(e->a.n <= DNS_RR_MAX && e->a.ttl_s <= DNS_CACHE_TTL_MAX_S && e->a.why != NULL);
    must_be_a_name(e->a.name);
    must_be_a_name(e->a.cname);
    for (size_t i = 0; i < e->a.n; i++)
        must_be_good(&e->a.rrs[i], type);
    entry_unref(e);
    return 0;
}
