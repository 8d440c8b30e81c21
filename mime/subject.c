/* mime/subject.c - what messages are sorted and threaded by. */
#include "mime/text.h"

#include "mime/mime_int.h"

/* ---- base subject: RFC 5256 §2.1, whose names the functions bear ---- */

static void
one_space(struct slice in, struct buf *out)
{
    bool owes = false;

    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];

        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            owes = true;
            continue;
        }
        if (owes && out->n > 0)
            buf_addc(out, ' ');
        owes = false;
        buf_addc(out, c);
    }
}

static void
skip_blanks(struct slice *in)
{
    while (in->n > 0 && (in->p[0] == ' ' || in->p[0] == '\t'))
        *in = sl_from(*in, 1);
}

static bool
take_blob(struct slice *in)
{
    size_t n = 1;

    if (!sl_starts(*in, '['))
        return false;
    while (n < in->n && in->p[n] != '[' && in->p[n] != ']' && in->p[n] != '\0')
        n++;
    if (n >= in->n || in->p[n] != ']')
        return false;
    *in = sl_from(*in, n + 1);
    skip_blanks(in);
    return true;
}

static bool
take_refwd(struct slice *in)
{
    struct slice at = *in;

    if (!sl_take_iprefix(&at, SL("re")) && !sl_take_iprefix(&at, SL("fwd")) &&
        !sl_take_iprefix(&at, SL("fw")))
        return false;
    skip_blanks(&at);
    take_blob(&at);
    if (!sl_take_char(&at, ':'))
        return false;
    *in = at;
    return true;
}

/* Steps 3 to 5. All blobs are looked over once: without a "re:" behind them they go one by one, all but the last if nothing
 * else is left. */
static void
take_leaders(struct slice *s, bool *is_reply)
{
    for (;;) {
        struct slice at = *s, last;

        skip_blanks(&at);
        *s = last = at;
        for (struct slice next = at; take_blob(&next); at = next)
            last = at;
        if (take_refwd(&at)) {
            *is_reply = true;
            *s = at;
            continue;
        }
        *s = at.n > 0 ? at : last;
        return;
    }
}

static bool
take_suffix(struct slice *s, struct slice what)
{
    if (!sl_has_isuffix(*s, what))
        return false;
    s->n -= what.n;
    return true;
}

static void
take_trailers(struct slice *s, bool *is_reply)
{
    for (;;) {
        if (take_suffix(s, SL("(fwd)")))
            *is_reply = true;
        else if (!take_suffix(s, SL(" ")))
            return;
    }
}

bool
mime_base_subject(struct slice raw, struct buf *out)
{
    struct buf decoded = { 0 }, flat = { 0 };
    bool is_reply = false;
    struct slice s;

    if (raw.p == NULL)
        return false;
    mime_decode_words(sl_head(raw, MIME_SUBJECT_MAX_OCTETS), &decoded);
    one_space(buf_slice(&decoded), &flat);
    s = buf_slice(&flat);
    for (;;) {
        take_trailers(&s, &is_reply);
        take_leaders(&s, &is_reply);
        if (!sl_has_iprefix(s, SL("[fwd:")) || !sl_ends(s, ']'))
            break;
        s = sl_from(sl_head(s, s.n - 1), strlen("[fwd:"));
        is_reply = true;
    }
    buf_adds(out, s);
    buf_free(&decoded);
    buf_free(&flat);
    return is_reply;
}

/* ---- the first address ---- */

static bool
first_address(struct slice raw, struct arena *mem, struct mime_address *a)
{
    return raw.p != NULL && mime_first_address(sl_head(raw, MIME_SORT_MAX_OCTETS), mem, a);
}

void
mime_sort_mailbox(struct slice raw, struct buf *out)
{
    struct arena mem = { 0 };
    struct mime_address a;

    if (first_address(raw, &mem, &a))
        buf_adds(out, a.mailbox);
    arena_free(&mem);
}

void
mime_sort_name(struct slice raw, struct buf *out)
{
    struct arena mem = { 0 };
    struct mime_address a;

    if (first_address(raw, &mem, &a)) {
        bool is_group = a.host.p == NULL;

        if (a.name.n > 0 || is_group) {
            mime_decode_words(a.name.n > 0 ? a.name : a.mailbox, out);
        } else {
            buf_adds(out, a.mailbox);
            buf_addc(out, '@');
            buf_adds(out, a.host);
        }
    }
    arena_free(&mem);
}

/* ---- message ids ---- */

enum { MESSAGE_ID_MAX_OCTETS = 1000 };

bool
mime_next_message_id(struct slice *raw, struct buf *id)
{
    bool is_inside = false;

    buf_reset(id);
    for (size_t i = 0; i < raw->n; i++) {
        char c = raw->p[i];

        if (c == '<') { /* of several the last: an earlier one has no end */
            is_inside = true;
            buf_reset(id);
        } else if (!is_inside || c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            continue;
        } else if (c != '>') {
            if (id->n <= MESSAGE_ID_MAX_OCTETS)
                buf_addc(id, c);
        } else if (id->n > 0 && id->n <= MESSAGE_ID_MAX_OCTETS) {
            *raw = sl_from(*raw, i + 1);
            return true;
        } else {
            is_inside = false;
        }
    }
    *raw = sl_n(NULL, 0);
    buf_reset(id);
    return false;
}
