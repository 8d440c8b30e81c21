/* cli/check_values.c - parameters whose value is one of a few words, or a list of TLS protocols. A word that nobody knows
 * must not be taken for "none": mail or a password would go in clear where somebody asked for more. */
#include "cli/check_int.h"

#include "base/fs.h"
#include "base/mem.h"
#include "core/addr.h"
#include "proto/imap_capability.h"
#include "proto/smtp_words.h"
#include "queue/limits.h"
#include "smtpd/rewrite.h"
#include "smtpd/rewrite_clients.h"
#include "tls/tls.h"

#include <stdio.h>
#include <stdlib.h>

#define TRANSPORTS "smtp smtps relay lmtp virtual local error retry discard hold"
enum { RESOLV_CONF_OCTETS = 64 * 1024, RESOLVER_OCTETS = 300 };

static const struct {
    const char *param;
    size_t at; /* of a const char * in struct conf */
    const char *words;
} rows[] = {
#define TLS_LEVELS "none may encrypt fingerprint verify secure dane dane-only"
#define ROW(param, words)                                                                          \
    {                                                                                              \
#param, offsetof(struct conf, param), words                                                \
    }
    ROW(log_format, "text kv json"),
    ROW(lmtp_hdr_delivery_address, "final original none"),
    ROW(log_level, "debug info warn error"),
    ROW(smtp_tls_security_level, TLS_LEVELS),
    ROW(lmtp_tls_security_level, TLS_LEVELS),
    ROW(smtp_dns_support_level, "disabled enabled dnssec"),
    ROW(smtp_tls_dane_insecure_mx_policy, "may encrypt dane"),
    ROW(smtp_address_preference, "any ipv4 ipv6"),
    ROW(pop3_uidl_duplicates, "allow rename"),
    ROW(pop3_delete_type, "default expunge flag"),
    ROW(smtpd_sasl_type, "dovecot"),
    ROW(oauth2_introspection_mode, "post auth get local"),
    ROW(reject_tempfail_action, "defer defer_if_permit"),
    ROW(unknown_address_tempfail_action, "defer defer_if_permit"),
    ROW(unknown_helo_hostname_tempfail_action, "defer defer_if_permit"),
    ROW(unverified_sender_tempfail_action, "defer defer_if_permit"),
    ROW(unverified_recipient_tempfail_action, "defer defer_if_permit"),
#undef ROW
};

static void
tell(const struct conf *c, struct conf_problems *ps, const char *param, const char *value,
     const char *words)
{
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s: \"%s\" is none of: %s",
                     param, value, words);
}

static void
check_word(const struct conf *c, struct conf_problems *ps, const char *param, const char *value,
           const char *words)
{
    struct slice in = sl_z(words), word;

    if (value[0] == '\0')
        return;
    while (sl_take_word(&in, " ", &word))
        if (sl_eqz(word, value)) /* as written: that is how they are compared where they are used */
            return;
    tell(c, ps, param, value, words);
}

/* Those of queue/transport.c. Mail for another one would wait in the queue until it is too old. */
static void
check_transport(const struct conf *c, struct conf_problems *ps, const char *param,
                const char *value)
{
    struct slice words = sl_z(TRANSPORTS), word, name = sl_z(value);
    size_t colon = sl_find_char(name, ':');

    name = sl_head(name, colon == SL_NPOS ? name.n : colon);
    while (sl_take_word(&words, " ", &word))
        if (sl_eq(word, name))
            return;
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param),
                     "%s: there is no transport \"%.*s\", as master.cf is not read; there are: %s. "
                     "lmtp:unix:private/dovecot-lmtp is Postern's own lmtpd",
                     param, SL_ARG(name), TRANSPORTS);
}

static void
check_capability(const struct conf *c, struct conf_problems *ps)
{
    struct slice bad;

    if (!imap_capability_ok(sl_z(c->imap_capability), &bad))
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "imap_capability"),
                         "imap_capability: \"%.*s\" is no name of a capability", SL_ARG(bad));
    if (!imap_capability_rules_ok(sl_z(c->imap_id_capability), &bad))
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "imap_id_capability"),
                         "imap_id_capability: \"%.*s\": a rule is FIELD=PATTERN ... +NAME -NAME "
                         "...; rules are parted by \";\"",
                         SL_ARG(bad));
}

static void
check_transports(const struct conf *c, struct conf_problems *ps)
{
    check_transport(c, ps, "virtual_transport", c->virtual_transport);
    check_transport(c, ps, "local_transport", c->local_transport);
    check_transport(c, ps, "relay_transport", c->relay_transport);
    check_transport(c, ps, "default_transport", c->default_transport);
}

static void
check_protocols(const struct conf *c, struct conf_problems *ps, const char *param, const char *list)
{
    struct err e = { 0 };

    if (tls_check_protocols(list, &e) < 0)
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s: %s", param, e.msg);
}

static void
check_feedback(const struct conf *c, struct conf_problems *ps)
{
    static const struct {
        const char *param;
        size_t at;
    } all[] = {
#define FEEDBACK(name) { #name, offsetof(struct conf, name) }
        FEEDBACK(default_destination_concurrency_positive_feedback),
        FEEDBACK(smtp_destination_concurrency_positive_feedback),
        FEEDBACK(relay_destination_concurrency_positive_feedback),
        FEEDBACK(lmtp_destination_concurrency_positive_feedback),
        FEEDBACK(default_destination_concurrency_negative_feedback),
        FEEDBACK(smtp_destination_concurrency_negative_feedback),
        FEEDBACK(relay_destination_concurrency_negative_feedback),
        FEEDBACK(lmtp_destination_concurrency_negative_feedback),
#undef FEEDBACK
    };

    for (size_t i = 0; i < COUNT_OF(all); i++) {
        const char *value = *(const char *const *)(const void *)((const char *)c + all[i].at);
        struct feedback f;
        unsigned line = conf_line_of(c, all[i].param);

        /* One that only follows another's value is told with that. */
        if ((line == 0 && i % 4 != 0) || feedback_parse(sl_z(value), &f))
            continue;
        conf_problem_add(ps, true, conf_file_of(c), line,
                         "%s: \"%s\" is no number up to 1, nor one /concurrency or "
                         "/sqrt_concurrency",
                         all[i].param, value);
    }
}

/* Lists of words, in any case. */
static void
check_word_lists(const struct conf *c, struct conf_problems *ps)
{
#define SASL_OPTIONS "noplaintext noactive nodictionary noanonymous mutual_auth"
    const struct {
        const char *param;
        const struct conf_list *list;
        const char *words;
    } all[] = {
        { "smtp_sasl_security_options", &c->smtp_sasl_security_options, SASL_OPTIONS },
        { "smtp_sasl_tls_security_options", &c->smtp_sasl_tls_security_options, SASL_OPTIONS },
        { "smtp_sasl_tls_verified_security_options", &c->smtp_sasl_tls_verified_security_options,
          SASL_OPTIONS },
        { "smtp_discard_ehlo_keywords", &c->smtp_discard_ehlo_keywords,
          "8bitmime auth burl chunking dsn enhancedstatuscodes etrn pipelining requiretls size "
          "smtputf8 starttls vrfy xclient xforward silent-discard" },
        { "pop3_client_workarounds", &c->pop3_client_workarounds, "outlook-no-nuls oe-ns-eoh" },
        { "notify_classes", &c->notify_classes,
          "bounce 2bounce data delay policy protocol resource software" },
    };

    for (size_t i = 0; i < COUNT_OF(all); i++)
        for (size_t k = 0; k < all[i].list->n; k++) {
            struct slice in = sl_z(all[i].words), word;
            bool is_known = false;

            if (conf_line_of(c, all[i].param) == 0)
                continue; /* a default, or what follows another's value */
            while (!is_known && sl_take_word(&in, " ", &word))
                is_known = sl_ieqz(word, all[i].list->v[k]);
            if (!is_known)
                tell(c, ps, all[i].param, all[i].list->v[k], all[i].words);
        }
#undef SASL_OPTIONS
}

static bool
dane_is_wanted(const struct conf *c)
{
    return sl_eqz(sl_z(c->smtp_tls_security_level), "dane") ||
           sl_eqz(sl_z(c->smtp_tls_security_level), "dane-only");
}

static bool
is_elsewhere(struct slice resolver)
{
    size_t colon = sl_rfind_char(resolver, ':');
    struct addr a;

    return (addr_parse_ip(resolver, 0, &a) == 0 ||
            (colon != SL_NPOS && addr_parse_ip(sl_head(resolver, colon), 0, &a) == 0)) &&
           !addr_is_loopback(&a);
}

/* The first resolver that is not on this host: what it says is validated anybody may have said (dns_is_trusted()). */
static bool
find_elsewhere(const struct conf *c, char *out, size_t octets)
{
    struct buf text = { .max = RESOLV_CONF_OCTETS };
    struct slice in, line, word, who = { 0 };
    struct err e = { 0 };
    bool is_found = false;

    for (size_t i = 0; !is_found && i < c->dns_resolvers.n; i++)
        if ((is_found = is_elsewhere(sl_z(c->dns_resolvers.v[i]))))
            snprintf(out, octets, "%s (dns_resolvers)", c->dns_resolvers.v[i]);
    if (c->dns_resolvers.n > 0 || fs_read_file("/etc/resolv.conf", &text, &e) < 0)
        return is_found;
    in = buf_slice(&text);
    while (!is_found && sl_take_word(&in, "\r\n", &line))
        is_found = sl_take_word(&line, " \t", &word) && sl_eqz(word, "nameserver") &&
                   sl_take_word(&line, " \t", &who) && is_elsewhere(who);
    if (is_found)
        snprintf(out, octets, "%.*s (/etc/resolv.conf)", SL_ARG(who));
    buf_free(&text);
    return is_found;
}

/* TLS to other hosts, opportunistic and mandatory: what relayd will make its contexts of. */
static void
check_tls_client(const struct conf *c, struct conf_problems *ps)
{
    const struct tls_client_opts opts[] = {
        { .protocols = c->smtp_tls_protocols,
          .cipher_grade = c->smtp_tls_ciphers,
          .exclude_ciphers = c->smtp_tls_exclude_ciphers,
          .ca_file = c->smtp_tls_CAfile,
          .ca_path = c->smtp_tls_CApath,
          .digest = c->smtp_tls_fingerprint_digest },
        { .protocols = c->smtp_tls_mandatory_protocols,
          .cipher_grade = c->smtp_tls_mandatory_ciphers,
          .exclude_ciphers = c->smtp_tls_mandatory_exclude_ciphers },
    };
    static const char *const params[] = { "smtp_tls_protocols, smtp_tls_ciphers, smtp_tls_CAfile",
                                          "smtp_tls_mandatory_protocols, _ciphers" };

    char resolver[RESOLVER_OCTETS];

    for (size_t i = 0; i < COUNT_OF(opts); i++) {
        struct tls_ctx *t = NULL;
        struct err e = { 0 };

        if (tls_client_new(&opts[i], &t, &e) < 0)
            conf_problem_add(ps, true, conf_file_of(c), 0, "%s: %s", params[i], e.msg);
        tls_unref(&t);
    }
    if (dane_is_wanted(c) && sl_ieqz(sl_z(c->smtp_dns_support_level), "dnssec") &&
        find_elsewhere(c, resolver, sizeof resolver))
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "smtp_tls_security_level"),
                         "smtp_tls_security_level = %s needs a validating resolver on this host, "
                         "not %s: run one (unbound) and set dns_resolvers = 127.0.0.1; until then "
                         "dane is taken as may, and dane-only sends nothing",
                         c->smtp_tls_security_level, resolver);
    if (dane_is_wanted(c) && !sl_eqz(sl_z(c->smtp_dns_support_level), "dnssec"))
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "smtp_tls_security_level"),
                         "smtp_tls_security_level = %s needs smtp_dns_support_level = dnssec and a "
                         "validating resolver on this host: until then dane is taken as may, and "
                         "dane-only sends nothing",
                         c->smtp_tls_security_level);
}

/* The parameter is the message's first word. */
static void
check_rewriting(const struct conf *c, struct conf_problems *ps)
{
    struct rewrite_plans *p = NULL;
    struct err e = { 0 };
    char *param;

    if (rewrite_plans_new(c, &p, &e)) {
        param = sl_dupz(sl_head(sl_z(e.msg), sl_find_char(sl_z(e.msg), ':')));
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s", e.msg);
        free(param);
    }
    rewrite_plans_free(&p);
}

/* The parameters that a listener may have of its own. */
static void
check_listener(const struct conf *c, struct conf_problems *ps)
{
    struct err e = { 0 };

    check_word(c, ps, "smtpd_tls_security_level", c->smtpd_tls_security_level, "none may encrypt");
    check_word(c, ps, "smtpd_forbid_bare_newline", c->smtpd_forbid_bare_newline,
               "normalize yes note reject no");
    if (rewrite_clients_check(c, &e))
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "local_header_rewrite_clients"),
                         "%s", e.msg);
    check_rewriting(c, ps);
    check_protocols(c, ps, "smtpd_tls_protocols", c->smtpd_tls_protocols);
    check_protocols(c, ps, "smtpd_tls_mandatory_protocols", c->smtpd_tls_mandatory_protocols);
}

/* qmgr knows by itself who may see and flush the queue: a table there would let nobody in. */
static void
check_queue_users(const struct conf *c, struct conf_problems *ps)
{
    const struct {
        const char *param;
        struct conf_list l;
    } lists[] = { { "authorized_mailq_users", c->authorized_mailq_users },
                  { "authorized_flush_users", c->authorized_flush_users } };

    for (size_t i = 0; i < COUNT_OF(lists); i++)
        for (size_t k = 0; k < lists[i].l.n; k++) {
            struct slice item = sl_z(lists[i].l.v[k]);

            (void)sl_take_char(&item, '!');
            if (!sl_starts(item, '/') && !sl_has_prefix(item, SL("static:")) &&
                sl_find_char(item, ':') != SL_NPOS)
                conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, lists[i].param),
                                 "%s: \"%s\": tables are not asked here: name users, or a /file",
                                 lists[i].param, lists[i].l.v[k]);
        }
}

void
check_values(const struct conf *c, struct conf_problems *ps)
{
    static const char *const services[] = { "submission", "submissions" };
    struct buf least = { 0 };
    size_t before = ps->errors;

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        check_word(c, ps, rows[i].param,
                   *(const char *const *)(const void *)((const char *)c + rows[i].at),
                   rows[i].words);
    for (size_t i = 0; i < c->inet_protocols.n; i++)
        check_word(c, ps, "inet_protocols", c->inet_protocols.v[i], "all ipv4 ipv6");
    if (c->undisclosed_recipients_header[0] &&
        !smtp_word_is_header(sl_z(c->undisclosed_recipients_header)))
        conf_problem_add(ps, true, conf_file_of(c),
                         conf_line_of(c, "undisclosed_recipients_header"),
                         "undisclosed_recipients_header: \"%s\" is no header field",
                         c->undisclosed_recipients_header);
    buf_addf(&least, ">=%s", c->ssl_min_protocol);
    check_protocols(c, ps, "ssl_min_protocol", buf_z(&least));
    buf_free(&least);
    check_feedback(c, ps);
    check_word_lists(c, ps);
    check_queue_users(c, ps);
    check_transports(c, ps);
    check_capability(c, ps);
    check_tls_client(c, ps);
    check_listener(c, ps);
    for (size_t i = 0; i < COUNT_OF(services) && ps->errors == before; i++) {
        struct conf *view = conf_for_service(c, services[i]);

        check_listener(view, ps);
        conf_unref(&view);
    }
}
