/* smtpd/peer.c - the client's host name: its address's name (PTR), believed when that name has the address. */
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/hostname.h"

#include <stdio.h>
#include <stdlib.h>

void
smtpd_set_namaddr(struct smtpd_sess *s)
{
    char ip[ADDR_TEXT_OCTETS], port[16] = "";
    size_t n;

    addr_ip_text(&s->peer, ip);
    if (s->cfg->conf->smtpd_client_port_logging && s->port == 0) /* XCLIENT PORT=[UNAVAILABLE] */
        snprintf(port, sizeof port, ":unknown");
    else if (s->cfg->conf->smtpd_client_port_logging)
        snprintf(port, sizeof port, ":%u", s->port);
    n = strlen(s->name) + strlen(ip) + strlen(port) + 3;
    free(s->namaddr);
    s->namaddr = mem_alloc(n);
    snprintf(s->namaddr, n, "%s[%s]%s", s->name, ip, port);
}

static void
finish(struct smtpd_sess *s, const char *name, enum peer_status status)
{
    void (*done)(struct smtpd_sess *) = s->on_peer;

    s->name = mem_dupz(name);
    s->name_status = status;
    if (s->reverse_name == NULL) {
        s->reverse_name = mem_dupz("unknown");
        s->reverse_status = status;
    }
    smtpd_set_namaddr(s);
    done(s);
}

/* The words of getaddrinfo(3), which operators know from Postfix's log. */
static const char *
why_not(enum dns_rc rc)
{
    switch (rc) {
    case DNS_NXDOMAIN:
        return ": Name or service not known";
    case DNS_NODATA:
        return ": No address associated with hostname";
    case DNS_TEMP:
        return ": Temporary failure in name resolution";
    default:
        return "";
    }
}

static void
on_forward(uint64_t id, const struct dns_answer *a)
{
    struct smtp_sess *smtp = id_get(id);
    struct smtpd_sess *s;
    char ip[ADDR_TEXT_OCTETS];

    if (smtp == NULL)
        return;
    s = smtpd_of(smtp);
    for (size_t i = 0; a->rc == DNS_OK && i < a->n; i++)
        if (addr_same_ip(&a->rrs[i].addr, &s->peer)) {
            finish(s, s->reverse_name, PEER_OK);
            return;
        }
    log_event(LOG_LV_WARN, s->cfg->ident, "peer.mismatch", LOG_F(LF_Z("name", s->reverse_name)),
              "hostname %s does not resolve to address %s%s", s->reverse_name,
              addr_ip_text(&s->peer, ip), why_not(a->rc));
    finish(s, "unknown", a->rc == DNS_TEMP ? PEER_TEMP : PEER_FORGED);
}

static void
on_reverse(uint64_t id, const struct dns_answer *a)
{
    struct smtp_sess *smtp = id_get(id);
    struct smtpd_sess *s;
    unsigned want;

    if (smtp == NULL)
        return;
    s = smtpd_of(smtp);
    if (a->rc != DNS_OK || a->n == 0 || !hostname_is_valid(a->rrs[0].text)) {
        finish(s, "unknown", a->rc == DNS_TEMP ? PEER_TEMP : PEER_PERM);
        return;
    }
    s->reverse_name = sl_dupz(a->rrs[0].text);
    s->reverse_status = PEER_OK;
    /* Only its own family: what is wrong with the other one's records says nothing about this client. */
    want = addr_family(&s->peer) == AF_INET6 ? DNS_WANT_AAAA : DNS_WANT_A;
    dns_addr(smtpd_env.dns, sl_z(s->reverse_name), want | DNS_WANT_HOSTS, on_forward, id);
}

void
smtpd_find_peer_name(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s))
{
    s->on_peer = done;
    if (s->cfg->conf->smtpd_peername_lookup)
        dns_ptr(smtpd_env.dns, &s->peer, on_reverse, s->smtp.id);
    else
        finish(s, "unknown", PEER_PERM);
}
