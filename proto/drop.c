/* proto/drop.c - see drop.h. */
#include "proto/drop.h"

#include "base/utf8.h"
#include "proto/smtp_addr.h"
#include "proto/smtp_param.h"

enum { ADDRESS_ARENA_OCTETS = 1024 * 1024 /* tokens of the longest address */ };

void
drop_add(struct buf *out, enum drop_kind kind, struct slice octets)
{
    buf_addf(out, "%c%zu:", (char)kind, octets.n);
    buf_adds(out, octets);
    buf_addc(out, '\n');
}

enum parse_rc
drop_take_magic(struct slice *in, struct err *e)
{
    struct slice magic = SL(DROP_MAGIC);

    if (in->n < magic.n)
        return sl_has_prefix(magic, *in) ? PARSE_MORE : err_parse(e, "not a dropped message");
    return sl_take_prefix(in, magic) ? PARSE_OK : err_parse(e, "not a dropped message");
}

enum parse_rc
drop_take(struct slice *in, enum drop_kind *kind, struct slice *octets, struct err *e)
{
    struct slice at = *in, number;
    uint64_t n;

    if (at.n == 0)
        return PARSE_MORE;
    if (at.p[0] < 'A' || at.p[0] > 'Z')
        return err_parse(e, "no record where one should be");
    *kind = (enum drop_kind)at.p[0];
    at = sl_from(at, 1);
    if (!sl_take_until(&at, ':', &number))
        return at.n < DROP_HEAD_OCTETS ? PARSE_MORE : err_parse(e, "a record without a length");
    if (!sl_to_u64(number, &n) || n > DROP_RECORD_OCTETS)
        return err_parse(e, "a record of bad length");
    if (at.n < n + 1)
        return PARSE_MORE;
    if (at.p[n] != '\n')
        return err_parse(e, "a record that does not end where it says");
    *octets = sl_head(at, (size_t)n);
    *in = sl_from(at, (size_t)n + 1);
    return PARSE_OK;
}

int
drop_notify_bits(struct slice words)
{
    static const struct {
        const char *word;
        int bit;
    } rows[] = { { "never", SMTP_NOTIFY_NEVER },
                 { "success", SMTP_NOTIFY_SUCCESS },
                 { "failure", SMTP_NOTIFY_FAILURE },
                 { "delay", SMTP_NOTIFY_DELAY } };
    struct slice word;
    int bits = 0;

    while (sl_take_word(&words, ", \t", &word)) {
        int bit = 0;

        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
            if (sl_ieqz(word, rows[i].word))
                bit = rows[i].bit;
        if (bit == 0)
            return -1;
        bits |= bit;
    }
    return bits == 0 || ((bits & SMTP_NOTIFY_NEVER) && bits != SMTP_NOTIFY_NEVER) ? -1 : bits;
}

static bool
has_control(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 127)
            return true;
    return false;
}

bool
drop_is_address(struct slice internal)
{
    struct arena mem = { .cap = ADDRESS_ARENA_OCTETS };
    struct buf path = { 0 };
    struct slice again, domain = sl_from(internal, sl_rfind_char(internal, '@'));
    bool is_good = internal.n > 0 && internal.n <= SMTP_ADDR_OCTETS_MAX && utf8_is_valid(internal);

    if (domain.n == 1 || domain.n == internal.n) /* without either; no @ at all: the origin's */
        is_good = false;
    for (size_t i = 1; i < domain.n; i++)
        if (strchr(" ()<>,;\\\"", domain.p[i]))
            is_good = false;
    if (is_good) {
        buf_addf(&path, "<%.*s>", SL_ARG(smtp_addr_quote(internal, &mem)));
        is_good = smtp_path_parse(buf_slice(&path), false, &mem, &again, NULL) == PARSE_OK &&
                  sl_eq(again, internal);
    }
    buf_free(&path);
    arena_free(&mem);
    return is_good;
}

/* Does the value mean something to SMTP? */
static bool
is_good(enum drop_kind kind, struct slice v)
{
    switch (kind) {
    case DROP_SENDER:
        return v.n == 0 || drop_is_address(v);
    case DROP_RECIPIENT:
        return drop_is_address(v);
    case DROP_NOTIFY:
        return drop_notify_bits(v) > 0;
    case DROP_RET:
        return sl_eqz(v, "FULL") || sl_eqz(v, "HDRS");
    case DROP_BODY:
        return sl_eqz(v, "7BIT") || sl_eqz(v, "8BITMIME");
    case DROP_ENVID:
        return v.n > 0 && v.n <= 100; /* RFC 3461 §4.4 */
    case DROP_FULL_NAME:
        return v.n <= 1000;
    default:
        return v.n == 0;
    }
}

enum parse_rc
drop_check(struct drop_seen *s, enum drop_kind kind, struct slice octets, struct err *e)
{
    static const char known[] = { DROP_SENDER,  DROP_RECIPIENT, DROP_FULL_NAME, DROP_NOTIFY,
                                  DROP_RET,     DROP_ENVID,     DROP_BODY,      DROP_UTF8,
                                  DROP_GATEWAY, DROP_CONTENT,   DROP_END };
    unsigned bit;

    if (!memchr(known, kind, sizeof known))
        return err_parse(e, "a record of unknown kind");
    bit = 1u << (kind - 'A');
    if (s->is_over)
        return err_parse(e, "a record behind the end");
    if ((s->kinds == 0) != (kind == DROP_SENDER))
        return err_parse(e, s->kinds ? "two senders" : "the sender is not first");
    if ((s->kinds & bit) && kind != DROP_RECIPIENT && kind != DROP_CONTENT)
        return err_parse(e, "two records where one may be");
    s->kinds |= bit;
    if (kind == DROP_CONTENT) {
        s->content_octets += octets.n;
        return PARSE_OK;
    }
    if (!is_good(kind, octets) || has_control(octets))
        return err_parse(e, "a bad value in a record of kind %c", (char)kind);
    s->envelope_octets += octets.n + DROP_HEAD_OCTETS;
    if (s->envelope_octets > DROP_ENVELOPE_OCTETS)
        return err_parse(e, "more than %d octets of envelope", DROP_ENVELOPE_OCTETS);
    s->n_rcpts += kind == DROP_RECIPIENT;
    if (s->n_rcpts > DROP_RCPTS_MAX)
        return err_parse(e, "more than %d recipients", DROP_RCPTS_MAX);
    if (kind == DROP_END && s->n_rcpts == 0)
        return err_parse(e, "no recipients");
    s->is_over = kind == DROP_END;
    return PARSE_OK;
}
