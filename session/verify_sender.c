/* session/verify_sender.c - see verify_sender.h. */
#include "session/verify_sender.h"

enum { EPOCH_BASE = 31, EPOCH_DIGITS_MAX = 13 };

/* Digits as Postfix writes them: consonants only, so that no number is a word. */
static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZ";

static bool
is_null(const struct conf *c)
{
    return c->address_verify_sender[0] == '\0' || sl_eqz(SL("<>"), c->address_verify_sender);
}

/* The parts around the number; domain without its '@'. */
static void
split(const struct conf *c, struct slice *local, struct slice *domain)
{
    struct slice s = sl_z(c->address_verify_sender);
    size_t at = sl_rfind_char(s, '@');

    *local = at == SL_NPOS ? s : sl_head(s, at);
    *domain = at == SL_NPOS ? sl_z(c->myorigin) : sl_from(s, at + 1);
}

static uint64_t
epoch_of(const struct conf *c, int64_t unix_s)
{
    return (uint64_t)unix_s / (uint64_t)(c->address_verify_sender_ttl / 1000);
}

void
verify_sender_make(const struct conf *c, int64_t unix_s, struct buf *out)
{
    struct slice local, domain;
    char rev[EPOCH_DIGITS_MAX + 1];
    size_t n = 0;

    if (is_null(c))
        return;
    split(c, &local, &domain);
    buf_adds(out, local);
    if (c->address_verify_sender_ttl >= 1000) {
        uint64_t v = epoch_of(c, unix_s);

        do
            rev[n++] = digits[v % EPOCH_BASE];
        while ((v /= EPOCH_BASE) > 0);
        while (n > 0)
            buf_addc(out, rev[--n]);
    }
    buf_addc(out, '@');
    buf_adds(out, domain);
}

void
verify_sender_plain(const struct conf *c, struct buf *out)
{
    struct slice local, domain;

    if (is_null(c))
        return;
    split(c, &local, &domain);
    buf_addf(out, "%.*s@%.*s", SL_ARG(local), SL_ARG(domain));
}

static bool
take_epoch(struct slice s, uint64_t *v)
{
    *v = 0;
    if (s.n == 0 || s.n > EPOCH_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        const char *d = s.p[i] ? strchr(digits, s.p[i]) : NULL;

        if (d == NULL)
            return false;
        *v = *v * EPOCH_BASE + (uint64_t)(d - digits);
    }
    return true;
}

bool
verify_sender_is(const struct conf *c, struct slice addr, int64_t unix_s)
{
    struct slice local, domain, theirs;
    size_t at = sl_rfind_char(addr, '@');
    uint64_t now, then;

    if (is_null(c))
        return addr.n == 0;
    if (at == SL_NPOS)
        return false;
    split(c, &local, &domain);
    theirs = sl_head(addr, at);
    if (!sl_ieq(sl_from(addr, at + 1), domain) || theirs.n < local.n ||
        !sl_ieq(sl_head(theirs, local.n), local))
        return false;
    theirs = sl_from(theirs, local.n);
    if (c->address_verify_sender_ttl < 1000)
        return theirs.n == 0;
    now = epoch_of(c, unix_s);
    return take_epoch(theirs, &then) && then + 1 >= now && then <= now + 1;
}
