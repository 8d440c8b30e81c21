/* smtpd/access_parse.c - the right-hand side of an access table: access(5). */
#include "smtpd/access.h"

#include "base/mem.h"

static bool
is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
is_number(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return s.n > 0;
}

static struct slice
skip_blanks(struct slice s)
{
    while (s.n && is_blank(s.p[0]))
        s = sl_from(s, 1);
    return s;
}

/* ".", then one to three digits. */
static bool
take_dsn_part(struct slice *in)
{
    size_t n = 0;

    if (!sl_take_char(in, '.'))
        return false;
    while (n < in->n && is_digit(in->p[n]))
        n++;
    *in = sl_from(*in, n);
    return n >= 1 && n <= 3;
}

size_t
access_dsn_length(struct slice s)
{
    struct slice at = s;

    if (!sl_take_char(&at, '2') && !sl_take_char(&at, '4') && !sl_take_char(&at, '5'))
        return 0;
    if (!take_dsn_part(&at) || !take_dsn_part(&at) || (at.n && !is_blank(at.p[0])))
        return 0;
    return s.n - at.n;
}

/* What the text begins with is its enhanced code. */
static void
split_dsn(struct access_action *out, const char *or_else)
{
    size_t n = access_dsn_length(out->text);

    if (n) {
        memcpy(out->esc, out->text.p, n);
        out->esc[n] = '\0';
        out->text = skip_blanks(sl_from(out->text, n));
    } else {
        memcpy(out->esc, or_else, strlen(or_else) + 1);
    }
}

/* In the order in which they are tried. dsn: of those that refuse. */
static const struct {
    const char *word;
    enum access_kind kind;
    const char *dsn;
} words[] = {
    { "DUNNO", ACCESS_DUNNO, NULL },
    { "REJECT", ACCESS_REJECT, "5.7.1" },
    { "DEFER", ACCESS_DEFER, "4.7.1" },
    { "INFO", ACCESS_INFO, NULL },
    { "WARN", ACCESS_WARN, NULL },
    { "FILTER", ACCESS_FILTER, NULL },
    { "HOLD", ACCESS_HOLD, NULL },
    { "DISCARD", ACCESS_DISCARD, NULL },
    { "REDIRECT", ACCESS_REDIRECT, NULL },
    { "BCC", ACCESS_BCC, NULL },
    { "DEFER_IF_PERMIT", ACCESS_DEFER_IF_PERMIT, "4.7.1" },
    { "DEFER_IF_REJECT", ACCESS_DEFER_IF_REJECT, "4.7.1" },
    { "PREPEND", ACCESS_PREPEND, NULL },
    { "OK", ACCESS_OK, NULL },
    { "RELAY", ACCESS_OK, NULL },
};

void
access_action_parse(struct slice value, struct access_action *out)
{
    struct slice word;
    char dsn[] = "5.7.1";
    size_t n = 0;

    while (n < value.n && value.p[n] != ' ' && value.p[n] != '\t')
        n++;
    word = sl_head(value, n);
    *out = (struct access_action){ .kind = ACCESS_RESTRICTIONS,
                                   .text = skip_blanks(sl_from(value, n)) };
    if (is_number(value)) { /* some programs write the time there: it stands for OK */
        out->kind = ACCESS_OK;
        out->word = "OK";
        return;
    }
    if (n == 3 && is_number(word) && (word.p[0] == '4' || word.p[0] == '5') && out->text.n) {
        out->kind = ACCESS_CODE;
        out->code = (word.p[0] - '0') * 100 + (word.p[1] - '0') * 10 + (word.p[2] - '0');
        dsn[0] = word.p[0];
        split_dsn(out, dsn);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (sl_ieqz(word, words[i].word)) {
            out->kind = words[i].kind;
            out->word = words[i].word;
            if (words[i].dsn)
                split_dsn(out, words[i].dsn);
            return;
        }
}

/* ---- enhanced codes about addresses ---- */

/* RFC 3463 §3.2: of a recipient 1 to 6, of a sender 7 and 8. By the detail: what a sender's and a recipient's are. */
static const struct {
    const char *detail, *sender, *recipient;
} address_codes[] = {
    { "1", ".1.7", ".1.1" }, { "2", ".1.8", ".1.2" }, { "3", ".1.7", ".1.3" },
    { "4", ".1.7", ".1.4" }, { "5", ".1.0", ".1.5" }, { "6", ".1.7", ".1.6" },
    { "7", ".1.7", ".1.3" }, { "8", ".1.8", ".1.2" },
};

bool
access_dsn_fix(char esc[ACCESS_ESC_OCTETS], const char *reply_class)
{
    const char *fit = ".0.0";
    bool is_sender = !strcmp(reply_class, "Sender address");

    if (!is_digit(esc[0]) || strncmp(esc + 1, ".1.", 3) != 0)
        return false;
    if (is_sender || !strcmp(reply_class, "Recipient address")) {
        fit = ".1.0";
        for (size_t i = 0; i < COUNT_OF(address_codes); i++)
            if (!strcmp(esc + 4, address_codes[i].detail))
                fit = is_sender ? address_codes[i].sender : address_codes[i].recipient;
    }
    if (!strcmp(esc + 1, fit))
        return false;
    memcpy(esc + 1, fit, strlen(fit) + 1);
    return true;
}
