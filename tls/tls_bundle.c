/* tls/tls_bundle.c - the document in which the supervisor gives certificates and keys to its daemons: heads "set SERVICES",
 * "all N", "name SNI N" and "ca N", each a line, the last three followed by N octets of PEM. */
#include "tls/tls_store.h"

#include "base/mem.h"

#include <stdlib.h>

void
tls_bundle_begin(struct buf *out, const char *services)
{
    buf_addf(out, "set %s\n", services);
}

void
tls_bundle_add(struct buf *out, const char *sni, struct slice pem)
{
    if (sni)
        buf_addf(out, "name %s %zu\n", sni, pem.n);
    else
        buf_addf(out, "all %zu\n", pem.n);
    buf_adds(out, pem);
}

void
tls_bundle_ca(struct buf *out, struct slice pem)
{
    buf_addf(out, "ca %zu\n", pem.n);
    buf_adds(out, pem);
}

static int
begin(struct tls_bundle *b, struct slice services, struct err *e)
{
    if (b->n == TLS_BUNDLE_SETS_MAX)
        return err_set(e, ERR_BUG, "more than %d sets of certificates", TLS_BUNDLE_SETS_MAX);
    b->v[b->n].services = sl_dupz(services);
    b->v[b->n++].store = tls_store_new();
    return 0;
}

/* What follows a head that has a length. */
static int
take_pem(struct slice *text, struct slice number, struct slice *pem, struct err *e)
{
    uint64_t n;

    if (!sl_to_u64(number, &n) || n > text->n)
        return err_set(e, ERR_BUG, "certificates are cut short");
    *pem = sl_head(*text, (size_t)n);
    *text = sl_from(*text, (size_t)n);
    return 0;
}

static int
add(struct tls_store *s, struct slice verb, struct slice rest, struct slice *text, struct err *e)
{
    struct slice name = { 0 }, number = { 0 }, pem;
    char *sni;

    if (sl_eqz(verb, "name"))
        sl_take_word(&rest, " ", &name);
    sl_take_word(&rest, " ", &number);
    if (take_pem(text, number, &pem, e))
        return -1;
    if (sl_eqz(verb, "ca"))
        return tls_store_set_ca(s, pem, e);
    if (!sl_eqz(verb, "name"))
        return tls_store_add(s, NULL, pem, e);
    sni = sl_dupz(name);
    tls_store_add_later(s, sni, pem); /* the supervisor has looked at it */
    free(sni);
    return 0;
}

int
tls_bundle_read(struct slice text, struct tls_bundle *out, struct err *e)
{
    struct slice line, verb = { 0 };
    int rc = 0;

    *out = (struct tls_bundle){ .n = 0 };
    while (rc == 0 && sl_take_until(&text, '\n', &line)) {
        sl_take_word(&line, " ", &verb);
        if (sl_eqz(verb, "set"))
            rc = begin(out, sl_trim(line), e);
        else if (out->n == 0)
            rc = err_set(e, ERR_BUG, "certificates for no service");
        else
            rc = add(out->v[out->n - 1].store, verb, line, &text, e);
    }
    if (rc)
        tls_bundle_free(out);
    return rc;
}

struct tls_store *
tls_bundle_store(const struct tls_bundle *b, const char *service)
{
    for (size_t i = 0; i < b->n; i++) {
        struct slice in = sl_z(b->v[i].services), word;

        while (sl_take_word(&in, " ", &word))
            if (sl_eqz(word, service))
                return b->v[i].store;
    }
    return NULL;
}

void
tls_bundle_free(struct tls_bundle *b)
{
    for (size_t i = 0; i < b->n; i++) {
        free(b->v[i].services);
        tls_store_unref(&b->v[i].store);
    }
    b->n = 0;
}
