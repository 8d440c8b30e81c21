/* auth/request_external.c - EXTERNAL: TLS has authenticated the client, and the peer tells the name in its certificate
 * (Dovecot's valid-client-cert, cert_username). The certificate alone names nobody: without a name in it nobody comes in. */
#include "auth/auth_request.h"

#include "auth/names.h"

void
auth_request_check_claim(struct auth_request *r)
{
    const char *name = r->cert_username;

    if (name)
        auth_format_name(r->conf->auth_username_format, sl_z(name), &r->user);
    if (!r->is_cert_valid)
        auth_request_fail(r, "the client has shown no valid certificate");
    else if (r->user.n == 0)
        auth_request_fail(r, "the client's certificate names no user");
    else
        auth_request_authenticated(r);
}
