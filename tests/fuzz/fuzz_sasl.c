/* The server's half of every SASL mechanism. Lines are the client's responses; "@" is what a right client of SCRAM would say at
 * that point, "@xy" the same with octet x changed by y. */
#include "auth/sasl.h"
#include "auth/saslprep.h"
#include "auth/scram.h"
#include "session/sasl_client.h"
#include "tests/fuzz/fuzz.h"

enum { STEPS_MAX = 12 };

static struct sasl_verifier verifier;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct err e;

    (void)argc;
    (void)argv;
    fuzz_quiet();
    MUST(scram_make_salted(SL("pencil"), SL("salt"), SASL_ITERATIONS_MIN, &verifier, &e) == 0);
    return 0;
}

/* What the client says to the challenge. False: it has given up. */
static bool
say(struct sasl_client *c, const struct sasl *s, struct buf *out)
{
    struct err e;

    if (s->text.n == 0)
        return sasl_client_first(c, out);
    switch (sasl_client_step(c, s->challenge, out, &e)) {
    case SASL_CLIENT_HASH:
        sasl_client_hash(c);
        sasl_client_hashed(c, out);
        return true;
    case SASL_CLIENT_SEND:
        return true;
    case SASL_CLIENT_BAD:
        break;
    }
    return false;
}

/* Octet x of what was said is changed by y. */
static bool
spoil(struct buf *said, struct slice how)
{
    if (how.n < 2 || how.p[1] == 0 || said->n == 0)
        return false;
    said->p[said->off + (unsigned char)how.p[0] % said->n] ^= how.p[1];
    return true;
}

static void
look_at(const struct sasl *s, enum sasl_rc rc)
{
    struct slice password = buf_slice(&s->password);

    if (rc == SASL_BAD || rc == SASL_CONTINUE)
        return;
    MUST(sasl_is_name(buf_slice(&s->authcid)) && sasl_is_name(buf_slice(&s->authzid)));
    MUST(rc != SASL_CREDENTIALS || (s->authcid.n && password.n));
    MUST(rc != SASL_CREDENTIALS || memchr(password.p, '\0', password.n) == NULL);
    MUST(rc != SASL_LOOKUP || s->authcid.n);
    MUST(rc != SASL_PROVEN || s->final.n);
    MUST(rc != SASL_WRONG || (s->why && s->final.n == 0));
}

static void
run(const struct sasl_mech *m, struct slice in)
{
    struct sasl_client *c = sasl_client_new("SCRAM-SHA-256", SL("user@example.com"), SL("pencil"));
    enum sasl_rc rc = SASL_CONTINUE;
    unsigned n_right = 0; /* words of the right client */
    bool is_right = true; /* there were no others */
    struct slice line;
    struct sasl s;

    sasl_begin(&s, m);
    for (unsigned i = 0; i < STEPS_MAX && rc == SASL_CONTINUE && sl_take_line(&in, &line); i++) {
        struct buf said = { 0 };
        struct slice how = line, octets = line;

        if (sl_take_char(&how, '@') && say(c, &s, &said)) {
            is_right = !spoil(&said, how) && is_right;
            n_right++;
            octets = buf_slice(&said);
        } else if (i || octets.n) {
            is_right = false;
        }
        octets = fuzz_dup(octets);
        rc = sasl_step(&s, octets, octets.n || i);
        fuzz_free(octets);
        look_at(&s, rc);
        if (rc == SASL_LOOKUP)
            rc = sasl_give_verifier(&s, &verifier);
        MUST(!is_right || m != &sasl_scram_sha256 ||
             rc == (n_right < 2 ? SASL_CONTINUE : SASL_PROVEN));
        buf_free(&said);
    }
    MUST(is_right || rc != SASL_PROVEN);
    sasl_end(&s);
    sasl_client_free(&c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    const struct sasl_mech *m = sasl_at(fuzz_choice(&in) % 8);
    struct sasl_verifier v;
    struct buf out = { 0 }, again = { 0 };

    if (m) {
        run(m, in);
        return 0;
    }
    if (scram_read(in, &v) == 0) {
        scram_write(&v, &out);
        MUST(scram_read(buf_slice(&out), &v) == 0);
    }
    buf_reset(&out);
    if (saslprep(in, &out) == 0 && saslprep(buf_slice(&out), &again) == 0)
        MUST(sl_eq(buf_slice(&out), buf_slice(&again)));
    buf_free(&out);
    buf_free(&again);
    return 0;
}
