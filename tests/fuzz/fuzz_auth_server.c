/* private/auth and private/auth-master as a peer of ours could abuse them: any octets, to the real server with its database,
 * its hashing and all its mechanisms. What it says must be whole lines of the protocol, and names that are there. */
#include "auth/auth_server.h"
#include "auth/users.h"
#include "base/mem.h"
#include "tests/fuzz/wire.h"

static struct auth_service service;

static bool
is_busy(void)
{
    return hash_waiting(service.hashes) > 0;
}

static void
make_users(void)
{
    static const char sql[] =
        "INSERT INTO virtual_domains VALUES (1, 'example.com');"
        "INSERT INTO virtual_users VALUES (1, 1, '{PLAIN}p', 'u@example.com');"
        "INSERT INTO virtual_users VALUES (2, 1, '{PLAIN}q', 'v@example.com');"
        "INSERT INTO virtual_users VALUES (3, 1, '{ROT13}x', 'strange@example.com');";
    struct users *u = NULL;
    char path[128];
    struct err e;

    snprintf(path, sizeof path, "%s/mailserver.db", wire_dir);
    MUST(users_open(path, USERS_MAKE, &u, &e) == 0 && users_make_tables(u, &e) == 0);
    MUST(db_exec(users_db(u), sql, &e) == 0);
    users_close(&u);
}

/* At exit OpenSSL tidies up: no thread may be at work then. Registered after OpenSSL's own, so called before it. */
static void
stop_threads(void)
{
    scram_keeper_free(&service.scram);
    app_uses_free(&service.uses);
    hash_queue_free(&service.hashes);
    backend_free(&service.backend);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf text = { 0 };
    struct conf_problems ps = { 0 };
    char path[128];
    FILE *f;

    (void)argc;
    (void)argv;
    wire_init(&text);
    snprintf(path, sizeof path, "%s/masters", wire_dir);
    f = fopen(path, "w");
    MUST(f && fputs("m:{PLAIN}m\n", f) >= 0 && fclose(f) == 0);
    buf_addf(&text,
             "data_directory = %s\nauth_failure_delay = 0\nauth_verbose = yes\n"
             "auth_mechanisms = plain login scram-sha-256 external oauthbearer xoauth2\n"
             "auth_master_user_separator = *\nauth_master_users = passwd-file:%s\n",
             wire_dir, path);
    service.conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    MUST(service.conf != NULL);
    make_users();
    snprintf(path, sizeof path, "%s/scram.secret", wire_dir);
    service.backend = backend_new(service.conf);
    service.hashes = hash_queue_new();
    service.cookies = cookie_jar_new();
    service.penalty = penalty_new();
    service.scram = scram_keeper_new(path, service.backend);
    service.uses = app_uses_new(service.backend);
    auth_service_set(&service);
    MUST(atexit(stop_threads) == 0);
    buf_free(&text);
    conf_problems_free(&ps);
    return 0;
}

/* One line of the server's. */
static void
must_be_said(struct slice line)
{
    static const char *const verbs[] = { "VERSION", "MECH", "SPID", "CUID", "COOKIE",  "DONE",
                                         "CONT",    "OK",   "FAIL", "USER", "NOTFOUND" };
    struct slice verb = { 0 }, field, v;
    bool is_known = false, is_ok;

    MUST(memchr(line.p, '\0', line.n) == NULL && memchr(line.p, '\r', line.n) == NULL);
    tab_take(&line, &verb);
    for (size_t i = 0; i < COUNT_OF(verbs); i++)
        is_known = is_known || sl_eqz(verb, verbs[i]);
    MUST(is_known);
    is_ok = sl_eqz(verb, "OK");
    while (tab_take(&line, &field))
        if (is_ok && tab_is_pair(field, "user", &v))
            MUST(sl_eqz(v, "u@example.com") || sl_eqz(v, "v@example.com"));
}

static void
must_be_lines(struct slice said)
{
    struct slice line;

    while (sl_take_until(&said, '\n', &line))
        must_be_said(line);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    /* The choice's bits 1 to 3: what was said before. */
    static const char *const before[] = {
        "",
        "VERSION\t1\t2\nCPID\t1\n",
        "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tLOGIN\tservice=imap\tsecured\n",
        "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tPLAIN\tservice=smtp\trip=192.0.2.1\tresp="
        "AHVAZXhhbXBsZS5jb20AcA==\n",
        "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tSCRAM-SHA-256\tservice=imap\tresp="
        "biwsbj11QGV4YW1wbGUuY29tLHI9YWJjZGVmZ2g=\n",
        "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tLOGIN\tservice=pop3\tresp=dUBleGFtcGxlLmNvbQ==\n",
        "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tEXTERNAL\tservice=imap\tvalid-client-cert\tcert_username="
        "u@example.com\n",
        "VERSION\t1\t2\nCPID\t1\nAUTH\t1\tXOAUTH2\tservice=imap\tresp="
        "dXNlcj11QGV4YW1wbGUuY29tAWF1dGg9QmVhcmVyIHQBAQ==\n",
    };
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 16 ? in.n / 2 : in.n;
    struct wire w;

    if (choice & 1) {
        auth_serve_master(&service, wire_open(&w));
    } else {
        auth_serve(&service, wire_open(&w));
        w.is_busy = is_busy;
        wire_send(&w, sl_z(before[choice >> 1 & 7]));
    }
    w.is_busy = is_busy;
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    must_be_lines(buf_slice(&w.got));
    wire_close(&w);
    wire_settle(&w);
    return 0;
}
