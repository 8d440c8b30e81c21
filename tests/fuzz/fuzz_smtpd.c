/* smtpd, whole: any octets after nothing, EHLO, or well into a transaction. authd's tables and qmgr are stand-ins that know
 * one domain and take every message; what qmgr gets must be mail: lines that end CRLF, no control octets in addresses. */
#include "auth/anvil_client.h"
#include "core/chan.h"
#include "session/queue_proto.h"
#include "smtpd/smtpd.h"
#include "tests/fuzz/wire.h"

static const char settings[] = "myhostname = mx.example.com\n"
                               "mydestination = localhost\n"
                               "virtual_mailbox_domains = example.com\n"
                               "virtual_mailbox_maps = hash:/users\n"
                               "virtual_alias_maps = hash:/aliases\n"
                               "mynetworks = 127.0.0.0/8\n"
                               "smtpd_peername_lookup = no\n"
                               "smtpd_error_sleep_time = 0s\n"
                               "smtpd_sasl_auth_enable = yes\n"
                               "smtpd_sasl_type = dovecot\n"
                               "smtpd_sasl_path = private/auth\n"
                               "smtpd_helo_required = no\n"
                               "disable_vrfy_command = no\n"
                               "dns_resolvers = 127.0.0.1:1\n"
                               "submission_tls_security_level = may\n"
                               /* the octets come before the greeting */
                               "smtpd_forbid_unauth_pipelining = no\n"
                               "smtpd_client_event_limit_exceptions = 0.0.0.0/0\n"
                               "submission_account_message_limit_hour = 0\n"
                               "submission_account_message_limit_day = 0\n"
                               "submission_account_recipient_limit_hour = 0\n"
                               "submission_account_recipient_limit_day = 0\n"
                               "smtpd_authorized_xclient_hosts = 127.0.0.1\n"
                               "smtpd_authorized_xforward_hosts = 127.0.0.1, 192.0.2.1\n"
                               "message_size_limit = 20000\n";

/* ---- private/lookup: keys with an 'x' in front are not there ---- */

static void
on_lookup_input(struct conn *c, void *arg)
{
    (void)arg;
    for (;;) {
        struct slice in = conn_input(c), at = in, name, question;
        uint64_t n;

        if (!sl_take_u64(&at, &n) || !sl_take_char(&at, ':') || at.n < n + 1)
            return;
        question = sl_head(at, (size_t)n);
        MUST(at.p[n] == ',' && sl_take_until(&question, ' ', &name));
        if (sl_starts(question, 'x') || sl_find(name, SL("alias")) != SL_NPOS)
            conn_printf(c, "9:NOTFOUND ,");
        else
            conn_printf(c, "%zu:OK %.*s,", question.n + 3, SL_ARG(question));
        conn_consume(c, in.n - at.n + (size_t)n + 1);
    }
}

static void
on_lookup(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    static const struct conn_ops ops = { .on_input = on_lookup_input,
                                         .on_close = wire_on_conn_close };

    (void)l;
    (void)arg;
    (void)peer;
    conn_new(fd, &ops, NULL);
}

/* ---- private/queue ---- */

static unsigned n_messages;

static void
must_be_mail(struct slice body)
{
    MUST(sl_has_suffix(body, SL("\r\n")));
    for (size_t i = 0; i < body.n; i++) {
        MUST(body.p[i] != '\n' || (i > 0 && body.p[i - 1] == '\r'));
        MUST(body.p[i] != '\r' || (i + 1 < body.n && body.p[i + 1] == '\n'));
    }
}

static void
on_put(struct chan *c, uint64_t req, struct slice in)
{
    struct queue_wire_put put;
    struct queue_env env;
    struct arena mem = { 0 };
    struct buf out = { 0 };
    struct err e = { 0 };
    int64_t when;

    MUST(queue_put_unpack(in, &put, &e) == 0);
    MUST(queue_env_unpack(put.env, &mem, &env, &when, &e) == 0);
    MUST(env.n_rcpts > 0);
    if (put.file.n == 0)
        must_be_mail(put.body);
    n_messages++;
    arena_free(&mem);
    wire_add_u8(&out, 'p');
    wire_add_u64(&out, req);
    wire_add_u32(&out, 0);
    wire_add_u32(&out, 0);
    wire_add_str(&out, SL(""));
    chan_send(c, buf_slice(&out), NULL, 0);
    buf_free(&out);
}

static void
on_queue_msg(struct chan *c, void *arg, struct slice msg, const int *fds, size_t n_fds)
{
    static uint64_t next = 1;
    struct buf out = { 0 };
    uint64_t req;
    unsigned kind;
    struct err e;

    (void)arg;
    MUST(wire_take_u8(&msg, &kind));
    if (kind == 'G') {
        wire_add_u8(&out, 'g');
        wire_add_u64(&out, next);
        wire_add_u32(&out, QUEUE_GRANT_COUNT);
        wire_add_u32(&out, 1);
        next += QUEUE_GRANT_COUNT;
        chan_send(c, buf_slice(&out), NULL, 0);
    } else if (kind == 'P' && wire_take_u64(&msg, &req)) {
        if (n_fds == 1 && chan_read_memfd(fds[0], &out, &e) == 0)
            msg = buf_slice(&out);
        on_put(c, req, msg);
    }
    buf_free(&out);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
}

static void
on_queue_close(struct chan *c, void *arg)
{
    (void)c;
    (void)arg;
}

static void
on_queue(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    static const struct chan_ops ops = { on_queue_msg, on_queue_close };

    (void)l;
    (void)arg;
    (void)peer;
    chan_new(fd, &ops, NULL);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf text = { 0 };
    struct conf_problems ps = { 0 };
    struct conf *conf;
    struct err e = { 0 };
    struct wire w = { 0 };

    (void)argc;
    (void)argv;
    wire_init(&text);
    buf_addz(&text, settings);
    wire_listen("auth", SOCK_STREAM, wire_auth_accept);
    wire_listen("lookup", SOCK_STREAM, on_lookup);
    wire_listen("queue", SOCK_SEQPACKET, on_queue);
    conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    MUST(conf != NULL);
    smtpd_env.auth = auth_client_new(wire_path("auth"));
    smtpd_env.lookup = lookup_client_new(wire_path("lookup"));
    smtpd_env.anvil = anvil_client_new(wire_path("anvil"));
    smtpd_env.queue = queue_client_new(wire_path("queue"), wire_dir);
    MUST(dns_new(&conf->dns_resolvers, &smtpd_env.dns, &e) == 0);
    auth_client_connect(smtpd_env.auth);
    if (smtpd_set_conf(conf, &e) != 0) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    wire_settle(&w);
    buf_free(&text);
    conf_problems_free(&ps);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const before[8] = {
        "",
        "EHLO c\r\n",
        "HELO c\r\nMAIL FROM:<a@b.example>\r\n",
        "EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<u@example.com> ORCPT=rfc822;z\r\n",
        "EHLO c\r\nMAIL FROM:<a@b.example> BODY=8BITMIME\r\nRCPT TO:<u@example.com>\r\nDATA\r\n",
        "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<u@example.com>\r\nBDAT ",
        "EHLO c\r\nAUTH LOGIN\r\n",
        "EHLO c\r\nAUTH PLAIN AHUAcA==\r\nMAIL FROM:<a@b.example>\r\nRCPT "
        "TO:<u@c.example>\r\nDATA\r\n",
    };
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 16 ? in.n / 2 : in.n;
    struct addr peer;
    struct wire w;

    addr_parse_ip(choice & 8 ? SL("192.0.2.1") : SL("127.0.0.1"), 4711, &peer);
    smtpd_accept(choice & 32 ? SMTPD_SUBMISSION : SMTPD_MX, wire_open(&w), &peer);
    wire_send(&w, sl_z(before[choice & 7]));
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    if (choice & 64)
        wire_send(&w, SL("\r\n.\r\nQUIT\r\n"));
    wire_close(&w);
    wire_settle(&w);
    MUST(smtpd_sessions() == 0);
    return 0;
}
