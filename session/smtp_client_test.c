/* session/smtp_client_test.c - the client engine against scripted peers over a socketpair. */
#include "session/smtp_client.h"

#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <stdlib.h>
#include <sys/socket.h>

/* A script is lines: "S:text" the peer says, "C:text" it must hear, "B:" it reads a DATA body to the dot into `body`,
 * "N:n" it reads n octets into `body`, "X:" it closes. */
struct peer {
    struct conn *conn;
    const char *at;
    struct buf heard;
    struct buf body;
    uint64_t want;
    bool is_data;
    bool has_failed;
};

struct owner {
    struct smtp_client *client;
    const struct smtp_tx *tx;
    struct slice content;
    struct smtp_result rcpt[8];
    char text[8][200];
    unsigned told[8];
    int done, closed, ready;
    char why[200];
    bool quits;
};

static struct peer peer;
static struct owner owner;

static void peer_step(void);

static bool
script_take(char *kind, struct slice *line)
{
    const char *end;

    if (*peer.at == '\0')
        return false;
    end = strchr(peer.at, '\n');
    *kind = peer.at[0];
    *line = sl_n(peer.at + 2, (size_t)(end - peer.at) - 2);
    return true;
}

static void
script_next(void)
{
    peer.at = strchr(peer.at, '\n') + 1;
}

static bool
hear_line(struct slice want)
{
    struct slice line;

    if (conn_take_line(peer.conn, 4096, LINE_CRLF, &line) != FRAME_OK)
        return false;
    if (!sl_eq(line, want)) {
        peer.has_failed = true;
        FAIL("peer heard '%.*s', wanted '%.*s'", SL_ARG(line), SL_ARG(want));
    }
    return true;
}

static bool
hear_body(void)
{
    struct slice line;

    while (conn_take_line(peer.conn, 4096, LINE_CRLF, &line) == FRAME_OK) {
        if (sl_eqz(line, "."))
            return true;
        buf_adds(&peer.body, line);
        buf_addc(&peer.body, '\n');
    }
    return false;
}

static bool
hear_octets(struct slice count)
{
    uint64_t n;
    struct slice some;

    if (peer.want == 0 && sl_to_u64(count, &n))
        peer.want = n;
    while (peer.want > 0) {
        if (conn_take_some(peer.conn, peer.want, &some) != FRAME_OK)
            return false;
        buf_adds(&peer.body, some);
        peer.want -= some.n;
    }
    return true;
}

static void
peer_step(void)
{
    char kind;
    struct slice line;

    while (!peer.has_failed && script_take(&kind, &line)) {
        if (kind == 'S') {
            conn_writes(peer.conn, line);
            conn_write(peer.conn, "\r\n", 2);
        } else if (kind == 'X') {
            script_next();
            conn_close(peer.conn);
            return;
        } else if ((kind == 'C' && !hear_line(line)) || (kind == 'B' && !hear_body()) ||
                   (kind == 'N' && !hear_octets(line))) {
            return;
        }
        script_next();
    }
}

static void
peer_input(struct conn *c, void *arg)
{
    (void)arg;
    peer.conn = c;
    peer_step();
    if (conn_is_eof(c))
        conn_close(c);
}

static void
peer_closed(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    (void)c, (void)arg, (void)end, (void)why;
    peer.conn = NULL;
}

static const struct conn_ops peer_ops = { .on_input = peer_input, .on_close = peer_closed };

static void
push_body(struct smtp_client *c)
{
    smtp_client_body(c, owner.content);
    smtp_client_body_end(c);
}

static void
own_ready(struct smtp_client *c, void *arg)
{
    (void)arg;
    owner.ready++;
    if (owner.tx && smtp_client_send(c, owner.tx))
        push_body(c);
}

static void
own_body(struct smtp_client *c, void *arg)
{
    (void)arg;
    push_body(c);
}

static void
own_rcpt(struct smtp_client *c, void *arg, size_t i, const struct smtp_result *r)
{
    (void)c, (void)arg;
    owner.told[i]++;
    owner.rcpt[i] = *r;
    snprintf(owner.text[i], sizeof owner.text[i], "%.*s", SL_ARG(r->text));
}

static void
own_done(struct smtp_client *c, void *arg)
{
    (void)arg;
    owner.done++;
    if (owner.quits)
        smtp_client_quit(c);
}

static void
own_closed(struct smtp_client *c, void *arg, const struct smtp_result *why)
{
    (void)c, (void)arg;
    owner.closed++;
    owner.client = NULL;
    snprintf(owner.why, sizeof owner.why, "%.*s", SL_ARG(why->text));
}

static const struct smtp_client_ops own_ops = { own_ready, own_body, NULL,
                                                own_rcpt,  own_done, own_closed };

static void
give_up(void *arg)
{
    *(bool *)arg = true;
    loop_stop();
}

static void
look(void *arg)
{
    struct timer *t = arg;

    if (owner.closed && !peer.conn)
        loop_stop();
    else
        timer_start(t, 2, look, t);
}

/* Run one transaction against a script; false when it hung. */
static bool
run(const char *script, bool is_lmtp, bool wants_bdat, const struct smtp_tx *tx,
    struct slice content)
{
    struct smtp_client_opts o = { .is_lmtp = is_lmtp,
                                  .always_ehlo = true,
                                  .wants_bdat = wants_bdat,
                                  .helo_name = "me.example",
                                  .peer = "mx[1.2.3.4]:25",
                                  .line_max = 998 };
    struct timer limit = { 0 }, poll = { 0 };
    bool has_hung = false;
    int fds[2];

    memset(&peer, 0, sizeof peer);
    memset(&owner, 0, sizeof owner);
    peer.at = script;
    owner.tx = tx;
    owner.content = content;
    owner.quits = true;
    o.times = (struct smtp_times){ 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300, 300 };
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0))
        return false;
    loop_init();
    peer.conn = conn_new(fds[0], &peer_ops, NULL);
    owner.client = smtp_client_on_fd(fds[1], &o, &own_ops, NULL);
    peer_step();
    timer_start(&limit, 3000, give_up, &has_hung);
    timer_start(&poll, 2, look, &poll);
    loop_run();
    timer_stop(&limit);
    timer_stop(&poll);
    CHECK(!has_hung);
    loop_free();
    return !has_hung;
}

static const struct smtp_tx_rcpt three[] = { { .addr = SL_INIT("a@x") },
                                             { .addr = SL_INIT("b@x") },
                                             { .addr = SL_INIT("c@x") } };

static struct smtp_tx
tx_to(size_t n, size_t size)
{
    return (struct smtp_tx){ .sender = SL("s@y"), .rcpts = three, .n_rcpts = n, .size = size };
}

#define HELLO  "S:220 mx ESMTP\nC:EHLO me.example\n"
#define LHELLO "S:220 mx LMTP\nC:LHLO me.example\n"
#define BYE    "C:QUIT\nS:221 bye\nX:\n"

TEST(outcomes)
{
    static const struct {
        const char *name, *script;
        size_t n;
        bool is_lmtp, wants_bdat;
        const char *want[3]; /* outcome letter and dsn */
        const char *text;    /* part of the first text */
        const char *body;
    } rows[] = {
        { "plain, no extensions",
          HELLO
          "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\nC:DATA\nS:354 go\nB:\n"
          "S:250 2.0.0 Ok: queued as 7\n" BYE,
          1,
          false,
          false,
          { "S2.0.0" },
          "250 2.0.0 Ok: queued as 7",
          "..hi\nyou\n" },
        { "pipelined, one of three refused",
          HELLO "S:250-mx\nS:250 PIPELINING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\nC:RCPT "
                "TO:<b@x>\nC:RCPT TO:<c@x>\nC:DATA\n"
                "S:250 ok\nS:250 ok\nS:550 5.1.1 who\nS:450 later\nS:354 go\nB:\nS:250 done\n" BYE,
          3,
          false,
          false,
          { "S2.0.0", "F5.1.1", "D4.0.0" },
          "250 done",
          NULL },
        { "pipelined, all refused, peer wants data all the same",
          HELLO "S:250-mx\nS:250 PIPELINING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\nC:DATA\nS:250 "
                "ok\nS:550 5.1.1 no\nS:354 go\n"
                "B:\nS:554 no recipients\nC:RSET\nS:250 ok\n" BYE,
          1,
          false,
          false,
          { "F5.1.1" },
          "host mx[1.2.3.4] said: 550 5.1.1 no (in reply to RCPT TO command)",
          "" },
        { "354 is no answer to the end of data",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\nC:DATA\nS:354 "
                "go\nB:\nS:354 go\n" BYE,
          1,
          false,
          false,
          { "D4.0.0" },
          "in reply to end of DATA command",
          NULL },
        { "MAIL refused",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:550 5.7.1 not you\nC:RSET\nS:250 ok\n" BYE,
          2,
          false,
          false,
          { "F5.7.1", "F5.7.1" },
          "in reply to MAIL FROM command",
          NULL },
        { "EHLO refused, HELO taken",
          HELLO "S:502 what\nC:HELO me.example\nS:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT "
                "TO:<a@x>\nS:250 ok\nC:DATA\n"
                "S:354 go\nB:\nS:451 4.3.0 try later\n" BYE,
          1,
          false,
          false,
          { "D4.3.0" },
          "in reply to end of DATA command",
          NULL },
        { "lost before the end of data",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nX:\n",
          1,
          false,
          false,
          { "D4.4.2" },
          "lost connection with mx[1.2.3.4] while sending RCPT TO",
          NULL },
        { "lost after the end of data",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\nC:DATA\nS:354 "
                "go\nB:\nX:\n",
          1,
          false,
          false,
          { "M4.4.2" },
          "message may be sent more than once",
          NULL },
        { "hangs after MAIL",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\n",
          1,
          false,
          false,
          { "D4.4.2" },
          "conversation with mx[1.2.3.4] timed out while sending MAIL FROM",
          NULL },
        { "garbage",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:\x7f"
                "ELF\n",
          1,
          false,
          false,
          { "D4.5.0" },
          "not an SMTP reply",
          NULL },
        { "421 in the middle",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:421 4.3.2 going down\nX:\n",
          1,
          false,
          false,
          { "D4.3.2" },
          "421 4.3.2 going down",
          NULL },
        { "LMTP: a reply for each",
          LHELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nC:RCPT "
                 "TO:<a@x>\nC:RCPT TO:<b@x>\nC:RCPT TO:<c@x>\n"
                 "C:BDAT 10 LAST\nN:10\nS:250 ok\nS:250 ok\nS:550 5.1.1 who\nS:250 ok\nS:250 2.0.0 "
                 "saved\nS:452 4.2.2 full\n" BYE,
          3,
          true,
          true,
          { "S2.0.0", "F5.1.1", "D4.2.2" },
          "saved",
          ".hi\r\nyou\r\n" },
        { "LMTP: all refused behind BDAT",
          LHELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nC:RCPT "
                 "TO:<a@x>\nC:BDAT 10 LAST\nN:10\n"
                 "S:250 ok\nS:550 5.1.1 who\nS:503 no recipients\nC:RSET\nS:250 ok\n" BYE,
          1,
          true,
          true,
          { "F5.1.1" },
          "5.1.1 who",
          NULL },
        { "LMTP: DATA, lost after the first reply",
          LHELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\nC:RCPT "
                 "TO:<b@x>\nS:250 ok\nC:DATA\nS:354 go\nB:\n"
                 "S:250 2.0.0 saved\nX:\n",
          2,
          true,
          false,
          { "S2.0.0", "M4.4.2" },
          "saved",
          NULL },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct smtp_tx tx = tx_to(rows[i].n, 10);

        TEST_ROW("%s", rows[i].name);
        if (!run(rows[i].script, rows[i].is_lmtp, rows[i].wants_bdat, &tx, SL(".hi\r\nyou\r\n")))
            continue;
        for (size_t k = 0; k < rows[i].n; k++) {
            char got[32];

            CHECK_EQ_INT(owner.told[k], 1);
            snprintf(got, sizeof got, "%c%s",
                     owner.rcpt[k].maybe_sent ? 'M' : "SDF"[owner.rcpt[k].outcome],
                     owner.rcpt[k].dsn);
            CHECK_EQ_STR(got, rows[i].want[k]);
        }
        if (!strstr(owner.text[0], rows[i].text))
            FAIL("text is '%s', lacks '%s'", owner.text[0], rows[i].text);
        if (rows[i].body)
            CHECK_EQ_STR(buf_z(&peer.body), rows[i].body);
        CHECK_EQ_INT(owner.closed, 1);
        if (*peer.at != '\0')
            FAIL("the script was left at '%s'", peer.at);
        buf_free(&peer.body);
    }
}

/* Would it be accepted? No DATA and no BDAT, whatever the peer offers. */
TEST(probes)
{
    static const struct {
        const char *name, *script, *xroute;
        size_t n;
        const char *want[3], *text;
    } rows[] = {
        { "taken",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 2.1.5 "
                "Ok\nC:RSET\nS:250 ok\n" BYE,
          "",
          1,
          { "S2.1.5" },
          "250 2.1.5 Ok" },
        { "pipelined, one of each",
          HELLO
          "S:250-mx\nS:250-CHUNKING\nS:250 PIPELINING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\nC:RCPT "
          "TO:<b@x>\nC:RCPT TO:<c@x>\nC:RSET\nS:250 ok\nS:550 5.1.1 who\nS:450 4.2.0 later\nS:250 "
          "ok\nS:250 ok\n" BYE,
          "",
          3,
          { "F5.1.1", "D4.2.0", "S2.0.0" },
          "host mx[1.2.3.4] said: 550 5.1.1 who (in reply to RCPT TO command)" },
        { "sender refused",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:550 5.7.1 not you\nC:RSET\nS:250 ok\n" BYE,
          "",
          1,
          { "F5.7.1" },
          "in reply to MAIL FROM command" },
        { "sender refused, pipelined",
          HELLO
          "S:250-mx\nS:250 PIPELINING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\nC:RSET\nS:550 5.7.1 not "
          "you\nS:503 no\nS:250 ok\n" BYE,
          "",
          1,
          { "F5.7.1" },
          "in reply to MAIL FROM command" },
        { "lost at RCPT",
          HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nX:\n",
          "",
          1,
          { "D4.4.2" },
          "lost connection with" },
        { "by relayd",
          LHELLO
          "S:250-mx\nS:250-PIPELINING\nS:250-CHUNKING\nS:250 XROUTE\nC:XROUTE smtp x\nC:MAIL "
          "FROM:<s@y>\nC:RCPT TO:<a@x>\nC:RCPT TO:<b@x>\nC:XPROBE\nS:250 ok\nS:250 ok\nS:250 "
          "ok\nS:250 ok\nS:250-2.1.5 relay=\nS:250 2.1.5 250 ok\nS:550-5.1.1 relay=\nS:550 5.1.1 "
          "who\n" BYE,
          "smtp x",
          2,
          { "S2.1.5", "F5.1.1" },
          "250 ok" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct smtp_tx tx = tx_to(rows[i].n, 0);

        TEST_ROW("%s", rows[i].name);
        tx.is_probe = true;
        tx.xroute = sl_z(rows[i].xroute);
        if (!run(rows[i].script, rows[i].xroute[0] != '\0', true, &tx, SL("")))
            continue;
        for (size_t k = 0; k < rows[i].n; k++) {
            char got[32];

            CHECK_EQ_INT(owner.told[k], 1);
            snprintf(got, sizeof got, "%c%s", "SDF"[owner.rcpt[k].outcome], owner.rcpt[k].dsn);
            CHECK_EQ_STR(got, rows[i].want[k]);
        }
        if (!strstr(owner.text[0], rows[i].text))
            FAIL("text is '%s', lacks '%s'", owner.text[0], rows[i].text);
        CHECK_EQ_INT(owner.done, strcmp(rows[i].name, "lost at RCPT") != 0);
        if (*peer.at != '\0')
            FAIL("the script was left at '%s'", peer.at);
    }
}

TEST(refused_before_it_begins)
{
    static const struct {
        const char *script, *why;
    } rows[] = {
        { "S:554 5.7.1 go away\nX:\n",
          "host mx[1.2.3.4] refused to talk to me: 554 5.7.1 go away" },
        { "S:421 busy\nX:\n", "host mx[1.2.3.4] refused to talk to me: 421 busy" },
        { "X:\n", "lost connection with mx[1.2.3.4] while receiving the initial server greeting" },
        { HELLO "S:450 no\nC:HELO me.example\nS:450 no\nX:\n",
          "host mx[1.2.3.4] refused to talk to me: 450 no" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%zu", i);
        if (!run(rows[i].script, false, false, NULL, SL("")))
            continue;
        CHECK_EQ_STR(owner.why, rows[i].why);
        CHECK_EQ_INT(owner.ready, 0);
    }
}

TEST(parameters)
{
    static const struct smtp_tx_rcpt r[] = { { .addr = SL_INIT("a@x"),
                                               .orcpt = SL_INIT("rfc822;a+b@x"),
                                               .notify = NOTIFY_FAILURE | NOTIFY_DELAY } };
    struct smtp_tx tx = { .sender = SL("s@y"),
                          .rcpts = r,
                          .n_rcpts = 1,
                          .size = 10,
                          .ret = RET_HDRS,
                          .envid = SL("q=1"),
                          .is_8bit = true,
                          .xforward = SL("IDENT=X.0"),
                          .xroute = SL("smtp x") };

    run("S:220 mx LMTP\nC:LHLO me.example\nS:250-mx\nS:250-SIZE "
        "1000\nS:250-8BITMIME\nS:250-DSN\nS:250-XFORWARD IDENT REPEAT\nS:250 XROUTE\n"
        "C:XROUTE smtp x\nS:250 ok\nC:XFORWARD IDENT=X.0\nS:250 ok\n"
        "C:MAIL FROM:<s@y> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=q+3D1\nS:250 ok\n"
        "C:RCPT TO:<a@x> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+2Bb@x\nS:250 ok\nC:DATA\nS:354 "
        "go\nB:\nS:250 ok\n" BYE,
        true, false, &tx, SL("hi\r\n"));
    CHECK_EQ_INT(owner.told[0], 1);
    CHECK(*peer.at == '\0');
    buf_free(&peer.body);
}

TEST_MAIN()
