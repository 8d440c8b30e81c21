/* cli/check_manners.c - limits and manners of the SMTP listeners: lists of clients and of words, footers, and what TLS
 * asks of clients. */
#include "cli/check_int.h"

#include "base/mem.h"
#include "smtpd/smtpd.h"
#include "smtpd/tls_setup.h"
#include "session/words.h"

#include <stdio.h>
#include <stdlib.h>

static void
tell(const struct conf *c, struct conf_problems *ps, const char *param, const char *text)
{
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s", text);
}

static void
check_words(const struct conf *c, struct conf_problems *ps)
{
    const struct {
        const char *param;
        struct conf_list items;
        bool asks_tables;
    } lists[] = {
        { "smtpd_forbidden_commands", c->smtpd_forbidden_commands, true },
        { "smtpd_noop_commands", c->smtpd_noop_commands, true },
        { "smtpd_sasl_mechanism_filter", c->smtpd_sasl_mechanism_filter, false },
    };

    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        struct words *w = NULL;
        struct err e = { 0 };

        if (words_init(&w, lists[i].param, lists[i].items, &e))
            tell(c, ps, lists[i].param, e.msg);
        else if (words_has_table(w) && !lists[i].asks_tables)
            tell(c, ps, lists[i].param, "smtpd_sasl_mechanism_filter: tables are not asked here");
        words_free(&w);
    }
}

static void
check_clients(const struct conf *c, struct conf_problems *ps)
{
    struct hostlist uncounted = { 0 };
    struct netlist no_auth = { 0 };
    struct err e = { 0 };

    if (hostlist_init(&uncounted, "smtpd_client_event_limit_exceptions",
                      c->smtpd_client_event_limit_exceptions, &e))
        tell(c, ps, "smtpd_client_event_limit_exceptions", e.msg);
    else
        hostlist_free(&uncounted);
    if (netlist_init(&no_auth, "smtpd_sasl_exceptions_networks", c->smtpd_sasl_exceptions_networks,
                     &e))
        tell(c, ps, "smtpd_sasl_exceptions_networks", e.msg);
    else
        netlist_free(&no_auth);
}

static void
check_tls_wishes(const struct conf *c, const char *service, struct conf_problems *ps)
{
    static const char *const names[] = { "smtpd_tls_ciphers", "smtpd_tls_mandatory_ciphers",
                                         "smtpd_tls_CApath", "smtpd_tls_fingerprint_digest" };
    struct buf excluded = { 0 }, text = { 0 };
    struct tls_server_opts o;
    struct err e = { 0 };
    const char *param = "smtpd_tls_exclude_ciphers";

    smtpd_tls_opts(c, service == NULL, service && !strcmp(service, "submissions"), &excluded, &o);
    o.protocols = NULL; /* looked at elsewhere */
    o.ca_file = NULL;
    if (tls_check_server_opts(&o, &e)) {
        for (size_t i = 0; i < COUNT_OF(names); i++) {
            char *value = conf_value_text(c, names[i], false), quoted[300];

            snprintf(quoted, sizeof quoted, value && value[0] == '/' ? "%s" : "\"%s\"",
                     value ? value : "");
            if (value && value[0] && strstr(e.msg, quoted))
                param = names[i];
            free(value);
        }
        buf_addf(&text, "%s: %s", param, e.msg);
        tell(c, ps, param, buf_z(&text));
    }
    buf_free(&text);
    buf_free(&excluded);
}

static void
check_view(const struct conf *c, const char *service, struct conf_problems *ps)
{
    struct err e = { 0 };

    check_words(c, ps);
    check_clients(c, ps);
    check_tls_wishes(c, service, ps);
    if (smtpd_footer_check(c, &e))
        tell(c, ps, "smtpd_reject_footer", e.msg);
}

void
check_manners(const struct conf *c, struct conf_problems *ps)
{
    static const char *const services[] = { "submission", "submissions" };
    size_t before = ps->errors;

    check_view(c, NULL, ps);
    for (size_t i = 0; i < COUNT_OF(services) && ps->errors == before; i++) {
        struct conf *view = conf_for_service(c, services[i]);

        check_view(view, services[i], ps);
        conf_unref(&view);
    }
}
