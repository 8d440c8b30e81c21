/* The SMTP and LMTP client, when the server says anything at all. */
#include "session/sasl_client.h"
#include "session/smtp_client.h"
#include "tests/fuzz/wire.h"

static struct {
    unsigned n_rcpts, outcomes;
    bool is_closed;
} seen;

static struct slice
content(void)
{
    return SL("Content-Transfer-Encoding: 8bit\r\n\r\n.\xe9\rb\nc");
}

static void
on_ready(struct smtp_client *c, void *arg)
{
    static const struct smtp_tx_rcpt rcpts[2] = {
        { .addr = SL_INIT("a@b") },
        { .addr = SL_INIT("\"c d\"@e"), .orcpt = SL_INIT("rfc822;x"), .notify = 3 }
    };
    struct smtp_tx tx = { .sender = SL("s@t"),
                          .rcpts = rcpts,
                          .n_rcpts = 2,
                          .size = 5,
                          .envid = SL("id"),
                          .ret = 1,
                          .maybe_8bit = true,
                          .xforward = SL("NAME=x") };

    (void)arg;
    if (seen.n_rcpts > 0)
        return;
    seen.n_rcpts = 2;
    if (smtp_client_send(c, &tx)) {
        smtp_client_body(c, content());
        smtp_client_body_end(c);
    }
}

static void
on_body(struct smtp_client *c, void *arg)
{
    (void)arg;
    smtp_client_body(c, content());
    smtp_client_body_end(c);
}

static void
on_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r)
{
    (void)c;
    (void)arg;
    MUST(i < seen.n_rcpts && !(seen.outcomes & 1u << i));
    MUST(memchr(r->dsn, '\0', sizeof r->dsn) != NULL);
    seen.outcomes |= 1u << i;
}

static void
on_done(struct smtp_client *c, void *arg)
{
    (void)c;
    (void)arg;
}

static void
on_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    (void)c;
    (void)arg;
    (void)why;
    seen.is_closed = true;
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct smtp_client_ops ops = { .on_ready = on_ready,
                                                .on_body = on_body,
                                                .on_rcpt = on_rcpt,
                                                .on_done = on_done,
                                                .on_closed = on_closed };
    static const char *const before[8] = {
        "",
        "220 x ESMTP\r\n",
        "220 x ESMTP\r\n250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-DSN\r\n250 SIZE\r\n",
        "220 x\r\n250-x\r\n250-XFORWARD NAME\r\n250 8BITMIME\r\n",
        "220 x\r\n250-x\r\n250-CHUNKING\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n250 ok\r\n",
        "220 x\r\n250-x\r\n250 AUTH PLAIN LOGIN CRAM-MD5\r\n",
        "220 x\r\n250-x\r\n250 AUTH LOGIN\r\n334 \r\n",
        "220 x\r\n250-x\r\n250 AUTH SCRAM-SHA-256\r\n",
    };
    static const struct smtp_client_sasl sasl = { .is_soft = true };
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 8 ? in.n / 2 : in.n;
    struct smtp_client_opts o = { .is_lmtp = choice & 1,
                                  .always_ehlo = true,
                                  .wants_bdat = (choice & 10) == 2,
                                  .wants_chunks = choice & 2,
                                  .wants_downgrade = choice & 4,
                                  .auth = SL("user:password"),
                                  .sasl = &sasl,
                                  .loop_name = "loop.example",
                                  .loop_nexthop = "loop.example",
                                  .helo_name = "h",
                                  .peer = "peer[192.0.2.1]:25",
                                  .line_max = choice & 4 ? 3 : 0 };
    struct wire w;

    memset(&seen, 0, sizeof seen);
    smtp_client_on_fd(wire_open(&w), &o, &ops, NULL);
    wire_send(&w, sl_z(before[choice >> 4 & 7]));
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    wire_close(&w);
    wire_settle(&w);
    MUST(seen.is_closed && seen.outcomes == (1u << seen.n_rcpts) - 1);
    return 0;
}
