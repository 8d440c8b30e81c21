/* imapd/names.c - mailbox names on the wire, and LIST's patterns (RFC 3501 §5.1, §6.3.8). */
#include "imapd/cmd.h"

#include "base/mem.h"
#include "base/utf8.h"

/* How many octets in front are INBOX, which has no case (§5.1): all, or the first level. */
static size_t
inbox_octets(struct slice name)
{
    return sl_has_iprefix(name, SL("INBOX")) && (name.n == 5 || name.p[5] == '.') ? 5 : 0;
}

bool
imap_name_decode(struct imap_cmd *c, struct slice raw, struct slice *name)
{
    struct buf b = { .max = STORE_NAME_MAX_OCTETS };

    if (raw.n > 2 * STORE_NAME_MAX_OCTETS) {
        imap_reply(c, "NO [CANNOT] Mailbox name too long");
        return false;
    }
    if (utf8_from_mutf7(&b, raw) < 0) {
        buf_free(&b);
        imap_reply(c, "NO [CANNOT] Mailbox name is not valid mUTF-7");
        return false;
    }
    if (inbox_octets(buf_slice(&b)) > 0)
        memcpy(b.p + b.off, "INBOX", 5);
    *name = arena_dup(&c->mem, buf_slice(&b));
    buf_free(&b);
    return true;
}

void
imap_add_mailbox(struct buf *out, struct slice name)
{
    struct buf b = { 0 };

    if (utf8_to_mutf7(&b, name) < 0)
        buf_adds(&b, name);
    imap_add_astring(out, buf_slice(&b));
    buf_free(&b);
}

enum { PATTERN_MAX = 2 * STORE_NAME_MAX_OCTETS + 1 };

/* '*' is any run of octets, '%' one without separators. All places of the pattern that the name so far may have
 * reached are kept, so that no pattern costs more than its length times the name's. */
bool
imap_list_match(struct slice pattern, struct slice name)
{
    bool at[PATTERN_MAX + 1] = { true }, next[PATTERN_MAX + 1];
    size_t n = pattern.n, no_case = inbox_octets(name);

    if (n > PATTERN_MAX)
        return false;
    for (size_t k = 0; k < n && at[k] && (pattern.p[k] == '*' || pattern.p[k] == '%'); k++)
        at[k + 1] = true;
    for (size_t i = 0; i < name.n; i++) {
        memset(next, 0, sizeof(bool) * (n + 1));
        for (size_t k = 0; k < n; k++) {
            char p = pattern.p[k], o = name.p[i];

            if (at[k] && (p == '*' || (p == '%' && o != '.')))
                next[k] = true;
            else if (at[k] && p != '%' &&
                     (p == o || (i < no_case && sl_lower_char(p) == sl_lower_char(o))))
                next[k + 1] = true;
            if (next[k] && (p == '*' || p == '%')) /* it may end here */
                next[k + 1] = true;
        }
        memcpy(at, next, sizeof(bool) * (n + 1));
    }
    return at[n];
}
