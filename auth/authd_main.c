/* auth/authd_main.c - authd: who may log in, what tables say, how often clients come. The only daemon that reads the
 * users' database. No network. */
#include "auth/account_rate.h"
#include "auth/anvil.h"
#include "auth/auth_server.h"
#include "auth/lookup_server.h"
#include "auth/oauth_client.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/loop.h"

#include <unistd.h>

/* What relayd may ask for: it talks to strangers. */
static const char *const content_names[] = { "smtp_generic_maps",
                                             "smtp_header_checks",
                                             "smtp_mime_header_checks",
                                             "smtp_nested_header_checks",
                                             "smtp_body_checks",
                                             "lmtp_generic_maps",
                                             "lmtp_header_checks",
                                             "lmtp_mime_header_checks",
                                             "lmtp_nested_header_checks",
                                             "lmtp_body_checks",
                                             NULL };

static struct auth_service service;
static struct backend *content; /* patterns over messages: they may take their time */
static struct lookup_cache *lookups;
static struct anvil *anvil;
static struct anvil *sessions; /* of users; smtpd, which strangers talk to, counts none of them */
static struct account_rate *accounts;
static struct timer sweep, status;

static void
on_sweep(void *arg)
{
    (void)arg;
    anvil_sweep(anvil, loop_now_ms());
    anvil_sweep(sessions, loop_now_ms());
    timer_start(&sweep, (uint64_t)service.conf->anvil_rate_time_unit, on_sweep, NULL);
}

static void
on_status(void *arg)
{
    struct buf ident = { 0 };

    if (arg == NULL) { /* not at the start */
        buf_addf(&ident, "%s/anvil", service.conf->syslog_name);
        anvil_report(anvil, buf_z(&ident));
        buf_free(&ident);
    }
    timer_start(&status, (uint64_t)service.conf->anvil_status_update_time, on_status, NULL);
}

static void
open_accounts(void)
{
    struct buf path = { 0 };

    buf_addf(&path, "%s/accounts.db", service.conf->data_directory);
    accounts = account_rate_new(buf_z(&path));
    account_rate_set_limits(accounts, service.conf);
    anvil_serve_accounts(accounts);
    buf_free(&path);
}

/* What was counted in the last seconds is written before the end. */
static void
drain(void)
{
    app_uses_flush(service.uses);
    anvil_serve_accounts(NULL);
    account_rate_free(&accounts);
}

static bool
is_idle(void)
{
    return app_uses_is_idle(service.uses);
}

static void
open_scram(void)
{
    struct buf path = { 0 };

    buf_addf(&path, "%s/scram.secret", service.conf->data_directory);
    service.scram = scram_keeper_new(buf_z(&path), service.backend);
    buf_free(&path);
}

static void
open_oauth(void)
{
    char path[512];

    service.oauth =
        oauth_client_new(daemon_socket_path(service.conf, "private/oauth", path, sizeof path));
}

static int
init(struct err *e)
{
    (void)e;
    service.conf = conf_ref(daemon_conf());
    service.backend = backend_new(service.conf);
    service.hashes = hash_queue_new();
    service.cookies = cookie_jar_new();
    open_scram();
    service.uses = app_uses_new(service.backend);
    open_oauth();
    service.penalty = penalty_new();
    auth_service_set(&service);
    content = backend_new(service.conf);
    lookups = lookup_cache_new(service.backend, content);
    anvil = anvil_new((uint64_t)service.conf->anvil_rate_time_unit);
    sessions = anvil_new((uint64_t)service.conf->anvil_rate_time_unit);
    open_accounts();
    on_sweep(NULL);
    on_status(&status);
    return 0;
}

static void
accept_auth(int fd)
{
    auth_serve(&service, fd);
}

static void
accept_master(int fd)
{
    auth_serve_master(&service, fd);
}

static void
accept_lookup(int fd)
{
    lookup_serve(lookups, fd);
}

static void
accept_content(int fd)
{
    lookup_serve_only(lookups, fd, content_names);
}

static void
accept_anvil(int fd)
{
    anvil_serve(anvil, fd);
}

static void
accept_sessions(int fd)
{
    anvil_serve(sessions, fd);
}

static const struct {
    const char *name;
    void (*accept)(int fd);
} doors[] = {
    { "auth", accept_auth },     { "auth-master", accept_master },
    { "lookup", accept_lookup }, { "content", accept_content },
    { "anvil", accept_anvil },   { "sessions", accept_sessions },
};

static void
on_accept(struct slice name, int fd, const struct addr *peer)
{
    (void)peer;
    for (size_t i = 0; i < COUNT_OF(doors); i++) {
        if (sl_eqz(name, doors[i].name)) {
            doors[i].accept(fd);
            return;
        }
    }
    log_error("authd.listener", LOG_NONE, "a connection on %.*s, which is not served here",
              SL_ARG(name));
    close(fd);
}

static void
reload(void)
{
    struct conf *old = (struct conf *)(uintptr_t)service.conf;

    service.conf = conf_ref(daemon_conf());
    auth_service_set(&service);
    backend_reload(service.backend, service.conf);
    backend_reload(content, service.conf);
    if (accounts)
        account_rate_set_limits(accounts, service.conf);
    anvil_set_unit(anvil, (uint64_t)service.conf->anvil_rate_time_unit);
    anvil_set_unit(sessions, (uint64_t)service.conf->anvil_rate_time_unit);
    conf_unref(&old);
}

static const struct daemon_def def = {
    .name = "authd",
    .log_ident = "dovecot",
    .log_prefix = "auth: ",
    .init = init,
    .accept = on_accept,
    .reload = reload,
    .drain = drain,
    .is_idle = is_idle,
};

int
main(int argc, char **argv)
{
    return daemon_main(argc, argv, &def);
}
