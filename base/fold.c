/* base/fold.c - see fold.h. The table in the source is compact; at the first character beyond ASCII it is laid out so that
 * a character is two look-ups away from its octets. */
#include "base/fold.h"

#include "base/fold_table.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <pthread.h>

enum {
    FOLD_LAST = 0x2fa1f, /* no character beyond has anything */
    FOLD_PAGE = 64,
    FOLD_PAGES = FOLD_LAST / FOLD_PAGE + 1,
    HANGUL_FIRST = 0xac00,
    HANGUL_LAST = 0xd7a3,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11a7,
    HANGUL_N_V = 21,
    HANGUL_N_T = 28
};

/* For each character where in `octets` its text is: length, then UTF-8; 0: it stays as it is. Made once, never freed. */
static uint16_t *pages[FOLD_PAGES];
static struct buf octets;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
put(uint32_t cp, const uint32_t *to, uint32_t n)
{
    uint16_t **page = &pages[cp / FOLD_PAGE];
    size_t at = octets.n;

    BUG_ON(cp > FOLD_LAST || at > UINT16_MAX);
    if (!*page)
        *page = mem_zalloc(FOLD_PAGE * sizeof **page);
    (*page)[cp % FOLD_PAGE] = (uint16_t)at;
    buf_addc(&octets, '\0');
    for (uint32_t i = 0; i < n; i++)
        utf8_add(&octets, to[i]);
    octets.p[octets.off + at] = (char)(octets.n - at - 1);
}

static void
lay_out(void)
{
    buf_addc(&octets, '\0'); /* nothing is at 0 */
    for (size_t i = 0; i < COUNT_OF(fold_runs); i++)
        for (uint32_t cp = fold_runs[i].first; cp <= fold_runs[i].last; cp += fold_runs[i].step) {
            uint32_t to = (uint32_t)((int32_t)cp + fold_runs[i].delta);

            put(cp, &to, 1);
        }
    for (size_t i = 0; i < COUNT_OF(fold_others); i += 2 + fold_others[i + 1])
        put(fold_others[i], &fold_others[i + 2], fold_others[i + 1]);
}

/* A syllable as its letters, Unicode §3.12. */
static void
add_hangul(struct buf *out, uint32_t cp)
{
    uint32_t at = cp - HANGUL_FIRST, t = at % HANGUL_N_T;

    utf8_add(out, HANGUL_L + at / (HANGUL_N_V * HANGUL_N_T));
    utf8_add(out, HANGUL_V + at / HANGUL_N_T % HANGUL_N_V);
    if (t > 0)
        utf8_add(out, HANGUL_T + t);
}

static void
add_char(struct buf *out, uint32_t cp, struct slice as_it_is)
{
    const uint16_t *page = cp <= FOLD_LAST ? pages[cp / FOLD_PAGE] : NULL;
    uint16_t at = page ? page[cp % FOLD_PAGE] : 0;

    if (at > 0) {
        const char *text = octets.p + octets.off + at;

        buf_add(out, text + 1, (unsigned char)text[0]);
    } else if (cp >= HANGUL_FIRST && cp <= HANGUL_LAST) {
        add_hangul(out, cp);
    } else {
        buf_adds(out, as_it_is);
    }
}

/* Append the ASCII octets in front; how many there were. */
static size_t
add_ascii(struct buf *out, struct slice in)
{
    char *to = buf_reserve(out, in.n);
    size_t n = 0;

    for (; to && n < in.n && (unsigned char)in.p[n] < 0x80; n++) {
        char c = in.p[n];

        to[n] = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    }
    if (n > 0)
        buf_commit(out, n);
    return n;
}

void
fold_text(struct buf *out, struct slice in)
{
    while (in.n > 0) {
        struct slice before;
        int32_t cp;

        if ((unsigned char)in.p[0] < 0x80) {
            in = sl_from(in, add_ascii(out, in));
            continue;
        }
        pthread_once(&once, lay_out);
        before = in;
        cp = utf8_take(&in);
        if (cp < 0) {
            buf_addc(out, in.p[0]);
            in = sl_from(in, 1);
        } else {
            add_char(out, (uint32_t)cp, sl_head(before, before.n - in.n));
        }
    }
}
