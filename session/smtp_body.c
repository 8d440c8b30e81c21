/* session/smtp_body.c - see smtp_body.h. */
#include "session/smtp_body.h"

static void
end_line(struct smtp_body *b, struct buf *out)
{
    buf_add(out, "\r\n", 2);
    b->column = 0;
}

/* A run without CR and LF. */
static void
add_run(struct smtp_body *b, struct slice s, struct buf *out)
{
    size_t line_max = b->line_max == 1 ? 2 : b->line_max; /* a continuation's blank is one octet */

    while (s.n > 0) {
        size_t room = line_max ? line_max - b->column : s.n;

        if (b->column == 0 && s.p[0] == '.' && !b->is_chunked)
            buf_addc(out, '.');
        if (room == 0) {
            buf_add(out, "\r\n ", 3);
            b->column = 1;
            continue;
        }
        room = room < s.n ? room : s.n;
        buf_add(out, s.p, room);
        b->column += room;
        s = sl_from(s, room);
    }
}

void
smtp_body_add(struct smtp_body *b, struct slice s, struct buf *out)
{
    while (s.n > 0) {
        size_t n = 0;

        if (b->has_cr) {
            b->has_cr = false;
            if (s.p[0] == '\n') {
                end_line(b, out);
                s = sl_from(s, 1);
                continue;
            }
            add_run(b, SL(" "), out);
        }
        while (n < s.n && s.p[n] != '\r' && s.p[n] != '\n')
            n++;
        add_run(b, sl_head(s, n), out);
        s = sl_from(s, n);
        if (s.n == 0)
            return;
        if (s.p[0] == '\n')
            end_line(b, out);
        else
            b->has_cr = true;
        s = sl_from(s, 1);
    }
}

void
smtp_body_end(struct smtp_body *b, struct buf *out)
{
    if (b->has_cr)
        add_run(b, SL(" "), out);
    b->has_cr = false;
    if (b->column > 0)
        end_line(b, out);
    if (!b->is_chunked)
        buf_add(out, ".\r\n", 3);
}
