/* store/quota_rules.c - see quota.h: quota parameters and userdb's fields of the same names, in Dovecot's syntax. */
#include "store/quota_int.h"

#include "base/fs.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    RULES_MAX = 1000, /* of each kind */
    MESSAGE_MAX_OCTETS = 1000
};
#define AMOUNT_MAX       (INT64_MAX / 4) /* two of them and a grace can be added up */
#define EXCEEDED_MESSAGE "Quota exceeded (mailbox for user is full)"

struct amount {
    int64_t n; /* of octets or messages, or per cent */
    bool is_percent, is_set;
};

struct limits {
    struct amount octets, messages;
};

struct rule {
    char *mask; /* of mailboxes, or a domain */
    bool is_ignore;
    bool is_own; /* a user's, not the file's */
    struct limits by;
};

struct warning {
    struct limits by;
    struct quota_warning pub;
};

/* A parameter as it was written. */
enum field_kind {
    F_QUOTA,
    F_RULE,
    F_GRACE,
    F_MAX_MAIL,
    F_MESSAGE,
    F_WARNING,
    F_DOMAIN_RULE,
    F_KINDS
};
static const struct {
    const char *name;
    bool is_numbered;
} kinds[F_KINDS] = {
    [F_QUOTA] = { "quota", false },
    [F_RULE] = { "quota_rule", true },
    [F_GRACE] = { "quota_grace", false },
    [F_MAX_MAIL] = { "quota_max_mail_size", false },
    [F_MESSAGE] = { "quota_exceeded_message", false },
    [F_WARNING] = { "quota_warning", true },
    [F_DOMAIN_RULE] = { "quota_domain_rule", true },
};

struct field {
    enum field_kind kind;
    uint32_t number; /* 0: none behind the name */
    bool is_own;
    char *name, *value;
};

struct quota_rules {
    atomic_uint refs;
    struct field *fields; /* in order of kind and number */
    size_t n_fields, cap_fields;
    char *root, *message;
    bool is_on, no_enforcing;
    struct quota_limit user;
    struct rule *rules, *domains;
    size_t n_rules, cap_rules, n_domains, cap_domains;
    struct warning *warnings;
    size_t n_warnings, cap_warnings;
    int64_t grace_octets, max_mail;
    int64_t ignored; /* a hash of the masks */
};

/* ---- numbers ---- */

static int64_t
unit_of(char c)
{
    switch (sl_lower_char(c)) {
    case 'b':
        return 1;
    case 'k':
        return INT64_C(1) << 10;
    case 'm':
        return INT64_C(1) << 20;
    case 'g':
        return INT64_C(1) << 30;
    case 't':
        return INT64_C(1) << 40;
    default:
        return 0;
    }
}

/* "1G", "1024", "10%", "10%%", "+100M", "-5%". bare: what a number without a unit counts in. */
static int
parse_amount(struct slice s, int64_t bare, bool may_be_relative, struct amount *out, struct err *e)
{
    struct slice at = s;
    bool is_negative = false;
    int64_t unit = bare;
    uint64_t n;

    *out = (struct amount){ .is_set = true };
    if (sl_take_char(&at, '-'))
        is_negative = true;
    else if (sl_take_char(&at, '+') && !may_be_relative)
        return err_set(e, ERR_CONFIG, "\"%.*s\": a limit of its own has no sign", SL_ARG(s));
    if (is_negative && !may_be_relative)
        return err_set(e, ERR_CONFIG, "\"%.*s\": a limit cannot be negative", SL_ARG(s));
    if (!sl_take_u64(&at, &n))
        return err_set(e, ERR_CONFIG, "\"%.*s\" is no number", SL_ARG(s));
    if (sl_take_char(&at, '%')) {
        sl_take_char(&at, '%');
        out->is_percent = true;
        unit = 1;
    } else if (at.n > 0 && unit_of(at.p[0]) != 0) {
        unit = unit_of(at.p[0]);
        at = sl_from(at, 1);
        if (unit > 1) /* "kB", "MiB" */
            (void)(sl_take_iprefix(&at, SL("ib")) || sl_take_iprefix(&at, SL("b")));
    }
    if (at.n > 0)
        return err_set(e, ERR_CONFIG, "\"%.*s\": unit \"%.*s\" is not known (B, k, M, G, T, %%)",
                       SL_ARG(s), SL_ARG(at));
    if (n > (uint64_t)(AMOUNT_MAX / unit) || (out->is_percent && n > 100000))
        return err_set(e, ERR_CONFIG, "\"%.*s\" is too much", SL_ARG(s));
    out->n = (int64_t)n * unit * (is_negative ? -1 : 1);
    return 0;
}

static int64_t
amount_of(const struct amount *a, int64_t whole)
{
    int64_t n;

    if (!a->is_percent)
        return a->n;
    if (__builtin_mul_overflow(whole / 100, a->n, &n) || n > AMOUNT_MAX || n < -AMOUNT_MAX)
        return a->n < 0 ? -AMOUNT_MAX : AMOUNT_MAX;
    return n + whole % 100 * a->n / 100;
}

/* "storage=1G:messages=1000" */
static int
parse_limits(struct slice s, bool may_be_relative, bool may_be_percent, struct limits *out,
             struct err *e)
{
    memset(out, 0, sizeof(*out));
    while (s.n > 0) {
        struct slice item, value;
        struct amount *to;
        int64_t bare = 1;

        if (!sl_take_until(&s, ':', &item)) {
            item = s;
            s = sl_n(NULL, 0);
        }
        value = sl_trim(item);
        if (sl_take_prefix(&value, SL("storage="))) {
            to = &out->octets;
            bare = 1024;
        } else if (sl_take_prefix(&value, SL("bytes="))) {
            to = &out->octets;
        } else if (sl_take_prefix(&value, SL("messages="))) {
            to = &out->messages;
        } else {
            return err_set(e, ERR_CONFIG,
                           "\"%.*s\" is not known: storage=, bytes=, messages= or ignore",
                           SL_ARG(item));
        }
        if (parse_amount(value, bare, may_be_relative, to, e))
            return -1;
        if (to->is_percent && !may_be_percent)
            return err_set(e, ERR_CONFIG, "\"%.*s\": of what? The limit itself cannot be a part",
                           SL_ARG(item));
    }
    if (!out->octets.is_set && !out->messages.is_set)
        return err_set(e, ERR_CONFIG, "no limit is given: storage=, bytes=, messages= or ignore");
    return 0;
}

/* ---- one field each ---- */

static struct rule *
rule_by_mask(struct rule *v, size_t n, struct slice mask)
{
    for (size_t i = 0; i < n; i++)
        if (sl_eqz(mask, v[i].mask))
            return &v[i];
    return NULL;
}

static int
take_rule(struct quota_rules *r, const struct field *f, struct err *e)
{
    struct slice rest = sl_z(f->value), mask;
    struct limits by;
    struct rule *to;

    if (!sl_take_until(&rest, ':', &mask) || mask.n == 0)
        return err_set(e, ERR_CONFIG, "MAILBOX:LIMIT is wanted, as in \"*:storage=1G\"");
    rest = sl_trim(rest);
    if (sl_eqz(mask, "*") || sl_eqz(mask, "?")) { /* "?": weaker than a backend's own limits */
        if (parse_limits(rest, false, false, &by, e))
            return -1;
        if (by.octets.is_set)
            r->user.octets = by.octets.n;
        if (by.messages.is_set)
            r->user.messages = by.messages.n;
        return 0;
    }
    if (sl_ieqz(mask, "INBOX"))
        mask = SL("INBOX");
    memset(&by, 0, sizeof(by));
    if (!sl_eqz(rest, "ignore") && parse_limits(rest, true, true, &by, e))
        return -1;
    to = rule_by_mask(r->rules, r->n_rules, mask);
    if (to == NULL) {
        r->rules = mem_grow(r->rules, &r->cap_rules, r->n_rules + 1, sizeof(r->rules[0]));
        to = &r->rules[r->n_rules++];
        *to = (struct rule){ .mask = sl_dupz(mask) };
    }
    to->is_ignore = to->is_ignore || sl_eqz(rest, "ignore");
    if (by.octets.is_set)
        to->by.octets = by.octets;
    if (by.messages.is_set)
        to->by.messages = by.messages;
    return 0;
}

static int
take_domain_rule(struct quota_rules *r, const struct field *f, struct err *e)
{
    struct slice rest = sl_z(f->value), mask;
    struct limits by;

    if (!sl_take_until(&rest, ':', &mask) || mask.n == 0)
        return err_set(e, ERR_CONFIG, "DOMAIN:LIMIT is wanted, as in \"example.com:storage=50G\"");
    if (parse_limits(sl_trim(rest), false, false, &by, e))
        return -1;
    r->domains = mem_grow(r->domains, &r->cap_domains, r->n_domains + 1, sizeof(r->domains[0]));
    r->domains[r->n_domains++] =
        (struct rule){ .mask = sl_dupz(mask), .by = by, .is_own = f->is_own };
    return 0;
}

static int
take_warning(struct quota_rules *r, const struct field *f, struct err *e)
{
    static const char *const usual[] = { "storage=95% mail",  "messages=95% mail",
                                         "storage=80% mail",  "messages=80% mail",
                                         "-storage=80% mail", "-messages=80% mail" };
    struct slice rest = sl_z(f->value), limits;
    struct warning w = { .pub.is_below = false };

    if (sl_eqz(rest, "default")) {
        for (size_t i = 0; i < COUNT_OF(usual); i++) {
            char text[32];

            snprintf(text, sizeof(text), "%s", usual[i]);
            if (take_warning(r, &(struct field){ .kind = F_WARNING, .value = text }, e))
                return -1;
        }
        return 0;
    }
    if (sl_take_char(&rest, '-'))
        w.pub.is_below = true;
    else
        sl_take_char(&rest, '+');
    if (!sl_take_until(&rest, ' ', &limits) || sl_trim(rest).n == 0)
        return err_set(e, ERR_CONFIG,
                       "LIMIT COMMAND is wanted, as in \"storage=95%%%% quota-warning 95 %%u\"");
    if (parse_limits(limits, false, true, &w.by, e))
        return -1;
    w.pub.command = sl_dupz(sl_trim(rest));
    r->warnings = mem_grow(r->warnings, &r->cap_warnings, r->n_warnings + 1, sizeof(w));
    r->warnings[r->n_warnings++] = w;
    return 0;
}

/* "count:User quota:noenforcing" */
static int
take_quota(struct quota_rules *r, const struct field *f, struct err *e)
{
    struct slice rest = sl_z(f->value), backend, root, arg;

    if (!sl_take_until(&rest, ':', &backend)) {
        backend = rest;
        rest = sl_n(NULL, 0);
    }
    if (backend.n == 0)
        return err_set(e, ERR_CONFIG, "BACKEND:NAME is wanted, as in \"count:User quota\"");
    if (!sl_take_until(&rest, ':', &root)) {
        root = rest;
        rest = sl_n(NULL, 0);
    }
    while (rest.n > 0) {
        if (!sl_take_until(&rest, ':', &arg)) {
            arg = rest;
            rest = sl_n(NULL, 0);
        }
        if (sl_eqz(arg, "noenforcing"))
            r->no_enforcing = true;
        else if (sl_has_prefix(arg, SL("ns=")))
            return err_set(e, ERR_CONFIG,
                           "\"%.*s\": a quota of one namespace is not supported; domains have "
                           "quota_domain_rule",
                           SL_ARG(arg));
    }
    free(r->root);
    r->root = sl_dupz(root);
    r->is_on = true;
    return 0;
}

static int
take_grace(struct quota_rules *r, const struct field *f, struct amount *grace, struct err *e)
{
    (void)r;
    return parse_amount(sl_z(f->value), 1, false, grace, e);
}

static int
take_max_mail(struct quota_rules *r, const struct field *f, struct err *e)
{
    struct amount a;

    if (parse_amount(sl_z(f->value), 1, false, &a, e))
        return -1;
    if (a.is_percent)
        return err_set(e, ERR_CONFIG, "\"%s\": a size is wanted", f->value);
    r->max_mail = a.n;
    return 0;
}

/* Text, or "<FILE" with it. Line ends become spaces: it is one line of a reply. */
static int
take_message(struct quota_rules *r, const struct field *f, struct err *e)
{
    struct buf text = { .max = MESSAGE_MAX_OCTETS };
    int rc = 0;

    if (f->value[0] == '<')
        rc = fs_read_file(f->value + 1, &text, e);
    else if (buf_addz(&text, f->value))
        rc = err_set(e, ERR_CONFIG, "longer than %d octets", MESSAGE_MAX_OCTETS);
    if (rc == 0) {
        free(r->message);
        r->message = sl_dupz(sl_trim(buf_slice(&text)));
        for (char *p = r->message; *p != '\0'; p++)
            if ((unsigned char)*p < ' ')
                *p = ' ';
    } else {
        e->kind = ERR_CONFIG;
    }
    buf_free(&text);
    return rc;
}

/* ---- all fields ---- */

/* Which parameter a name is, and its number. */
static bool
kind_of(struct slice name, enum field_kind *kind, uint32_t *number)
{
    size_t digits = 0;

    while (digits < name.n && name.p[name.n - digits - 1] >= '0' &&
           name.p[name.n - digits - 1] <= '9')
        digits++;
    *number = 0;
    if (digits > 0 && !sl_to_u32(sl_from(name, name.n - digits), number))
        return false;
    for (int i = 0; i < F_KINDS; i++)
        if (sl_eqz(sl_head(name, name.n - digits), kinds[i].name) &&
            (digits == 0 || kinds[i].is_numbered)) {
            *kind = (enum field_kind)i;
            return true;
        }
    return false;
}

static void
put_field(struct quota_rules *r, struct slice name, struct slice value, bool is_own)
{
    enum field_kind kind;
    uint32_t number;
    struct field *f = NULL;

    if (!kind_of(name, &kind, &number))
        return;
    for (size_t i = 0; i < r->n_fields && f == NULL; i++)
        if (r->fields[i].kind == kind && r->fields[i].number == number &&
            (kind != F_DOMAIN_RULE || r->fields[i].is_own == is_own))
            f = &r->fields[i];
    if (f == NULL) {
        r->fields = mem_grow(r->fields, &r->cap_fields, r->n_fields + 1, sizeof(r->fields[0]));
        f = &r->fields[r->n_fields++];
    } else {
        free(f->name);
        free(f->value);
    }
    *f = (struct field){ .kind = kind,
                         .number = number,
                         .is_own = is_own,
                         .name = sl_dupz(name),
                         .value = sl_dupz(sl_trim(value)) };
}

static void
put_param(struct quota_rules *r, const struct conf *c, const char *name)
{
    char *raw = conf_value_text(c, name, false), *text = NULL;
    struct err e = { 0 };

    if (raw != NULL && (text = conf_expand_text(c, raw, &e)) != NULL)
        put_field(r, sl_z(name), sl_z(text), false);
    free(raw);
    free(text);
}

static int
cmp_fields(const void *a, const void *b)
{
    const struct field *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->number < y->number ? -1 : x->number > y->number;
}

/* One field into r; grace: kept aside until the user's limit is known. */
static int
take_field(struct quota_rules *r, const struct field *f, struct amount *grace, struct err *e)
{
    int rc = 0;

    if (f->value[0] == '\0' && f->kind != F_MESSAGE)
        return 0;
    switch (f->kind) {
    case F_QUOTA:
        rc = take_quota(r, f, e);
        break;
    case F_RULE:
        rc = take_rule(r, f, e);
        break;
    case F_GRACE:
        rc = take_grace(r, f, grace, e);
        break;
    case F_MAX_MAIL:
        rc = take_max_mail(r, f, e);
        break;
    case F_MESSAGE:
        rc = take_message(r, f, e);
        break;
    case F_WARNING:
        rc = take_warning(r, f, e);
        break;
    case F_DOMAIN_RULE:
        rc = take_domain_rule(r, f, e);
        break;
    case F_KINDS:
        break;
    }
    return rc;
}

/* Parts become numbers; and which mailboxes do not count, in one (FNV-1a: every process must find the same). */
static void
settle(struct quota_rules *r, const struct amount *grace)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    r->grace_octets = amount_of(grace, r->user.octets);
    for (size_t i = 0; i < r->n_warnings; i++) {
        struct warning *w = &r->warnings[i];

        w->pub.at.octets = amount_of(&w->by.octets, r->user.octets);
        w->pub.at.messages = amount_of(&w->by.messages, r->user.messages);
    }
    for (size_t i = 0; i < r->n_rules; i++) {
        const char *p = r->rules[i].is_ignore ? r->rules[i].mask : NULL;

        /* A rule before it takes its mailboxes, so order and the others' masks count, too. */
        for (p = p == NULL ? "" : p; *p != '\0'; p++)
            hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
        for (p = r->rules[i].is_ignore ? "" : r->rules[i].mask; *p != '\0'; p++)
            hash = (hash ^ (unsigned char)*p ^ 0x80) * UINT64_C(0x100000001b3);
        hash = (hash ^ '\n') * UINT64_C(0x100000001b3);
    }
    r->ignored = quota_rules_ignore_any(r) ? (int64_t)(hash >> 1) : 0;
}

/* bad (may be NULL): the name of the field that is wrong; else it is in e's words. */
static int
build(struct quota_rules *r, const char **bad, struct err *e)
{
    struct amount grace = { .n = 10, .is_percent = true };

    if (r->n_fields > 1)
        qsort(r->fields, r->n_fields, sizeof(r->fields[0]), cmp_fields);
    r->root = mem_dupz("");
    r->message = mem_dupz(EXCEEDED_MESSAGE);
    for (size_t i = 0; i < r->n_fields; i++) {
        struct err why = { 0 };

        if (take_field(r, &r->fields[i], &grace, &why) == 0 && r->n_fields <= RULES_MAX)
            continue;
        if (bad != NULL)
            *bad = r->fields[i].name;
        if (why.kind == ERR_NONE)
            err_set(&why, ERR_CONFIG, "more than %d rules", RULES_MAX);
        return err_set(e, ERR_CONFIG, "%s: %s", r->fields[i].name, why.msg);
    }
    settle(r, &grace);
    return 0;
}

static struct quota_rules *
rules_alloc(void)
{
    struct quota_rules *r = MEM_NEW(struct quota_rules);

    atomic_init(&r->refs, 1);
    return r;
}

static void
put_params(struct quota_rules *r, const struct conf *c)
{
    const char *name;
    size_t it = 0;

    while (conf_next_set(c, &it, &name))
        put_param(r, c, name);
    for (int i = 0; i < F_KINDS; i++) /* defaults */
        put_param(r, c, kinds[i].name);
}

static void
put_own(struct quota_rules *r, struct slice userdb)
{
    struct slice line, name;

    while (sl_take_line(&userdb, &line))
        if (sl_take_until(&line, '=', &name))
            put_field(r, name, line, true);
}

int
quota_rules_new(const struct conf *c, struct slice userdb, struct quota_rules **out, struct err *e)
{
    struct quota_rules *r = rules_alloc();

    put_params(r, c);
    put_own(r, userdb);
    if (build(r, NULL, e)) {
        quota_rules_free(&r);
        *out = NULL;
        return -1;
    }
    *out = r;
    return 0;
}

struct quota_rules *
quota_rules_ref(struct quota_rules *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

int
quota_rules_over(struct quota_rules *base, struct slice userdb, struct quota_rules **out,
                 struct err *e)
{
    struct quota_rules *r;

    *out = NULL;
    if (userdb.n == 0) {
        *out = quota_rules_ref(base);
        return 0;
    }
    r = rules_alloc();
    for (size_t i = 0; i < base->n_fields; i++)
        put_field(r, sl_z(base->fields[i].name), sl_z(base->fields[i].value),
                  base->fields[i].is_own);
    put_own(r, userdb);
    if (build(r, NULL, e)) {
        quota_rules_free(&r);
        return -1;
    }
    *out = r;
    return 0;
}

static void
free_rules(struct rule *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(v[i].mask);
    free(v);
}

void
quota_rules_free(struct quota_rules **rp)
{
    struct quota_rules *r = *rp;

    *rp = NULL;
    if (r == NULL || atomic_fetch_sub(&r->refs, 1) > 1)
        return;
    for (size_t i = 0; i < r->n_fields; i++) {
        free(r->fields[i].name);
        free(r->fields[i].value);
    }
    free(r->fields);
    free_rules(r->rules, r->n_rules);
    free_rules(r->domains, r->n_domains);
    for (size_t i = 0; i < r->n_warnings; i++)
        free((char *)(uintptr_t)r->warnings[i].pub.command);
    free(r->warnings);
    free(r->root);
    free(r->message);
    free(r);
}

bool
quota_is_on(const struct conf *c)
{
    return c->quota[0] != '\0';
}

void
quota_conf_check(const struct conf *c, struct conf_problems *ps)
{
    struct quota_rules *r = rules_alloc();
    const char *bad = NULL;
    struct err e = { 0 };

    put_params(r, c);
    if (build(r, &bad, &e))
        conf_problem_add(ps, true, conf_file_of(c), bad == NULL ? 0 : conf_line_of(c, bad), "%s",
                         e.msg);
    else if (!r->is_on &&
             (r->n_rules > 0 || r->n_domains > 0 || r->user.octets != 0 || r->user.messages != 0))
        conf_problem_add(ps, false, conf_file_of(c), conf_line_of(c, "quota_rule"),
                         "quota_rule: without effect while quota is empty; \"quota = count:User "
                         "quota\" turns it on");
    quota_rules_free(&r);
}

/* ---- what they say ---- */

/* '*' any octets, '?' one; '/' in a mask is any separator. */
static bool
mask_matches(const char *mask, struct slice name, char separator)
{
    const char *star = NULL;
    size_t i = 0, back = 0;

    while (i < name.n) {
        if (*mask == '*') {
            star = ++mask;
            back = i;
        } else if (*mask != '\0' && (*mask == '?' || *mask == name.p[i] ||
                                     (*mask == '/' && name.p[i] == separator))) {
            mask++;
            i++;
        } else if (star != NULL) {
            mask = star;
            i = ++back;
        } else {
            return false;
        }
    }
    while (*mask == '*')
        mask++;
    return *mask == '\0';
}

/* A limit with what a mailbox adds; nothing left of it is one octet, as 0 would be none. */
static int64_t
with_extra(int64_t limit, const struct amount *extra)
{
    int64_t sum;

    if (limit == 0 || !extra->is_set)
        return limit;
    sum = limit + amount_of(extra, limit);
    return sum > 0 ? sum : 1;
}

bool
quota_rules_limit(const struct quota_rules *r, struct slice mailbox, char separator,
                  struct quota_limit *out)
{
    *out = r->user;
    for (size_t i = 0; i < r->n_rules; i++) {
        const struct rule *at = &r->rules[i];

        if (!mask_matches(at->mask, mailbox, separator))
            continue;
        if (at->is_ignore) {
            *out = (struct quota_limit){ 0 };
            return false;
        }
        out->octets = with_extra(out->octets, &at->by.octets);
        out->messages = with_extra(out->messages, &at->by.messages);
        return true;
    }
    return true;
}

struct quota_limit
quota_rules_user(const struct quota_rules *r)
{
    return r->user;
}

/* A user's own before the file's, a domain's own before "*". */
struct quota_limit
quota_rules_domain(const struct quota_rules *r, struct slice domain)
{
    const struct rule *best = NULL;
    int best_rank = 0;

    for (size_t i = 0; i < r->n_domains; i++) {
        const struct rule *at = &r->domains[i];
        int rank = sl_ieqz(domain, at->mask) ? 2 : strcmp(at->mask, "*") == 0 ? 1 : 0;

        if (rank > 0 && rank + (at->is_own ? 2 : 0) > best_rank) {
            best = at;
            best_rank = rank + (at->is_own ? 2 : 0);
        }
    }
    if (best == NULL)
        return (struct quota_limit){ 0 };
    return (struct quota_limit){ best->by.octets.n, best->by.messages.n };
}

int64_t
quota_rules_max_mail(const struct quota_rules *r)
{
    return r->max_mail;
}

const char *
quota_rules_root(const struct quota_rules *r)
{
    return r->root;
}

const char *
quota_rules_exceeded_message(const struct quota_rules *r)
{
    return r->message[0] != '\0' ? r->message : EXCEEDED_MESSAGE;
}

bool
quota_rules_enforce(const struct quota_rules *r)
{
    return !r->no_enforcing;
}

int64_t
quota_rules_ignored(const struct quota_rules *r)
{
    return r->ignored;
}

bool
quota_rules_ignore_any(const struct quota_rules *r)
{
    for (size_t i = 0; i < r->n_rules; i++)
        if (r->rules[i].is_ignore)
            return true;
    return false;
}

bool
quota_rules_limited(const struct quota_rules *r, struct slice user)
{
    struct quota_limit domain = quota_rules_domain(r, quota_domain_of(user));

    return r->user.octets != 0 || r->user.messages != 0 || domain.octets != 0 ||
           domain.messages != 0;
}

int64_t
quota_rules_grace(const struct quota_rules *r)
{
    return r->grace_octets;
}

const struct quota_warning *
quota_rules_warning(const struct quota_rules *r, size_t i)
{
    return i < r->n_warnings ? &r->warnings[i].pub : NULL;
}
