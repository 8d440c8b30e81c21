/* cli/check_values.c - parameters whose value is one of a few words, or a list of TLS protocols. A word that nobody knows
 * must not be taken for "none": mail or a password would go in clear where somebody asked for more. */
#include "cli/check_int.h"

#include "base/mem.h"
#include "proto/smtp_words.h"
#include "smtpd/rewrite_clients.h"
#include "tls/tls.h"

#include <stdio.h>

static const struct {
    const char *param;
    size_t at; /* of a const char * in struct conf */
    const char *words;
} rows[] = {
#define ROW(param, words)                                                                          \
    {                                                                                              \
#param, offsetof(struct conf, param), words                                                \
    }
    ROW(log_format, "text kv json"),
    ROW(log_level, "debug info warn error"),
    ROW(smtp_tls_security_level, "none may encrypt"),
    ROW(smtp_address_preference, "any ipv4 ipv6"),
    ROW(smtpd_sasl_type, "dovecot"),
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

static void
check_protocols(const struct conf *c, struct conf_problems *ps, const char *param, const char *list)
{
    struct err e = { 0 };

    if (tls_check_protocols(list, &e) < 0)
        conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s: %s", param, e.msg);
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
    check_protocols(c, ps, "smtpd_tls_protocols", c->smtpd_tls_protocols);
    check_protocols(c, ps, "smtpd_tls_mandatory_protocols", c->smtpd_tls_mandatory_protocols);
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
    check_listener(c, ps);
    for (size_t i = 0; i < COUNT_OF(services) && ps->errors == before; i++) {
        struct conf *view = conf_for_service(c, services[i]);

        check_listener(view, ps);
        conf_unref(&view);
    }
}
