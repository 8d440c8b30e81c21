/* base/slice.h - a borrowed run of octets: pointer and length, never a terminator.
 * All wire parsing works on slices; nothing here allocates except sl_dupz().
 * Case-insensitive forms fold ASCII letters only (RFC 5321 §2.4, RFC 9051 §9); no locale.
 * Layer: base. Reentrant, no globals. */
#ifndef POSTERN_BASE_SLICE_H
#define POSTERN_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n; /* octets */
};

/* A slice of a string literal; usable in static initialisers as SL_INIT. */
#define SL(lit) ((struct slice){ (lit), sizeof(lit) - 1 })
/* clang-format off */
#define SL_INIT(lit) { (lit), sizeof(lit) - 1 }
/* clang-format on */
/* printf: "%.*s" with SL_ARG(s). */
#define SL_ARG(s) (int)(s).n, (s).n ? (s).p : ""

/* A slice of a C string; NULL gives the empty slice. */
static inline struct slice
sl_z(const char *z)
{
    return (struct slice){ z, z ? strlen(z) : 0 };
}

static inline struct slice
sl_n(const char *p, size_t n)
{
    return (struct slice){ p, n };
}

/* From octet `from` (clamped) to the end; the first n octets (clamped). */
static inline struct slice
sl_from(struct slice s, size_t from)
{
    size_t at = from < s.n ? from : s.n;

    return at == 0 ? s : sl_n(s.p + at, s.n - at); /* never NULL + 0 */
}

static inline struct slice
sl_head(struct slice s, size_t n)
{
    return sl_n(s.p, n < s.n ? n : s.n);
}

bool sl_eq(struct slice a, struct slice b);
bool sl_ieq(struct slice a, struct slice b); /* ASCII case-insensitive */
bool sl_eqz(struct slice a, const char *z);
bool sl_ieqz(struct slice a, const char *z);
int sl_cmp(struct slice a, struct slice b); /* as memcmp, shorter first */
int sl_icmp(struct slice a, struct slice b);

bool sl_starts(struct slice s, char c); /* first octet is c */
bool sl_ends(struct slice s, char c);
bool sl_has_prefix(struct slice s, struct slice prefix);
bool sl_has_iprefix(struct slice s, struct slice prefix);
bool sl_has_suffix(struct slice s, struct slice suffix);
bool sl_has_isuffix(struct slice s, struct slice suffix);

#define SL_NPOS ((size_t)-1)
size_t sl_find_char(struct slice s, char c); /* offset, or SL_NPOS */
size_t sl_rfind_char(struct slice s, char c);
size_t sl_find(struct slice s, struct slice what);
size_t sl_ifind(struct slice s, struct slice what);

/* Without leading and trailing space, tab, CR and LF. */
struct slice sl_trim(struct slice s);

/* Takers: on success step *in past what was taken; on failure leave *in alone. */
bool sl_take_char(struct slice *in, char c);
bool sl_take_prefix(struct slice *in, struct slice prefix);
bool sl_take_iprefix(struct slice *in, struct slice prefix);
/* Up to and past the first c; out without c. False when there is none. */
bool sl_take_until(struct slice *in, char c, struct slice *out);
/* The next line without its end, LF or CRLF, which the last one may lack. False when nothing is left. */
bool sl_take_line(struct slice *in, struct slice *line);
/* The next run of octets not in `seps` (C string), skipping leading ones. False at the end. */
bool sl_take_word(struct slice *in, const char *seps, struct slice *out);
/* One or more decimal digits; false on none or above UINT64_MAX. */
bool sl_take_u64(struct slice *in, uint64_t *out);

/* The whole slice as a decimal number; false on anything else. */
bool sl_to_u64(struct slice s, uint64_t *out);
bool sl_to_u32(struct slice s, uint32_t *out);

/* SipHash-1-3 with a per-process random key: safe against chosen keys. */
uint64_t sl_hash(struct slice s);
uint64_t sl_ihash(struct slice s);

/* A malloc'ed C string, owned by the caller (free). A NUL inside ends it early for C's eyes. */
char *sl_dupz(struct slice s);

static inline char
sl_lower_char(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline bool
sl_is_alnum_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#endif
