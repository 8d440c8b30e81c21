/* tls/tls_tickets.c - session tickets under keys that all workers share and the supervisor changes. */
#include "tls/tls_int.h"
#include "tls/tls_store.h"

#include "base/mem.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>

enum { NAME_OCTETS = 16, SECRET_OCTETS = 32, FOUND = 1, FOUND_OLD = 2, UNKNOWN = 0, BROKEN = -1 };

struct ticket_key {
    unsigned char name[NAME_OCTETS], cipher[SECRET_OCTETS], mac[SECRET_OCTETS];
};

static struct ticket_key keys[TLS_TICKET_KEYS_MAX];
static size_t n_keys;

int
tls_set_ticket_keys(struct slice text, struct err *e)
{
    size_t n = text.n / TLS_TICKET_KEY_OCTETS;

    _Static_assert(sizeof(struct ticket_key) == TLS_TICKET_KEY_OCTETS, "the supervisor's keys");
    if (n == 0 || n > TLS_TICKET_KEYS_MAX || text.n % TLS_TICKET_KEY_OCTETS)
        return err_set(e, ERR_BUG, "%zu octets are no keys of session tickets", text.n);
    mem_wipe((char *)keys, sizeof keys);
    memcpy(keys, text.p, text.n);
    n_keys = n;
    return 0;
}

static bool
set_up(const struct ticket_key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
       bool is_new)
{
    OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(
                                OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof k->mac),
                            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                             (char[]){ "SHA256" }, 0),
                            OSSL_PARAM_construct_end() };

    return EVP_MAC_CTX_set_params(mac, params) == 1 &&
           (is_new ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv)
                   : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv)) == 1;
}

/* SSL_CTX_set_tlsext_ticket_key_evp_cb(3). A ticket under an older key is good, and exchanged for a new one. */
static int
on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
          EVP_MAC_CTX *mac, int is_new)
{
    (void)ssl;
    if (n_keys == 0)
        return UNKNOWN;
    if (is_new) {
        memcpy(name, keys[0].name, NAME_OCTETS);
        return RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
                       set_up(&keys[0], iv, cipher, mac, true)
                   ? FOUND
                   : BROKEN;
    }
    for (size_t i = 0; i < n_keys; i++)
        if (memcmp(name, keys[i].name, NAME_OCTETS) == 0)
            return !set_up(&keys[i], iv, cipher, mac, false) ? BROKEN : i == 0 ? FOUND : FOUND_OLD;
    return UNKNOWN;
}

void
tls_use_tickets(SSL_CTX *h)
{
    SSL_CTX_set_tlsext_ticket_key_evp_cb(h, on_ticket);
}
