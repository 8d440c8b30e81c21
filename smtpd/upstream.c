/* smtpd/upstream.c - listeners behind a proxy: whose connection it is the proxy says in a header, before the greeting and
 * before TLS. Only the proxies in smtpd_upstream_proxy_hosts are believed: who else could say so would be in mynetworks
 * by saying so. */
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "session/upstream_proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct passage {
    struct smtpd_cfg *cfg;
    struct addr proxy;
};

static void
on_ready(void *arg, int fd, const struct upstream_client *c)
{
    struct passage *p = arg;
    struct smtpd_cfg *cfg = p->cfg;

    free(p);
    smtpd_begin(cfg, fd, c);
}

/* In clear where the client expects words, and only there. */
static const char *
farewell(const struct smtpd_cfg *cfg)
{
    static char line[SMTP_REPLY_OCTETS + 3];

    if (cfg->is_wrapper)
        return NULL;
    snprintf(line, sizeof(line), "421 4.3.0 %.255s Server local error\r\n", cfg->limits.myhostname);
    return line;
}

static const char *
on_failed(void *arg, const struct err *why)
{
    struct passage *p = arg;
    const char *text = farewell(p->cfg);
    char ip[ADDR_TEXT_OCTETS];

    log_event(LOG_LV_WARN, p->cfg->ident, "proxy.bad",
              LOG_F(LF_Z("proxy", addr_ip_text(&p->proxy, ip)), LF_Z("why", why->msg)),
              "haproxy read: %s: from proxy [%s]", why->msg, ip);
    smtpd_cfg_unref(&p->cfg);
    free(p);
    return text;
}

static const struct upstream_ops ops = { .ready = on_ready, .failed = on_failed };

void
smtpd_accept_proxied(struct smtpd_cfg *cfg, int fd, const struct addr *peer)
{
    struct passage *p;
    char ip[ADDR_TEXT_OCTETS];
    const char *text;

    if (!netlist_match(&cfg->proxies, peer)) {
        log_event(LOG_LV_WARN, cfg->ident, "proxy.stranger",
                  LOG_F(LF_Z("client", addr_ip_text(peer, ip))),
                  "connection from [%s] refused: not in smtpd_upstream_proxy_hosts", ip);
        text = farewell(cfg);
        if (text)
            (void)!send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
        close(fd);
        smtpd_cfg_unref(&cfg);
        return;
    }
    p = MEM_NEW(struct passage);
    p->cfg = cfg;
    p->proxy = *peer;
    upstream_proxy_read(fd, peer, (uint64_t)cfg->conf->smtpd_upstream_proxy_timeout, &ops, p);
}
