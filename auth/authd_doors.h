/* auth/authd_doors.h - for unit tests: authd's four doors in this process, with a users' database of their own, and a peer that
 * speaks by hand. One loop; hashing and tables run on their pools. Tests only. */
#ifndef POSTERN_AUTH_AUTHD_DOORS_H
#define POSTERN_AUTH_AUTHD_DOORS_H

#include "auth/anvil.h"
#include "auth/auth_server.h"
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

#endif
