/* proto/pop3.c - POP3's command lines and multi-line replies. */
#include "proto/pop3.h"

#include "base/mem.h"

void
pop3_parse(struct slice line, struct pop3_command *out)
{
    size_t blank = sl_find_char(line, ' ');

    out->name = sl_head(line, blank);
    out->args = blank == SL_NPOS ? SL("") : sl_from(line, blank);
    while (sl_take_char(&out->args, ' '))
        ;
}

enum pop3_number
pop3_take_number(struct slice *args, bool has_more, uint64_t most, uint64_t *out)
{
    struct slice at = *args, digits;
    size_t n = 0;

    while (n < at.n && at.p[n] >= '0' && at.p[n] <= '9')
        n++;
    if (n == 0)
        return POP3_NUMBER_NONE;
    digits = sl_head(at, n);
    at = sl_from(at, n);
    if (!sl_to_u64(digits, out))
        return POP3_NUMBER_TOO_LARGE;
    if (*out > most) { /* no more of it is told: as Dovecot */
        *args = at;
        return POP3_NUMBER_TOO_LARGE;
    }
    if (has_more ? !sl_starts(at, ' ') : at.n > 0) {
        *args = at;
        return POP3_NUMBER_NOISE;
    }
    while (sl_take_char(&at, ' '))
        ;
    *args = at;
    return POP3_NUMBER_OK;
}

void
pop3_stuff(struct slice *in, bool *at_line_start, size_t max, struct buf *out)
{
    while (in->n > 0 && out->n < max) {
        size_t lf = sl_find_char(*in, '\n');
        struct slice line = lf == SL_NPOS ? *in : sl_head(*in, lf + 1);

        if (line.n > max - out->n)
            line = sl_head(line, max - out->n);
        if (*at_line_start && line.p[0] == '.')
            buf_addc(out, '.');
        buf_adds(out, line);
        *at_line_start = line.p[line.n - 1] == '\n';
        *in = sl_from(*in, line.n);
    }
}

void
pop3_end_text(bool at_line_start, struct buf *out)
{
    if (!at_line_start)
        buf_addz(out, "\r\n");
    buf_addz(out, ".\r\n");
}

static size_t
line_length(struct slice s)
{
    size_t lf = sl_find_char(s, '\n');

    return lf == SL_NPOS ? s.n : lf + 1;
}

struct slice
pop3_top(struct slice message, uint64_t lines)
{
    size_t at = 0;
    bool is_header = true;

    while (at < message.n && (is_header || lines > 0)) {
        struct slice rest = sl_from(message, at);
        size_t n = line_length(rest);

        if (!is_header)
            lines--;
        else if (rest.p[0] == '\n' || (n == 2 && rest.p[0] == '\r'))
            is_header = false;
        at += n;
    }
    return sl_head(message, at);
}

void
pop3_add_capa(struct buf *out, const struct pop3_capa *c)
{
    buf_addz(out, "CAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n"
                  "UTF8 USER\r\nLANG\r\n");
    if (c->login_delay_s > 0)
        buf_addf(out, "LOGIN-DELAY %llu\r\n", (unsigned long long)c->login_delay_s);
    if (c->expire[0] != '\0')
        buf_addf(out, "EXPIRE %s\r\n", c->expire);
    buf_addz(out, "IMPLEMENTATION Postern\r\n");
}

/* The tags of RFC 5646 that we have, i-default first: RFC 2277 §4.5. */
static const struct {
    const char *tag, *name;
} languages[] = { { "i-default", "Default language" }, { "en", "English" } };

/* The tag for a language range: RFC 4647 §3.4, from its end subtags are left away until one is there. */
static const char *
look_up(struct slice range)
{
    while (range.n > 0) {
        for (size_t i = 0; i < COUNT_OF(languages); i++)
            if (sl_ieqz(range, languages[i].tag))
                return languages[i].tag;
        range =
            sl_head(range, sl_rfind_char(range, '-') == SL_NPOS ? 0 : sl_rfind_char(range, '-'));
    }
    return NULL;
}

void
pop3_add_lang(struct buf *out, struct slice args)
{
    struct slice range = sl_trim(args);
    const char *tag = sl_eqz(range, "*") ? languages[0].tag : look_up(range);

    if (range.n == 0) {
        buf_addz(out, "+OK Language listing follows:\r\n");
        for (size_t i = 0; i < COUNT_OF(languages); i++)
            buf_addf(out, "%s %s\r\n", languages[i].tag, languages[i].name);
        buf_addz(out, ".\r\n");
    } else if (tag) {
        buf_addf(out, "+OK %s Everything is said in English.\r\n", tag);
    } else {
        buf_addz(out, "-ERR There is no such language here, but English (en).\r\n");
    }
}
