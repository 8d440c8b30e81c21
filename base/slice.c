/* base/slice.c - see slice.h. SipHash: Aumasson and Bernstein, 2012; here with 1 and 3 rounds. */
#include "base/slice.h"

#include "base/mem.h"
#include "base/rand.h"

#include <endian.h>
#include <pthread.h>

bool
sl_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
sl_ieq(struct slice a, struct slice b)
{
    return a.n == b.n && sl_icmp(a, b) == 0;
}

bool
sl_eqz(struct slice a, const char *z)
{
    return sl_eq(a, sl_z(z));
}

bool
sl_ieqz(struct slice a, const char *z)
{
    return sl_ieq(a, sl_z(z));
}

static int
cmp_size(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

int
sl_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int d = n == 0 ? 0 : memcmp(a.p, b.p, n);

    return d != 0 ? d : cmp_size(a.n, b.n);
}

int
sl_icmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;

    for (size_t i = 0; i < n; i++) {
        unsigned char x = (unsigned char)sl_lower_char(a.p[i]);
        unsigned char y = (unsigned char)sl_lower_char(b.p[i]);

        if (x != y)
            return x < y ? -1 : 1;
    }
    return cmp_size(a.n, b.n);
}

bool
sl_starts(struct slice s, char c)
{
    return s.n > 0 && s.p[0] == c;
}

bool
sl_ends(struct slice s, char c)
{
    return s.n > 0 && s.p[s.n - 1] == c;
}

bool
sl_has_prefix(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && sl_eq(sl_head(s, prefix.n), prefix);
}

bool
sl_has_iprefix(struct slice s, struct slice prefix)
{
    return s.n >= prefix.n && sl_ieq(sl_head(s, prefix.n), prefix);
}

bool
sl_has_suffix(struct slice s, struct slice suffix)
{
    return s.n >= suffix.n && sl_eq(sl_from(s, s.n - suffix.n), suffix);
}

bool
sl_has_isuffix(struct slice s, struct slice suffix)
{
    return s.n >= suffix.n && sl_ieq(sl_from(s, s.n - suffix.n), suffix);
}

size_t
sl_find_char(struct slice s, char c)
{
    const char *hit = s.n == 0 ? NULL : memchr(s.p, (unsigned char)c, s.n);

    return hit == NULL ? SL_NPOS : (size_t)(hit - s.p);
}

size_t
sl_rfind_char(struct slice s, char c)
{
    const char *hit = s.n == 0 ? NULL : memrchr(s.p, (unsigned char)c, s.n);

    return hit == NULL ? SL_NPOS : (size_t)(hit - s.p);
}

size_t
sl_find(struct slice s, struct slice what)
{
    const char *hit;

    if (what.n == 0)
        return 0;
    hit = s.n < what.n ? NULL : memmem(s.p, s.n, what.p, what.n);
    return hit == NULL ? SL_NPOS : (size_t)(hit - s.p);
}

size_t
sl_ifind(struct slice s, struct slice what)
{
    if (what.n == 0)
        return 0;
    for (size_t i = 0; i + what.n <= s.n; i++) {
        if (sl_has_iprefix(sl_from(s, i), what))
            return i;
    }
    return SL_NPOS;
}

static bool
is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice
sl_trim(struct slice s)
{
    while (s.n > 0 && is_space(s.p[0]))
        s = sl_from(s, 1);
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

bool
sl_take_char(struct slice *in, char c)
{
    if (!sl_starts(*in, c))
        return false;
    *in = sl_from(*in, 1);
    return true;
}

bool
sl_take_prefix(struct slice *in, struct slice prefix)
{
    if (!sl_has_prefix(*in, prefix))
        return false;
    *in = sl_from(*in, prefix.n);
    return true;
}

bool
sl_take_iprefix(struct slice *in, struct slice prefix)
{
    if (!sl_has_iprefix(*in, prefix))
        return false;
    *in = sl_from(*in, prefix.n);
    return true;
}

bool
sl_take_until(struct slice *in, char c, struct slice *out)
{
    size_t at = sl_find_char(*in, c);

    if (at == SL_NPOS)
        return false;
    *out = sl_head(*in, at);
    *in = sl_from(*in, at + 1);
    return true;
}

bool
sl_take_line(struct slice *in, struct slice *line)
{
    if (in->n == 0)
        return false;
    if (!sl_take_until(in, '\n', line)) {
        *line = *in;
        *in = sl_from(*in, in->n);
    }
    if (sl_ends(*line, '\r'))
        line->n--;
    return true;
}

bool
sl_take_word(struct slice *in, const char *seps, struct slice *out)
{
    struct slice sep = sl_z(seps);
    size_t from = 0, to;

    while (from < in->n && sl_find_char(sep, in->p[from]) != SL_NPOS)
        from++;
    if (from == in->n)
        return false;
    for (to = from; to < in->n && sl_find_char(sep, in->p[to]) == SL_NPOS;)
        to++;
    *out = sl_n(in->p + from, to - from);
    *in = sl_from(*in, to);
    return true;
}

bool
sl_take_u64(struct slice *in, uint64_t *out)
{
    uint64_t v = 0;
    size_t i;

    for (i = 0; i < in->n && in->p[i] >= '0' && in->p[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(in->p[i] - '0');

        if (v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    if (i == 0)
        return false;
    *out = v;
    *in = sl_from(*in, i);
    return true;
}

bool
sl_to_u64(struct slice s, uint64_t *out)
{
    uint64_t v;

    if (!sl_take_u64(&s, &v) || s.n != 0)
        return false;
    *out = v;
    return true;
}

bool
sl_to_u32(struct slice s, uint32_t *out)
{
    uint64_t v;

    if (!sl_to_u64(s, &v) || v > UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

static uint64_t hash_key[2];
static pthread_once_t hash_key_once = PTHREAD_ONCE_INIT;

static void
hash_key_init(void)
{
    rand_octets(hash_key, sizeof(hash_key));
}

/* Eight octets at once: A-Z to a-z, the rest as it is. */
static uint64_t
fold_word(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x80 * ones;
    uint64_t low7 = w & ~high;
    uint64_t at_least_a = low7 + (0x80 - 'A') * ones;
    uint64_t above_z = low7 + (0x7f - 'Z') * ones;
    uint64_t is_upper = (at_least_a ^ above_z) & ~w & high;

    return w | is_upper >> 2;
}

static inline uint64_t
rotl(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void
sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static inline void
sip_word(uint64_t v[4], uint64_t w)
{
    v[3] ^= w;
    sip_round(v);
    v[0] ^= w;
}

static uint64_t
sip_hash(struct slice s, bool is_folding)
{
    uint64_t v[4], w;
    size_t i;

    pthread_once(&hash_key_once, hash_key_init);
    v[0] = hash_key[0] ^ 0x736f6d6570736575u;
    v[1] = hash_key[1] ^ 0x646f72616e646f6du;
    v[2] = hash_key[0] ^ 0x6c7967656e657261u;
    v[3] = hash_key[1] ^ 0x7465646279746573u;
    for (i = 0; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        w = le64toh(w);
        sip_word(v, is_folding ? fold_word(w) : w);
    }
    w = 0;
    if (i < s.n)
        memcpy(&w, s.p + i, s.n - i);
    w = le64toh(w);
    w = is_folding ? fold_word(w) : w;
    sip_word(v, w | (uint64_t)s.n << 56);
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t
sl_hash(struct slice s)
{
    return sip_hash(s, false);
}

uint64_t
sl_ihash(struct slice s)
{
    return sip_hash(s, true);
}

char *
sl_dupz(struct slice s)
{
    char *z = mem_alloc(s.n + 1);

    if (s.n > 0)
        memcpy(z, s.p, s.n);
    z[s.n] = '\0';
    return z;
}
