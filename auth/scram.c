/* auth/scram.c - see scram.h. */
#include "auth/scram.h"

#include "auth/saslprep.h"
#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tls/digest.h"

static struct slice
octets(const unsigned char *p, size_t n)
{
    return sl_n((const char *)p, n);
}

/* RFC 5802 §3. 0 or -1: OpenSSL gives no SHA-256. */
static int
derive(struct slice prepared, struct sasl_verifier *v)
{
    unsigned char salted[DIGEST_MAX_OCTETS], key[DIGEST_MAX_OCTETS], out[DIGEST_MAX_OCTETS];
    struct slice whole = octets(salted, SCRAM_KEY_OCTETS);
    bool is_ok = digest_pbkdf2(DIGEST_SHA256, prepared, octets(v->salt, v->salt_n), v->iterations,
                               salted) == SCRAM_KEY_OCTETS &&
                 digest_hmac(DIGEST_SHA256, whole, SL("Client Key"), key) == SCRAM_KEY_OCTETS &&
                 digest(DIGEST_SHA256, octets(key, SCRAM_KEY_OCTETS), out) == SCRAM_KEY_OCTETS;

    if (is_ok) {
        memcpy(v->stored_key, out, SCRAM_KEY_OCTETS);
        is_ok = digest_hmac(DIGEST_SHA256, whole, SL("Server Key"), out) == SCRAM_KEY_OCTETS;
    }
    if (is_ok)
        memcpy(v->server_key, out, SCRAM_KEY_OCTETS);
    mem_wipe(salted, sizeof salted);
    mem_wipe(key, sizeof key);
    mem_wipe(out, sizeof out);
    return is_ok ? 0 : -1;
}

int
scram_make_salted(struct slice password, struct slice salt, uint32_t iterations,
                  struct sasl_verifier *out, struct err *e)
{
    struct buf prepared = { 0 };
    int rc;

    *out = (struct sasl_verifier){ .iterations = iterations };
    if (salt.n == 0 || salt.n > SCRAM_SALT_OCTETS_MAX)
        return err_set(e, ERR_CLIENT, "a salt of %zu octets", salt.n);
    memcpy(out->salt, salt.p, salt.n);
    out->salt_n = salt.n;
    rc = saslprep(password, &prepared);
    if (rc < 0)
        err_set(e, ERR_CLIENT, "the password has characters that SCRAM's clients may change");
    else if ((rc = derive(buf_slice(&prepared), out)) < 0)
        err_set(e, ERR_TEMP, "no SHA-256 here");
    buf_wipe(&prepared);
    return rc;
}

int
scram_make(struct slice password, uint32_t iterations, struct sasl_verifier *out, struct err *e)
{
    char salt[SCRAM_SALT_OCTETS];

    rand_octets(salt, sizeof salt);
    return scram_make_salted(password, sl_n(salt, sizeof salt), iterations, out, e);
}

/* Three answers of a keyed function: nobody without the secret can tell them from random. */
static void
make_up(const unsigned char *secret, const char *what, struct slice user, unsigned char *out,
        size_t n)
{
    unsigned char mac[DIGEST_MAX_OCTETS] = { 0 };
    struct buf text = { 0 };

    buf_addf(&text, "%s ", what);
    buf_adds(&text, user);
    digest_hmac(DIGEST_SHA256, octets(secret, SCRAM_SECRET_OCTETS), buf_slice(&text), mac);
    memcpy(out, mac, n);
    buf_free(&text);
}

void
scram_make_up(const unsigned char secret[SCRAM_SECRET_OCTETS], struct slice user,
              uint32_t iterations, struct sasl_verifier *out)
{
    *out = (struct sasl_verifier){ .iterations = iterations, .salt_n = SCRAM_SALT_OCTETS };
    make_up(secret, "salt", user, out->salt, SCRAM_SALT_OCTETS);
    make_up(secret, "stored key", user, out->stored_key, SCRAM_KEY_OCTETS);
    make_up(secret, "server key", user, out->server_key, SCRAM_KEY_OCTETS);
}

/* ---- as text ---- */

void
scram_write(const struct sasl_verifier *v, struct buf *out)
{
    buf_addu(out, v->iterations);
    buf_addc(out, ',');
    enc_b64(out, octets(v->salt, v->salt_n));
    buf_addc(out, ',');
    enc_b64(out, octets(v->stored_key, SCRAM_KEY_OCTETS));
    buf_addc(out, ',');
    enc_b64(out, octets(v->server_key, SCRAM_KEY_OCTETS));
}

/* Base64 of 1 to max octets. 0: none. */
static size_t
read_octets(struct slice text, unsigned char *out, size_t max)
{
    struct buf b = { .max = max };
    size_t n = enc_b64_decode(&b, text) == 0 ? b.n : 0;

    if (n)
        memcpy(out, buf_slice(&b).p, n);
    buf_wipe(&b);
    return n;
}

int
scram_read(struct slice text, struct sasl_verifier *out)
{
    struct slice count, salt, stored;

    *out = (struct sasl_verifier){ 0 };
    if (!sl_take_until(&text, ',', &count) || !sl_take_until(&text, ',', &salt) ||
        !sl_take_until(&text, ',', &stored) || !sl_to_u32(count, &out->iterations) ||
        out->iterations < 1 || out->iterations > SCRAM_ITERATIONS_MAX)
        return -1;
    out->salt_n = read_octets(salt, out->salt, SCRAM_SALT_OCTETS_MAX);
    if (out->salt_n == 0 ||
        read_octets(stored, out->stored_key, SCRAM_KEY_OCTETS) != SCRAM_KEY_OCTETS ||
        read_octets(text, out->server_key, SCRAM_KEY_OCTETS) != SCRAM_KEY_OCTETS)
        return -1;
    return 0;
}

bool
scram_matches(const struct sasl_verifier *v, struct slice password)
{
    struct sasl_verifier mine;
    struct err e;
    bool is_same =
        scram_make_salted(password, octets(v->salt, v->salt_n), v->iterations, &mine, &e) == 0 &&
        digest_equal(mine.stored_key, v->stored_key, SCRAM_KEY_OCTETS);

    mem_wipe(&mine, sizeof mine);
    return is_same;
}

/* ---- proofs ---- */

bool
scram_is_proof(const struct sasl_verifier *v, struct slice auth_message, struct slice proof)
{
    unsigned char key[DIGEST_MAX_OCTETS], hash[DIGEST_MAX_OCTETS];
    bool is_proof;

    if (proof.n != SCRAM_KEY_OCTETS ||
        digest_hmac(DIGEST_SHA256, octets(v->stored_key, SCRAM_KEY_OCTETS), auth_message, key) !=
            SCRAM_KEY_OCTETS)
        return false;
    for (size_t i = 0; i < SCRAM_KEY_OCTETS; i++)
        key[i] ^= (unsigned char)proof.p[i];
    is_proof = digest(DIGEST_SHA256, octets(key, SCRAM_KEY_OCTETS), hash) == SCRAM_KEY_OCTETS &&
               digest_equal(hash, v->stored_key, SCRAM_KEY_OCTETS);
    mem_wipe(key, sizeof key);
    return is_proof;
}

void
scram_server_signature(const struct sasl_verifier *v, struct slice auth_message,
                       unsigned char out[SCRAM_KEY_OCTETS])
{
    unsigned char mac[DIGEST_MAX_OCTETS] = { 0 };

    digest_hmac(DIGEST_SHA256, octets(v->server_key, SCRAM_KEY_OCTETS), auth_message, mac);
    memcpy(out, mac, SCRAM_KEY_OCTETS);
}
