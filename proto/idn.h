/* proto/idn.h - internationalized domain names (RFC 5890): one domain, two spellings. The U-label form has UTF-8
 * ("b\u00fccher.example"), the A-label form is ASCII ("xn--bcher-kva.example"). By UTS 46, non-transitional, as browsers and
 * other mail servers do. Layer: proto; the only folder that includes libidn2. Reentrant, no I/O. */
#ifndef POSTERN_PROTO_IDN_H
#define POSTERN_PROTO_IDN_H

#include "base/slice.h"

enum { IDN_ASCII_OCTETS = 256, IDN_UNICODE_OCTETS = 1024 };

/* Both spellings, in lower case, as C strings. */
struct idn {
    char ascii[IDN_ASCII_OCTETS];
    char unicode[IDN_UNICODE_OCTETS];
};

/* Could it have another spelling: octets beyond ASCII, or a label that begins with "xn--"? Cheap. */
bool idn_is_any(struct slice domain);
/* False: it is no IDN, or none that is allowed. */
bool idn_forms(struct slice domain, struct idn *out);

/* A key that tables are asked for ("u@domain", "@domain", "domain") under its other spellings: those of the two that
 * differ from it, into out. Returns how many. */
enum { IDN_KEY_OCTETS = 2048 };
size_t idn_other_keys(struct slice key, char out[2][IDN_KEY_OCTETS]);

#endif
