/* auth/srs.h - the sender rewriting scheme: mail that is forwarded leaves with a sender of ours, so that SPF holds at the next
 * host, and what is sent back to that sender finds the way to the one it stands for.
 *
 *   SRS0=HHHH=TT=domain=local@ours        the first forwarder
 *   SRS1=HHHH=first==HHHH=TT=domain=local@ours    any later one: it leads back to the first, which knows the rest
 *
 * HHHH: the beginning of the base64 of HMAC-SHA1 over what follows, in lower case, without the "="; TT: the day, modulo
 * 1024, in base32. As libsrs2, Mail::SRS and postsrsd write and read it, so that they can take over from each other with
 * the same secret. Hosts on the way may change the case of a local part: everything here holds whatever case came.
 * Layer: auth. Reentrant, no I/O. */
#ifndef POSTERN_AUTH_SRS_H
#define POSTERN_AUTH_SRS_H

#include "base/buf.h"

enum {
    SRS_HASH_MIN = 4, /* letters of a hash: 24 bits, less what the case tells */
    SRS_HASH_MAX = 27,
    SRS_DAYS_MAX = 1000, /* the stamp begins anew after 1024 */
    SRS_SECRETS_MAX = 32
};

struct srs {
    struct slice secrets[SRS_SECRETS_MAX]; /* the first signs, all of them vouch */
    size_t n_secrets;
    int64_t now_s; /* unix time */
    unsigned days; /* how old an address may be */
    unsigned hash; /* letters; SRS_HASH_MIN to SRS_HASH_MAX */
};

enum srs_rc {
    SRS_OK,
    SRS_OTHER,   /* no such address, or one that we have not signed */
    SRS_EXPIRED, /* ours, but too old */
    SRS_FAILED   /* this OpenSSL has no SHA-1 */
};

/* Does the local part begin as those of such addresses do? All addresses are in internal form, without quoting. */
bool srs_is(struct slice addr);

/* Append what stands for the sender at our domain. SRS_OTHER: it is no user@domain. */
enum srs_rc srs_forward(const struct srs *c, struct slice sender, struct slice ours,
                        struct buf *out);
/* Append the address that this one stands for. Its own domain is not looked at. */
enum srs_rc srs_reverse(const struct srs *c, struct slice addr, struct buf *out);

#endif
