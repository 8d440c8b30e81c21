/* session/header_split.c - see header_split.h. A line's start is gathered octet by octet only where a name is parted or odd. */
#include "session/header_split.h"

enum state {
    AT_LINE, /* the start of a line is in `held` */
    IN_FIELD /* the rest of a line goes to `text` */
};

/* ---- one field ---- */

/* One octet more than the limit is kept, so that the end is seen to be missing. */
static void
add(struct header_split *h, struct slice s)
{
    size_t room = h->limit + 1;

    room = h->text.n < room ? room - h->text.n : 0;
    h->is_cut = h->is_cut || s.n > room;
    buf_adds(&h->text, sl_head(s, room));
}

static void
cut(struct header_split *h)
{
    struct slice text = buf_slice(&h->text);
    size_t nl;

    if (text.n > h->limit) {
        h->is_cut = true;
        text = sl_head(text, h->limit + 1);
        nl = sl_rfind_char(text, '\n');
        buf_truncate(&h->text, nl != SL_NPOS && nl + 1 > h->limit - h->limit / 10 ? nl : h->limit);
    }
}

static void
end_field(struct header_split *h)
{
    if (h->text.n == 0)
        return;
    cut(h);
    h->field(h->arg, buf_slice(&h->text), h->is_cut);
    h->is_cut = false;
    buf_reset(&h->text);
}

/* ---- lines ---- */

/* What is held is the start of a line: 1 a field whose name is known, 0 not known yet, -1 no field. Looks at the octet
 * that came last: a name may have a thousand, and a message a hundred thousand names. */
static int
look_at_name(struct header_split *h)
{
    char last = h->held.p[h->held.off + h->held.n - 1];
    bool is_blank = last == ' ' || last == '\t';

    if (last > ' ' && last < 127 && last != ':' && h->name_len == h->held.n - 1)
        h->name_len++;
    else if (h->name_len == 0 || !is_blank)
        return h->name_len && last == ':' ? 1 : -1;
    return h->held.n > HEADER_NAME_OCTETS ? -1 : 0;
}

static void
drop_held(struct header_split *h)
{
    buf_reset(&h->held);
    h->name_len = 0;
}

/* The line is no field. False: it stands for one, all the same. */
static bool
not_a_field(struct header_split *h, struct buf *rest)
{
    struct slice held = buf_slice(&h->held);

    while (sl_starts(held, '>'))
        held = sl_from(held, 1);
    if (h->is_primary && !h->is_begun && sl_has_prefix(held, SL("From "))) {
        held = buf_slice(&h->held);
        held.n -= sl_ends(held, '\r'); /* half of the line's end */
        add(h, SL("X-Mailbox-Line: "));
        add(h, held);
        drop_held(h);
        h->is_begun = true;
        h->state = IN_FIELD;
        return false;
    }
    end_field(h);
    if (h->is_primary && !sl_has_prefix(buf_slice(&h->held), SL("\r\n")))
        buf_adds(rest, SL("\r\n"));
    buf_adds(rest, buf_slice(&h->held));
    drop_held(h);
    return true;
}

/* Enough of a line's start has come to say what it is? True: the header's end. */
static bool
start_of_line(struct header_split *h, struct buf *rest)
{
    struct slice held = buf_slice(&h->held);
    int known;

    if (sl_starts(held, '\r')) /* LF follows */
        return held.n > 1 && not_a_field(h, rest);
    if (h->is_begun && (sl_starts(held, ' ') || sl_starts(held, '\t'))) {
        add(h, SL("\n"));
        add(h, held);
    } else {
        known = look_at_name(h);
        if (known == 0)
            return false;
        if (known < 0)
            return not_a_field(h, rest);
        end_field(h);
        /* Blanks before the colon are obsolete (RFC 5322 §4.5) and go. The colon is the last octet held. */
        add(h, sl_head(held, h->name_len));
        add(h, SL(":"));
    }
    h->is_begun = true;
    h->state = IN_FIELD;
    drop_held(h);
    return false;
}

/* A name with its colon that is all there, as most are. */
static bool
whole_name(struct header_split *h, struct slice *in)
{
    size_t n = 0;

    while (n < in->n && n < HEADER_NAME_OCTETS && in->p[n] > ' ' && in->p[n] < 127 &&
           in->p[n] != ':')
        n++;
    if (n == 0 || n == in->n || in->p[n] != ':')
        return false;
    end_field(h);
    add(h, sl_head(*in, n + 1));
    *in = sl_from(*in, n + 1);
    h->is_begun = true;
    h->state = IN_FIELD;
    return true;
}

static void
rest_of_line(struct header_split *h, struct slice *in)
{
    size_t lf = sl_find_char(*in, '\n');
    struct slice part = lf == SL_NPOS ? *in : sl_head(*in, lf);

    *in = sl_from(*in, part.n + (lf != SL_NPOS));
    if (sl_ends(part, '\r')) /* half of the line's end */
        part.n--;
    if (!h->is_nul) {
        size_t nul = sl_find_char(part, '\0');

        h->is_nul = nul != SL_NPOS;
        add(h, sl_head(part, nul));
    }
    if (lf != SL_NPOS) {
        h->state = AT_LINE;
        h->is_nul = false;
    }
}

bool
header_split_take(struct header_split *h, struct slice *in, struct buf *rest)
{
    while (in->n) {
        if (h->state == AT_LINE) { /* one octet at a time, and seldom */
            if (h->held.n == 0 && whole_name(h, in))
                continue;
            buf_addc(&h->held, in->p[0]);
            *in = sl_from(*in, 1);
            if (start_of_line(h, rest))
                return true;
        } else {
            rest_of_line(h, in);
        }
    }
    return false;
}

bool
header_split_end(struct header_split *h, struct buf *rest)
{
    if (h->held.n && not_a_field(h, rest))
        return true;
    end_field(h);
    return false;
}

void
header_split_again(struct header_split *h)
{
    drop_held(h);
    buf_reset(&h->text);
    h->state = AT_LINE;
    h->is_begun = h->is_nul = h->is_cut = false;
}

void
header_split_free(struct header_split *h)
{
    buf_free(&h->held);
    buf_free(&h->text);
}
