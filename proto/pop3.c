/* proto/pop3.c - POP3's command lines and multi-line replies. */
#include "proto/pop3.h"

bool
pop3_parse(struct slice line, struct pop3_command *out)
{
    struct slice word;

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < line.n; i++)
        if ((unsigned char)line.p[i] < 32 || (unsigned char)line.p[i] > 126)
            return false;
    if (!sl_take_word(&line, " ", &out->name))
        return false;
    while (sl_take_word(&line, " ", &word)) {
        if (out->n_args < POP3_ARGS_MAX)
            out->args[out->n_args] = word;
        out->n_args++;
    }
    return true;
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
