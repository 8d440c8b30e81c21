/* A file of bounce templates: whatever is in it, reports have words, and header fields that end where they should. */
#include "queue/bounce.h"
#include "tests/fuzz/fuzz.h"

static void
build(const struct bounce_templates *t, size_t kind)
{
    const struct bounce_rcpt rcpt = { .addr = SL("b@x"),
                                      .orig = SL("b@x"),
                                      .action = "failed",
                                      .status = SL("5.0.0"),
                                      .why = SL("no") };
    struct bounce_report r = { .kind = (enum bounce_kind)kind,
                               .templates = t,
                               .myhostname = "mx.example",
                               .myorigin = "example",
                               .mail_name = "Postfix",
                               .id = "4XyZ12bbbbz9Q",
                               .to = SL("s@y"),
                               .of = "4XyZ12abcdz9Q",
                               .original = SL("a: b\r\n\r\nc\r\n"),
                               .is_whole = true,
                               .rcpts = &rcpt,
                               .n_rcpts = 1 };
    struct buf out = { 0 };
    struct slice in, line;
    unsigned fields = 0;

    bounce_build(&r, &out);
    in = buf_slice(&out);
    while (sl_take_until(&in, '\n', &line) && line.n > 1) {
        MUST(sl_ends(line, '\r') && memchr(line.p, '\r', line.n - 1) == NULL);
        fields += line.p[0] != '\t';
    }
    MUST(fields >= 9 && fields <= 10); /* Content-Transfer-Encoding may be there */
    buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = fuzz_dup(sl_n((const char *)data, n));
    struct bounce_templates t = { 0 };
    struct bounce_template before[BOUNCE_KINDS];
    struct err e = { 0 };
    unsigned line = 0;

    for (size_t k = 0; k < BOUNCE_KINDS; k++)
        t.v[k] = (struct bounce_template){ .charset = SL("us-ascii"),
                                           .from = SL("MAILER-DAEMON"),
                                           .subject = SL("s"),
                                           .text = SL("t\n") };
    memcpy(before, t.v, sizeof before);
    if (bounce_templates_parse(in, t.v, &line, &e) != 0) {
        MUST(e.msg[0] != '\0' && memcmp(before, t.v, sizeof before) == 0);
        MUST(line >= 1 && line <= n + 1);
    } else {
        for (size_t k = 0; k < BOUNCE_KINDS; k++) {
            MUST(t.v[k].text.n > 0 && t.v[k].charset.n > 0 && t.v[k].subject.n > 0);
            build(&t, k);
        }
    }
    fuzz_free(in);
    return 0;
}
