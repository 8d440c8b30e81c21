/* dns/dns_test.c - against a name server of our own on the loopback: kinds of answers, order, cache, garbage. */
#include "dns/dns_int.h"

#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- the server ---- */

static int server_fd;
static struct loop_watch *server_watch;
static unsigned asked;

struct msg {
    unsigned char p[2048];
    size_t n;
};

static void
add(struct msg *m, const void *p, size_t n)
{
    memcpy(m->p + m->n, p, n);
    m->n += n;
}

static void
add16(struct msg *m, unsigned v)
{
    unsigned char b[2] = { (unsigned char)(v >> 8), (unsigned char)v };

    add(m, b, 2);
}

static void
add_name(struct msg *m, const char *name)
{
    struct slice in = sl_z(name), label;

    while (sl_take_word(&in, ".", &label)) {
        unsigned char n = (unsigned char)label.n;

        add(m, &n, 1);
        add(m, label.p, label.n);
    }
    add(m, "", 1);
}

/* Owner is the question's name by a pointer (or a name of its own), TTL 300. */
static size_t
begin_rr(struct msg *m, const char *owner, unsigned type)
{
    if (owner)
        add_name(m, owner);
    else
        add16(m, 0xc00c);
    add16(m, type);
    add16(m, 1);
    add16(m, 0);
    add16(m, 300);
    add16(m, 0);
    return m->n;
}

static void
end_rr(struct msg *m, size_t start)
{
    size_t len = m->n - start;

    m->p[start - 2] = (unsigned char)(len >> 8);
    m->p[start - 1] = (unsigned char)len;
    m->p[7]++;
}

static void
rr(struct msg *m, const char *owner, unsigned type, unsigned pref, const char *data, size_t raw)
{
    size_t at = begin_rr(m, owner, type);

    if (type == DNS_MX)
        add16(m, pref);
    if (raw > 0)
        add(m, data, raw);
    else
        add_name(m, data);
    end_rr(m, at);
}

static void
answer(const char *name, unsigned type, struct msg *m)
{
    bool is_mx = type == DNS_MX;

    if (strcmp(name, "two.test") == 0 && is_mx) {
        rr(m, NULL, DNS_MX, 20, "B.two.test", 0);
        rr(m, NULL, DNS_MX, 10, "a.two.test", 0);
    } else if (strcmp(name, "null.test") == 0 && is_mx) {
        rr(m, NULL, DNS_MX, 0, "", 0);
    } else if (strcmp(name, "host.test") == 0 && type == DNS_A) {
        rr(m, NULL, DNS_A, 0, "\xc0\x00\x02\x01", 4);
    } else if (strcmp(name, "host.test") == 0 && type == DNS_AAAA) {
        rr(m, NULL, DNS_AAAA, 0, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    } else if (strcmp(name, "v4.test") == 0 && type == DNS_A) {
        rr(m, NULL, DNS_A, 0, "\xc0\x00\x02\x02", 4);
    } else if (strcmp(name, "alias.test") == 0 && type == DNS_A) {
        rr(m, NULL, DNS_CNAME, 0, "real.test", 0);
        rr(m, "real.test", DNS_A, 0, "\xc0\x00\x02\x03", 4);
        rr(m, "unasked.test", DNS_A, 0, "\xc0\x00\x02\x04", 4);
    } else if (strcmp(name, "text.test") == 0 && type == DNS_TXT) {
        rr(m, NULL, DNS_TXT, 0,
           "\x03"
           "abc\x02"
           "de",
           7);
    } else if (strcmp(name, "short.test") == 0 && type == DNS_A) {
        rr(m, NULL, DNS_A, 0, "\xc0\x00", 2);
    } else if (strcmp(name, "4.3.2.1.in-addr.arpa") == 0 && type == DNS_PTR) {
        rr(m, NULL, DNS_PTR, 0, "back.test", 0);
    } else if (strcmp(name, "zone.test") == 0 && type == DNS_NS) {
        rr(m, NULL, DNS_NS, 0, "NS1.zone.test", 0);
        rr(m, NULL, DNS_NS, 0, "ns2.zone.test", 0);
    } else if (strcmp(name, "half.test") == 0 && type == DNS_A) {
        rr(m, NULL, DNS_A, 0, "\xc0\x00\x02\x05", 4);
    } else if (strncmp(name, "no.", 3) == 0) {
        m->p[3] |= 3;
    } else if (strncmp(name, "fail.", 5) == 0 || strcmp(name, "half.test") == 0) {
        m->p[3] |= 2;
    }
}

static void
serve(void *arg)
{
    unsigned char q[1500];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(server_fd, q, sizeof q, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
    char name[300] = "";
    struct msg m = { .n = 0 };
    size_t at = 12, k = 0;

    (void)arg;
    if (n < 17)
        return;
    asked++;
    while (at < (size_t)n && q[at] != 0) {
        memcpy(name + k, q + at + 1, q[at]);
        k += q[at];
        name[k++] = '.';
        at += q[at] + 1u;
    }
    name[k ? k - 1 : 0] = '\0';
    at += 5;
    add(&m, q, at);
    memset(m.p + 4, 0, 8);
    m.p[5] = 1;
    m.p[2] = 0x85;
    m.p[3] = 0x80;
    answer(name, (unsigned)q[at - 4] << 8 | q[at - 3], &m);
    sendto(server_fd, m.p, m.n, 0, (struct sockaddr *)&from, len);
}

/* ---- asking ---- */

static struct {
    unsigned n;
    enum dns_rc rc;
    char text[400];
} got;

static void
on_dns(uint64_t id, const struct dns_answer *a)
{
    (void)id;
    got.n++;
    got.rc = a->rc;
    got.text[0] = '\0';
    for (size_t i = 0; i < a->n; i++) {
        char one[200], ip[ADDR_TEXT_OCTETS];

        if (a->rrs[i].addr.len > 0)
            snprintf(one, sizeof one, "%s ", addr_ip_text(&a->rrs[i].addr, ip));
        else
            snprintf(one, sizeof one, "%u:%.*s ", a->rrs[i].pref, SL_ARG(a->rrs[i].text));
        strncat(got.text, one, sizeof got.text - strlen(got.text) - 1);
    }
    if (a->cname != a->name) {
        strncat(got.text, "=", 2);
        strncat(got.text, a->cname, 100);
    }
    loop_stop();
}

static struct dns *
start(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    char text[40];
    const char *v[1] = { text };
    struct conf_list list = { v, 1 };
    struct err e = { 0 };
    struct dns *d = NULL;

    loop_init();
    server_fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQ_INT(bind(server_fd, (struct sockaddr *)&at, sizeof at), 0);
    getsockname(server_fd, (struct sockaddr *)&at, &len);
    snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(at.sin_port));
    server_watch = loop_watch_fd(server_fd, serve, NULL);
    if (dns_new(&list, &d, &e) != 0)
        FAIL("%s", e.msg);
    asked = 0;
    return d;
}

static void
stop(struct dns *d)
{
    dns_free(&d);
    loop_unwatch(&server_watch);
    close(server_fd);
    loop_free();
}

enum how { MX, ADDR, PTR, TXT, A_ONLY, NS };

static void
ask_one(struct dns *d, enum how how, const char *name)
{
    struct addr a;

    got.n = 0;
    if (how == MX)
        dns_mx(d, sl_z(name), on_dns, 1);
    else if (how == TXT)
        dns_txt(d, sl_z(name), on_dns, 1);
    else if (how == A_ONLY)
        dns_query(d, DNS_A, sl_z(name), on_dns, 1);
    else if (how == NS)
        dns_query(d, DNS_NS, sl_z(name), on_dns, 1);
    else if (how == PTR && addr_parse_ip(sl_z(name), 0, &a) == 0)
        dns_ptr(d, &a, on_dns, 1);
    else
        dns_addr(d, sl_z(name), 0, on_dns, 1);
    CHECK_EQ_INT(got.n, 0); /* never from inside the call */
    loop_run();
    CHECK_EQ_INT(got.n, 1);
}

TEST(answers)
{
    static const struct {
        enum how how;
        enum dns_rc rc;
        const char *name, *text;
    } rows[] = {
        { MX, DNS_OK, "two.test", "10:a.two.test 20:b.two.test " },
        { MX, DNS_OK, "TWO.test.", "10:a.two.test 20:b.two.test " },
        { MX, DNS_OK, "null.test", "0: " },
        { MX, DNS_NODATA, "host.test", "" },
        { MX, DNS_NXDOMAIN, "no.test", "" },
        { MX, DNS_TEMP, "fail.test", "" },
        { ADDR, DNS_OK, "host.test", "2001:db8::1 192.0.2.1 " },
        { ADDR, DNS_OK, "v4.test", "192.0.2.2 " },
        { ADDR, DNS_OK, "alias.test", "192.0.2.3 =real.test" },
        { ADDR, DNS_NXDOMAIN, "no.test", "" },
        { ADDR, DNS_TEMP, "fail.test", "" },
        { ADDR, DNS_OK, "half.test", "192.0.2.5 " },
        { ADDR, DNS_OK, "localhost", "::1 127.0.0.1 " },
        { A_ONLY, DNS_TEMP, "short.test", "" },
        { TXT, DNS_OK, "text.test", "0:abcde " },
        { NS, DNS_OK, "zone.test", "0:ns1.zone.test 0:ns2.zone.test " },
        { NS, DNS_NODATA, "host.test", "" },
        { PTR, DNS_OK, "1.2.3.4", "0:back.test " },
        { MX, DNS_NXDOMAIN, "", "" },
        { MX, DNS_NXDOMAIN, "a..b", "" },
    };
    struct dns *d = start();

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        ask_one(d, rows[i].how, rows[i].name);
        CHECK_EQ_INT(got.rc, rows[i].rc);
        CHECK_EQ_STR(got.text, rows[i].text);
    }
    stop(d);
}

TEST(cache)
{
    struct dns *d = start();
    unsigned first;

    ask_one(d, MX, "two.test");
    first = asked;
    CHECK(first >= 1);
    ask_one(d, MX, "Two.Test");
    CHECK_EQ_INT(asked, first);
    ask_one(d, MX, "no.test");
    first = asked;
    ask_one(d, MX, "no.test");
    CHECK_EQ_INT(asked, first); /* that there is none is kept too */
    ask_one(d, MX, "fail.test");
    first = asked;
    ask_one(d, MX, "fail.test");
    CHECK(asked > first); /* that nothing is known is not */
    stop(d);
}

TEST(equal_questions_are_asked_once)
{
    struct dns *d = start();

    got.n = 0;
    dns_mx(d, SL("two.test"), on_dns, 1);
    dns_mx(d, SL("two.test"), on_dns, 2);
    dns_mx(d, SL("two.test"), on_dns, 3);
    while (got.n < 3)
        loop_run();
    CHECK_EQ_INT(asked, 1);
    stop(d);
}

TEST(any_cut_of_an_answer_is_survived)
{
    struct msg m = { .n = 0 };

    add(&m, "\0\0\x85\x80\0\1\0\0\0\0\0\0", 12);
    add_name(&m, "alias.test");
    add16(&m, 1);
    add16(&m, 1);
    answer("alias.test", 1, &m);
    for (size_t n = 0; n <= m.n; n++) {
        unsigned char *copy =
            mem_dup(m.p, n ? n : 1); /* its own allocation: a read past it shows */
        struct entry *e = entry_new(SL("alias.test"), DNS_TEMP, "");

        TEST_ROW("%zu", n);
        answer_read(e, DNS_A, copy, (int)n);
        CHECK_EQ_INT(e->a.rc, n == m.n ? DNS_OK : DNS_TEMP);
        entry_unref(e);
        free(copy);
    }
}

TEST(reverse_names)
{
    struct addr a;
    char name[DNS_NAME_OCTETS];

    addr_parse_ip(SL("192.0.2.1"), 0, &a);
    CHECK_EQ_INT(dns_reverse_name(&a, "bl.example", name), 0);
    CHECK_EQ_STR(name, "1.2.0.192.bl.example");
    addr_parse_ip(SL("2001:db8::1"), 0, &a);
    CHECK_EQ_INT(dns_reverse_name(&a, "ip6.arpa", name), 0);
    CHECK_EQ_STR(name, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
}

TEST_MAIN()
