/* imapd/cmd_getmetadata.c - GETMETADATA (RFC 5464 §4.2), and the same for LIST (RFC 9590). */
#include "imapd/mailboxes.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

enum { META_INFINITY = 2 }; /* depth: 0, 1 or all */
struct getmetadata_args {
    struct slice mailbox;
    struct imap_meta_asks asks;
    unsigned depth;
    bool has_max;
    uint64_t max;
};

/* ---- arguments ---- */

enum parse_rc
imap_take_meta_name(struct imap_cmd *c, struct slice *in, bool is_tree, struct imap_meta_ask *out,
                    struct err *e)
{
    struct slice at = *in;
    char *name;

    if (imap_take_astring(&at, &c->mem, &out->asked, e) != PARSE_OK)
        return PARSE_BAD;
    name = arena_dupz(&c->mem, out->asked);
    if (name == NULL)
        return err_parse(e, "command too long");
    if (store_meta_name(name, out->asked.n, is_tree, e))
        return PARSE_BAD;
    out->name = sl_n(name, out->asked.n);
    *in = at;
    return PARSE_OK;
}

/* Room for one more: the array doubles in the arena. */
static struct imap_meta_ask *
next_ask(struct arena *mem, struct imap_meta_asks *a)
{
    struct imap_meta_ask *v = a->v;

    if ((a->n & (a->n - 1)) == 0) {
        v = arena_alloc(mem, (a->n == 0 ? 1 : 2 * a->n) * sizeof(v[0]));
        if (v == NULL)
            return NULL;
        if (a->n > 0)
            memcpy(v, a->v, a->n * sizeof(v[0]));
        a->v = v;
    }
    return &v[a->n];
}

/* A list; what is asked twice is asked once, or a long value would be told as often as a line has room to name it. */
static enum parse_rc
take_entries(struct imap_cmd *c, struct slice *in, bool is_tree, struct imap_meta_asks *out,
             struct map *asked, struct err *e)
{
    bool is_list = sl_take_char(in, '(');
    size_t n = 0;

    do {
        struct imap_meta_ask one, *a;

        if (n++ == IMAP_LIST_MAX)
            return err_parse(e, "too many entries");
        if (imap_take_meta_name(c, in, is_tree, &one, e) != PARSE_OK)
            return PARSE_BAD;
        if (map_set(asked, one.name, c) != NULL)
            continue;
        a = next_ask(&c->mem, out);
        if (a == NULL)
            return err_parse(e, "too many entries");
        *a = one;
        out->n++;
    } while (is_list && sl_take_char(in, ' '));
    if (is_list && !sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    return PARSE_OK;
}

enum parse_rc
imap_take_meta_entries(struct imap_cmd *c, struct slice *in, bool is_tree,
                       struct imap_meta_asks *out, struct err *e)
{
    struct map *asked = map_new();
    enum parse_rc rc;

    *out = (struct imap_meta_asks){ 0 }; /* a second METADATA of LIST counts instead of the first */
    rc = take_entries(c, in, is_tree, out, asked, e);
    map_free(&asked, NULL);
    return rc;
}

static enum parse_rc
take_option(struct slice *in, struct getmetadata_args *a, struct err *e)
{
    if (imap_take_keyword(in, "MAXSIZE")) {
        a->has_max = true;
        return imap_take_sp(in, e) != PARSE_OK ? PARSE_BAD
                                               : imap_take_number(in, UINT32_MAX, &a->max, e);
    }
    if (!imap_take_keyword(in, "DEPTH"))
        return err_parse(e, "expected MAXSIZE or DEPTH");
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (imap_take_keyword(in, "0"))
        a->depth = 0;
    else if (imap_take_keyword(in, "1"))
        a->depth = 1;
    else if (imap_take_keyword(in, "infinity"))
        a->depth = META_INFINITY;
    else
        return err_parse(e, "expected 0, 1 or infinity");
    return PARSE_OK;
}

static enum parse_rc
take_options(struct slice *in, struct getmetadata_args *a, struct err *e)
{
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    do {
        if (take_option(in, a, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? imap_take_sp(in, e) : err_parse(e, "expected ')'");
}

static bool
starts_options(struct slice in)
{
    return sl_take_char(&in, '(') &&
           (imap_take_keyword(&in, "MAXSIZE") || imap_take_keyword(&in, "DEPTH"));
}

/* SP [options SP] mailbox SP entries; the examples of RFC 5464 §4.2 have the options after the mailbox, and so have some clients. */
enum parse_rc
imap_parse_getmetadata(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct getmetadata_args *a = ARENA_NEW(&c->mem, struct getmetadata_args);

    c->args = a;
    if (!c->s->conf->imap_metadata)
        return err_parse(e, "METADATA is disabled");
    if (imap_take_sp(in, e) != PARSE_OK ||
        (sl_starts(*in, '(') && take_options(in, a, e) != PARSE_OK) ||
        imap_take_astring(in, &c->mem, &a->mailbox, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK ||
        (starts_options(*in) && take_options(in, a, e) != PARSE_OK))
        return PARSE_BAD;
    return imap_take_meta_entries(c, in, a->depth > 0, &a->asks, e);
}

/* ---- what there is ---- */

/* The server's own, of the configuration (RFC 5464 §6.2). */
static void
add_server(struct imap_cmd *c, struct store_meta *m)
{
    const struct store_meta_entry own[] = {
        { SL("/shared/admin"), sl_z(c->s->conf->mail_server_admin) },
        { SL("/shared/comment"), sl_z(c->s->conf->mail_server_comment) },
    };

    m->v = mem_realloc(m->v, (m->n + COUNT_OF(own)) * sizeof(m->v[0]));
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (own[i].value.n >
            0) /* they sort after whatever is private, and nothing else is shared */
            m->v[m->n++] = own[i];
}

int
imap_read_metadata(struct imap_cmd *c, struct slice name, struct store_meta *out, struct err *e)
{
    if (store_meta_read(c->s->store, name, out, e))
        return -1;
    if (name.n == 0)
        add_server(c, out);
    return 0;
}

/* ---- telling ---- */

struct teller {
    struct imap_cmd *c;
    struct slice wire_name;
    bool is_begun;
};

/* NUL takes a literal8. */
static void
add_value(struct buf *out, struct slice value)
{
    if (value.p != NULL && value.n > 0 && sl_find_char(value, '\0') != SL_NPOS) {
        buf_addf(out, "~{%zu}\r\n", value.n);
        buf_adds(out, value);
    } else {
        imap_add_nstring(out, value.p != NULL && value.n == 0 ? SL("") : value);
    }
}

static void
tell(struct teller *t, struct slice name, struct slice value)
{
    struct buf *out = &t->c->out;

    if (!t->is_begun) {
        buf_addz(out, "* METADATA ");
        if (imap_is_utf8(t->c->s))
            imap_add_utf8_astring(out, t->wire_name);
        else
            imap_add_astring(out, t->wire_name);
    }
    buf_addz(out, t->is_begun ? " " : " (");
    t->is_begun = true;
    imap_add_astring(out, name);
    buf_addc(out, ' ');
    add_value(out, value);
}

static void
tell_end(struct teller *t)
{
    if (t->is_begun)
        buf_addz(&t->c->out, ")\r\n");
}

int
imap_tell_metadata(struct imap_cmd *c, struct slice wire_name, struct slice name,
                   const struct imap_meta_asks *asks, struct err *e)
{
    struct teller t = { .c = c, .wire_name = wire_name };
    struct store_meta m;

    if (imap_read_metadata(c, name, &m, e)) {
        store_meta_free(&m);
        return -1;
    }
    for (size_t i = 0; i < asks->n; i++) {
        const struct store_meta_entry *x = store_meta_find(&m, asks->v[i].name);

        tell(&t, asks->v[i].asked, x ? x->value : sl_n(NULL, 0));
    }
    tell_end(&t);
    store_meta_free(&m);
    return 0;
}

/* The entry itself, or one as far below it as the depth says. */
static bool
is_within(struct slice name, struct slice top, unsigned depth)
{
    struct slice rest = name;

    if (!sl_take_prefix(&rest, top))
        return false;
    if (rest.n == 0)
        return true;
    if (depth == 0 || !sl_take_char(&rest, '/'))
        return false;
    return depth == META_INFINITY || sl_find_char(rest, '/') == SL_NPOS;
}

/* Each entry once, however often it was asked for; the length of the longest that was too long. */
static uint64_t
tell_asked(struct imap_cmd *c, const struct store_meta *m, struct teller *t)
{
    const struct getmetadata_args *a = c->args;
    struct map *told = map_new();
    uint64_t longest = 0;

    for (size_t i = 0; i < a->asks.n; i++) {
        struct slice top = a->asks.v[i].name;
        bool is_any = false;

        for (size_t k = 0; k < m->n; k++) {
            const struct store_meta_entry *x = &m->v[k];

            if (!is_within(x->name, top, a->depth))
                continue;
            is_any = true;
            if (map_set(told, x->name, c) != NULL)
                continue;
            if (a->has_max && x->value.n > a->max)
                longest = x->value.n > longest ? x->value.n : longest;
            else
                tell(t, sl_eq(x->name, top) ? a->asks.v[i].asked : x->name, x->value);
        }
        if (!is_any && a->depth == 0 && map_set(told, top, c) == NULL)
            tell(t, a->asks.v[i].asked, sl_n(NULL, 0));
    }
    map_free(&told, NULL);
    return longest;
}

enum cmd_rc
imap_run_getmetadata(struct imap_cmd *c)
{
    const struct getmetadata_args *a = c->args;
    struct teller t = { .c = c, .wire_name = a->mailbox };
    struct slice name = SL("");
    struct store_meta m;
    struct err e = { 0 };
    uint64_t longest;

    if (a->mailbox.n > 0 && !imap_name_decode(c, a->mailbox, &name))
        return CMD_DONE;
    if (imap_read_metadata(c, name, &m, &e)) {
        imap_fail(c, &e, name, "NONEXISTENT");
    } else {
        longest = tell_asked(c, &m, &t);
        tell_end(&t);
        if (longest > 0)
            imap_reply(c, "OK [METADATA LONGENTRIES %llu] Getmetadata completed.",
                       (unsigned long long)longest);
        else
            imap_reply(c, "OK Getmetadata completed.");
    }
    store_meta_free(&m);
    return CMD_DONE;
}
