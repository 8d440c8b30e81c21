/* auth/request_external.c - EXTERNAL: TLS has authenticated the client, and the peer tells the name in its certificate
 * (Dovecot's valid-client-cert, cert_username). The certificate alone names nobody: without a name in it nobody comes in. */
#include "auth/auth_request.h"

#include "auth/names.h"

void
auth_request_check_claim(struct auth_request *r)
{
    const char *why;

    if (!r->is_cert_valid || r->cert_username == NULL)
        auth_request_fail(r, "the client has shown no certificate that names a user");
    else if (!auth_name_of_client(r->conf, sl_z(r->cert_username), &r->user, &why))
        auth_request_fail(r, why);
    else
        auth_request_authenticated(r);
}
