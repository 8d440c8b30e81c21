/* base/find.c - see find.h. Vectors are the compilers' own extension: 16 octets on every machine. Where both of two rare
 * octets of the needle stand, the rest is compared. When that was too often in vain, as with a long "aaaa" in a longer one,
 * the rest is done in linear time. */
#include "base/find.h"

#include "base/mem.h"

#include <stdlib.h>

enum {
    WIDE = 16,
    COUNT_TURNS = 255,
    IN_VAIN_EACH = 4, /* octets compared for each octet passed */
    IN_VAIN = 65536   /* and at least */
};
typedef uint8_t wide __attribute__((vector_size(WIDE)));
typedef uint64_t halves __attribute__((vector_size(WIDE)));

static wide
load(const char *p)
{
    wide v;

    memcpy(&v, p, WIDE);
    return v;
}

static wide
splat(uint8_t c)
{
    return c - (wide){ 0 };
}

static bool
is_any(wide v)
{
    halves h = (halves)v;

    return (h[0] | h[1]) != 0;
}

/* Less is rarer, in mail of any European language. */
static size_t
frequency(char c)
{
    static const char common[] = "\nvkbywgpf.mu,dclh0rsinoate "; /* rising */
    const char *at = memchr(common, sl_lower_char(c), sizeof(common) - 1);

    return at ? (size_t)(at - common) + 1 : 0;
}

static size_t
rarest(struct slice s, size_t but)
{
    size_t best = but == 0 ? 1 : 0;

    for (size_t i = best + 1; i < s.n; i++)
        if (i != but && frequency(s.p[i]) < frequency(s.p[best]))
            best = i;
    return best;
}

static bool
is_letter(char c)
{
    c = sl_lower_char(c);
    return c >= 'a' && c <= 'z';
}

void
find_init(struct find *f, struct slice needle, bool is_icase)
{
    *f = (struct find){ .needle = needle, .is_icase = is_icase };
    if (needle.n == 0)
        return;
    f->at[0] = rarest(needle, SL_NPOS);
    f->at[1] = needle.n > 1 ? rarest(needle, f->at[0]) : 0;
    for (int i = 0; i < 2; i++) {
        char c = needle.p[f->at[i]];

        f->mask[i] =
            is_icase && is_letter(c) ? 0xdf : 0xff; /* others match too often, not too seldom */
        f->want[i] = (uint8_t)((uint8_t)c & f->mask[i]);
    }
}

static bool
is_same(const struct find *f, char a, char b)
{
    return a == b || (f->is_icase && sl_lower_char(a) == sl_lower_char(b));
}

/* How many octets of the needle are there. */
static size_t
compare(const struct find *f, const char *at)
{
    size_t i = 0;

    while (i < f->needle.n && is_same(f, at[i], f->needle.p[i]))
        i++;
    return i;
}

static size_t
find_slowly(const struct find *f, struct slice hay, size_t from)
{
    for (size_t i = from; i + f->needle.n <= hay.n; i++)
        if (((uint8_t)hay.p[i + f->at[0]] & f->mask[0]) == f->want[0] &&
            compare(f, hay.p + i) == f->needle.n)
            return i;
    return SL_NPOS;
}

/* By Knuth, Morris and Pratt. fall[i]: how long a beginning of the needle ends its first i + 1 octets, but for all. */
static size_t
find_linearly(const struct find *f, struct slice hay, size_t from)
{
    const struct slice needle = f->needle;
    size_t *fall = mem_alloc(needle.n * sizeof(*fall)), n = 0, found = SL_NPOS;

    fall[0] = 0;
    for (size_t i = 1; i < needle.n; i++) {
        while (n > 0 && !is_same(f, needle.p[n], needle.p[i]))
            n = fall[n - 1];
        n += is_same(f, needle.p[n], needle.p[i]);
        fall[i] = n;
    }
    n = 0;
    for (size_t i = from; i < hay.n && found == SL_NPOS; i++) {
        while (n > 0 && !is_same(f, needle.p[n], hay.p[i]))
            n = fall[n - 1];
        n += is_same(f, needle.p[n], hay.p[i]);
        if (n == needle.n)
            found = i + 1 - n;
    }
    free(fall);
    return found;
}

size_t
find_in(const struct find *f, struct slice hay)
{
    wide want[2] = { splat(f->want[0]), splat(f->want[1]) };
    wide mask[2] = { splat(f->mask[0]), splat(f->mask[1]) };
    size_t i = 0, in_vain = 0;

    if (f->needle.n == 0)
        return 0;
    /* i + WIDE places, the last of which ends within hay */
    for (; i + WIDE - 1 + f->needle.n <= hay.n; i += WIDE) {
        const char *p = hay.p + i;
        wide hit = (wide)((load(p + f->at[0]) & mask[0]) == want[0]) &
                   (wide)((load(p + f->at[1]) & mask[1]) == want[1]);

        if (!is_any(hit))
            continue;
        for (size_t k = 0; k < WIDE; k++)
            if (hit[k]) {
                size_t n = compare(f, p + k);

                if (n == f->needle.n)
                    return i + k;
                in_vain += n;
            }
        if (in_vain > IN_VAIN_EACH * i + IN_VAIN)
            return find_linearly(f, hay, i + WIDE);
    }
    return find_slowly(f, hay, i);
}

size_t
find_count(struct slice s, char c)
{
    wide want = splat((uint8_t)c);
    size_t i = 0, n = 0;

    while (i + WIDE <= s.n) {
        wide sum = { 0 };

        for (unsigned turn = 0; turn < COUNT_TURNS && i + WIDE <= s.n; turn++, i += WIDE)
            sum -= (wide)(load(s.p + i) == want); /* a hit is -1 */
        for (size_t k = 0; k < WIDE; k++)
            n += sum[k];
    }
    for (; i < s.n; i++)
        n += s.p[i] == c;
    return n;
}

size_t
find_ascii(struct slice s)
{
    size_t i = 0;

    while (i + WIDE <= s.n && !is_any(load(s.p + i) & splat(0x80)))
        i += WIDE;
    while (i < s.n && (unsigned char)s.p[i] < 0x80)
        i++;
    return i;
}
