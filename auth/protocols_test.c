/* The auth-client and auth-master protocols: our clients against our servers over real sockets, and the octets themselves
 * against a peer that speaks them by hand; and the hash queue behind them. */
#include "auth/auth_client.h"
#include "auth/authd_doors.h"
#include "auth/link.h"

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
ask_for(struct auth_ask *ask)
{
    struct auth_client *c = login.client;

    memset(&login, 0, sizeof login);
    login.client = c;
    addr_parse_ip(SL("192.0.2.1"), 1234, &ask->remote);
    login.request = auth_client_start(c, ask, on_login, (uint64_t)(uintptr_t)&login);
    loop_run();
    return login.rc;
}

static enum auth_rc
log_in(const char *mech, struct slice initial, const char *svc)
{
    struct auth_ask ask = {
        .service = svc, .mech = mech, .is_secured = true, .initial = initial, .session = "s1"
    };

    return ask_for(&ask);
}

/* What the certificate says reaches the server, and counts only where it was found good. */
TEST(certificates)
{
    static const struct {
        const char *name;
        bool is_valid;
        const char *cert_name;
        struct slice initial;
        enum auth_rc want;
    } rows[] = {
        { "good", true, "Email1@example.com", SL_INIT(""), AUTH_OK },
        { "as himself", true, "email1@example.com", SL_INIT("EMAIL1@example.com"), AUTH_OK },
        { "as another", true, "email1@example.com", SL_INIT("strange@example.com"), AUTH_FAIL },
        { "of nobody here", true, "nobody@example.com", SL_INIT(""), AUTH_FAIL },
        { "not good", false, "email1@example.com", SL_INIT(""), AUTH_FAIL },
        { "good, and names nobody", true, NULL, SL_INIT("email1@example.com"), AUTH_FAIL },
        { "good, and the name is empty", true, "", SL_INIT("email1@example.com"), AUTH_FAIL },
        { "tab in the name", true, "x\tuser=email1@example.com", SL_INIT(""), AUTH_FAIL },
    };

    start("auth_mechanisms = external\nauth_ssl_username_from_cert = yes\n");
    login.client = auth_client_new(door(0));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct auth_ask ask = { .service = "imap",
                                .mech = "EXTERNAL",
                                .initial = rows[i].initial,
                                .is_cert_valid = rows[i].is_valid,
                                .cert_username = rows[i].cert_name };

        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(ask_for(&ask), rows[i].want);
        CHECK_EQ_STR(login.user[0] && login.rc == AUTH_OK ? login.user : "",
                     rows[i].want == AUTH_OK ? "email1@example.com" : "");
    }
    auth_client_free(&login.client);
    stop();

    /* A peer that says so of its own accord, where no certificate is asked for. */
    start("auth_mechanisms = external\n");
    login.client = auth_client_new(door(0));
    CHECK_EQ_INT(ask_for(&(struct auth_ask){ .service = "imap",
                                             .mech = "EXTERNAL",
                                             .initial = SL(""),
                                             .is_cert_valid = true,
                                             .cert_username = "email1@example.com" }),
                 AUTH_FAIL);
    auth_client_free(&login.client);
    stop();
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
    auth_master_request(m, SL("00000000000000000000000000000000"), "imap", SL("s1"), on_user, 0);
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
