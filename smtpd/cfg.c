/* smtpd/cfg.c - a listener's view of the configuration, worked out once for all its sessions. */
#include "smtpd/login.h"
#include "smtpd/smtpd.h"
#include "session/words.h"

#include "smtpd/rewrite.h"
#include "smtpd/rewrite_clients.h"
#include "smtpd/transcript.h"

#include "base/mem.h"

#include <stdlib.h>

/* In the log, as master.cf has them: programs that read it know no others. */
static const char *const log_names[SMTPD_SERVICES] = { "", "submission", "smtps", "" };
static const char *const service_names[SMTPD_SERVICES] = { "smtp", "submission", "submissions",
                                                           "pickup" };

const char *
smtpd_service_name(enum smtpd_service service)
{
    return service_names[service];
}

static void
set_tls(struct smtpd_cfg *g)
{
    const struct conf *c = g->conf;
    struct slice level = sl_z(c->smtpd_tls_security_level);

    g->is_wrapper = g->service == SMTPD_SUBMISSIONS || c->smtpd_tls_wrappermode;
    if (level.n == 0) {
        g->must_tls = c->smtpd_enforce_tls;
        g->has_tls = c->smtpd_use_tls || c->smtpd_enforce_tls || g->is_wrapper;
    } else {
        g->must_tls = sl_ieq(level, SL("encrypt"));
        g->has_tls = !sl_ieq(level, SL("none")) || g->is_wrapper;
    }
}

static const struct {
    const char *name;
    unsigned bit;
} keywords[] = { { "8bitmime", DISCARD_8BITMIME },
                 { "auth", DISCARD_AUTH },
                 { "etrn", DISCARD_ETRN },
                 { "pipelining", DISCARD_PIPELINING },
                 { "size", DISCARD_SIZE },
                 { "vrfy", DISCARD_VRFY },
                 { "xclient", DISCARD_XCLIENT },
                 { "xforward", DISCARD_XFORWARD },
                 { "starttls", DISCARD_STARTTLS },
                 { "enhancedstatuscodes", DISCARD_ENHANCED },
                 { "dsn", DISCARD_DSN },
                 { "smtputf8", DISCARD_UTF8 },
                 { "chunking", DISCARD_CHUNKING },
                 { "limits", DISCARD_LIMITS },
                 { "silent-discard", DISCARD_SILENT } };

unsigned
smtpd_discard_bits(struct conf_list l)
{
    unsigned bits = 0;

    for (size_t i = 0; i < COUNT_OF(keywords); i++)
        if (conf_list_has(l, keywords[i].name))
            bits |= keywords[i].bit;
    return bits;
}

void
smtpd_discard_names(unsigned bits, struct buf *out)
{
    for (size_t i = 0; i < COUNT_OF(keywords); i++)
        if (bits & keywords[i].bit)
            buf_addf(out, "%s%s", out->n ? " " : "", keywords[i].name);
}

static void
set_rules(struct smtpd_cfg *g)
{
    const struct conf *c = g->conf;
    bool sub;

    g->rules = (struct smtp_addr_rules){
        .myorigin = sl_z(c->myorigin),
        .mydomain = sl_z(c->mydomain),
        .myhostname = sl_z(c->myhostname),
        .empty_recipient = sl_z(c->empty_address_recipient),
        .append_at_myorigin = c->append_at_myorigin,
        .append_dot_mydomain = c->append_dot_mydomain,
        .swap_bangpath = c->swap_bangpath,
        .allow_percent_hack = c->allow_percent_hack,
        .resolve_dequoted_address = c->resolve_dequoted_address,
        .resolve_null_domain = c->resolve_null_domain,
        .resolve_numeric_domain = c->resolve_numeric_domain,
        .allow_leading_dash = c->allow_min_user,
    };
    domlist_init(&g->mydestination, "mydestination", c->mydestination, false);
    domlist_init(&g->alias_domains, "virtual_alias_domains", c->virtual_alias_domains, false);
    domlist_init(&g->mailbox_domains, "virtual_mailbox_domains", c->virtual_mailbox_domains, false);
    /* Postfix's default below level 2, $mydestination, would relay to what lies below our own domains: not here. */
    domlist_init(&g->relay_domains, "relay_domains", c->relay_domains,
                 conf_list_has(c->parent_domain_matches_subdomains, "relay_domains"));
    /* But ETRN asks for what Postfix would have there. */
    sub = conf_list_has(c->parent_domain_matches_subdomains, "fast_flush_domains");
    if (c->compatibility_level < 2 && !conf_line_of(c, "relay_domains") &&
        !conf_line_of(c, "fast_flush_domains"))
        domlist_init(&g->etrn_domains, "mydestination", c->mydestination, sub);
    else
        domlist_init(&g->etrn_domains, "fast_flush_domains", c->fast_flush_domains, sub);
    g->access_parents = conf_list_has(c->parent_domain_matches_subdomains, "smtpd_access_maps");
}

static void
set_limits(struct smtpd_cfg *g)
{
    const struct conf *c = g->conf;

    g->limits = (struct smtp_server_limits){
        .myhostname = c->myhostname,
        .line_octets = (size_t)c->line_length_limit,
        .soft_errors = (unsigned)c->smtpd_soft_error_limit,
        .hard_errors = (unsigned)c->smtpd_hard_error_limit,
        .junk_commands = (unsigned)c->smtpd_junk_command_limit,
        .error_sleep_ms = (uint64_t)c->smtpd_error_sleep_time,
        .timeout_ms = (uint64_t)c->smtpd_timeout,
        .starttls_timeout_ms = (uint64_t)c->smtpd_starttls_timeout,
        .is_per_request = c->smtpd_per_request_deadline,
        .min_data_rate = (uint64_t)c->smtpd_min_data_rate,
        .sasl_octets = (uint64_t)c->smtpd_sasl_response_limit,
        .decorates = c->smtpd_reject_footer[0] || c->smtpd_reject_footer_maps.n > 0,
    };
}

/* Who may speak for other clients. */
static int
set_speakers(struct smtpd_cfg *g, struct err *e)
{
    const struct conf *c = g->conf;

    g->is_proxied = c->smtpd_upstream_proxy_protocol[0] != '\0';
    if (g->is_proxied && strcmp(c->smtpd_upstream_proxy_protocol, "haproxy") != 0)
        return err_set(e, ERR_CONFIG, "smtpd_upstream_proxy_protocol: \"%s\" is not haproxy",
                       c->smtpd_upstream_proxy_protocol);
    if (netlist_init(&g->proxies, "smtpd_upstream_proxy_hosts", c->smtpd_upstream_proxy_hosts, e) ||
        hostlist_init(&g->xclient_hosts, "smtpd_authorized_xclient_hosts",
                      c->smtpd_authorized_xclient_hosts, e))
        return -1;
    return hostlist_init(&g->xforward_hosts, "smtpd_authorized_xforward_hosts",
                         c->smtpd_authorized_xforward_hosts, e);
}

static int
set_restrictions(struct smtpd_cfg *g, struct err *e)
{
    if (hostlist_init(&g->mx_backup_networks, "permit_mx_backup_networks",
                      g->conf->permit_mx_backup_networks, e))
        return -1;
    return restrict_set_init(&g->restrictions, g->conf, e);
}

static char *
ident(const struct conf *c, const char *service, const char *program)
{
    struct buf b = { 0 };
    char *out;

    buf_addf(&b, "%s%s%s/%s", c->syslog_name, service[0] ? "/" : "", service, program);
    out = mem_dupz(buf_z(&b));
    buf_free(&b);
    return out;
}

/* What is looked into while content comes. Nesting matters where header fields are sought. */
static void
set_checks(struct smtpd_cfg *g)
{
    const struct conf *c = g->conf;
    const char *const *ask = g->checks.ask;
    unsigned errors = 0;
    bool has_header_checks;

    g->has_checks = checks_conf_init(&g->checks, c, "");
    has_header_checks = ask[CHECKS_HEADER] || ask[CHECKS_MIME] || ask[CHECKS_NESTED];
    if (c->strict_8bitmime || c->strict_7bit_headers)
        errors |= MIME_ERROR_8BIT_HEADER;
    if (c->strict_8bitmime || c->strict_8bitmime_body)
        errors |= MIME_ERROR_8BIT_BODY;
    if (c->strict_mime_encoding_domain)
        errors |= MIME_ERROR_DOMAIN;
    if (errors || has_header_checks)
        errors |= MIME_ERROR_NESTING;
    g->mime = (struct mime_walk_conf){ .field_limit = (size_t)c->header_size_limit,
                                       .nesting_limit = (size_t)c->mime_nesting_limit,
                                       .boundary_limit = (size_t)c->mime_boundary_length_limit,
                                       .is_off = c->disable_mime_input_processing,
                                       .errors = c->disable_mime_input_processing ? 0 : errors };
    g->looks_into_body = ask[CHECKS_BODY] || g->mime.errors;
}

int
smtpd_cfg_new(const struct conf *c, enum smtpd_service service, bool is_stressed,
              struct smtpd_cfg **out, struct err *e)
{
    bool has_view = service == SMTPD_SUBMISSION || service == SMTPD_SUBMISSIONS;
    const char *view = has_view ? service_names[service] : NULL;
    struct smtpd_cfg *g = MEM_NEW(struct smtpd_cfg);

    g->refs = 1;
    g->service = service;
    g->service_name = service_names[service];
    g->is_stressed = is_stressed;
    g->conf = is_stressed ? conf_for_stress(c, view)
              : view      ? conf_for_service(c, view)
                          : conf_ref(c);
    set_limits(g);
    set_rules(g);
    own_addrs_init(&g->own, g->conf);
    set_tls(g);
    set_checks(g);
    g->transcript_classes = transcript_classes(g->conf);
    g->discard = smtpd_discard_bits(g->conf->smtpd_discard_ehlo_keywords);
    g->sasl_enable = g->conf->smtpd_sasl_auth_enable;
    conf_unescape_set(g->conf->smtpd_expansion_filter, g->expansion_set);
    /* compatibility_level counts whole numbers; Postfix drew this line at 3.6 */
    g->relay_first = g->conf->smtpd_relay_before_recipient_restrictions &&
                     (g->conf->compatibility_level >= 4 ||
                      conf_line_of(g->conf, "smtpd_relay_before_recipient_restrictions") > 0);
    g->ident_mem = ident(g->conf, log_names[service], service == SMTPD_PICKUP ? "pickup" : "smtpd");
    g->ident = g->ident_mem;
    g->cleanup_ident = ident(g->conf, "", "cleanup");
    if (rewrite_clients_check(g->conf, e) || rewrite_plans_new(g->conf, &g->plans, e) ||
        netlist_init(&g->mynetworks, "mynetworks", g->conf->mynetworks, e) ||
        netlist_init(&g->lf_exclusions, "smtpd_forbid_bare_newline_exclusions",
                     g->conf->smtpd_forbid_bare_newline_exclusions, e) ||
        hostlist_init(&g->uncounted, "smtpd_client_event_limit_exceptions",
                      g->conf->smtpd_client_event_limit_exceptions, e) ||
        netlist_init(&g->no_auth, "smtpd_sasl_exceptions_networks",
                     g->conf->smtpd_sasl_exceptions_networks, e) ||
        words_init(&g->forbidden, "smtpd_forbidden_commands", g->conf->smtpd_forbidden_commands,
                   e) ||
        words_init(&g->mechs, "smtpd_sasl_mechanism_filter", g->conf->smtpd_sasl_mechanism_filter,
                   e) ||
        words_init(&g->noops, "smtpd_noop_commands", g->conf->smtpd_noop_commands, e) ||
        set_speakers(g, e)) {
        smtpd_cfg_unref(&g);
        return -1;
    }
    if (set_restrictions(g, e)) {
        smtpd_cfg_unref(&g);
        return -1;
    }
    login_set_cfg(g);
    *out = g;
    return 0;
}

struct smtpd_cfg *
smtpd_cfg_ref(struct smtpd_cfg *c)
{
    c->refs++;
    return c;
}

void
smtpd_cfg_unref(struct smtpd_cfg **c)
{
    struct smtpd_cfg *old = *c;

    *c = NULL;
    if (old == NULL || --old->refs > 0)
        return;
    own_addrs_free(&old->own);
    netlist_free(&old->mynetworks);
    netlist_free(&old->lf_exclusions);
    netlist_free(&old->no_auth);
    hostlist_free(&old->uncounted);
    words_free(&old->forbidden);
    words_free(&old->noops);
    words_free(&old->mechs);
    netlist_free(&old->proxies);
    hostlist_free(&old->xclient_hosts);
    hostlist_free(&old->xforward_hosts);
    hostlist_free(&old->mx_backup_networks);
    restrict_set_free(&old->restrictions);
    rewrite_plans_free(&old->plans);
    free(old->ident_mem);
    free(old->cleanup_ident);
    conf_unref(&old->conf);
    free(old);
}
