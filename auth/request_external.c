/* auth/request_external.c - EXTERNAL: TLS has authenticated the client, and the peer tells the name in its certificate
 * (Dovecot's valid-client-cert, cert_username). The certificate alone names nobody: without a name in it nobody comes in. */
#include "auth/auth_request.h"

void
auth_request_check_claim(struct auth_request *r)
{
    if (!r->is_cert_valid || r->cert_username == NULL)
        auth_request_fail(r, "the client has shown no certificate that names a user");
    else if (!auth_request_set_names(r, sl_z(r->cert_username)))
        auth_request_fail(r, r->why_wrong);
    else
        auth_request_authenticated(r);
}
