#include "base/log.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];
static struct buf got;

/* Start a log in a new file; the clock stands at 2024-02-05 06:07:08.123 UTC. */
static void
begin(enum log_format fmt, enum log_level least)
{
    int fd;

    setenv("TZ", "UTC", 1);
    clock_fake(1, 1707113228123456);
    snprintf(path, sizeof(path), "/tmp/postern-log-test-XXXXXX");
    fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    log_set_output(LOG_TO_FILE, path, fmt, least);
}

/* The log so far, with the host and the process id written as HOST and PID. */
static const char *
end(void)
{
    char host[256] = "", pid[32];

    log_set_output(LOG_TO_STDERR, NULL, LOG_FMT_TEXT, LOG_LV_INFO);
    buf_reset(&got);
    CHECK_EQ_INT(fs_read_file(path, &got, NULL), 0);
    unlink(path);
    gethostname(host, sizeof(host) - 1);
    host[strcspn(host, ".")] = '\0';
    snprintf(pid, sizeof(pid), "[%d]", (int)getpid());
    for (size_t i = 0; i < 2; i++) {
        struct buf out = { 0 };
        struct slice in = buf_slice(&got), what = sl_z(i == 0 ? pid : host);
        size_t off;

        while (what.n > 0 && (off = sl_find(in, what)) != SL_NPOS) {
            buf_adds(&out, sl_head(in, off));
            buf_addz(&out, i == 0 ? "[PID]" : "HOST");
            in = sl_from(in, off + what.n);
        }
        buf_adds(&out, in);
        buf_reset(&got);
        buf_adds(&got, buf_slice(&out));
        buf_free(&out);
    }
    return buf_z(&got);
}

#define AT "Feb  5 06:07:08 HOST "

TEST(text_is_the_sentence_operators_know)
{
    begin(LOG_FMT_TEXT, LOG_LV_DEBUG);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    log_info("conn.open", LOG_F(LF_Z("rip", "192.0.2.9")), "connect from %s[%s]", "x.example",
             "192.0.2.9");
    log_warn("db.locked", LOG_NONE, "database is locked");
    log_error("db.gone", LOG_NONE, "database is gone");
    log_debug("x", LOG_NONE, "detail");
    log_event(LOG_LV_INFO, "postfix/submission/smtpd", "x", LOG_NONE, "other");
    log_set_program("imapd", "dovecot", "imap-login: ");
    log_info("x", LOG_NONE, "Login: user=<a>");
    log_warn("x", LOG_NONE, "odd");
    log_error("x", LOG_NONE, "bad");
    log_event(LOG_LV_WARN, "postfix/smtpd", "x", LOG_NONE, "other");
    log_event(LOG_LV_WARN, "postfix/smtpd", "x", LOG_NONE, "warning: said already");
    log_set_program("imapd", "dovecot", NULL);
    log_warn("x", LOG_NONE, "imap(a@x)<7><s+/1>: odd");
    log_error("x", LOG_NONE, "imap(a@x)<s>: Error: bad");
    log_error("x", LOG_NONE, "pop3-login: bad");
    log_error("x", LOG_NONE, "lmtp: bad");
    log_info("x", LOG_NONE, "imap(a)<7><s>: Disconnected");
    log_warn("x", LOG_NONE, "imap(no end: odd");
    log_warn("x", LOG_NONE, "imapd is odd");
    CHECK_EQ_STR(
        end(), AT
        "postfix/smtpd[PID]: connect from x.example[192.0.2.9]\n" AT
        "postfix/smtpd[PID]: warning: database is locked\n" AT
        "postfix/smtpd[PID]: error: database is gone\n" AT "postfix/smtpd[PID]: detail\n" AT
        "postfix/submission/smtpd[PID]: other\n" AT "dovecot: imap-login: Login: user=<a>\n" AT
        "dovecot: imap-login: Warning: odd\n" AT "dovecot: imap-login: Error: bad\n" AT
        "postfix/smtpd[PID]: warning: other\n" AT "postfix/smtpd[PID]: warning: said already\n" AT
        "dovecot: imap(a@x)<7><s+/1>: Warning: odd\n" AT "dovecot: imap(a@x)<s>: Error: bad\n" AT
        "dovecot: pop3-login: Error: bad\n" AT "dovecot: lmtp: Error: bad\n" AT
        "dovecot: imap(a)<7><s>: Disconnected\n" AT "dovecot: Warning: imap(no end: odd\n" AT
        "dovecot: Warning: imapd is odd\n");
}

TEST(levels_below_the_least_are_left_out)
{
    begin(LOG_FMT_TEXT, LOG_LV_WARN);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    CHECK(!log_is_on(LOG_LV_INFO) && log_is_on(LOG_LV_WARN));
    log_debug("x", LOG_NONE, "no");
    log_info("x", LOG_NONE, "no");
    log_warn("x", LOG_NONE, "yes");
    CHECK_EQ_STR(end(), AT "postfix/smtpd[PID]: warning: yes\n");
}

TEST(kv_quotes_and_escapes)
{
    begin(LOG_FMT_KV, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    log_info("rcpt.reject",
             LOG_F(LF_Z("from", "<a=b@x.example>"), LF_N("code", -550), LF_Z("empty", ""),
                   LF_S("helo", SL("a b\"\\\r\n\t\x01\xff\0")),
                   LF_S("none", ((struct slice){ 0 }))),
             "say \"%s\"", "x\ny");
    log_error("x", LOG_NONE, "%s", "");
    CHECK_EQ_STR(
        end(), "2024-02-05T06:07:08.123Z info smtpd ev=rcpt.reject from=<a=b@x.example> code=-550 "
               "empty=\"\" helo=\"a b\\\"\\\\\\r\\n\\t\\x01\\xff\\x00\" none=\"\" "
               "msg=\"say \\\"x\\ny\\\"\"\n"
               "2024-02-05T06:07:08.123Z error smtpd ev=x msg=\"\"\n");
}

TEST(json_is_ascii)
{
    begin(LOG_FMT_JSON, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    log_warn("x",
             LOG_F(LF_N("n", INT64_MIN), LF_S("q", SL("\"\\/\r\n\t\b\x7f\0")),
                   LF_Z("u", "\u00e9\u20ac\U0001f600"), LF_Z("bad", "\xff\xc3|\xed\xa0\x80")),
             "r\u00e9sum\u00e9");
    CHECK_EQ_STR(
        end(),
        "{\"time\":\"2024-02-05T06:07:08.123Z\",\"level\":\"warn\",\"daemon\":\"smtpd\","
        "\"ev\":\"x\",\"n\":-9223372036854775808,"
        "\"q\":\"\\\"\\\\/\\r\\n\\t\\u0008\\u007f\\u0000\","
        "\"u\":\"\\u00e9\\u20ac\\ud83d\\ude00\",\"bad\":\"\\\\xff\\\\xc3|\\\\xed\\\\xa0\\\\x80\","
        "\"msg\":\"r\\u00e9sum\\u00e9\"}\n");
}

TEST(sentences_carry_no_control_octets)
{
    begin(LOG_FMT_TEXT, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    log_info("x", LOG_NONE, "helo=<%s>", "a\r\nFeb  5 fake\x1b[2J\xc3\xa9");
    CHECK_EQ_STR(end(), AT "postfix/smtpd[PID]: helo=<a??Feb  5 fake?[2J?\?>\n");
}

/* Whatever the format and the values, a line ends, is bounded and, in JSON, is closed. */
TEST(long_lines_are_cut)
{
    static char big[10000], odd[10000];

    memset(big, 'z', sizeof(big) - 1);
    memset(odd, '\xff', sizeof(odd) - 1);
    for (int fmt = LOG_FMT_TEXT; fmt <= LOG_FMT_JSON; fmt++) {
        for (size_t i = 0; i < 2; i++) {
            struct slice v = sl_n(i == 0 ? big : odd, sizeof(big) - 1), line;
            struct log_field f[12];

            for (size_t j = 0; j < COUNT_OF(f); j++)
                f[j] = (struct log_field)LF_S("key", v);
            TEST_ROW("format %d values %zu", fmt, i);
            begin((enum log_format)fmt, LOG_LV_INFO);
            log_info("x", f, COUNT_OF(f), "sentence %.*s", SL_ARG(v));
            log_info("y", LOG_F(LF_S("k", v), LF_Z("after", "kept")), "short");
            end();
            line = buf_slice(&got);
            for (size_t n = 0; n < 2; n++) {
                struct slice one = { 0 };

                NEED(sl_take_until(&line, '\n', &one));
                CHECK(one.n < 8192);
                if (fmt == LOG_FMT_TEXT)
                    continue;
                CHECK(sl_find(one, n == 0 ? SL("sentence") : SL("short")) != SL_NPOS);
                CHECK(n == 0 || sl_find(one, SL("kept")) != SL_NPOS);
                CHECK(sl_has_suffix(one, fmt == LOG_FMT_JSON ? SL("\"}") : SL("\"")));
            }
            CHECK_EQ_INT(line.n, 0);
        }
    }
}

TEST(errno_is_kept_and_known)
{
    begin(LOG_FMT_TEXT, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    errno = ENOENT;
    log_info("x", LOG_NONE, "open: %m");
    CHECK_EQ_INT(errno, ENOENT);
    CHECK_EQ_STR(end(), AT "postfix/smtpd[PID]: open: No such file or directory\n");
}

TEST(reopens_after_rotation)
{
    char old[80];

    begin(LOG_FMT_TEXT, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    log_info("x", LOG_NONE, "one");
    snprintf(old, sizeof(old), "%s.1", path);
    CHECK_EQ_INT(rename(path, old), 0);
    log_info("x", LOG_NONE, "two");
    log_reopen();
    log_info("x", LOG_NONE, "three");
    CHECK_EQ_STR(end(), AT "postfix/smtpd[PID]: three\n");
    buf_reset(&got);
    CHECK_EQ_INT(fs_read_file(old, &got, NULL), 0);
    CHECK(sl_find(buf_slice(&got), SL("two\n")) != SL_NPOS);
    unlink(old);
}

/* A daemon that dropped its rights can perhaps not open the file again: the old one goes on. */
TEST(a_failed_reopen_keeps_the_old_file)
{
    char old[80];
    struct slice all;

    begin(LOG_FMT_TEXT, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    snprintf(old, sizeof(old), "%s.1", path);
    CHECK_EQ_INT(rename(path, old), 0);
    CHECK_EQ_INT(fs_mkdirs(path, 0700, NULL), 0);
    log_reopen();
    log_info("x", LOG_NONE, "still here");
    log_set_output(LOG_TO_STDERR, NULL, LOG_FMT_TEXT, LOG_LV_INFO);
    buf_reset(&got);
    CHECK_EQ_INT(fs_read_file(old, &got, NULL), 0);
    all = buf_slice(&got);
    CHECK(sl_find(all, SL("error: cannot open log /tmp/postern-log-test-")) != SL_NPOS);
    CHECK(sl_find(all, SL("still here\n")) != SL_NPOS);
    unlink(old);
    fs_remove_tree(path, NULL);
}

/* The supervisor opens, the daemon writes. */
TEST(a_log_is_handed_down)
{
    char old[80];
    int fd;

    begin(LOG_FMT_TEXT, LOG_LV_INFO);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    snprintf(old, sizeof(old), "%s.1", path);
    fd = log_dup();
    CHECK(fd > STDERR_FILENO);
    log_set_output(LOG_TO_STDERR, NULL, LOG_FMT_TEXT, LOG_LV_INFO);
    CHECK_EQ_INT(rename(path, old), 0);
    log_take_fd(fd);
    log_set_format(LOG_FMT_TEXT, LOG_LV_WARN);
    log_info("x", LOG_NONE, "no");
    log_warn("x", LOG_NONE, "one");
    log_reopen(); /* means nothing here */
    log_warn("x", LOG_NONE, "two");
    CHECK(access(path, F_OK) != 0);
    CHECK_EQ_INT(rename(old, path), 0);
    CHECK_EQ_STR(end(),
                 AT "postfix/smtpd[PID]: warning: one\n" AT "postfix/smtpd[PID]: warning: two\n");
}

static void *
log_many(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("x", LOG_F(LF_N("i", i)), "%s", (const char *)arg);
    return NULL;
}

TEST(threads_do_not_mix_lines)
{
    static char words[4][200];
    pthread_t t[4];
    struct slice in, line;
    size_t n = 0;

    begin(LOG_FMT_KV, LOG_LV_INFO);
    for (size_t i = 0; i < COUNT_OF(t); i++) {
        memset(words[i], (int)('a' + i), sizeof(words[i]) - 1);
        CHECK_EQ_INT(pthread_create(&t[i], NULL, log_many, words[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(t); i++)
        pthread_join(t[i], NULL);
    end();
    in = buf_slice(&got);
    for (; sl_take_until(&in, '\n', &line); n++) {
        size_t at = sl_find(line, SL("msg=\""));

        NEED(at != SL_NPOS);
        line = sl_from(line, at + 5);
        NEED(line.n == 200);
        CHECK(sl_eq(sl_head(line, 199), sl_z(words[line.p[0] - 'a'])));
    }
    CHECK_EQ_INT(n, 2000);
    buf_free(&got);
}

TEST_MAIN()
