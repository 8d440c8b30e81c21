/* cli/check_tls.c - certificates, keys and what TLS is to be like, of all listeners. */
#include "cli/check_int.h"
#include "cli/serve_listen.h"
#include "cli/tls_files.h"

#include "base/clock.h"
#include "base/mem.h"
#include "session/legacy.h"
#include "tls/tls.h"

#include <string.h>

static void
tell(const struct conf *c, struct conf_problems *ps, bool is_error, const char *param,
     const char *text)
{
    conf_problem_add(ps, is_error, conf_file_of(c), conf_line_of(c, param), "%s: %s", param, text);
}

static void __attribute__((format(printf, 4, 5)))
warn(const struct conf *c, struct conf_problems *ps, const struct tls_item *it, const char *fmt,
     ...)
{
    struct buf b = { 0 };
    va_list ap;

    buf_addf(&b, "%s%s", it->sni ? it->sni : "", it->sni ? ": " : "");
    tls_item_add_paths(it, &b);
    buf_addc(&b, ' ');
    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    tell(c, ps, false, it->param, buf_z(&b));
    buf_free(&b);
}

/* ---- certificates ---- */

static bool
is_for_smtp(const struct tls_set *s)
{
    return strncmp(s->services, "smtp", 4) == 0;
}

static void
check_item(const struct conf *c, struct conf_problems *ps, const struct tls_set *set,
           const struct tls_item *it)
{
    struct buf words = { 0 };
    bool is_over;

    tls_expiry_words(&it->facts, clock_unix_s(), &words, &is_over);
    if (words.n > 0)
        warn(c, ps, it, "%s", buf_z(&words));
    if (!it->facts.is_in_order)
        warn(c, ps, it,
             "the certificates are not in order: each must be followed by the one that issued it; "
             "some clients will not trust it");
    if (!it->facts.has_chain)
        warn(c, ps, it,
             "holds the certificate alone: if its authority is not known to clients itself, name "
             "the "
             "file that has the chain too (certbot's fullchain.pem)");
    for (size_t i = 0; i < it->n; i++)
        if (tls_key_is_open(it->paths[i]) && tls_file_has_key(it->paths[i]))
            warn(c, ps, it, "can be read by everybody, and there is a private key in %s: chmod 600",
                 it->paths[i]);
    if (is_for_smtp(set) && it->sni == NULL && !it->facts.has_host)
        warn(c, ps, it, "is not for myhostname, %s, but for %s", c->myhostname,
             it->facts.names.n ? buf_z((struct buf *)(uintptr_t)&it->facts.names) : "nobody");
    buf_free(&words);
}

static const struct tls_set *
set_of(const struct tls_files *f, const char *service)
{
    for (size_t i = 0; i < f->n; i++) {
        struct slice in = sl_z(f->v[i].services), word;

        while (sl_take_word(&in, " ", &word))
            if (sl_eqz(word, service))
                return &f->v[i];
    }
    return NULL;
}

static bool
has_certificate(const struct tls_files *f, const char *service)
{
    const struct tls_set *s = set_of(f, service);

    return s && s->n > 0 && s->v[0].sni == NULL && !s->v[0].is_ca;
}

/* A listener that has TLS from the first octet serves nobody without a certificate. */
static void
check_presence(const struct conf *c, struct conf_problems *ps, const struct tls_files *f)
{
    bool must_have_imap = c->listen_imaps.n > 0 || c->listen_pop3s.n > 0;

    if ((must_have_imap && !has_certificate(f, "imap")) ||
        (c->listen_submissions.n > 0 && !has_certificate(f, "submissions")))
        tell(c, ps, true, "smtpd_tls_cert_file",
             "not set, but a TLS listener is on: name the certificate's files, make a pair with "
             "`postern cert self-signed`, or set listen_imaps, listen_pop3s and listen_submissions "
             "to nothing");
    else if (c->listen_submission.n > 0 && !has_certificate(f, "submission"))
        tell(c, ps, false, "smtpd_tls_cert_file",
             "not set: port 587 wants STARTTLS before anything else, so nobody can submit there");
}

static void
check_files(const struct conf *c, struct conf_problems *ps)
{
    struct tls_files f;

    if (tls_files_find(c, &f, ps) == 0) {
        check_presence(c, ps, &f);
        tls_files_load(&f, c, NULL, ps);
        for (size_t i = 0; i < f.n; i++)
            for (size_t k = 0; k < f.v[i].n; k++) {
                const struct tls_item *it = &f.v[i].v[k];

                if (it->pem.n > 0 && !it->is_ca && !tls_files_is_repeated(&f, it))
                    check_item(c, ps, &f.v[i], it);
            }
    }
    tls_files_free(&f);
}

/* ---- protocols and ciphers ---- */

/* One wish at a time, so that the one that cannot be is named. */
static void
check_wish(const struct conf *c, struct conf_problems *ps, const char *param,
           const struct tls_server_opts *o)
{
    struct err e = { 0 };

    if (tls_check_server_opts(o, &e))
        tell(c, ps, true, param, e.msg);
}

static bool
is_old(const char *protocols)
{
    return strstr(protocols, ">=TLSv1") &&
           (strstr(protocols, ">=TLSv1.1") || !strstr(protocols, ">=TLSv1."));
}

/* Each word alone: is there a listener that it is of? */
static void
check_legacy(const struct conf *c, struct conf_problems *ps)
{
    struct serve_sockets s = { 0 };
    struct conf_problems told = { 0 }; /* by check_listeners() already */

    serve_wanted_sockets(c, &s, &told);
    for (size_t i = 0; i < c->legacy_listeners.n; i++) {
        struct conf_list one = { .v = &c->legacy_listeners.v[i], .n = 1 };
        bool is_there = false;

        for (size_t k = 0; k < s.n && !is_there; k++)
            is_there = s.v[k].param && legacy_names(one, s.v[k].service, addr_port(&s.v[k].addr));
        if (!is_there)
            conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "legacy_listeners"),
                             "legacy_listeners: %s: there is no such listener", one.v[0]);
    }
    serve_sockets_free(&s);
    conf_problems_free(&told);
}

void
check_tls(const struct conf *c, struct conf_problems *ps)
{
    const struct {
        const char *param;
        struct tls_server_opts o;
    } wishes[] = {
        { "ssl_cipher_list", { .cipher_list = c->ssl_cipher_list } },
        { "ssl_cipher_suites", { .cipher_suites = c->ssl_cipher_suites } },
        { "ssl_curve_list", { .curves = c->ssl_curve_list } },
        { "tls_eecdh_auto_curves", { .curves = c->tls_eecdh_auto_curves } },
        { "tls_high_cipherlist",
          { .cipher_grade = "high", .high_ciphers = c->tls_high_cipherlist } },
        { "tls_medium_cipherlist",
          { .cipher_grade = "medium", .medium_ciphers = c->tls_medium_cipherlist } },
    };
    const struct {
        const char *param, *protocols;
    } olds[] = { { "smtpd_tls_protocols", c->smtpd_tls_protocols },
                 { "smtpd_tls_mandatory_protocols", c->smtpd_tls_mandatory_protocols },
                 { "ssl_min_protocol", strcmp(c->ssl_min_protocol, "TLSv1") == 0      ? ">=TLSv1"
                                       : strncmp(c->ssl_min_protocol, "SSLv", 4) == 0 ? ">=TLSv1"
                                       : strcmp(c->ssl_min_protocol, "TLSv1.1") == 0  ? ">=TLSv1.1"
                                                                                      : "" } };
    struct err e = { 0 };

    for (size_t i = 0; i < COUNT_OF(wishes); i++)
        check_wish(c, ps, wishes[i].param, &wishes[i].o);
    for (size_t i = 0; i < COUNT_OF(olds); i++)
        if (conf_line_of(c, olds[i].param) && is_old(olds[i].protocols))
            tell(c, ps, false, olds[i].param,
                 "OpenSSL speaks TLS 1.0 and 1.1 only with ciphers that have @SECLEVEL=0 in their "
                 "list: name the listeners of old devices in legacy_listeners instead");
    for (size_t i = 0; i < c->ssl_options.n; i++)
        if (!sl_ieqz(sl_z(c->ssl_options.v[i]), "no_ticket") &&
            !sl_ieqz(sl_z(c->ssl_options.v[i]), "no_compression"))
            conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, "ssl_options"),
                             "ssl_options: \"%s\" is none of: no_ticket no_compression",
                             c->ssl_options.v[i]);
    if (legacy_check(c->legacy_listeners, &e))
        tell(c, ps, true, "legacy_listeners", e.msg);
    else
        check_legacy(c, ps);
    if (c->ssl_key[0] && c->ssl_cert[0] == '\0')
        tell(c, ps, false, "ssl_key",
             "is not read: ssl_cert is empty, so IMAP and POP3 have smtpd_tls_cert_file and its "
             "key");
    check_files(c, ps);
}
