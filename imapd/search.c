/* imapd/search.c - see search.h. Recursive descent with depth and size bounded (SEARCH_DEPTH_MAX, SEARCH_NODES_MAX); an OR in an
 * OR is the same OR, on either side, so that clients' chains of hundreds of them are neither deep here nor in the store.
 * Keys: RFC 3501 §6.4.4 and RFC 9051 §6.4.4; OLDER, YOUNGER: RFC 5032; SAVED...: RFC 8514 §4.3; EMAILID, THREADID: RFC 8474 §6;
 * MODSEQ: RFC 7162 §3.1.5; FUZZY: RFC 6203 §3; $: RFC 5182 §2.2; UIDAFTER, UIDBEFORE: RFC 9738 §3.2. */
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
    ARG_SECONDS,
    ARG_MODSEQ,
    ARG_ID,
    ARG_UIDS,
    ARG_UID_AFTER,
    ARG_UID_BEFORE
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
    { "EMAILID",    ARG_ID,      SEARCH_EMAILID,    0,              NULL },
    { "FLAGGED",    ARG_NONE,    SEARCH_FLAG,       STORE_FLAGGED,  NULL },
    { "FROM",       ARG_TEXT,    SEARCH_HEADER,     0,              "FROM" },
    { "HEADER",     ARG_FIELD_TEXT, SEARCH_HEADER,  0,              NULL },
    { "KEYWORD",    ARG_KEYWORD, SEARCH_KEYWORD,    0,              NULL },
    { "LARGER",     ARG_NUMBER,  SEARCH_LARGER,     0,              NULL },
    { "MODSEQ",     ARG_MODSEQ,  SEARCH_MODSEQ,     0,              NULL },
    { "NEW",        ARG_NONE,    SEARCH_AND,        0,              NULL }, /* RECENT UNSEEN */
    { "OLD",        ARG_NONE,    SEARCH_UNFLAG,     STORE_RECENT,   NULL },
    { "OLDER",      ARG_SECONDS, SEARCH_OLDER,      0,              NULL },
    { "ON",         ARG_DATE,    SEARCH_ON,         0,              NULL },
    { "RECENT",     ARG_NONE,    SEARCH_FLAG,       STORE_RECENT,   NULL },
    { "SAVEDATESUPPORTED", ARG_NONE, SEARCH_ALL,    0,              NULL },
    { "SAVEDBEFORE", ARG_DATE,   SEARCH_SAVEDBEFORE, 0,             NULL },
    { "SAVEDON",    ARG_DATE,    SEARCH_SAVEDON,    0,              NULL },
    { "SAVEDSINCE", ARG_DATE,    SEARCH_SAVEDSINCE, 0,              NULL },
    { "SEEN",       ARG_NONE,    SEARCH_FLAG,       STORE_SEEN,     NULL },
    { "SENTBEFORE", ARG_DATE,    SEARCH_SENTBEFORE, 0,              NULL },
    { "SENTON",     ARG_DATE,    SEARCH_SENTON,     0,              NULL },
    { "SENTSINCE",  ARG_DATE,    SEARCH_SENTSINCE,  0,              NULL },
    { "SINCE",      ARG_DATE,    SEARCH_SINCE,      0,              NULL },
    { "SMALLER",    ARG_NUMBER,  SEARCH_SMALLER,    0,              NULL },
    { "SUBJECT",    ARG_TEXT,    SEARCH_HEADER,     0,              "SUBJECT" },
    { "TEXT",       ARG_TEXT,    SEARCH_TEXT,       0,              NULL },
    { "THREADID",   ARG_ID,      SEARCH_THREADID,   0,              NULL },
    { "TO",         ARG_TEXT,    SEARCH_HEADER,     0,              "TO" },
    { "UID",        ARG_UIDS,    SEARCH_UIDS,       0,              NULL },
    { "UIDAFTER",   ARG_UID_AFTER, SEARCH_UIDS,     0,              NULL }, /* RFC 9738 §3.2 */
    { "UIDBEFORE",  ARG_UID_BEFORE, SEARCH_UIDS,    0,              NULL },
    { "UNANSWERED", ARG_NONE,    SEARCH_UNFLAG,     STORE_ANSWERED, NULL },
    { "UNDELETED",  ARG_NONE,    SEARCH_UNFLAG,     STORE_DELETED,  NULL },
    { "UNDRAFT",    ARG_NONE,    SEARCH_UNFLAG,     STORE_DRAFT,    NULL },
    { "UNFLAGGED",  ARG_NONE,    SEARCH_UNFLAG,     STORE_FLAGGED,  NULL },
    { "UNKEYWORD",  ARG_KEYWORD, SEARCH_UNKEYWORD,  0,              NULL },
    { "UNSEEN",     ARG_NONE,    SEARCH_UNFLAG,     STORE_SEEN,     NULL },
    { "YOUNGER",    ARG_SECONDS, SEARCH_YOUNGER,    0,              NULL },
};
/* clang-format on */

struct parser {
    struct imap_cmd *c;
    const struct search_text *t;
    struct search_program *p;
    unsigned depth;
    bool is_replied;
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
        n = ARENA_NEW(x->t->mem, struct search_node);
    if (n && kids > 0)
        n->kids = arena_alloc(x->t->mem, kids * sizeof(struct search_node *));
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

    if (imap_take_astring(in, x->t->mem, out, &x->e) != PARSE_OK)
        return false;
    if (utf8_is_ascii(*out) && x->p->charset.n == 0)
        return true;
    if (x->p->charset.n == 0 || sl_ieqz(x->p->charset, "UTF-8")) {
        if (!utf8_is_valid(*out))
            bad(x, "search text is not valid UTF-8");
        return x->e.kind == ERR_NONE;
    }
    mime_to_utf8(x->p->charset, *out, &b); /* known: take_charset() */
    *out = arena_dup(x->t->mem, buf_slice(&b));
    buf_free(&b);
    return out->p != NULL;
}

/* "$" or UIDs: those that are not there are nothing, now and as long as the program is used. */
static bool
take_uids(struct parser *x, struct slice *in, struct search_node *n)
{
    struct imap_set set;

    if (imap_take_set(in, x->t->mem, &set, &x->e) != PARSE_OK)
        return false;
    n->kind = SEARCH_UIDS;
    imap_set_uids(x->c->s, x->t->view, &set, &n->set);
    return true;
}

static bool
take_uids_beside(struct parser *x, struct slice *in, bool is_after, struct search_node *n)
{
    struct slice was = *in;
    uint64_t uid;

    if (imap_take_number(in, UINT32_MAX, &uid, &x->e) != PARSE_OK)
        return false;
    if (uid == 0) {
        *in = was;
        return bad(x, "expected a UID");
    }
    if (is_after && uid < UINT32_MAX)
        store_uids_add(&n->set, (uint32_t)uid + 1, UINT32_MAX);
    else if (!is_after && uid > 1)
        store_uids_add(&n->set, 1, (uint32_t)uid - 1);
    return true;
}

static bool
take_numbers(struct parser *x, struct slice *in, struct search_node *n)
{
    struct slice was = *in;
    struct imap_set set;

    if (imap_take_set(in, x->t->mem, &set, &x->e) != PARSE_OK)
        return false;
    if (x->c->s->enabled & IMAP_ON_UIDONLY) { /* RFC 9586 §3.5 */
        imap_bad(x->c, "BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY.");
        x->is_replied = true;
        return false;
    }
    if (x->t->no_numbers) {
        *in = was;
        return bad(x, "message numbers mean nothing in other mailboxes");
    }
    for (size_t i = 0; i < set.n; i++)
        n->number |= set.v[i].first != set.v[i].last &&
                     (set.v[i].first == IMAP_STAR || set.v[i].last == IMAP_STAR);
    imap_set_find(x->c, &set, false, &n->set);
    return true;
}

/* ["/flags/name" SP ("priv"|"shared"|"all") SP] number: one MODSEQ is kept for all of a message's flags, so that who asks
 * for one flag hears of any, as RFC 7162 §3.1.5 allows. */
static bool
take_modseq(struct parser *x, struct slice *in, struct search_node *n)
{
    static const char *const types[] = { "priv", "shared", "all" };
    struct slice entry;
    size_t i = 0;

    if (sl_starts(*in, '"')) {
        struct slice was = *in;

        if (imap_take_string(in, x->t->mem, &entry, &x->e) != PARSE_OK)
            return false;
        if (!sl_has_iprefix(entry, SL("/flags/")) || entry.n == 7) {
            *in = was;
            return bad(x, "expected \"/flags/name\"");
        }
        if (imap_take_sp(in, &x->e) != PARSE_OK)
            return false;
        while (i < COUNT_OF(types) && !imap_take_keyword(in, types[i]))
            i++;
        if (i == COUNT_OF(types))
            return bad(x, "expected priv, shared or all");
        if (imap_take_sp(in, &x->e) != PARSE_OK)
            return false;
    }
    x->p->has_modseq = true;
    return imap_take_number(in, INT64_MAX, &n->number, &x->e) == PARSE_OK;
}

/* objectid = 1*255(ALPHA / DIGIT / "_" / "-"), RFC 8474 */
static bool
take_id(struct parser *x, struct slice *in, struct search_node *n)
{
    struct slice at = *in;

    if (imap_take_astring(&at, x->t->mem, &n->text, &x->e) != PARSE_OK)
        return false;
    for (size_t i = 0; i < n->text.n; i++) {
        char o = sl_lower_char(n->text.p[i]);

        if (!(o >= 'a' && o <= 'z') && !(o >= '0' && o <= '9') && o != '_' && o != '-')
            return bad(x, "expected an object id");
    }
    if (n->text.n == 0 || n->text.n > 255)
        return bad(x, "expected an object id");
    *in = at;
    return true;
}

static bool
take_arg(struct parser *x, struct slice *in, const struct key *k, struct search_node *n)
{
    struct slice was;

    if (imap_take_sp(in, &x->e) != PARSE_OK)
        return false;
    was = *in;
    switch (k->arg) {
    case ARG_FIELD_TEXT:
        if (imap_take_astring(in, x->t->mem, &n->field, &x->e) != PARSE_OK ||
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
    case ARG_SECONDS: /* nz-number: RFC 5032 §2 */
        x->p->has_age = true;
        if (imap_take_number(in, UINT32_MAX, &n->number, &x->e) != PARSE_OK)
            return false;
        if (n->number > 0)
            return true;
        *in = was;
        return bad(x, "expected a number of seconds, at least 1");
    case ARG_MODSEQ:
        return take_modseq(x, in, n);
    case ARG_ID:
        return take_id(x, in, n);
    case ARG_UIDS:
        return take_uids(x, in, n);
    case ARG_UID_AFTER:
    case ARG_UID_BEFORE:
        return take_uids_beside(x, in, k->arg == ARG_UID_AFTER, n);
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
    struct search_node **kids = arena_alloc(x->t->mem, most * sizeof(struct search_node *));

    if (!kids)
        return bad(x, "search program too long");
    if (n->n_kids > 0)
        memcpy(kids, n->kids, n->n_kids * sizeof(struct search_node *));
    n->kids = kids;
    *room = most;
    return true;
}

/* The next key as a kid of n, which has room for so many. Whoever cannot give a node to its parent frees its sets, so that
 * search_program_free() finds all others. */
static bool
take_kid(struct parser *x, struct slice *in, struct search_node *n, size_t *room)
{
    struct search_node *kid = take_key(x, in);

    if (!kid)
        return false;
    if (n->n_kids == *room && !more_kids(x, n, room)) {
        free_sets(kid);
        return false;
    }
    n->kids[n->n_kids++] = kid;
    return true;
}

/* Keys in a row, up to ')' or the end: AND. */
static bool
take_keys(struct parser *x, struct slice *in, struct search_node *n)
{
    size_t room = 0;

    do
        if (!take_kid(x, in, n, &room))
            return false;
    while (sl_take_char(in, ' '));
    return true;
}

/* After "OR": in "OR a OR b c" as in "OR OR a b c" there is one key more than there are ORs. */
static bool
take_or(struct parser *x, struct slice *in, struct search_node *n)
{
    size_t room = 0, owed = 2;

    while (owed > 0) {
        if (imap_take_sp(in, &x->e) != PARSE_OK)
            return false;
        if (imap_take_keyword(in, "OR")) {
            owed++;
            continue;
        }
        if (!take_kid(x, in, n, &room))
            return false;
        owed--;
    }
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

/* A key that is neither NOT nor FUZZY. */
static struct search_node *
take_plain(struct parser *x, struct slice *in)
{
    struct search_node *n;
    bool is_ok;

    if (sl_take_char(in, '(')) {
        n = node_new(x, SEARCH_AND, 0);
        is_ok = n && take_keys(x, in, n);
        if (is_ok && !sl_take_char(in, ')'))
            is_ok = bad(x, "expected ')'");
    } else if (imap_take_keyword(in, "OR")) {
        n = node_new(x, SEARCH_OR, 0);
        is_ok = n && take_or(x, in, n);
    } else if (in->n > 0 && (in->p[0] == '*' || (in->p[0] >= '0' && in->p[0] <= '9'))) {
        n = node_new(x, SEARCH_SEQS, 0);
        is_ok = n && take_numbers(x, in, n);
    } else if (sl_starts(*in, '$')) {
        n = node_new(x, SEARCH_UIDS, 0);
        is_ok = n && take_uids(x, in, n);
    } else {
        return take_word(x, in);
    }
    if (is_ok)
        return n;
    free_sets(n);
    return NULL;
}

static struct search_node *
take_key(struct parser *x, struct slice *in)
{
    struct search_node *n = NULL, *not ;
    bool is_not = false, is_fuzzy;

    if (x->depth == SEARCH_DEPTH_MAX)
        return bad(x, "search program too deep");
    x->depth++;
    while ((is_fuzzy = imap_take_keyword(in, "FUZZY")) || imap_take_keyword(in, "NOT")) {
        is_not = is_not != !is_fuzzy; /* what is exact is fuzzy enough */
        if (imap_take_sp(in, &x->e) != PARSE_OK)
            return NULL;
    }
    n = take_plain(x, in);
    x->depth--;
    if (!n || !is_not)
        return n;
    not = node_new(x, SEARCH_NOT, 1);
    if (!not ) {
        free_sets(n);
        return NULL;
    }
    not ->kids[not ->n_kids++] = n;
    return not ;
}

/* ["CHARSET" SP astring SP], or astring SP where it must be there. */
static bool
take_charset(struct parser *x, bool must_be, struct slice *in)
{
    struct buf b = { 0 };
    bool is_known;

    if (!must_be && !imap_take_keyword(in, "CHARSET"))
        return true;
    if (!must_be && (x->c->s->enabled & IMAP_ON_UTF8)) /* RFC 6855 §3 */
        return bad(x, "CHARSET is not allowed with UTF8=ACCEPT");
    if (!must_be && imap_take_sp(in, &x->e) != PARSE_OK)
        return false;
    if (imap_take_astring(in, x->t->mem, &x->p->charset, &x->e) != PARSE_OK ||
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
search_program_parse(struct imap_cmd *c, const struct search_text *t, struct search_program *p)
{
    struct parser x = { .c = c, .t = t, .p = p };
    struct slice in = t->text;

    if (take_charset(&x, t->must_have_charset, &in)) {
        p->root = node_new(&x, SEARCH_AND, 0);
        if (p->root && take_keys(&x, &in, p->root) && imap_take_end(&in, &x.e) == PARSE_OK)
            return true;
    }
    if (!x.is_replied)
        imap_bad(c, "BAD Error in IMAP command %s: %s at position %zu (syntax: %s).", c->row->name,
                 x.e.msg, t->at + (size_t)(in.p - t->text.p) + 1, c->row->usage);
    return false;
}

/* ---- a program that is kept ---- */

/* "5:*" goes on to what is still to come, a set without '*' does not. */
static void
pin_set(struct search_node *n, const struct store_view *v)
{
    struct store_uids uids = { 0 };
    struct store_row first, last;
    struct store_box box;

    store_view_box(v, &box);
    for (size_t i = 0; i < n->set.n; i++)
        if (store_view_row(v, n->set.v[i].first, &first) &&
            store_view_row(v, n->set.v[i].last, &last))
            store_uids_add(&uids, first.uid,
                           n->number && n->set.v[i].last == box.exists ? UINT32_MAX : last.uid);
    store_uids_free(&n->set);
    n->set = uids;
    n->kind = SEARCH_UIDS;
    n->number = 0;
}

void
search_program_pin(struct search_node *n, const struct store_view *v)
{
    if (n->kind == SEARCH_SEQS)
        pin_set(n, v);
    for (size_t i = 0; i < n->n_kids; i++)
        search_program_pin(n->kids[i], v); /* as deep as was parsed */
}
