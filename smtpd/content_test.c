/* smtpd/content_test.c - what becomes of a message's header, with a queue that only collects. */
#include "smtpd/content.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- the queue's part ---- */

static struct buf collected;
struct queue_put {
    int none;
};
static struct queue_put the_put;

int
queue_id_new(struct queue_client *q, char out[QUEUE_ID_OCTETS])
{
    (void)q;
    (void)out;
    return -1;
}
bool
queue_client_is_up(const struct queue_client *q)
{
    (void)q;
    return false;
}
struct queue_put *
queue_put_new(struct queue_client *q)
{
    (void)q;
    return &the_put;
}
void
queue_put_write(struct queue_put *p, struct slice s)
{
    (void)p;
    buf_adds(&collected, s);
}
size_t
queue_put_backlog(const struct queue_put *p)
{
    (void)p;
    return 0;
}
void
queue_put_on_ready(struct queue_put *p, void (*fn)(uint64_t id), uint64_t id)
{
    (void)p;
    (void)fn;
    (void)id;
}
void
queue_put_commit(struct queue_put *p, const struct queue_env *env,
                 void (*cb)(uint64_t id, int rc, const struct err *e), uint64_t id)
{
    (void)p;
    (void)env;
    (void)cb;
    (void)id;
}
void
queue_verify(struct queue_client *q, struct slice addr, struct slice orig,
             void (*cb)(uint64_t id, int rc, enum verify_status status, struct slice text),
             uint64_t id)
{
    (void)q;
    (void)addr;
    (void)orig;
    (void)cb;
    (void)id;
}
bool
queue_flush(struct queue_client *q, struct slice domain)
{
    (void)q;
    (void)domain;
    return false;
}
void
queue_put_abort(struct queue_put **p)
{
    *p = NULL;
}

/* ---- a session with one recipient ---- */

static struct smtpd_sess sess;
static struct smtpd_cfg *cfg;
static struct smtpd_tx tx;
static struct smtpd_rcpt rcpt;
static int fds[2];

static void
on_input(struct conn *c, void *arg)
{
    (void)c;
    (void)arg;
}
static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    (void)c;
    (void)arg;
    (void)end;
    (void)why;
}
static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

static void
set_up(const char *extra)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct conf *c;
    struct err e = { 0 };

    setenv("TZ", "UTC", 1);
    clock_fake(1000, 1767225600LL * 1000000);
    buf_addf(
        &text,
        "myhostname = mx.example.com\nsmtpd_recipient_restrictions = reject_unauth_destination\n"
        "local_header_rewrite_clients =\nappend_dot_mydomain = no\n%s\n",
        extra);
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    buf_free(&text);
    CHECK(c != NULL && ps.errors == 0);
    CHECK(c && smtpd_cfg_new(c, SMTPD_MX, false, &cfg, &e) == 0);
    conf_problems_free(&ps);
    conf_unref(&c);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    rcpt = (struct smtpd_rcpt){ .addr = SL("u 3@example.com") };
    tx =
        (struct smtpd_tx){ .n_rcpts = 1, .first = &rcpt, .id = "4Qid", .began_unix_s = 1767225600 };
    tx.sender.given = tx.from = SL("s@remote.test");
    sess = (struct smtpd_sess){ .cfg = cfg, .tx = &tx, .name = (char *)(uintptr_t) "unknown" };
    sess.helo = (char *)(uintptr_t) "client.test";
    sess.is_esmtp = true;
    sess.smtp.conn = conn_new(fds[0], &ops, NULL);
    (void)addr_parse_ip(SL("192.0.2.9"), 0, &sess.peer);
}

static void
tear_down(void)
{
    conn_abort(sess.smtp.conn);
    close(fds[1]);
    arena_free(&tx.mem);
    arena_free(&sess.smtp.cmd);
    smtpd_cfg_unref(&cfg);
    buf_free(&collected);
}

#define TRACE                                                                                      \
    "Received: from client.test (unknown [192.0.2.9])\r\n\tby mx.example.com (Postfix) with "      \
    "ESMTP id 4Qid\r\n"                                                                            \
    "\tfor <\"u 3\"@example.com>; Thu,  1 Jan 2026 00:00:00 +0000 (UTC)\r\n"

static const struct {
    const char *name, *in, *want;
} rows[] = {
    { "as it is", "Subject: x\r\n\r\nbody\r\n", "Subject: x\r\n\r\nbody\r\n" },
    { "folded", "X: a\r\n b\r\n\tc\r\n\r\n", "X: a\r\n b\r\n\tc\r\n\r\n" },
    { "dropped fields",
      "Return-Path: <f>\r\nBcc: a,\r\n b\r\nA: b\r\nresent-bcc: x\r\n\r\nBcc: c\r\n",
      "A: b\r\n\r\nBcc: c\r\n" },
    { "no header", "hello\r\nworld\r\n", "\r\nhello\r\nworld\r\n" },
    { "a header that ends without an empty line", "A: b\r\nhello there\r\n",
      "A: b\r\n\r\nhello there\r\n" },
    { "body only", "\r\nbody\r\n", "\r\nbody\r\n" },
    { "nothing", "", "" },
    { "a first line that is a continuation", " a\r\nb: c\r\n", "\r\n a\r\nb: c\r\n" },
    { "mbox line", "From a@b Thu\r\nA: b\r\n\r\n", "X-Mailbox-Line: From a@b Thu\r\nA: b\r\n\r\n" },
    { "quoted mbox line", ">From a@b\r\nA: b\r\n\r\n",
      "X-Mailbox-Line: >From a@b\r\nA: b\r\n\r\n" },
    { "From in the header's place only once", "A: b\r\nFrom x\r\n", "A: b\r\n\r\nFrom x\r\n" },
    { "blank before the colon", "A \t: b\r\n\r\n", "A: b\r\n\r\n" },
    { "header alone", "A: b\r\n", "A: b\r\n" },
};

static void
on_end(struct smtpd_sess *s)
{
    (void)s;
}

static void
run(const char *in, size_t piece, unsigned *hops_looped)
{
    struct content *c = content_new(&sess);
    struct slice all = sl_z(in);

    for (size_t at = 0; at < all.n; at += piece)
        content_write(c, sl_head(sl_from(all, at), piece));
    content_end(c, on_end);
    *hops_looped = content_refusal(c) != NULL;
    content_free(&c);
}

TEST(header_fields_pass_or_go)
{
    static const size_t pieces[] = { 1, 2, 3, 5, 1000 };
    unsigned looped;

    loop_init();
    set_up("");
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t k = 0; k < COUNT_OF(pieces); k++) {
            struct slice got;

            TEST_ROW("%s, pieces of %zu", rows[i].name, pieces[k]);
            buf_reset(&collected);
            run(rows[i].in, pieces[k], &looped);
            got = buf_slice(&collected);
            CHECK(sl_take_prefix(&got, SL(TRACE)));
            CHECK_EQ_MEM(got.p, got.n, rows[i].want, strlen(rows[i].want));
        }
    tear_down();
}

/* ---- any pieces ---- */

static void
collect_run(const char *in, size_t n, size_t piece, struct buf *out)
{
    struct content *c = content_new(&sess);

    for (size_t at = 0, some; at < n; at += some) {
        some = piece ? piece : 1 + (size_t)rand() % 6;
        content_write(c, sl_head(sl_n(in + at, n - at), some));
    }
    content_end(c, on_end);
    buf_reset(out);
    buf_adds(out, buf_slice(&collected));
    buf_reset(&collected);
    content_free(&c);
}

/* What a client's lines may begin with, go on with, and be for the server to look at. */
static const char *const scraps[] = { "From",
                                      "From ",
                                      ">",
                                      ":",
                                      "To: ",
                                      "Cc:",
                                      " ",
                                      "\t",
                                      "\r\n",
                                      "\r\n",
                                      "\r\n",
                                      "\r\n ",
                                      "x",
                                      "u",
                                      "<u>",
                                      "u@d",
                                      ",",
                                      "(c",
                                      ")",
                                      "\"",
                                      ";",
                                      "\0",
                                      "bcc:",
                                      "Date",
                                      "Resent-From: ",
                                      "Message-Id: <m>",
                                      "Received: r" };

TEST(pieces_make_no_difference)
{
    struct buf text = { 0 }, whole = { 0 }, parts = { 0 };

    set_up("header_size_limit = 1024\nmyorigin = example.com\nalways_add_missing_headers = yes");
    tx.rewrite = REWRITE_LOCAL;
    srand(3);
    for (size_t round = 0; round < 3000; round++) {
        TEST_ROW("round %zu", round);
        buf_reset(&text);
        for (int i = rand() % 40; i > 0; i--) {
            const char *scrap = scraps[(size_t)rand() % COUNT_OF(scraps)];

            buf_adds(&text, sl_n(scrap, scrap[0] ? strlen(scrap) : 1));
        }
        buf_adds(&text, SL("\r\n"));
        collect_run(buf_slice(&text).p, text.n, text.n, &whole);
        for (size_t piece = 0; piece < 3; piece++) {
            collect_run(buf_slice(&text).p, text.n, piece, &parts);
            CHECK_EQ_MEM(buf_slice(&parts).p, parts.n, buf_slice(&whole).p, whole.n);
        }
    }
    tear_down();
    buf_free(&text);
    buf_free(&whole);
    buf_free(&parts);
}

/* Eight megabytes of header that consist of... */
static const struct {
    const char *name, *begin, *unit;
    size_t times; /* of the unit in one line */
} big[] = {
    { "lines of one octet", "A:", "x", 1 }, /* what the others are measured by */
    { "names of nearly 1000 octets", "", "n", 990 },
    { "blanks before the colon", "To", " ", 990 },
    { "one field without an end", "To: ", "a, \r\n ", 1024 * 1024 },
    { "comments in comments", "To: x ", "(", 8 * 1024 * 1024 },
};

static double
cpu_s(clock_t from)
{
    return (double)(clock() - from) / CLOCKS_PER_SEC;
}

TEST(huge_headers_cost_no_more_an_octet)
{
    enum { OCTETS = 8 * 1024 * 1024 };
    double usual_s = 0, took_s;

    set_up("header_size_limit = 1024000\nmyorigin = example.com");
    tx.rewrite = REWRITE_LOCAL;
    for (size_t k = 0; k < COUNT_OF(big); k++) {
        struct content *c = content_new(&sess);
        struct buf line = { 0 };
        clock_t from = clock();

        TEST_ROW("%s", big[k].name);
        buf_adds(&line, sl_z(big[k].begin));
        for (size_t i = 0; i < big[k].times; i++)
            buf_adds(&line, sl_z(big[k].unit));
        buf_adds(&line, SL(":\r\n"));
        for (size_t n = 0; n < OCTETS; n += line.n)
            content_write(c, buf_slice(&line));
        content_end(c, on_end);
        took_s = cpu_s(from);
        if (k == 0)
            usual_s = took_s;
        CHECK(took_s < usual_s * 3 + 0.3);
        CHECK(collected.n > 0);
        buf_free(&collected);
        content_free(&c);
        buf_free(&line);
    }
    tear_down();
}

/* header_size_limit = 1024: what Postfix 3.7.11 left of these, as the lengths of its lines. */
static const struct {
    const char *name;
    size_t lines[4], want[4]; /* octets of the field's lines; 0 ends */
} cuts[] = {
    { "one long line", { 1500 }, { 1024 } },
    { "in a line", { 903, 201 }, { 903, 120 } },
    { "at the end of a line", { 953, 201 }, { 953 } },
    { "to the last octet", { 953, 70 }, { 953, 70 } },
    { "nothing after the limit", { 953, 69, 2 }, { 953, 69 } },
    { "short", { 100, 100 }, { 100, 100 } },
};

static void
add_field(struct buf *b, const size_t lines[4])
{
    for (size_t i = 0; i < 4 && lines[i]; i++) {
        buf_adds(b, i ? SL(" ") : SL("X:"));
        for (size_t k = i ? 1 : 2; k < lines[i]; k++)
            buf_addc(b, 'x');
        buf_adds(b, SL("\r\n"));
    }
}

TEST(long_fields_are_cut)
{
    unsigned looped;

    set_up("header_size_limit = 1024");
    for (size_t i = 0; i < COUNT_OF(cuts); i++)
        for (size_t piece = 7; piece < 3000; piece *= 3) {
            struct buf in = { 0 }, want = { 0 };
            struct slice got;

            TEST_ROW("%s, pieces of %zu", cuts[i].name, piece);
            add_field(&in, cuts[i].lines);
            add_field(&want, cuts[i].want);
            buf_adds(&in, SL("Y: z\r\n\r\n"));
            buf_adds(&want, SL("Y: z\r\n\r\n"));
            buf_reset(&collected);
            run(buf_z(&in), piece, &looped);
            got = buf_slice(&collected);
            CHECK(sl_take_prefix(&got, SL(TRACE)));
            CHECK_EQ_MEM(got.p, got.n, want.p, want.n);
            buf_free(&in);
            buf_free(&want);
        }
    tear_down();
}

static const struct {
    const char *name;
    enum rewrite_context rewrite;
    const char *in, *want;
} contexts[] = {
    { "a stranger's", REWRITE_NONE, "From: u\r\nTo: v\r\n\r\n", "From: u\r\nTo: v\r\n\r\n" },
    { "a local client's", REWRITE_LOCAL,
      "Date: d\r\nMessage-Id: m\r\nFrom : u (c)\r\nTo: v,\r\n  w@x\r\nSubject: s\r\n\r\n",
      "Date: d\r\nMessage-Id: m\r\nFrom: u@example.com (c)\r\nTo: v@example.com, w@x\r\nSubject: "
      "s\r\n\r\n" },
    { "with another domain", REWRITE_REMOTE,
      "Date: d\r\nMessage-Id: m\r\nFrom: u\r\nTo: w@x.test\r\n\r\n",
      "Date: d\r\nMessage-Id: m\r\nFrom: u@outside.test\r\nTo: w@x.test\r\n\r\n" },
    { "long lists", REWRITE_LOCAL,
      "Date: d\r\nMessage-Id: m\r\nFrom: a@b\r\nCc: user0, user1, user2, user3\r\n\r\n",
      "Date: d\r\nMessage-Id: m\r\nFrom: a@b\r\nCc: user0@example.com, user1@example.com, "
      "user2@example.com,\r\n\tuser3@example.com\r\n\r\n" },
    { "fields to drop, nobody to see", REWRITE_LOCAL,
      "Bcc: x\r\nX-Secret: a\r\n b\r\nReturn-Path: <x>\r\nDate: d\r\nFrom: f@g\r\nMessage-Id: "
      "m\r\n\r\n",
      "Bcc: x@example.com\r\nDate: d\r\nFrom: f@g\r\nMessage-Id: m\r\nTo: "
      "undisclosed-recipients:;\r\n\r\n" },
    { "sent on", REWRITE_LOCAL,
      "Resent-To: x\r\nResent-Date: d\r\nResent-From: y\r\nResent-Message-Id: m\r\n\r\n",
      "Resent-To: x@example.com\r\nResent-Date: d\r\nResent-From: "
      "y@example.com\r\nResent-Message-Id: m\r\n\r\n" },
};

TEST(addresses_are_completed)
{
    unsigned looped;

    set_up("myorigin = example.com\nremote_header_rewrite_domain = outside.test\n"
           "undisclosed_recipients_header = To: undisclosed-recipients:;\n"
           "message_drop_headers = x-secret, return-path");
    for (size_t i = 0; i < COUNT_OF(contexts); i++) {
        struct slice got;

        TEST_ROW("%s", contexts[i].name);
        tx.rewrite = contexts[i].rewrite;
        buf_reset(&collected);
        run(contexts[i].in, 11, &looped);
        got = buf_slice(&collected);
        CHECK(sl_take_prefix(&got, SL(TRACE)));
        CHECK_EQ_MEM(got.p, got.n, contexts[i].want, strlen(contexts[i].want));
    }
    tear_down();
}

TEST(prepended_lines_come_first)
{
    struct tx_line second = { .text = SL("From: u") },
                   first = { .next = &second, .text = SL("X-Pre: a") };
    unsigned looped;

    set_up("");
    tx.wishes.prepend = &first;
    tx.rewrite = REWRITE_LOCAL;
    run("Date: d\r\nMessage-Id: m\r\n\r\n", 100, &looped);
    CHECK_EQ_STR(buf_z(&collected),
                 "X-Pre: a\r\nFrom: u@mx.example.com\r\n" TRACE "Date: d\r\nMessage-Id: m\r\n\r\n");
    tear_down();
}

TEST(received_may_hide_the_client)
{
    unsigned looped;

    set_up("smtpd_hide_client_session = yes");
    run("\r\n", 100, &looped);
    CHECK_EQ_STR(
        buf_z(&collected),
        "Received: by mx.example.com (Postfix) id 4Qid\r\n\tfor <\"u 3\"@example.com>; Thu,  1 Jan "
        "2026 00:00:00 +0000 (UTC)\r\n\r\n");
    tear_down();
}

TEST(too_many_hops)
{
    unsigned looped;

    set_up("hopcount_limit = 4");
    run("Received: a\r\nreceived: b\r\n\r\nReceived: c\r\nReceived: d\r\n", 100, &looped);
    CHECK_EQ_INT(looped, 0);
    run("Received: a\r\nreceived: b\r\nRECEIVED: c\r\n\r\n", 100, &looped);
    CHECK_EQ_INT(looped, 1);
    tear_down();
}

static const struct {
    const char *in, *want;
} missing[] = {
    { "Subject: x\r\n\r\nbody\r\n",
      "Subject: x\r\nMessage-Id: <20260101000000.4Qid@mx.example.com>\r\nDate: Thu,  1 Jan 2026 "
      "00:00:00 +0000 (UTC)\r\n"
      "From: s@remote.test\r\n\r\nbody\r\n" },
    { "Date: d\r\nFrom: f\r\nMessage-ID: <m>\r\n\r\n",
      "Date: d\r\nFrom: f\r\nMessage-ID: <m>\r\n\r\n" },
    { "From: f\r\nResent-From: r\r\nDate: d\r\nMessage-ID: <m>\r\nResent-Message-ID: <n>\r\n\r\n",
      "From: f\r\nResent-From: r\r\nDate: d\r\nMessage-ID: <m>\r\nResent-Message-ID: <n>\r\n"
      "Resent-Date: Thu,  1 Jan 2026 00:00:00 +0000 (UTC)\r\n\r\n" },
};

TEST(missing_fields_are_added)
{
    unsigned looped;

    set_up("always_add_missing_headers = yes");
    for (size_t i = 0; i < COUNT_OF(missing); i++) {
        struct slice got;

        TEST_ROW("%zu", i);
        buf_reset(&collected);
        run(missing[i].in, 7, &looped);
        got = buf_slice(&collected);
        CHECK(sl_take_prefix(&got, SL(TRACE)));
        CHECK_EQ_MEM(got.p, got.n, missing[i].want, strlen(missing[i].want));
    }
    tear_down();
    loop_free();
}

TEST_MAIN()
