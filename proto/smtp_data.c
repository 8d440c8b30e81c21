/* proto/smtp_data.c - the states stand for what was held back: a CR may be half of a line end, a dot at the start of a
 * line half of the end of data. Runs of lines that are canonical already go out in one piece. */
#include "proto/smtp_data.h"

enum { AT_START, AT_LINE, AT_CR, AT_DOT, AT_DOT_CR };

/* The length of the canonical run at the front of s, which is at `start` of a line or inside one: up to a dot that
 * starts a line (dots only), or a CR or LF that is not a plain CRLF. *at_start says whether the run ended a line.
 * *next_lf: the first LF not left of s, or the end of s where there is none; NULL: not known. It is kept for the run
 * behind this one: else a client could have all that is left looked through for every bare CR it sends. */
static size_t
canonical_run(struct slice s, bool dots, bool *at_start, const char **next_lf)
{
    const char *end = s.p + s.n;
    size_t i = 0;

    for (;;) {
        const char *cr, *lf;

        if (*at_start && dots && i < s.n && s.p[i] == '.')
            return i;
        if (i == s.n)
            return i;
        if (*next_lf == NULL || *next_lf < s.p + i) {
            lf = memchr(s.p + i, '\n', s.n - i);
            *next_lf = lf ? lf : end;
        }
        lf = *next_lf < end ? *next_lf : NULL;
        cr = memchr(s.p + i, '\r', (size_t)(*next_lf - s.p) - i);
        if (cr == NULL && lf == NULL) {
            *at_start = false;
            return s.n;
        }
        if (cr == NULL || lf != cr + 1) { /* a bare one, or the rest is not here yet */
            size_t stop = (size_t)((cr ? cr : lf) - s.p);

            *at_start = *at_start && stop == i;
            return stop;
        }
        i = (size_t)(lf - s.p) + 1;
        *at_start = true;
    }
}

static void
end_line(struct smtp_data *b, bool is_bare, smtp_data_sink *sink, void *arg)
{
    sink(arg, SL("\r\n"));
    b->has_bare_lf |= is_bare;
    b->was_bare = is_bare;
    b->at = AT_START;
}

/* A line of one dot has ended. True: that was the end of data. */
static bool
end_dot(struct smtp_data *b, bool is_bare)
{
    bool is_end = b->lf_ends || !(is_bare || b->was_bare);

    b->has_bare_lf |= is_bare;
    b->was_bare = is_bare;
    b->at = AT_START;
    return is_end;
}

/* One octet that is not part of a run. True: end of data. */
static bool
step(struct smtp_data *b, char c, bool dots, smtp_data_sink *sink, void *arg)
{
    if (b->at == AT_DOT || b->at == AT_DOT_CR) {
        if (c == '\n')
            return end_dot(b, b->at == AT_DOT);
        if (c == '\r' && b->at == AT_DOT) {
            b->at = AT_DOT_CR;
            return false;
        }
        b->at = b->at == AT_DOT ? AT_LINE : AT_CR; /* the dot was stuffing */
    }
    if (b->at == AT_CR && c != '\n') {
        sink(arg, SL(" "));
        b->at = AT_LINE;
    }
    if (c == '\n') {
        end_line(b, b->at != AT_CR, sink, arg);
    } else if (c == '\r') {
        b->at = AT_CR;
    } else if (c == '.' && dots && b->at == AT_START) {
        b->at = AT_DOT;
    } else {
        sink(arg, sl_n(&c, 1));
        b->at = AT_LINE;
    }
    return false;
}

static bool
feed(struct smtp_data *b, struct slice *in, bool dots, smtp_data_sink *sink, void *arg)
{
    const char *next_lf = NULL;

    while (in->n) {
        if (b->at == AT_START || b->at == AT_LINE) {
            bool at_start = b->at == AT_START;
            size_t n = canonical_run(*in, dots, &at_start, &next_lf);

            if (n) {
                sink(arg, sl_head(*in, n));
                *in = sl_from(*in, n);
                if (at_start)
                    b->was_bare = false;
                b->at = at_start ? AT_START : AT_LINE;
                continue;
            }
        }
        {
            char c = in->p[0];

            *in = sl_from(*in, 1);
            if (step(b, c, dots, sink, arg))
                return true;
        }
    }
    return false;
}

bool
smtp_data_dot(struct smtp_data *b, struct slice *in, smtp_data_sink *sink, void *arg)
{
    return feed(b, in, true, sink, arg);
}

void
smtp_data_chunk(struct smtp_data *b, struct slice in, smtp_data_sink *sink, void *arg)
{
    (void)feed(b, &in, false, sink, arg);
}

void
smtp_data_finish(struct smtp_data *b, smtp_data_sink *sink, void *arg)
{
    if (b->at == AT_CR)
        sink(arg, SL(" ")); /* the CR stood alone */
    if (b->at != AT_START)
        end_line(b, false, sink, arg);
}
