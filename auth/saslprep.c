/* auth/saslprep.c - see saslprep.h. */
#include "auth/saslprep.h"

#include "base/mem.h"
#include "base/utf8.h"

struct range {
    uint32_t first, last;
};

/* RFC 3454 C.1.2: to a space. */
static const struct range spaces[] = { { 0x00a0, 0x00a0 }, { 0x1680, 0x1680 }, { 0x2000, 0x200b },
                                       { 0x202f, 0x202f }, { 0x205f, 0x205f }, { 0x3000, 0x3000 } };
/* RFC 3454 B.1: to nothing (U+200B is a space first). */
static const struct range nothings[] = { { 0x00ad, 0x00ad }, { 0x034f, 0x034f }, { 0x1806, 0x1806 },
                                         { 0x180b, 0x180d }, { 0x200c, 0x200d }, { 0x2060, 0x2060 },
                                         { 0xfe00, 0xfe0f }, { 0xfeff, 0xfeff } };
/* Assigned in Unicode 3.2, their own NFKC in whatever company, left to right or neutral, allowed. There are more; these are
 * what keyboards have. */
static const struct range plain[] = {
    { 0x00a1, 0x00a7 }, { 0x00a9, 0x00a9 }, { 0x00ab, 0x00ac },   { 0x00ae, 0x00ae },
    { 0x00b0, 0x00b1 }, { 0x00b6, 0x00b7 }, { 0x00bb, 0x00bb },   { 0x00bf, 0x0131 },
    { 0x0134, 0x013e }, { 0x0141, 0x0148 }, { 0x014a, 0x017e },   { 0x0180, 0x01c3 },
    { 0x01cd, 0x01f0 }, { 0x01f4, 0x0220 }, { 0x0222, 0x0233 },   { 0x0250, 0x02ad },
    { 0x0386, 0x0386 }, { 0x0388, 0x038a }, { 0x038c, 0x038c },   { 0x038e, 0x03a1 },
    { 0x03a3, 0x03ce }, { 0x0400, 0x0482 }, { 0x048a, 0x04ce },   { 0x04d0, 0x04f5 },
    { 0x0531, 0x0556 }, { 0x0561, 0x0586 }, { 0x1e00, 0x1e99 },   { 0x1ea0, 0x1ef9 },
    { 0x20ac, 0x20ac }, { 0x3041, 0x3096 }, { 0x30a0, 0x30fe },   { 0x3400, 0x4db5 },
    { 0x4e00, 0x9fa5 }, { 0xac00, 0xd7a3 }, { 0x20000, 0x2a6d6 },
};

static bool
is_in(const struct range *r, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].first && c <= r[i].last)
            return true;
    return false;
}

int
saslprep(struct slice in, struct buf *out)
{
    size_t before = out->n;

    while (in.n) {
        int32_t c = utf8_take(&in);

        if (c < 0x20 || c == 0x7f) /* -1 too: no UTF-8 */
            return -1;
        if (is_in(spaces, COUNT_OF(spaces), (uint32_t)c))
            buf_addc(out, ' ');
        else if (c < 0x80 || is_in(plain, COUNT_OF(plain), (uint32_t)c))
            utf8_add(out, (uint32_t)c);
        else if (!is_in(nothings, COUNT_OF(nothings), (uint32_t)c))
            return -1;
    }
    return out->n > before ? 0 : -1;
}
