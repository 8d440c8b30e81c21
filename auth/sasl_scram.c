/* auth/sasl_scram.c - SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's messages. Without channel binding: a client that
 * demands it is refused, and one that would have it if we had ("y") is right that we have not. */
#include "auth/sasl.h"

#include "auth/scram.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"

enum { NONCE_OCTETS = 18, CLIENT_NONCE_OCTETS_MAX = 1024 };

/* In s->state. s->text: client-first-message-bare "," server-first-message. */
struct exchange {
    struct sasl_verifier verifier;
    size_t first_n;                     /* of the server-first-message, the end of s->text */
    size_t nonce_n;                     /* which begins with "r=" and so many octets of nonce */
    char gs2[3 * SASL_NAME_OCTETS + 8]; /* the gs2-header as it came: the last message repeats it */
    size_t gs2_n;
    char client_nonce[CLIENT_NONCE_OCTETS_MAX];
    size_t client_nonce_n;
};

static struct exchange *
exchange_of(struct sasl *s)
{
    return (struct exchange *)(void *)s->state.p;
}

static enum sasl_rc
wrong(struct sasl *s, const char *why)
{
    s->why = why;
    return SASL_WRONG;
}

/* "x=value", to the next comma or the end. */
static bool
take_attribute(struct slice *in, char name, struct slice *value)
{
    struct slice at = *in;

    if (!sl_take_char(&at, name) || !sl_take_char(&at, '='))
        return false;
    if (!sl_take_until(&at, ',', value)) {
        *value = at;
        at = SL("");
    }
    *in = at;
    return true;
}

/* saslname, RFC 5802 §5.1: "=2C" and "=3D" for comma and "=". An empty one is none; libgsasl sends "a=" for no authzid. */
static bool
decode_name(struct slice in, struct buf *out)
{
    while (in.n) {
        if (sl_take_prefix(&in, SL("=2C"))) {
            buf_addc(out, ',');
        } else if (sl_take_prefix(&in, SL("=3D"))) {
            buf_addc(out, '=');
        } else if (*in.p == '=') {
            return false;
        } else {
            buf_addc(out, *in.p);
            in = sl_from(in, 1);
        }
    }
    return true;
}

static bool
is_printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x21 || s.p[i] > 0x7e || s.p[i] == ',')
            return false;
    return s.n > 0;
}

/* gs2-header, RFC 5801 §4 as RFC 5802 §7 has it: flag "," ["a=" authzid] ",". in is stepped past it. */
static enum sasl_rc
take_gs2(struct sasl *s, struct slice *in)
{
    struct slice whole = *in, flag, authzid;
    struct exchange *x;

    if (!sl_take_until(in, ',', &flag) || !sl_take_until(in, ',', &authzid))
        return SASL_BAD;
    if (flag.n >= 2 && sl_has_prefix(flag, SL("p=")))
        return wrong(s, "client demands channel binding");
    if (!sl_eqz(flag, "n") && !sl_eqz(flag, "y"))
        return SASL_BAD;
    if (authzid.n && (!sl_take_prefix(&authzid, SL("a=")) || !decode_name(authzid, &s->authzid)))
        return SASL_BAD;
    whole = sl_head(whole, whole.n - in->n);
    x = exchange_of(s);
    if (whole.n > sizeof x->gs2)
        return SASL_BAD;
    memcpy(x->gs2, whole.p, whole.n);
    x->gs2_n = whole.n;
    return SASL_CONTINUE;
}

/* client-first-message. What follows the nonce is an extension that may be left aside. */
static enum sasl_rc
client_first(struct sasl *s, struct slice in)
{
    static const struct exchange fresh;
    struct slice bare, name, nonce;
    struct exchange *x;
    enum sasl_rc rc;

    buf_add(&s->state, &fresh, sizeof fresh);
    x = exchange_of(s);
    rc = take_gs2(s, &in);
    if (rc != SASL_CONTINUE)
        return rc;
    bare = in;
    if (sl_has_prefix(in, SL("m=")))
        return wrong(s, "client demands an extension of SCRAM");
    if (!take_attribute(&in, 'n', &name) || !take_attribute(&in, 'r', &nonce) ||
        !decode_name(name, &s->authcid) || !is_printable(nonce) ||
        nonce.n > CLIENT_NONCE_OCTETS_MAX || memchr(bare.p, '\0', bare.n))
        return SASL_BAD;
    memcpy(x->client_nonce, nonce.p, nonce.n);
    x->client_nonce_n = nonce.n;
    buf_adds(&s->text, bare);
    return SASL_LOOKUP;
}

/* server-first-message */
static enum sasl_rc
verifier(struct sasl *s, const struct sasl_verifier *v)
{
    struct exchange *x = exchange_of(s);
    char nonce[2 * NONCE_OCTETS + 1];
    size_t from;

    x->verifier = *v;
    buf_addc(&s->text, ',');
    from = s->text.n;
    rand_hex(nonce, 2 * NONCE_OCTETS);
    buf_addz(&s->text, "r=");
    buf_add(&s->text, x->client_nonce, x->client_nonce_n);
    buf_addz(&s->text, nonce);
    x->nonce_n = s->text.n - from - 2;
    buf_addz(&s->text, ",s=");
    enc_b64(&s->text, sl_n((const char *)v->salt, v->salt_n));
    buf_addf(&s->text, ",i=%u", (unsigned)v->iterations);
    x->first_n = s->text.n - from;
    s->challenge = sl_from(buf_slice(&s->text), from);
    return SASL_CONTINUE;
}

static bool
is_gs2_repeated(const struct exchange *x, struct slice encoded)
{
    struct buf b = { .max = sizeof x->gs2 };
    bool is_same = enc_b64_decode(&b, encoded) == 0 && sl_eq(buf_slice(&b), sl_n(x->gs2, x->gs2_n));

    buf_free(&b);
    return is_same;
}

/* client-final-message: "c=...,r=...[,extensions],p=..." */
static enum sasl_rc
client_final(struct sasl *s, struct slice in)
{
    struct exchange *x = exchange_of(s);
    struct slice message = buf_slice(&s->text), nonce, cbind, got, proof, without = in;
    unsigned char signature[SCRAM_KEY_OCTETS];
    struct buf octets = { .max = SCRAM_KEY_OCTETS };
    size_t comma = sl_rfind_char(in, ',');
    bool is_right;

    nonce = sl_head(sl_from(message, message.n - x->first_n + 2), x->nonce_n);
    if (comma == SL_NPOS || !take_attribute(&in, 'c', &cbind) || !take_attribute(&in, 'r', &got))
        return SASL_BAD;
    proof = sl_from(without, comma + 1);
    without = sl_head(without, comma);
    if (!sl_take_prefix(&proof, SL("p=")) || enc_b64_decode(&octets, proof) != 0)
        return SASL_BAD;
    /* A nonce that is not this exchange's: an older one, said again. */
    is_right = sl_eq(got, nonce) && is_gs2_repeated(x, cbind);
    buf_addc(&s->text, ',');
    buf_adds(&s->text, without);
    message = buf_slice(&s->text); /* nonce is where it was no more */
    is_right = scram_is_proof(&x->verifier, message, buf_slice(&octets)) && is_right;
    buf_wipe(&octets);
    if (!is_right)
        return wrong(s, "Password mismatch");
    scram_server_signature(&x->verifier, message, signature);
    buf_addz(&s->final, "v=");
    enc_b64(&s->final, sl_n((const char *)signature, sizeof signature));
    return SASL_PROVEN;
}

static enum sasl_rc
step(struct sasl *s, struct slice response, bool has_response)
{
    if (!has_response) {
        s->challenge = SL("");
        return s->steps == 0 ? SASL_CONTINUE : SASL_BAD;
    }
    if (s->state.n == 0)
        return client_first(s, response);
    return exchange_of(s)->first_n ? client_final(s, response) : SASL_BAD;
}

const struct sasl_mech sasl_scram_sha256 = {
    .name = "SCRAM-SHA-256", .flags = "mutual-auth", .step = step, .verifier = verifier
};
