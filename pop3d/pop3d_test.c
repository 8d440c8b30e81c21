/* pop3d/pop3d_test.c - sessions over a socketpair on Maildirs written by hand. */
#include "pop3d/pop3d.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WAIT_MS = 20000 };

static char dir[] = "/tmp/pop3d-XXXXXX", log_path[64];
static struct conf *conf;
static unsigned n_users;

/* ---- running the loop ---- */

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

static bool
is_over(void *arg)
{
    (void)arg;
    return pop3d.n_sessions == 0;
}

/* ---- Maildirs ---- */

static void
user_folder(char out[128], unsigned user, const char *inside)
{
    snprintf(out, 128, "%s/example.com/u%u%s", dir, user, inside);
}

static unsigned
new_user(void)
{
    static const char *const folders[] = { "", "/new", "/cur", "/tmp" };
    char path[128];

    n_users++;
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        user_folder(path, n_users, folders[i]);
        BUG_ON(fs_mkdirs(path, 0700, NULL) != 0);
    }
    return n_users;
}

static void
add_mail(unsigned user, unsigned number, struct slice text)
{
    char path[128], name[64];
    FILE *f;

    snprintf(name, sizeof name, "/new/15786%05u.M%uP1.host", number, number);
    user_folder(path, user, name);
    f = fopen(path, "w");
    BUG_ON(!f || fwrite(text.p, 1, text.n, f) != text.n || fclose(f) != 0);
}

/* Files in new/ and cur/; those of which the flags have `flag`; flag "2": those of even numbers. */
static unsigned
count_files(unsigned user, const char *flag)
{
    static const char *const folders[] = { "/new", "/cur" };
    unsigned n = 0;

    for (int i = 0; i < 2; i++) {
        char path[128];
        struct dirent *d;
        DIR *h;

        user_folder(path, user, folders[i]);
        h = opendir(path);
        BUG_ON(!h);
        while ((d = readdir(h)) != NULL) {
            const char *info = strstr(d->d_name, ":2,");

            n += d->d_name[0] != '.' &&
                 (!flag || (flag[0] == '2' ? (d->d_name[9] - '0') % 2 == 0
                                           : info && strstr(info, flag) != NULL));
        }
        closedir(h);
    }
    return n;
}

static unsigned
count_new(unsigned user)
{
    char path[128];
    struct dirent *d;
    unsigned n = 0;
    DIR *h;

    user_folder(path, user, "/new");
    h = opendir(path);
    BUG_ON(!h);
    while ((d = readdir(h)) != NULL)
        n += d->d_name[0] != '.';
    closedir(h);
    return n;
}

/* ---- a client ---- */

struct client {
    int fd;
    struct buf got;
    const char *want; /* at the end of what came; NULL: the end */
    bool is_closed, is_slow;
};

/* With these lines in main.cf. Sessions hold what they need of it. */
static const struct conf *other_conf;

static void
configure(const char *lines)
{
    static struct conf *mine;
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };

    conf_unref(&mine);
    buf_addf(&text,
             "queue_directory = %s\ndata_directory = %s\nmail_location = maildir:%s/%%d/%%n\n%s",
             dir, dir, dir, lines ? lines : "");
    mine = lines ? conf_parse(buf_slice(&text), "main.cf", &ps) : NULL;
    BUG_ON(lines && !mine);
    buf_free(&text);
    other_conf = mine;
}

static void
client_open(struct client *k, unsigned user, const char *input)
{
    int pair[2];
    char name[32];

    memset(k, 0, sizeof *k);
    BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0);
    k->fd = pair[1];
    snprintf(name, sizeof name, "u%u@example.com", user);
    pop3_new(&(struct pop3_adopted){ .fd = pair[0],
                                     .user = sl_z(name),
                                     .sid = SL("sid"),
                                     .input = sl_z(input),
                                     .ip = "192.0.2.1",
                                     .conf = other_conf ? other_conf : conf });
}

static bool
has_got(void *arg)
{
    struct client *k = arg;
    char b[3000];
    ssize_t n;

    while (!k->is_closed && (n = recv(k->fd, b, sizeof b, MSG_DONTWAIT)) >= 0) {
        buf_add(&k->got, b, (size_t)n);
        k->is_closed = n == 0;
        if (k->is_slow)
            break;
    }
    return k->want ? sl_has_suffix(buf_slice(&k->got), sl_z(k->want)) : k->is_closed;
}

static bool
client_talk(struct client *k, const char *line, const char *want)
{
    size_t n = strlen(line);

    buf_reset(&k->got);
    if (n > 0 && !CHECK_EQ_INT(send(k->fd, line, n, MSG_NOSIGNAL), n))
        return false;
    k->want = want;
    if (run_until(has_got, k))
        return true;
    test_fail(__FILE__, __LINE__, "after \"%.40s\": got \"%.*s\", want \"%s\"", line,
              SL_ARG(sl_head(buf_slice(&k->got), 300)), want ? want : "(end)");
    return false;
}

static void
client_close(struct client *k)
{
    close(k->fd);
    CHECK(run_until(is_over, NULL));
    buf_free(&k->got);
}

static bool
log_has(const char *what)
{
    struct buf text = { 0 };
    bool has;

    fs_read_file(log_path, &text, NULL);
    has = sl_find(buf_slice(&text), sl_z(what)) != SL_NPOS;
    buf_free(&text);
    return has;
}

/* Unix line ends in the first, as Dovecot's own delivery writes it. */
static unsigned
user_with_three(void)
{
    unsigned u = new_user();

    add_mail(u, 1, SL("Subject: one\n\n.dot\nline\n"));
    add_mail(u, 2, SL("Subject: two\r\n\r\nx\r\n..\r\ny"));
    add_mail(u, 3, SL("Subject: three\r\n\r\n"));
    return u;
}

/* ---- cases ---- */

TEST(a_session)
{
    static const struct {
        const char *say, *want;
    } steps[] = {
        { "", "+OK Logged in.\r\n" },
        { "STAT\r\n", "+OK 3 70\r\n" },
        { "list\r\n", "+OK 3 messages:\r\n1 28\r\n2 24\r\n3 18\r\n.\r\n" },
        { "LIST 2\r\n", "+OK 2 24\r\n" },
        { "LIST 4\r\n", "-ERR There's no message 4.\r\n" },
        { "LIST 0\r\n", "-ERR There's no message 0.\r\n" },
        { "LIST x\r\n", "-ERR Invalid message number: x\r\n" },
        { "LIST 99999999999999999999\r\n",
          "-ERR Message number too large: 99999999999999999999\r\n" },
        { "LIST 1 2\r\n", "-ERR Noise after message number:  2\r\n" },
        { "LIST \x01\x7f\xe9\r\n", "-ERR Invalid message number: ???\r\n" },
        { "RETR 1\r\n", "+OK 28 octets\r\nSubject: one\r\n\r\n..dot\r\nline\r\n.\r\n" },
        { "RETR 2\r\n", "+OK 24 octets\r\nSubject: two\r\n\r\nx\r\n...\r\ny\r\n.\r\n" },
        { "TOP 1 0\r\n", "+OK\r\nSubject: one\r\n\r\n.\r\n" },
        { "TOP 1 1\r\n", "+OK\r\nSubject: one\r\n\r\n..dot\r\n.\r\n" },
        { "TOP 1\r\n", "-ERR Noise after message number: \r\n" },
        { "TOP 1 -1\r\n", "-ERR Invalid size: -1\r\n" },
        { "TOP 1 2x\r\n", "-ERR Noise after size: x\r\n" },
        { "TOP 1 99999999999999999999\r\n", "-ERR Size too large: 99999999999999999999\r\n" },
        { "RETR\r\n", "-ERR Invalid message number: \r\n" },
        { "STAT 1\r\n", "+OK 3 70\r\n" },
        { "DELE 2\r\n", "+OK Marked to be deleted.\r\n" },
        { "DELE 2\r\n", "-ERR Message is deleted.\r\n" },
        { "RETR 2\r\n", "-ERR Message is deleted.\r\n" },
        { "LIST\r\nSTAT\r\n", "+OK 2 messages:\r\n1 28\r\n3 18\r\n.\r\n+OK 2 46\r\n" },
        { "RSET\r\nSTAT\r\n", "+OK\r\n+OK 3 70\r\n" },
        { "LAST\r\n", "-ERR Unknown command: LAST\r\n" },
        { "\r\n", "-ERR Unknown command.\r\n" },
        { "NOOP\r\n", "+OK\r\n" },
        { "CAPA\r\n", "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-"
                      "CODE\r\nUTF8 USER\r\nLANG\r\n"
                      "EXPIRE NEVER\r\nIMPLEMENTATION Postern\r\n.\r\n" },
        { "RETR 3\r\nDELE 1\r\nDELE 3\r\nNOOP\r\n",
          "+OK 18 octets\r\nSubject: three\r\n\r\n.\r\n+OK Marked to be deleted.\r\n+OK Marked to "
          "be deleted.\r\n+OK\r\n" },
    };
    unsigned u = user_with_three();
    struct client k;

    client_open(&k, u, "");
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        TEST_ROW("%s", steps[i].say);
        if (!client_talk(&k, steps[i].say, steps[i].want))
            break;
        CHECK_EQ_STR(buf_z(&k.got), steps[i].want);
    }
    TEST_ROW("%s", "QUIT");
    CHECK(client_talk(&k, "QUIT\r\n", NULL));
    CHECK_EQ_STR(buf_z(&k.got), "+OK Logging out, messages deleted.\r\n");
    client_close(&k);
    CHECK_EQ_INT(count_files(u, NULL), 1);
    CHECK_EQ_INT(count_files(u, "S"), 0); /* the one that stays was read before RSET */
    CHECK(log_has("pop3(u1@example.com)<"));
    CHECK(log_has("><sid>: Disconnected: Logged out top=2/"));
    CHECK(log_has(", retr=3/"));
    CHECK(log_has(", del=2/3, size=70\n"));
}

TEST(uidl_is_unique_and_lasts)
{
    unsigned u = user_with_three();
    struct client k;
    char first[200];

    client_open(&k, u, "UIDL\r\n");
    CHECK(client_talk(&k, "", ".\r\n"));
    snprintf(first, sizeof first, "%s", buf_z(&k.got));
    /* "1 " UID and UIDVALIDITY, eight hexadecimal digits each */
    CHECK_EQ_INT(strlen(first), strlen("+OK Logged in.\r\n+OK\r\n.\r\n") + 3 * (2 + 16 + 2));
    CHECK(strstr(first, "\r\n1 00000001") && strstr(first, "\r\n2 00000002") &&
          strstr(first, "\r\n3 00000003"));
    CHECK(client_talk(&k, "UIDL 3\r\n", "\r\n"));
    CHECK(sl_has_prefix(buf_slice(&k.got), SL("+OK 3 00000003")));
    CHECK(client_talk(&k, "DELE 1\r\nQUIT\r\n", NULL));
    client_close(&k);
    client_open(&k, u, "UIDL\r\n");
    CHECK(client_talk(&k, "", ".\r\n"));
    CHECK(strstr(buf_z(&k.got), "\r\n1 00000002") && !strstr(buf_z(&k.got), "\r\n3 "));
    client_close(&k);
}

TEST(without_quit_nothing_is_deleted)
{
    unsigned u = user_with_three();
    struct client k;

    client_open(&k, u, "");
    CHECK(client_talk(&k, "RETR 2\r\nDELE 1\r\nDELE 2\r\nDELE 3\r\n",
                      "deleted.\r\n+OK Marked to be deleted.\r\n+OK Marked to be deleted.\r\n"));
    client_close(&k);
    CHECK_EQ_INT(count_files(u, NULL), 3);
    CHECK_EQ_INT(count_files(u, "S"), 1);
    CHECK_EQ_INT(count_files(u, "T"), 0);
    CHECK(log_has("Disconnected: Connection closed top=0/0, retr=1/"));
}

TEST(a_large_message_to_a_slow_reader)
{
    unsigned u = new_user();
    struct buf text = { 0 }, want = { 0 };
    struct client k;

    buf_addz(&text, "Subject: large\r\n\r\n");
    for (unsigned i = 0; i < 60000; i++)
        buf_addf(&text, "%sline %u of a long message with some more words in it\r\n",
                 i % 7 ? "" : ".", i);
    add_mail(u, 1, buf_slice(&text));
    buf_addf(&want, "+OK Logged in.\r\n+OK %zu octets\r\nSubject: large\r\n\r\n", text.n);
    for (unsigned i = 0; i < 60000; i++)
        buf_addf(&want, "%sline %u of a long message with some more words in it\r\n",
                 i % 7 ? "" : "..", i);
    buf_addf(&want, ".\r\n+OK 1 %zu\r\n", text.n);
    client_open(&k, u, "RETR 1\r\nSTAT\r\n");
    k.is_slow = true; /* 3,000 octets a millisecond at most */
    k.want = buf_z(&want) + want.n - 12;
    CHECK(run_until(has_got, &k));
    CHECK_EQ_INT(k.got.n, want.n);
    CHECK(sl_eq(buf_slice(&k.got), buf_slice(&want)));
    client_close(&k);
    buf_free(&text);
    buf_free(&want);
}

TEST(a_reader_that_leaves_in_the_middle)
{
    unsigned u = new_user();
    struct buf text = { 0 };
    struct client k;

    buf_addz(&text, "Subject: large\r\n\r\n");
    for (unsigned i = 0; i < 40000; i++)
        buf_addf(&text, "line %u of a long message with some more words in it\r\n", i);
    add_mail(u, 1, buf_slice(&text));
    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    CHECK_EQ_INT(send(k.fd, "RETR 1\r\n", 8, MSG_NOSIGNAL), 8);
    k.is_slow = true;
    k.want = "words in it\r\n";
    run_until(has_got, &k);
    client_close(&k); /* the parked job ends and with it the session */
    CHECK_EQ_INT(count_files(u, "S"), 0);
    buf_free(&text);
}

TEST(many_messages)
{
    enum { N = 3000 };
    unsigned u = new_user();
    struct buf want = { 0 };
    struct client k;

    for (unsigned i = 1; i <= N; i++)
        add_mail(u, i, SL("Subject: s\r\n\r\nb\r\n"));
    buf_addf(&want, "+OK %d messages:\r\n", N);
    for (unsigned i = 1; i <= N; i++)
        buf_addf(&want, "%u 17\r\n", i);
    buf_addz(&want, ".\r\n");
    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    CHECK(client_talk(&k, "LIST\r\n", ".\r\n"));
    CHECK(sl_eq(buf_slice(&k.got), buf_slice(&want)));
    for (int i = 0; i < 40; i++) /* more than the client takes at once */
        CHECK_EQ_INT(send(k.fd, "LIST\r\n", 6, MSG_NOSIGNAL), 6);
    CHECK(client_talk(&k, "NOOP\r\n", ".\r\n+OK\r\n"));
    CHECK_EQ_INT(k.got.n, want.n * 40 + 5);
    client_close(&k);
    buf_free(&want);
}

TEST(a_message_that_went_away)
{
    unsigned u = user_with_three();
    struct client k;
    char path[128], command[256];

    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    user_folder(path, u, "");
    snprintf(command, sizeof command, "rm %s/*/1578600002.*", path);
    CHECK_EQ_INT(system(command), 0);
    CHECK(client_talk(&k, "RETR 2\r\n", "-ERR Message 2 expunged.\r\n"));
    CHECK(client_talk(&k, "RETR 3\r\n", "Subject: three\r\n\r\n.\r\n"));
    CHECK(client_talk(&k, "DELE 2\r\nQUIT\r\n", NULL));
    client_close(&k);
    CHECK_EQ_INT(count_files(u, NULL), 2);
}

/* By a program that does not know us: files have other names, one is in new/ again. */
TEST(messages_that_are_renamed_meanwhile)
{
    unsigned u = user_with_three();
    struct client k;
    char path[128], command[512];

    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    user_folder(path, u, "");
    snprintf(command, sizeof command,
             "cd %s/cur && for f in *; do mv $f ${f%%:*}:2,F; done && mv 1578600003.* ../new/",
             path);
    CHECK_EQ_INT(system(command), 0);
    CHECK(client_talk(&k, "RETR 1\r\nNOOP\r\n", "\r\nline\r\n.\r\n+OK\r\n"));
    snprintf(command, sizeof command, "cd %s/cur && for f in *; do mv $f ${f%%:*}:2,R; done", path);
    CHECK_EQ_INT(system(command), 0);
    CHECK(client_talk(&k, "TOP 2 0\r\nNOOP\r\n", "two\r\n\r\n.\r\n+OK\r\n"));
    snprintf(command, sizeof command, "cd %s/cur && for f in *; do mv $f ${f%%:*}:2,; done", path);
    CHECK_EQ_INT(system(command), 0);
    CHECK(client_talk(&k, "RETR 3\r\nDELE 1\r\nDELE 3\r\nQUIT\r\n", NULL));
    CHECK(sl_has_suffix(buf_slice(&k.got), SL("+OK Logging out, messages deleted.\r\n")));
    client_close(&k);
    CHECK_EQ_INT(count_files(u, NULL), 1);
}

/* What was sent goes out, what was said is done, then it ends. */
TEST(a_session_at_work_when_the_server_stops)
{
    static const char bye[] = "-ERR [SYS/TEMP] Server shutting down.\r\n";
    unsigned u = user_with_three();
    struct client k;

    client_open(&k, u, "");
    pop3_drain(); /* it is being opened */
    CHECK(client_talk(&k, "", NULL));
    CHECK(sl_has_prefix(buf_slice(&k.got), SL("+OK Logged in.\r\n")) &&
          sl_has_suffix(buf_slice(&k.got), sl_z(bye)));
    client_close(&k);
    client_open(&k, u, "RETR 1\r\nDELE 2\r\nQUIT\r\n");
    pop3_drain();
    CHECK(client_talk(&k, "", NULL));
    CHECK(sl_has_suffix(buf_slice(&k.got), SL("+OK Logging out, messages deleted.\r\n")));
    client_close(&k);
    client_open(&k, u, "RETR 1\r\nDELE 2\r\nQU");
    pop3_drain();
    CHECK(client_talk(&k, "", NULL));
    CHECK(sl_has_suffix(buf_slice(&k.got), sl_z(bye)));
    client_close(&k);
    CHECK_EQ_INT(count_files(u, NULL), 2);
    pop3d.is_drained = false;
}

/* More than leave in one turn, here and there; what RSET took back stays. */
TEST(half_of_many_leaves)
{
    enum { N = 1400 };
    unsigned u = new_user();
    struct buf say = { 0 };
    struct client k;

    for (unsigned i = 1; i <= N; i++)
        add_mail(u, i, SL("Subject: s\r\n\r\nb\r\n"));
    client_open(&k, u, "DELE 2\r\nDELE 1400\r\nRETR 7\r\nSTAT\r\nRSET\r\nSTAT\r\n");
    CHECK(client_talk(&k, "", ".\r\n+OK 1398 23766\r\n+OK\r\n+OK 1400 23800\r\n"));
    for (unsigned i = 1; i <= N; i += 2)
        buf_addf(&say, "DELE %u\r\n", i);
    buf_addf(&say, "RETR 1400\r\nRETR 4\r\nSTAT\r\n");
    CHECK(client_talk(&k, buf_z(&say), ".\r\n+OK 700 11900\r\n"));
    CHECK(client_talk(&k, "QUIT\r\n", NULL));
    CHECK_EQ_STR(buf_z(&k.got), "+OK Logging out, messages deleted.\r\n");
    client_close(&k);
    CHECK_EQ_INT(count_files(u, NULL), N / 2);
    CHECK_EQ_INT(count_files(u, "S"), 2);
    CHECK_EQ_INT(count_files(u, "2"), N / 2);
    buf_free(&say);
}

TEST(bounds)
{
    unsigned u = user_with_three();
    struct client k;
    char line[POP3_LINE_MAX + 2];

    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    for (int i = 0; i < POP3D_BAD_MAX; i++)
        CHECK(client_talk(&k, "foo x\r\n", "-ERR Unknown command: FOO\r\n"));
    CHECK(client_talk(&k, "RETR 9\r\n", NULL));
    CHECK_EQ_STR(buf_z(&k.got), "-ERR There's no message 9.\r\n-ERR Too many bad commands.\r\n");
    client_close(&k);
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    CHECK(client_talk(&k, line, NULL));
    client_close(&k);
}

TEST(a_mailbox_that_cannot_be_opened)
{
    char path[128];
    struct client k;

    n_users++;
    user_folder(path, n_users, "");
    BUG_ON(fclose(fopen(path, "w")) != 0); /* a file where the Maildir should be */
    client_open(&k, n_users, "STAT\r\n");
    CHECK(client_talk(&k, "", NULL));
    CHECK(sl_has_prefix(buf_slice(&k.got), SL("-ERR [SYS/TEMP] ")));
    CHECK_EQ_INT(sl_find(buf_slice(&k.got), SL("\n")), k.got.n - 1);
    client_close(&k);
    CHECK(log_has("opening INBOX: "));
}

/* ---- parameters ---- */

static void
talk(unsigned u, const char *say, const char *want_end)
{
    struct client k;

    client_open(&k, u, "");
    CHECK(client_talk(&k, "", "+OK Logged in.\r\n"));
    CHECK(client_talk(&k, say, want_end));
    client_close(&k);
}

TEST(flags_are_left_alone)
{
    unsigned u = user_with_three();

    configure("pop3_no_flag_updates = yes\n");
    talk(u, "RETR 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n", NULL);
    CHECK_EQ_INT(count_files(u, NULL), 2);
    CHECK_EQ_INT(count_files(u, "S"), 0);
    CHECK_EQ_INT(count_new(u), 2); /* nobody has looked */
    configure(NULL);
    talk(u, "RETR 1\r\nQUIT\r\n", NULL);
    CHECK_EQ_INT(count_files(u, "S"), 1);
    CHECK_EQ_INT(count_new(u), 0);
}

TEST(what_is_deleted_can_be_a_flag)
{
    unsigned u = user_with_three();

    configure("pop3_deleted_flag = $POP3Deleted\n");
    talk(u, "DELE 1\r\nDELE 3\r\nQUIT\r\n", "+OK Logging out, messages deleted.\r\n");
    CHECK_EQ_INT(count_files(u, NULL), 3);
    CHECK_EQ_INT(count_files(u, "a"), 2);
    talk(u, "STAT\r\nLIST\r\n", "+OK 1 24\r\n+OK 1 messages:\r\n1 24\r\n.\r\n");
    configure("pop3_deleted_flag = $POP3Deleted\npop3_delete_type = expunge\n");
    talk(u, "DELE 1\r\nQUIT\r\n", NULL);
    CHECK_EQ_INT(count_files(u, NULL), 2);
    configure(NULL);
    talk(u, "STAT\r\n", "+OK 2 46\r\n");
}

TEST(formats_of_uidl)
{
    static const struct {
        const char *lines, *want;
    } rows[] = {
        { "pop3_uidl_format = %u-%f\n", "1 1-1578600001.M1P1.host\r\n2 2-1578600002.M2P1.host\r\n3 "
                                        "3-1578600003.M3P1.host\r\n.\r\n" },
        { "pop3_uidl_format = %Lg\n",
          "1 1578600001.m1p1.host\r\n2 1578600002.m2p1.host\r\n3 1578600003.m3p1.host\r\n.\r\n" },
        { "pop3_uidl_format = %{uid}\n", "+OK\r\n1 1\r\n2 2\r\n3 3\r\n.\r\n" },
        { "pop3_uidl_format = m%.3f\npop3_uidl_duplicates = rename\n",
          "+OK\r\n1 m157\r\n2 m157-2\r\n3 m157-3\r\n.\r\n" },
        { "pop3_reuse_xuidl = yes\npop3_uidl_format = %u\n",
          "+OK\r\n1 1\r\n2 2\r\n3 3\r\n4 own%20one\r\n.\r\n" },
        { "pop3_save_uidl = yes\npop3_uidl_format = s%04Xu\n",
          "+OK\r\n1 s0001\r\n2 s0002\r\n3 s0003\r\n4 s0004\r\n.\r\n" },
        { "pop3_uidl_format = %u\n", "+OK\r\n1 s0001\r\n2 s0002\r\n3 s0003\r\n4 s0004\r\n5 "
                                     "5\r\n.\r\n" }, /* what was saved stays */
    };
    unsigned u = user_with_three();

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%zu", i);
        if (i == 4)
            add_mail(u, 4, SL("Subject: x\r\nX-UIDL:  own one \r\n\r\n"));
        if (i == 6)
            add_mail(u, 5, SL("Subject: late\r\n\r\n"));
        configure(rows[i].lines);
        talk(u, "UIDL\r\n", rows[i].want);
        talk(u, "NOOP\r\nUIDL 2\r\n", i == 4 ? "+OK 2 2\r\n" : "\r\n");
    }
    configure(NULL);
}

/* Thousands of them, told as they are made, to a client that reads slowly; the same when they are made for all first. */
TEST(uidls_of_many)
{
    enum { N = 5000 };
    unsigned u = new_user();

    for (unsigned i = 1; i <= N; i++)
        add_mail(u, i, SL("\r\n"));
    for (int way = 0; way < 2; way++) {
        struct buf want = { 0 };
        struct client k;

        configure(way ? "pop3_uidl_format = %.15f\npop3_uidl_duplicates = rename\n"
                      : "pop3_uidl_format = %.15f\n");
        buf_addz(&want, "+OK Logged in.\r\n+OK\r\n");
        for (unsigned i = 1; i <= N; i++) {
            char name[64];

            snprintf(name, sizeof name, "15786%05u.M%uP1.host", i, i);
            buf_addf(&want, "%u %.15s\r\n", i, name);
        }
        buf_addz(&want, ".\r\n+OK\r\n");
        client_open(&k, u, "UIDL\r\nNOOP\r\n");
        k.is_slow = true;
        k.want = ".\r\n+OK\r\n";
        CHECK(run_until(has_got, &k));
        CHECK_EQ_INT(k.got.n, want.n);
        CHECK(sl_eq(buf_slice(&k.got), buf_slice(&want)));
        client_close(&k);
        buf_free(&want);
    }
    configure(NULL);
}

/* Ends after so many ms whatever comes. */
struct wait {
    struct client *k;
    uint64_t until_ms;
};

static bool
is_time(void *arg)
{
    struct wait *w = arg;

    has_got(w->k);
    return clock_mono_ms() >= w->until_ms;
}

TEST(one_session_at_a_time)
{
    unsigned u = user_with_three();
    struct client a, b;

    configure("pop3_lock_session = yes\n");
    client_open(&a, u, "");
    CHECK(client_talk(&a, "", "+OK Logged in.\r\n"));
    client_open(&b, u, "STAT\r\n");
    run_until(is_time, &(struct wait){ .k = &b, .until_ms = clock_mono_ms() + 700 });
    CHECK_EQ_INT(b.got.n, 0);
    close(a.fd);
    b.want = "+OK Logged in.\r\n+OK 3 70\r\n";
    CHECK(run_until(has_got, &b));
    buf_free(&a.got);
    client_close(&b);
    configure(NULL);
}

/* The first thing that ever happens to a user. */
TEST(a_lock_before_there_is_a_maildir)
{
    configure("pop3_lock_session = yes\n");
    talk(++n_users, "STAT\r\nQUIT\r\n", "+OK 0 0\r\n+OK Logging out.\r\n");
    configure(NULL);
}

TEST(who_comes_again_too_soon)
{
    unsigned u = user_with_three();
    struct client k;

    configure("pop3_login_delay = 60s\n");
    talk(u, "QUIT\r\n", NULL);
    client_open(&k, u, "STAT\r\n");
    CHECK(client_talk(&k, "", NULL));
    CHECK(sl_has_prefix(buf_slice(&k.got), SL("-ERR [LOGIN-DELAY] ")));
    CHECK_EQ_INT(sl_find(buf_slice(&k.got), SL("\n")), k.got.n - 1);
    client_close(&k);
    configure(NULL);
    pop3_delay_forget();
}

TEST(workarounds)
{
    unsigned u = new_user();

    add_mail(u, 1, sl_n("A: b\r\n\r\nx\0y\0\r\n", 14));
    add_mail(u, 2, SL("A: b\r\nC: d"));
    talk(u, "RETR 2\r\n", "+OK 10 octets\r\nA: b\r\nC: d\r\n.\r\n");
    configure("pop3_client_workarounds = outlook-no-nuls oe-ns-eoh\n");
    talk(u, "RETR 1\r\n", "A: b\r\n\r\nx\x80y\x80\r\n.\r\n");
    talk(u, "RETR 2\r\n", "A: b\r\nC: d\r\n\r\n.\r\n");
    talk(u, "TOP 2 0\r\n", "+OK\r\nA: b\r\nC: d\r\n\r\n.\r\n");
    talk(u, "TOP 1 0\r\n", "+OK\r\nA: b\r\n\r\n.\r\n");
    configure(NULL);
}

TEST(the_line_at_the_end)
{
    unsigned u = user_with_three();

    configure("pop3_logout_format = %t %p %r %b %d %m %s %i %o %u %{deleted_bytes} %{session}\n");
    talk(u, "TOP 1 0\r\nRETR 2\r\nDELE 3\r\nQUIT\r\n", NULL);
    CHECK(log_has("Disconnected: Logged out 1 21 1 42 1 3 70 31 148  18 sid\n"));
    configure("pop3_logout_format = %{uidl_change}\npop3_uidl_format = %u\n");
    talk(u, "UIDL\r\nQUIT\r\n", NULL);
    CHECK(log_has("Disconnected: Logged out 2/990951ba\n")); /* crc32 of "1" ^ that of "2" */
    configure(NULL);
}

TEST(last)
{
    unsigned u = user_with_three();

    talk(u, "LAST\r\n", "-ERR Unknown command: LAST\r\n");
    configure("pop3_enable_last = yes\n");
    talk(u, "RETR 2\r\nLAST\r\nQUIT\r\n", ".\r\n+OK 2\r\n+OK Logging out.\r\n");
    talk(u, "LAST\r\nRSET\r\nLAST\r\n", "+OK 2\r\n+OK\r\n+OK 0\r\n");
    CHECK_EQ_INT(count_files(u, "S"), 0);
    configure(NULL);
}

/* In the parts, too, and only there; what was asked of the message's size is what comes. */
TEST(surrogates)
{
    static const char text[] =
        "Subject: caf\xc3\xa9\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        "Content-Type: text/plain; name=\"\xc3\xa4.txt\"\r\n\r\nbody "
        "\xc3\xa4\r\n--b\r\n\r\nplain\r\n--b--\r\n";
    static const char want[] = "+OK 164 octets\r\nSubject: =?UTF-8?B?Y2Fmw6k=?=\r\nContent-Type: "
                               "multipart/mixed; boundary=b\r\n\r\n--b\r\n"
                               "Content-Type: text/plain; name*=utf-8''%C3%A4.txt\r\n\r\nbody "
                               "\xc3\xa4\r\n--b\r\n\r\nplain\r\n--b--\r\n.\r\n";
    unsigned u = new_user();
    char own[400];

    add_mail(u, 1, sl_z(text));
    talk(u, "RETR 1\r\n", want);
    talk(u, "TOP 1 0\r\n",
         "+OK\r\nSubject: =?UTF-8?B?Y2Fmw6k=?=\r\nContent-Type: multipart/mixed; "
         "boundary=b\r\n\r\n.\r\n");
    talk(u, "TOP 1 2\r\n",
         "boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; name=\"\xc3\xa4.txt\"\r\n.\r\n");
    snprintf(own, sizeof own, "+OK UTF-8 it is.\r\n+OK %zu octets\r\n%s.\r\n", strlen(text), text);
    talk(u, "UTF8\r\nRETR 1\r\n", own);
}

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

int
main(int argc, char **argv)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct timer end = { 0 };
    struct err e = { 0 };
    char command[64];
    int rc;

    loop_init();
    BUG_ON(!mkdtemp(dir));
    snprintf(log_path, sizeof log_path, "%s/log", dir);
    log_set_program("pop3d", "dovecot", NULL);
    log_set_output(LOG_TO_FILE, log_path, LOG_FMT_TEXT, LOG_LV_INFO);
    buf_addf(&text,
             "queue_directory = %s\ndata_directory = %s\nmail_location = maildir:%s/%%d/%%n\n", dir,
             dir, dir);
    conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    BUG_ON(!conf);
    list_init(&pop3d.sessions);
    BUG_ON(store_new(conf, &pop3d.store, &e) != 0);
    pop3d.pool = work_pool_new("pop3", POP3D_THREADS, 0);
    rc = test_main(argc, argv);
    timer_start(&end, 10, stop, NULL);
    loop_run();
    work_pool_free(&pop3d.pool);
    store_free(&pop3d.store);
    conf_unref(&conf);
    buf_free(&text);
    loop_free();
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) == 0 ? rc : 1;
}
