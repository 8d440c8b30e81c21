/* Attributes of XCLIENT and XFORWARD: what is taken is printable and right for its attribute, what is not is refused in
 * one line. */
#include "proto/hostname.h"
#include "proto/smtp_words.h"
#include "proto/xattr.h"
#include "tests/fuzz/fuzz.h"

static void
must_be_right(enum xattr_cmd cmd, const struct xattr_value *v)
{
    MUST(v->attr < XATTRS);
    MUST(v->value.n <= XATTR_VALUE_OCTETS);
    MUST(v->status == XATTR_GIVEN || v->value.n == 0);
    for (size_t i = 0; i < v->value.n; i++)
        MUST((unsigned char)v->value.p[i] >= ' ' && v->value.p[i] != 127);
    if (v->status != XATTR_GIVEN)
        return;
    switch (v->attr) {
    case XATTR_NAME:
    case XATTR_REVERSE_NAME:
        MUST(hostname_is_valid(v->value));
        break;
    case XATTR_ADDR:
    case XATTR_DESTADDR:
        MUST(hostname_is_ipv4(v->value) || hostname_is_ipv6(v->value));
        break;
    case XATTR_PORT:
    case XATTR_DESTPORT:
        MUST(v->value.n > 0 && v->value.n <= XATTR_PORT_DIGITS);
        break;
    case XATTR_HELO: /* stands in Received and in the log */
        for (size_t i = 0; i < v->value.n; i++)
            MUST(strchr(" <>()\\\";@", v->value.p[i]) == NULL);
        break;
    case XATTR_LOGIN:
        MUST(cmd == XATTR_XCLIENT);
        break;
    case XATTR_IDENT:
    case XATTR_SOURCE:
        MUST(cmd == XATTR_XFORWARD);
        break;
    default:
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n), line;
    unsigned choice = fuzz_choice(&in);
    enum xattr_cmd cmd = choice & 1 ? XATTR_XFORWARD : XATTR_XCLIENT;
    struct arena mem = { .cap = choice & 2 ? 300 : 1024 * 1024 };
    struct smtp_words w;

    line = fuzz_dup(sl_head(in, sl_find_char(in, '\n')));
    smtp_words_split(line, &w);
    for (size_t i = 0; i < w.n; i++) {
        struct xattr_value v = { 0 };
        const char *reply = xattr_parse(cmd, w.w[i].s, &mem, &v);

        if (reply)
            MUST(strncmp(reply, "501 5.5.4 ", 10) == 0 || strncmp(reply, "451 4.3.0 ", 10) == 0);
        else
            must_be_right(cmd, &v);
    }
    arena_free(&mem);
    fuzz_free(line);
    return 0;
}
