/* proto/imap_fetch.c - see imap.h: what a FETCH asks for (fetch-att, RFC 3501 §9). */
#include "proto/imap.h"

#include "base/mem.h"

/* Words without a section. Longest first where one begins another: a keyword ends where no atom character follows, and
 * '.' and '[' are atom characters. */
static const struct {
    const char *word;
    enum imap_fetch_kind kind;
} words[] = {
    { "UID", IMAP_FETCH_UID },
    { "FLAGS", IMAP_FETCH_FLAGS },
    { "INTERNALDATE", IMAP_FETCH_INTERNALDATE },
    { "RFC822.SIZE", IMAP_FETCH_SIZE },
    { "RFC822.HEADER", IMAP_FETCH_RFC822_HEADER },
    { "RFC822.TEXT", IMAP_FETCH_RFC822_TEXT },
    { "RFC822", IMAP_FETCH_RFC822 },
    { "ENVELOPE", IMAP_FETCH_ENVELOPE },
    { "BODYSTRUCTURE", IMAP_FETCH_BODYSTRUCTURE },
    { "BODY", IMAP_FETCH_BODY },
    { "PREVIEW", IMAP_FETCH_PREVIEW },
    { "SNIPPET", IMAP_FETCH_SNIPPET },
    { "SAVEDATE", IMAP_FETCH_SAVEDATE },
    { "MODSEQ", IMAP_FETCH_MODSEQ },
    { "EMAILID", IMAP_FETCH_EMAILID },
    { "THREADID", IMAP_FETCH_THREADID },
};

/* ALL, FAST, FULL: RFC 3501 §6.4.5. */
static const struct {
    const char *word;
    size_t n;
} macros[] = { { "FAST", 3 }, { "ALL", 4 }, { "FULL", 5 } };
static const struct {
    enum imap_fetch_kind kind;
    const char *label;
} macro_items[] = {
    { IMAP_FETCH_FLAGS, "FLAGS" },      { IMAP_FETCH_INTERNALDATE, "INTERNALDATE" },
    { IMAP_FETCH_SIZE, "RFC822.SIZE" }, { IMAP_FETCH_ENVELOPE, "ENVELOPE" },
    { IMAP_FETCH_BODY, "BODY" },
};

static char
upper_char(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

/* Part numbers: nz-number *("." nz-number), each followed by '.' or ']'. */
static enum parse_rc
take_part(struct slice *in, struct arena *mem, struct imap_fetch_item *it, struct err *e)
{
    uint32_t part[IMAP_PART_DEPTH_MAX];
    uint64_t n;

    while (in->n > 0 && in->p[0] >= '0' && in->p[0] <= '9') {
        if (it->n_part == IMAP_PART_DEPTH_MAX || !sl_take_u64(in, &n) || n == 0 || n > UINT32_MAX)
            return err_parse(e, "Invalid BODY[..] section");
        part[it->n_part++] = (uint32_t)n;
        if (!sl_take_char(in, '.'))
            break;
        if (in->n == 0 || sl_starts(*in, ']'))
            return err_parse(e, "Invalid BODY[..] section");
    }
    it->part = arena_alloc(mem, (it->n_part + 1) * sizeof(*it->part));
    if (!it->part)
        return err_parse(e, "command too long");
    memcpy(it->part, part, it->n_part * sizeof(*part));
    return PARSE_OK;
}

/* "(" astring *(SP astring) ")" */
static enum parse_rc
take_fields(struct slice *in, struct arena *mem, struct imap_fetch_item *it, struct err *e)
{
    struct slice at = *in;
    size_t most = 1;

    if (imap_take_sp(in, e) != PARSE_OK || !sl_take_char(in, '('))
        return err_parse(e, "expected ' (' and header field names");
    for (size_t i = 0; i < at.n && at.p[i] != ')'; i++)
        most += at.p[i] == ' ';
    if (most > IMAP_LIST_MAX)
        return err_parse(e, "too many header field names");
    it->fields = arena_alloc(mem, most * sizeof(*it->fields));
    if (!it->fields)
        return err_parse(e, "command too long");
    do {
        if (it->n_fields == most ||
            imap_take_astring(in, mem, &it->fields[it->n_fields++], e) != PARSE_OK)
            return err_parse(e, "expected a header field name");
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

/* section-msgtext, or MIME after part numbers. *in is past the part numbers and their last '.'. */
static enum parse_rc
take_section_text(struct slice *in, struct arena *mem, struct imap_fetch_item *it, struct err *e)
{
    bool has_more = in->n > 0 && !sl_starts(*in, ']');

    if (!has_more) {
        it->text = IMAP_SECTION_ALL;
        return PARSE_OK;
    }
    if (sl_take_iprefix(in, SL("HEADER.FIELDS.NOT")))
        it->text = IMAP_SECTION_FIELDS_NOT;
    else if (sl_take_iprefix(in, SL("HEADER.FIELDS")))
        it->text = IMAP_SECTION_FIELDS;
    else if (sl_take_iprefix(in, SL("HEADER")))
        it->text = IMAP_SECTION_HEADER;
    else if (sl_take_iprefix(in, SL("TEXT")))
        it->text = IMAP_SECTION_TEXT;
    else if (it->n_part > 0 && sl_take_iprefix(in, SL("MIME")))
        it->text = IMAP_SECTION_MIME;
    else
        return err_parse(e, "Invalid BODY[..] section");
    if (it->text == IMAP_SECTION_FIELDS || it->text == IMAP_SECTION_FIELDS_NOT)
        return take_fields(in, mem, it, e);
    return PARSE_OK;
}

/* "<" number "." nz-number ">" */
static enum parse_rc
take_partial(struct slice *in, struct imap_fetch_item *it, struct err *e)
{
    if (!sl_take_char(in, '<'))
        return PARSE_OK;
    it->is_partial = true;
    if (!sl_take_u64(in, &it->first) || !sl_take_char(in, '.') || !sl_take_u64(in, &it->count) ||
        it->count == 0 || !sl_take_char(in, '>'))
        return err_parse(e, "expected <first.count>");
    return PARSE_OK;
}

/* "BODY[1.HEADER.FIELDS (SUBJECT)]<0>", upper case, as Dovecot tells it back. */
static int
make_label(struct imap_fetch_item *it, const char *name, struct arena *mem)
{
    static const char *const texts[] = { "",     "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT",
                                         "TEXT", "MIME" };
    struct buf b = { 0 };
    size_t from;

    buf_addz(&b, name);
    buf_addc(&b, '[');
    for (size_t i = 0; i < it->n_part; i++)
        buf_addf(&b, i ? ".%u" : "%u", it->part[i]);
    if (it->n_part > 0 && it->text != IMAP_SECTION_ALL)
        buf_addc(&b, '.');
    buf_addz(&b, texts[it->text]);
    if (it->n_fields > 0) {
        buf_addz(&b, " (");
        for (size_t i = 0; i < it->n_fields; i++) {
            if (i > 0)
                buf_addc(&b, ' ');
            from = b.n;
            imap_add_astring(&b, it->fields[i]);
            for (size_t k = from; k < b.n; k++)
                b.p[b.off + k] = upper_char(b.p[b.off + k]);
        }
        buf_addc(&b, ')');
    }
    buf_addc(&b, ']');
    if (it->is_partial)
        buf_addf(&b, "<%llu>", (unsigned long long)it->first);
    it->label = arena_dup(mem, buf_slice(&b));
    buf_free(&b);
    return it->label.p ? 0 : -1;
}

enum parse_rc
imap_take_section(struct slice *in, struct arena *mem, struct imap_fetch_item *it, struct err *e)
{
    it->kind = IMAP_FETCH_SECTION;
    if (take_part(in, mem, it, e) != PARSE_OK)
        return PARSE_BAD;
    return take_section_text(in, mem, it, e);
}

static enum parse_rc
take_section(struct slice *in, struct arena *mem, struct imap_fetch_item *it, struct err *e)
{
    if (imap_take_section(in, mem, it, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, ']'))
        return err_parse(e, "Invalid BODY[..] parameter: Missing ']'");
    if (take_partial(in, it, e) != PARSE_OK)
        return PARSE_BAD;
    return make_label(it, "BODY", mem) < 0 ? err_parse(e, "command too long") : PARSE_OK;
}

/* section-binary and, but for the size, partial: RFC 3516 §7. */
static enum parse_rc
take_binary(struct slice *in, struct arena *mem, enum imap_fetch_kind kind,
            struct imap_fetch_item *it, struct err *e)
{
    bool is_size = kind == IMAP_FETCH_BINARY_SIZE;

    it->kind = kind;
    if (take_part(in, mem, it, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_take_char(in, ']'))
        return err_parse(e, "Invalid BINARY[..] section");
    if (!is_size && take_partial(in, it, e) != PARSE_OK)
        return PARSE_BAD;
    if (make_label(it, is_size ? "BINARY.SIZE" : "BINARY", mem) < 0)
        return err_parse(e, "command too long");
    return PARSE_OK;
}

/* " (LAZY)"; of the older form also " (FUZZY)" and " (LAZY=FUZZY)". */
static enum parse_rc
take_preview(struct slice *in, struct imap_fetch_item *it, struct err *e)
{
    struct slice at = *in;

    if (!sl_take_prefix(&at, SL(" (")))
        return PARSE_OK;
    do {
        if (imap_take_keyword(&at, "LAZY") ||
            (it->kind == IMAP_FETCH_SNIPPET && imap_take_keyword(&at, "LAZY=FUZZY")))
            it->is_lazy = true;
        else if (it->kind != IMAP_FETCH_SNIPPET || !imap_take_keyword(&at, "FUZZY"))
            return PARSE_OK; /* modifiers of FETCH, or nothing good: who goes on will see */
    } while (sl_take_char(&at, ' '));
    if (!sl_take_char(&at, ')'))
        return err_parse(e, "expected ')'");
    *in = at;
    return PARSE_OK;
}

static enum parse_rc
take_item(struct slice *in, struct arena *mem, struct imap_fetch_item *it, struct err *e)
{
    *it = (struct imap_fetch_item){ 0 };
    if (sl_take_iprefix(in, SL("BODY.PEEK["))) {
        it->is_peek = true;
        return take_section(in, mem, it, e);
    }
    if (sl_take_iprefix(in, SL("BODY[")))
        return take_section(in, mem, it, e);
    if (sl_take_iprefix(in, SL("BINARY.PEEK["))) {
        it->is_peek = true;
        return take_binary(in, mem, IMAP_FETCH_BINARY, it, e);
    }
    if (sl_take_iprefix(in, SL("BINARY[")))
        return take_binary(in, mem, IMAP_FETCH_BINARY, it, e);
    if (sl_take_iprefix(in, SL("BINARY.SIZE[")))
        return take_binary(in, mem, IMAP_FETCH_BINARY_SIZE, it, e);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (imap_take_keyword(in, words[i].word)) {
            it->kind = words[i].kind;
            it->label = sl_z(words[i].word);
            it->is_peek = it->kind == IMAP_FETCH_RFC822_HEADER;
            if (it->kind == IMAP_FETCH_PREVIEW || it->kind == IMAP_FETCH_SNIPPET)
                return take_preview(in, it, e);
            return PARSE_OK;
        }
    return err_parse(e, "expected a FETCH item");
}

/* The same thing asked for twice is told once; one of two not peeking counts. */
static bool
merge_item(struct imap_fetch_items *items, const struct imap_fetch_item *it)
{
    for (size_t i = 0; i < items->n; i++) {
        struct imap_fetch_item *o = &items->v[i];

        if (o->kind == it->kind && sl_eq(o->label, it->label) && o->first == it->first &&
            o->count == it->count) {
            o->is_peek = o->is_peek && it->is_peek;
            o->is_lazy = o->is_lazy && it->is_lazy;
            return true;
        }
    }
    return false;
}

static enum parse_rc
take_macro(struct slice *in, struct imap_fetch_items *out)
{
    for (size_t i = 0; i < COUNT_OF(macros); i++)
        if (imap_take_keyword(in, macros[i].word)) {
            for (out->n = 0; out->n < macros[i].n; out->n++)
                out->v[out->n] =
                    (struct imap_fetch_item){ .kind = macro_items[out->n].kind,
                                              .label = sl_z(macro_items[out->n].label) };
            return PARSE_OK;
        }
    return PARSE_BAD;
}

enum parse_rc
imap_take_fetch_items(struct slice *in, struct arena *mem, struct imap_fetch_items *out,
                      struct err *e)
{
    struct imap_fetch_item it;
    bool is_list;
    size_t most = 1, depth = 0;

    for (size_t i = 0; i < in->n; i++) {
        depth += in->p[i] == '(';
        most += in->p[i] == ' ';
    }
    if (depth == 0)
        most = 1;
    if (most > IMAP_FETCH_ITEMS_MAX + 1 && depth == 1)
        return err_parse(e, "too many FETCH items");
    if (most > IMAP_FETCH_ITEMS_MAX)
        most = IMAP_FETCH_ITEMS_MAX; /* most spaces stand between header field names */
    most += COUNT_OF(macro_items);
    *out = (struct imap_fetch_items){ arena_alloc(mem, (most + 1) * sizeof(*out->v)), 0 };
    if (!out->v)
        return err_parse(e, "command too long");
    if (take_macro(in, out) == PARSE_OK)
        return PARSE_OK;
    is_list = sl_take_char(in, '(');
    if (is_list && sl_starts(*in, ')'))
        return err_parse(e, "FETCH list is empty");
    do {
        if (take_item(in, mem, &it, e) != PARSE_OK)
            return PARSE_BAD;
        if (merge_item(out, &it))
            continue;
        if (out->n == most)
            return err_parse(e, "too many FETCH items");
        out->v[out->n++] = it;
    } while (is_list && sl_take_char(in, ' '));
    if (is_list && !sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    return PARSE_OK;
}

/* Unless it is there, at the front or at the end. */
static int
want_item(struct imap_fetch_items *items, struct arena *mem, const struct imap_fetch_item *it,
          bool is_first)
{
    struct imap_fetch_item *v;

    for (size_t i = 0; i < items->n; i++)
        if (items->v[i].kind == it->kind)
            return 0;
    v = arena_alloc(mem, (items->n + 1) * sizeof(*v));
    if (!v)
        return -1;
    v[is_first ? 0 : items->n] = *it;
    memcpy(is_first ? v + 1 : v, items->v, items->n * sizeof(*v));
    items->v = v;
    items->n++;
    return 0;
}

int
imap_fetch_want_uid(struct imap_fetch_items *items, struct arena *mem)
{
    static const struct imap_fetch_item it = { .kind = IMAP_FETCH_UID, .label = SL_INIT("UID") };

    return want_item(items, mem, &it, true);
}

int
imap_fetch_want_modseq(struct imap_fetch_items *items, struct arena *mem)
{
    static const struct imap_fetch_item it = { .kind = IMAP_FETCH_MODSEQ,
                                               .label = SL_INIT("MODSEQ") };

    return want_item(items, mem, &it, false);
}
