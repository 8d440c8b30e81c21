/* proto/smtp_header.c - a value is read from right to left: only there the grammar says where an address begins. What is
 * an address becomes one item, commas that are missing are put in, comments move behind the address they stand in; all
 * else stays where it is. */
#include "proto/smtp_header.h"

#include "proto/smtp_addr_int.h"

enum {
    T_ADDRESS = 512,
    T_GROUP
}; /* items beyond tokens; T_GROUP: the colon after a group's name */

struct smtp_header_item {
    struct smtp_header_item *next;
    int type;
    struct slice s;                        /* T_ADDRESS: internal form */
    const struct smtp_header_item *tokens; /* T_ADDRESS: what it is made of */
};

struct reader {
    const struct toks *t;
    size_t at;                      /* tokens left of here have not been read */
    struct smtp_header_item *out;   /* read, from left to right */
    struct smtp_header_item *group; /* words right of `at` that may become an address */
    bool has_room;
};

static void
push(struct reader *r, struct smtp_header_item **list, int type, struct slice s)
{
    struct smtp_header_item *i = ARENA_NEW(r->t->a, struct smtp_header_item);

    if (i == NULL) {
        r->has_room = false;
        return;
    }
    *i = (struct smtp_header_item){ .next = *list, .type = type, .s = s };
    *list = i;
}

static int
type_at(const struct reader *r)
{
    return r->at ? r->t->v[r->at - 1].type : 0;
}

/* Step left over a token, which goes to the list. */
static void
move(struct reader *r, struct smtp_header_item **list)
{
    const struct tok *k = &r->t->v[--r->at];

    push(r, list, k->type, k->s);
}

/* The words gathered are an address. */
static void
end_group(struct reader *r, bool with_comma)
{
    if (r->group == NULL)
        return;
    push(r, &r->out, T_ADDRESS, SL(""));
    if (r->has_room)
        r->out->tokens = r->group;
    r->group = NULL;
    if (with_comma)
        push(r, &r->out, ',', SL(""));
}

/* "phrase <address>", at its ">". A colon before the phrase that begins no group belongs to nothing. */
static void
read_brackets(struct reader *r, bool in_group)
{
    end_group(r, true);
    move(r, &r->out);
    while (type_at(r) && type_at(r) != '<')
        move(r, type_at(r) == T_COMMENT ? &r->out : &r->group);
    end_group(r, false);
    while (type_at(r) && (type_at(r) >= T_ATOM || strchr(">;,:", type_at(r)) == NULL))
        move(r, &r->out);
    if (type_at(r) == ':' && !in_group)
        move(r, &r->out);
}

static void
read_group_name(struct reader *r)
{
    end_group(r, false);
    r->at--;
    push(r, &r->out, T_GROUP, SL(""));
    while (type_at(r) && type_at(r) != ',')
        move(r, &r->out);
}

static struct smtp_header_item *
read_items(struct reader *r)
{
    bool may_word = true, in_group = false;

    while (r->at > 0 && r->has_room) {
        int type = type_at(r);

        if (type == T_COMMENT) {
            move(r, &r->out);
        } else if (type == ':' && in_group) {
            read_group_name(r);
        } else if (type == '>') {
            read_brackets(r, in_group);
            may_word = true;
        } else if (type == ';' || type == ',') {
            end_group(r, type == ';');
            in_group = in_group || type == ';';
            may_word = true;
            move(r, &r->out);
        } else {
            if (type >= T_ATOM && !may_word)
                end_group(r, true);
            may_word = type < T_ATOM;
            move(r, &r->group);
        }
    }
    end_group(r, false);
    return r->out;
}

/* ---- completing ---- */

static void
put_quoted(struct buf *out, char open, char close, struct slice s)
{
    buf_addc(out, open);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' || (s.p[i] == '"' && close == '"'))
            buf_addc(out, '\\');
        buf_addc(out, s.p[i] == '\n' ? ' ' : s.p[i]);
    }
    buf_addc(out, close);
}

static void
put_token(struct buf *out, int type, struct slice s)
{
    if (type == T_QUOTED)
        put_quoted(out, '"', '"', s);
    else if (type == T_LITERAL)
        put_quoted(out, '[', ']', s);
    else if (type == T_GROUP)
        buf_addc(out, ':');
    else if (type >= T_ATOM)
        buf_adds(out, s);
    else
        buf_addc(out, (char)type);
}

static bool
is_word(int type)
{
    return type >= T_ATOM && type != T_GROUP;
}

static bool
needs_space(const struct smtp_header_item *i)
{
    const struct smtp_header_item *next = i->next;

    return next &&
           (i->type == T_GROUP || next->type == '<' || (is_word(i->type) && is_word(next->type)));
}

static struct slice
external(struct slice internal, struct arena *a)
{
    return internal.n ? smtp_addr_quote(internal, a) : SL("\"\"");
}

/* 1 changed, 0 as it was, -1 no room. t: room for the tokens and what is appended, used for one address after another. */
static int
complete(const struct smtp_addr_rules *r, struct smtp_header_item *address, struct toks *t)
{
    struct buf before = { 0 };
    int rc = -1;

    for (const struct smtp_header_item *i = address->tokens; i; i = i->next)
        put_token(&before, i->type, i->s); /* words side by side become one */
    t->from = t->n = 0;
    address->s = SL("");
    if (before.n == 0)
        rc = 0;
    else if (smtp_toks_scan(t, buf_slice(&before)) && (r == NULL || smtp_toks_rewrite(r, t))) {
        address->s = smtp_toks_text(t, t->from, t->n);
        rc = r && !sl_eq(external(address->s, t->a), buf_slice(&before));
    }
    buf_free(&before);
    return rc;
}

/* ---- writing ---- */

/* Between two commas: when what stands beside the address is too long, the address alone stays. */
static void
end_entry(struct buf *out, size_t start, const struct slice *address, size_t *n_stripped)
{
    if (address == NULL || out->n - address->n - start <= SMTP_HEADER_BESIDE_OCTETS)
        return;
    buf_truncate(out, start);
    buf_addf(out, "<%.*s>", SL_ARG(*address));
    ++*n_stripped;
}

static void
put_items(struct buf *out, const struct smtp_header_item *i, struct arena *a, size_t *n_stripped)
{
    size_t start = out->n;
    struct slice address, *has_address = NULL;

    for (; i; i = i->next) {
        if (i->type == ',') {
            end_entry(out, start, has_address, n_stripped);
            buf_adds(out, SL(",\n"));
            start = out->n;
            has_address = NULL;
            continue;
        }
        if (i->type == T_ADDRESS) {
            address = external(i->s, a);
            has_address = &address;
            buf_adds(out, address);
        } else {
            if (i->type == '<' && i->next && i->next->type == '>') {
                address = SL("");
                has_address = &address;
            }
            put_token(out, i->type, i->s);
        }
        if (needs_space(i))
            buf_addc(out, ' ');
    }
    end_entry(out, start, has_address, n_stripped);
}

/* One address a line becomes as many as fit. */
static void
fold(char *p, size_t n)
{
    size_t start = 0;

    for (size_t at = 0; at < n;) {
        const char *lf = memchr(p + at, '\n', n - at);
        size_t end = lf ? (size_t)(lf - p) : n;

        if (at > 0) {
            if (end - start < SMTP_HEADER_LINE_OCTETS)
                p[at - 1] = ' ';
            else
                start = at;
        }
        at = end + 1;
    }
    if (n && p[n - 1] == '\n')
        p[n - 1] = ' ';
}

/* ---- the whole ---- */

static bool
complete_all(const struct smtp_addr_rules *r, struct smtp_header *h, struct toks *room)
{
    size_t n = 0;

    for (struct smtp_header_item *i = h->items; i; i = i->next)
        if (i->type == T_ADDRESS) {
            int rc = complete(r, i, room);

            if (rc < 0)
                return false;
            h->is_changed |= rc > 0;
            n++;
        }
    h->addrs = arena_alloc(h->a, (n + 1) * sizeof(*h->addrs));
    if (h->addrs == NULL)
        return false;
    for (struct smtp_header_item *i = h->items; i; i = i->next)
        if (i->type == T_ADDRESS)
            h->addrs[h->n++] = &i->s;
    return true;
}

bool
smtp_header_read(const struct smtp_addr_rules *r, struct slice value, size_t max_tokens,
                 struct arena *a, struct smtp_header *out)
{
    size_t cap = value.n + 1 < max_tokens ? value.n + 1 : max_tokens;
    struct reader in = { .has_room = true };
    struct toks t, one;

    *out = (struct smtp_header){ .a = a };
    if (!smtp_toks_init(&t, cap, a) ||
        !smtp_toks_init(&one, cap + (r ? r->myorigin.n + r->mydomain.n : 0) + 32, a))
        return false;
    out->is_cut = !smtp_toks_scan(&t, value);
    in.t = &t;
    in.at = t.n;
    out->items = read_items(&in);
    return in.has_room && complete_all(r, out, &one);
}

void
smtp_header_write(const struct smtp_header *h, struct slice name, struct buf *out,
                  size_t *n_stripped)
{
    *n_stripped = 0;
    buf_reset(out);
    buf_addf(out, "%.*s: ", SL_ARG(name));
    put_items(out, h->items, h->a, n_stripped);
    fold(out->p + out->off, out->n);
}

bool
smtp_header_rewrite(const struct smtp_addr_rules *r, struct slice name, struct slice value,
                    size_t max_tokens, struct arena *a, struct buf *out, size_t *n_stripped)
{
    struct smtp_header h;

    *n_stripped = 0;
    if (!smtp_header_read(r, value, max_tokens, a, &h) || !h.is_changed)
        return false;
    smtp_header_write(&h, name, out, n_stripped);
    return true;
}

bool
smtp_header_addresses(struct slice value, size_t max_tokens, struct arena *a,
                      void (*each)(void *arg, struct slice internal), void *arg)
{
    struct smtp_header h;

    if (!smtp_header_read(NULL, value, max_tokens, a, &h))
        return false;
    for (size_t i = 0; i < h.n; i++)
        if (h.addrs[i]->n)
            each(arg, *h.addrs[i]);
    return !h.is_cut;
}
