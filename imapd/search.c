/* imapd/search.c - see search.h. Recursive descent with depth and size bounded (SEARCH_DEPTH_MAX, SEARCH_NODES_MAX). */
#include "imapd/search.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "mime/mime.h"

enum arg_kind {
    ARG_NONE,
    ARG_TEXT,
    ARG_FIELD_TEXT,
    ARG_KEYWORD,
    ARG_DATE,
    ARG_NUMBER,
    ARG_UIDS,
    ARG_KEY,
    ARG_TWO_KEYS
};

/* clang-format off */
static const struct key {
    const char *word;
    enum arg_kind arg;
    enum search_kind kind;
    uint32_t sys;
    const char *field;
} keys[] = {
    { "ALL",        ARG_NONE,    SEARCH_ALL,        0,              NULL },
    { "ANSWERED",   ARG_NONE,    SEARCH_FLAG,       STORE_ANSWERED, NULL },
    { "BCC",        ARG_TEXT,    SEARCH_HEADER,     0,              "BCC" },
    { "BEFORE",     ARG_DATE,    SEARCH_BEFORE,     0,              NULL },
    { "BODY",       ARG_TEXT,    SEARCH_BODY,       0,              NULL },
    { "CC",         ARG_TEXT,    SEARCH_HEADER,     0,              "CC" },
    { "DELETED",    ARG_NONE,    SEARCH_FLAG,       STORE_DELETED,  NULL },
    { "DRAFT",      ARG_NONE,    SEARCH_FLAG,       STORE_DRAFT,    NULL },
    { "FLAGGED",    ARG_NONE,    SEARCH_FLAG,       STORE_FLAGGED,  NULL },
    { "FROM",       ARG_TEXT,    SEARCH_HEADER,     0,              "FROM" },
    { "HEADER",     ARG_FIELD_TEXT, SEARCH_HEADER,  0,              NULL },
    { "KEYWORD",    ARG_KEYWORD, SEARCH_KEYWORD,    0,              NULL },
    { "LARGER",     ARG_NUMBER,  SEARCH_LARGER,     0,              NULL },
    { "NEW",        ARG_NONE,    SEARCH_AND,        0,              NULL }, /* RECENT UNSEEN */
    { "NOT",        ARG_KEY,     SEARCH_NOT,        0,              NULL },
    { "OLD",        ARG_NONE,    SEARCH_UNFLAG,     STORE_RECENT,   NULL },
    { "ON",         ARG_DATE,    SEARCH_ON,         0,              NULL },
    { "OR",         ARG_TWO_KEYS, SEARCH_OR,        0,              NULL },
    { "RECENT",     ARG_NONE,    SEARCH_FLAG,       STORE_RECENT,   NULL },
    { "SEEN",       ARG_NONE,    SEARCH_FLAG,       STORE_SEEN,     NULL },
    { "SENTBEFORE", ARG_DATE,    SEARCH_SENTBEFORE, 0,              NULL },
    { "SENTON",     ARG_DATE,    SEARCH_SENTON,     0,              NULL },
    { "SENTSINCE",  ARG_DATE,    SEARCH_SENTSINCE,  0,              NULL },
    { "SINCE",      ARG_DATE,    SEARCH_SINCE,      0,              NULL },
    { "SMALLER",    ARG_NUMBER,  SEARCH_SMALLER,    0,              NULL },
    { "SUBJECT",    ARG_TEXT,    SEARCH_HEADER,     0,              "SUBJECT" },
    { "TEXT",       ARG_TEXT,    SEARCH_TEXT,       0,              NULL },
    { "TO",         ARG_TEXT,    SEARCH_HEADER,     0,              "TO" },
    { "UID",        ARG_UIDS,    SEARCH_SEQS,       0,              NULL },
    { "UNANSWERED", ARG_NONE,    SEARCH_UNFLAG,     STORE_ANSWERED, NULL },
    { "UNDELETED",  ARG_NONE,    SEARCH_UNFLAG,     STORE_DELETED,  NULL },
    { "UNDRAFT",    ARG_NONE,    SEARCH_UNFLAG,     STORE_DRAFT,    NULL },
    { "UNFLAGGED",  ARG_NONE,    SEARCH_UNFLAG,     STORE_FLAGGED,  NULL },
    { "UNKEYWORD",  ARG_KEYWORD, SEARCH_UNKEYWORD,  0,              NULL },
    { "UNSEEN",     ARG_NONE,    SEARCH_UNFLAG,     STORE_SEEN,     NULL },
};
/* clang-format on */

struct parser {
    struct imap_cmd *c;
    struct search_program *p;
    unsigned depth;
    bool is_replied; /* BADCHARSET */
    struct err e;
};

static struct search_node *take_key(struct parser *x, struct slice *in);

static void
free_sets(struct search_node *n)
{
    if (!n)
        return;
    store_uids_free(&n->set);
    for (size_t i = 0; i < n->n_kids; i++)
        free_sets(n->kids[i]); /* as deep as was parsed */
}

void
search_program_free(struct search_program *p)
{
    free_sets(p->root);
    p->root = NULL;
}

static struct search_node *
bad(struct parser *x, const char *what)
{
    if (x->e.kind == ERR_NONE)
        err_parse(&x->e, "%s", what);
    return NULL;
}

static struct search_node *
node_new(struct parser *x, enum search_kind kind, size_t kids)
{
    struct search_node *n = NULL;

    if (++x->p->n_nodes <= SEARCH_NODES_MAX)
        n = ARENA_NEW(&x->c->mem, struct search_node);
    if (n && kids > 0)
        n->kids = arena_alloc(&x->c->mem, kids * sizeof(struct search_node *));
    if (!n || (kids > 0 && !n->kids))
        return bad(x, "search program too long");
    n->kind = kind;
    return n;
}

/* ---- arguments ---- */

bool
search_take_date(struct slice *in, int64_t *day)
{
    static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    struct slice at = *in;
    bool is_quoted = sl_take_char(&at, '"');
    uint64_t d, y;
    int month = 0;

    sl_take_char(&at, ' '); /* " 1-Feb-1994" where a day has two places */
    if (!sl_take_u64(&at, &d) || !sl_take_char(&at, '-') || at.n < 4)
        return false;
    while (month < 12 && !sl_ieq(sl_head(at, 3), sl_n(months + 3 * month, 3)))
        month++;
    at = sl_from(at, 3);
    if (month == 12 || d < 1 || d > (uint64_t)days[month] || !sl_take_char(&at, '-') || at.n < 4 ||
        !sl_take_u64(&at, &y) || y > 9999 || (is_quoted && !sl_take_char(&at, '"')))
        return false;
    *day = mime_day_of((int)y, month + 1, (int)d);
    *in = at;
    return true;
}

/* A string as UTF-8. */
static bool
take_text(struct parser *x, struct slice *in, struct slice *out)
{
    struct buf b = { 0 };

    if (imap_take_astring(in, &x->c->mem, out, &x->e) != PARSE_OK)
        return false;
    if (utf8_is_ascii(*out) && x->p->charset.n == 0)
        return true;
    if (x->p->charset.n == 0 || sl_ieqz(x->p->charset, "UTF-8")) {
        if (!utf8_is_valid(*out))
            bad(x, "search text is not valid UTF-8");
        return x->e.kind == ERR_NONE;
    }
    mime_to_utf8(x->p->charset, *out, &b); /* known: take_charset() */
    *out = arena_dup(&x->c->mem, buf_slice(&b));
    buf_free(&b);
    return out->p != NULL;
}

static bool
take_set(struct parser *x, struct slice *in, bool is_uid, struct search_node *n)
{
    struct imap_set set;

    if (imap_take_set(in, &x->c->mem, &set, &x->e) != PARSE_OK)
        return false;
    imap_set_find(x->c, &set, is_uid, &n->set);
    return true;
}

static bool
take_arg(struct parser *x, struct slice *in, const struct key *k, struct search_node *n)
{
    if (imap_take_sp(in, &x->e) != PARSE_OK)
        return false;
    switch (k->arg) {
    case ARG_FIELD_TEXT:
        if (imap_take_astring(in, &x->c->mem, &n->field, &x->e) != PARSE_OK ||
            imap_take_sp(in, &x->e) != PARSE_OK)
            return false;
        return take_text(x, in, &n->text);
    case ARG_TEXT:
        n->field = sl_z(k->field);
        return take_text(x, in, &n->text);
    case ARG_KEYWORD:
        return imap_take_atom(in, &n->text, &x->e) == PARSE_OK;
    case ARG_DATE:
        return search_take_date(in, &n->day) || bad(x, "expected a date (d-mon-yyyy)");
    case ARG_NUMBER:
        return imap_take_number(in, UINT64_MAX, &n->number, &x->e) == PARSE_OK;
    case ARG_UIDS:
        return take_set(x, in, true, n);
    case ARG_TWO_KEYS:
    case ARG_KEY:
        n->kids[n->n_kids] = take_key(x, in);
        if (!n->kids[n->n_kids])
            return false;
        n->n_kids++;
        if (k->arg == ARG_KEY || n->n_kids == 2)
            return true;
        return take_arg(x, in, k, n);
    case ARG_NONE:
        break;
    }
    return true;
}

/* ---- keys ---- */

/* How many keys there are is known when they are parsed: spaces and parentheses stand in strings too. */
static bool
more_kids(struct parser *x, struct search_node *n, size_t *room)
{
    size_t most = *room == 0 ? 4 : *room * 2;
    struct search_node **kids = arena_alloc(&x->c->mem, most * sizeof(struct search_node *));

    if (!kids)
        return bad(x, "search program too long");
    if (n->n_kids > 0)
        memcpy(kids, n->kids, n->n_kids * sizeof(struct search_node *));
    n->kids = kids;
    *room = most;
    return true;
}

/* Keys in a row, up to ')' or the end: AND. Whoever cannot give a node to its parent frees its sets, so that
 * search_program_free() finds all others. */
static bool
take_keys(struct parser *x, struct slice *in, struct search_node *n)
{
    size_t room = 0;

    do {
        struct search_node *kid = take_key(x, in);

        if (!kid)
            return false;
        if (n->n_kids == room && !more_kids(x, n, &room)) {
            free_sets(kid);
            return false;
        }
        n->kids[n->n_kids++] = kid;
    } while (sl_take_char(in, ' '));
    return true;
}

static struct search_node *
take_word(struct parser *x, struct slice *in)
{
    struct search_node *n;

    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const struct key *k = &keys[i];

        if (!imap_take_keyword(in, k->word))
            continue;
        n = node_new(x, k->kind, 2);
        if (!n)
            return NULL;
        n->sys = k->sys;
        if (k->kind == SEARCH_AND) { /* NEW */
            n->kids[0] = node_new(x, SEARCH_FLAG, 0);
            n->kids[1] = node_new(x, SEARCH_UNFLAG, 0);
            if (!n->kids[0] || !n->kids[1])
                return NULL;
            n->kids[0]->sys = STORE_RECENT;
            n->kids[1]->sys = STORE_SEEN;
            n->n_kids = 2;
        }
        if (k->arg != ARG_NONE && !take_arg(x, in, k, n)) {
            free_sets(n);
            return NULL;
        }
        return n;
    }
    return bad(x, "Unknown search key");
}

static struct search_node *
take_key(struct parser *x, struct slice *in)
{
    struct search_node *n;
    bool is_ok;

    if (x->depth == SEARCH_DEPTH_MAX)
        return bad(x, "search program too deep");
    x->depth++;
    if (sl_take_char(in, '(')) {
        n = node_new(x, SEARCH_AND, 0);
        is_ok = n && take_keys(x, in, n);
        if (is_ok && !sl_take_char(in, ')'))
            is_ok = bad(x, "expected ')'");
    } else if (in->n > 0 && (in->p[0] == '*' || (in->p[0] >= '0' && in->p[0] <= '9'))) {
        n = node_new(x, SEARCH_SEQS, 0);
        is_ok = n && take_set(x, in, false, n);
    } else {
        n = take_word(x, in);
        is_ok = n != NULL;
    }
    x->depth--;
    if (!is_ok) {
        free_sets(n);
        return NULL;
    }
    return n;
}

/* ["CHARSET" SP astring SP], or astring SP where it must be there. */
static bool
take_charset(struct parser *x, bool must_be, struct slice *in)
{
    struct buf b = { 0 };
    bool is_known;

    if (!must_be && (!imap_take_keyword(in, "CHARSET") || imap_take_sp(in, &x->e) != PARSE_OK))
        return x->e.kind == ERR_NONE;
    if (imap_take_astring(in, &x->c->mem, &x->p->charset, &x->e) != PARSE_OK ||
        imap_take_sp(in, &x->e) != PARSE_OK)
        return false;
    is_known = mime_to_utf8(x->p->charset, SL("a"), &b) == 0;
    buf_free(&b);
    if (is_known)
        return true;
    x->is_replied = true;
    imap_reply(x->c, "NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset");
    return false;
}

bool
search_program_parse(struct imap_cmd *c, struct slice in, bool must_have_charset,
                     struct search_program *p)
{
    struct parser x = { .c = c, .p = p };
    struct slice from = buf_slice(&c->text);

    if (take_charset(&x, must_have_charset, &in)) {
        p->root = node_new(&x, SEARCH_AND, 0);
        if (take_keys(&x, &in, p->root) && imap_take_end(&in, &x.e) == PARSE_OK)
            return true;
    }
    if (!x.is_replied)
        imap_bad(c, "BAD Error in IMAP command %s: %s at position %zu (syntax: %s).", c->row->name,
                 x.e.msg, (size_t)(in.p - from.p) + 1, c->row->usage);
    return false;
}
