/* base/rand.c - see rand.h. */
#include "base/rand.h"

#include "base/mem.h"

#include <errno.h>
#include <sys/random.h>

void
rand_octets(void *p, size_t n)
{
    char *at = p;

    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);

        BUG_ON(got < 0 && errno != EINTR);
        if (got > 0) {
            at += got;
            n -= (size_t)got;
        }
    }
}

uint64_t
rand_u64(void)
{
    uint64_t v;

    rand_octets(&v, sizeof(v));
    return v;
}

uint32_t
rand_below(uint32_t below)
{
    uint32_t skip, v;

    BUG_ON(below == 0);
    skip = (UINT32_MAX - below + 1) % below; /* 2^32 mod below: too few values to be even */
    do
        rand_octets(&v, sizeof(v));
    while (v < skip);
    return v % below;
}

void
rand_hex(char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";

    rand_octets(out, n);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[(unsigned char)out[i] & 15];
    out[n] = '\0';
}
