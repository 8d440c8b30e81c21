/* imapd/esearch.c - see esearch.h. */
#include "imapd/esearch.h"

#include "base/mem.h"

#include <stdlib.h>

/* ---- what is asked for ---- */

/* clang-format off */
static const struct {
    const char *word;
    unsigned want;
} options[] = {
    { "ALL",     ESEARCH_ALL },
    { "CONTEXT", 0 }, /* a hint that more will be asked of the same results (RFC 5267 §4.2) */
    { "COUNT",   ESEARCH_COUNT },
    { "MAX",     ESEARCH_MAX },
    { "MIN",     ESEARCH_MIN },
    { "PARTIAL", ESEARCH_PARTIAL },
    { "SAVE",    ESEARCH_SAVE },
    { "UPDATE",  ESEARCH_UPDATE },
};
/* clang-format on */

static bool
take_place(struct slice *in, bool is_from_end, uint32_t *place)
{
    uint64_t n;

    if (is_from_end && !sl_take_char(in, '-'))
        return false;
    if (!sl_take_u64(in, &n) || n == 0 || n > UINT32_MAX)
        return false;
    *place = (uint32_t)n;
    return true;
}

/* SP place ":" place; both from the end, or none (RFC 9394 §3.1). In either order: the same places. */
static enum parse_rc
take_partial(struct slice *in, struct esearch *r, struct err *e)
{
    struct slice at = *in;
    uint32_t a, b;

    r->is_from_end = sl_starts(at, '-');
    if (!take_place(&at, r->is_from_end, &a) || !sl_take_char(&at, ':') ||
        !take_place(&at, r->is_from_end, &b) || (at.n > 0 && imap_is_atom_char(at.p[0])))
        return err_parse(e, "expected a range for PARTIAL");
    r->first = a < b ? a : b;
    r->last = a < b ? b : a;
    *in = at;
    return PARSE_OK;
}

/* SP "(" fetch-att *(SP fetch-att) ")": what to tell of new messages among the results (RFC 5465 §7). */
static enum parse_rc
take_items(struct slice *in, struct arena *mem, struct esearch *r, struct err *e)
{
    struct imap_fetch_items items = { 0 };

    *in = sl_from(*in, 1);
    r->items = *in;
    if (imap_take_fetch_items(in, mem, &items, e) != PARSE_OK)
        return PARSE_BAD;
    r->items.n -= in->n;
    return PARSE_OK;
}

static enum parse_rc
take_option(struct slice *in, struct arena *mem, struct esearch *r, struct err *e)
{
    size_t i = 0;

    while (i < COUNT_OF(options) && !imap_take_keyword(in, options[i].word))
        i++;
    if (i == COUNT_OF(options))
        return err_parse(e, "Unknown RETURN option");
    if (options[i].want == ESEARCH_PARTIAL) {
        if (r->want & ESEARCH_PARTIAL)
            return err_parse(e, "PARTIAL can be asked for once");
        if (imap_take_sp(in, e) != PARSE_OK || take_partial(in, r, e) != PARSE_OK)
            return PARSE_BAD;
    }
    r->want |= options[i].want;
    if (options[i].want == ESEARCH_UPDATE && sl_has_prefix(*in, SL(" (")))
        return take_items(in, mem, r, e);
    return PARSE_OK;
}

enum parse_rc
esearch_take(struct slice *in, struct arena *mem, struct esearch *r, struct err *e)
{
    *r = (struct esearch){ 0 };
    if (!imap_take_keyword(in, "RETURN"))
        return PARSE_OK;
    r->is_asked = true;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    if (!sl_starts(*in, ')'))
        do
            if (take_option(in, mem, r, e) != PARSE_OK)
                return PARSE_BAD;
        while (sl_take_char(in, ' '));
    if (!sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    if ((r->want & ESEARCH_PARTIAL) && (r->want & ESEARCH_ALL)) /* RFC 5267 §4.4 */
        return err_parse(e, "PARTIAL and ALL exclude each other");
    if (r->want == 0)
        r->want = ESEARCH_ALL; /* RFC 4731 §3.1 */
    return PARSE_OK;
}

void
esearch_limit(const struct esearch *r, size_t *first, size_t *last)
{
    *first = *last = 0;
    if (!(r->want & (ESEARCH_MIN | ESEARCH_MAX | ESEARCH_PARTIAL)) ||
        (r->want & (ESEARCH_ALL | ESEARCH_COUNT | ESEARCH_UPDATE)))
        return;
    if (r->want & ESEARCH_PARTIAL)
        *(r->is_from_end ? last : first) = r->last;
    if ((r->want & ESEARCH_MIN) && *first == 0)
        *first = 1;
    if ((r->want & ESEARCH_MAX) && *last == 0)
        *last = 1;
}

/* ---- what is told ---- */

void
esearch_add_numbers(struct buf *out, const uint32_t *v, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && v[end] == v[end - 1] + 1; end++) {
        }
        buf_addf(out, i ? ",%u" : "%u", v[i]);
        if (end > i + 1)
            buf_addf(out, ":%u", v[end - 1]);
    }
}

void
esearch_begin(struct imap_cmd *c, struct slice tag, bool is_uid)
{
    buf_addf(&c->out, "* ESEARCH (TAG \"%.*s\")", SL_ARG(tag));
    if (is_uid)
        buf_addz(&c->out, " UID");
}

/* Places [*from, *to) of the results that PARTIAL names. */
static void
partial_places(const struct esearch *r, size_t n, size_t *from, size_t *to)
{
    size_t first = r->first - 1 < n ? r->first - 1 : n, last = r->last < n ? r->last : n;

    *from = r->is_from_end ? n - last : first;
    *to = r->is_from_end ? n - first : last;
}

static void
add_partial(struct buf *out, const struct esearch *r, const uint32_t *ids, size_t n)
{
    const char *sign = r->is_from_end ? "-" : "";
    size_t from, to;

    partial_places(r, n, &from, &to);
    buf_addf(out, " PARTIAL (%s%u:%s%u ", sign, r->first, sign, r->last);
    if (from < to)
        esearch_add_numbers(out, ids + from, to - from);
    else
        buf_addz(out, "NIL");
    buf_addc(out, ')');
}

/* Is the result at that place among those that the answer, or "$", is made of? Where neither all nor their number is asked for
 * it is the ends and the part (RFC 4731 §3.2, RFC 5182 §2.1, RFC 9394 §3.1). */
static bool
counts(const struct esearch *r, size_t at, size_t n)
{
    size_t from, to;

    if (!(r->want & (ESEARCH_MIN | ESEARCH_MAX | ESEARCH_PARTIAL)) ||
        (r->want & (ESEARCH_ALL | ESEARCH_COUNT)))
        return true;
    if (((r->want & ESEARCH_MIN) && at == 0) || ((r->want & ESEARCH_MAX) && at == n - 1))
        return true;
    if (!(r->want & ESEARCH_PARTIAL))
        return false;
    partial_places(r, n, &from, &to);
    return at >= from && at < to;
}

static uint64_t
highest_modseq(const struct esearch *r, const struct esearch_found *f)
{
    struct store_row row;
    uint64_t highest = 0;

    for (size_t i = 0; i < f->n && f->has_modseq; i++)
        if (counts(r, i, f->n) && store_view_row(f->view, f->seqs[i], &row) && row.modseq > highest)
            highest = row.modseq;
    return highest;
}

static void
tell_plain(struct imap_cmd *c, const struct esearch *r, const struct esearch_found *f,
           const uint32_t *ids)
{
    uint64_t modseq = highest_modseq(r, f);

    buf_addf(&c->out, "* %s", f->word);
    for (size_t i = 0; i < f->n; i++)
        buf_addf(&c->out, " %u", ids[i]);
    if (modseq > 0)
        buf_addf(&c->out, " (MODSEQ %llu)", (unsigned long long)modseq);
    buf_addz(&c->out, "\r\n");
}

static void
tell_extended(struct imap_cmd *c, const struct esearch *r, const struct esearch_found *f,
              const uint32_t *ids)
{
    uint64_t modseq = highest_modseq(r, f);
    struct buf *out = &c->out;

    if (f->mailbox.p) {
        buf_addf(out, "* ESEARCH (TAG \"%.*s\" MAILBOX ", SL_ARG(c->tag));
        imap_add_mailbox(c, f->mailbox);
        buf_addf(out, " UIDVALIDITY %u) UID", f->uidvalidity);
    } else {
        esearch_begin(c, c->tag, f->is_uid);
    }
    if ((r->want & ESEARCH_MIN) && f->n > 0)
        buf_addf(out, " MIN %u", ids[0]);
    if ((r->want & ESEARCH_MAX) && f->n > 0)
        buf_addf(out, " MAX %u", ids[f->n - 1]);
    if ((r->want & ESEARCH_ALL) && f->n > 0) {
        buf_addz(out, " ALL ");
        esearch_add_numbers(out, ids, f->n);
    }
    if (r->want & ESEARCH_PARTIAL)
        add_partial(out, r, ids, f->n);
    if (r->want & ESEARCH_COUNT)
        buf_addf(out, " COUNT %zu", f->n);
    if (modseq > 0)
        buf_addf(out, " MODSEQ %llu", (unsigned long long)modseq);
    buf_addz(out, "\r\n");
}

void
esearch_tell(struct imap_cmd *c, const struct esearch *r, const struct esearch_found *f)
{
    uint32_t *ids;

    if (r->is_asked && r->want == ESEARCH_SAVE)
        return;
    ids = mem_alloc((f->n + 1) * sizeof(ids[0]));
    for (size_t i = 0; i < f->n; i++) {
        struct store_row row;

        ids[i] = f->is_uid && store_view_row(f->view, f->seqs[i], &row) ? row.uid : f->seqs[i];
    }
    (r->is_asked ? tell_extended : tell_plain)(c, r, f, ids);
    free(ids);
}

static int
cmp_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

void
esearch_save(struct imap_sess *s, const struct esearch *r, const struct esearch_found *f)
{
    uint32_t *uids = mem_alloc((f->n + 1) * sizeof(uids[0]));
    struct store_row row;
    size_t n = 0;

    for (size_t i = 0; i < f->n; i++)
        if (counts(r, i, f->n) && store_view_row(f->view, f->seqs[i], &row))
            uids[n++] = row.uid;
    qsort(uids, n, sizeof(uids[0]), cmp_numbers); /* a SORT's; and so that adding is cheap */
    store_uids_free(&s->saved);
    for (size_t i = 0; i < n; i++)
        store_uids_add(&s->saved, uids[i], uids[i]);
    free(uids);
}
