/* cli/check_speakers.c - who may speak for other clients: XCLIENT, XFORWARD, proxies. A list that holds everybody makes
 * anybody one of mynetworks; a listener behind a proxy that is not named hears nobody. */
#include "cli/check_int.h"

#include "login/login.h"
#include "smtpd/hostlist.h"
#include "tls/tls.h"

#include "base/mem.h"

#include <stdio.h>

struct view {
    const struct conf *c;
    const char *service; /* NULL: smtpd_X itself */
    struct conf_problems *ps;
};

/* "PARAM: VALUE TEXT", under the name that the listener has it by: "submission_X" where that is set. */
static void
problem(const struct view *v, bool is_error, const char *param, const char *value, const char *text)
{
    char own[128];

    snprintf(own, sizeof(own), "%s_%s", v->service ? v->service : "", param + strlen("smtpd_"));
    if (v->service == NULL || conf_line_of(v->c, own) == 0)
        snprintf(own, sizeof(own), "%s", param);
    conf_problem_add(v->ps, is_error, conf_file_of(v->c), conf_line_of(v->c, own), "%s: %s%s", own,
                     value, text);
}

static void
check_hosts(const struct view *v, const char *param, struct conf_list items)
{
    struct hostlist l;
    struct err e = { 0 };

    if (hostlist_init(&l, param, items, &e)) {
        conf_problem_add(v->ps, true, conf_file_of(v->c), conf_line_of(v->c, param), "%s", e.msg);
        return;
    }
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i].name == NULL && l.v[i].net.bits == 0 && !l.v[i].is_not)
            problem(v, false, param, items.v[i], ": anybody may say who the client is");
    hostlist_free(&l);
}

static void
check_proxies(const struct view *v)
{
    const struct conf *c = v->c;
    struct netlist l;
    struct err e = { 0 };
    bool is_on = c->smtpd_upstream_proxy_protocol[0] != '\0';

    if (is_on && strcmp(c->smtpd_upstream_proxy_protocol, "haproxy") != 0)
        problem(v, true, "smtpd_upstream_proxy_protocol", c->smtpd_upstream_proxy_protocol,
                " is none of: haproxy");
    else if (is_on && c->smtpd_upstream_proxy_hosts.n == 0)
        problem(v, true, "smtpd_upstream_proxy_protocol", c->smtpd_upstream_proxy_protocol,
                ", but smtpd_upstream_proxy_hosts does not say which proxies to believe, so nobody "
                "could connect: name their addresses there");
    if (netlist_init(&l, "smtpd_upstream_proxy_hosts", c->smtpd_upstream_proxy_hosts, &e)) {
        problem(v, true, "smtpd_upstream_proxy_hosts", "", e.msg);
        return;
    }
    for (size_t i = 0; i < l.n; i++)
        if (l.v[i].bits == 0 && !l.v[i].is_not)
            problem(v, false, "smtpd_upstream_proxy_hosts", c->smtpd_upstream_proxy_hosts.v[i],
                    ": anybody may say who the client is");
    netlist_free(&l);
}

/* IMAP and POP3, where Dovecot would say it in an inet_listener. */
static void
check_haproxy(const struct conf *c, struct conf_problems *ps)
{
    bool is_on = c->imap_haproxy || c->imaps_haproxy || c->pop3_haproxy || c->pop3s_haproxy;
    unsigned line = conf_line_of(c, "haproxy_trusted_networks");
    struct netlist l;
    struct err e = { 0 };

    if (netlist_init(&l, "haproxy_trusted_networks", c->haproxy_trusted_networks, &e)) {
        conf_problem_add(ps, true, conf_file_of(c), line, "%s", e.msg);
        return;
    }
    if (is_on && l.n == 0)
        conf_problem_add(
            ps, true, conf_file_of(c), line,
            "haproxy_trusted_networks: empty, so nobody could connect where %s_haproxy "
            "is yes: name the proxies' addresses",
            c->imap_haproxy    ? "imap"
            : c->imaps_haproxy ? "imaps"
            : c->pop3_haproxy  ? "pop3"
                               : "pop3s");
    netlist_free(&l);
}

/* Who may say whose connection it is, and how clients show who they are by a certificate. */
static void
check_login(const struct conf *c, struct conf_problems *ps)
{
    struct netlist l;
    struct err e = { 0 };
    const char *param = NULL, *fault;

    if (netlist_init(&l, "login_trusted_networks", c->login_trusted_networks, &e)) {
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "login_trusted_networks"), "%s",
                         e.msg);
    } else {
        for (size_t i = 0; i < l.n; i++)
            if (l.v[i].bits == 0 && !l.v[i].is_not)
                conf_problem_add(ps, false, conf_file_of(c),
                                 conf_line_of(c, "login_trusted_networks"),
                                 "login_trusted_networks: %s: anybody may say who the client is",
                                 c->login_trusted_networks.v[i]);
        netlist_free(&l);
    }
    fault = login_log_fault(c, &param);
    if (fault)
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, param), "%s: %s", param,
                         fault);
    if (!tls_is_subject_field(c->ssl_cert_username_field))
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "ssl_cert_username_field"),
                         "ssl_cert_username_field: \"%s\" is no field of a certificate's subject",
                         c->ssl_cert_username_field);
    if ((c->ssl_verify_client_cert || c->auth_ssl_require_client_cert) && c->ssl_ca[0] == '\0')
        conf_problem_add(ps, true, conf_file_of(c),
                         conf_line_of(c, c->auth_ssl_require_client_cert
                                             ? "auth_ssl_require_client_cert"
                                             : "ssl_verify_client_cert"),
                         "ssl_ca: empty, so no client's certificate would be good");
    else if (!c->ssl_verify_client_cert && !c->auth_ssl_require_client_cert && c->ssl_ca[0])
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "ssl_ca"),
                         "ssl_ca: has no meaning without ssl_verify_client_cert: no client is "
                         "asked for a certificate");
    if (c->auth_ssl_username_from_cert && !c->ssl_verify_client_cert &&
        !c->auth_ssl_require_client_cert)
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "auth_ssl_username_from_cert"),
                         "auth_ssl_username_from_cert: has no meaning without "
                         "ssl_verify_client_cert: no client is asked for a certificate");
}

void
check_speakers(const struct conf *c, struct conf_problems *ps)
{
    static const char *const services[] = { NULL, "submission", "submissions" };
    bool is_proxied = false;

    check_haproxy(c, ps);
    check_login(c, ps);
    for (size_t i = 0; i < COUNT_OF(services); i++) {
        struct conf *view = services[i] ? conf_for_service(c, services[i]) : conf_ref(c);
        struct view v = { .c = view, .service = services[i], .ps = ps };
        size_t before = ps->n;

        is_proxied = is_proxied || view->smtpd_upstream_proxy_protocol[0] != '\0';
        check_proxies(&v);
        check_hosts(&v, "smtpd_authorized_xclient_hosts", view->smtpd_authorized_xclient_hosts);
        check_hosts(&v, "smtpd_authorized_xforward_hosts", view->smtpd_authorized_xforward_hosts);
        conf_unref(&view);
        if (ps->n > before) /* the others would say it again */
            return;
    }
    if (c->smtpd_upstream_proxy_hosts.n && !is_proxied)
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "smtpd_upstream_proxy_hosts"),
                         "smtpd_upstream_proxy_hosts: without smtpd_upstream_proxy_protocol = "
                         "haproxy no proxy is listened to");
}
