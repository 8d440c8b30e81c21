/* login/upstream.c - listeners behind a proxy, as Dovecot's haproxy = yes: whose connection it is says a header, before
 * the greeting and before TLS, and only who is in haproxy_trusted_networks is believed. */
#include "login/login_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/netlist.h"

#include <stdlib.h>
#include <unistd.h>

static struct netlist trusted;

void
login_forget_proxies(void)
{
    netlist_free(&trusted);
}

void
login_set_proxies(const struct conf *c)
{
    struct err e = { 0 };

    login_forget_proxies();
    if (netlist_init(&trusted, "haproxy_trusted_networks", c->haproxy_trusted_networks, &e))
        log_error("haproxy.networks", LOG_F(LF_Z("why", e.msg)), "%s: no proxy is trusted", e.msg);
}

bool
login_is_proxied(const struct conf *c, struct slice service)
{
    return sl_eqz(service, "imap")    ? c->imap_haproxy
           : sl_eqz(service, "imaps") ? c->imaps_haproxy
           : sl_eqz(service, "pop3")  ? c->pop3_haproxy
                                      : c->pop3s_haproxy;
}

struct passage {
    char service[16];
    struct addr proxy;
};

static void
log_refusal(struct slice service, const struct addr *proxy, const char *what, const char *why)
{
    char rip[ADDR_TEXT_OCTETS];

    addr_ip_text(proxy, rip);
    log_warn(
        "haproxy.refused",
        LOG_F(LF_S("service", service), LF_Z("rip", rip), LF_Z("what", what), LF_Z("why", why)),
        "%.4s-login: haproxy: %s%s (rip=%s)", service.p, what, why, rip);
}

static void
on_ready(void *arg, int fd, const struct upstream_client *c)
{
    struct passage *p = arg;

    login_begin(sl_z(p->service), fd, c);
    free(p);
}

static const char *
on_failed(void *arg, const struct err *why)
{
    struct passage *p = arg;

    log_refusal(sl_z(p->service), &p->proxy, "Client disconnected: ", why->msg);
    free(p);
    return NULL;
}

static const struct upstream_ops ops = { .ready = on_ready, .failed = on_failed };

void
login_accept_proxied(const struct conf *c, struct slice service, int fd, const struct addr *peer)
{
    struct passage *p;

    if (!netlist_match(&trusted, peer)) {
        log_refusal(service, peer, "Client not trusted", "");
        close(fd);
        return;
    }
    p = MEM_NEW(struct passage);
    memcpy(p->service, service.p,
           service.n < sizeof(p->service) ? service.n : sizeof(p->service) - 1);
    p->proxy = *peer;
    upstream_proxy_read(fd, peer, (uint64_t)c->haproxy_timeout, &ops, p);
}
