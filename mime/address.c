/* mime/address.c - address lists (RFC 5322 §3.4, obsolete forms of §4.4) as ENVELOPE shows them. */
#include "mime/mime_int.h"

struct reader {
    struct slice in;
    struct arena *mem;
    struct buf word;      /* the phrase or local part being gathered */
    struct slice comment; /* the last comment seen: a name where there is no other */
    struct mime_address *v;
    size_t n, cap;
};

/* Blanks and comments; the last comment's text is kept. */
static void
skip_cfws(struct reader *r)
{
    struct slice *in = &r->in;

    while (in->n > 0) {
        char c = in->p[0];

        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            *in = sl_from(*in, 1);
        } else if (c == '(') {
            struct buf text = { 0 };
            size_t depth = 0, i = 0;

            for (; i < in->n; i++) {
                c = in->p[i];
                if (c == '(' && depth++ == 0)
                    continue;
                if (c == ')' && --depth == 0)
                    break;
                if (c == '\\' && i + 1 < in->n)
                    c = in->p[++i];
                if (c != '\r' && c != '\n')
                    buf_addc(&text, c);
            }
            r->comment = arena_dup(r->mem, sl_trim(buf_slice(&text)));
            buf_free(&text);
            *in = sl_from(*in, i + 1);
        } else {
            break;
        }
    }
}

/* A quoted string's text, or a domain literal whole; appended. in stands at the opening octet. */
static void
take_quoted(struct reader *r, char close, bool keep_marks)
{
    size_t i = 1;

    if (keep_marks)
        buf_addc(&r->word, r->in.p[0]);
    for (; i < r->in.n && r->in.p[i] != close; i++) {
        if (r->in.p[i] == '\\' && i + 1 < r->in.n)
            i++;
        if (r->in.p[i] != '\r' && r->in.p[i] != '\n')
            buf_addc(&r->word, r->in.p[i]);
    }
    if (keep_marks)
        buf_addc(&r->word, close);
    r->in = sl_from(r->in, i + 1);
}

static bool
is_special(char c)
{
    return c == '\0' || strchr("()<>[]:;@\\,\"", c) != NULL || c == ' ' || c == '\t' || c == '\r' ||
           c == '\n';
}

/* Words up to a special: a phrase or a dot-string. Words are joined by one space where blanks parted them. */
static void
take_words(struct reader *r, bool is_local)
{
    bool is_first = true;

    for (;;) {
        size_t before = r->in.n, n = 0;

        skip_cfws(r);
        if (r->in.n == 0)
            return;
        if (r->in.p[0] == '"') {
            if (!is_first && !is_local && r->in.n != before)
                buf_addc(&r->word, ' ');
            take_quoted(r, '"', false);
        } else {
            while (n < r->in.n && !is_special(r->in.p[n]))
                n++;
            if (n == 0)
                return;
            if (!is_first && !is_local && before != r->in.n)
                buf_addc(&r->word, ' ');
            buf_adds(&r->word, sl_head(r->in, n));
            r->in = sl_from(r->in, n);
        }
        is_first = false;
    }
}

static void
take_domain(struct reader *r)
{
    for (;;) {
        size_t n = 0;

        skip_cfws(r);
        if (r->in.n == 0)
            return;
        if (r->in.p[0] == '[') {
            take_quoted(r, ']', true);
            continue;
        }
        while (n < r->in.n && !is_special(r->in.p[n]))
            n++;
        if (n == 0)
            return;
        buf_adds(&r->word, sl_head(r->in, n));
        r->in = sl_from(r->in, n);
    }
}

static struct slice
take_word(struct reader *r)
{
    struct slice s = arena_dup(r->mem, buf_slice(&r->word));

    buf_reset(&r->word);
    if (s.p == NULL)
        s = sl_n("", 0);
    return s;
}

static void
add(struct reader *r, struct mime_address a)
{
    struct mime_address *more;

    if (r->n >= MIME_ADDRESSES_MAX)
        return;
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 4 : r->cap * 2;
        more = arena_alloc(r->mem, r->cap * sizeof(*more));
        if (more == NULL) {
            r->cap = r->n;
            return;
        }
        if (r->n > 0)
            memcpy(more, r->v, r->n * sizeof(*more));
        r->v = more;
    }
    r->v[r->n++] = a;
}

/* "<@a,@b:local@host>", r->in at '<'. */
static void
take_angle(struct reader *r, struct slice name)
{
    struct mime_address a = { .name = name.n > 0 ? name : sl_n(NULL, 0) };

    r->in = sl_from(r->in, 1);
    skip_cfws(r);
    if (sl_starts(r->in, '@')) {
        size_t n = 0;

        /* A route ends where it cannot go on, or each of many '<' would look through all of the rest. */
        while (n < r->in.n && strchr(":<>", r->in.p[n]) == NULL)
            n++;
        if (n < r->in.n && r->in.p[n] == ':') {
            a.route = arena_dup(r->mem, sl_head(r->in, n));
            r->in = sl_from(r->in, n + 1);
        }
    }
    take_words(r, true);
    a.mailbox = take_word(r);
    a.host = SL("");
    if (sl_take_char(&r->in, '@')) {
        take_domain(r);
        a.host = take_word(r);
    }
    skip_cfws(r);
    while (r->in.n > 0 && r->in.p[0] != '>' && r->in.p[0] != ',')
        r->in = sl_from(r->in, 1);
    sl_take_char(&r->in, '>');
    if (a.mailbox.n == 0 && a.host.n == 0 && a.name.n == 0)
        a.mailbox = SL("MISSING_MAILBOX");
    if (a.host.n == 0)
        a.host = SL("MISSING_DOMAIN");
    else if (a.mailbox.n == 0)
        a.mailbox = SL("MISSING_MAILBOX");
    add(r, a);
}

/* "a . b" of a local part without <>: blanks around dots do not count (RFC 5322 §4.4). In place: ours to change. */
static struct slice
without_blanks_at_dots(struct slice s)
{
    char *p = (char *)(uintptr_t)s.p;
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != ' ' || !((i + 1 < s.n && s.p[i + 1] == '.') || (n > 0 && p[n - 1] == '.')))
            p[n++] = s.p[i];
    return sl_n(p, n);
}

/* One entry: address, or start or end of a group. False at the end. */
static bool
take_entry(struct reader *r, bool *in_group)
{
    struct slice words;

    r->comment = sl_n(NULL, 0);
    skip_cfws(r);
    if (r->in.n == 0)
        return false;
    if (sl_take_char(&r->in, ','))
        return true;
    if (sl_take_char(&r->in, ';')) {
        if (*in_group)
            add(r, (struct mime_address){ 0 });
        *in_group = false;
        return true;
    }
    take_words(r, false);
    words = take_word(r);
    skip_cfws(r);
    if (sl_starts(r->in, '<')) {
        take_angle(r, words);
    } else if (sl_take_char(&r->in, ':')) {
        if (!*in_group)
            add(r, (struct mime_address){ .mailbox = words });
        *in_group = true;
    } else if (sl_take_char(&r->in, '@')) {
        struct mime_address a = { .mailbox = words.n > 0 ? without_blanks_at_dots(words) : words };

        take_domain(r);
        a.host = take_word(r);
        skip_cfws(r);
        a.name = r->comment.n > 0 ? r->comment : sl_n(NULL, 0);
        add(r, a);
    } else if (words.n > 0) {
        add(r, (struct mime_address){ .mailbox = words, .host = SL("MISSING_DOMAIN") });
    } else if (r->in.n > 0) {
        r->in = sl_from(r->in, 1); /* an octet that fits nowhere */
    }
    return true;
}

struct mime_address *
mime_addresses(struct slice raw, struct arena *mem, size_t *n)
{
    struct reader r = { .in = raw, .mem = mem };
    bool in_group = false;

    while (r.n < MIME_ADDRESSES_MAX && take_entry(&r, &in_group))
        continue;
    if (in_group)
        add(&r, (struct mime_address){ 0 });
    buf_free(&r.word);
    *n = r.n;
    return r.n > 0 ? r.v : NULL;
}

bool
mime_first_address(struct slice raw, struct arena *mem, struct mime_address *out)
{
    struct reader r = { .in = raw, .mem = mem };
    bool in_group = false;

    while (r.n == 0 && take_entry(&r, &in_group))
        continue;
    buf_free(&r.word);
    if (r.n == 0)
        return false;
    *out = r.v[0];
    return true;
}
