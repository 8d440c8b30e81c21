/* tls/tls_conn.c - the transport under a conn. A BIO of our own reads from what the conn has received and writes to
 * what it is to send, so no octet waits in a buffer between OpenSSL and the conn, and an idle session has none. */
#include "tls/tls_int.h"

#include "base/mem.h"

#include <openssl/bio.h>
#include <openssl/err.h>

#include <stdlib.h>

enum { RECORD_OCTETS = 16 * 1024, WRITE_MAX = 1 << 30, ERROR_OCTETS = 200 };
#define ACCEPT_FAILED "SSL_accept() failed: " /* Dovecot's words */

struct tls_state {
    SSL *ssl;
    struct tls_ctx *ctx;
    struct slice *raw;             /* during feed: what is received */
    struct buf *raw_out;           /* during feed, send, goodbye: what is to be sent */
    struct tls_peer *peer;         /* once somebody has asked */
    struct tls_demanded *demanded; /* of a client; NULL of a server */
    bool is_ready, is_failed, is_name_known;
};

/* ---- the BIO ---- */

static int
bio_read(BIO *b, char *out, int max)
{
    struct tls_state *s = BIO_get_data(b);
    size_t n;

    BIO_clear_retry_flags(b);
    if (max <= 0)
        return 0;
    if (!s->raw || s->raw->n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    n = s->raw->n < (size_t)max ? s->raw->n : (size_t)max;
    memcpy(out, s->raw->p, n);
    *s->raw = sl_from(*s->raw, n);
    return (int)n;
}

static int
bio_write(BIO *b, const char *p, int n)
{
    struct tls_state *s = BIO_get_data(b);

    BIO_clear_retry_flags(b);
    if (n <= 0 || !s->raw_out)
        return n <= 0 ? 0 : -1;
    buf_add(s->raw_out, p, (size_t)n);
    return n;
}

static long
bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
    (void)b;
    (void)num;
    (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *
bio_method(void)
{
    static BIO_METHOD *m;

    if (!m) {
        m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");
        BUG_ON(!m);
        BIO_meth_set_read(m, bio_read);
        BIO_meth_set_write(m, bio_write);
        BIO_meth_set_ctrl(m, bio_ctrl);
    }
    return m;
}

/* ---- the transport ---- */

static enum transport_rc
fail(struct tls_state *s, const char *doing, struct err *e)
{
    s->is_failed = true;
    tls_fail(e, ERR_TEMP, doing);
    return TRANSPORT_FAILED;
}

static void tell_peer(struct tls_state *s, struct tls_info *out);

static bool
is_peer_good(struct tls_state *s, struct err *e)
{
    struct tls_info peer;

    if (s->demanded == NULL)
        return true;
    tell_peer(s, &peer);
    return tls_demanded_is_met(s->demanded, s->ssl, &peer, e);
}

static enum transport_rc
shake_hands(struct tls_state *s, struct err *e)
{
    int rc = SSL_do_handshake(s->ssl);
    char text[ERROR_OCTETS];

    if (rc == 1) {
        if (!is_peer_good(s, e)) {
            s->is_failed = true;
            return TRANSPORT_FAILED;
        }
        s->is_ready = true;
        return TRANSPORT_OK;
    }
    if (SSL_get_error(s->ssl, rc) == SSL_ERROR_WANT_READ)
        return TRANSPORT_WANT_MORE;
    if (s->ctx->is_client)
        return fail(s, "TLS handshake", e);
    s->is_failed = true;
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof text);
    err_set(e, ERR_TEMP, ACCEPT_FAILED "%s", text);
    ERR_clear_error();
    return TRANSPORT_FAILED;
}

const char *
tls_accept_error(const struct err *why)
{
    struct slice text = sl_z(why ? why->msg : "");

    return sl_take_prefix(&text, SL(ACCEPT_FAILED)) ? text.p : NULL;
}

static enum transport_rc
read_all(struct tls_state *s, struct buf *plain, struct err *e)
{
    static char record[RECORD_OCTETS];
    enum transport_rc rc = TRANSPORT_OK;

    while (rc == TRANSPORT_OK) {
        int n = SSL_read(s->ssl, record, sizeof record);

        if (n > 0) {
            buf_add(plain, record, (size_t)n);
            continue;
        }
        switch (SSL_get_error(s->ssl, n)) {
        case SSL_ERROR_WANT_READ:
            return TRANSPORT_OK; /* all of raw was taken */
        case SSL_ERROR_ZERO_RETURN:
            rc = TRANSPORT_CLOSED;
            break;
        default:
            rc = fail(s, "TLS read", e);
            break;
        }
    }
    return rc;
}

static enum transport_rc
tls_feed(void *state, struct slice *raw, struct buf *plain, struct buf *raw_out, struct err *e)
{
    struct tls_state *s = state;
    enum transport_rc rc = TRANSPORT_OK;

    ERR_clear_error();
    s->raw = raw;
    s->raw_out = raw_out;
    if (!s->is_ready)
        rc = shake_hands(s, e);
    if (rc == TRANSPORT_OK)
        rc = read_all(s, plain, e);
    s->raw = NULL;
    s->raw_out = NULL;
    return rc;
}

static enum transport_rc
tls_send(void *state, struct slice plain, struct buf *raw_out, struct err *e)
{
    struct tls_state *s = state;
    enum transport_rc rc = TRANSPORT_OK;

    ERR_clear_error();
    s->raw_out = raw_out;
    while (plain.n > 0 && rc == TRANSPORT_OK) {
        int n = SSL_write(s->ssl, plain.p, plain.n < WRITE_MAX ? (int)plain.n : WRITE_MAX);

        if (n <= 0)
            rc = fail(s, "TLS write", e);
        else
            plain = sl_from(plain, (size_t)n);
    }
    s->raw_out = NULL;
    return rc;
}

static bool
tls_is_ready(void *state)
{
    return ((struct tls_state *)state)->is_ready;
}

static void
tls_say_goodbye(void *state, struct buf *raw_out)
{
    struct tls_state *s = state;

    if (!s->is_ready || s->is_failed)
        return;
    s->raw_out = raw_out;
    SSL_shutdown(s->ssl);
    ERR_clear_error();
    s->raw_out = NULL;
}

static size_t
tls_buffered(void *state)
{
    return (size_t)SSL_pending(((struct tls_state *)state)->ssl);
}

static void
tls_free(void *state)
{
    struct tls_state *s = state;

    tls_peer_free(&s->peer);
    tls_demanded_free(&s->demanded);
    SSL_free(s->ssl);
    tls_unref(&s->ctx);
    free(s);
}

static const struct transport transport = { .feed = tls_feed,
                                            .send = tls_send,
                                            .is_ready = tls_is_ready,
                                            .say_goodbye = tls_say_goodbye,
                                            .buffered = tls_buffered,
                                            .free = tls_free };

static struct tls_state *
state_new(struct tls_ctx *t)
{
    struct tls_state *s = MEM_NEW(struct tls_state);
    BIO *b = BIO_new(bio_method());

    BUG_ON(!b);
    BIO_set_data(b, s);
    BIO_set_init(b, 1);
    s->ctx = tls_ref(t);
    s->ssl = SSL_new(t->h);
    BUG_ON(!s->ssl);
    SSL_set_bio(s->ssl, b, b);
    SSL_set_app_data(s->ssl, s);
    return s;
}

void
tls_conn_note_name(SSL *ssl)
{
    struct tls_state *s = SSL_get_app_data(ssl);

    s->is_name_known = true;
}

void
tls_start_server(struct conn *c, struct tls_ctx *t)
{
    struct tls_state *s = state_new(t);

    SSL_set_accept_state(s->ssl);
    conn_set_transport(c, &transport, s, sl_n("", 0));
}

void
tls_start_client(struct conn *c, struct tls_ctx *t, const struct tls_expect *x)
{
    struct tls_state *s = state_new(t);
    struct buf hello = { 0 };
    struct err e = { 0 };

    SSL_set_connect_state(s->ssl);
    s->demanded = tls_demanded_new(s->ssl, x);
    s->raw_out = &hello;
    ERR_clear_error();
    shake_hands(s, &e); /* a failure comes again with the first octet received */
    s->raw_out = NULL;
    conn_set_transport(c, &transport, s, buf_slice(&hello));
    buf_free(&hello);
}

/* ---- what was agreed ---- */

static void
tell_peer(struct tls_state *s, struct tls_info *out)
{
    if (s->peer == NULL && (s->ctx->is_client || s->ctx->is_asking))
        s->peer = tls_peer_new(s->ssl, s->ctx->digest);
    tls_peer_tell(s->peer, out);
    out->demanded = tls_demanded_what(s->demanded);
    out->peer_verified = s->peer && SSL_get_verify_result(s->ssl) == X509_V_OK;
}

bool
tls_peer_name(const struct conn *c, const char *field, struct buf *out)
{
    struct tls_state *s = conn_transport_state(c);

    if (!s || !s->is_ready || SSL_get_verify_result(s->ssl) != X509_V_OK)
        return false;
    return tls_subject_field(SSL_get0_peer_certificate(s->ssl), field, out);
}

bool
tls_info_of(const struct conn *c, struct tls_info *out)
{
    struct tls_state *s = conn_transport_state(c);
    const SSL_CIPHER *cipher;
    const char *sni;

    *out = (struct tls_info){ .protocol = "", .cipher = "", .key_exchange = "", .sni = "" };
    tls_peer_tell(NULL, out);
    if (!s || !s->is_ready)
        return false;
    cipher = SSL_get_current_cipher(s->ssl);
    out->protocol = SSL_get_version(s->ssl);
    if (cipher) {
        out->cipher = SSL_CIPHER_get_name(cipher);
        out->bits = SSL_CIPHER_get_bits(cipher, &out->algbits);
    }
    out->key_exchange = tls_key_exchange(s->ssl);
    tls_signatures_tell(s->ssl, out);
    sni = SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name);
    if (sni)
        out->sni = sni;
    out->is_sni_known = s->is_name_known;
    out->has_names = s->ctx->store && tls_store_has_names(s->ctx->store);
    out->is_resumed = SSL_session_reused(s->ssl) == 1;
    tell_peer(s, out);
    return true;
}
