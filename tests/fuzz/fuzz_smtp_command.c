/* SMTP command lines: words, parameters of MAIL and RCPT, addresses and where they lead. */
#include "proto/hostname.h"
#include "proto/smtp_addr.h"
#include "proto/smtp_param.h"
#include "tests/fuzz/fuzz.h"

static int
is_local(void *arg, struct slice domain)
{
    (void)arg;
    return sl_ieqz(domain, "example.com") || sl_ieqz(domain, "[127.0.0.1]") ? 1
           : sl_ieqz(domain, "ask.example")                                 ? -1
                                                                            : 0;
}

static void
try_address(struct slice word, unsigned choice, struct arena *mem)
{
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
    struct slice internal, external, local, domain;
    struct smtp_resolved to = { 0 };
    struct err e = { 0 };

    if (smtp_path_parse(word, choice & 1, mem, &internal, &e) != PARSE_OK) {
        MUST(e.kind == ERR_CLIENT);
        return;
    }
    MUST(internal.n <= SMTP_ADDR_OCTETS_MAX);
    external = smtp_addr_quote(internal, mem);
    MUST(sl_find_char(external, '\0') == SL_NPOS);
    smtp_addr_split(internal, &local, &domain);
    if (smtp_addr_resolve(&rules, internal, mem, &to) == SMTP_RESOLVE_OK)
        MUST(to.addr.p != NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), line;
    unsigned choice = fuzz_choice(&in);
    struct arena mem = { .cap = 1024 * 1024 };
    struct smtp_words w;
    struct smtp_mail_params mail = { 0 };
    struct smtp_rcpt_params rcpt = { 0 };

    line = fuzz_dup(sl_head(in, sl_find_char(in, '\n'))); /* never in a line */
    smtp_words_split(line, &w);
    MUST(w.n <= SMTP_WORDS_MAX);
    smtp_words_rest(&w, choice % 4);
    if (w.n > 0)
        smtp_word_is_header(w.w[0].s);
    for (size_t i = 0; i < w.n; i++) {
        try_address(w.w[i].s, choice, &mem);
        hostname_is_valid(w.w[i].s);
        hostname_is_valid_utf8(w.w[i].s);
        hostname_is_literal(w.w[i].s);
        hostname_is_literal_addr(w.w[i].s);
    }
    smtp_mail_params(&w, choice % 4, choice >> 2, &mem, &mail);
    smtp_rcpt_params(&w, choice % 4, choice >> 2, &mem, &rcpt);
    arena_free(&mem);
    fuzz_free(line);
    return 0;
}
