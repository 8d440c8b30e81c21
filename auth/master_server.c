/* auth/master_server.c - the master protocol: which user does a cookie name, is there such a user. imapd and pop3d
 * believe only this; lmtpd asks for each recipient. Told are limits (quota_rule, quota_domain_rule); homes and numbers
 * of users are not: mail_location says where mail is, and the daemons' own user owns it. */
#include "auth/auth_server.h"

#include "auth/names.h"
#include "auth/tab.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/loop.h"

#include <stdlib.h>
#include <unistd.h>

enum { USER_OCTETS = 512 };

struct peer {
    struct auth_service *auth;
    struct conn *conn;
    uint64_t id;
};

/* fields: lines of "name=value". */
static void
reply_user(struct peer *p, uint32_t number, struct slice user, struct slice master,
           struct slice fields)
{
    struct buf line = { 0 };
    struct slice field;

    buf_addf(&line, "USER\t%u", number);
    tab_add(&line, user);
    if (master.n > 0)
        tab_add_pair(&line, "master_user", master);
    while (sl_take_until(&fields, '\n', &field))
        tab_add(&line, field);
    buf_addc(&line, '\n');
    conn_writes(p->conn, buf_slice(&line));
    buf_free(&line);
}

/* ---- USER ---- */

struct user_job {
    struct backend_job job;
    uint64_t peer;
    uint32_t number;
    struct buf wanted, name, password, fields;
    struct buf master; /* with is_known: who logged in as the user */
    char *format;
    bool is_known; /* wanted is a user: authd has said so before */
    int rc;
    struct err e;
};

/* Names of mydestination end up as user@localhost (aliases(5), then getpwnam(3)): those are the system's users. */
static int
find_system_user(struct table_set *tables, struct slice wanted, struct buf *name, struct err *e)
{
    struct table t = { .type = &table_unix, .set = tables };
    struct slice local;
    struct buf row = { 0 };
    enum table_rc rc;

    if (!sl_has_isuffix(wanted, SL("@localhost")))
        return 0;
    local = sl_head(wanted, wanted.n - (sizeof "@localhost" - 1));
    rc = table_unix.lookup(&t, local, &row, e);
    buf_free(&row);
    if (rc == TABLE_FOUND)
        buf_adds(name, wanted);
    return rc == TABLE_FOUND ? 1 : rc == TABLE_NOTFOUND ? 0 : -1;
}

/* What imap_capability_maps say of a user, or of all of his domain. That they cannot be asked keeps nobody out. */
static void
add_capability(struct table_set *tables, struct slice user, struct buf *fields)
{
    struct slice domain = sl_from(user, sl_find_char(user, '@'));
    struct buf value = { 0 };
    struct err e = { 0 };
    enum table_rc rc;

    if (table_set_conf(tables)->imap_capability_maps.n == 0)
        return;
    rc = table_set_lookup(tables, SL("imap_capability_maps"), user, &value, &e);
    if (rc == TABLE_NOTFOUND && domain.n > 0)
        rc = table_set_lookup(tables, SL("imap_capability_maps"), domain, &value, &e);
    if (rc == TABLE_FOUND && sl_find_char(buf_slice(&value), '\n') == SL_NPOS)
        buf_addf(fields, "imap_capability=%s\n", buf_z(&value));
    else if (rc == TABLE_TEMP || rc == TABLE_PERM)
        log_warn("auth.capability", LOG_NONE, "imap_capability_maps: %s", e.msg);
    buf_free(&value);
}

static void
user_run(struct backend_job *j, struct table_set *tables)
{
    struct user_job *f = CONTAINER_OF(j, struct user_job, job);
    struct slice wanted = buf_slice(&f->wanted);
    uint64_t began = clock_mono_ms();
    struct users *u;

    f->rc = f->is_known ? 0 : find_system_user(tables, wanted, &f->name, &f->e);
    if (f->rc != 0)
        return;
    u = table_set_users(tables, &f->e);
    if (f->is_known) {
        buf_adds(&f->name, wanted);
        f->rc = u ? 1 : -1;
    } else {
        f->rc = u ? users_find(u, wanted, &f->name, &f->password, &f->e) : -1;
    }
    if (f->rc > 0 && users_quota_fields(u, buf_slice(&f->name), &f->fields, &f->e) < 0)
        f->rc = -1;
    if (f->rc > 0 && f->is_known)
        add_capability(tables, buf_slice(&f->name), &f->fields);
    if (f->rc < 0)
        table_set_note_failure(tables, began, &f->e);
}

static void
user_done(struct backend_job *j)
{
    struct user_job *f = CONTAINER_OF(j, struct user_job, job);
    struct peer *p = id_get(f->peer);
    struct buf name = { 0 };

    if (f->rc < 0)
        log_error("auth.userdb", LOG_NONE, "userdb(%.*s): %s", SL_ARG(buf_slice(&f->wanted)),
                  f->e.msg);
    if (p && f->rc > 0) {
        auth_format_name(f->format, buf_slice(&f->name), &name);
        reply_user(p, f->number, f->is_known ? buf_slice(&f->name) : buf_slice(&name),
                   buf_slice(&f->master), buf_slice(&f->fields));
    } else if (p) {
        conn_printf(p->conn, f->rc == 0 ? "NOTFOUND\t%u\n" : "FAIL\t%u\ttemp\n", f->number);
    }
    buf_free(&name);
    buf_free(&f->wanted);
    buf_free(&f->name);
    buf_free(&f->fields);
    buf_free(&f->master);
    buf_wipe(&f->password);
    free(f->format);
    free(f);
}

static struct user_job *
user_job_new(struct peer *p, uint32_t number)
{
    struct user_job *f = MEM_NEW(struct user_job);

    f->peer = p->id;
    f->number = number;
    f->format = mem_dupz(p->auth->conf->auth_username_format);
    f->job.run = user_run;
    f->job.done = user_done;
    return f;
}

static int
run_user(struct peer *p, uint32_t number, struct slice args)
{
    struct user_job *f;
    struct slice field;
    struct buf name = { 0 };

    if (!tab_take(&args, &field))
        return -1;
    if (field.n > USER_OCTETS) { /* nobody's name; a stranger may have written it to lmtpd */
        conn_printf(p->conn, "NOTFOUND\t%u\n", number);
        return 0;
    }
    f = user_job_new(p, number);
    tab_unescape(&name, field);
    auth_format_name(f->format, buf_slice(&name), &f->wanted);
    buf_free(&name);
    backend_submit(p->auth->backend, &f->job);
    return 0;
}

/* ---- REQUEST number process connection cookie service=... session=... ---- */

static void
redeem(struct peer *p, uint32_t number, struct slice cookie, struct slice service,
       struct slice session)
{
    struct cookie_grant g;
    struct user_job *f;
    struct buf mem = { 0 };
    enum cookie_rc rc =
        cookie_redeem(p->auth->cookies, cookie, service, session, loop_now_ms(), &mem, &g);

    if (rc == COOKIE_GOOD) {
        f = user_job_new(p, number);
        f->is_known = true;
        buf_adds(&f->wanted, g.user);
        buf_adds(&f->master, g.master);
        backend_submit(p->auth->backend, &f->job);
    } else {
        log_warn("auth.cookie", LOG_F(LF_S("service", service), LF_S("sid", session)),
                 "a session was offered to %.*s with a cookie that is %s", SL_ARG(service),
                 rc == COOKIE_ASTRAY ? "another service's or session's"
                                     : "unknown, used or too old");
        conn_printf(p->conn, "NOTFOUND\t%u\n", number);
    }
    buf_free(&mem);
}

static int
run_request(struct peer *p, uint32_t number, struct slice args)
{
    struct slice pid, connection, cookie, field, v;
    struct buf service = { 0 }, session = { 0 };

    if (!tab_take(&args, &pid) || !tab_take(&args, &connection) || !tab_take(&args, &cookie))
        return -1;
    while (tab_take(&args, &field)) {
        if (tab_is_pair(field, "service", &v))
            tab_unescape(&service, v);
        else if (tab_is_pair(field, "session", &v))
            tab_unescape(&session, v);
    }
    redeem(p, number, cookie, buf_slice(&service), buf_slice(&session));
    buf_free(&service);
    buf_free(&session);
    return 0;
}

static const struct {
    const char *verb;
    int (*run)(struct peer *p, uint32_t number, struct slice args);
} commands[] = { { "REQUEST", run_request }, { "USER", run_user } };

static int
run_line(struct peer *p, struct slice line)
{
    struct slice verb = { 0 }, field;
    uint32_t number;

    tab_take(&line, &verb);
    if (sl_eqz(verb, "VERSION"))
        return tab_take(&line, &field) && sl_eqz(field, "1") ? 0 : -1;
    if (sl_eqz(verb, "CPID"))
        return 0;
    if (!tab_take(&line, &field) || !sl_to_u32(field, &number))
        return -1;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (sl_eqz(verb, commands[i].verb))
            return commands[i].run(p, number, line);
    conn_printf(p->conn, "FAIL\t%u\treason=unknown command\n", number);
    return 0;
}

static void
on_input(struct conn *c, void *arg)
{
    struct peer *p = arg;
    struct buf copy = { 0 };
    struct slice line;

    for (;;) {
        enum frame_rc rc = conn_take_line(c, TAB_LINE_OCTETS, LINE_LF_TOO, &line);

        if (rc == FRAME_MORE || rc == FRAME_END)
            break;
        buf_reset(&copy);
        if (rc == FRAME_OK)
            buf_adds(&copy, line);
        if (rc == FRAME_TOO_LONG || run_line(p, buf_slice(&copy)) < 0) {
            log_warn("auth.protocol", LOG_NONE, "auth-master client sent a malformed command");
            conn_abort(c);
            break;
        }
    }
    buf_free(&copy);
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct peer *p = arg;

    (void)c;
    (void)end;
    (void)why;
    id_del(p->id);
    free(p);
}

static const struct conn_ops ops = { .on_input = on_input, .on_close = on_close };

void
auth_serve_master(struct auth_service *a, int fd)
{
    struct peer *p = MEM_NEW(struct peer);

    p->auth = a;
    p->id = id_add(p);
    p->conn = conn_new(fd, &ops, p);
    conn_set_in_max(p->conn, TAB_LINE_OCTETS * 2);
    conn_printf(p->conn, "VERSION\t1\t1\nSPID\t%ld\n", (long)getpid());
}
