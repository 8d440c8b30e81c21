/* authd's four protocols: our clients against our servers over real sockets, and the octets themselves against a peer
 * that speaks them by hand. One loop, one process; hashing and tables run on their pools. */
#include "auth/anvil.h"
#include "auth/anvil_client.h"
#include "auth/auth_client.h"
#include "auth/auth_server.h"
#include "auth/link.h"
#include "auth/lookup_client.h"
#include "auth/lookup_server.h"
#include "auth/users.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/loop.h"

#include <stdlib.h>
#include <unistd.h>

enum { TEST_MS = 10 * 1000 };

static char dir[] = "/tmp/postern-authd-XXXXXX";
static struct auth_service service;
static struct lookup_cache *lookups;
static struct anvil *anvil;
static struct listener *listeners[4];
static struct timer guard;

/* ---- the server ---- */

static void
on_accept(struct listener *l, void *arg, int fd, const struct addr *peer)
{
    (void)peer;
    (void)l;
    switch ((int)(intptr_t)arg) {
    case 0:
        auth_serve(&service, fd);
        break;
    case 1:
        auth_serve_master(&service, fd);
        break;
    case 2:
        lookup_serve(lookups, fd);
        break;
    default:
        anvil_serve(anvil, fd);
    }
}

static const char *const doors[] = { "auth", "auth-master", "lookup", "anvil" };

static char *
door(int i)
{
    static char path[4][128];

    snprintf(path[i], sizeof path[i], "%s/%s", dir, doors[i]);
    return path[i];
}

static void
open_door(int i)
{
    struct addr a;
    struct err e;
    int fd = -1;

    if (addr_unix(door(i), &a, &e) == 0)
        fd = listener_bind(&a, SOCK_STREAM, 0600, &e);
    if (fd < 0)
        FAIL("%s", e.msg);
    listeners[i] = listener_new(fd, on_accept, (void *)(intptr_t)i);
}

static void
make_users(void)
{
    static const char sql[] =
        "INSERT INTO virtual_domains VALUES (1, 'example.com');"
        "INSERT INTO virtual_users VALUES (1, 1, encrypt('password', '$6$abcdefgh'), "
        "'Email1@example.com');"
        "INSERT INTO virtual_users VALUES (2, 1, '{ROT13}x', 'strange@example.com');";
    struct users *u = NULL;
    char path[256];
    struct err e;

    snprintf(path, sizeof path, "%s/mailserver.db", dir);
    if (users_open(path, USERS_MAKE, &u, &e) < 0 || users_make_tables(u, &e) < 0 ||
        db_exec(users_db(u), sql, &e) < 0)
        FAIL("%s", e.msg);
    users_close(&u);
}

static void
on_guard(void *arg)
{
    (void)arg;
    FAIL("nothing happened for too long");
    loop_stop();
}

static void
start(const char *more)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    char secret[128];

    loop_init();
    if (sl_has_suffix(sl_z(dir), SL("XXXXXX")) && mkdtemp(dir) == NULL)
        FAIL("mkdtemp");
    buf_addf(&text,
             "data_directory = %s\nmyhostname = mx.example.com\nauth_failure_delay = 0\n"
             "auth_verbose = yes\n%s",
             dir, more);
    service.conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    conf_problems_free(&ps);
    buf_free(&text);
    BUG_ON(service.conf == NULL);
    make_users();
    snprintf(secret, sizeof secret, "%s/scram.secret", dir);
    service.backend = backend_new(service.conf);
    service.hashes = hash_queue_new();
    service.cookies = cookie_jar_new();
    service.penalty = penalty_new();
    service.scram = scram_keeper_new(secret, service.backend);
    auth_service_set(&service);
    lookups = lookup_cache_new(service.backend, service.backend);
    anvil = anvil_new(60000);
    for (int i = 0; i < 4; i++)
        open_door(i);
    timer_start(&guard, TEST_MS, on_guard, NULL);
}

static void
on_later(void *arg)
{
    (void)arg;
    loop_stop();
}

static void
stop(void)
{
    struct conf *c = (struct conf *)(uintptr_t)service.conf;
    struct timer later = { 0 };
    struct err e;

    timer_start(&later, 20, on_later, NULL); /* the servers hear that their peers are gone */
    loop_run();
    timer_stop(&guard);
    for (int i = 0; i < 4; i++)
        listener_free(&listeners[i]);
    backend_free(&service.backend);
    scram_keeper_free(&service.scram);
    hash_queue_free(&service.hashes);
    loop_free();
    lookup_cache_free(&lookups);
    anvil_free(&anvil);
    cookie_jar_free(&service.cookies);
    penalty_free(&service.penalty);
    netlist_free(&service.trusted);
    conf_unref(&c);
    CHECK_EQ_INT(fs_remove_tree(dir, &e), 0);
    memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
}

/* ---- auth ---- */

struct login {
    struct auth_client *client;
    uint32_t request;
    enum auth_rc rc;
    unsigned steps;
    char user[64], cookie[64], code[32];
};
static struct login login;

static void
copy(char *to, size_t n, struct slice s)
{
    snprintf(to, n, "%.*s", SL_ARG(s));
}

static void
on_login(uint64_t id, const struct auth_result *r)
{
    static const struct slice answers[] = { SL_INIT("email1@example.com"), SL_INIT("password") };
    struct login *l = (struct login *)(uintptr_t)id;

    l->rc = r->rc;
    copy(l->user, sizeof l->user, r->user);
    copy(l->cookie, sizeof l->cookie, r->cookie);
    copy(l->code, sizeof l->code, r->code);
    if (r->rc == AUTH_CONTINUE) {
        CHECK(sl_eqz(r->challenge, l->steps == 0 ? "Username:" : "Password:"));
        auth_client_continue(l->client, l->request, answers[l->steps++]);
    } else {
        loop_stop();
    }
}

static enum auth_rc
log_in(const char *mech, struct slice initial, const char *svc)
{
    struct auth_ask ask = {
        .service = svc, .mech = mech, .is_secured = true, .initial = initial, .session = "s1"
    };
    struct auth_client *c = login.client;

    memset(&login, 0, sizeof login);
    login.client = c;
    addr_parse_ip(SL("192.0.2.1"), 1234, &ask.remote);
    login.request = auth_client_start(c, &ask, on_login, (uint64_t)(uintptr_t)&login);
    loop_run();
    return login.rc;
}

static struct auth_user redeemed;
static char redeemed_user[64], redeemed_quota[256];

static void
on_user(uint64_t id, const struct auth_user *u)
{
    (void)id;
    redeemed = *u;
    copy(redeemed_user, sizeof redeemed_user, u->user);
    copy(redeemed_quota, sizeof redeemed_quota, u->quota);
    loop_stop();
}

TEST(logins)
{
    static const struct {
        const char *name, *mech;
        struct slice initial;
        const char *service;
        enum auth_rc want;
        const char *user, *code;
    } rows[] = {
        { "right", "PLAIN", SL_INIT("\0EMAIL1@example.com\0password"), "imap", AUTH_OK,
          "email1@example.com", "" },
        { "smtp", "PLAIN", SL_INIT("\0email1@example.com\0password"), "smtp", AUTH_OK,
          "email1@example.com", "" },
        { "own authzid", "PLAIN", SL_INIT("email1@example.com\0email1@example.com\0password"),
          "smtp", AUTH_OK, "email1@example.com", "" },
        { "wrong password", "PLAIN", SL_INIT("\0email1@example.com\0Password"), "imap", AUTH_FAIL,
          "email1@example.com", "" },
        { "no such user", "PLAIN", SL_INIT("\0nobody@example.com\0password"), "imap", AUTH_FAIL,
          "nobody@example.com", "" },
        { "other's authzid", "PLAIN", SL_INIT("a@b\0email1@example.com\0password"), "smtp",
          AUTH_FAIL, "email1@example.com", "" },
        { "sql in the name", "PLAIN", SL_INIT("\0' OR '1'='1\0password"), "imap", AUTH_FAIL,
          "' or '1'='1", "" },
        { "malformed", "PLAIN", SL_INIT("password"), "imap", AUTH_FAIL, "", "" },
        { "unknown scheme", "PLAIN", SL_INIT("\0strange@example.com\0x"), "imap", AUTH_TEMPFAIL,
          "strange@example.com", "temp_fail" },
        { "login", "LOGIN", { NULL, 0 }, "pop3", AUTH_OK, "email1@example.com", "" },
        { "no such mechanism", "CRAM-MD5", { NULL, 0 }, "smtp", AUTH_FAIL, "", "" },
    };
    unsigned flags;

    start("");
    login.client = auth_client_new(door(0));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(log_in(rows[i].mech, rows[i].initial, rows[i].service), rows[i].want);
        CHECK_EQ_STR(login.user, rows[i].user);
        CHECK_EQ_STR(login.code, rows[i].code);
        CHECK_EQ_INT(strlen(login.cookie),
                     login.rc == AUTH_OK && strcmp(rows[i].service, "smtp") != 0 ? COOKIE_HEX_DIGITS
                                                                                 : 0);
    }
    CHECK(auth_client_is_ready(login.client));
    CHECK_EQ_STR(auth_client_mech(login.client, 0, &flags), "PLAIN");
    CHECK_EQ_INT(flags, AUTH_MECH_PLAINTEXT);
    CHECK_EQ_STR(auth_client_mech(login.client, 1, &flags), "LOGIN");
    CHECK(auth_client_mech(login.client, 2, &flags) == NULL);
    auth_client_free(&login.client);
    stop();
}

TEST(a_cookie_opens_one_door_once)
{
    struct auth_master *m;
    char cookie[64];

    start("");
    login.client = auth_client_new(door(0));
    m = auth_master_new(door(1));
    CHECK_EQ_INT(log_in("PLAIN", SL("\0email1@example.com\0password"), "imap"), AUTH_OK);
    snprintf(cookie, sizeof cookie, "%s", login.cookie);
    auth_master_request(m, sl_z(cookie), "imap", SL("s1"), on_user, 0);
    loop_run();
    CHECK_EQ_INT(redeemed.found, 1);
    CHECK_EQ_STR(redeemed_user, "email1@example.com");
    auth_master_request(m, sl_z(cookie), "imap", SL("s1"), on_user, 0);
    loop_run();
    CHECK_EQ_INT(redeemed.found, 0);
    auth_master_request(m, SL("00000000000000000000000000000000"), "imap", SL("s1"), on_user,
                        0);
    loop_run();
    CHECK_EQ_INT(redeemed.found, 0);
    auth_master_free(&m);
    auth_client_free(&login.client);
    stop();
}

TEST(userdb)
{
    static const struct {
        const char *user;
        int found;
        const char *name;
    } rows[] = { { "EMAIL1@Example.com", 1, "email1@example.com" },
                 { "nobody@example.com", 0, "" },
                 { "root@localhost", 1, "root@localhost" },
                 { "no-such-person@localhost", 0, "" },
                 { "tab\there@example.com", 0, "" } };
    struct auth_master *m;

    start("");
    m = auth_master_new(door(1));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].user);
        auth_master_user(m, sl_z(rows[i].user), "lmtp", on_user, 0);
        loop_run();
        CHECK_EQ_INT(redeemed.found, rows[i].found);
        CHECK_EQ_STR(redeemed_user, rows[i].name);
        CHECK_EQ_INT(redeemed.uid, -1);
    }
    auth_master_free(&m);
    stop();
}

/* What postern_quota says reaches who asks for the user and who redeems his cookie. */
TEST(userdb_tells_limits)
{
    static const struct {
        const char *name;
        struct users_quota q;
        const char *want; /* of email1@example.com from then on */
    } rows[] = {
        { "EMAIL1@example.com", { 1048576, -1 }, "quota_rule999999=*:bytes=1048576\n" },
        { "other@example.com", { 1, 1 }, "quota_rule999999=*:bytes=1048576\n" },
        { "Example.com",
          { 0, 50 },
          "quota_rule999999=*:bytes=1048576\nquota_domain_rule=example.com:bytes=0:messages=50\n" },
        { "email1@example.com", { -1, -1 }, "quota_domain_rule=example.com:bytes=0:messages=50\n" },
    };
    struct auth_master *m;
    struct users *u = NULL;
    char path[256];
    struct err e;

    start("");
    m = auth_master_new(door(1));
    login.client = auth_client_new(door(0));
    snprintf(path, sizeof path, "%s/mailserver.db", dir);
    NEED(users_open(path, 0, &u, &e) == 0);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(users_quota_set(u, sl_z(rows[i].name), &rows[i].q, &e), 0);
        auth_master_user(m, SL("email1@example.com"), "lmtp", on_user, 0);
        loop_run();
        CHECK_EQ_STR(redeemed_quota, rows[i].want);
        CHECK_EQ_INT(log_in("PLAIN", SL("\0email1@example.com\0password"), "imap"), AUTH_OK);
        auth_master_request(m, sl_z(login.cookie), "imap", SL("s1"), on_user, 0);
        loop_run();
        CHECK_EQ_STR(redeemed_user, "email1@example.com");
        CHECK_EQ_STR(redeemed_quota, rows[i].want);
    }
    users_close(&u);
    auth_client_free(&login.client);
    auth_master_free(&m);
    stop();
}

/* Nobody listens: every question is answered all the same, and not at once from inside the call. */
TEST(nobody_there)
{
    struct auth_master *m;

    start("");
    login.client = auth_client_new("/nonexistent/auth");
    m = auth_master_new("/nonexistent/auth-master");
    CHECK_EQ_INT(log_in("PLAIN", SL("\0a\0b"), "imap"), AUTH_TEMPFAIL);
    auth_master_user(m, SL("a"), "lmtp", on_user, 0);
    loop_run();
    CHECK_EQ_INT(redeemed.found, -1);
    auth_master_free(&m);
    auth_client_free(&login.client);
    stop();
}

/* A name that looks like the rest of the line is no address to fail2ban. */
TEST(a_name_forges_no_address_in_the_log)
{
    struct buf text = { 0 };
    char path[128];

    start("");
    snprintf(path, sizeof path, "%s/log", dir);
    log_set_output(LOG_TO_FILE, path, LOG_FMT_TEXT, LOG_LV_INFO);
    login.client = auth_client_new(door(0));
    CHECK_EQ_INT(log_in("PLAIN", SL("\0a,203.0.113.7): no\0b"), "imap"), AUTH_FAIL);
    log_set_output(LOG_TO_STDERR, NULL, LOG_FMT_TEXT, LOG_LV_INFO);
    CHECK_EQ_INT(fs_read_file(path, &text, NULL), 0);
    CHECK(sl_find(buf_slice(&text), SL("sql(a?203.0.113.7?:?no,192.0.2.1,<s1>): unknown user")) !=
          SL_NPOS);
    buf_free(&text);
    auth_client_free(&login.client);
    stop();
}

static enum auth_rc late_rc;

static void
on_late_login(uint64_t id, const struct auth_result *r)
{
    (void)id;
    late_rc = r->rc;
    if (login.rc != AUTH_CONTINUE)
        loop_stop();
}

/* What is too long for a line is refused by itself: the connection, and what others wait for on it, stays. */
TEST(a_response_too_long_harms_nobody_else)
{
    struct auth_ask ask = { .service = "imap",
                            .mech = "PLAIN",
                            .initial = SL_INIT("\0email1@example.com\0password") };
    struct auth_master *m;
    char *huge = mem_zalloc(16384);
    struct timer later = { 0 };

    start("");
    memset(huge + 3, 'x', 16000);
    huge[1] = 'u';
    login.client = auth_client_new(door(0));
    CHECK_EQ_INT(log_in("PLAIN", ask.initial, "imap"), AUTH_OK);
    late_rc = AUTH_CONTINUE;
    auth_client_start(login.client, &ask, on_late_login, 1);
    CHECK_EQ_INT(log_in("PLAIN", sl_n(huge, 12250), "imap"), AUTH_FAIL);
    if (late_rc == AUTH_CONTINUE) {
        timer_start(&later, 3000, on_later, NULL);
        loop_run();
    }
    CHECK_EQ_INT(late_rc, AUTH_OK);
    auth_client_free(&login.client);

    m = auth_master_new(door(1));
    memset(huge, 'x', 600);
    auth_master_user(m, sl_n(huge, 600), "lmtp", on_user, 0);
    loop_run();
    CHECK_EQ_INT(redeemed.found, 0);
    auth_master_free(&m);
    free(huge);
    stop();
}

/* ---- a peer that says nothing, and is asked all the time ---- */

static struct timer stuck_tick;
static unsigned stuck_ticks;

static void
on_stuck_tick(void *arg)
{
    stuck_ticks++;
    link_asked(arg, 100);
    timer_start(&stuck_tick, 30, on_stuck_tick, arg);
}

static void
on_stuck_up(struct link *l, void *arg)
{
    (void)arg;
    on_stuck_tick(l);
}

static void
on_stuck_input(struct link *l, void *arg)
{
    (void)arg;
    conn_consume(l->conn, conn_input(l->conn).n);
}

static void
on_stuck_end(struct link *l, void *arg)
{
    (void)l;
    (void)arg;
    timer_stop(&stuck_tick);
    loop_stop();
}

TEST(questions_do_not_keep_a_stuck_peer_alive)
{
    static const struct link_ops cbs = { on_stuck_up, on_stuck_input, on_stuck_end, on_stuck_end };
    struct link l;

    start("");
    link_init(&l, door(1), &cbs, NULL);
    link_need(&l);
    loop_run();
    CHECK(stuck_ticks >= 2 && stuck_ticks < 20);
    link_free(&l);
    stop();
}

static unsigned cancelled_calls;

static void
on_cancelled(uint64_t id, const struct auth_result *r)
{
    (void)id;
    (void)r;
    cancelled_calls++;
}

TEST(a_cancelled_request_is_silent)
{
    struct auth_ask ask = { .service = "imap",
                            .mech = "PLAIN",
                            .initial = SL_INIT("\0email1@example.com\0password") };
    struct timer later = { 0 };
    uint32_t first, second;

    start("");
    login.client = auth_client_new(door(0));
    first = auth_client_start(login.client, &ask, on_cancelled, 1);
    auth_client_cancel(login.client, first); /* before it was sent */
    CHECK_EQ_INT(log_in("PLAIN", ask.initial, "imap"), AUTH_OK);
    second = auth_client_start(login.client, &ask, on_cancelled, 2);
    auth_client_cancel(login.client, second); /* on its way */
    CHECK(first != second);
    timer_start(&later, 50, on_later, NULL);
    loop_run();
    CHECK_EQ_INT(cancelled_calls, 0);
    auth_client_free(&login.client);
    stop();
}

/* ---- look-ups ---- */

static unsigned answers, wrong;

static void
on_lookup(uint64_t id, enum lookup_rc rc, struct slice value)
{
    static const struct {
        enum lookup_rc rc;
        const char *value;
    } want[] = {
        { LOOKUP_FOUND, "one" }, { LOOKUP_NOTFOUND, "" }, { LOOKUP_TEMP, "" }, { LOOKUP_FOUND, "" }
    };

    answers++;
    if (rc != want[id % 4].rc || (id % 4 < 3 && !sl_eqz(value, want[id % 4].value)) ||
        (id % 4 == 3 && value.n != 50000)) {
        wrong++;
        FAIL("question %u: rc %d, %zu octets", (unsigned)id, rc, value.n);
    }
    if (answers == 2000)
        loop_stop();
}

TEST(answers_come_in_order)
{
    static const char *const names[] = { "relay_recipient_maps", "relay_recipient_maps",
                                         "no_such_parameter", "local_recipient_maps" };
    static const char *const keys[] = { "a", "b", "c", "d" };
    struct lookup_client *l;
    struct buf conf = { 0 };

    buf_addz(&conf, "relay_recipient_maps = inline:{a=one}\nlocal_recipient_maps = static:");
    for (int i = 0; i < 50000; i++)
        buf_addc(&conf, 'x');
    buf_addc(&conf, '\n');
    start(buf_z(&conf));
    buf_free(&conf);
    answers = wrong = 0;
    l = lookup_client_new(door(2));
    for (unsigned i = 0; i < 2000; i++)
        lookup_ask(l, names[i % 4], sl_z(keys[i % 4]), on_lookup, i);
    loop_run();
    CHECK_EQ_INT(answers, 2000);
    CHECK_EQ_INT(wrong, 0);
    lookup_client_free(&l);
    stop();
}

/* ---- many lines at once ---- */

static const char many_conf[] = "header_checks = inline:{never=asked}\n"
                                "body_checks = regexp:{{if /^a/}, {/b$/ REJECT ab}, {endif}, "
                                "{!/^[a-z]/ WARN not a word}, {/c.*(d)/ REPLACE $$1-$${1}}, "
                                "{/late/ IGNORE}}\n";

#define BIG_OCTETS (3 * 1024 * 1024)

static const struct {
    const char *name;
    const char *lines[5];
    enum lookup_rc rc;
    size_t i;
    const char *value;
    size_t i2; /* a second match, and the last */
} many[] = {
    { "body_checks", { "x", "y" }, LOOKUP_NOTFOUND, 0, "", 0 },
    { "body_checks", { "x", "", "a b", "9" }, LOOKUP_FOUND, 2, "REJECT ab", 3 },
    { "body_checks", { "b b", "9", "a b" }, LOOKUP_FOUND, 1, "WARN not a word", 2 },
    { "body_checks", { "a c\nx d" }, LOOKUP_FOUND, 0, "REPLACE d-d", 0 },
    { "header_checks", { "", "a" }, LOOKUP_NOTFOUND, 0, "", 0 },
    { "no_such_parameter", { "a" }, LOOKUP_TEMP, 0, "", 0 },
    { "body_checks", { "nul", "big" }, LOOKUP_FOUND, 1, "IGNORE", 0 },
};

static void
on_many(uint64_t id, enum lookup_rc rc, size_t n_seen, const struct lookup_hit *hits, size_t n)
{
    size_t lines = 0;

    TEST_ROW("%u", (unsigned)id);
    while (lines < 5 && many[id].lines[lines])
        lines++;
    CHECK_EQ_INT(rc, many[id].rc);
    CHECK_EQ_INT(n_seen, lines);
    CHECK_EQ_INT(n, rc != LOOKUP_FOUND ? 0 : many[id].i2 ? 2 : 1);
    if (n > 0) {
        CHECK_EQ_INT(hits[0].i, many[id].i);
        CHECK_EQ_MEM(hits[0].value.p, hits[0].value.n, many[id].value, strlen(many[id].value));
    }
    if (n > 1)
        CHECK_EQ_INT(hits[1].i, many[id].i2);
    answers++;
}

static void
on_between(uint64_t id, enum lookup_rc rc, struct slice value)
{
    CHECK_EQ_INT(rc, LOOKUP_FOUND);
    CHECK(sl_eqz(value, "asked"));
    CHECK(answers == 2 * id + 1); /* in the order of the questions, whoever answers them */
    if (++answers == 2 * COUNT_OF(many))
        loop_stop();
}

TEST(many_lines_are_one_question)
{
    struct lookup_client *l;
    struct buf big = { 0 };

    /* longer than what a conn buffers, a NUL before what matches */
    for (size_t i = 0; i < BIG_OCTETS; i++)
        buf_addc(&big, i % 1000 == 1 ? '\0' : 'x');
    buf_addz(&big, "late");
    start(many_conf);
    answers = 0;
    l = lookup_client_new(door(2));
    for (size_t k = 0; k < COUNT_OF(many); k++) {
        struct slice lines[5];
        size_t n = 0;

        for (; n < 5 && many[k].lines[n]; n++)
            lines[n] = strcmp(many[k].lines[n], "big") ? sl_z(many[k].lines[n]) : buf_slice(&big);
        lookup_ask_lines(l, many[k].name, lines, n, on_many, k);
        lookup_ask(l, "header_checks", SL("never"), on_between, k);
    }
    loop_run();
    CHECK_EQ_INT(answers, 2 * COUNT_OF(many));
    buf_free(&big);
    lookup_client_free(&l);
    stop();
}

/* ---- a peer by hand ---- */

struct talk {
    const char *want;
    struct buf got;
    bool is_closed;
};

static void
talk_input(struct conn *c, void *arg)
{
    struct talk *t = arg;
    struct slice in = conn_input(c);

    buf_adds(&t->got, in);
    conn_consume(c, in.n);
    if (t->want && t->got.n >= strlen(t->want))
        loop_stop();
}

static void
talk_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct talk *t = arg;

    (void)c;
    (void)end;
    (void)why;
    t->is_closed = true;
    loop_stop();
}

static const struct conn_ops talk_ops = { .on_input = talk_input, .on_close = talk_close };

/* Say `in` on a door, in pieces of `step` octets, and compare what comes; want NULL: the server hangs up. */
static void
say(int which, struct slice in, const char *want, size_t step)
{
    struct talk t = { .want = want };
    struct conn *c = conn_connect_unix(door(which), &talk_ops, &t);

    for (size_t i = 0; i < in.n; i += step)
        conn_writes(c, sl_head(sl_from(in, i), step));
    loop_run();
    if (want) {
        CHECK_EQ_STR(buf_z(&t.got), want);
        if (!t.is_closed) {
            conn_abort(c);
            loop_run();
        }
    } else {
        CHECK(t.is_closed);
    }
    buf_free(&t.got);
}

TEST(socketmap_octets)
{
    static const struct {
        const char *name;
        struct slice in;
        const char *want;
    } rows[] = {
        { "found", SL_INIT("22:relay_recipient_maps a,"), "6:OK one," },
        { "key with a space", SL_INIT("24:relay_recipient_maps b c,"), "6:OK two," },
        { "two at once", SL_INIT("22:relay_recipient_maps a,22:relay_recipient_maps z,"),
          "6:OK one,9:NOTFOUND ," },
        { "temporary", SL_INIT("22:local_recipient_maps a,"), "13:TEMP fail:why," },
        { "no such name", SL_INIT("7:nosuch x,"), NULL },
        { "unknown", SL_INIT("8:nosuch x,"), "36:PERM main.cf has no parameter nosuch," },
        { "no space", SL_INIT("6:nosuch,"), "28:PERM a request is \"name key\"," },
        { "length is no number", SL_INIT("x:nosuch x,"), NULL },
        { "too long", SL_INIT("99999:x"), NULL },
        { "no end of the length", SL_INIT("1111111111"), NULL },
        { "no comma", SL_INIT("1:ab"), NULL },
    };

    start(
        "relay_recipient_maps = inline:{a=one, { b c = two }}\nlocal_recipient_maps = fail:why\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        say(2, rows[i].in, rows[i].want, rows[i].in.n);
        say(2, rows[i].in, rows[i].want, 1);
    }
    stop();
}

TEST(anvil_octets)
{
    start("");
    say(3,
        SL("request=connect\nident=smtp:1.2.3.4\n\nrequest=connect\nident=smtp:1.2.3.4\n\n"
           "request=recipient\nident=smtp:1.2.3.4\n\nrequest=disconnect\nident=smtp:1.2.3.4\n\n"
           "request=lookup\nident=smtp:1.2.3.4\n\nrequest=dance\nident=x\n\n"),
        "protocol=anvil\n\nstatus=0\ncount=1\nrate=1\n\nstatus=0\ncount=2\nrate=2\n\nstatus="
        "0\nrate=1\n\nstatus=0\n\n"
        "status=0\ncount=1\nrate=2\nmail=0\nrcpt=1\nnewtls=0\nauth=0\n\nstatus=-1\n\n",
        7);
    /* That peer is gone, and its connection with it. */
    say(3, SL("request=lookup\nident=smtp:1.2.3.4\n\n"),
        "protocol=anvil\n\nstatus=0\ncount=0\nrate=2\nmail=0\nrcpt=1\nnewtls=0\nauth=0\n\n", 100);
    stop();
}

static struct anvil_result counted;

static void
on_count(uint64_t id, const struct anvil_result *r)
{
    (void)id;
    counted = *r;
    loop_stop();
}

TEST(anvil_client_counts)
{
    struct anvil_client *a;

    start("");
    a = anvil_client_new(door(3));
    anvil_ask(a, ANVIL_CONNECT, SL("smtp:1.2.3.4"), NULL, 0);
    anvil_ask(a, ANVIL_AUTH, SL("smtp:1.2.3.4"), NULL, 0);
    anvil_ask(a, ANVIL_CONNECT, SL("smtp:1.2.3.4"), on_count, 0);
    loop_run();
    CHECK(counted.is_ok);
    CHECK_EQ_INT(counted.count, 2);
    CHECK_EQ_INT(counted.rate, 2);
    anvil_ask(a, ANVIL_LOOKUP, SL("smtp:1.2.3.4"), on_count, 0);
    loop_run();
    CHECK_EQ_INT(counted.auths, 1);
    anvil_client_free(&a);
    stop();
}

TEST(auth_octets)
{
    static const struct {
        const char *name;
        struct slice in;
        bool is_hung_up;
    } rows[] = {
        { "no version", SL_INIT("CPID\t1\n"), true },
        { "other version", SL_INIT("VERSION\t2\t0\n"), true },
        { "unknown command", SL_INIT("VERSION\t1\t2\nDANCE\t1\n"), true },
        { "number is none", SL_INIT("VERSION\t1\t2\nAUTH\tx\tPLAIN\n"), true },
        { "number in use", SL_INIT("VERSION\t1\t2\nAUTH\t1\tLOGIN\nAUTH\t1\tLOGIN\n"), true },
    };

    start("");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        say(0, rows[i].in, NULL, 3);
    }
    stop();
}

/* ---- the hash queue ---- */

static unsigned hashed, right;

static void
on_hashed(uint64_t id, int match, const char *why)
{
    (void)why;
    (void)id;
    hashed++;
    right += match > 0;
    if (hash_waiting(service.hashes) == 0)
        loop_stop();
}

TEST(a_source_has_its_share)
{
    struct hash_ask ask = { .source = SL_INIT("192.0.2.0/24"),
                            .stored = SL_INIT("{PLAIN}x"),
                            .default_scheme = "PLAIN" };
    unsigned taken = 0, refused = 0;
    char user[32];

    start("");
    hashed = right = 0;
    for (unsigned i = 0; i < HASH_PER_SOURCE_MAX + 10; i++) {
        snprintf(user, sizeof user, "user%u", i);
        ask.user = sl_z(user);
        ask.password = SL("x");
        hash_submit(service.hashes, &ask, on_hashed, i) ? taken++ : refused++;
    }
    CHECK_EQ_INT(taken, HASH_PER_SOURCE_MAX);
    CHECK_EQ_INT(refused, 10);
    ask.source = SL("198.51.100.0/24"); /* another one is served */
    ask.user = SL("other");
    CHECK(hash_submit(service.hashes, &ask, on_hashed, 99));
    CHECK(hash_submit(service.hashes, &ask, on_hashed,
                      100)); /* the same question: hashed once, told twice */
    CHECK_EQ_INT(hash_waiting(service.hashes), HASH_PER_SOURCE_MAX + 1);
    loop_run();
    CHECK_EQ_INT(hashed, HASH_PER_SOURCE_MAX + 2);
    CHECK_EQ_INT(right, hashed);
    stop();
}

TEST_MAIN()
