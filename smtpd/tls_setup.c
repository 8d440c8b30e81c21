/* smtpd/tls_setup.c - a listener's smtpd_tls_* parameters as options of its TLS context. */
#include "smtpd/tls_setup.h"

void
smtpd_tls_opts(const struct conf *c, bool is_mx, bool is_wrapper, struct buf *excluded,
               struct tls_server_opts *out)
{
    bool is_must = sl_ieqz(sl_z(c->smtpd_tls_security_level), "encrypt") ||
                   (c->smtpd_tls_security_level[0] == '\0' && c->smtpd_enforce_tls) ||
                   c->smtpd_tls_wrappermode || is_wrapper;

    buf_addf(excluded, "%s,%s", c->smtpd_tls_exclude_ciphers,
             is_must ? c->smtpd_tls_mandatory_exclude_ciphers : "");
    *out = (struct tls_server_opts){
        .tickets = !is_mx,
        .protocols = is_must ? c->smtpd_tls_mandatory_protocols : c->smtpd_tls_protocols,
        .cipher_grade = is_must ? c->smtpd_tls_mandatory_ciphers : c->smtpd_tls_ciphers,
        .exclude_ciphers = buf_z(excluded),
        .high_ciphers = c->tls_high_cipherlist,
        .medium_ciphers = c->tls_medium_cipherlist,
        .curves = c->tls_eecdh_auto_curves,
        .client_preference = !c->tls_preempt_cipherlist,
        .ask_ccert = c->smtpd_tls_ask_ccert,
        .req_ccert = is_must && c->smtpd_tls_req_ccert,
        .ca_file = c->smtpd_tls_CAfile,
        .ca_path = c->smtpd_tls_CApath,
        .ccert_depth = (int)c->smtpd_tls_ccert_verifydepth,
        .digest = c->smtpd_tls_fingerprint_digest,
    };
}
