/* login/login_test.c - what is said before authentication, against an authd and a worker that this test plays. */
#include "login/login.h"

#include "auth/tab.h"
#include "base/clock.h"
#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/loop.h"
#include "session/handoff.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WAIT_MS = 10000 };

static char dir[] = "/tmp/login-XXXXXX";
static struct auth_client *authd;
static struct tls_ctx *server_tls, *client_tls;
static char log_path[64];
static struct login_setup setup = { .imapd_workers = 1 };

/* ---- running the loop until something was said ---- */

static bool (*is_met)(void *);
static void *met_arg;
static uint64_t give_up_ms;
static struct timer tick;

static void
on_tick(void *arg)
{
    (void)arg;
    if (is_met(met_arg) || clock_mono_ms() > give_up_ms)
        loop_stop();
    else
        timer_start(&tick, 1, on_tick, NULL);
}

static bool
run_until(bool (*fn)(void *), void *arg)
{
    is_met = fn;
    met_arg = arg;
    give_up_ms = clock_mono_ms() + WAIT_MS;
    timer_start(&tick, 0, on_tick, NULL);
    loop_run();
    timer_stop(&tick);
    return fn(arg);
}

/* Has it come true after so long? */
static bool
run_until_for(bool (*fn)(void *), uint64_t ms)
{
    is_met = fn;
    met_arg = NULL;
    give_up_ms = clock_mono_ms() + ms;
    timer_start(&tick, 0, on_tick, NULL);
    loop_run();
    timer_stop(&tick);
    return fn(NULL);
}

/* ---- authd ---- */

static struct buf auth_seen; /* AUTH lines, without resp= */
static bool is_authd_silent;
static struct conn *silent_conn; /* where the question that is kept waiting came from */
static char silent_id[16];

static void
answer_plain(struct conn *c, struct slice id, struct slice resp)
{
    static const char good[] = "\0u@example.com\0pass", temp[] = "\0u@example.com\0temp";
    struct buf plain = { 0 };
    struct slice got;

    enc_b64_decode(&plain, resp);
    got = buf_slice(&plain);
    if (sl_eq(got, sl_n(good, sizeof good - 1)))
        conn_printf(c, "OK\t%.*s\tuser=u@example.com\tpostern_cookie=c00kie\n", SL_ARG(id));
    else if (sl_eq(got, sl_n(temp, sizeof temp - 1)))
        conn_printf(c, "FAIL\t%.*s\tuser=u@example.com\ttemp\n", SL_ARG(id));
    else
        conn_printf(c, "FAIL\t%.*s\n", SL_ARG(id));
    buf_free(&plain);
}

static void
on_auth_line(struct conn *c, struct slice line)
{
    struct slice verb = { 0 }, id = { 0 }, mech = { 0 }, field, v, resp = { 0 };

    tab_take(&line, &verb);
    tab_take(&line, &id);
    if (sl_eqz(verb, "AUTH")) {
        tab_take(&line, &mech);
        buf_addf(&auth_seen, "%.*s", SL_ARG(mech));
        while (tab_take(&line, &field)) {
            if (tab_is_pair(field, "resp", &v))
                resp = v;
            else if (!tab_is_pair(field, "session", &v))
                buf_addf(&auth_seen, " %.*s", SL_ARG(field));
        }
        buf_addz(&auth_seen, "\n");
        if (is_authd_silent) {
            silent_conn = c;
            snprintf(silent_id, sizeof silent_id, "%.*s", SL_ARG(id));
        } else if (sl_eqz(mech, "PLAIN") && !resp.p)
            conn_printf(c, "CONT\t%.*s\t\n", SL_ARG(id));
        else if (sl_eqz(mech, "PLAIN"))
            answer_plain(c, id, resp);
        else
            conn_printf(c, "CONT\t%.*s\tVXNlcm5hbWU6\n", SL_ARG(id));
    }
    if (sl_eqz(
            verb,
            "CONT")) { /* LOGIN's name is "u": ask for the password; all else is PLAIN's or the password */
        tab_take(&line, &resp);
        if (sl_eqz(resp, "dQ=="))
            conn_printf(c, "CONT\t%.*s\tUGFzc3dvcmQ6\n", SL_ARG(id));
        else if (sl_eqz(resp, "cGFzcw=="))
            conn_printf(c, "OK\t%.*s\tuser=u@example.com\tpostern_cookie=c00kie\n", SL_ARG(id));
        else
            answer_plain(c, id, resp);
    }
}

static void
on_auth_input(struct conn *c, void *arg)
{
    struct slice line;
    struct buf copy = { 0 };

    (void)arg;
    while (conn_take_line(c, TAB_LINE_OCTETS, LINE_LF_TOO, &line) == FRAME_OK) {
        buf_reset(&copy);
        buf_adds(&copy, line);
        on_auth_line(c, buf_slice(&copy));
    }
    buf_free(&copy);
}

static void
on_auth_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    (void)c;
    (void)arg;
    (void)end;
    (void)why;
}

static void
on_auth_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    static const struct conn_ops ops = { .on_input = on_auth_input, .on_close = on_auth_close };
    struct conn *c = conn_new(fd, &ops, NULL);

    (void)l;
    (void)arg;
    (void)peer;
    conn_printf(c,
                "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\n"
                "COOKIE\t0123456789abcdef0123456789abcdef\nDONE\n");
}

/* ---- the worker ---- */

static struct {
    int offers, fd;
    bool must_refuse, is_tls;
    char cookie[32], tag[32], input[128], user[64], client_id[128];
} worker;

static void
on_session(uint64_t key, const struct handoff *h, int fd)
{
    worker.offers++;
    snprintf(worker.cookie, sizeof worker.cookie, "%.*s", SL_ARG(h->cookie));
    snprintf(worker.tag, sizeof worker.tag, "%.*s", SL_ARG(h->tag));
    snprintf(worker.input, sizeof worker.input, "%.*s", SL_ARG(h->input));
    snprintf(worker.user, sizeof worker.user, "%.*s", SL_ARG(h->user));
    snprintf(worker.client_id, sizeof worker.client_id, "%.*s", SL_ARG(h->client_id));
    worker.is_tls = h->is_tls;
    if (handoff_adopted(key, !worker.must_refuse))
        worker.fd = fd;
    else
        close(fd);
}

static void
on_worker_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    (void)l;
    (void)arg;
    (void)peer;
    handoff_serve(fd, on_session);
}

static bool
has_session(void *arg)
{
    (void)arg;
    return worker.fd >= 0;
}

/* ---- a client: plain, or with TLS a conn of its own ---- */

struct client {
    int fd;
    struct conn *tls; /* NULL: plain */
    struct buf got;
    const char *want;
    bool is_closed, is_secure;
};

static void
on_tls_input(struct conn *c, void *arg)
{
    struct client *k = arg;

    buf_adds(&k->got, conn_input(c));
    conn_consume(c, conn_input(c).n);
}

static void
on_tls_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct client *k = arg;

    (void)c;
    (void)end;
    (void)why;
    k->tls = NULL;
    k->is_closed = true;
}

static void
on_tls_secure(struct conn *c, void *arg)
{
    (void)c;
    ((struct client *)arg)->is_secure = true;
}

static const struct conn_ops tls_ops = { .on_input = on_tls_input,
                                         .on_secure = on_tls_secure,
                                         .on_close = on_tls_close };

static void
client_tls_start(struct client *k)
{
    k->tls = conn_new(k->fd, &tls_ops, k);
    k->fd = -1;
    tls_start_client(k->tls, client_tls, &(struct tls_expect){ .sni = NULL });
}

static void
client_open(struct client *k, const char *service, const char *from)
{
    int pair[2];
    struct addr peer;

    memset(k, 0, sizeof *k);
    BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0);
    addr_parse_ip(sl_z(from), 4711, &peer);
    k->fd = pair[1];
    login_accept(sl_z(service), pair[0], &peer);
}

static void
client_read(struct client *k)
{
    char b[4096];
    ssize_t n;

    while (k->fd >= 0 && !k->is_closed && (n = recv(k->fd, b, sizeof b, MSG_DONTWAIT)) >= 0) {
        buf_add(&k->got, b, (size_t)n);
        k->is_closed = n == 0;
    }
}

static bool
has_got(void *arg)
{
    struct client *k = arg;

    client_read(k);
    return k->want ? sl_find(buf_slice(&k->got), sl_z(k->want)) != SL_NPOS : k->is_closed;
}

static void
client_send(struct client *k, struct slice s)
{
    if (k->tls)
        conn_writes(k->tls, s);
    else if (k->fd >= 0 && !k->is_closed)
        CHECK_EQ_INT(send(k->fd, s.p, s.n, MSG_NOSIGNAL), s.n);
}

/* Send, then wait for `want` (NULL: for the end); what came before is forgotten. */
static bool
client_talk(struct client *k, const char *line, const char *want)
{
    buf_reset(&k->got);
    client_send(k, sl_z(line));
    k->want = want;
    if (run_until(has_got, k))
        return true;
    test_fail(__FILE__, __LINE__, "after \"%s\": got \"%.*s\", want \"%s\"", line,
              SL_ARG(buf_slice(&k->got)), want ? want : "(end)");
    return false;
}

static bool
is_gone(void *arg)
{
    (void)arg;
    return login_count() == 0;
}

static void
client_close(struct client *k)
{
    if (k->tls)
        conn_abort(k->tls);
    if (k->fd >= 0)
        close(k->fd);
    k->fd = -1;
    CHECK(run_until(is_gone, NULL));
    buf_free(&k->got);
}

static bool
log_has(const char *what)
{
    char text[64 * 1024];
    FILE *f = fopen(log_path, "r");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;

    if (f)
        fclose(f);
    return sl_find(sl_n(text, n), sl_z(what)) != SL_NPOS;
}

/* ---- cases ---- */

/* clang-format off */
static const struct dialogue {
    const char *name, *service, *from;
    const char *steps[11]; /* sent, wanted, ...; NULL wanted: the end */
} dialogues[] = {
    { "imap greeting and capability", "imap", "127.0.0.1",
      { "", "* OK [CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ STARTTLS AUTH=PLAIN AUTH=LOGIN] Postern ready.\r\n",
        "a capability\r\n", "* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ STARTTLS AUTH=PLAIN AUTH=LOGIN\r\na OK Pre-login" } },
    { "imap from afar: no password in clear", "imap", "192.0.2.1",
      { "", "STARTTLS LOGINDISABLED] Postern ready.\r\n",
        "a LOGIN u@example.com pass\r\n", "a NO [PRIVACYREQUIRED] ",
        "b AUTHENTICATE PLAIN AHVAZXhhbXBsZS5jb20AcGFzcw==\r\n", "b NO [PRIVACYREQUIRED] " } },
    { "imap wrong password", "imap", "127.0.0.1",
      { "a LOGIN u@example.com wrong\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
        "b noop\r\n", "b OK NOOP completed.\r\n" } },
    { "imap names and passwords as scripts send them", "imap", "127.0.0.1",
      { "a LOGIN u@example.com*boss wrong\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
        "b LOGIN u@example.com *%]!wrong\r\n", "b NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
        "c LOGIN u(x wrong\r\n", "c BAD" } },
    { "imap authd in trouble", "imap", "127.0.0.1",
      { "a LOGIN u@example.com temp\r\n", "a NO [UNAVAILABLE] " } },
    { "imap three strikes", "imap", "127.0.0.1",
      { "a SELECT inbox\r\n", "a BAD Error in IMAP command received by server.\r\n", "b foo\r\nc bar\r\n", NULL } },
    { "imap logout", "imap", "127.0.0.1",
      { "x logout\r\n", "* BYE Logging out\r\nx OK Logout completed.\r\n", "", NULL } },
    { "imap id", "imap", "127.0.0.1",
      { "x id (\"name\" \"test\" \"v\" NIL)\r\n", "* ID (\"name\" \"Postern\")\r\nx OK ID completed.\r\n",
        "y id nil\r\n", "y OK", "z id (\"a\")\r\n", "z BAD" } },
    { "imap literals, synchronizing", "imap", "127.0.0.1",
      { "a LOGIN {13}\r\n", "+ OK\r\n", "u@example.com {5}\r\n", "+ OK\r\n", "wrong\r\n",
        "a NO [AUTHENTICATIONFAILED]" } },
    { "imap literal+", "imap", "127.0.0.1",
      { "a LOGIN {13+}\r\nu@example.com {5+}\r\nwrong\r\nb NOOP\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\nb OK" } },
    { "imap endless literal", "imap", "127.0.0.1",
      { "a LOGIN {999999999}\r\n", NULL } },
    { "imap sasl is aborted", "imap", "127.0.0.1",
      { "a authenticate plain\r\n", "+ \r\n", "*\r\n", "a BAD Authentication aborted by client.\r\n",
        "b authenticate login\r\n", "+ VXNlcm5hbWU6\r\n", "!!\r\n", "b BAD Invalid base64" } },
    { "imap sasl unknown", "imap", "127.0.0.1",
      { "a authenticate GSSAPI\r\n", "a NO Unsupported authentication mechanism.\r\n" } },
    { "imap sasl login fails", "imap", "127.0.0.1",
      { "a authenticate login\r\n", "+ VXNlcm5hbWU6\r\n", "dQ==\r\n", "+ UGFzc3dvcmQ6\r\n", "d3Jvbmc=\r\n",
        "a NO [AUTHENTICATIONFAILED]" } },
    { "imap sasl in one go", "imap", "127.0.0.1",
      { "a AUTHENTICATE PLAIN\r\nAHUAcA==\r\nb NOOP\r\n", "+ \r\na NO [AUTHENTICATIONFAILED] Authentication failed.\r\nb OK" } },
    { "imap sasl with a command in it", "imap", "127.0.0.1",
      { "a AUTHENTICATE PLAIN\r\n", "+ \r\n", "b NOOP\r\n", "a BAD Invalid base64", "c NOOP\r\n", "c OK" } },
    { "imap sasl, an empty response", "imap", "127.0.0.1",
      { "a AUTHENTICATE PLAIN\r\n", "+ \r\n", "\r\n", "a NO [AUTHENTICATIONFAILED]" } },
    { "imap sasl, an asterisk and more", "imap", "127.0.0.1",
      { "a AUTHENTICATE PLAIN\r\n", "+ \r\n", "* \r\n", "a BAD Invalid base64", "b AUTHENTICATE PLAIN\r\n", "+ \r\n", "**\r\n",
        "b BAD Invalid base64" } },
    { "imap sasl-ir", "imap", "127.0.0.1",
      { "a AUTHENTICATE PLAIN =\r\n", "a NO [AUTHENTICATIONFAILED]", "b AUTHENTICATE PLAIN !\r\n", "b BAD Invalid base64 data in initial",
        "c AUTHENTICATE PLAIN \r\n", "c BAD Error", "d AUTHENTICATE PLAIN AHUAcA== x\r\n", "d BAD" } },
    { "imap sasl-ir of no mechanism", "imap", "127.0.0.1",
      { "a AUTHENTICATE\r\n", "a BAD Error", "b AUTHENTICATE EXTERNAL =\r\n", "b NO Unsupported",
        "c AUTHENTICATE \"PLAIN\" AHUAcA==\r\n", "c BAD" } },
    { "imap id of webmail", "imap", "192.0.2.50",
      { "", "STARTTLS AUTH=PLAIN AUTH=LOGIN] Postern", "a ID (\"x-originating-ip\" \"203.0.113.4\" \"x-originating-port\" \"99\" "
        "\"x-connected-ip\" \"192.0.2.1\" \"x-session-id\" \"web/1\" \"x-proxy-ttl\" \"5\" \"x-forward-a\" \"b\")\r\n", "a OK ID",
        "b ID (\"x-originating-ip\" \"203.0.113.99\")\r\n", "b OK", "c LOGIN u@example.com wrong\r\n", "c NO [AUTHENTICATIONFAILED]",
        "d LOGOUT\r\n" } },
    { "imap id of webmail that says nothing right", "imap", "192.0.2.50",
      { "a ID (\"x-originating-ip\" \"x\" \"x-originating-port\" \"99999\" \"x-session-id\" \"a b\" \"x-connected-ip\" NIL)\r\n", "a OK",
        "b LOGOUT\r\n" } },
    { "imap id of who is not trusted", "imap", "192.0.2.1",
      { "a ID (\"x-originating-ip\" \"203.0.113.5\" \"x-session-id\" \"web/2\")\r\n", "a OK", "b LOGOUT\r\n" } },
    { "pop3 xclient of webmail", "pop3", "192.0.2.50",
      { "", "+OK [XCLIENT] Postern ready.\r\n", "XCLIENT ADDR=203.0.113.6 PORT=1 SESSION=web/3 TTL=5 FORWARD=YQ==\r\n", "+OK Updated\r\n",
        "xclient addr=1.2.3 port=5\r\n", "-ERR Invalid parameters\r\n", "QUIT\r\n" } },
    { "pop3 xclient of who is not trusted", "pop3", "192.0.2.1",
      { "XCLIENT ADDR=203.0.113.7\r\n", "+OK You are not from trusted IP - ignoring\r\n", "QUIT\r\n" } },
    { "imap line with NUL", "imap", "127.0.0.1", { "\001 noop\r\n", "* BAD" } },
    { "pop3 greeting and capa", "pop3", "127.0.0.1",
      { "", "+OK Postern ready.\r\n",
        "capa\r\n", "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nUTF8 USER\r\nLANG\r\nEXPIRE NEVER\r\nIMPLEMENTATION Postern\r\nSTLS\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n" } },
    { "pop3 from afar", "pop3", "192.0.2.1",
      { "CAPA\r\n", "STLS\r\nSASL\r\n.\r\n", "USER u@example.com\r\n", "-ERR [AUTH] Plaintext",
        "AUTH PLAIN AHVAZXhhbXBsZS5jb20AcGFzcw==\r\n", "-ERR [AUTH] Plaintext" } },
    { "pop3 wrong password", "pop3", "127.0.0.1",
      { "PASS x\r\n", "-ERR No username given.\r\n", "USER u@example.com\r\n", "+OK\r\n", "PASS wrong pass\r\n",
        "-ERR [AUTH] Authentication failed.\r\n" } },
    { "pop3 authd in trouble", "pop3", "127.0.0.1",
      { "USER u@example.com\r\nPASS temp\r\n", "+OK\r\n-ERR [SYS/TEMP] " } },
    { "pop3 no command before login", "pop3", "127.0.0.1",
      { "NOOP\r\n", "-ERR Unknown command.\r\n", "STAT\r\nLIST\r\n", NULL } },
    { "pop3 quit", "pop3", "127.0.0.1", { "QUIT\r\n", "+OK Logging out\r\n", "", NULL } },
    { "pop3 auth", "pop3", "127.0.0.1",
      { "AUTH\r\n", "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n", "AUTH PLAIN\r\n", "+ \r\n", "AHUAcA==\r\n", "-ERR [AUTH]",
        "AUTH NTLM\r\n", "-ERR [AUTH] Unsupported" } },
};
/* clang-format on */

TEST(dialogues)
{
    for (size_t i = 0; i < COUNT_OF(dialogues); i++) {
        const struct dialogue *d = &dialogues[i];
        struct client k;

        TEST_ROW("%s", d->name);
        client_open(&k, d->service, d->from);
        k.want = "ready.\r\n";
        if (d->steps[0][0])
            CHECK(run_until(has_got, &k));
        for (size_t at = 0; d->steps[at]; at += 2) {
            if (!client_talk(&k, d->steps[at], d->steps[at + 1]) || !d->steps[at + 1])
                break;
        }
        client_close(&k);
    }
}

/* What the dialogues above have left: whose connection it is, webmail alone may say. */
TEST(whose_connection_it_is)
{
    CHECK(log_has(
        "imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 0 "
        "secs): user=<u@example.com>, method=PLAIN, rip=203.0.113.4, lip=192.0.2.1, secured, "
        "session=<web/1>"));
    CHECK(!log_has("203.0.113.99"));
    CHECK(log_has("rip=192.0.2.50, lip=unknown, secured, session=<"));
    CHECK(!log_has("203.0.113.5"));
    CHECK(log_has(
        "pop3-login: Disconnected: Aborted login by logging out (no auth attempts in 0 secs): "
        "user=<>, rip=203.0.113.6, lip=unknown, secured, session=<web/3>"));
    CHECK(!log_has("203.0.113.7"));
    CHECK(!log_has("web/2"));
}

TEST(lines_and_literals_are_bounded)
{
    static char line[60000];
    struct client k;

    memset(line, 'x', sizeof line);
    for (int i = 0; i < 2; i++) {
        client_open(&k, i ? "pop3" : "imap", "127.0.0.1");
        client_send(&k, sl_n(line, i ? 9000 : sizeof line));
        CHECK(client_talk(&k, "", NULL));
        client_close(&k);
    }
    client_open(&k, "imap", "127.0.0.1");
    client_send(&k, SL("a LOGIN {30000+}\r\n"));
    client_send(&k, sl_n(line, 30000));
    client_send(&k, SL(" {20000+}\r\n"));
    CHECK(client_talk(&k, "", NULL));
    client_close(&k);
}

/* RFC 2971 §3.3 allows some 30 KiB. */
TEST(an_id_of_many_fields)
{
    struct buf text = { 0 };
    char value[1025];
    struct client k;

    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = 0;
    buf_addz(&text, "a ID (");
    for (int i = 0; i < 29; i++)
        buf_addf(&text, "\"f%d\" \"%s\" ", i, value);
    buf_addz(&text, "\"last\" {3+}\r\nend)\r\n");
    client_open(&k, "imap", "127.0.0.1");
    client_send(&k, buf_slice(&text));
    CHECK(client_talk(&k, "", "a OK"));
    CHECK(sl_find(buf_slice(&k.got), SL("* ID (")) != SL_NPOS);
    client_close(&k);
    buf_free(&text);
}

TEST(plain_session_is_handed_over)
{
    static const struct {
        const char *service, *send, *tag, *input, *id;
    } rows[] = {
        { "imap",
          "t1 id (\"name\" \"x\")\r\nt2 LOGIN \"u@example.com\" pass\r\nt3 SELECT inbox\r\nt4",
          "t2", "t3 SELECT inbox\r\nt4", "(\"name\" \"x\")" },
        { "imap", "t AUTHENTICATE PLAIN AHVAZXhhbXBsZS5jb20AcGFzcw==\r\n", "t", "", "" },
        { "pop3", "USER u@example.com\r\nPASS pass\r\nSTAT\r\n", "", "STAT\r\n", "" },
        { "pop3", "AUTH PLAIN AHVAZXhhbXBsZS5jb20AcGFzcw==\r\n", "", "", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client k;

        TEST_ROW("%zu", i);
        memset(&worker, 0, sizeof worker);
        worker.fd = -1;
        client_open(&k, rows[i].service, "127.0.0.1");
        client_send(&k, sl_z(rows[i].send));
        CHECK(run_until(has_session, NULL));
        CHECK(run_until(is_gone, NULL)); /* nothing of it stays in login */
        CHECK_EQ_STR(worker.cookie, "c00kie");
        CHECK_EQ_STR(worker.user, "u@example.com");
        CHECK_EQ_STR(worker.tag, rows[i].tag);
        CHECK_EQ_STR(worker.input, rows[i].input);
        CHECK_EQ_STR(worker.client_id, rows[i].id);
        CHECK(!worker.is_tls);
        CHECK_EQ_INT(write(worker.fd, "from the worker", 15), 15);
        CHECK(client_talk(&k, "", "from the worker"));
        close(worker.fd);
        client_close(&k);
    }
}

TEST(nobody_adopts_and_the_session_goes_on)
{
    for (int i = 0; i < 2; i++) {
        struct client k;

        memset(&worker, 0, sizeof worker);
        worker.fd = -1;
        worker.must_refuse = true;
        client_open(&k, i ? "pop3" : "imap", "127.0.0.1");
        if (i)
            CHECK(client_talk(&k, "USER u@example.com\r\nPASS pass\r\nQUIT\r\n",
                              "-ERR [SYS/TEMP] Temporary authentication failure, try again "
                              "later.\r\n+OK Logging out\r\n"));
        else
            CHECK(client_talk(&k, "a LOGIN u@example.com pass\r\nb NOOP\r\n",
                              "a NO [UNAVAILABLE] Temporary authentication failure, try again "
                              "later.\r\nb OK NOOP"));
        CHECK_EQ_INT(worker.offers, 1);
        client_close(&k);
    }
    worker.must_refuse = false;
}

static bool
is_asked(void *arg)
{
    (void)arg;
    return silent_conn != NULL;
}

TEST(a_client_that_leaves_during_authentication)
{
    struct client k;

    is_authd_silent = true;
    client_open(&k, "imap", "127.0.0.1");
    client_send(&k, SL("a LOGIN u@example.com pass\r\n"));
    CHECK(run_until(is_asked, NULL));
    shutdown(k.fd, SHUT_RDWR);
    login_drain(); /* who waits for authd is left alone */
    CHECK_EQ_INT(login_count(), 1);
    conn_printf(silent_conn, "FAIL\t%s\n", silent_id);
    is_authd_silent = false;
    client_close(&k);
}

/* ---- TLS ---- */

static bool
is_secure(void *arg)
{
    return ((struct client *)arg)->is_secure;
}

TEST(starttls_takes_nothing_from_before)
{
    static const struct {
        const char *service, *start, *reply, *then, *want;
    } rows[] = {
        { "imap", "a STARTTLS\r\nb LOGIN u@example.com pass\r\n",
          "a OK Begin TLS negotiation now.\r\n", "c CAPABILITY\r\n",
          "* CAPABILITY IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ AUTH=PLAIN "
          "AUTH=LOGIN\r\nc OK" },
        { "pop3", "STLS\r\nUSER u@example.com\r\nPASS pass\r\n",
          "+OK Begin TLS negotiation now.\r\n", "CAPA\r\n",
          "Postern\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct client k;

        memset(&worker, 0, sizeof worker);
        worker.fd = -1;
        client_open(&k, rows[i].service, "192.0.2.1");
        CHECK(client_talk(&k, rows[i].start, rows[i].reply));
        CHECK(sl_has_suffix(buf_slice(&k.got), sl_z(rows[i].reply)));
        client_tls_start(&k);
        CHECK(run_until(is_secure, &k));
        CHECK(client_talk(&k, rows[i].then, rows[i].want));
        CHECK_EQ_INT(worker.offers, 0);
        CHECK(client_talk(&k, i ? "STLS\r\n" : "d STARTTLS\r\n", "TLS is already active.\r\n"));
        client_close(&k);
    }
}

struct flood {
    struct client *k;
    size_t want, sent;
    uint32_t crc_sent, crc_got;
    size_t got;
    bool is_up; /* client to worker */
};

/* Move what can be moved; true when all arrived. */
static bool
flood_step(void *arg)
{
    struct flood *f = arg;
    static char block[8192];
    struct slice got;
    ssize_t n;

    while (f->sent < f->want && (!f->is_up || !conn_is_out_full(f->k->tls))) {
        for (size_t i = 0; i < sizeof block; i++)
            block[i] = (char)(f->sent * 7 + i * 13 + (i >> 8));
        if (f->is_up)
            conn_write(f->k->tls, block, sizeof block);
        n = f->is_up ? (ssize_t)sizeof block : send(worker.fd, block, sizeof block, MSG_DONTWAIT);
        if (n <= 0)
            break;
        f->crc_sent = enc_crc32(f->crc_sent, block, (size_t)n);
        f->sent += (size_t)n;
    }
    if (f->is_up)
        while ((n = recv(worker.fd, block, sizeof block, MSG_DONTWAIT)) > 0) {
            f->crc_got = enc_crc32(f->crc_got, block, (size_t)n);
            f->got += (size_t)n;
        }
    got = buf_slice(&f->k->got);
    if (!f->is_up && got.n > 0) {
        f->crc_got = enc_crc32(f->crc_got, got.p, got.n);
        f->got += got.n;
        buf_reset(&f->k->got);
    }
    return f->got >= f->want;
}

static bool
worker_sees_end(void *arg)
{
    char c;

    (void)arg;
    return recv(worker.fd, &c, 1, MSG_DONTWAIT) == 0;
}

TEST(tls_session_is_relayed)
{
    struct client k;

    memset(&worker, 0, sizeof worker);
    worker.fd = -1;
    client_open(&k, "imaps", "192.0.2.1");
    client_tls_start(&k);
    CHECK(client_talk(&k, "", "LITERAL+ AUTH=PLAIN AUTH=LOGIN] Postern ready.\r\n"));
    client_send(&k, SL("a LOGIN u@example.com pass\r\nb SELECT inbox\r\n"));
    NEED(run_until(has_session, NULL));
    CHECK(worker.is_tls);
    CHECK_EQ_STR(worker.tag, "a");
    CHECK_EQ_INT(fcntl(worker.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    CHECK_EQ_INT(write(worker.fd, "a OK\r\n", 6), 6);
    CHECK(client_talk(&k, "c NOOP\r\n", "a OK\r\n"));
    for (int up = 0; up < 2; up++) {
        struct flood f = { .k = &k, .want = 3 * 1024 * 1024, .is_up = up };
        char early[64];

        if (up) {
            ssize_t n = recv(worker.fd, early, sizeof early, MSG_DONTWAIT);
            CHECK_EQ_MEM(early, (size_t)(n > 0 ? n : 0), "b SELECT inbox\r\nc NOOP\r\n", 24);
        }
        buf_reset(&k.got);
        CHECK(run_until(flood_step, &f));
        CHECK_EQ_INT(f.got, f.want);
        CHECK(f.crc_got == f.crc_sent);
    }
    conn_close(k.tls);
    CHECK(run_until(worker_sees_end, NULL));
    close(worker.fd);
    client_close(&k);
}

/* The client says a lot, and that it was all; the worker takes its time. True: it has seen the end. */
static bool
slow_worker_step(void *arg)
{
    struct flood *f = arg;
    static char block[4096];
    ssize_t n;

    while (f->sent < f->want && !conn_is_out_full(f->k->tls)) {
        conn_write(f->k->tls, block, sizeof block);
        f->sent += sizeof block;
    }
    if (f->sent >= f->want && f->is_up && conn_out_pending(f->k->tls) == 0) {
        shutdown(conn_fd(f->k->tls), SHUT_WR);
        f->is_up = false;
    }
    n = recv(worker.fd, block, sizeof block, MSG_DONTWAIT);
    f->got += n > 0 ? (size_t)n : 0;
    return n == 0;
}

TEST(who_has_said_all_is_still_answered)
{
    struct client k;
    struct flood f = { .k = &k, .want = 1024 * 1024, .is_up = true };

    memset(&worker, 0, sizeof worker);
    worker.fd = -1;
    client_open(&k, "imaps", "192.0.2.1");
    client_tls_start(&k);
    CHECK(client_talk(&k, "", "Postern ready.\r\n"));
    client_send(&k, SL("a LOGIN u@example.com pass\r\n"));
    NEED(run_until(has_session, NULL));
    CHECK(run_until(slow_worker_step, &f));
    CHECK_EQ_INT(f.got, f.want);
    CHECK_EQ_INT(send(worker.fd, "b OK\r\n", 6, MSG_NOSIGNAL), 6);
    CHECK(client_talk(&k, "", "b OK\r\n"));
    close(worker.fd);
    client_close(&k);
}

TEST(what_the_worker_says_last_arrives)
{
    struct client k;

    memset(&worker, 0, sizeof worker);
    worker.fd = -1;
    client_open(&k, "pop3s", "192.0.2.1");
    client_tls_start(&k);
    client_send(&k, SL("USER u@example.com\r\nPASS pass\r\nQUIT\r\n"));
    NEED(run_until(has_session, NULL));
    CHECK_EQ_INT(write(worker.fd, "+OK Logging out.\r\n", 18), 18);
    close(worker.fd);
    CHECK(client_talk(&k, "", NULL));
    CHECK(sl_has_suffix(buf_slice(&k.got), SL("+OK Logging out.\r\n")));
    client_close(&k);
}

/* ---- the log ---- */

TEST(log_lines)
{
    struct client k;
    char want[200];

    BUG_ON(truncate(log_path, 0) != 0);
    client_open(&k, "imap", "127.0.0.1");
    CHECK(client_talk(&k, "a LOGIN \"x>, rip=1.2.3.4\" no\r\n", "a NO"));
    CHECK(client_talk(&k, "b LOGOUT\r\n", NULL));
    client_close(&k);
    CHECK(log_has("imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts "
                  "in 0 secs): user=<x?, rip=1.2.3.4>, "
                  "method=PLAIN, rip=127.0.0.1, lip=unknown, secured, session=<"));
    client_open(&k, "pop3", "192.0.2.1");
    CHECK(client_talk(&k, "USER u\r\n", "-ERR"));
    client_close(&k);
    CHECK(log_has("pop3-login: Disconnected: Connection closed (tried to use disallowed plaintext "
                  "auth): user=<>, "
                  "rip=192.0.2.1, lip=unknown, session=<"));
    memset(&worker, 0, sizeof worker);
    worker.fd = -1;
    client_open(&k, "imap", "127.0.0.1");
    client_send(&k, SL("a LOGIN u@example.com pass\r\n"));
    CHECK(run_until(has_session, NULL));
    CHECK(run_until(is_gone, NULL));
    snprintf(want, sizeof want,
             "imap-login: Login: user=<u@example.com>, method=PLAIN, rip=127.0.0.1, lip=unknown, "
             "mpid=%d, secured, session=<",
             (int)getpid());
    CHECK(log_has(want));
    CHECK(!log_has("pass,"));
    close(worker.fd);
    client_close(&k);
}

/* Each is one session; the line it leaves. */
static const struct {
    const char *steps[7]; /* sent, wanted, ... */
    const char *line;     /* behind "Disconnected: Aborted login by logging out " */
} ends[] = {
    { { "" }, "(no auth attempts in 0 secs): user=<>, rip=127.0.0.1" },
    { { "a LOGIN u@example.com wrong\r\n", "a NO" },
      "(auth failed, 1 attempts in 0 secs): user=<u@example.com>, method=PLAIN, rip=" },
    { { "a LOGIN u@example.com temp\r\n", "a NO" },
      "(auth service reported temporary failure): user=<u@example.com>, method=PLAIN, rip=" },
    { { "a AUTHENTICATE PLAIN\r\n", "+", "*\r\n", "a BAD" },
      "(client didn't finish SASL auth, waited 0 secs): user=<>, method=PLAIN, rip=" },
    { { "a AUTHENTICATE PLAIN\r\n", "+", "*\r\n", "a BAD", "b AUTHENTICATE PLAIN AHUAcA==\r\n",
        "b NO" },
      "(auth failed, 2 attempts in 0 secs): user=<u>, method=PLAIN, rip=" },
    { { "a AUTHENTICATE PLAIN !!\r\n", "a BAD" },
      "(sent invalid base64 in response): user=<>, method=PLAIN, rip=" },
    { { "a AUTHENTICATE GSSAPI\r\n", "a NO" },
      "(tried to use unsupported auth mechanism): user=<>, method=GSSAPI, rip=" },
    { { "a LOGIN \"u\\\"<>,\" wrong\r\n", "a NO", "b AUTHENTICATE GSSAPI\r\n", "b NO" },
      "(auth failed, 2 attempts in 0 secs): user=<>, method=GSSAPI, rip=" },
    { { "a LOGIN \"u\\\"<>,\" wrong\r\n", "a NO" },
      "(auth failed, 1 attempts in 0 secs): user=<u???,>, method=PLAIN, rip=" },
};

TEST(how_a_session_ends)
{
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        struct client k;
        char want[300];

        TEST_ROW("%s", ends[i].line);
        BUG_ON(truncate(log_path, 0) != 0);
        client_open(&k, "imap", "127.0.0.1");
        for (size_t at = 0; ends[i].steps[at]; at += 2)
            if (ends[i].steps[at][0])
                CHECK(client_talk(&k, ends[i].steps[at], ends[i].steps[at + 1]));
        CHECK(client_talk(&k, "z LOGOUT\r\n", NULL));
        client_close(&k);
        snprintf(want, sizeof want, "imap-login: Disconnected: Aborted login by logging out %s",
                 ends[i].line);
        CHECK(log_has(want));
    }
}

TEST(a_log_format_of_ones_own)
{
    static const struct {
        const char *format, *elements, *want;
    } rows[] = {
        { "%$: %s", "user=<%u> rip=%r",
          "imap-login: Disconnected: Aborted login by logging out (no auth attempts in 0 secs): "
          "user=<>, rip=127.0.0.1\n" },
        { "<%s> 100%% %$", "%n at=%d method=%m %{remote_port}/%b",
          "imap-login: <, at=, 4711/4711> 100% Disconnected: " },
        { "%s", "%c x=%{session} y %e %%u %{nothing}z %", "imap-login: secured, x=" },
        { "%s", "%{service}:%s real=%{real_rip} %k", "imap-login: imap:imap, real=127.0.0.1\n" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf_problems ps = { 0 };
        struct login_setup other = setup;
        struct buf text = { 0 };
        struct conf *conf;
        struct client k;

        TEST_ROW("%s %s", rows[i].format, rows[i].elements);
        BUG_ON(truncate(log_path, 0) != 0);
        buf_addf(&text,
                 "queue_directory = %s\nlogin_log_format = %s\nlogin_log_format_elements = %s\n",
                 dir, rows[i].format, rows[i].elements);
        conf = conf_parse(buf_slice(&text), "main.cf", &ps);
        NEED(conf);
        other.conf = conf;
        login_set(&other);
        client_open(&k, "imap", "127.0.0.1");
        CHECK(client_talk(&k, "z LOGOUT\r\n", NULL));
        client_close(&k);
        CHECK(log_has(rows[i].want));
        login_set(&setup);
        conf_unref(&conf);
        buf_free(&text);
        conf_problems_free(&ps);
    }
}

/* Who waits for the line that counts him does not get around it by going. */
TEST(a_client_that_leaves_at_once_is_counted)
{
    struct client k;

    BUG_ON(truncate(log_path, 0) != 0);
    is_authd_silent = true;
    client_open(&k, "imap", "127.0.0.1");
    CHECK(client_talk(&k, "", "ready"));
    client_send(&k, SL("x NOOP\r\na LOGIN u@example.com wrong\r\n"));
    silent_conn = NULL;
    NEED(run_until(is_asked, NULL));
    close(k.fd); /* with an answer unread: a reset */
    k.fd = -1;
    CHECK(!run_until_for(is_gone, 50));
    conn_printf(silent_conn, "FAIL\t%s\tuser=u@example.com\n", silent_id);
    is_authd_silent = false;
    client_close(&k);
    CHECK(
        log_has("imap-login: Disconnected: Connection closed (auth failed, 1 attempts in 0 secs): "
                "user=<u@example.com>, method=PLAIN, rip=127.0.0.1"));
}

/* ---- set-up ---- */

static struct listener *
listen_at(const char *name, int type,
          void (*on)(struct listener *, void *, int, const struct addr *))
{
    char path[128];
    struct addr a;
    struct err e = { 0 };
    int fd;

    snprintf(path, sizeof path, "%s/private/%s", dir, name);
    BUG_ON(addr_unix(path, &a, &e) != 0);
    fd = listener_bind(&a, type, 0600, &e);
    BUG_ON(fd < 0);
    return listener_new(fd, on, NULL);
}

static void
make_tls(void)
{
    static const char *const names[] = { "localhost" };
    struct tls_server_opts o = { .tickets = true, .protocols = ">=TLSv1.2", .alpn = "imap" };
    struct buf chain = { 0 }, key = { 0 };
    struct err e = { 0 };

    BUG_ON(tls_make_self_signed(names, 1, 10, &chain, &key, &e) != 0);
    BUG_ON(tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &server_tls, &e) != 0);
    BUG_ON(tls_client_new(&(struct tls_client_opts){ .digest = NULL }, &client_tls, &e) != 0);
    buf_free(&chain);
    buf_free(&key);
}

int
main(int argc, char **argv)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct listener *listeners[3];
    struct conf *conf;
    char command[64];
    int rc;

    loop_init();
    BUG_ON(!mkdtemp(dir));
    snprintf(log_path, sizeof log_path, "%s/log", dir);
    log_set_program("login", "dovecot", NULL);
    log_set_output(LOG_TO_FILE, log_path, LOG_FMT_TEXT, LOG_LV_INFO);
    buf_addf(&text, "queue_directory = %s\nlogin_trusted_networks = 192.0.2.50\n", dir);
    conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    BUG_ON(!conf);
    snprintf(command, sizeof command, "mkdir %s/private", dir);
    BUG_ON(system(command) != 0);
    make_tls();
    listeners[0] = listen_at("auth", SOCK_STREAM, on_auth_accept);
    listeners[1] = listen_at("imapd-0", SOCK_SEQPACKET, on_worker_accept);
    listeners[2] = listen_at("pop3d", SOCK_SEQPACKET, on_worker_accept);
    snprintf(command, sizeof command, "%s/private/auth", dir);
    authd = auth_client_new(command);
    setup.conf = conf;
    setup.auth = authd;
    setup.tls.v[0] = setup.tls.v[LOGIN_CTX_POP3] = server_tls;
    login_set(&setup);
    rc = test_main(argc, argv);
    login_forget();
    auth_client_free(&authd);
    for (size_t i = 0; i < COUNT_OF(listeners); i++)
        listener_free(&listeners[i]);
    tls_unref(&server_tls);
    tls_unref(&client_tls);
    conf_unref(&conf);
    buf_free(&text);
    buf_free(&auth_seen);
    loop_free();
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) == 0 ? rc : 1;
}
