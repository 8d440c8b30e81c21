/* session/sasl_client.c - see sasl_client.h. */
#include "session/sasl_client.h"

#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tls/digest.h"

#include <stdlib.h>

enum { NONCE_OCTETS = 18 };

struct mechanism {
    const char *name;
    unsigned has;
    enum digest_kind hash;
    bool (*first)(struct sasl_client *c, struct buf *out); /* NULL: the server speaks first */
    enum sasl_client_rc (*step)(struct sasl_client *c, struct slice challenge, struct buf *out,
                                struct err *e);
    bool is_mutual; /* the server proves itself, too */
};

struct sasl_client {
    const struct mechanism *m;
    struct buf user, password;
    unsigned turn;
    bool is_proved; /* mutual: the server's signature was right */
    /* SCRAM */
    char nonce[2 * NONCE_OCTETS + 1];
    struct buf first_bare, auth_message, server_nonce, salt;
    uint32_t iterations;
    unsigned char salted[DIGEST_MAX_OCTETS], server_signature[DIGEST_MAX_OCTETS];
    size_t digest_n; /* 0: hashing failed */
};

static enum sasl_client_rc
bad(struct err *e, const char *why)
{
    err_set(e, ERR_TEMP, "%s", why);
    return SASL_CLIENT_BAD;
}

/* ---- PLAIN, LOGIN, CRAM-MD5 ---- */

static bool
plain_first(struct sasl_client *c, struct buf *out)
{
    buf_addc(out, '\0'); /* no other identity than the user's own */
    buf_adds(out, buf_slice(&c->user));
    buf_addc(out, '\0');
    buf_adds(out, buf_slice(&c->password));
    return true;
}

static enum sasl_client_rc
plain_step(struct sasl_client *c, struct slice challenge, struct buf *out, struct err *e)
{
    (void)c, (void)challenge, (void)out;
    return bad(e, "PLAIN has one step");
}

static enum sasl_client_rc
login_step(struct sasl_client *c, struct slice challenge, struct buf *out, struct err *e)
{
    (void)challenge; /* a prompt; servers differ in its words, not in its order */
    if (c->turn > 2)
        return bad(e, "LOGIN has two steps");
    buf_adds(out, buf_slice(c->turn == 1 ? &c->user : &c->password));
    return SASL_CLIENT_SEND;
}

static enum sasl_client_rc
cram_step(struct sasl_client *c, struct slice challenge, struct buf *out, struct err *e)
{
    unsigned char mac[DIGEST_MAX_OCTETS];
    size_t n = digest_hmac(DIGEST_MD5, buf_slice(&c->password), challenge, mac);

    if (c->turn > 1)
        return bad(e, "CRAM-MD5 has one step");
    if (n == 0)
        return bad(e, "MD5 is switched off here");
    buf_adds(out, buf_slice(&c->user));
    buf_addc(out, ' ');
    enc_hex(out, sl_n((const char *)mac, n));
    return SASL_CLIENT_SEND;
}

/* ---- SCRAM ---- */

/* "=" and "," in a name: RFC 5802 §5.1. */
static bool
scram_first(struct sasl_client *c, struct buf *out)
{
    struct slice user = buf_slice(&c->user);

    rand_hex(c->nonce, 2 * NONCE_OCTETS);
    buf_addz(&c->first_bare, "n=");
    for (size_t i = 0; i < user.n; i++) {
        if (user.p[i] == '=')
            buf_addz(&c->first_bare, "=3D");
        else if (user.p[i] == ',')
            buf_addz(&c->first_bare, "=2C");
        else
            buf_addc(&c->first_bare, user.p[i]);
    }
    buf_addf(&c->first_bare, ",r=%s", c->nonce);
    buf_addz(out, "n,,");
    buf_adds(out, buf_slice(&c->first_bare));
    return true;
}

/* "x=value" up to the next comma. */
static bool
take_attribute(struct slice *in, char name, struct slice *value)
{
    struct slice at = *in;
    size_t end;

    if (!sl_take_char(&at, name) || !sl_take_char(&at, '='))
        return false;
    end = sl_find_char(at, ',');
    *value = end == SL_NPOS ? at : sl_head(at, end);
    *in = end == SL_NPOS ? SL("") : sl_from(at, end + 1);
    return true;
}

/* server-first-message: RFC 5802 §7. */
static enum sasl_client_rc
scram_server_first(struct sasl_client *c, struct slice in, struct err *e)
{
    struct slice whole = in, nonce, salt, count;

    if (sl_has_prefix(in, SL("m=")))
        return bad(e, "the server demands an extension of SCRAM");
    if (!take_attribute(&in, 'r', &nonce) || !take_attribute(&in, 's', &salt) ||
        !take_attribute(&in, 'i', &count) || enc_b64_decode(&c->salt, salt) != 0 ||
        !sl_to_u32(count, &c->iterations))
        return bad(e, "malformed SCRAM challenge");
    if (!sl_has_prefix(nonce, sl_z(c->nonce)) || nonce.n == strlen(c->nonce))
        return bad(e, "the SCRAM challenge answers somebody else");
    if (c->iterations < SASL_ITERATIONS_MIN || c->iterations > SASL_ITERATIONS_MAX)
        return bad(e, "SCRAM iteration count out of bounds");
    buf_adds(&c->server_nonce, nonce);
    buf_adds(&c->auth_message, buf_slice(&c->first_bare));
    buf_addc(&c->auth_message, ',');
    buf_adds(&c->auth_message, whole);
    return SASL_CLIENT_HASH;
}

void
sasl_client_hash(struct sasl_client *c)
{
    c->digest_n = digest_pbkdf2(c->m->hash, buf_slice(&c->password), buf_slice(&c->salt),
                                c->iterations, c->salted);
}

static struct slice
octets(const unsigned char *p, size_t n)
{
    return sl_n((const char *)p, n);
}

/* client-final-message, and what the server must say to it: RFC 5802 §3. */
void
sasl_client_hashed(struct sasl_client *c, struct buf *out)
{
    unsigned char client_key[DIGEST_MAX_OCTETS], stored[DIGEST_MAX_OCTETS],
        signature[DIGEST_MAX_OCTETS], server_key[DIGEST_MAX_OCTETS];
    struct slice salted = octets(c->salted, c->digest_n);
    enum digest_kind k = c->m->hash;
    size_t n = c->digest_n, from;

    from = out->n;
    buf_addz(out, "c=biws,r="); /* base64 of "n,,": no channel binding */
    buf_adds(out, buf_slice(&c->server_nonce));
    buf_addc(&c->auth_message, ',');
    buf_adds(&c->auth_message, sl_from(buf_slice(out), from));
    digest_hmac(k, salted, SL("Client Key"), client_key);
    digest(k, octets(client_key, n), stored);
    digest_hmac(k, octets(stored, n), buf_slice(&c->auth_message), signature);
    for (size_t i = 0; i < n; i++)
        client_key[i] ^= signature[i];
    buf_addz(out, ",p=");
    enc_b64(out, octets(client_key, n));
    digest_hmac(k, salted, SL("Server Key"), server_key);
    digest_hmac(k, octets(server_key, n), buf_slice(&c->auth_message), c->server_signature);
    explicit_bzero(client_key, sizeof client_key);
    explicit_bzero(server_key, sizeof server_key);
    explicit_bzero(c->salted, sizeof c->salted);
}

static enum sasl_client_rc
scram_server_final(struct sasl_client *c, struct slice in, struct err *e)
{
    struct slice value;
    struct buf got = { 0 };
    bool is_right;

    if (sl_has_prefix(in, SL("e="))) {
        err_set(e, ERR_TEMP, "the server says: %.*s", SL_ARG(sl_head(in, 100)));
        return SASL_CLIENT_BAD;
    }
    is_right = take_attribute(&in, 'v', &value) && enc_b64_decode(&got, value) == 0 &&
               c->digest_n > 0 && got.n == c->digest_n &&
               digest_equal(buf_slice(&got).p, c->server_signature, c->digest_n);
    buf_free(&got);
    if (!is_right)
        return bad(e, "the server does not know the password: wrong SCRAM signature");
    c->is_proved = true;
    return SASL_CLIENT_SEND; /* an empty response */
}

static enum sasl_client_rc
scram_step(struct sasl_client *c, struct slice challenge, struct buf *out, struct err *e)
{
    (void)out;
    if (c->turn == 1)
        return scram_server_first(c, challenge, e);
    if (c->turn == 2)
        return scram_server_final(c, challenge, e);
    return bad(e, "SCRAM has two steps");
}

/* ---- the mechanisms, strongest first ---- */

enum {
    SHARED = SASL_NO_PLAINTEXT | SASL_NO_ANONYMOUS,
    MUTUAL = SHARED | SASL_NO_ACTIVE | SASL_MUTUAL_AUTH
};
/* clang-format off */
static const struct mechanism mechanisms[] = {
    { "SCRAM-SHA-256", MUTUAL,            DIGEST_SHA256, scram_first, scram_step, true },
    { "SCRAM-SHA-1",   MUTUAL,            DIGEST_SHA1,   scram_first, scram_step, true },
    { "CRAM-MD5",      SHARED,            DIGEST_MD5,    NULL,        cram_step,  false },
    { "PLAIN",         SASL_NO_ANONYMOUS, DIGEST_MD5,    plain_first, plain_step, false },
    { "LOGIN",         SASL_NO_ANONYMOUS, DIGEST_MD5,    NULL,        login_step, false },
};
/* clang-format on */

int
sasl_client_options(struct slice words, unsigned *bits, struct slice *bad_word)
{
    static const struct {
        const char *word;
        unsigned bit;
    } all[] = { { "noplaintext", SASL_NO_PLAINTEXT },
                { "noactive", SASL_NO_ACTIVE },
                { "nodictionary", SASL_NO_DICTIONARY },
                { "noanonymous", SASL_NO_ANONYMOUS },
                { "mutual_auth", SASL_MUTUAL_AUTH } };
    struct slice word;

    *bits = 0;
    while (sl_take_word(&words, ", \t\r\n", &word)) {
        size_t i = 0;

        while (i < COUNT_OF(all) && !sl_ieqz(word, all[i].word))
            i++;
        if (i == COUNT_OF(all)) {
            *bad_word = word;
            return -1;
        }
        *bits |= all[i].bit;
    }
    return 0;
}

const char *
sasl_client_choose(struct slice offered, unsigned must)
{
    for (size_t i = 0; i < COUNT_OF(mechanisms); i++) {
        struct slice rest = offered, word;

        if ((mechanisms[i].has & must) != must)
            continue;
        while (sl_take_word(&rest, " ", &word))
            if (sl_ieqz(word, mechanisms[i].name))
                return mechanisms[i].name;
    }
    return NULL;
}

struct sasl_client *
sasl_client_new(const char *mechanism, struct slice user, struct slice password)
{
    struct sasl_client *c = MEM_NEW(struct sasl_client);

    for (size_t i = 0; i < COUNT_OF(mechanisms); i++)
        if (sl_ieqz(sl_z(mechanism), mechanisms[i].name))
            c->m = &mechanisms[i];
    BUG_ON(c->m == NULL);
    buf_adds(&c->user, user);
    buf_adds(&c->password, password);
    c->salt.max = SASL_SALT_OCTETS_MAX;
    return c;
}

void
sasl_client_free(struct sasl_client **cp)
{
    struct sasl_client *c = *cp;

    if (c == NULL)
        return;
    if (c->password.p)
        explicit_bzero(c->password.p, c->password.cap);
    explicit_bzero(c->salted, sizeof c->salted);
    buf_free(&c->user);
    buf_free(&c->password);
    buf_free(&c->first_bare);
    buf_free(&c->auth_message);
    buf_free(&c->server_nonce);
    buf_free(&c->salt);
    free(c);
    *cp = NULL;
}

bool
sasl_client_first(struct sasl_client *c, struct buf *out)
{
    return c->m->first && c->m->first(c, out);
}

enum sasl_client_rc
sasl_client_step(struct sasl_client *c, struct slice challenge, struct buf *out, struct err *e)
{
    c->turn++;
    return c->m->step(c, challenge, out, e);
}

bool
sasl_client_is_done(const struct sasl_client *c)
{
    return !c->m->is_mutual || c->is_proved;
}
