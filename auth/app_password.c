/* auth/app_password.c - see app_password.h. */
#include "auth/app_password.h"

#include "base/enc.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tls/digest.h"

#include <stdio.h>
#include <string.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567"; /* RFC 4648 §6, lower case */

void
app_password_make(char out[APP_PASSWORD_TEXT_OCTETS])
{
    unsigned char octets[APP_PASSWORD_CHARS];
    size_t n = 0;

    rand_octets(octets, sizeof octets);
    for (size_t i = 0; i < APP_PASSWORD_CHARS; i++) {
        if (i > 0 && i % APP_PASSWORD_GROUP == 0)
            out[n++] = '-';
        out[n++] = alphabet[octets[i] & 31];
    }
    out[n] = '\0';
    mem_wipe(octets, sizeof octets);
}

bool
app_password_bare(struct slice entered, char out[APP_PASSWORD_CHARS + 1])
{
    size_t n = 0;

    if (entered.n > APP_PASSWORD_ENTERED_MAX)
        return false;
    for (size_t i = 0; i < entered.n; i++) {
        char c = sl_lower_char(entered.p[i]);

        if (c == '-' || c == ' ' || c == '\t')
            continue;
        if (c == '\0' || strchr(alphabet, c) == NULL || n == APP_PASSWORD_CHARS)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return n == APP_PASSWORD_CHARS;
}

void
app_password_salt(char out[APP_PASSWORD_SALT_HEX + 1])
{
    rand_hex(out, APP_PASSWORD_SALT_HEX);
}

int
app_password_digest(struct slice salt, const char *bare, char out[APP_PASSWORD_DIGEST_HEX + 1])
{
    unsigned char md[DIGEST_MAX_OCTETS];
    struct buf text = { 0 }, hex = { 0 };
    size_t n;

    buf_adds(&text, salt);
    buf_addz(&text, bare);
    n = digest(DIGEST_SHA256, buf_slice(&text), md);
    buf_wipe(&text);
    enc_hex(&hex, sl_n((const char *)md, n));
    snprintf(out, APP_PASSWORD_DIGEST_HEX + 1, "%s", buf_z(&hex));
    buf_free(&hex);
    return n * 2 == APP_PASSWORD_DIGEST_HEX ? 0 : -1;
}

/* ---- services ---- */

static const struct {
    const char *name;
    unsigned bit;
} services[] = { { "imap", APP_IMAP }, { "pop3", APP_POP3 }, { "smtp", APP_SMTP } };

bool
app_services_parse(struct slice text, unsigned *out)
{
    struct slice word;

    *out = 0;
    while (sl_take_word(&text, ", \t", &word)) {
        unsigned bit = app_service_of(word);

        if (bit == 0)
            return false;
        *out |= bit;
    }
    return *out != 0;
}

void
app_services_text(unsigned set, struct buf *out)
{
    const char *comma = "";

    for (size_t i = 0; i < COUNT_OF(services); i++) {
        if (set & services[i].bit) {
            buf_addf(out, "%s%s", comma, services[i].name);
            comma = ",";
        }
    }
}

unsigned
app_service_of(struct slice name)
{
    for (size_t i = 0; i < COUNT_OF(services); i++)
        if (sl_ieqz(name, services[i].name))
            return services[i].bit;
    return sl_ieqz(name, "submission") || sl_ieqz(name, "submissions") ? APP_SMTP : 0;
}
