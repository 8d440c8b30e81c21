/* tls/tls_sign.c - the key exchange and the signatures of a handshake, as Postfix's log and Received lines name them. */
#include "tls/tls_int.h"

#include "base/mem.h"

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>
#include <stdio.h>

const char *
tls_key_exchange(SSL *ssl)
{
    static const struct {
        const char *group, *text;
    } names[] = {
        { "x25519", "X25519" },
        { "x448", "X448" },
        { "secp256r1", "ECDHE (prime256v1)" },
        { "secp384r1", "ECDHE (secp384r1)" },
        { "secp521r1", "ECDHE (secp521r1)" },
        { "ffdhe2048", "DHE (2048 bits)" },
        { "ffdhe3072", "DHE (3072 bits)" },
        { "ffdhe4096", "DHE (4096 bits)" },
    };
    const char *group = SSL_group_to_name(ssl, (int)SSL_get_negotiated_group(ssl));

    if (group == NULL)
        return "";
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strcmp(group, names[i].group) == 0)
            return names[i].text;
    return group;
}

/* One side's: the key's kind, and the digest that was signed. */
static void
tell(char out[TLS_SIGNATURE_OCTETS], const EVP_PKEY *key, int digest_nid, const char *side)
{
    char more[48] = "", digest[40] = "";
    const char *name = OBJ_nid2sn(EVP_PKEY_get_base_id(key));
    size_t n = 0;

    if (EVP_PKEY_is_a(key, "RSA")) { /* TLS 1.3 has no other signature by such a key */
        name = "RSA-PSS";
        snprintf(more, sizeof(more), " (%d bits)", EVP_PKEY_get_bits(key));
    } else if (EVP_PKEY_is_a(key, "EC")) {
        char curve[40];

        name = "ECDSA";
        if (EVP_PKEY_get_group_name(key, curve, sizeof(curve), &n))
            snprintf(more, sizeof(more), " (%.39s)", curve);
    }
    if (digest_nid != NID_undef)
        snprintf(digest, sizeof(digest), " %s-digest %s", side, OBJ_nid2sn(digest_nid));
    if (name)
        snprintf(out, TLS_SIGNATURE_OCTETS, "%.20s%s%s", name, more, digest);
}

void
tls_signatures_tell(SSL *ssl, struct tls_info *out)
{
    bool is_server = SSL_is_server(ssl);
    const EVP_PKEY *own = SSL_get_privatekey(ssl);
    X509 *cert;
    int nid = NID_undef, peer_nid = NID_undef;

    out->server_signature[0] = out->client_signature[0] = '\0';
    if (SSL_version(ssl) < TLS1_3_VERSION || SSL_session_reused(ssl))
        return;
    /* A client may have a certificate that nobody asked for. */
    if (own && (SSL_get_signature_nid(ssl, &nid) || is_server))
        tell(is_server ? out->server_signature : out->client_signature, own, nid,
             is_server ? "server" : "client");
    cert = SSL_get0_peer_certificate(ssl);
    if (cert && X509_get0_pubkey(cert)) {
        (void)SSL_get_peer_signature_nid(ssl, &peer_nid);
        tell(is_server ? out->client_signature : out->server_signature, X509_get0_pubkey(cert),
             peer_nid, is_server ? "client" : "server");
    }
}

const char *
tls_details(const struct tls_info *t, char out[TLS_DETAILS_OCTETS])
{
    out[0] = '\0';
    if (strcmp(t->protocol, "TLSv1.3") == 0 && t->key_exchange[0])
        snprintf(out, TLS_DETAILS_OCTETS, " key-exchange %.40s%s%s%s%s", t->key_exchange,
                 t->server_signature[0] ? " server-signature " : "", t->server_signature,
                 t->client_signature[0] ? " client-signature " : "", t->client_signature);
    return out;
}
