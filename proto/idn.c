/* proto/idn.c */
#include "proto/idn.h"

#include <idn2.h>
#include <stdio.h>

bool
idn_is_any(struct slice domain)
{
    for (size_t i = 0; i < domain.n; i++) {
        if ((unsigned char)domain.p[i] > 127)
            return true;
        if ((i == 0 || domain.p[i - 1] == '.') && domain.n - i > 4 &&
            sl_ieq(sl_n(domain.p + i, 4), SL("xn--")))
            return true;
    }
    return false;
}

static bool
keep(char *from, char *to, size_t room)
{
    size_t n = strlen(from);
    bool fits = n > 0 && n < room;

    if (fits)
        memcpy(to, from, n + 1);
    idn2_free(from);
    return fits;
}

bool
idn_forms(struct slice domain, struct idn *out)
{
    char z[IDN_UNICODE_OCTETS], *made = NULL;

    if (!idn_is_any(domain) || domain.n >= sizeof(z) || memchr(domain.p, '\0', domain.n) != NULL)
        return false;
    memcpy(z, domain.p, domain.n);
    z[domain.n] = '\0';
    /* A-labels are taken apart first, so that a wrong one is told from a right one. */
    if (idn2_to_unicode_8z8z(z, &made, IDN2_NONTRANSITIONAL) != IDN2_OK ||
        !keep(made, out->unicode, sizeof(out->unicode)))
        return false;
    made = NULL;
    if (idn2_to_ascii_8z(out->unicode, &made, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK ||
        !keep(made, out->ascii, sizeof(out->ascii)))
        return false;
    made = NULL; /* what was upper case is lower case in the ASCII form, and only there */
    return idn2_to_unicode_8z8z(out->ascii, &made, IDN2_NONTRANSITIONAL) == IDN2_OK &&
           keep(made, out->unicode, sizeof(out->unicode));
}

size_t
idn_other_keys(struct slice key, char out[2][IDN_KEY_OCTETS])
{
    size_t at = sl_rfind_char(key, '@'), n = 0;
    struct slice head = at == SL_NPOS ? SL("") : sl_head(key, at + 1);
    struct slice domain = sl_from(key, head.n);
    bool has_dot = sl_starts(domain, '.'); /* ".example.com": what is below it */
    struct idn d;

    domain = sl_from(domain, has_dot);
    if (head.n + IDN_UNICODE_OCTETS + 2 > IDN_KEY_OCTETS || !idn_forms(domain, &d))
        return 0;
    for (int i = 0; i < 2; i++) {
        const char *form = i ? d.unicode : d.ascii;

        if (sl_eqz(domain, form))
            continue;
        snprintf(out[n++], IDN_KEY_OCTETS, "%.*s%s%s", (int)head.n, head.n ? head.p : "",
                 has_dot ? "." : "", form);
    }
    return n;
}
