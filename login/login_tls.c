/* login/login_tls.c - the TLS contexts of IMAP and POP3. Each has one of its own, for ALPN, and a second one for old devices
 * where that is wanted. */
#include "login/login_int.h"

#include "session/legacy.h"

static const char *
service_of(int context, bool is_wrapper)
{
    if (context & LOGIN_CTX_POP3)
        return is_wrapper ? "pop3s" : "pop3";
    return is_wrapper ? "imaps" : "imap";
}

static bool
is_wanted(const struct conf *c, int context)
{
    return !(context & LOGIN_CTX_LEGACY) ||
           legacy_has_service(c->legacy_listeners, service_of(context, false)) ||
           legacy_has_service(c->legacy_listeners, service_of(context, true));
}

void
login_tls_unref(struct login_tls *t)
{
    for (int i = 0; i < LOGIN_CONTEXTS; i++)
        tls_unref(&t->v[i]);
}

int
login_tls_make(const struct conf *c, const struct tls_bundle *from, struct login_tls *out,
               struct err *e)
{
    struct tls_store *store = tls_bundle_store(from, "imap");
    struct buf protocols = { 0 };
    struct tls_server_opts o = {
        .tickets = !conf_list_has(c->ssl_options, "no_ticket"),
        .cipher_list = c->ssl_cipher_list,
        .cipher_suites = c->ssl_cipher_suites,
        .curves = c->ssl_curve_list,
        .client_preference = !c->ssl_prefer_server_ciphers,
        .ask_ccert = c->ssl_verify_client_cert || c->auth_ssl_require_client_cert,
        .req_crl = c->ssl_require_crl,
    };
    int rc = 0;

    *out = (struct login_tls){ { NULL } };
    buf_addf(&protocols, ">=%s", c->ssl_min_protocol);
    o.protocols = buf_z(&protocols);
    for (int i = 0; i < LOGIN_CONTEXTS && rc == 0 && tls_store_is_usable(store); i++) {
        o.alpn = i & LOGIN_CTX_POP3 ? "pop3" : "imap";
        o.is_legacy = i & LOGIN_CTX_LEGACY;
        if (is_wanted(c, i))
            rc = tls_server_of(store, &o, &out->v[i], e);
    }
    buf_free(&protocols);
    if (rc)
        login_tls_unref(out);
    return rc;
}

struct tls_ctx *
login_tls_choose(const struct login_tls *t, const struct sess *s)
{
    int i = s->proto == &login_pop3 ? LOGIN_CTX_POP3 : 0;
    struct tls_ctx *legacy = t->v[i | LOGIN_CTX_LEGACY];

    if (legacy && s->conn &&
        legacy_is_listener(s->conf->legacy_listeners, service_of(i, s->is_wrapper),
                           conn_fd(s->conn)))
        return legacy;
    return t->v[i];
}
