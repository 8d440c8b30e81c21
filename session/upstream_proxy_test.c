/* session/upstream_proxy_test.c - the header in front of a connection, over a socketpair. */
#include "session/upstream_proxy.h"

#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    unsigned ready, failed;
    char peer[ADDR_TEXT_OCTETS], local[ADDR_TEXT_OCTETS], unread[64], why[ERR_MSG_OCTETS];
} saw;

static void
on_ready(void *arg, int fd, const struct upstream_client *c)
{
    (void)arg;
    saw.ready++;
    addr_text(&c->peer, saw.peer);
    addr_text(&c->local, saw.local);
    snprintf(saw.unread, sizeof(saw.unread), "%.*s", SL_ARG(c->unread));
    close(fd);
    loop_stop();
}

static const char *
on_failed(void *arg, const struct err *why)
{
    (void)arg;
    saw.failed++;
    snprintf(saw.why, sizeof(saw.why), "%s", why->msg);
    loop_stop();
    return "421 no\r\n";
}
static const struct upstream_ops ops = { .ready = on_ready, .failed = on_failed };

static struct timer guard;
static void
too_late(void *arg)
{
    (void)arg;
    loop_stop();
}

/* What the proxy does: octets of text, one by one in turns of the loop; then it closes its end if it is asked to. */
struct script {
    int fd;
    const char *text;
    size_t n, at, step;
    bool closes;
    struct timer t;
};
static void
play(void *arg)
{
    struct script *p = arg;
    size_t n = p->n - p->at < p->step ? p->n - p->at : p->step;

    if (n > 0 && write(p->fd, p->text + p->at, n) != (ssize_t)n)
        return;
    p->at += n;
    if (p->at < p->n)
        timer_start(&p->t, 1, play, p);
    else if (p->closes)
        shutdown(p->fd, SHUT_WR);
}

static const struct {
    const char *name, *text;
    size_t n;
    bool closes;
    const char *peer, *local, *unread; /* or */
    const char *why;
} rows[] = {
#define IN(s) (s), sizeof(s) - 1
    { "a client", IN("PROXY TCP4 192.0.2.1 198.51.100.9 12345 25\r\n"), false, "192.0.2.1:12345",
      "198.51.100.9:25", "", NULL },
    { "with its first words", IN("PROXY TCP6 2001:db8::1 2001:db8::2 1 465\r\nEHLO x\r\n"), false,
      "[2001:db8::1]:1", "[2001:db8::2]:465", "EHLO x\r\n", NULL },
    { "mapped", IN("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 1 2\r\n"), false, "192.0.2.1:1",
      "192.0.2.2:2", "", NULL },
    { "the proxy itself", IN("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), false, "10.0.0.1:99", NULL, "",
      NULL },
    { "and gone", IN("PROXY TCP4 192.0.2.1 198.51.100.9 1 25\r\n"), true, "192.0.2.1:1",
      "198.51.100.9:25", "", NULL },
    { "no proxy", IN("EHLO x\r\n"), false, NULL, NULL, NULL, "neither version 1 nor version 2" },
    { "half", IN("PROXY TCP4 192.0.2.1 198"), true, NULL, NULL, NULL, "lost connection" },
    { "silent", IN("PROXY TCP4 192.0.2.1 198"), false, NULL, NULL, NULL, "timeout" },
};

static void
run_row(size_t i, size_t step)
{
    struct script p = {
        .text = rows[i].text, .n = rows[i].n, .step = step, .closes = rows[i].closes
    };
    struct addr proxy;
    char got[32] = "";
    int sv[2];

    memset(&saw, 0, sizeof(saw));
    NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
    p.fd = sv[1];
    NEED(addr_parse_ip(SL("10.0.0.1"), 99, &proxy) == 0);
    upstream_proxy_read(sv[0], &proxy, 300, &ops, &saw);
    CHECK_EQ_INT(upstream_proxy_count(), 1);
    timer_start(&p.t, 0, play, &p);
    timer_start(&guard, 5000, too_late, NULL);
    loop_run();
    timer_stop(&p.t);
    timer_stop(&guard);
    CHECK_EQ_INT(saw.ready + saw.failed, 1);
    if (rows[i].why) {
        CHECK_EQ_STR(saw.why, rows[i].why);
    } else {
        CHECK_EQ_STR(saw.peer, rows[i].peer);
        if (rows[i].local)
            CHECK_EQ_STR(saw.local, rows[i].local);
        if (step > 1) /* else it came later, and is still the descriptor's */
            CHECK_EQ_STR(saw.unread, rows[i].unread);
        CHECK_EQ_INT(upstream_proxy_count(), 0);
    }
    if (rows[i].why && !rows[i].closes) {
        timer_start(&guard, 20, too_late, NULL);
        loop_run();
        CHECK(read(sv[1], got, sizeof(got) - 1) > 0);
        CHECK_EQ_STR(got, "421 no\r\n");
    }
    close(sv[1]);
    timer_start(&guard, 20, too_late, NULL);
    loop_run();
    CHECK_EQ_INT(upstream_proxy_count(), 0);
}

TEST(headers)
{
    loop_init();
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t step = 1; step <= 1000; step += 999) {
            TEST_ROW("%s, %zu at once", rows[i].name, step);
            run_row(i, step);
        }
    loop_free();
}
TEST_MAIN()
