/* imapd/cmd_list.c - LIST (RFC 9051 §6.3.9) with LIST-EXTENDED (RFC 5258), CHILDREN (RFC 3348), SPECIAL-USE (RFC 6154),
 * LIST-STATUS (RFC 5819) and LIST-METADATA (RFC 9590).
 *
 * The names are taken once; lines are then made in turns, so that neither a thousand STATUS nor a slow client holds up
 * others. What is told of a mailbox comes right after its line: clients count on that. */
#include "imapd/mailboxes.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    LIST_PATTERNS_MAX = 1000,
    LIST_PATTERNS_OCTETS = 64 * 1024, /* of all: each name is held against each */
    LIST_TURN_MS = 20,
    LIST_AHEAD = 64 /* mailboxes that the store is asked for at once */
};
enum {
    SELECT_SUBSCRIBED = 1,
    SELECT_REMOTE = 2, /* other servers' mailboxes, too: there are none */
    SELECT_RECURSIVEMATCH = 4,
    SELECT_SPECIAL_USE = 8,
    RETURN_SUBSCRIBED = 16,
    RETURN_CHILDREN = 32,
    RETURN_SPECIAL_USE = 64,
    RETURN_STATUS = 128,
    RETURN_METADATA = 256
};
struct list_args {
    bool is_extended;
    unsigned options;
    struct slice reference;
    struct slice *patterns;
    size_t n_patterns;
    unsigned status_items;
    struct imap_meta_asks metadata;
};

/* ---- arguments ---- */

/* "(" [option *(SP option)] ")"; take steps past one. */
static enum parse_rc
take_options(struct imap_cmd *c, struct slice *in,
             enum parse_rc (*take)(struct imap_cmd *, struct slice *, struct err *), struct err *e)
{
    if (!sl_take_char(in, '('))
        return err_parse(e, "expected '('");
    if (sl_take_char(in, ')'))
        return PARSE_OK;
    do {
        if (take(c, in, e) != PARSE_OK)
            return PARSE_BAD;
    } while (sl_take_char(in, ' '));
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

static enum parse_rc
take_select_option(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct list_args *a = c->args;

    if (imap_take_keyword(in, "SUBSCRIBED"))
        a->options |= SELECT_SUBSCRIBED | RETURN_SUBSCRIBED;
    else if (imap_take_keyword(in, "REMOTE"))
        a->options |= SELECT_REMOTE;
    else if (imap_take_keyword(in, "RECURSIVEMATCH"))
        a->options |= SELECT_RECURSIVEMATCH;
    else if (imap_take_keyword(in, "SPECIAL-USE"))
        a->options |= SELECT_SPECIAL_USE | RETURN_SPECIAL_USE;
    else
        return err_parse(e, "expected a selection option of LIST");
    return PARSE_OK;
}

static enum parse_rc
take_return_option(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct list_args *a = c->args;

    if (imap_take_keyword(in, "SUBSCRIBED")) {
        a->options |= RETURN_SUBSCRIBED;
    } else if (imap_take_keyword(in, "CHILDREN")) {
        a->options |= RETURN_CHILDREN;
    } else if (imap_take_keyword(in, "SPECIAL-USE")) {
        a->options |= RETURN_SPECIAL_USE;
    } else if (imap_take_keyword(in, "STATUS")) {
        a->options |= RETURN_STATUS;
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        return imap_take_status_items(c, in, &a->status_items, e);
    } else if (c->s->conf->imap_metadata && imap_take_keyword(in, "METADATA")) {
        a->options |= RETURN_METADATA;
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        return imap_take_meta_entries(c, in, false, &a->metadata, e);
    } else {
        return err_parse(e, "expected a return option of LIST");
    }
    return PARSE_OK;
}

/* list-mailbox / "(" list-mailbox *(SP list-mailbox) ")" */
static enum parse_rc
take_patterns(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct list_args *a = c->args;
    bool is_list = sl_take_char(in, '(');
    size_t octets = 0;

    a->patterns = arena_alloc(&c->mem, (is_list ? LIST_PATTERNS_MAX : 1) * sizeof(a->patterns[0]));
    if (a->patterns == NULL)
        return err_parse(e, "command too long");
    do {
        if (a->n_patterns == LIST_PATTERNS_MAX)
            return err_parse(e, "more than %d patterns", LIST_PATTERNS_MAX);
        if (imap_take_list_mailbox(in, &c->mem, &a->patterns[a->n_patterns], e) != PARSE_OK)
            return PARSE_BAD;
        octets += a->reference.n + a->patterns[a->n_patterns++].n;
        if (octets > LIST_PATTERNS_OCTETS)
            return err_parse(e, "patterns too long");
    } while (is_list && sl_take_char(in, ' '));
    if (is_list && !sl_take_char(in, ')'))
        return err_parse(e, "expected ')'");
    a->is_extended = a->is_extended || is_list;
    return PARSE_OK;
}

/* SP [select-options SP] reference SP patterns [SP "RETURN" SP return-options] */
enum parse_rc
imap_parse_list(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct list_args *a = ARENA_NEW(&c->mem, struct list_args);

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    if (sl_starts(*in, '(')) {
        a->is_extended = true;
        if (take_options(c, in, take_select_option, e) != PARSE_OK ||
            imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        if ((a->options & SELECT_RECURSIVEMATCH) &&
            !(a->options & (SELECT_SUBSCRIBED | SELECT_SPECIAL_USE)))
            return err_parse(e,
                             "RECURSIVEMATCH must not be the only selection"); /* RFC 5258 §3.1 */
    }
    if (imap_take_astring(in, &c->mem, &a->reference, e) != PARSE_OK ||
        imap_take_sp(in, e) != PARSE_OK || take_patterns(c, in, e) != PARSE_OK)
        return PARSE_BAD;
    if (in->n > 0) {
        a->is_extended = true;
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        if (!imap_take_keyword(in, "RETURN"))
            return err_parse(e, "expected RETURN");
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        return take_options(c, in, take_return_option, e);
    }
    if (!a->is_extended)
        a->options |= RETURN_CHILDREN | RETURN_SPECIAL_USE;
    return PARSE_OK;
}

/* ---- lines ---- */

static const struct {
    unsigned bit;
    const char *name;
} attr_names[] = {
    { STORE_MB_MARKED, "\\Marked" },     { STORE_MB_UNMARKED, "\\UnMarked" },
    { STORE_MB_USE_ALL, "\\All" },       { STORE_MB_USE_ARCHIVE, "\\Archive" },
    { STORE_MB_USE_DRAFTS, "\\Drafts" }, { STORE_MB_USE_FLAGGED, "\\Flagged" },
    { STORE_MB_USE_JUNK, "\\Junk" },     { STORE_MB_USE_SENT, "\\Sent" },
    { STORE_MB_USE_TRASH, "\\Trash" },
};

void
imap_add_list_attr(struct imap_cmd *c, bool *is_first, const char *name)
{
    buf_addf(&c->out, *is_first ? "%s" : " %s", name);
    *is_first = false;
}

/* \NonExistent only to who knows it: extended LIST, IMAP4rev2. */
static void
add_attrs(struct imap_cmd *c, bool *is_first, unsigned attrs, unsigned which,
          bool knows_nonexistent)
{
    if (attrs & which & STORE_MB_SUBSCRIBED)
        imap_add_list_attr(c, is_first, "\\Subscribed");
    if ((attrs & STORE_MB_NONEXISTENT) && knows_nonexistent)
        imap_add_list_attr(c, is_first, "\\NonExistent");
    else if (attrs & (STORE_MB_NOSELECT | STORE_MB_NONEXISTENT))
        imap_add_list_attr(c, is_first, "\\Noselect");
    if (which & STORE_MB_HAS_CHILDREN)
        imap_add_list_attr(c, is_first,
                           attrs & STORE_MB_HAS_CHILDREN ? "\\HasChildren" : "\\HasNoChildren");
    for (size_t i = 0; i < COUNT_OF(attr_names); i++)
        if (attrs & which & attr_names[i].bit)
            imap_add_list_attr(c, is_first, attr_names[i].name);
}

void
imap_add_list_attrs(struct imap_cmd *c, bool *is_first, unsigned attrs, unsigned which)
{
    add_attrs(c, is_first, attrs, which, (c->s->enabled & IMAP_ON_REV2) != 0);
}

static void
add_wire_name(struct imap_cmd *c, struct slice wire_name)
{
    if (imap_is_utf8(c->s))
        imap_add_utf8_astring(&c->out, wire_name);
    else
        imap_add_astring(&c->out, wire_name);
}

void
imap_add_list_name(struct imap_cmd *c, struct slice wire_name)
{
    buf_addf(&c->out, ") \"%c\" ", store_separator(c->s->store));
    add_wire_name(c, wire_name);
}

void
imap_tell_oldname(struct imap_cmd *c, struct slice wire_new, struct slice wire_old)
{
    buf_addz(&c->out, "* LIST (");
    imap_add_list_name(c, wire_new);
    buf_addz(&c->out, " (\"OLDNAME\" (");
    add_wire_name(c, wire_old);
    buf_addz(&c->out, "))\r\n");
}

struct list_pattern *
imap_list_pattern(struct imap_cmd *c, struct slice reference, struct slice pattern)
{
    struct slice whole = arena_join(&c->mem, reference, pattern);

    if (whole.p == NULL && reference.n + pattern.n > 0)
        return NULL;
    return imap_pattern_new(&c->mem, whole, store_separator(c->s->store));
}

/* ---- which mailboxes ---- */

struct list_row {
    char *name, *wire; /* malloc'ed */
    unsigned attrs;
    bool is_match, is_selected;
    bool has_selected_below, has_unmatched_below; /* the latter: selected, and not matched */
};
struct list_run { /* run_state */
    struct list_row *v;
    size_t n, cap, at;
    /* What was asked ahead of this turn: of ahead_row[i], ascending. */
    size_t n_ahead, ahead_at, ahead_row[LIST_AHEAD];
    struct store_status ahead[LIST_AHEAD];
    bool is_known[LIST_AHEAD];
};

static bool
is_selected(const struct list_args *a, unsigned attrs)
{
    if ((a->options & SELECT_SUBSCRIBED) && !(attrs & STORE_MB_SUBSCRIBED))
        return false;
    if ((a->options & SELECT_SPECIAL_USE) && !(attrs & LIST_USES))
        return false;
    /* A name that is only subscribed is told only to who asks for those. */
    return (a->options & SELECT_SUBSCRIBED) || !(attrs & STORE_MB_NONEXISTENT) ||
           (attrs & STORE_MB_HAS_CHILDREN);
}

static bool
is_match(struct list_pattern *const *patterns, size_t n, const char *wire)
{
    for (size_t i = 0; i < n; i++)
        if (imap_pattern_match(patterns[i], sl_z(wire)))
            return true;
    return false;
}

/* A row, unless the name has no form on the wire. */
static void
add_row(struct imap_cmd *c, struct list_pattern *const *patterns, struct slice name, unsigned attrs)
{
    const struct list_args *a = c->args;
    struct list_run *run = c->run_state;
    struct buf wire = { 0 };
    struct list_row *r;

    if (imap_name_encode(c->s, name, &wire) == 0) {
        run->v = mem_grow(run->v, &run->cap, run->n + 1, sizeof(run->v[0]));
        r = &run->v[run->n++];
        *r = (struct list_row){ .name = sl_dupz(name), .attrs = attrs };
        r->wire = mem_dupz(buf_z(&wire));
        r->is_match = is_match(patterns, a->n_patterns, r->wire);
        r->is_selected = is_selected(a, attrs);
    }
    buf_free(&wire);
}

static struct slice
parent_of(struct slice name, char separator)
{
    size_t at = sl_rfind_char(name, separator);

    return sl_head(name, at == SL_NPOS ? 0 : at);
}

/* RECURSIVEMATCH (RFC 5258 §3.1): what is selected tells the levels above it; one that is no name of anything, above a name
 * that is only subscribed, gets a row. */
static void
look_below(struct imap_cmd *c, struct list_pattern *const *patterns)
{
    struct list_run *run = c->run_state;
    char separator = store_separator(c->s->store);
    struct map *by_name = map_new();
    size_t n = run->n;

    for (size_t i = 0; i < n; i++)
        map_set(by_name, sl_z(run->v[i].name), (void *)(uintptr_t)(i + 1));
    for (size_t i = 0; i < n; i++) {
        if (!run->v[i].is_selected)
            continue;
        for (struct slice p = parent_of(sl_z(run->v[i].name), separator); p.n > 0;
             p = parent_of(p, separator)) {
            uintptr_t at = (uintptr_t)map_get(by_name, p);
            struct list_row *r;

            if (at == 0) {
                size_t was = run->n;

                add_row(c, patterns, p, STORE_MB_NONEXISTENT);
                if (run->n == was)
                    continue;
                at = run->n;
                map_set(by_name, p, (void *)at);
                run->v[at - 1].is_selected = false;
            }
            r = &run->v[at - 1];
            r->has_selected_below = true;
            r->has_unmatched_below = r->has_unmatched_below || !run->v[i].is_match;
        }
    }
    map_free(&by_name, NULL);
}

static int
make_rows(struct imap_cmd *c, struct err *e)
{
    const struct list_args *a = c->args;
    struct list_pattern **patterns = arena_alloc(&c->mem, a->n_patterns * sizeof(patterns[0]));
    struct store_mailboxes all = { 0 };

    if (patterns == NULL)
        return err_set(e, ERR_LIMIT, "command too long");
    for (size_t i = 0; i < a->n_patterns; i++)
        patterns[i] = imap_list_pattern(c, a->reference, a->patterns[i]);
    if (store_list(c->s->store, &all, e))
        return -1;
    for (size_t i = 0; i < all.n; i++)
        add_row(c, patterns, sl_z(all.v[i].name), all.v[i].attrs);
    store_mailboxes_free(&all);
    if (a->options & SELECT_RECURSIVEMATCH)
        look_below(c, patterns);
    return 0;
}

/* ---- telling ---- */

/* That something of one mailbox cannot be told does not fail the rest (RFC 5819 §2). */
static void
tell_trouble(struct imap_cmd *c, const struct list_row *r, const struct err *e)
{
    if (e->kind == ERR_NOTFOUND) /* deleted meanwhile */
        return;
    log_error("imap.fail", LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name)),
              "imap(%s)<%s>: Error: LIST %s: %s", c->s->user, c->s->name, r->name, e->msg);
    imap_untagged(c, "NO [UNAVAILABLE] Not all of a mailbox could be told.");
}

static bool
is_told(const struct list_row *r)
{
    return r->is_match && (r->is_selected || r->has_unmatched_below);
}

/* Does it have a STATUS? Not what cannot be selected, nor a name told for those below it (RFC 5819 §2). */
static bool
has_more(const struct list_row *r)
{
    return r->is_match && r->is_selected &&
           !(r->attrs & (STORE_MB_NONEXISTENT | STORE_MB_NOSELECT));
}

/* The statuses of the next rows in one go: that is a quarter of the work. */
static void
look_ahead(struct imap_cmd *c)
{
    struct list_run *run = c->run_state;
    const char *names[LIST_AHEAD];
    struct err e = { 0 };

    run->n_ahead = run->ahead_at = 0;
    for (size_t i = run->at; i < run->n && run->n_ahead < LIST_AHEAD; i++)
        if (has_more(&run->v[i])) {
            names[run->n_ahead] = run->v[i].name;
            run->ahead_row[run->n_ahead++] = i;
        }
    if (run->n_ahead > 0 &&
        store_status_unchanged(c->s->store, names, run->n_ahead, run->ahead, run->is_known, &e))
        memset(run->is_known, 0, sizeof(run->is_known)); /* store_status() will say why */
}

/* Of the row in work, or NULL. */
static const struct store_status *
status_ahead(struct imap_cmd *c)
{
    struct list_run *run = c->run_state;
    size_t i;

    if (run->ahead_at == run->n_ahead)
        look_ahead(c);
    i = run->ahead_at++;
    BUG_ON(i >= run->n_ahead || run->ahead_row[i] != run->at);
    return run->is_known[i] ? &run->ahead[i] : NULL;
}

static void
tell_row(struct imap_cmd *c, const struct list_row *r)
{
    const struct list_args *a = c->args;
    bool is_first = true, is_rev2 = (c->s->enabled & IMAP_ON_REV2) != 0;
    unsigned which = STORE_MB_MARKED | STORE_MB_UNMARKED;
    struct err e = { 0 };

    which |= a->options & RETURN_SUBSCRIBED ? STORE_MB_SUBSCRIBED : 0;
    which |= a->options & RETURN_CHILDREN ? STORE_MB_HAS_CHILDREN : 0;
    which |= a->options & RETURN_SPECIAL_USE ? LIST_USES : 0;
    buf_addz(&c->out, "* LIST (");
    add_attrs(c, &is_first, r->attrs, which, a->is_extended || is_rev2);
    imap_add_list_name(c, sl_z(r->wire));
    if ((a->options & SELECT_RECURSIVEMATCH) && r->has_selected_below)
        buf_addf(&c->out, " (CHILDINFO (%s%s%s))",
                 a->options & SELECT_SUBSCRIBED ? "\"SUBSCRIBED\"" : "",
                 (a->options & SELECT_SUBSCRIBED) && (a->options & SELECT_SPECIAL_USE) ? " " : "",
                 a->options & SELECT_SPECIAL_USE ? "\"SPECIAL-USE\"" : "");
    buf_addz(&c->out, "\r\n");
    if (!has_more(r))
        return;
    if ((a->options & RETURN_STATUS) &&
        imap_tell_status(c, sl_z(r->wire), sl_z(r->name), a->status_items, status_ahead(c), &e) < 0)
        tell_trouble(c, r, &e);
    if ((a->options & RETURN_METADATA) &&
        imap_tell_metadata(c, sl_z(r->wire), sl_z(r->name), &a->metadata, &e) < 0)
        tell_trouble(c, r, &e);
}

static enum cmd_rc
tell_rows(struct imap_cmd *c)
{
    struct list_run *run = c->run_state;
    uint64_t until_ms = clock_mono_ms() + LIST_TURN_MS;

    run->ahead_at = run->n_ahead = 0; /* what was known before others' turn is old */
    for (; run->at < run->n; run->at++) {
        const struct list_row *r = &run->v[run->at];

        if (imap_is_cancelled(c))
            return CMD_DONE;
        if (c->out.n >= IMAPD_OUT_MARK)
            return CMD_FLUSH;
        if (run->at % 16 == 15 && clock_mono_ms() >= until_ms)
            return imap_progress(c, run->at, run->n) ? CMD_FLUSH : CMD_YIELD;
        if (is_told(r))
            tell_row(c, r);
    }
    imap_reply(c, "OK List completed.");
    return CMD_DONE;
}

void
imap_done_list(struct imap_cmd *c)
{
    struct list_run *run = c->run_state;

    for (size_t i = 0; run && i < run->n; i++) {
        free(run->v[i].name);
        free(run->v[i].wire);
    }
    if (run)
        free(run->v);
    free(run);
}

enum cmd_rc
imap_run_list(struct imap_cmd *c)
{
    const struct list_args *a = c->args;
    struct err e = { 0 };

    if (c->run_state)
        return tell_rows(c);
    if (!a->is_extended && a->patterns[0].n == 0) { /* "the hierarchy delimiter": RFC 9051 §6.3.9 */
        imap_untagged(c, "LIST (\\Noselect) \"%c\" \"\"", store_separator(c->s->store));
        imap_reply(c, "OK List completed.");
        return CMD_DONE;
    }
    c->run_state = MEM_NEW(struct list_run);
    if (make_rows(c, &e)) {
        imap_fail(c, &e, SL(""), "NONEXISTENT");
        return CMD_DONE;
    }
    return tell_rows(c);
}
