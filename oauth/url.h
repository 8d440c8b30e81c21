/* oauth/url.h - "https://[id:secret@]host[:port][/path][?query]" (RFC 3986, RFC 9110 §4.2). Layer: oauth. Reentrant. */
#ifndef POSTERN_OAUTH_URL_H
#define POSTERN_OAUTH_URL_H

#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { URL_OCTETS = 2048, URL_HOST_OCTETS = 255 };

struct url {
    bool is_tls;
    char host[URL_HOST_OCTETS + 1]; /* a name or an address, without brackets */
    uint16_t port;
    char *authority;       /* "host" or "[2001:db8::1]:8443": for Host: */
    char *target;          /* "/path?query", at least "/" */
    char *user, *password; /* without %-escapes; NULL: none */
};
/* ERR_CONFIG: no such URL; without https, unless the host is this one (localhost, 127.0.0.1, [::1]): tokens are passwords. */
int url_parse(const char *text, struct url *out, struct err *e);
void url_free(struct url *u); /* of a zeroed one, too */

#endif
