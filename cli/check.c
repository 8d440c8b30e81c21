/* cli/check.c - what only the whole can tell of a configuration: listeners, certificates, places, maps, restrictions, and
 * whether postmaster and root reach a mailbox. */
#include "cli/check_int.h"
#include "cli/cli.h"

#include "auth/auth_check.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "cli/serve_listen.h"
#include "queue/bounce_template.h"
#include "smtpd/restrict.h"
#include "store/names.h"
#include "tls/tls.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { PEM_MAX_OCTETS = 1 << 20, EXPIRY_WARN_S = 14 * 86400, SOCKET_NAME_ROOM = 32 };

static void
problem(const struct conf *c, struct conf_problems *ps, bool is_error, const char *param,
        const char *text)
{
    conf_problem_add(ps, is_error, conf_file_of(c), conf_line_of(c, param), "%s: %s", param, text);
}

/* ---- certificates ---- */

static bool
read_pem(const struct conf *c, const char *param, const char *path, struct buf *out,
         struct conf_problems *ps)
{
    struct err e = { 0 };

    if (path[0] == '\0') {
        problem(
            c, ps, true, param,
            "not set, but a TLS listener is on: name the certificate's files, make a pair with "
            "`postern cert "
            "self-signed`, or set listen_imaps, listen_pop3s and listen_submissions to nothing");
        return false;
    }
    if (fs_read_file(path, out, &e) == 0)
        return true;
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param),
                     "%s: %s: get a certificate (certbot certonly), correct the path, or make one "
                     "for a trial with "
                     "`postern cert self-signed`",
                     param, e.msg);
    return false;
}

static void
check_pair(const struct conf *c, const char *cert_param, const char *cert, const char *key_param,
           const char *key, struct conf_problems *ps)
{
    struct buf chain_pem = { .max = PEM_MAX_OCTETS }, key_pem = { .max = PEM_MAX_OCTETS };
    struct err e = { 0 };
    int64_t until = 0, left;

    if (read_pem(c, cert_param, cert, &chain_pem, ps) &&
        read_pem(c, key_param, key, &key_pem, ps)) {
        if (tls_check_pem(buf_slice(&chain_pem), buf_slice(&key_pem), &until, &e) < 0) {
            conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, key_param), "%s, %s: %s",
                             cert, key, e.msg);
        } else {
            left = until - clock_unix_s();
            if (left < EXPIRY_WARN_S)
                conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, cert_param),
                                 left < 0 ? "%s expired %lld days ago" : "%s expires in %lld days",
                                 cert, (long long)(left < 0 ? -left : left) / 86400);
        }
    }
    mem_wipe(key_pem.p, key_pem.cap);
    buf_free(&chain_pem);
    buf_free(&key_pem);
}

/* Dovecot writes ssl_cert = </path. */
static const char *
file_of(const char *value)
{
    return value[0] == '<' ? value + 1 : value;
}

static bool
is_on(const struct conf_list *l)
{
    return l->n > 0;
}

static void
check_tls(const struct conf *c, struct conf_problems *ps)
{
    bool must = is_on(&c->listen_imaps) || is_on(&c->listen_pop3s) || is_on(&c->listen_submissions);

    if (must || c->smtpd_tls_cert_file[0] != '\0')
        check_pair(c, "smtpd_tls_cert_file", c->smtpd_tls_cert_file, "smtpd_tls_key_file",
                   c->smtpd_tls_key_file, ps);
    else if (is_on(&c->listen_submission))
        problem(
            c, ps, false, "smtpd_tls_cert_file",
            "not set: port 587 wants STARTTLS before anything else, so nobody can submit there");
    if (c->smtpd_tls_eccert_file[0] != '\0')
        check_pair(c, "smtpd_tls_eccert_file", c->smtpd_tls_eccert_file, "smtpd_tls_eckey_file",
                   c->smtpd_tls_eckey_file, ps);
    if (c->ssl_cert[0] != '\0' && c->ssl_key[0] != '\0')
        check_pair(c, "ssl_cert", file_of(c->ssl_cert), "ssl_key", file_of(c->ssl_key), ps);
    else if (c->ssl_cert[0] != '\0')
        check_pair(c, "ssl_cert", file_of(c->ssl_cert), "smtpd_tls_key_file", c->smtpd_tls_key_file,
                   ps);
}

/* ---- places ---- */

/* Files of Postfix may say where its own daemons are. */
static void
check_programs(const struct conf *c, struct conf_problems *ps)
{
    struct buf path = { 0 };

    buf_addf(&path, "%s/authd", c->daemon_directory);
    if (c->daemon_directory[0] && access(buf_z(&path), X_OK) != 0)
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "daemon_directory"),
                         "daemon_directory: there is no %s: if these are Postfix's programs, "
                         "remove the line; Postern finds its own",
                         buf_z(&path));
    buf_free(&path);
}

static void
check_places(const struct conf *c, struct conf_problems *ps)
{
    struct sockaddr_un un;
    struct err e = { 0 };
    struct location where;

    if (c->queue_directory[0] != '/')
        problem(c, ps, true, "queue_directory", "an absolute path is wanted");
    else if (strlen(c->queue_directory) + SOCKET_NAME_ROOM > sizeof(un.sun_path))
        problem(c, ps, true, "queue_directory",
                "the path is too long for the unix sockets below it (76 octets at most)");
    check_programs(c, ps);
    if (c->data_directory[0] != '/')
        problem(c, ps, true, "data_directory", "an absolute path is wanted");
    if (location_resolve(c, SL("user@example.com"), SL(""), &where, &e) < 0)
        problem(c, ps, true, "mail_location", e.msg);
    location_free(&where);
}

static void
check_restrictions(const struct conf *c, struct conf_problems *ps)
{
    static const char *const services[] = { "submission", "submissions" };

    restrict_check_conf(c, NULL, ps);
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        struct conf *view = conf_for_service(c, services[i]);

        restrict_check_conf(view, services[i], ps);
        conf_unref(&view);
    }
}

/* What is wrong with them costs nobody a report. */
static void
check_templates(const struct conf *c, struct conf_problems *ps)
{
    struct bounce_templates *t = bounce_templates_load(c, ps);

    bounce_templates_unref(&t);
}

void
check_config(const struct conf *c, struct conf_problems *ps)
{
    check_listeners(c, ps);
    check_values(c, ps);
    check_tls(c, ps);
    check_places(c, ps);
    check_restrictions(c, ps);
    check_speakers(c, ps);
    check_local(c, ps);
    check_quota(c, ps);
    check_manners(c, ps);
    check_templates(c, ps);
    auth_check(c, ps);
}
