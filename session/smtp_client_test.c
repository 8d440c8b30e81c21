/* session/smtp_client_test.c - the client engine against scripted peers over a socketpair. */
#include "session/sasl_client.h"
#include "session/smtp_client.h"

#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <stdlib.h>
#include <sys/socket.h>

/* A script is lines: "S:text" the peer says, "H:text" the same without a line's end, "E:text" it says 10,000 times, "C:text" it
 * must hear, "B:" it reads a DATA body to the dot into `body`, "N:n" it reads n octets into `body`, "X:" it closes. */
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
        } else if (kind == 'H') {
            conn_writes(peer.conn, line);
        } else if (kind == 'E') {
            for (unsigned i = 0; i < 10000; i++) {
                conn_writes(peer.conn, line);
                conn_write(peer.conn, "\r\n", 2);
            }
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
    if (owner.tx == NULL)
        smtp_client_quit(c);
    else if (smtp_client_send(c, owner.tx))
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

/* What a run has beside its arguments. */
static struct {
    bool wants_chunks, wants_downgrade;
    uint64_t limit_ms;
    const char *auth, *loop_name;
    unsigned options;
    const char *filter;
} tune;

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
    struct smtp_client_sasl sasl = { .plain_options = tune.options,
                                     .filter = &tune.filter,
                                     .n_filter = tune.filter != NULL,
                                     .is_soft = true };
    struct timer limit = { 0 }, poll = { 0 };
    uint64_t ms = tune.limit_ms ? tune.limit_ms : 300;
    bool has_hung = false;
    int fds[2];

    memset(&peer, 0, sizeof peer);
    memset(&owner, 0, sizeof owner);
    peer.at = script;
    owner.tx = tx;
    owner.content = content;
    owner.quits = true;
    o.times = (struct smtp_times){ ms, ms, ms, ms, ms, ms, ms, ms, ms, ms, ms, ms };
    o.wants_chunks = tune.wants_chunks;
    o.wants_downgrade = tune.wants_downgrade;
    o.auth = sl_z(tune.auth);
    o.sasl = &sasl;
    o.loop_name = tune.loop_name;
    o.loop_nexthop = "there.example";
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

/* Every step of a transaction, in every way it can go wrong. */
TEST(fails_at_every_step)
{
    static const struct {
        const char *hears, *says, *doing, *command;
    } steps[] = {
        { "", "S:220 mx ESMTP\n", "receiving the initial server greeting", NULL },
        { "C:EHLO me.example\n", "S:250 mx\n", "performing the EHLO handshake", NULL },
        { "C:MAIL FROM:<s@y>\n", "S:250 ok\n", "sending MAIL FROM", "MAIL FROM" },
        { "C:RCPT TO:<a@x>\n", "S:250 ok\n", "sending RCPT TO", "RCPT TO" },
        { "C:DATA\n", "S:354 go\n", "sending DATA command", "DATA" },
        { "B:\n", "S:250 2.0.0 done\n", "sending end of data -- message may be sent more than once",
          "end of DATA" },
    };
    enum { GREETING, EHLO, DOT = 5 };
    static const struct {
        const char *name, *script, *dsn,
            *text; /* text NULL: the connection is lost; "": it times out */
        char outcome;
        bool goes_on; /* the connection */
    } ways[] = {
        { "4xx", "S:450 4.2.0 later\n", "4.2.0", "450 4.2.0 later", 'D', true },
        { "5xx", "S:550 5.7.1 never\n", "5.7.1", "550 5.7.1 never", 'F', true },
        { "5xx in lines", "S:550-5.7.1 not\nS:550 5.7.1 ever\n", "5.7.1",
          "550-5.7.1 not 550 5.7.1 ever", 'F', true },
        { "3xx or 2xx that makes no sense", "S:399 huh\n", "4.0.0", "399 huh", 'D', true },
        { "421", "S:421 4.3.2 bye\nX:\n", "4.3.2", "421 4.3.2 bye", 'D', false },
        { "close", "X:\n", "4.4.2", NULL, 'D', false },
        { "hang", "", "4.4.2", "", 'D', false },
        { "garbage",
          "S:\x7f"
          "ELF\n",
          "4.5.0", "not an SMTP reply: ?ELF while ", 'D', false },
        { "half a line, close", "H:25\nX:\n", "4.4.2", NULL, 'D', false },
        { "half a line, hang", "H:250 o\n", "4.4.2", "", 'D', false },
        { "half a reply, close", "S:250-one\nX:\n", "4.4.2", NULL, 'D', false },
        { "half a reply, hang", "S:250-one\n", "4.4.2", "", 'D', false },
        { "a reply without end", "E:250-x\n", "4.5.0", "reply of more than 500 lines", 'D', false },
        { "an empty line", "S:\n", "4.5.0", "not an SMTP reply", 'D', false },
    };

    tune.limit_ms = 60;
    for (size_t i = 0; i < COUNT_OF(steps); i++)
        for (size_t k = 0; k < COUNT_OF(ways); k++) {
            struct smtp_tx tx = tx_to(1, 4);
            struct buf script = { 0 }, want = { 0 };
            const char *text = i < 2 ? owner.why : owner.text[0];
            char got[32], wanted[32];

            TEST_ROW("%s at step %zu", ways[k].name, i);
            for (size_t at = 0; at < i; at++)
                buf_addf(&script, "%s%s", steps[at].hears, steps[at].says);
            buf_addf(&script, "%s%s", steps[i].hears, ways[k].script);
            if (ways[k].goes_on && i == EHLO)
                buf_addf(&script, "C:HELO me.example\n%sX:\n", ways[k].script);
            else if (ways[k].goes_on && i == GREETING)
                buf_addz(&script, "X:\n");
            else if (ways[k].goes_on)
                buf_addf(&script, "%s" BYE, i == DOT ? "" : "C:RSET\nS:250 ok\n");
            if (ways[k].text == NULL)
                buf_addf(&want, "lost connection with mx[1.2.3.4] while %s", steps[i].doing);
            else if (ways[k].text[0] == '\0')
                buf_addf(&want, "conversation with mx[1.2.3.4] timed out while %s", steps[i].doing);
            else if (ways[k].dsn[2] == '5')
                buf_addz(&want, ways[k].text);
            else if (i < 2)
                buf_addf(&want, "host mx[1.2.3.4] refused to talk to me: %s", ways[k].text);
            else
                buf_addf(&want, "host mx[1.2.3.4] said: %s (in reply to %s command)", ways[k].text,
                         steps[i].command);
            run(buf_z(&script), false, false, &tx, SL("hi\r\n"));
            if (strstr(text, buf_z(&want)) == NULL)
                FAIL("text is '%s', wanted '%s'", text, buf_z(&want));
            CHECK_EQ_INT(owner.told[0], i >= 2);
            if (i >= 2) {
                snprintf(got, sizeof got, "%c%s", "SDF"[owner.rcpt[0].outcome], owner.rcpt[0].dsn);
                snprintf(wanted, sizeof wanted, "%c%s", ways[k].outcome, ways[k].dsn);
                CHECK_EQ_STR(got, wanted);
                CHECK_EQ_INT(owner.rcpt[0].maybe_sent,
                             i == DOT && (ways[k].dsn[2] == '4' || ways[k].dsn[2] == '5'));
            }
            CHECK_EQ_INT(owner.closed, 1);
            buf_free(&peer.body);
            buf_free(&script);
            buf_free(&want);
        }
    tune.limit_ms = 0;
}

/* A reply before its question answers nothing. */
TEST(answers_too_early)
{
    static const struct {
        const char *script, *why;
    } rows[] = {
        { "S:220 mx ESMTP\nS:250 mx\nC:EHLO me.example\n", "said before it was asked: 250 mx" },
        { "S:220 mx ESMTP\nS:421 going\nC:EHLO me.example\n", "refused to talk to me: 421 going" },
        { HELLO "S:250 mx\nS:250 ok\nC:MAIL FROM:<s@y>\n", "said before it was asked: 250 ok" },
        { HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\nC:DATA\nS:354 "
                "go\nS:250 2.0.0 queued\nB:\n",
          "said before it was asked: 250 2.0.0 queued" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct smtp_tx tx = tx_to(1, 4);

        TEST_ROW("%zu", i);
        run(rows[i].script, false, false, &tx, SL("hi\r\n"));
        if (strstr(owner.why, rows[i].why) == NULL)
            FAIL("why is '%s', lacks '%s'", owner.why, rows[i].why);
        if (owner.told[0])
            CHECK_EQ_INT(owner.rcpt[0].outcome, SMTP_DEFERRED);
        buf_free(&peer.body);
    }
}

#define TO_BDAT                                                                                    \
    HELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\n"       \
          "S:250 ok\nS:250 ok\n"
#define TO_BDAT_SLOWLY                                                                             \
    HELLO "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\n"

/* BDAT to other hosts: what DATA would carry, in as many pieces as it takes. */
TEST(chunks)
{
    static const struct {
        const char *name, *script, *content; /* content NULL: 140,000 octets */
        bool is_lmtp;
        const char *want, *text, *body;
    } rows[] = {
        { "one", TO_BDAT "C:BDAT 10 LAST\nN:10\nS:250 2.0.0 Ok\n" BYE, ".hi\r\nyou\r\n", false,
          "S2.0.0", "250 2.0.0 Ok", ".hi\r\nyou\r\n" },
        { "made fit for the wire", TO_BDAT "C:BDAT 10 LAST\nN:10\nS:250 Ok\n" BYE, "a\rb\n.c\r",
          false, "S2.0.0", "Ok", "a b\r\n.c \r\n" },
        { "nothing", TO_BDAT "C:BDAT 0 LAST\nS:250 Ok\n" BYE, "", false, "S2.0.0", "Ok", "" },
        { "three",
          TO_BDAT "C:BDAT 65536\nN:65536\nS:250 one\nC:BDAT 65536\nN:65536\nS:250 two\nC:BDAT 8928 "
                  "LAST\nN:8928\nS:250 2.0.0 all\n" BYE,
          NULL, false, "S2.0.0", "250 2.0.0 all", NULL },
        { "three, one after the other",
          TO_BDAT_SLOWLY "C:BDAT 65536\nN:65536\nS:250 one\nC:BDAT 65536\nN:65536\nS:250 two\n"
                         "C:BDAT 8928 LAST\nN:8928\nS:250 2.0.0 all\n" BYE,
          NULL, false, "S2.0.0", "250 2.0.0 all", NULL },
        { "the second is refused",
          TO_BDAT "C:BDAT 65536\nN:65536\nS:250 one\nC:BDAT 65536\nN:65536\nS:552 5.3.4 too big\n"
                  "C:BDAT 8928 LAST\nN:8928\nS:503 5.5.1 what\nC:RSET\nS:250 ok\n" BYE,
          NULL, false, "F5.3.4",
          "host mx[1.2.3.4] said: 552 5.3.4 too big (in reply to BDAT command)", NULL },
        { "the first is refused, slowly",
          TO_BDAT_SLOWLY "C:BDAT 65536\nN:65536\nS:452 4.3.1 full\nC:RSET\nS:250 ok\n" BYE, NULL,
          false, "D4.3.1", "452 4.3.1 full (in reply to BDAT command)", NULL },
        { "421 at the second", TO_BDAT "C:BDAT 65536\nN:65536\nS:250 one\nS:421 4.3.2 bye\nX:\n",
          NULL, false, "D4.3.2", "421 4.3.2 bye", NULL },
        { "lost in the middle", TO_BDAT_SLOWLY "C:BDAT 65536\nN:65536\nX:\n", NULL, false, "D4.4.2",
          "lost connection with mx[1.2.3.4] while sending message body", NULL },
        { "hangs in the middle", TO_BDAT_SLOWLY "C:BDAT 65536\nN:65536\n", NULL, false, "D4.4.2",
          "timed out while sending message body", NULL },
        { "all refused: no content",
          HELLO "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\n"
                "S:250 ok\nS:550 5.1.1 no\nC:RSET\nS:250 ok\n" BYE,
          "x", false, "F5.1.1", "550 5.1.1 no", NULL },
        { "LMTP",
          LHELLO
          "S:250-mx\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\n"
          "C:BDAT 65536\nN:65536\nS:250 one\nC:BDAT 65536\nN:65536\nS:250 two\nC:BDAT 8928 "
          "LAST\nN:8928\nS:250 2.1.5 saved\n" BYE,
          NULL, true, "S2.1.5", "saved", NULL },
        /* how many replies the last piece gets now, nobody knows: the session ends */
        { "LMTP, the first is refused, the last is out",
          LHELLO
          "S:250-mx\nS:250-PIPELINING\nS:250 CHUNKING\nC:MAIL FROM:<s@y>\nC:RCPT TO:<a@x>\nS:250 "
          "ok\nS:250 ok\nC:BDAT 65536\nN:65536\nC:BDAT 65536\nN:65536\nC:BDAT 8928 LAST\nN:8928\n"
          "S:452 4.3.1 full\nS:503 5.5.1 what\nS:503 5.5.1 what\nS:503 5.5.1 what\n",
          NULL, true, "D4.3.1", "452 4.3.1 full (in reply to BDAT command)", NULL },
    };
    struct buf big = { 0 };

    for (unsigned i = 0; i < 1400; i++)
        buf_addf(&big, "%098u\r\n", i);
    tune.wants_chunks = true;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice content = rows[i].content ? sl_z(rows[i].content) : buf_slice(&big);
        struct smtp_tx tx = tx_to(1, content.n);
        char got[32];

        TEST_ROW("%s", rows[i].name);
        if (!run(rows[i].script, rows[i].is_lmtp, false, &tx, content))
            continue;
        CHECK_EQ_INT(owner.told[0], 1);
        snprintf(got, sizeof got, "%c%s", "SDF"[owner.rcpt[0].outcome], owner.rcpt[0].dsn);
        CHECK_EQ_STR(got, rows[i].want);
        if (!strstr(owner.text[0], rows[i].text))
            FAIL("text is '%s', lacks '%s'", owner.text[0], rows[i].text);
        if (rows[i].body)
            CHECK_EQ_STR(buf_z(&peer.body), rows[i].body);
        else if (owner.rcpt[0].outcome == SMTP_SENT)
            CHECK(sl_eq(buf_slice(&peer.body), content));
        if (*peer.at != '\0')
            FAIL("the script was left at '%s'", peer.at);
        if (rows[i].is_lmtp && owner.rcpt[0].outcome != SMTP_SENT)
            CHECK_EQ_INT(owner.done, 0);
        buf_free(&peer.body);
    }
    tune.wants_chunks = false;
    buf_free(&big);
}

/* 8-bit content where 8BITMIME is offered, and where it is not. */
TEST(downgrades)
{
#define EIGHT "Content-Transfer-Encoding: 8bit\r\n\r\n\xe9\r\n"
    struct smtp_tx tx = tx_to(1, 40);

    tune.wants_downgrade = true;
    tx.is_8bit = true;
    run(HELLO "S:250-mx\nS:250 8BITMIME\nC:MAIL FROM:<s@y> BODY=8BITMIME\nS:250 ok\nC:RCPT "
              "TO:<a@x>\nS:250 ok\nC:DATA\nS:354 go\nB:\nS:250 Ok\n" BYE,
        false, false, &tx, SL(EIGHT));
    CHECK_EQ_STR(buf_z(&peer.body), "Content-Transfer-Encoding: 8bit\n\n\xe9\n");
    buf_free(&peer.body);
    run(HELLO "S:250 mx\nC:MAIL FROM:<s@y>\nS:250 ok\nC:RCPT TO:<a@x>\nS:250 ok\nC:DATA\nS:354 "
              "go\nB:\nS:250 Ok\n" BYE,
        false, false, &tx, SL(EIGHT));
    CHECK_EQ_STR(buf_z(&peer.body), "Content-Transfer-Encoding: quoted-printable\n\n=E9\n");
    buf_free(&peer.body);
    tune.wants_downgrade = false;
}

/* Login, and what keeps it from happening. Secrets are in tests of sasl_client.c. */
TEST(logs_in)
{
    static const struct {
        const char *script, *why, *filter;
        unsigned options;
    } rows[] = {
        { HELLO "S:250-mx\nS:250 AUTH PLAIN LOGIN\nC:AUTH PLAIN AHUAcDpx\nS:235 ok\n" BYE, "", NULL,
          0 },
        { HELLO "S:250-mx\nS:250 AUTH=LOGIN\nC:AUTH LOGIN\nS:334 VXNlcm5hbWU6\nC:dQ==\nS:334 "
                "UGFzc3dvcmQ6\nC:cDpx\nS:235 ok\n" BYE,
          "", NULL, 0 },
        { HELLO "S:250-mx\nS:250 AUTH PLAIN\nX:\n", "no mechanism available", NULL,
          SASL_NO_PLAINTEXT },
        { HELLO "S:250-mx\nS:250 AUTH PLAIN\nX:\n", "no compatible authentication mechanisms",
          "!plain", 0 },
        { HELLO "S:250-mx\nS:250 AUTH PLAIN\nC:AUTH PLAIN AHUAcDpx\nS:535 5.7.8 no\nX:\n",
          "SASL authentication failed; server mx[1.2.3.4] said: 535 5.7.8 no", NULL, 0 },
        { HELLO "S:250-mx\nS:250 AUTH PLAIN\nC:AUTH PLAIN AHUAcDpx\nX:\n", "lost connection with",
          NULL, 0 },
        { HELLO "S:250-mx\nS:250 AUTH CRAM-MD5\nC:AUTH CRAM-MD5\nS:334 ***\nX:\n",
          "malformed challenge", NULL, 0 },
        { HELLO
          "S:250-mx\nS:250 AUTH LOGIN\nC:AUTH LOGIN\nS:334 \nC:dQ==\nS:334 \nC:cDpx\nS:334 \nX:\n",
          "LOGIN has two steps", NULL, 0 },
        { HELLO "S:250 mx\n" BYE, "", NULL, 0 },
    };

    tune.auth = "u:p:q";
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%zu", i);
        tune.options = rows[i].options;
        tune.filter = rows[i].filter;
        owner.quits = true;
        run(rows[i].script, false, false, NULL, SL(""));
        if (rows[i].why[0] && strstr(owner.why, rows[i].why) == NULL)
            FAIL("why is '%s', lacks '%s'", owner.why, rows[i].why);
        CHECK_EQ_INT(owner.ready, rows[i].why[0] == '\0');
    }
    memset(&tune, 0, sizeof tune);
}

TEST(meets_itself)
{
    struct smtp_tx tx = tx_to(1, 4);

    tune.loop_name = "MX";
    run(HELLO "S:250-mx hello\nS:250 SIZE\nX:\n", false, false, &tx, SL(""));
    CHECK_EQ_STR(owner.why, "mail for there.example loops back to myself");
    tune.loop_name = NULL;
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
