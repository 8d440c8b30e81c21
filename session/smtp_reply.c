/* session/smtp_reply.c - see smtp_reply.h. */
#include "session/smtp_reply.h"

#include <stdio.h>

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* class "." subject "." detail at the front of s, its class that of the code. */
static bool
take_dsn(struct slice s, unsigned code, char out[SMTP_DSN_OCTETS])
{
    size_t at = 2, n;

    if (s.n < 5 || s.p[0] != (char)('0' + code / 100) || s.p[1] != '.')
        return false;
    for (int part = 0; part < 2; part++) {
        n = 0;
        while (at < s.n && is_digit(s.p[at]) && n < 3) {
            at++;
            n++;
        }
        if (n == 0)
            return false;
        if (part == 0 && (at >= s.n || s.p[at++] != '.'))
            return false;
    }
    if (at < s.n && s.p[at] != ' ' && s.p[at] != '\t')
        return false;
    memcpy(out, s.p, at);
    out[at] = '\0';
    return true;
}

enum parse_rc
smtp_reply_take(struct smtp_reply *r, struct slice line, struct err *e)
{
    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !is_digit(line.p[1]) ||
        !is_digit(line.p[2]) || (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-'))
        return err_parse(e, "not an SMTP reply: %.*s", (int)(line.n < 100 ? line.n : 100),
                         line.n ? line.p : "");
    if (++r->n_lines > SMTP_REPLY_LINES_MAX)
        return err_parse(e, "reply of more than %d lines", SMTP_REPLY_LINES_MAX);
    r->code = (unsigned)(line.p[0] - '0') * 100 + (unsigned)(line.p[1] - '0') * 10 +
              (unsigned)(line.p[2] - '0');
    if (!r->has_dsn && line.n > 4)
        r->has_dsn = take_dsn(sl_from(line, 4), r->code, r->dsn);
    r->text.max = SMTP_REPLY_TEXT_OCTETS;
    if (r->text.n > 0)
        buf_addc(&r->text, '\n');
    buf_adds(&r->text, line); /* over the cap: dropped */
    if (line.n > 3 && line.p[3] == '-')
        return PARSE_MORE;
    if (r->has_dsn && r->dsn[0] != (char)('0' + r->code / 100))
        r->has_dsn = false;
    if (!r->has_dsn)
        snprintf(r->dsn, sizeof r->dsn, "%u.0.0", r->code / 100 % 10);
    return PARSE_OK;
}

void
smtp_reply_reset(struct smtp_reply *r)
{
    buf_reset(&r->text);
    r->n_lines = 0;
    r->has_dsn = false;
    r->code = 0;
}

void
smtp_reply_free(struct smtp_reply *r)
{
    buf_free(&r->text);
}

void
smtp_reply_one_line(const struct smtp_reply *r, struct buf *out)
{
    struct slice s = buf_slice(&r->text);

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        buf_addc(out, c == '\n' ? ' ' : (unsigned char)c < 0x20 || c == 0x7f ? '?' : c);
    }
}
