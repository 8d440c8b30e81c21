/* imapd/names.c - mailbox names on the wire, and LIST's patterns (RFC 3501 §5.1, §6.3.8). */
#include "imapd/cmd.h"

#include "base/mem.h"
#include "base/utf8.h"

/* How many octets in front are INBOX, which has no case (§5.1): all, or the first level. */
static size_t
inbox_octets(struct slice name, char separator)
{
    return sl_has_iprefix(name, SL("INBOX")) && (name.n == 5 || name.p[5] == separator) ? 5 : 0;
}

bool
imap_name_decode(struct imap_cmd *c, struct slice raw, struct slice *name)
{
    struct buf b = { .max = STORE_NAME_MAX_OCTETS };

    if (raw.n > 2 * STORE_NAME_MAX_OCTETS) {
        imap_reply(c, "NO [CANNOT] Mailbox name too long");
        return false;
    }
    if (imap_is_utf8(c->s) && utf8_is_valid(raw)) {
        buf_adds(&b, raw);
    } else if (imap_is_utf8(c->s) || utf8_from_mutf7(&b, raw) < 0) {
        buf_free(&b);
        imap_reply(c, "NO [CANNOT] Mailbox name is not valid %s",
                   imap_is_utf8(c->s) ? "UTF-8" : "mUTF-7");
        return false;
    }
    if (inbox_octets(buf_slice(&b), store_separator(c->s->store)) > 0)
        memcpy(b.p + b.off, "INBOX", 5);
    *name = arena_dup(&c->mem, buf_slice(&b));
    buf_free(&b);
    return true;
}

int
imap_name_encode(const struct imap_sess *s, struct slice name, struct buf *out)
{
    if (!imap_is_utf8(s))
        return utf8_to_mutf7(out, name);
    buf_adds(out, name);
    return 0;
}

void
imap_add_mailbox(struct imap_cmd *c, struct slice name)
{
    struct buf b = { 0 };

    if (imap_name_encode(c->s, name, &b) < 0)
        buf_adds(&b, name);
    if (imap_is_utf8(c->s))
        imap_add_utf8_astring(&c->out, buf_slice(&b));
    else
        imap_add_astring(&c->out, buf_slice(&b));
    buf_free(&b);
}

enum { PATTERN_MAX = 2 * STORE_NAME_MAX_OCTETS + 1, PATTERN_WORDS = PATTERN_MAX / 64 + 1 };

/* '*' is any run of octets, '%' one without separators. Bit k of a set stands for: the name so far may have been matched
 * by the first k octets of the pattern. All of them are kept at once, 64 to a word, so that no pattern costs more than
 * its length times the name's, over 64. */
struct list_pattern {
    bool is_too_long; /* matches nothing */
    char separator;
    size_t n, words;
    uint64_t star[PATTERN_WORDS], wild[PATTERN_WORDS]; /* where the pattern has '*'; '*' or '%' */
    uint64_t *octet[256];                              /* where it has that octet, or NULL */
};

static void
set_bit(uint64_t *set, size_t k)
{
    set[k / 64] |= UINT64_C(1) << k % 64;
}

struct list_pattern *
imap_pattern_new(struct arena *mem, struct slice pattern, char separator)
{
    struct list_pattern *p = ARENA_NEW(mem, struct list_pattern);
    char last = '\0';

    if (p == NULL)
        return NULL;
    p->separator = separator;
    p->is_too_long = pattern.n > PATTERN_MAX;
    p->words = (p->is_too_long ? 0 : pattern.n) / 64 + 1;
    for (size_t i = 0; !p->is_too_long && i < pattern.n; i++) {
        char o = pattern.p[i];
        uint64_t **set = &p->octet[(unsigned char)o];

        if (o == '*' || o == '%') {
            /* Of a run of wildcards one is enough: '*' when it is among them. */
            if (last == '*' || last == '%') {
                if (o == '*')
                    set_bit(p->star, p->n - 1);
                continue;
            }
            set_bit(p->wild, p->n);
            if (o == '*')
                set_bit(p->star, p->n);
        } else {
            if (*set == NULL && (*set = arena_alloc(mem, p->words * sizeof(uint64_t))) == NULL)
                return NULL;
            set_bit(*set, p->n);
        }
        last = o;
        p->n++;
    }
    return p;
}

/* One octet further: to = where the pattern may be now. False: nowhere. */
static bool
step(const struct list_pattern *p, const uint64_t *at, char o, bool no_case, uint64_t *to)
{
    const uint64_t *same = p->octet[(unsigned char)o], *other = NULL;
    uint64_t carry = 0, carry_wild = 0, any = 0;

    if (no_case && sl_lower_char(o) >= 'a' && sl_lower_char(o) <= 'z')
        other = p->octet[(unsigned char)(o ^ 0x20)];
    for (size_t w = 0; w < p->words; w++) {
        uint64_t mask = (same == NULL ? 0 : same[w]) | (other == NULL ? 0 : other[w]);
        uint64_t taken = at[w] & mask;
        uint64_t stay = at[w] & (o == p->separator ? p->star[w] : p->wild[w]);
        uint64_t now = (taken << 1 | carry) | stay;
        uint64_t past = now & p->wild[w]; /* a wildcard may end here */

        to[w] = now | past << 1 | carry_wild;
        carry = taken >> 63;
        carry_wild = past >> 63;
        any |= to[w];
    }
    return any != 0;
}

bool
imap_pattern_match(const struct list_pattern *p, struct slice name)
{
    uint64_t sets[2][PATTERN_WORDS];
    size_t no_case = inbox_octets(name, p->separator), at = 0;

    if (p == NULL || p->is_too_long)
        return false;
    memset(sets[0], 0, p->words * sizeof(uint64_t));
    sets[0][0] = 1 | (p->wild[0] & 1) << 1;
    for (size_t i = 0; i < name.n; i++, at = !at)
        if (!step(p, sets[at], name.p[i], i < no_case, sets[!at]))
            return false;
    return sets[at][p->n / 64] >> p->n % 64 & 1;
}
