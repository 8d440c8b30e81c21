/* smtpd/rbl_conf.c - see rbl_conf.h. */
#include "smtpd/rbl_conf.h"

#include "base/fs.h"
#include "base/mem.h"
#include "core/addr.h"
#include "smtpd/rbl_filter.h"

#include <stdio.h>

enum { RESOLV_CONF_OCTETS = 64 * 1024 };

/* Who answers for everybody: Google, Cloudflare, Quad9, OpenDNS, Lumen, Verisign, AdGuard, CleanBrowsing, Comodo, Yandex,
 * DNS.WATCH, Alibaba, 114DNS, DNSPod, Control D. */
static const struct {
    const char *net;
    unsigned bits;
} public_nets[] = {
    { "8.8.8.8", 32 },           { "8.8.4.4", 32 },       { "2001:4860:4860::", 48 },
    { "1.1.1.0", 24 },           { "1.0.0.0", 24 },       { "2606:4700:4700::", 48 },
    { "9.9.9.0", 24 },           { "149.112.112.0", 24 }, { "2620:fe::", 48 },
    { "208.67.222.0", 24 },      { "208.67.220.0", 24 },  { "2620:119:35::", 48 },
    { "2620:119:53::", 48 },     { "4.2.2.0", 29 },       { "64.6.64.6", 32 },
    { "64.6.65.6", 32 },         { "2620:74:1b::", 48 },  { "94.140.14.0", 24 },
    { "94.140.15.0", 24 },       { "2a10:50c0::", 32 },   { "185.228.168.0", 24 },
    { "185.228.169.0", 24 },     { "2a0d:2a00:1::", 48 }, { "2a0d:2a00:2::", 48 },
    { "8.26.56.26", 32 },        { "8.20.247.20", 32 },   { "77.88.8.0", 24 },
    { "2a02:6b8::feed:0", 112 }, { "84.200.69.80", 32 },  { "84.200.70.40", 32 },
    { "2001:1608:10:25::", 64 }, { "223.5.5.5", 32 },     { "223.6.6.6", 32 },
    { "2400:3200::", 32 },       { "114.114.114.0", 24 }, { "119.29.29.29", 32 },
    { "76.76.2.0", 24 },         { "76.76.10.0", 24 },    { "2606:1a40::", 32 },
};

/* "8.8.8.8", "8.8.8.8:53", "[2001:4860:4860::8888]:53" */
static bool
is_public(struct slice text)
{
    struct addr a, net;
    size_t colon = sl_rfind_char(text, ':');

    if (addr_parse_ip(text, 0, &a) != 0 &&
        (colon == SL_NPOS || addr_parse_ip(sl_head(text, colon), 0, &a) != 0))
        return false;
    for (size_t i = 0; i < COUNT_OF(public_nets); i++)
        if (addr_parse_ip(sl_z(public_nets[i].net), 0, &net) == 0 &&
            addr_in_net(&a, &net, public_nets[i].bits))
            return true;
    return false;
}

bool
rbl_public_resolver(struct slice resolv_conf, struct slice *out)
{
    struct slice line, word;

    while (sl_take_word(&resolv_conf, "\r\n", &line))
        if (sl_take_word(&line, " \t", &word) && sl_eqz(word, "nameserver") &&
            sl_take_word(&line, " \t", out) && is_public(*out))
            return true;
    return false;
}

/* The public resolver that questions go to, "8.8.8.8 (/etc/resolv.conf)", and "" for none. A stub on this host says in
 * another file whom it asks. */
static void
find_public(const struct conf *c, char *out, size_t octets)
{
    static const char *const files[] = { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf" };

    out[0] = '\0';
    for (size_t i = 0; i < c->dns_resolvers.n; i++)
        if (is_public(sl_z(c->dns_resolvers.v[i]))) {
            snprintf(out, octets, "%s (dns_resolvers)", c->dns_resolvers.v[i]);
            return;
        }
    for (size_t i = 0; c->dns_resolvers.n == 0 && i < COUNT_OF(files); i++) {
        struct buf text = { .max = RESOLV_CONF_OCTETS };
        struct err e = { 0 };
        struct slice who;
        bool is_stub;

        if (fs_read_file(files[i], &text, &e) == 0 && rbl_public_resolver(buf_slice(&text), &who))
            snprintf(out, octets, "%.*s (%s)", SL_ARG(who), files[i]);
        is_stub = sl_find(buf_slice(&text), SL("127.0.0.53")) != SL_NPOS;
        buf_free(&text);
        if (!is_stub)
            break;
    }
}

static bool
is_told(const struct conf_problems *ps, unsigned line, const char *text)
{
    for (size_t i = 0; i < ps->n; i++)
        if (ps->v[i].line == line && !strcmp(ps->v[i].text, text))
            return true;
    return false;
}

static void
look_at(const struct conf *c, const char *param, const struct restrict_list *l, const char *who,
        struct conf_problems *ps)
{
    unsigned line = conf_line_of(c, param);

    for (size_t i = 0; i < l->n; i++) {
        char text[ERR_MSG_OCTETS * 2];

        if (l->v[i].kind != RESTRICT_VERB || (l->v[i].needs & ARG_ZONE) != ARG_ZONE)
            continue;
        snprintf(text, sizeof(text),
                 "%s: %s %s is asked through the public resolver %s: most lists refuse that, and "
                 "nobody is found to be listed; run a resolver of your own and set dns_resolvers",
                 param, l->v[i].name, l->v[i].arg, who);
        if (!is_told(ps, line, text))
            conf_problem_add(ps, false, conf_file_of(c), line, "%s", text);
    }
}

/* The zones of reject_maps_rbl, which are no restriction's argument. */
static void
check_maps(const struct conf *c, struct conf_problems *ps)
{
    unsigned line = conf_line_of(c, "maps_rbl_domains");

    for (size_t i = 0; i < c->maps_rbl_domains.n; i++) {
        char text[ERR_MSG_OCTETS * 2];
        struct rbl_filter filter;
        struct slice zone;
        struct err e = { 0 };

        if (rbl_filter_parse(sl_z(c->maps_rbl_domains.v[i]), &zone, &filter, &e) == 0)
            continue;
        snprintf(text, sizeof(text), "maps_rbl_domains: %s", e.msg);
        if (!is_told(ps, line, text))
            conf_problem_add(ps, true, conf_file_of(c), line, "%s", text);
    }
}

void
rbl_check_conf(const struct conf *c, const struct restrict_set *set, struct conf_problems *ps)
{
    char who[256];

    check_maps(c, ps);
    find_public(c, who, sizeof(who));
    if (who[0] == '\0')
        return;
    for (int i = 0; i < RESTRICT_LISTS; i++)
        look_at(c, restrict_list_name((enum restrict_list_id)i), &set->lists[i], who, ps);
    for (size_t i = 0; i < set->n_classes; i++)
        look_at(c, set->classes[i].name, &set->classes[i].list, who, ps);
}
