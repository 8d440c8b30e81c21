/* local/local_test.c - what a command is told, what its end means, and the text it gets. */
#include "base/test.h"
#include "local/locald.h"

#include "base/mem.h"

#include <stdlib.h>
#include <sys/wait.h>

/* ---- text ---- */

static const struct {
    const char *in;
    const char *plain, *mailbox; /* NULL: the same and an empty line */
} texts[] = {
    { "a\r\nb\r\n", "a\nb\n", "a\nb\n\n" },
    { "a\r\nb", "a\nb\n", "a\nb\n\n" },
    { "", "", "\n" },
    { "From x\r\nFrom\r\nFrom \r\n", "From x\nFrom\nFrom \n", ">From x\nFrom\n>From \n\n" },
    { ">From x\r\n From x\r\nfrom x\r\n", ">From x\n From x\nfrom x\n",
      ">From x\n From x\nfrom x\n\n" },
    { "x From y\r\n\r\nFrom y", "x From y\n\nFrom y\n", "x From y\n\n>From y\n\n" },
    { "Fro", "Fro\n", "Fro\n\n" },
    { "FroFrom \r\n", "FroFrom \n", "FroFrom \n\n" },
    { "a\rb\r\r\nc\r", "a\rb\r\nc\r\n", "a\rb\r\nc\r\n\n" },
};

static void
check_text(const char *in, bool quotes, size_t piece, const char *want)
{
    struct text t = { .quotes_from = quotes };
    struct buf out = { 0 };
    struct slice rest = sl_z(in);

    while (rest.n > 0) {
        text_add(&t, sl_head(rest, piece), &out);
        rest = sl_from(rest, piece < rest.n ? piece : rest.n);
    }
    text_end(&t, &out);
    CHECK_EQ_STR(buf_z(&out), want);
    buf_free(&out);
}

TEST(lines_of_a_message)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t piece = 1; piece <= strlen(texts[i].in) + 1; piece++) {
            TEST_ROW("%zu in pieces of %zu", i, piece);
            check_text(texts[i].in, false, piece, texts[i].plain);
            check_text(texts[i].in, true, piece, texts[i].mailbox);
        }
}

/* ---- a delivery ---- */

static void
fill(struct delivery *d, const char *lines)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };

    *d = (struct delivery){ .mem = { .cap = LOCAL_ARENA_OCTETS },
                            .content = -1,
                            .target = SL("cmd"),
                            .sender = SL("a b@x.test"),
                            .recipient = SL("list+ext@here.test"),
                            .orig = SL("Alias@here.test"),
                            .client_name = SL("mx.x.test"),
                            .client_ip = SL("2001:db8::1"),
                            .helo = SL("$(reboot)"),
                            .protocol = SL("ESMTPS") };
    buf_addf(&text, "myhostname = mx.here.test\nrecipient_delimiter = +\n%s", lines);
    d->conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    buf_free(&text);
    conf_problems_free(&ps);
}

static void
empty(struct delivery *d)
{
    conf_unref(&d->conf);
    arena_free(&d->mem);
}

TEST(environment)
{
    static const struct {
        const char *lines, *want;
    } rows[] = {
        { "export_environment =\n",
          "PATH=/usr/bin:/bin\nUSER=list\nLOGNAME=list\nLOCAL=list+ext\nDOMAIN=here.test\n"
          "EXTENSION=ext\nRECIPIENT=list+ext@here.test\nORIGINAL_RECIPIENT=Alias@here.test\n"
          "SENDER=a_b@x.test\nCLIENT_HOSTNAME=mx.x.test\nCLIENT_ADDRESS=2001:db8::1\n"
          "CLIENT_HELO=__reboot_\nCLIENT_PROTOCOL=ESMTPS\n" },
        { "export_environment = POSTERN_TEST_A POSTERN_TEST_NONE PATH=/bin { B=c d, e } USER=no\n"
          "recipient_delimiter =\ncommand_expansion_filter = abcdefghijklmnopqrstuvwxyz\n",
          "PATH=/bin\nPOSTERN_TEST_A=x y\nB=c d, e\nUSER=list_ext\nLOGNAME=list_ext\n"
          "LOCAL=list_ext\nDOMAIN=here_test\nRECIPIENT=list_ext_here_test\n"
          "ORIGINAL_RECIPIENT=_lias_here_test\nSENDER=a_b_x_test\nCLIENT_HOSTNAME=mx_x_test\n"
          "CLIENT_ADDRESS=____________________________________\n" },
    };

    setenv("POSTERN_TEST_A", "x y", 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct delivery d;
        struct buf got = { 0 };
        const char *const *v;

        fill(&d, rows[i].lines);
        v = command_environment(&d);
        NEED(v);
        for (; *v; v++)
            buf_addf(&got, "%s\n", *v);
        TEST_ROW("%zu", i);
        if (i == 0)
            CHECK_EQ_STR(buf_z(&got), rows[i].want);
        else
            CHECK(sl_has_prefix(
                buf_slice(&got),
                sl_head(sl_z(rows[i].want), strstr(rows[i].want, "CLIENT_A") - rows[i].want)));
        buf_free(&got);
        empty(&d);
    }
}

TEST(folder)
{
    static const struct {
        const char *dir, *want;
    } rows[] = {
        { "", "/var/spool/q" },
        { "/home/$user", "/home/list" },
        { "/h/${extension?{e_$extension}:{none}}/$domain", "/h/e_ext/here.test" },
        { "/$local/$recipient$home$shell", "/list+ext/list+ext@here.test" },
        { "/$recipient_delimiter", "/+" },
        { "/$nobody", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct delivery d;
        struct buf lines = { 0 }, got = { 0 };
        struct err e = { 0 };
        int rc;

        TEST_ROW("%s", rows[i].dir);
        buf_addf(&lines, "queue_directory = /var/spool/q\ncommand_execution_directory = %s\n",
                 rows[i].dir);
        fill(&d, buf_z(&lines));
        rc = command_folder(&d, &got, &e);
        CHECK_EQ_INT(rc, rows[i].want ? 0 : -1);
        if (rows[i].want)
            CHECK_EQ_STR(buf_z(&got), rows[i].want);
        buf_free(&lines);
        buf_free(&got);
        empty(&d);
    }
}

TEST(head_of_a_message)
{
    struct delivery d;
    struct buf got = { 0 };

    setenv("TZ", "UTC", 1);
    fill(&d, "");
    d.sender = SL("");
    text_head(&d, 1, &got);
    CHECK_EQ_STR(buf_z(&got), "From MAILER-DAEMON  Thu Jan  1 00:00:01 1970\nReturn-Path: <>\n"
                              "X-Original-To: Alias@here.test\nDelivered-To: list+ext@here.test\n");
    empty(&d);
    buf_reset(&got);
    fill(&d, "prepend_delivered_header = command\n");
    d.kind = LOCAL_MAILDIR;
    text_head(&d, 1, &got);
    CHECK_EQ_STR(buf_z(&got), "Return-Path: <\"a b\"@x.test>\nX-Original-To: Alias@here.test\n");
    empty(&d);
    buf_free(&got);
}

/* ---- the end of a command ---- */

#define EXIT(n) ((n) << 8)

static const struct {
    int status;
    bool is_timeout;
    const char *output, *want;
} ends[] = {
    { EXIT(0), false, "hello", "250 2.0.0 delivered to command: c" },
    { EXIT(0), false, "5.1.1 no", "250 2.0.0 delivered to command: c" },
    { EXIT(1), false, "", "550 5.3.0 Command died with status 1: \"c\"" },
    { EXIT(1), false, "a\nb\n",
      "550 5.3.0 Command died with status 1: \"c\". Command output: a b" },
    { EXIT(1), false, "a\001b",
      "550 5.3.0 Command died with status 1: \"c\". Command output: a?b" },
    { EXIT(64), false, "", "550 5.3.0 command line usage error" },
    { EXIT(65), false, "", "550 5.6.0 data format error" },
    { EXIT(66), false, "", "550 5.3.0 cannot open input" },
    { EXIT(67), false, "x", "550 5.1.1 user unknown. Command output: x" },
    { EXIT(68), false, "", "550 5.1.2 host name unknown" },
    { EXIT(69), false, "", "550 5.3.0 service unavailable" },
    { EXIT(70), false, "", "550 5.3.0 internal software error" },
    { EXIT(71), false, "", "450 4.3.0 system resource problem" },
    { EXIT(72), false, "", "550 5.3.0 critical OS file missing" },
    { EXIT(73), false, "", "550 5.2.0 can't create user output file" },
    { EXIT(74), false, "", "550 5.3.0 input/output error" },
    { EXIT(75), false, "", "450 4.3.0 temporary failure" },
    { EXIT(76), false, "", "550 5.5.0 remote error in protocol" },
    { EXIT(77), false, "", "550 5.7.0 permission denied" },
    { EXIT(78), false, "", "550 5.3.5 local configuration error" },
    { EXIT(79), false, "", "550 5.3.0 Command died with status 79: \"c\"" },
    { EXIT(1), false, "5.7.9 mine\n", "550 5.7.9 mine" },
    { EXIT(67), false, " 4.2.2 later", "450 4.2.2 later" },
    { EXIT(1), false, "5.7.9", "550 5.7.9 " },
    { EXIT(1), false, "5.7 x",
      "550 5.3.0 Command died with status 1: \"c\". Command output: 5.7 x" },
    { EXIT(1), false, "5.7.x y",
      "550 5.3.0 Command died with status 1: \"c\". Command output: 5.7.x y" },
    { EXIT(1), false, "2.0.0 y",
      "550 5.3.0 Command died with status 1: \"c\". Command output: 2.0.0 y" },
    { 9, false, "", "450 4.3.0 Command died with signal 9: \"c\"" },
    { 9, true, "z", "550 5.3.0 Command time limit exceeded: \"c\". Command output: z" },
};

TEST(ends_of_commands)
{
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        struct outcome o = { 0 };
        char got[LOCAL_TEXT_OCTETS + 40];

        command_outcome(SL("c"), ends[i].status, ends[i].is_timeout, sl_z(ends[i].output), &o);
        snprintf(got, sizeof got, "%u %s %s", o.code, o.dsn, o.text);
        TEST_ROW("%zu", i);
        CHECK_EQ_STR(got, ends[i].want);
    }
}

TEST(which_need_a_shell)
{
    static const struct {
        const char *line;
        bool is_plain;
    } rows[] = {
        { "/usr/bin/cmd -a b=c:d,e %f", true },
        { "exit 64", true },
        { "a;b", false },
        { "a >b", false },
        { "a|b", false },
        { "a $b", false },
        { "a 'b'", false },
        { "a \"b\"", false },
        { "a*", false },
        { "a`b`", false },
        { "a (b)", false },
        { "a & b", false },
        { "~a/b", false },
        { "a\\b", false },
        { "\303\244", false },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].line);
        CHECK(command_is_plain(sl_z(rows[i].line)) == rows[i].is_plain);
    }
}

TEST_MAIN()
