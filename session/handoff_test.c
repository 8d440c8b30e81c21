/* session/handoff_test.c - both ends over a real socket: adopted, refused, nobody there, nobody in time, too late. */
#include "session/handoff.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/chan.h"
#include "core/listener.h"
#include "core/loop.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum how { ADOPT, REFUSE, SILENT, TOO_LATE, DIE };

static char dir[] = "/tmp/handoff-XXXXXX", path[64];
static struct {
    enum how how;
    int results, last_result;
    uint64_t last_id;
    int offers, got_fd;
    bool was_mine;
    struct chan *held;
    char cookie[64], tag[64], input[64], user[64], session[64], client_id[64], ip[ADDR_TEXT_OCTETS];
    bool is_tls, is_utf8;
} seen;
static int accepted_fd;

static void
copy(char *to, struct slice s)
{
    snprintf(to, 64, "%.*s", SL_ARG(s));
}

static void
on_session(uint64_t key, const struct handoff *h, int fd)
{
    seen.offers++;
    copy(seen.cookie, h->cookie);
    copy(seen.tag, h->tag);
    copy(seen.input, h->input);
    copy(seen.user, h->user);
    copy(seen.session, h->session);
    copy(seen.client_id, h->client_id);
    addr_ip_text(&h->remote, seen.ip);
    seen.is_tls = h->is_tls;
    seen.is_utf8 = h->is_utf8;
    seen.got_fd = fd;
    if (seen.how == TOO_LATE)
        clock_fake(clock_mono_ms() + HANDOFF_ADOPT_MS, clock_unix_us());
    if (seen.how == DIE)
        shutdown(accepted_fd, SHUT_RDWR);
    else if (seen.how != SILENT)
        seen.was_mine = handoff_adopted(key, seen.how != REFUSE);
    if (seen.how == DIE || !seen.was_mine)
        close(fd);
}

static void
on_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    (void)l;
    (void)arg;
    (void)peer;
    accepted_fd = fd;
    handoff_serve(fd, on_session);
}

static void
on_result(uint64_t id, int result)
{
    seen.results++;
    seen.last_result = result;
    seen.last_id = id;
    loop_stop();
}

static struct handoff
sample(void)
{
    struct handoff h = { .cookie = SL("c00kie"),
                         .user = SL("u@example.com"),
                         .tag = SL("a1"),
                         .input = SL("a2 SELECT inbox\r\n"),
                         .session = SL("sid"),
                         .client_id = SL("(\"name\" \"x\")"),
                         .is_tls = true,
                         .is_utf8 = true };

    addr_parse_ip(SL("192.0.2.7"), 1234, &h.remote);
    addr_parse_ip(SL("2001:db8::1"), 143, &h.local);
    return h;
}

/* One offer; the client's end of the descriptor handed over. */
static int
try(enum how how, const struct handoff *h)
{
    int pair[2];

    memset(&seen, 0, sizeof seen);
    seen.how = how;
    seen.got_fd = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    handoff_send(path, h, pair[0], on_result, 77);
    if (seen.results != 0) /* never from inside the call */
        test_fail(__FILE__, __LINE__, "called back at once");
    loop_run();
    return pair[1];
}

static struct listener *
listen_here(void)
{
    struct addr a;
    struct err e = { 0 };
    int fd;

    if (addr_unix(path, &a, &e) != 0)
        return NULL;
    fd = listener_bind(&a, SOCK_SEQPACKET, 0600, &e);
    return fd < 0 ? NULL : listener_new(fd, on_accept, NULL);
}

static bool
is_eof(int fd)
{
    char c;

    return recv(fd, &c, 1, MSG_DONTWAIT) == 0;
}

TEST(nobody_there)
{
    struct handoff h = sample();
    int fd = try(SILENT, &h);

    CHECK_EQ_INT(seen.results, 1);
    CHECK_EQ_INT(seen.last_result, -1);
    CHECK(is_eof(fd));
    close(fd);
}

TEST(adopted_with_everything)
{
    struct listener *l = listen_here();
    struct handoff h = sample();
    char got[8] = { 0 };
    int fd = try(ADOPT, &h);

    NEED(l);
    CHECK_EQ_INT(seen.last_result, getpid());
    CHECK_EQ_INT(seen.last_id, 77);
    CHECK(seen.was_mine && seen.is_tls && seen.is_utf8);
    CHECK_EQ_STR(seen.cookie, "c00kie");
    CHECK_EQ_STR(seen.user, "u@example.com");
    CHECK_EQ_STR(seen.tag, "a1");
    CHECK_EQ_STR(seen.input, "a2 SELECT inbox\r\n");
    CHECK_EQ_STR(seen.session, "sid");
    CHECK_EQ_STR(seen.client_id, "(\"name\" \"x\")");
    CHECK_EQ_STR(seen.ip, "192.0.2.7");
    CHECK_EQ_INT(write(seen.got_fd, "hello", 5), 5);
    CHECK_EQ_INT(read(fd, got, sizeof got), 5);
    CHECK_EQ_STR(got, "hello");
    close(seen.got_fd);
    close(fd);
    listener_free(&l);
}

TEST(refused_then_adopted_on_one_connection)
{
    struct listener *l = listen_here();
    struct handoff h = sample();
    int fd = try(REFUSE, &h);

    NEED(l);
    CHECK_EQ_INT(seen.last_result, -1);
    CHECK(!seen.was_mine && is_eof(fd));
    close(fd);
    fd = try(ADOPT, &h);
    CHECK_EQ_INT(seen.last_result, getpid());
    close(seen.got_fd);
    close(fd);
    listener_free(&l);
}

TEST(who_comes_too_late_may_not)
{
    struct listener *l = listen_here();
    struct handoff h = sample();
    int fd = try(TOO_LATE, &h);

    NEED(l);
    clock_fake(0, 0);
    CHECK_EQ_INT(seen.last_result, -1);
    CHECK(!seen.was_mine && is_eof(fd));
    close(fd);
    listener_free(&l);
}

TEST(a_worker_that_dies_refuses_and_its_successor_is_found)
{
    struct listener *l = listen_here();
    struct handoff h = sample();
    int fd = try(DIE, &h);

    NEED(l);
    CHECK_EQ_INT(seen.offers, 1);
    CHECK_EQ_INT(seen.last_result, -1);
    close(fd);
    fd = try(ADOPT, &h);
    CHECK_EQ_INT(seen.last_result, getpid());
    close(seen.got_fd);
    close(fd);
    listener_free(&l);
}

TEST(nobody_in_time)
{
    struct listener *l = listen_here();
    struct handoff h = sample();
    uint64_t began = clock_mono_ms(), took;
    int fd = try(SILENT, &h);

    NEED(l);
    took = clock_mono_ms() - began;
    CHECK_EQ_INT(seen.offers, 1);
    CHECK_EQ_INT(seen.results, 1);
    CHECK_EQ_INT(seen.last_result, -1);
    CHECK(took >= HANDOFF_ADOPT_MS && took < HANDOFF_ADOPT_MS + 3000);
    close(fd);
    listener_free(&l);
}

TEST(what_is_too_long_is_not_sent)
{
    struct listener *l = listen_here();
    struct handoff h = sample();
    char *big = mem_zalloc(HANDOFF_INPUT_MAX + 1);
    int fd;

    NEED(l);
    h.input = sl_n(big, HANDOFF_INPUT_MAX + 1);
    fd = try(ADOPT, &h);
    CHECK_EQ_INT(seen.offers, 0);
    CHECK_EQ_INT(seen.last_result, -1);
    close(fd);
    h.input = sl_n(big, HANDOFF_INPUT_MAX);
    h.client_id = sl_n(big, 12 * 1024);
    fd = try(ADOPT, &h);
    CHECK_EQ_INT(seen.last_result, getpid());
    close(seen.got_fd);
    close(fd);
    free(big);
    listener_free(&l);
}

static void
on_garbage_end(struct chan *c, void *arg)
{
    (void)c;
    (void)arg;
}

static void
on_nothing(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    (void)c;
    (void)arg;
    (void)msg;
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
}

TEST(garbage_is_no_offer)
{
    static const struct chan_ops ops = { on_nothing, on_garbage_end };
    struct listener *l = listen_here();
    struct handoff h = sample();
    struct chan *c = NULL;
    char octets[300];
    int fd;

    NEED(l && chan_connect(path, &ops, NULL, &c, NULL) == 0);
    for (size_t n = 1; n < sizeof octets; n += 13) {
        memset(octets, (int)n, sizeof octets);
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        chan_send(c, sl_n(octets, n), &fd, n % 2);
        if (n % 2 == 0)
            close(fd);
    }
    fd = try(ADOPT, &h);
    CHECK_EQ_INT(seen.offers, 1);
    CHECK_EQ_INT(seen.last_result, getpid());
    close(seen.got_fd);
    close(fd);
    chan_free(&c);
    listener_free(&l);
}

static void
set_up(void)
{
    loop_init();
    BUG_ON(!mkdtemp(dir));
    snprintf(path, sizeof path, "%s/w", dir);
}

int
main(int argc, char **argv)
{
    int rc;

    set_up();
    rc = test_main(argc, argv);
    unlink(path);
    rmdir(dir);
    return rc;
}
