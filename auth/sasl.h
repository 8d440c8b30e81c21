/* auth/sasl.h - the server's side of SASL mechanisms: octets of the client to who it says it is and what shows it. A
 * mechanism is a row; a new one is a file sasl_x.c, its declaration here and its name in the table of sasl.c.
 * Nothing here asks anybody: what a step cannot know (a verifier, what a token is worth) its caller finds out.
 * Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_SASL_H
#define POSTERN_AUTH_SASL_H

#include "base/buf.h"

enum { SASL_RESPONSE_OCTETS = 8192, SASL_NAME_OCTETS = 255 };

enum sasl_rc {
    SASL_CONTINUE,    /* send s->challenge, step again with the answer */
    SASL_CREDENTIALS, /* authcid and password are set: check them */
    SASL_LOOKUP,      /* authcid is set: its verifier is needed; sasl_give_verifier() goes on */
    SASL_PROVEN,      /* authcid has shown that it knows the password; s->final goes with success */
    SASL_TOKEN,       /* s->token is to be asked for; authcid is set, or empty */
    SASL_CLAIMED, /* EXTERNAL: authzid is set, or empty; who it is, the connection knows (TLS) */
    SASL_WRONG,   /* an exchange of this mechanism, and it proves nothing; s->why for the log */
    SASL_BAD      /* no exchange of this mechanism */
};

struct sasl;
struct sasl_verifier;
struct sasl_mech {
    const char *name;
    const char *flags; /* as Dovecot's handshake tells them: "plaintext" */
    enum sasl_rc (*step)(struct sasl *s, struct slice response, bool has_response);
    /* After SASL_LOOKUP; NULL: never asks for it. */
    enum sasl_rc (*verifier)(struct sasl *s, const struct sasl_verifier *v);
    bool needs_tokens; /* offered only where somebody says what a token is worth */
};
struct sasl {
    const struct sasl_mech *mech;
    unsigned steps;
    struct slice challenge; /* static text, or in s->text */
    struct buf authzid, authcid, password;
    struct buf token; /* SASL_TOKEN: as it came; a secret */
    struct buf final; /* SASL_PROVEN: for the client, octets; may be empty */
    struct buf text;  /* the mechanism's: what its challenge is made of */
    struct buf state; /* the mechanism's, from one step to the next */
    const char *why;  /* SASL_WRONG: static text */
};

extern const struct sasl_mech sasl_plain, sasl_login, sasl_external, sasl_scram_sha256,
    sasl_oauthbearer, sasl_xoauth2;
/* By name, without case; the i-th, NULL past the end. */
const struct sasl_mech *sasl_find(struct slice name);
const struct sasl_mech *sasl_at(size_t i);

void sasl_begin(struct sasl *s, const struct sasl_mech *m);
/* has_response false: the client sent no initial response. */
enum sasl_rc sasl_step(struct sasl *s, struct slice response, bool has_response);
/* What SASL_LOOKUP asked for; of somebody who does not exist too (auth/scram.h makes one up). */
enum sasl_rc sasl_give_verifier(struct sasl *s, const struct sasl_verifier *v);
/* UTF-8 without control octets, not too long; may be empty. */
bool sasl_is_name(struct slice name);
void sasl_end(struct sasl *s); /* wipes */

#endif
