/* session/sasl_client.h - the client's half of SASL mechanisms: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), SCRAM-SHA-1
 * (RFC 5802) and SCRAM-SHA-256 (RFC 7677), without channel binding. Octets in, octets out; base64 is the caller's.
 * Nothing here logs; secrets are wiped when the exchange is freed.
 * BUGS: names and passwords are not prepared (RFC 4013): what is not ASCII goes out as it was written.
 * Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_SASL_CLIENT_H
#define POSTERN_SESSION_SASL_CLIENT_H

#include "base/buf.h"
#include "base/err.h"

/* What a mechanism must have: Cyrus' and Postfix's words noplaintext, noactive, ... */
enum {
    SASL_NO_PLAINTEXT = 1,
    SASL_NO_ACTIVE = 2,
    SASL_NO_DICTIONARY = 4,
    SASL_NO_ANONYMOUS = 8,
    SASL_MUTUAL_AUTH = 16
};
enum {
    SASL_MECH_OCTETS = 24,
    SASL_USER_OCTETS_MAX = 1024,
    SASL_SALT_OCTETS_MAX = 256,
    SASL_ITERATIONS_MIN = 4096, /* RFC 7677 §4; fewer make the proof cheap to guess from */
    SASL_ITERATIONS_MAX = 1000000
};

/* Options by their words, blanks or commas between; -1: *bad is a word that is none. */
int sasl_client_options(struct slice words, unsigned *bits, struct slice *bad);
/* The strongest of the offered mechanisms (blanks between) that is known here and has what `must` asks; NULL: none. */
const char *sasl_client_choose(struct slice offered, unsigned must);

struct sasl_client;
/* mechanism is what sasl_client_choose() said. user and password are copied. */
struct sasl_client *sasl_client_new(const char *mechanism, struct slice user,
                                    struct slice password);
void sasl_client_free(struct sasl_client **c);

/* The response that goes with the mechanism's name; false: it has none, the server speaks first. */
bool sasl_client_first(struct sasl_client *c, struct buf *out);

enum sasl_client_rc {
    SASL_CLIENT_SEND, /* out is the response, maybe an empty one */
    SASL_CLIENT_HASH, /* sasl_client_hash() first, off the loop: then sasl_client_hashed() gives the response */
    SASL_CLIENT_BAD /* the server does not speak the mechanism, or is not who it says: e says why */
};
enum sasl_client_rc sasl_client_step(struct sasl_client *c, struct slice challenge, struct buf *out,
                                     struct err *e);
/* On any thread, while nothing else touches c. */
void sasl_client_hash(struct sasl_client *c);
void sasl_client_hashed(struct sasl_client *c, struct buf *out);
/* The server says that we are in: may that be believed? Not before SCRAM's server has shown that it knows the password. */
bool sasl_client_is_done(const struct sasl_client *c);

#endif
