/* IMAP URLs as strangers write them: what is understood is inside its bounds, and says the same when it is written anew. */
#include "base/utf8.h"
#include "proto/imap_url.h"
#include "tests/fuzz/fuzz.h"

static void
must_be_text(struct slice s)
{
    MUST(s.p == NULL ||
         (s.n <= IMAP_URL_MAX_OCTETS && utf8_is_valid(s) && sl_find_char(s, '\0') == SL_NPOS));
}

static void
write_anew(const struct imap_url *u, struct buf *out)
{
    buf_addz(out, "imap://");
    if (u->user.p) {
        imap_url_add_encoded(out, u->user);
        buf_addc(out, '@');
    }
    buf_adds(out, SL("host/"));
    imap_url_add_encoded(out, u->mailbox);
    if (u->uidvalidity)
        buf_addf(out, ";UIDVALIDITY=%u", u->uidvalidity);
    if (u->uid)
        buf_addf(out, "/;UID=%u", u->uid);
    if (u->section.p) {
        buf_addz(out, "/;SECTION=");
        imap_url_add_encoded(out, u->section);
    }
    if (u->is_partial)
        buf_addf(out, "/;PARTIAL=%llu", (unsigned long long)u->first);
    if (u->count)
        buf_addf(out, ".%llu", (unsigned long long)u->count);
}

static bool
is_same(struct slice a, struct slice b)
{
    return !a.p == !b.p && sl_eq(a, b);
}

static void
try_anew(const struct imap_url *u)
{
    struct arena mem = { 0 };
    struct buf text = { 0 };
    struct imap_url again;
    struct err e;

    /* What has a slash at either end of a name is not told from what surrounds it. */
    if (!u->mailbox.p || !u->uid || sl_starts(u->mailbox, '/') || sl_ends(u->mailbox, '/') ||
        sl_ends(u->section, '/') || (u->user.p && memchr(u->user.p, '/', u->user.n)))
        return;
    write_anew(u, &text);
    if (text.n <= IMAP_URL_MAX_OCTETS) {
        MUST(imap_url_parse(buf_slice(&text), NULL, &mem, &again, &e) == PARSE_OK);
        MUST(is_same(again.mailbox, u->mailbox) && is_same(again.user, u->user) &&
             is_same(again.section, u->section));
        MUST(again.uid == u->uid && again.uidvalidity == u->uidvalidity);
        MUST(again.is_partial == u->is_partial && again.first == u->first &&
             again.count == u->count);
    }
    buf_free(&text);
    arena_free(&mem);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const struct imap_url base = { .mailbox = SL("base"), .uidvalidity = 3, .uid = 9 };
    struct slice in = sl_n((const char *)data, n), url;
    bool has_base = fuzz_choice(&in) & 1;
    struct arena mem = { 0 };
    struct imap_url u;
    struct err e;

    url = fuzz_dup(in);
    if (imap_url_parse(url, has_base ? &base : NULL, &mem, &u, &e) == PARSE_OK) {
        struct imap_fetch_item it = { 0 };
        struct slice section = u.section;

        must_be_text(u.user);
        must_be_text(u.host);
        must_be_text(u.mailbox);
        must_be_text(u.section);
        must_be_text(u.access_user);
        MUST(!u.access.p || (u.is_absolute && u.uid && u.rump.n <= url.n));
        MUST(!u.token.p || (u.mechanism.n > 0 && u.token.n >= 32));
        MUST(!u.query.p || !u.access.p);
        imap_take_section(&section, &mem, &it, &e);
        try_anew(&u);
    }
    arena_free(&mem);
    fuzz_free(url);
    return 0;
}
