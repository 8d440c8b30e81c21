/* cli/status_certs.h - the certificates in `postern status`: lines "cert NOT_BEFORE NOT_AFTER SERVICES SNI FILES NAMES PROBLEM"
 * of the supervisor's answer, parted by tabs (serve_tls_status()). Layer: cli. */
#ifndef POSTERN_CLI_STATUS_CERTS_H
#define POSTERN_CLI_STATUS_CERTS_H

#include "base/slice.h"

/* All of the answer's. JSON: ,\n  "certificates": [...]; nothing for people when there are none. */
void status_print_certs(struct slice text, bool is_json);

#endif
