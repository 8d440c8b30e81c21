/* cli/cmd_user_try.c - `postern user test` and `hash`: is that password right, and what a password looks like when stored.
 * A running authd is asked, as a login daemon would; without one the tables themselves. */
#include "auth/account.h"
#include "auth/auth_client.h"
#include "auth/names.h"
#include "auth/password.h"
#include "base/mem.h"
#include "cli/cmd_user.h"
#include "cli/password_prompt.h"
#include "core/daemon.h"
#include "core/loop.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EXIT_WRONG = 77, PATH_OCTETS = 512 };

/* ---- authd ---- */

struct answer {
    enum auth_rc rc;
    struct buf user, master, code, reason;
};
static struct answer *waiting; /* one question in the life of the program */

static void
on_answer(uint64_t id, const struct auth_result *r)
{
    (void)id;
    waiting->rc = r->rc;
    buf_adds(&waiting->user, r->user);
    buf_adds(&waiting->master, r->master);
    buf_adds(&waiting->code, r->code);
    buf_adds(&waiting->reason, r->reason);
    loop_stop();
}

static bool
is_running(const char *path)
{
    struct err e;
    struct addr a;
    int fd = -1;
    bool is;

    if (addr_unix(path, &a, &e) == 0)
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    is = fd >= 0 && connect(fd, &a.u.sa, a.len) == 0;
    if (fd >= 0)
        close(fd);
    return is;
}

static void
ask_authd(const char *path, const char *service, struct slice name, struct slice password,
          struct answer *out)
{
    struct buf plain = { 0 };
    struct auth_client *client;

    buf_addc(&plain, '\0');
    buf_adds(&plain, name);
    buf_addc(&plain, '\0');
    buf_adds(&plain, password);
    waiting = out;
    loop_init();
    client = auth_client_new(path);
    auth_client_start(client,
                      &(struct auth_ask){ .service = service,
                                          .mech = "PLAIN",
                                          .is_secured = true,
                                          .no_login = true,
                                          .initial = buf_slice(&plain),
                                          .session = "postern-user-test" },
                      on_answer, 0);
    password_wipe(&plain);
    loop_run();
    auth_client_free(&client);
}

/* ---- the tables ---- */

static enum auth_rc
judge(const struct users_cmd *u, const struct account *a, bool has_other, struct slice password,
      struct answer *out, struct err *e)
{
    int match = a->app == USERS_APP_GOOD;

    if (!match && (has_other ? a->is_master : a->is_found))
        match = password_verify(buf_slice(&a->password), password, u->conf->default_pass_scheme, e);
    if (match < 0)
        return AUTH_TEMPFAIL;
    if (match && a->is_disabled)
        buf_addz(&out->code, "user_disabled");
    else if (!match && a->app == USERS_APP_EXPIRED)
        buf_addz(&out->code, "pass_expired");
    return match && a->is_found && !a->is_disabled ? AUTH_OK : AUTH_FAIL;
}

static void
ask_tables(const struct users_cmd *u, const char *service, struct slice name, struct slice password,
           struct answer *out)
{
    struct table_set *tables = table_set_new(u->conf);
    struct buf user = { 0 }, other = { 0 };
    struct account a = { 0 };
    struct err e = { 0 };
    const char *why;

    if (!auth_names_of_client(u->conf, name, SL(""), &user, &other, &why)) {
        out->rc = AUTH_FAIL;
        buf_addz(&out->reason, why);
    } else if (account_look(tables,
                            &(struct account_ask){ .name = buf_slice(&user),
                                                   .other = buf_slice(&other),
                                                   .entered = password,
                                                   .service = service },
                            &a, &e) < 0) {
        out->rc = AUTH_TEMPFAIL;
    } else {
        out->rc = judge(u, &a, other.n > 0, password, out, &e);
        auth_format_name(u->conf->auth_username_format, buf_slice(&a.name), &out->user);
        if (other.n)
            buf_adds(&out->master, buf_slice(&user));
    }
    if (out->rc == AUTH_TEMPFAIL)
        buf_addz(&out->reason, e.msg);
    account_free(&a);
    buf_free(&user);
    buf_free(&other);
    table_set_free(&tables);
}

/* ---- postern user test ---- */

static int
tell(const struct users_cmd *u, const char *whom, struct answer *a)
{
    const char *why = a->reason.n ? buf_z(&a->reason) : NULL;

    if (a->rc == AUTH_OK && a->master.n)
        printf("%s: right: %s logs in as %s\n", whom, buf_z(&a->master), buf_z(&a->user));
    else if (a->rc == AUTH_OK)
        printf("%s: right: logs in as %s\n", whom, buf_z(&a->user));
    if (a->rc == AUTH_OK)
        return EXIT_OK;
    if (a->rc == AUTH_TEMPFAIL)
        return users_cmd_fail(u, EXIT_TEMPFAIL, "%s: cannot be told now%s%s", whom, why ? ": " : "",
                              why ? why : "");
    if (sl_eqz(buf_slice(&a->code), "user_disabled"))
        why = "right, but the user is disabled";
    else if (sl_eqz(buf_slice(&a->code), "pass_expired"))
        why = "an app password that has expired";
    return users_cmd_fail(u, EXIT_WRONG, "%s: %s", whom, why ? why : "wrong");
}

int
user_test(struct users_cmd *u)
{
    const char *service = u->service ? u->service : "imap";
    struct buf password = { 0 };
    struct answer a = { 0 };
    char path[PATH_OCTETS];
    struct err e;
    int rc;

    if (app_service_of(sl_z(service)) == 0)
        return users_cmd_fail(u, EXIT_USAGE_ERROR, "--service %s: imap, pop3 or smtp is wanted",
                              service);
    if (password_ask(u->words[0], u->from_stdin, &password, &e) < 0) {
        password_wipe(&password);
        return users_cmd_err(u, &e);
    }
    daemon_socket_path(u->conf, "private/auth", path, sizeof path);
    if (is_running(path))
        ask_authd(path, service, sl_z(u->words[0]), buf_slice(&password), &a);
    else
        ask_tables(u, service, sl_z(u->words[0]), buf_slice(&password), &a);
    password_wipe(&password);
    rc = tell(u, u->words[0], &a);
    buf_free(&a.user);
    buf_free(&a.master);
    buf_free(&a.code);
    buf_free(&a.reason);
    return rc;
}

/* ---- postern user hash ---- */

int
user_hash(struct users_cmd *u)
{
    const char *scheme = u->scheme ? u->scheme : u->conf->default_pass_scheme;
    char hash[PASSWORD_HASH_OCTETS];
    struct buf password = { 0 };
    struct err e;
    int rc;

    if (!password_is_scheme(scheme))
        return users_cmd_fail(u, EXIT_USAGE_ERROR, "password scheme %s is not known", scheme);
    rc = password_prompt("somebody", u->from_stdin, &password, &e);
    if (rc == 0)
        rc = password_make(buf_slice(&password), scheme, hash, &e);
    password_wipe(&password);
    if (rc < 0)
        return users_cmd_err(u, &e);
    if (hash[0] != '{') {
        printf("{");
        for (const char *p = scheme; *p; p++)
            putchar(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        printf("}");
    }
    printf("%s\n", hash);
    mem_wipe(hash, sizeof hash);
    return EXIT_OK;
}
