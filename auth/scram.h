/* auth/scram.h - SCRAM-SHA-256's verifiers (RFC 5802 §3, RFC 7677): what the server keeps of a password. It serves to check
 * a client's proof and to prove to the client that the server has it; whoever steals it can pose as the server and guess at
 * the password, iterations times the work for each guess. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_SCRAM_H
#define POSTERN_AUTH_SCRAM_H

#include "base/buf.h"
#include "base/err.h"

enum {
    SCRAM_KEY_OCTETS = 32,
    SCRAM_SALT_OCTETS = 16,
    SCRAM_SALT_OCTETS_MAX = 64,     /* of verifiers that others made */
    SCRAM_ITERATIONS = 20000,       /* of stored passwords of this scheme */
    SCRAM_ITERATIONS_MIN = 4096,    /* RFC 7677 §4 */
    SCRAM_ITERATIONS_MAX = 1000000, /* more than any client has the patience for */
    SCRAM_SECRET_OCTETS = 32
};

#define SCRAM_SCHEME_PREFIX "{SCRAM-SHA-256}" /* of stored passwords */

struct sasl_verifier {
    unsigned char salt[SCRAM_SALT_OCTETS_MAX];
    size_t salt_n;
    uint32_t iterations;
    unsigned char stored_key[SCRAM_KEY_OCTETS], server_key[SCRAM_KEY_OCTETS];
};

/* Of a password, with a fresh salt. Takes its time: not on the loop. -1: e (ERR_CLIENT: not a password that SASLprep
 * takes, auth/saslprep.h). */
int scram_make(struct slice password, uint32_t iterations, struct sasl_verifier *out,
               struct err *e);
/* The same with a given salt. */
int scram_make_salted(struct slice password, struct slice salt, uint32_t iterations,
                      struct sasl_verifier *out, struct err *e);
/* Of somebody who has none: always the same for a name (as the secret stays), and no proof is right. */
void scram_make_up(const unsigned char secret[SCRAM_SECRET_OCTETS], struct slice user,
                   uint32_t iterations, struct sasl_verifier *out);

/* Written as Dovecot's scheme SCRAM-SHA-256 has it: "4096,salt,stored key,server key", the last three in base64. */
void scram_write(const struct sasl_verifier *v, struct buf *out);
int scram_read(struct slice text, struct sasl_verifier *out); /* 0 or -1 */

/* Is this the password? Takes the time of making it. */
bool scram_matches(const struct sasl_verifier *v, struct slice password);

/* Does the client's proof show that it knows the password? auth_message: RFC 5802 §3. */
bool scram_is_proof(const struct sasl_verifier *v, struct slice auth_message, struct slice proof);
void scram_server_signature(const struct sasl_verifier *v, struct slice auth_message,
                            unsigned char out[SCRAM_KEY_OCTETS]);

#endif
