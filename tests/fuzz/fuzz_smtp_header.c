/* Address fields of a header, completed: whatever stands there, the result is one field, whose lines are no end of the
 * header and hold nothing that was not there. And domains in two spellings. */
#include "proto/idn.h"
#include "proto/smtp_header.h"
#include "tests/fuzz/fuzz.h"

static void
check_field(struct slice out, struct slice value)
{
    MUST(sl_has_prefix(out, SL("To: ")));
    for (size_t i = 0; i < out.n; i++) {
        MUST(out.p[i] != '\r' || sl_find_char(value, '\r') != SL_NPOS);
        MUST(out.p[i] != '\0' || sl_find_char(value, '\0') != SL_NPOS);
        MUST(out.p[i] != '\n' || i + 1 < out.n);
        if (out.p[i] == '\n' && sl_find_char(value, '\n') == SL_NPOS)
            MUST(out.p[i - 1] == ','); /* ours: behind a comma only */
    }
}

static void
try_domain(struct slice text)
{
    char others[2][IDN_KEY_OCTETS];
    struct idn once, twice;

    (void)idn_other_keys(text, others);
    if (!idn_forms(text, &once))
        return;
    for (const char *p = once.ascii; *p; p++)
        MUST((unsigned char)*p < 128 && !(*p >= 'A' && *p <= 'Z'));
    if (idn_forms(sl_z(once.unicode), &twice)) {
        MUST(sl_eqz(sl_z(once.ascii), twice.ascii));
        MUST(sl_eqz(sl_z(once.unicode), twice.unicode));
    }
}

/* Every address exchanged, as maps do it. */
static void
try_replaced(const struct smtp_addr_rules *r, struct slice value, struct arena *mem,
             struct buf *out)
{
    static const struct slice others[] = { SL_INIT("u@example.com"), SL_INIT("a b@example.com"),
                                           SL_INIT(""), SL_INIT("u") };
    struct smtp_header h;
    size_t stripped;

    if (!smtp_header_read(r, value, 10240, mem, &h))
        return;
    for (size_t i = 0; i < h.n; i++)
        *h.addrs[i] = others[i % 4];
    smtp_header_write(&h, SL("To"), out, &stripped);
    check_field(buf_slice(out), value);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), value;
    unsigned choice = fuzz_choice(&in);
    struct smtp_addr_rules rules = { .myorigin = SL("example.com"),
                                     .mydomain = SL("com"),
                                     .myhostname = SL("mail.example.com"),
                                     .append_at_myorigin = choice & 1,
                                     .append_dot_mydomain = choice & 2,
                                     .swap_bangpath = choice & 4,
                                     .allow_percent_hack = choice & 8 };
    struct arena mem = { .cap = choice & 16 ? 4096 : 4 * 1024 * 1024 };
    struct buf out = { 0 };
    size_t stripped;

    value = fuzz_dup(in);
    if (smtp_header_rewrite(&rules, SL("To"), value, choice & 32 ? 7 : 10240, &mem, &out,
                            &stripped))
        check_field(buf_slice(&out), value);
    mem.cap = 0;
    try_replaced(choice & 64 ? &rules : NULL, value, &mem, &out);
    try_domain(value);
    buf_free(&out);
    arena_free(&mem);
    fuzz_free(value);
    return 0;
}
