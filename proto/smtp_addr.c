/* proto/smtp_addr.c - addresses as a list of tokens. Everything that looks into an address does it on tokens, so that
 * "a@b"@c and a@b@c are never mistaken for each other. */
#include "proto/smtp_addr_int.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "proto/hostname.h"

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is_operator(char c)
{
    return c != '\0' && strchr("|%!()<>@,;:\\\".[]", c) != NULL;
}

bool
smtp_toks_init(struct toks *t, size_t cap, struct arena *a)
{
    *t = (struct toks){ .cap = cap, .a = a };
    t->v = arena_alloc(a, cap * sizeof(*t->v));
    return t->v != NULL;
}

bool
smtp_toks_add(struct toks *t, int type, struct slice s)
{
    if (t->n == t->cap)
        return false;
    t->v[t->n++] = (struct tok){ type, s };
    return true;
}

/* ---- text to tokens ---- */

/* Text up to and past `close`, backslashes taken off. An end that is missing is forgiven here. */
static struct slice
scan_quoted(struct slice *in, char close, char *to)
{
    size_t n = 0, i = 0;

    while (i < in->n && in->p[i] != close) {
        if (in->p[i] == '\\' && i + 1 < in->n)
            i++;
        to[n++] = in->p[i++];
    }
    *in = sl_from(*in, i + (i < in->n));
    return sl_n(to, n);
}

static struct slice
scan_comment(struct slice *in)
{
    size_t i = 0, depth = 1;
    const char *start = in->p - 1;

    while (i < in->n && depth > 0) {
        char c = in->p[i++];

        if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
        else if (c == '\\')
            i += i < in->n;
    }
    *in = sl_from(*in, i);
    return sl_n(start, i + 1);
}

/* An atom; one that hid an operator or a control octet behind a backslash is a quoted string. */
static struct tok
scan_atom(struct slice *in, char *to)
{
    size_t n = 0, i = 0;
    int type = T_ATOM;

    while (i < in->n && !is_blank(in->p[i]) && (in->p[i] == '\\' || !is_operator(in->p[i]))) {
        if (in->p[i] == '\\') {
            if (i + 1 == in->n) {
                i++;
                break;
            }
            i++;
        }
        if (in->p[i] == ' ' || (unsigned char)in->p[i] < ' ' || in->p[i] == 127 ||
            is_operator(in->p[i]))
            type = T_QUOTED;
        to[n++] = in->p[i++];
    }
    *in = sl_from(*in, i);
    return (struct tok){ type, sl_n(to, n) };
}

bool
smtp_toks_scan(struct toks *t, struct slice text)
{
    char *mem = arena_alloc(t->a, text.n + 1);

    if (mem == NULL)
        return false;
    while (text.n) {
        char c = text.p[0];
        struct tok k;

        if (is_blank(c)) {
            text = sl_from(text, 1);
            continue;
        }
        if (c == '\\' || !is_operator(c)) {
            k = scan_atom(&text, mem);
        } else {
            text = sl_from(text, 1);
            if (c == '(')
                k = (struct tok){ T_COMMENT, scan_comment(&text) };
            else if (c == '[')
                k = (struct tok){ T_LITERAL, scan_quoted(&text, ']', mem) };
            else if (c == '"')
                k = (struct tok){ T_QUOTED, scan_quoted(&text, '"', mem) };
            else
                k = (struct tok){ c, SL("") };
        }
        if (k.type >= T_ATOM && k.type != T_COMMENT)
            mem += k.s.n;
        if (!smtp_toks_add(t, k.type, k.s))
            return false;
    }
    return true;
}

/* ---- tokens to internal text ---- */

struct slice
smtp_toks_text(const struct toks *t, size_t from, size_t to)
{
    size_t n = 0;
    char *p;

    for (size_t i = from; i < to; i++)
        n += t->v[i].s.n + 3;
    p = arena_alloc(t->a, n + 1);
    if (p == NULL)
        return SL("");
    n = 0;
    for (size_t i = from; i < to; i++) {
        const struct tok *k = &t->v[i];

        if (k->type < T_ATOM)
            p[n++] = (char)k->type;
        if (k->type == T_LITERAL)
            p[n++] = '[';
        memcpy(p + n, k->s.n ? k->s.p : "", k->s.n);
        n += k->s.n;
        if (k->type == T_LITERAL)
            p[n++] = ']';
        if (k->type >= T_ATOM && i + 1 < to && t->v[i + 1].type >= T_ATOM)
            p[n++] = ' ';
    }
    return sl_n(p, n);
}

/* ---- a path ---- */

/* What stands in the text of a path: how many addresses and how much that is none, and where the last address is.
 * From right to left, since only there the grammar says where an address begins: an address is what lies between
 * "<" and ">", or between two separators, or ends where two words meet with no operator between. */
struct found {
    size_t addresses, others;
    size_t from, to; /* tokens of the leftmost address */
};

static void
found_group(struct found *f, size_t from, size_t to)
{
    if (from < to) {
        f->addresses++;
        f->from = from;
        f->to = to;
    }
}

static void
find_addresses(const struct toks *t, struct found *f)
{
    size_t right = t->n, at = t->n;
    bool may_word = true, in_group = false;

    while (at > 0) {
        int type = t->v[at - 1].type;

        if (type == ';' || type == ',' || (type == ':' && in_group)) {
            found_group(f, at, right);
            f->others++;
            in_group = in_group || type == ';';
            may_word = true;
            right = --at;
            if (type == ':')
                while (at > 0 && t->v[at - 1].type != ',') {
                    f->others++;
                    right = --at;
                }
        } else if (type == '>') {
            size_t open = at - 1;

            found_group(f, at, right);
            f->others += at < right; /* the comma that is missing there */
            right = at - 1;
            while (open > 0 && t->v[open - 1].type != '<')
                open--;
            found_group(f, open, right);
            at = open > 0 ? open - 1 : 0;
            while (at > 0 &&
                   strchr(">;,:", t->v[at - 1].type > 255 ? 'x' : t->v[at - 1].type) == NULL) {
                f->others++;
                at--;
            }
            right = at;
            may_word = true;
        } else if (type >= T_ATOM) {
            if (!may_word) {
                found_group(f, at, right);
                f->others++;
                right = at;
            }
            may_word = false;
            at--;
        } else {
            may_word = true;
            at--;
        }
    }
    found_group(f, 0, right);
}

/* Comments leave the list, counted. */
static size_t
drop_comments(struct toks *t)
{
    size_t n = 0, dropped = 0;

    for (size_t i = 0; i < t->n; i++) {
        if (t->v[i].type == T_COMMENT)
            dropped++;
        else
            t->v[n++] = t->v[i];
    }
    t->n = n;
    return dropped;
}

enum parse_rc
smtp_path_parse(struct slice word, bool is_strict, struct arena *a, struct slice *internal,
                struct err *e)
{
    bool has_brackets = word.n >= 2 && sl_starts(word, '<') && sl_ends(word, '>');
    struct slice text = has_brackets ? sl_n(word.p + 1, word.n - 2) : word;
    struct found f = { 0 };
    struct toks t;
    size_t colon;

    if (is_strict && !has_brackets)
        return err_parse(e, "no angle brackets");
    if (text.n > SMTP_ADDR_OCTETS_MAX)
        return err_parse(e, "too long");
    if (sl_starts(text, '@') && (colon = sl_find_char(text, ':')) != SL_NPOS)
        text = sl_from(text, colon + 1); /* source route */
    if (!smtp_toks_init(&t, text.n + 1, a) || !smtp_toks_scan(&t, text))
        return err_parse(e, "too complex");
    f.others = drop_comments(&t);
    find_addresses(&t, &f);
    if (f.addresses > 1 || (is_strict && f.others))
        return err_parse(e, "more than one address");
    *internal = f.addresses ? smtp_toks_text(&t, f.from, f.to) : SL("");
    if (is_strict && sl_starts(*internal, '@'))
        return err_parse(e, "no local part");
    /* RFC 5321 §4.1.2 has none of them even in quotes; Postfix lets them pass. They would go into commands and fields. */
    for (size_t i = 0; i < internal->n; i++)
        if ((unsigned char)internal->p[i] < ' ' || internal->p[i] == 127)
            return err_parse(e, "a control octet");
    return PARSE_OK;
}

/* ---- internal to external ---- */

static bool
needs_quotes(struct slice local)
{
    if (local.n == 0 || sl_starts(local, '.') || sl_ends(local, '.'))
        return true;
    for (size_t i = 0; i < local.n; i++) {
        char c = local.p[i];

        if ((unsigned char)c <= ' ' || c == 127 || strchr("()<>@,;:\\\"[]", c) != NULL)
            return true;
        if (c == '.' && local.p[i + 1] == '.')
            return true;
    }
    return false;
}

bool
smtp_addr_split(struct slice internal, struct slice *local, struct slice *domain)
{
    size_t at = sl_rfind_char(internal, '@');

    *local = at == SL_NPOS ? internal : sl_head(internal, at);
    *domain = at == SL_NPOS ? SL("") : sl_from(internal, at + 1);
    return at != SL_NPOS;
}

struct slice
smtp_addr_quote(struct slice internal, struct arena *a)
{
    struct slice local, domain;
    bool has_at = smtp_addr_split(internal, &local, &domain);
    char *p;
    size_t n = 0;

    if (internal.n == 0 || !needs_quotes(local))
        return internal;
    p = arena_alloc(a, internal.n * 2 + 4);
    if (p == NULL)
        return internal;
    p[n++] = '"';
    for (size_t i = 0; i < local.n; i++) {
        if (strchr("\"\\\r\n", local.p[i]) != NULL && local.p[i] != '\0')
            p[n++] = '\\';
        p[n++] = local.p[i];
    }
    p[n++] = '"';
    if (has_at) {
        p[n++] = '@';
        memcpy(p + n, domain.p, domain.n);
        n += domain.n;
    }
    return sl_n(p, n);
}

/* ---- completing ---- */

static size_t
find_last(const struct toks *t, int type)
{
    for (size_t i = t->n; i > t->from; i--)
        if (t->v[i - 1].type == type)
            return i - 1;
    return SL_NPOS;
}

static size_t
find_first(const struct toks *t, size_t from, int type)
{
    for (size_t i = from; i < t->n; i++)
        if (t->v[i].type == type)
            return i;
    return SL_NPOS;
}

static bool
append_domain(struct toks *t, struct slice domain)
{
    return smtp_toks_add(t, '@', SL("")) && smtp_toks_scan(t, domain);
}

static void
strip_final_dot(struct toks *t)
{
    if (t->n - t->from >= 2 && t->v[t->n - 1].type == '.' && t->v[t->n - 2].type != '.' &&
        t->v[t->n - 2].type != '@')
        t->n--;
}

/* "domain!user" to "user@domain". */
static bool
swap_bang(struct toks *t, size_t bang)
{
    size_t n_domain = bang - t->from, n_user = t->n - bang - 1;
    struct tok *copy = arena_alloc(t->a, (n_domain + 1) * sizeof(*copy));

    if (copy == NULL)
        return false;
    memcpy(copy, t->v + t->from, n_domain * sizeof(*copy));
    memmove(t->v + t->from, t->v + bang + 1, n_user * sizeof(*copy));
    t->v[t->from + n_user] = (struct tok){ '@', SL("") };
    memcpy(t->v + t->from + n_user + 1, copy, n_domain * sizeof(*copy));
    return true;
}

bool
smtp_toks_rewrite(const struct smtp_addr_rules *r, struct toks *t)
{
    size_t colon, at, bang;

    if (t->n == t->from)
        return true;
    if (t->n == t->from + 1 && t->v[t->from].type == T_QUOTED && t->v[t->from].s.n == 0)
        return true;
    if (t->n == t->from + 1 && t->v[t->from].type == '@') {
        t->v[t->from] = (struct tok){ T_QUOTED, SL("") };
        return true;
    }
    if (t->v[t->from].type == '@' && (colon = find_first(t, t->from, ':')) != SL_NPOS &&
        colon + 1 < t->n)
        t->from = colon + 1;
    if (find_last(t, '@') == SL_NPOS) {
        if (r->swap_bangpath && (bang = find_first(t, t->from, '!')) != SL_NPOS) {
            if (!swap_bang(t, bang))
                return false;
        } else if (r->allow_percent_hack && (at = find_last(t, '%')) != SL_NPOS) {
            t->v[at].type = '@';
        } else if (r->append_at_myorigin && r->myorigin.n) {
            if (!append_domain(t, r->myorigin))
                return false;
        }
    }
    at = find_last(t, '@');
    if (r->append_dot_mydomain && r->mydomain.n && at != SL_NPOS && at + 1 < t->n &&
        find_first(t, at, T_LITERAL) == SL_NPOS && find_first(t, at, '.') == SL_NPOS &&
        (!smtp_toks_add(t, '.', SL("")) || !smtp_toks_scan(t, r->mydomain)))
        return false;
    strip_final_dot(t);
    return true;
}

/* Room for what completing may add. */
static bool
start_toks(const struct smtp_addr_rules *r, struct slice internal, struct arena *a, struct toks *t)
{
    struct slice ext = smtp_addr_quote(internal, a);

    if (ext.n > 2 * SMTP_ADDR_OCTETS_MAX + 8)
        return false;
    return smtp_toks_init(t, ext.n + r->myorigin.n + r->mydomain.n + r->myhostname.n + 32, a) &&
           smtp_toks_scan(t, ext);
}

struct slice
smtp_addr_rewrite(const struct smtp_addr_rules *r, struct slice internal, struct arena *a)
{
    struct toks t;

    if (internal.n == 0 || !start_toks(r, internal, a, &t) || !smtp_toks_rewrite(r, &t))
        return internal;
    return smtp_toks_text(&t, t.from, t.n);
}

/* ---- resolving ---- */

/* The whole address is one quoted string with a route inside: open it, so that "\"u@d\"@here" cannot relay. */
static int
crack_quoted(const struct smtp_addr_rules *r, struct toks *t)
{
    struct slice s = t->v[t->from].s;
    struct slice inner;
    size_t oper = sl_rfind_char(s, '@');
    char *copy;

    if (oper == SL_NPOS && r->allow_percent_hack)
        oper = sl_rfind_char(s, '%');
    if (oper == SL_NPOS && r->swap_bangpath)
        oper = sl_rfind_char(s, '!');
    if (oper == SL_NPOS)
        return 0;
    copy = arena_alloc(t->a, s.n + 1);
    if (copy == NULL)
        return -1;
    memcpy(copy, s.p, s.n);
    if (copy[oper] == '%')
        copy[oper] = '@';
    inner = sl_n(copy, s.n);
    if (copy[oper] == '@')
        inner = smtp_addr_quote(inner, t->a);
    if (!smtp_toks_init(t, inner.n + r->myorigin.n + r->mydomain.n + r->myhostname.n + 32, t->a) ||
        !smtp_toks_scan(t, inner))
        return -1;
    return smtp_toks_rewrite(r, t) ? 1 : -1;
}

static struct slice
to_lower(struct slice s, struct arena *a)
{
    struct slice d = arena_dup(a, s);
    char *p = (char *)(uintptr_t)d.p;

    for (size_t i = 0; i < d.n; i++)
        p[i] = sl_lower_char(p[i]);
    return d;
}

static bool
is_good_domain(struct slice domain, struct slice addr)
{
    if (sl_starts(domain, '['))
        return hostname_is_literal(domain);
    return utf8_is_valid(addr) && hostname_is_valid_utf8(domain);
}

/* The tokens are final: text, checks, what it is. */
static enum smtp_resolve_rc
finish(const struct smtp_addr_rules *r, struct toks *t, bool is_local, struct arena *a,
       struct smtp_resolved *out)
{
    struct slice addr = to_lower(smtp_toks_text(t, t->from, t->n), a), local;
    size_t first = 0;

    if (!smtp_addr_split(addr, &local, &out->domain) ||
        (sl_starts(local, '-') && !r->allow_leading_dash))
        return SMTP_RESOLVE_BAD;
    if (!is_good_domain(out->domain, addr)) {
        if (!r->resolve_numeric_domain ||
            !(hostname_is_ipv4(out->domain) || hostname_is_ipv6(out->domain)))
            return SMTP_RESOLVE_BAD;
        addr = sl_z(arena_printf(a, "%.*s@[%.*s]", SL_ARG(local), SL_ARG(out->domain)));
        smtp_addr_split(addr, &local, &out->domain);
        switch (r->is_local(r->arg, out->domain)) {
        case -1:
            out->ask = out->domain;
            return SMTP_RESOLVE_ASK;
        case 1:
            is_local = true;
        }
    }
    while (first < addr.n && strchr("@!%", addr.p[first]) == NULL)
        first++;
    out->addr = addr;
    out->is_local = is_local;
    out->is_routed = !sl_eq(sl_from(addr, first + 1), out->domain);
    return SMTP_RESOLVE_OK;
}

enum smtp_resolve_rc
smtp_addr_resolve(const struct smtp_addr_rules *r, struct slice internal, struct arena *a,
                  struct smtp_resolved *out)
{
    const struct tok *saved = NULL;
    size_t n_saved = 0, left = internal.n + 100;
    struct toks t;
    int rc;

    *out = (struct smtp_resolved){ 0 };
    if (!start_toks(r, internal, a, &t) || !smtp_toks_rewrite(r, &t))
        return SMTP_RESOLVE_BAD;
    for (;; left--) {
        size_t at;

        if (left == 0)
            return SMTP_RESOLVE_BAD;
        if (find_last(&t, '@') != SL_NPOS)
            strip_final_dot(&t);
        if (r->resolve_null_domain && t.n > t.from && t.v[t.n - 1].type == '@')
            t.n--;
        at = find_last(&t, '@');
        if (at != SL_NPOS) {
            if (at + 1 < t.n) {
                struct slice domain = smtp_toks_text(&t, at + 1, t.n);

                rc = r->is_local(r->arg, domain);
                if (rc < 0) {
                    out->ask = domain;
                    return SMTP_RESOLVE_ASK;
                }
                if (rc == 0)
                    return finish(r, &t, false, a, out);
            }
            n_saved = t.n - at;
            saved = arena_alloc(a, n_saved * sizeof(*saved));
            if (saved == NULL)
                return SMTP_RESOLVE_BAD;
            memcpy((void *)(uintptr_t)saved, t.v + at, n_saved * sizeof(*saved));
            t.n = at;
        }
        if (find_last(&t, '@') != SL_NPOS || (r->swap_bangpath && find_last(&t, '!') != SL_NPOS) ||
            (r->allow_percent_hack && find_last(&t, '%') != SL_NPOS)) {
            if (!smtp_toks_rewrite(r, &t))
                return SMTP_RESOLVE_BAD;
            continue;
        }
        if (r->resolve_dequoted_address && t.n == t.from + 1 && t.v[t.from].type == T_QUOTED) {
            rc = crack_quoted(r, &t);
            if (rc < 0)
                return SMTP_RESOLVE_BAD;
            if (rc > 0)
                continue;
            if (t.v[t.from].s.n == 0)
                t.n = t.from;
        }
        if (t.n == t.from) {
            if (!smtp_toks_add(&t, T_ATOM,
                               r->empty_recipient.n ? r->empty_recipient : SL("MAILER-DAEMON")))
                return SMTP_RESOLVE_BAD;
            continue;
        }
        if (saved == NULL) {
            if (!append_domain(&t, r->myhostname))
                return SMTP_RESOLVE_BAD;
            continue;
        }
        for (size_t i = 0; i < n_saved; i++)
            if (!smtp_toks_add(&t, saved[i].type, saved[i].s))
                return SMTP_RESOLVE_BAD;
        return finish(r, &t, n_saved > 1, a, out);
    }
}
