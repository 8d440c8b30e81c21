/* smtpd/peer.c - the client's host name: its address's name (PTR), believed when that name has the address. */
#include "smtpd/smtpd.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/hostname.h"

#include <stdio.h>
#include <stdlib.h>

static void
finish(struct smtpd_sess *s, const char *name)
{
    void (*done)(struct smtpd_sess *) = s->on_peer;
    char ip[ADDR_TEXT_OCTETS];
    size_t n;

    addr_ip_text(&s->peer, ip);
    s->name = mem_dupz(name);
    if (s->reverse_name == NULL)
        s->reverse_name = mem_dupz("unknown");
    n = strlen(name) + strlen(ip) + 3;
    s->namaddr = mem_alloc(n);
    snprintf(s->namaddr, n, "%s[%s]", name, ip);
    done(s);
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
            finish(s, s->reverse_name);
            return;
        }
    log_event(LOG_LV_WARN, s->cfg->ident, "peer.mismatch", LOG_F(LF_Z("name", s->reverse_name)),
              "hostname %s does not resolve to address %s", s->reverse_name,
              addr_ip_text(&s->peer, ip));
    finish(s, "unknown");
}

static void
on_reverse(uint64_t id, const struct dns_answer *a)
{
    struct smtp_sess *smtp = id_get(id);
    struct smtpd_sess *s;

    if (smtp == NULL)
        return;
    s = smtpd_of(smtp);
    if (a->rc != DNS_OK || a->n == 0 || !hostname_is_valid(a->rrs[0].text)) {
        finish(s, "unknown");
        return;
    }
    s->reverse_name = sl_dupz(a->rrs[0].text);
    dns_addr(smtpd_env.dns, sl_z(s->reverse_name), DNS_WANT_A | DNS_WANT_AAAA | DNS_WANT_HOSTS,
             on_forward, id);
}

void
smtpd_find_peer_name(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s))
{
    s->on_peer = done;
    if (s->cfg->conf->smtpd_peername_lookup)
        dns_ptr(smtpd_env.dns, &s->peer, on_reverse, s->smtp.id);
    else
        finish(s, "unknown");
}
