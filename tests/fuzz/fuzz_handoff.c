/* What a worker reads from login: a hand-over in one packet with a descriptor. */
#include "base/clock.h"
#include "session/handoff.h"
#include "tests/fuzz/wire.h"

static unsigned n_sessions;

static void
on_session(uint64_t key, const struct handoff *h, int fd)
{
    struct slice all[] = { h->cookie, h->user, h->tag, h->input, h->session, h->client_id };
    unsigned sum = 0;

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t k = 0; k < all[i].n; k++)
            sum += (unsigned char)all[i].p[k];
    n_sessions++;
    handoff_adopted(key, sum % 2);
    close(fd);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf text = { 0 };

    (void)argc;
    (void)argv;
    wire_init(&text);
    buf_free(&text);
    return 0;
}

/* One packet with n descriptors. */
static void
send_packet(int fd, struct slice s, unsigned n)
{
    union {
        char space[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr align;
    } control = { 0 };
    struct iovec part = { (void *)(uintptr_t)s.p, s.n };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
    int fds[2]; /* connections: what is none is not looked at */

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    if (n > 0) {
        struct cmsghdr *c;

        m.msg_control = control.space;
        m.msg_controllen = CMSG_SPACE(n * sizeof(int));
        c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        perror("sendmsg");
    close(fds[0]);
    close(fds[1]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    struct wire w = { 0 };
    int pair[2];

    if (in.n == 0)
        return 0; /* an empty packet is the end */
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    handoff_serve(pair[1], on_session);
    send_packet(pair[0], in, choice % 4 == 0 ? choice / 4 % 3 : 1);
    wire_settle(&w);
    close(pair[0]);
    wire_settle(&w);
    return 0;
}
