/* tls/tls_test.c - two conns, one loop, TLS between them; and what contexts refuse. */
#include "tls/tls_int.h"
#include "tls/digest.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"

#include <openssl/pem.h>

#include <stdlib.h>
#include <unistd.h>

static struct buf chain, key;
static char ca_path[64];

static void
make_cert(void)
{
    static const char *const names[] = { "mail.example.org", "127.0.0.1" };
    struct err e = { 0 };
    int fd;

    if (chain.n > 0)
        return;
    if (tls_make_self_signed(names, 2, 30, &chain, &key, &e) != 0) {
        FAIL("%s", e.msg);
        return;
    }
    snprintf(ca_path, sizeof ca_path, "/tmp/tls_test.XXXXXX");
    fd = mkstemp(ca_path);
    if (fd < 0 || fs_write_all(fd, buf_slice(&chain), &e) != 0)
        FAIL("no CA file");
    close(fd);
}

struct side {
    struct conn *c;
    struct buf got;
    unsigned n_secure, n_closed, n_connect;
    enum conn_end end;
    struct err why;
    struct tls_info info;
    char sni[64];
    char cn[64], issuer[64], print[200], key_print[200];
    bool echo;
};

static void
on_input(struct conn *c, void *arg)
{
    struct side *s = arg;
    struct slice in = conn_input(c);

    if (s->echo)
        conn_writes(c, in);
    buf_adds(&s->got, in);
    conn_consume(c, in.n);
}

static void
on_secure(struct conn *c, void *arg)
{
    struct side *s = arg;

    s->n_secure++;
    CHECK(tls_info_of(c, &s->info));
    snprintf(s->sni, sizeof s->sni, "%s", s->info.sni);
    snprintf(s->cn, sizeof s->cn, "%s", s->info.peer_cn);
    snprintf(s->issuer, sizeof s->issuer, "%s", s->info.issuer_cn);
    snprintf(s->print, sizeof s->print, "%s", s->info.peer_fingerprint);
    snprintf(s->key_print, sizeof s->key_print, "%s", s->info.peer_key_fingerprint);
}

static void
on_connect(struct conn *c, void *arg)
{
    (void)c;
    ((struct side *)arg)->n_connect++;
}

static void
on_close(struct conn *c, void *arg, enum conn_end end, const struct err *why)
{
    struct side *s = arg;

    (void)c;
    s->n_closed++;
    s->end = end;
    if (why)
        s->why = *why;
    s->c = NULL;
}

static const struct conn_ops ops = {
    .on_input = on_input, .on_connect = on_connect, .on_secure = on_secure, .on_close = on_close
};

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

static void
turn(uint64_t ms)
{
    struct timer t = { 0 };

    timer_start(&t, ms, stop, NULL);
    loop_run();
    timer_stop(&t);
}

static struct side client, server;

/* Until both sides know how the handshake ended; a busy machine takes its time. */
static void
settle(void)
{
    for (int i = 0; i < 400; i++) {
        if ((client.n_secure || client.n_closed) && (server.n_secure || server.n_closed))
            break;
        turn(5);
    }
    turn(5);
}

static void
sides_start(void)
{
    int fds[2];

    make_cert();
    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    loop_init();
    client.c = conn_new(fds[0], &ops, &client);
    server.c = conn_new(fds[1], &ops, &server);
}

static void
sides_end(void)
{
    if (client.c)
        conn_abort(client.c);
    if (server.c)
        conn_abort(server.c);
    turn(0);
    loop_free();
    buf_free(&client.got);
    buf_free(&server.got);
}

static struct tls_ctx *
server_ctx(const char *protocols, const char *alpn)
{
    struct tls_server_opts o = { .protocols = protocols, .alpn = alpn, .tickets = true };
    struct tls_ctx *t = NULL;
    struct err e = { 0 };

    if (tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &t, &e) != 0)
        FAIL("%s", e.msg);
    return t;
}

static struct tls_ctx *
client_ctx(bool verify)
{
    struct tls_ctx *t = NULL;
    struct err e = { 0 };

    if (tls_client_new(&(struct tls_client_opts){ .ca_file = verify ? ca_path : NULL }, &t, &e) !=
        0)
        FAIL("%s", e.msg);
    return t;
}

static void
expect_name(const char *name, struct tls_ctx *ct)
{
    tls_start_client(client.c, ct,
                     &(struct tls_expect){
                         .demand = TLS_DEMAND_CHAIN, .sni = name, .names = &name, .n_names = 1 });
}

TEST(both_ways_and_back)
{
    static char bulk[300 * 1000];
    struct tls_ctx *st, *ct;

    for (size_t i = 0; i < sizeof bulk; i++)
        bulk[i] = (char)(i * 7 + i / 251);
    sides_start();
    st = server_ctx(NULL, "imap");
    ct = client_ctx(true);
    server.echo = true;
    tls_start_server(server.c, st);
    expect_name("mail.example.org", ct);
    conn_write(client.c, "early", 5); /* waits for the handshake */
    tls_unref(&st);
    tls_unref(&ct);
    settle();
    CHECK_EQ_INT(client.n_secure, 1);
    CHECK_EQ_INT(server.n_secure, 1);
    CHECK(client.info.peer_verified);
    CHECK_EQ_STR(client.info.protocol, "TLSv1.3");
    CHECK_EQ_STR(server.info.key_exchange, "X25519");
    CHECK_EQ_STR(server.info.server_signature, "ECDSA (prime256v1) server-digest SHA256");
    CHECK_EQ_STR(client.info.server_signature, "ECDSA (prime256v1) server-digest SHA256");
    CHECK_EQ_STR(server.info.client_signature, "");
    CHECK_EQ_INT(server.info.bits, 256);
    CHECK_EQ_STR(server.sni, "mail.example.org");
    CHECK_EQ_MEM(client.got.p, client.got.n, "early", 5);
    conn_write(client.c, bulk, sizeof bulk);
    for (int i = 0; i < 50 && client.got.n < sizeof bulk + 5; i++)
        turn(5);
    NEED(client.got.n == sizeof bulk + 5);
    CHECK(memcmp(buf_slice(&client.got).p + 5, bulk, sizeof bulk) == 0);
    conn_close(client.c);
    turn(10);
    CHECK_EQ_INT(client.n_closed, 1);
    CHECK_EQ_INT(client.end, CONN_END_OWN);
    CHECK_EQ_INT(server.n_closed, 1);
    CHECK_EQ_INT(server.end, CONN_END_PEER);
    sides_end();
}

TEST(an_unknown_certificate_is_refused_when_asked_to_verify)
{
    static const char *const hosts[] = { "other.example.org", "127.0.0.2", "mail.example.org",
                                         "127.0.0.1" };

    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        bool is_good = i >= 2;
        struct tls_ctx *st, *ct;

        TEST_ROW("%s", hosts[i]);
        sides_start();
        st = server_ctx(NULL, NULL);
        ct = client_ctx(true);
        tls_start_server(server.c, st);
        expect_name(hosts[i], ct);
        settle();
        CHECK_EQ_INT(client.n_secure, is_good);
        CHECK_EQ_INT(client.n_closed, !is_good);
        if (!is_good)
            CHECK(strstr(client.why.msg, "mismatch") != NULL);
        tls_unref(&st);
        tls_unref(&ct);
        sides_end();
    }
}

/* One handshake with these demands; true when it came through. */
static bool
comes_through(const struct tls_client_opts *o, const struct tls_expect *x)
{
    struct tls_ctx *st, *ct = NULL;
    struct err e = { 0 };
    bool is_good;

    sides_start();
    st = server_ctx(NULL, NULL);
    if (tls_client_new(o, &ct, &e) != 0)
        FAIL("%s", e.msg);
    tls_start_server(server.c, st);
    tls_start_client(client.c, ct, x);
    settle();
    is_good = client.n_secure == 1;
    CHECK_EQ_INT(client.n_closed, !is_good);
    tls_unref(&st);
    tls_unref(&ct);
    return is_good;
}

static size_t
octets_of(const char *print, char *out)
{
    size_t n = 0;

    for (const char *p = print; p[0] && p[1]; p += p[2] == ':' ? 3 : 2)
        out[n++] = (char)strtoul((char[]){ p[0], p[1], 0 }, NULL, 16);
    return n;
}

/* RFC 7672: the right record, wrong ones, records that SMTP cannot use, and names that count for DANE-TA only. */
TEST(dane)
{
    const char *right = "mail.example.org", *wrong = "other.example.org";
    struct tls_client_opts o = { .digest = "sha256" };
    struct tls_expect plain = { .sni = right };
    char key_hash[64], cert_hash[64], zero[64] = { 0 };
    const struct {
        const char *what, *name;
        uint8_t usage, selector, matching;
        const char *data;
        bool is_usable, is_good;
    } rows[] = {
        { "key", right, 3, 1, 1, key_hash, true, true },
        { "key, another name", wrong, 3, 1, 1, key_hash, true, true },
        { "certificate", right, 3, 0, 1, cert_hash, true, true },
        { "wrong key", right, 3, 1, 1, zero, true, false },
        { "wrong selector", right, 3, 0, 1, key_hash, true, false },
        { "anchor, not above the leaf", right, 2, 0, 1, cert_hash, true, false },
        { "PKIX", right, 1, 1, 1, key_hash, false, false },
        { "unknown digest", right, 3, 1, 7, key_hash, false, false },
        { "short digest", right, 3, 1, 2, key_hash, false, false },
    };

    CHECK(comes_through(&o, &plain));
    CHECK_EQ_INT(octets_of(client.key_print, key_hash), 32);
    CHECK_EQ_INT(octets_of(client.print, cert_hash), 32);
    sides_end();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct tls_tlsa t = { rows[i].usage, rows[i].selector, rows[i].matching,
                              sl_n(rows[i].data, 32) };
        struct tls_expect x = { .demand = TLS_DEMAND_DANE,
                                .sni = rows[i].name,
                                .names = &rows[i].name,
                                .n_names = 1,
                                .tlsa = &t,
                                .n_tlsa = 1 };

        TEST_ROW("%s", rows[i].what);
        CHECK_EQ_INT(tls_tlsa_is_usable(&t), rows[i].is_usable);
        CHECK_EQ_INT(comes_through(&o, &x), rows[i].is_good);
        if (!rows[i].is_good)
            CHECK(strstr(client.why.msg, "Server certificate not trusted") != NULL);
        sides_end();
    }
}

TEST(fingerprints_and_names)
{
    const char *below = ".example.org", *right = "mail.example.org", *prints[2] = { "00:11", NULL };
    struct tls_client_opts o = { .ca_file = NULL };
    struct tls_expect x = { .sni = right };
    char key_print[200];

    CHECK(comes_through(&o, &x));
    snprintf(key_print, sizeof key_print, "%s", client.key_print);
    sides_end();
    x = (struct tls_expect){ .demand = TLS_DEMAND_FINGERPRINT, .prints = prints, .n_prints = 1 };
    CHECK(!comes_through(&o, &x));
    CHECK(strstr(client.why.msg, "fingerprint") != NULL);
    sides_end();
    prints[1] = key_print;
    x.n_prints = 2;
    CHECK(comes_through(&o, &x));
    sides_end();
    /* no authority: a chain that leads nowhere */
    x = (struct tls_expect){ .demand = TLS_DEMAND_CHAIN };
    CHECK(!comes_through(&o, &x));
    CHECK(strstr(client.why.msg, "not trusted") != NULL);
    sides_end();
    o.ca_file = ca_path;
    CHECK(!comes_through(&o, &x)); /* an empty list of names is not every name */
    CHECK(strstr(client.why.msg, "not verified") != NULL);
    sides_end();
    x.names = &below;
    x.n_names = 1;
    CHECK(comes_through(&o, &x));
    sides_end();
}

TEST(opportunistic_takes_any_certificate)
{
    struct tls_ctx *st, *ct;

    sides_start();
    st = server_ctx(">=TLSv1.2, <=TLSv1.2", NULL);
    ct = client_ctx(false);
    tls_start_server(server.c, st);
    tls_start_client(client.c, ct, &(struct tls_expect){ .sni = NULL });
    settle();
    CHECK_EQ_INT(client.n_secure, 1);
    CHECK(!client.info.peer_verified);
    CHECK_EQ_STR(client.info.protocol, "TLSv1.2");
    CHECK_EQ_STR(server.sni, "");
    tls_unref(&st);
    tls_unref(&ct);
    sides_end();
}

TEST(garbage_and_a_vanishing_peer_end_the_handshake)
{
    for (int vanish = 0; vanish < 2; vanish++) {
        struct tls_ctx *st;

        TEST_ROW("vanish %d", vanish);
        sides_start();
        st = server_ctx(NULL, NULL);
        tls_start_server(server.c, st);
        if (vanish)
            conn_close(client.c);
        else
            conn_write(client.c, "EHLO plain.example.org\r\n", 24);
        turn(20);
        CHECK_EQ_INT(server.n_secure, 0);
        CHECK_EQ_INT(server.n_closed, 1);
        CHECK_EQ_INT(server.end, vanish ? CONN_END_PEER : CONN_END_ERROR);
        CHECK(server.why.msg[0] != '\0');
        tls_unref(&st);
        sides_end();
    }
}

/* The client hello came with the last plain input (login's TLS ports behind a proxy; a handed-over descriptor). */
TEST(a_handshake_already_read_is_put_back)
{
    struct tls_ctx *st, *ct;
    struct buf hello = { 0 };

    sides_start();
    st = server_ctx(NULL, NULL);
    ct = client_ctx(false);
    conn_pause_input(server.c);
    tls_start_client(client.c, ct, &(struct tls_expect){ .sni = NULL });
    turn(10);
    buf_adds(&hello, conn_input(server.c));
    NEED(hello.n > 100);
    conn_consume(server.c, hello.n);
    conn_unread(server.c, buf_slice(&hello));
    tls_start_server(server.c, st);
    conn_resume_input(server.c);
    turn(20);
    CHECK_EQ_INT(server.n_secure, 1);
    CHECK_EQ_INT(server.got.n, 0);
    buf_free(&hello);
    tls_unref(&st);
    tls_unref(&ct);
    sides_end();
}

TEST(contexts_refuse_what_does_not_fit)
{
    static const char *const names[] = { "a.example.org" };
    struct tls_server_opts o = { .protocols = NULL };
    struct buf other_chain = { 0 }, other_key = { 0 };
    struct tls_ctx *t = NULL;
    struct err e = { 0 };

    make_cert();
    CHECK_EQ_INT(tls_make_self_signed(names, 1, 1, &other_chain, &other_key, &e), 0);
    CHECK_EQ_INT(tls_server_new(buf_slice(&chain), buf_slice(&other_key), &o, &t, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CONFIG);
    CHECK(strstr(e.msg, "does not belong") != NULL);
    CHECK_EQ_INT(tls_server_new(SL("nothing"), buf_slice(&key), &o, &t, &e), -1);
    CHECK_EQ_INT(tls_server_new(buf_slice(&chain), SL(""), &o, &t, &e), -1);
    o.protocols = "TLSv1.2 TLSv9";
    CHECK_EQ_INT(tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &t, &e), -1);
    CHECK(strstr(e.msg, "TLSv9") != NULL);
    o.protocols = "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1";
    CHECK_EQ_INT(tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &t, &e), 0);
    tls_unref(&t);
    CHECK_EQ_INT(tls_client_new(&(struct tls_client_opts){ .ca_file = "/nonexistent.pem" }, &t, &e),
                 -1);
    CHECK_EQ_INT(
        tls_make_self_signed(&(const char *){ "a,DNS:b" }, 1, 1, &other_chain, &other_key, &e), -1);
    buf_free(&other_chain);
    buf_free(&other_key);
}

/* A client that shows a certificate, as smtp clients with smtp_tls_cert_file do: that of make_cert(), but not for
 * servers only. It is written to *ca too, for who trusts it. */
static void
show_cert(struct tls_ctx *t, char ca[64])
{
    BIO *b = BIO_new_mem_buf(chain.p, (int)chain.n), *k = BIO_new_mem_buf(key.p, (int)key.n);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    EVP_PKEY *pk = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
    FILE *f;
    int fd;

    X509_EXTENSION_free(X509_delete_ext(x, X509_get_ext_by_NID(x, NID_ext_key_usage, -1)));
    X509_sign(x, pk, EVP_sha256());
    CHECK_EQ_INT(SSL_CTX_use_certificate(t->h, x), 1);
    CHECK_EQ_INT(SSL_CTX_use_PrivateKey(t->h, pk), 1);
    snprintf(ca, 64, "/tmp/tls_test.XXXXXX");
    fd = mkstemp(ca);
    f = fd < 0 ? NULL : fdopen(fd, "w");
    NEED(f != NULL);
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(pk);
    BIO_free(b);
    BIO_free(k);
}

TEST(certificates_of_clients)
{
    static const struct {
        const char *name;
        bool shows, ask, trusts;
        const char *digest;
        bool want_cert, want_trust;
        size_t print_octets;
    } cases[] = {
        { "not asked", true, false, false, NULL, false, false, 0 },
        { "asked, none shown", false, true, false, NULL, false, false, 0 },
        { "nobody vouches for it", true, true, false, NULL, true, false, 95 },
        { "trusted", true, true, true, "sha256", true, true, 95 },
        { "another digest", true, true, true, "sha1", true, true, 59 },
    };
    char last[200] = "", ca[64];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tls_server_opts o = { .ask_ccert = cases[i].ask, .digest = cases[i].digest };
        struct tls_ctx *st = NULL, *ct;
        struct err e = { 0 };

        sides_start();
        ct = client_ctx(false);
        if (cases[i].shows)
            show_cert(ct, ca);
        o.ca_file = cases[i].trusts ? ca : NULL;
        if (tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &st, &e) != 0)
            FAIL("%s", e.msg);
        if (cases[i].shows)
            unlink(ca);
        tls_start_server(server.c, st);
        tls_start_client(client.c, ct, &(struct tls_expect){ .sni = NULL });
        settle();
        tls_unref(&st);
        tls_unref(&ct);
        if (server.n_secure != 1 || server.info.has_peer_cert != cases[i].want_cert ||
            server.info.peer_verified != cases[i].want_trust ||
            strlen(server.print) != cases[i].print_octets)
            FAIL("%s: secure %u cert %d trusted %d \"%s\"", cases[i].name, server.n_secure,
                 server.info.has_peer_cert, server.info.peer_verified, server.print);
        CHECK_EQ_STR(server.cn, cases[i].want_cert ? "mail.example.org" : "");
        CHECK_EQ_STR(server.issuer, cases[i].want_cert ? "mail.example.org" : "");
        CHECK_EQ_INT(strlen(server.key_print), cases[i].print_octets);
        if (cases[i].want_cert)
            CHECK(strcmp(server.print, server.key_print) != 0 && strcmp(server.print, last) != 0);
        snprintf(last, sizeof last, "%s", i == 3 ? server.print : "");
        sides_end();
    }
}

/* An RSA and an EC certificate in one text: each client gets what it asks for. */
TEST(two_certificates)
{
    static const struct {
        const char *sigalgs, *want; /* NULL: the handshake fails */
    } cases[] = { { "ECDSA+SHA256", "ECDSA" }, { "RSA-PSS+SHA256:RSA+SHA256", "RSA" } };
    struct buf both = { 0 }, keys = { 0 };
    EVP_PKEY *rsa = EVP_RSA_gen(2048);
    X509 *x;
    BIO *b;
    char *p;
    long n;

    make_cert();
    b = BIO_new_mem_buf(chain.p, (int)chain.n);
    x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    BIO_free(b);
    X509_set_pubkey(x, rsa);
    X509_sign(x, rsa, EVP_sha256());
    buf_adds(&both, buf_slice(&chain));
    buf_adds(&keys, buf_slice(&key));
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(b, x);
    n = BIO_get_mem_data(b, &p);
    buf_add(&both, p, (size_t)n);
    BIO_free(b);
    b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(b, rsa, NULL, NULL, 0, NULL, NULL);
    n = BIO_get_mem_data(b, &p);
    buf_add(&keys, p, (size_t)n);
    BIO_free(b);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tls_server_opts o = { .protocols = "TLSv1.2" };
        struct tls_ctx *st = NULL, *ct;
        struct err e = { 0 };

        sides_start();
        if (tls_server_new(buf_slice(&both), buf_slice(&keys), &o, &st, &e) != 0)
            FAIL("%s", e.msg);
        ct = client_ctx(false);
        CHECK_EQ_INT(SSL_CTX_set1_sigalgs_list(ct->h, cases[i].sigalgs), 1);
        tls_start_server(server.c, st);
        tls_start_client(client.c, ct, &(struct tls_expect){ 0 });
        settle();
        CHECK_EQ_INT(server.n_secure, 1);
        CHECK(strstr(server.info.cipher, cases[i].want) != NULL);
        tls_unref(&st);
        tls_unref(&ct);
        sides_end();
    }
    X509_free(x);
    EVP_PKEY_free(rsa);
    buf_free(&both);
    buf_free(&keys);
}

TEST(options_of_servers)
{
    static const struct {
        struct tls_server_opts o;
        const char *says; /* NULL: it works */
    } cases[] = {
        { { .cipher_grade = "high" }, NULL },
        { { .cipher_grade = "medium", .exclude_ciphers = "aNULL, MD5 DES,RC4" }, NULL },
        { { .cipher_grade = "strong" }, "unknown cipher grade" },
        { { .digest = "sha512" }, NULL },
        { { .digest = "sha3000" }, "not found" },
        { { .ask_ccert = true, .ca_file = "/nonexistent.pem" }, "/nonexistent.pem" },
        { { .ca_file = "/nonexistent.pem" }, NULL }, /* nobody is asked */
        { { .protocols = "TLSv7" }, "TLSv7" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct err e = { 0 };
        int rc = tls_check_server_opts(&cases[i].o, &e);

        if (rc != (cases[i].says ? -1 : 0) || (rc && !strstr(e.msg, cases[i].says)))
            FAIL("case %zu: %d \"%s\"", i, rc, e.msg);
    }
}

TEST(digests)
{
    unsigned char out[DIGEST_MAX_OCTETS];
    static const unsigned char abc_sha256[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea };
    /* RFC 2202 2, test case 2 */
    static const unsigned char hmac_md5[] = { 0x75, 0x0c, 0x78, 0x3e, 0x6a, 0xb0, 0xb5, 0x03,
                                              0xea, 0xa8, 0x6e, 0x31, 0x0a, 0x5d, 0xb7, 0x38 };

    CHECK_EQ_INT(digest(DIGEST_SHA256, SL("abc"), out), 32);
    CHECK_EQ_MEM(out, 8, abc_sha256, 8);
    CHECK_EQ_INT(digest(DIGEST_SHA512, SL(""), out), 64);
    CHECK_EQ_INT(digest_hmac(DIGEST_MD5, SL("Jefe"), SL("what do ya want for nothing?"), out), 16);
    CHECK_EQ_MEM(out, 16, hmac_md5, 16);
    CHECK(digest_equal(out, hmac_md5, 16));
    CHECK(!digest_equal(out, abc_sha256, 8));
    unlink(ca_path);
    buf_free(&chain);
    buf_free(&key);
}

/* ---- stores: certificates by name ---- */

static struct buf other_pem;

/* Certificate and key for one name, in one text, key first as tls_server_sni_maps has it. */
static struct slice
pem_of(const char *name)
{
    struct buf c = { 0 }, k = { 0 };
    struct err e = { 0 };

    buf_reset(&other_pem);
    CHECK_EQ_INT(tls_make_self_signed(&name, 1, 30, &c, &k, &e), 0);
    buf_adds(&other_pem, buf_slice(&k));
    buf_adds(&other_pem, buf_slice(&c));
    buf_free(&c);
    buf_free(&k);
    return buf_slice(&other_pem);
}

TEST(the_certificate_is_the_one_for_the_name)
{
    static const struct {
        const char *sni, *cn;
        bool is_known;
    } cases[] = {
        { NULL, "everybody", false },
        { "one.example.org", "one.example.org", true },
        { "ONE.example.ORG", "one.example.org", true },
        { "two.example.org", "everybody", false },
        { "a.below.example", "below", true },
        { "b.a.below.example", "below", true },
        { "below.example", "everybody", false },
        { "xbelow.example", "everybody", false },
        { "broken.example", "everybody", false },
        { "BROKEN.example", "everybody", false },
        { "one.example.org", "one.example.org", true },
    };
    struct tls_store *s;
    struct tls_bundle b;
    struct buf text = { 0 };
    struct err e = { 0 };

    tls_bundle_begin(&text, "smtp submission");
    tls_bundle_add(&text, NULL, pem_of("everybody"));
    tls_bundle_add(&text, "one.example.org", pem_of("one.example.org"));
    tls_bundle_add(&text, ".below.example", pem_of("below"));
    tls_bundle_add(&text, "broken.example", sl_head(pem_of("broken.example"), 600));
    tls_bundle_begin(&text, "imap");
    CHECK_EQ_INT(tls_bundle_read(buf_slice(&text), &b, &e), 0);
    CHECK(!tls_store_is_usable(tls_bundle_store(&b, "imap")));
    CHECK(tls_bundle_store(&b, "pop") == NULL);
    s = tls_bundle_store(&b, "submission");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct tls_server_opts o = { .tickets = true };
        struct tls_ctx *st = NULL, *ct = client_ctx(false);

        TEST_ROW("%s", cases[i].sni ? cases[i].sni : "none");
        CHECK_EQ_INT(tls_server_of(s, &o, &st, &e), 0);
        sides_start();
        tls_start_server(server.c, st);
        tls_start_client(client.c, ct, &(struct tls_expect){ .sni = cases[i].sni });
        settle();
        CHECK_EQ_INT(client.n_secure, 1);
        CHECK_EQ_STR(client.cn, cases[i].cn);
        CHECK(server.info.has_names);
        CHECK_EQ_INT(server.info.is_sni_known, cases[i].is_known);
        tls_unref(&st);
        tls_unref(&ct);
        sides_end();
    }
    tls_bundle_free(&b);
    CHECK_EQ_INT(tls_bundle_read(sl_head(buf_slice(&text), text.n - 40), &b, &e), -1);
    CHECK_EQ_INT(tls_bundle_read(SL("all 3\nabc"), &b, &e), -1);
    buf_free(&text);
    buf_free(&other_pem);
}

TEST(facts_of_certificates)
{
    struct buf both = { 0 };
    struct tls_facts f;
    struct err e = { 0 };

    make_cert();
    buf_adds(&both, buf_slice(&chain));
    buf_adds(&both, buf_slice(&key));
    CHECK_EQ_INT(tls_look(buf_slice(&both), "mail.example.org", &f, &e), 0);
    CHECK(f.is_in_order && f.has_chain && f.has_host);
    CHECK_EQ_STR(buf_z(&f.names), "mail.example.org 127.0.0.1");
    CHECK(f.not_after_unix_s - f.not_before_unix_s > 30 * 86400 - 10);
    tls_facts_free(&f);
    CHECK_EQ_INT(tls_look(buf_slice(&both), "example.org", &f, &e), 0);
    CHECK(!f.has_host);
    tls_facts_free(&f);
    /* A stranger's certificate behind it. */
    buf_adds(&both, pem_of("stranger"));
    buf_reset(&both);
    buf_adds(&both, buf_slice(&chain));
    buf_adds(&both,
             sl_from(buf_slice(&other_pem), sl_find(buf_slice(&other_pem), SL("-----BEGIN CERT"))));
    buf_adds(&both, buf_slice(&key));
    CHECK_EQ_INT(tls_look(buf_slice(&both), NULL, &f, &e), 0);
    CHECK(!f.is_in_order);
    tls_facts_free(&f);
    /* Cut short in a later certificate: somebody writes the file. */
    buf_reset(&both);
    buf_adds(&both, buf_slice(&key));
    buf_adds(&both, buf_slice(&chain));
    buf_adds(&both, sl_head(buf_slice(&chain), chain.n / 2));
    CHECK_EQ_INT(tls_look(buf_slice(&both), NULL, &f, &e), -1);
    CHECK(strstr(e.msg, "PEM") != NULL);
    buf_free(&both);
    buf_free(&other_pem);
}

/* A handshake in memory, resuming *kept if there is one; then *kept is the session that it made. Was it resumed? */
static bool
is_resumed_by(SSL_CTX *st, SSL_CTX *ct, SSL_SESSION **kept)
{
    SSL *s = SSL_new(st), *c = SSL_new(ct);
    BIO *a, *b;
    bool is_resumed;
    char octet;

    BUG_ON(BIO_new_bio_pair(&a, 0, &b, 0) != 1);
    SSL_set_bio(s, a, a);
    SSL_set_bio(c, b, b);
    SSL_set_accept_state(s);
    SSL_set_connect_state(c);
    if (*kept)
        SSL_set_session(c, *kept);
    for (int i = 0; i < 10 && (SSL_do_handshake(c) != 1 || SSL_do_handshake(s) != 1); i++)
        SSL_do_handshake(s);
    CHECK(SSL_is_init_finished(c) && SSL_is_init_finished(s));
    SSL_read(c, &octet, 1); /* the tickets */
    is_resumed = SSL_session_reused(s) == 1;
    SSL_SESSION_free(*kept);
    *kept = SSL_get1_session(c);
    SSL_shutdown(c); /* or the session counts as broken */
    SSL_free(s);
    SSL_free(c);
    return is_resumed;
}

/* Keys of tickets are the process's, so contexts made anew still know their clients. */
TEST(tickets_outlive_contexts_and_changes_of_keys)
{
    /* Which keys the server has in each round: the octet each is made of, newest first. */
    static const struct {
        const char *keys;
        bool has_tickets, want_resumed;
    } rounds[] = { { "a", true, false }, { "a", true, true },  { "ba", true, true },
                   { "cb", true, true }, { "d", true, false }, { "d", true, true },
                   { "d", false, false } };
    static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };
    struct err e = { 0 };

    make_cert();
    CHECK_EQ_INT(tls_set_ticket_keys(SL("short"), &e), -1);
    for (size_t i = 0; i < COUNT_OF(versions) * COUNT_OF(rounds); i++) {
        static char keys[TLS_TICKET_KEYS_MAX * TLS_TICKET_KEY_OCTETS];
        static SSL_SESSION *kept;
        size_t at = i % COUNT_OF(rounds), n = strlen(rounds[at].keys);
        struct tls_server_opts o = { .tickets = rounds[at].has_tickets,
                                     .protocols = versions[i / COUNT_OF(rounds)] };
        struct tls_ctx *st = NULL, *ct = client_ctx(false);

        TEST_ROW("%s, round %zu", o.protocols, at);
        for (size_t k = 0; k < n; k++)
            memset(keys + k * TLS_TICKET_KEY_OCTETS, rounds[at].keys[k], TLS_TICKET_KEY_OCTETS);
        CHECK_EQ_INT(tls_set_ticket_keys(sl_n(keys, n * TLS_TICKET_KEY_OCTETS), &e), 0);
        CHECK_EQ_INT(tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &st, &e), 0);
        CHECK_EQ_INT(is_resumed_by(st->h, ct->h, &kept), rounds[at].want_resumed);
        tls_unref(&st);
        tls_unref(&ct);
        if (at + 1 == COUNT_OF(rounds)) {
            SSL_SESSION_free(kept);
            kept = NULL;
        }
    }
}

/* What a listener for old devices agreed to is nothing that another one would: its sessions are its own. */
TEST(sessions_of_old_devices_stay_where_they_were_made)
{
    static const struct {
        bool is_legacy, want_resumed;
    } rounds[] = { { true, false }, { true, true }, { false, false }, { false, true } };
    static char keys[TLS_TICKET_KEY_OCTETS] = "one";
    SSL_SESSION *kept = NULL;
    struct err e = { 0 };

    make_cert();
    CHECK_EQ_INT(tls_set_ticket_keys(sl_n(keys, sizeof keys), &e), 0);
    for (size_t i = 0; i < COUNT_OF(rounds); i++) {
        struct tls_server_opts o = { .tickets = true,
                                     .alpn = "imap",
                                     .is_legacy = rounds[i].is_legacy };
        struct tls_ctx *st = NULL, *ct = client_ctx(false);

        TEST_ROW("round %zu", i);
        CHECK_EQ_INT(SSL_CTX_set_max_proto_version(ct->h, TLS1_2_VERSION), 1);
        CHECK_EQ_INT(tls_server_new(buf_slice(&chain), buf_slice(&key), &o, &st, &e), 0);
        CHECK_EQ_INT(is_resumed_by(st->h, ct->h, &kept), rounds[i].want_resumed);
        tls_unref(&st);
        tls_unref(&ct);
    }
    SSL_SESSION_free(kept);
}

/* The store outlives a reload that asks for less. */
TEST(lists_of_revoked_are_asked_for_by_the_context_that_wants_them)
{
    static const struct {
        bool req_crl, want_trust;
    } rounds[] = { { false, true }, { true, false }, { false, true } };
    struct tls_store *s = tls_store_new();
    struct buf pem = { 0 }, authority = { 0 };
    struct tls_ctx *ct;
    struct err e = { 0 };
    char ca[64];

    make_cert();
    ct = client_ctx(false);
    show_cert(ct, ca);
    CHECK_EQ_INT(fs_read_file(ca, &authority, &e), 0);
    unlink(ca);
    CHECK_EQ_INT(tls_store_set_ca(s, buf_slice(&authority), &e), 0);
    buf_adds(&pem, buf_slice(&chain));
    buf_adds(&pem, buf_slice(&key));
    CHECK_EQ_INT(tls_store_add(s, NULL, buf_slice(&pem), &e), 0);
    for (size_t i = 0; i < COUNT_OF(rounds); i++) {
        struct tls_server_opts o = { .ask_ccert = true, .req_crl = rounds[i].req_crl };
        struct tls_ctx *st = NULL;

        TEST_ROW("round %zu", i);
        sides_start();
        CHECK_EQ_INT(tls_server_of(s, &o, &st, &e), 0);
        tls_start_server(server.c, st);
        tls_start_client(client.c, ct, &(struct tls_expect){ .sni = NULL });
        settle();
        CHECK(server.info.has_peer_cert);
        CHECK_EQ_INT(server.info.peer_verified, rounds[i].want_trust);
        tls_unref(&st);
        sides_end();
    }
    tls_unref(&ct);
    tls_store_unref(&s);
    buf_free(&pem);
    buf_free(&authority);
}

/* smtpd_tls_CApath beside smtpd_tls_CAfile: who one of them has is trusted, and by no other context of the store. */
TEST(a_folder_of_authorities_beside_the_file)
{
    static const struct {
        bool has_folder, want_trust;
    } rounds[] = { { false, false }, { true, true }, { false, false } };
    struct tls_store *s = tls_store_new();
    struct buf pem = { 0 };
    struct tls_ctx *ct;
    struct err e = { 0 };
    struct slice other;
    char ca[64], folder[64], path[128];
    BIO *b;
    X509 *x;

    make_cert();
    ct = client_ctx(false);
    show_cert(ct, ca);
    snprintf(folder, sizeof folder, "/tmp/tls_test.XXXXXX");
    NEED(mkdtemp(folder) != NULL);
    b = BIO_new_file(ca, "r");
    x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    snprintf(path, sizeof path, "%s/%08lx.0", folder,
             X509_NAME_hash_ex(X509_get_subject_name(x), NULL, NULL, NULL));
    X509_free(x);
    BIO_free(b);
    CHECK_EQ_INT(rename(ca, path), 0);
    other = pem_of("stranger");
    other = sl_from(other, sl_find(other, SL("-----BEGIN CERT")));
    CHECK_EQ_INT(tls_store_set_ca(s, other, &e), 0);
    buf_adds(&pem, buf_slice(&chain));
    buf_adds(&pem, buf_slice(&key));
    CHECK_EQ_INT(tls_store_add(s, NULL, buf_slice(&pem), &e), 0);
    for (size_t i = 0; i < COUNT_OF(rounds); i++) {
        struct tls_server_opts o = { .ask_ccert = true,
                                     .ca_path = rounds[i].has_folder ? folder : NULL };
        struct tls_ctx *st = NULL;

        TEST_ROW("round %zu", i);
        sides_start();
        CHECK_EQ_INT(tls_server_of(s, &o, &st, &e), 0);
        tls_start_server(server.c, st);
        tls_start_client(client.c, ct, &(struct tls_expect){ .sni = NULL });
        settle();
        CHECK(server.info.has_peer_cert);
        CHECK_EQ_INT(server.info.peer_verified, rounds[i].want_trust);
        tls_unref(&st);
        sides_end();
    }
    unlink(path);
    rmdir(folder);
    tls_unref(&ct);
    tls_store_unref(&s);
    buf_free(&pem);
    buf_free(&other_pem);
}

/* A prepared key gives what the key gives, each time. */
TEST(a_key_for_many_macs)
{
    static const char long_key[200] = "longer than a block of the digest";
    const struct slice keys[] = { SL("Jefe"), SL(""), sl_n(long_key, sizeof long_key) };
    const struct slice texts[] = { SL("what do ya want for nothing?"), SL(""), SL("once more") };
    unsigned char want[DIGEST_MAX_OCTETS], got[DIGEST_MAX_OCTETS];

    for (size_t k = 0; k < COUNT_OF(keys); k++) {
        struct digest_key *made = digest_key_new(DIGEST_SHA256, keys[k]);

        for (size_t i = 0; i < COUNT_OF(texts); i++) {
            size_t n = digest_hmac(DIGEST_SHA256, keys[k], texts[i], want);

            TEST_ROW("key %zu, text %zu", k, i);
            CHECK_EQ_INT(digest_key_mac(made, texts[i], got), 32);
            CHECK_EQ_MEM(got, 32, want, n);
        }
        digest_key_free(&made);
    }
    CHECK_EQ_INT(digest_key_mac(NULL, SL("x"), got), 0);
}

TEST_MAIN()
