/* Addresses as MAIL and RCPT have them: parsed, written out again, parsed again, and where they lead. */
#include "proto/hostname.h"
#include "proto/smtp_addr.h"
#include "tests/fuzz/fuzz.h"

static int
is_local(void *arg, struct slice domain)
{
    (void)arg;
    return sl_ieqz(domain, "example.com") || sl_ieqz(domain, "[127.0.0.1]") ? 1
           : sl_ieqz(domain, "ask.example")                                 ? -1
                                                                            : 0;
}

/* What is written out is read as the same address: else a log line or a message names another than was meant. */
static void
try_round_trip(struct slice internal, struct arena *mem)
{
    struct slice local, domain, external = smtp_addr_quote(internal, mem), path, again;
    struct buf angled = { 0 };
    struct err e = { 0 };

    MUST(sl_find_char(external, '\0') == SL_NPOS);
    smtp_addr_split(internal, &local, &domain);
    MUST(local.n + domain.n <= internal.n);
    hostname_is_valid_utf8(domain);
    if (domain.n > 0 && !hostname_is_valid(domain) && !hostname_is_literal_addr(domain))
        return; /* no quotes make that a domain */
    buf_addc(&angled, '<');
    buf_adds(&angled, external);
    buf_addc(&angled, '>');
    path = fuzz_dup(buf_slice(&angled));
    if (smtp_path_parse(path, true, mem, &again, &e) == PARSE_OK)
        MUST(sl_eq(again, internal));
    fuzz_free(path);
    buf_free(&angled);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), word, internal;
    unsigned choice = fuzz_choice(&in);
    struct smtp_addr_rules rules = { .myorigin = SL("example.com"),
                                     .mydomain = SL("com"),
                                     .myhostname = SL("mail.example.com"),
                                     .append_at_myorigin = choice & 2,
                                     .append_dot_mydomain = choice & 4,
                                     .swap_bangpath = choice & 8,
                                     .allow_percent_hack = choice & 16,
                                     .resolve_dequoted_address = choice & 32,
                                     .resolve_null_domain = choice & 64,
                                     .resolve_numeric_domain = choice & 128,
                                     .is_local = is_local };
    struct arena mem = { .cap = 1024 * 1024 };
    struct smtp_resolved to = { 0 };
    struct err e = { 0 };

    word = fuzz_dup(sl_head(in, sl_find_char(in, '\n'))); /* never in a line */
    if (smtp_path_parse(word, choice & 1, &mem, &internal, &e) == PARSE_OK) {
        MUST(internal.n <= SMTP_ADDR_OCTETS_MAX);
        try_round_trip(internal, &mem);
        if (smtp_addr_resolve(&rules, internal, &mem, &to) == SMTP_RESOLVE_OK)
            MUST(to.addr.p != NULL);
    } else {
        MUST(e.kind == ERR_CLIENT);
    }
    arena_free(&mem);
    fuzz_free(word);
    return 0;
}
