/* auth/table.c - which tables there are, and what a list of them says. See table.h. */
#include "auth/table.h"

#include "auth/lookup_client.h"
#include "auth/table_lines.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/idn.h"

#include <stdlib.h>

/* Postfix's limit for nested "/file" patterns is its own stack; ours: */
enum {
    LIST_DEPTH_MAX = 8,
    COMPLAIN_MS = 60 * 1000,
    REOPEN_MS = 1000,
    SLOW_FAILURE_MS = 500,
    REST_MS = 1000
};

struct table_set {
    const struct conf *conf;
    struct map *tables; /* "type:arg" -> struct table */
    struct map *
        named; /* "type:arg" without its white space -> char *, as main.cf has it; once collected */
    struct map *lists; /* parameter -> char *, its expanded text */
    struct users *users;
    uint64_t polled_ms, complained_ms;
    bool has_failed;         /* something could not be opened: worth another try */
    uint64_t rests_until_ms; /* the users' database is locked: it is left alone until then */
    struct err rest_why;
};

static const struct table_type *const types[] = {
    &table_mysql,    &table_sqlite, &table_hash,   &table_btree,  &table_lmdb,
    &table_texthash, &table_cidr,   &table_regexp, &table_pcre,   &table_inline,
    &table_static,   &table_fail,   &table_unix,   &table_passwd,
};

/* ---- names ---- */

bool
table_is_type_text(struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == ':')
            return i > 0;
        if (!sl_is_alnum_char(text.p[i]) && text.p[i] != '-' && text.p[i] != '_')
            return false;
    }
    return false;
}

const struct table_type *
table_type_of(struct slice text, struct slice *arg)
{
    struct slice name;

    sl_take_prefix(&text, SL("proxy:"));
    *arg = text;
    if (!sl_take_until(arg, ':', &name))
        return NULL;
    if (sl_eqz(name, "unix") && sl_find(*arg, SL(".by")) == SL_NPOS)
        return NULL; /* a socket, not passwd.byname */
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (sl_eqz(name, types[i]->name))
            return types[i];
    return NULL;
}

void
table_add_path(struct buf *out, const struct conf *c, struct slice path)
{
    if (!sl_starts(path, '/')) {
        buf_addz(out, c->config_directory);
        buf_addc(out, '/');
    }
    buf_adds(out, path);
}

const struct conf *
table_conf(const struct table *t)
{
    return t->set->conf;
}

static bool
is_separator(char c)
{
    return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool
table_take_item(struct slice *in, struct slice *item)
{
    size_t i = 0, from;
    unsigned depth = 0;

    while (i < in->n && is_separator(in->p[i]))
        i++;
    from = i;
    for (; i < in->n && (depth || !is_separator(in->p[i])); i++) {
        depth += in->p[i] == '{';
        depth -= depth && in->p[i] == '}';
    }
    *item = sl_n(in->p + from, i - from);
    *in = sl_from(*in, i);
    return item->n > 0;
}

/* ---- the set ---- */

const struct conf *
table_set_conf(const struct table_set *s)
{
    return s->conf;
}

struct table_set *
table_set_new(const struct conf *c)
{
    struct table_set *s = MEM_NEW(struct table_set);

    s->conf = conf_ref(c);
    s->tables = map_new();
    s->lists = map_new();
    return s;
}

static void
free_table(void *p)
{
    struct table *t = p;

    if (t->state || t->is_open)
        t->type->close(t);
    free(t->arg);
    free(t);
}

/* Everything is opened again when it is next asked for. Tables go before the database that they have statements in. */
static void
close_all(struct table_set *s)
{
    map_free(&s->tables, free_table);
    users_close(&s->users);
    s->tables = map_new();
}

void
table_set_free(struct table_set **sp)
{
    struct table_set *s = *sp;
    struct conf *c;

    if (s == NULL)
        return;
    close_all(s);
    map_free(&s->tables, NULL);
    map_free(&s->lists, free);
    map_free(&s->named, free);
    c = (struct conf *)(uintptr_t)s->conf;
    conf_unref(&c);
    free(s);
    *sp = NULL;
}

void
table_set_note_failure(struct table_set *s, uint64_t began_ms, const struct err *e)
{
    uint64_t now = clock_mono_ms();

    if (e->kind != ERR_TEMP || now - began_ms < SLOW_FAILURE_MS)
        return;
    s->rests_until_ms = now + REST_MS;
    s->rest_why = *e;
}

static bool
is_resting(const struct table_set *s, struct err *e)
{
    if (s->rests_until_ms == 0 || clock_mono_ms() >= s->rests_until_ms)
        return false;
    *e = s->rest_why;
    return true;
}

struct users *
table_set_users(struct table_set *s, struct err *e)
{
    if (is_resting(s, e))
        return NULL;
    if (s->users == NULL &&
        users_open(s->conf->users_database, USERS_IMPATIENT, &s->users, e) < 0) {
        s->users = NULL;
        s->has_failed = true;
    }
    return s->users;
}

uint64_t
table_set_polled_ms(const struct table_set *s)
{
    return s->polled_ms;
}

bool
table_set_poll(struct table_set *s)
{
    uint64_t now = clock_mono_ms();
    bool is_changed = false;
    size_t it = 0;
    struct slice key;
    struct err e;
    void *t;

    if (now - s->polled_ms < TABLE_POLL_MS || is_resting(s, &e))
        return false;
    if (s->has_failed && now - s->polled_ms >= REOPEN_MS)
        is_changed = true;
    s->polled_ms = now;
    while (!is_changed && map_next(s->tables, &it, &key, &t)) {
        struct table *x = t;

        if (x->is_open && x->type->poll && x->type->poll(x))
            is_changed = true;
    }
    if (s->users && users_is_changed(s->users))
        is_changed = true;
    if (is_changed) {
        s->has_failed = false;
        close_all(s); /* changes are rare and opening is cheap: no half measures */
    }
    return is_changed;
}

/* ---- one table ---- */

static void
complain(struct table_set *s, const struct err *e)
{
    uint64_t now = clock_mono_ms();

    if (s->complained_ms && now - s->complained_ms < COMPLAIN_MS)
        return;
    s->complained_ms = now;
    log_error("table.fail", LOG_NONE, "table lookup problem: %s", e->msg);
}

static bool
list_has(const struct conf_list *l, struct slice text)
{
    for (size_t i = 0; i < l->n; i++)
        if (sl_eqz(text, l->v[i]))
            return true;
    return false;
}

struct table *
table_set_open(struct table_set *s, struct slice text, struct table **half, struct err *e)
{
    struct table *t = map_get(s->tables, text);
    struct slice arg;
    const struct table_type *type;

    if (half)
        *half = NULL;
    if (t && t->is_open)
        return t;
    type = table_type_of(text, &arg);
    if (type == NULL) {
        err_set(e, ERR_CONFIG, "unsupported table type: %.*s", SL_ARG(text));
        return NULL;
    }
    if (t == NULL) {
        t = MEM_NEW(struct table);
        t->type = type;
        t->arg = sl_dupz(arg);
        t->set = s;
        t->is_aliases =
            list_has(&s->conf->alias_maps, text) || list_has(&s->conf->alias_database, text);
        map_set(s->tables, text, t);
    }
    if (t->state) /* what is left of an earlier try */
        type->close(t);
    t->state = NULL;
    if (half)
        *half = t;
    if (type->open(t, e) < 0) {
        s->has_failed = true;
        return NULL;
    }
    t->is_open = true;
    return t;
}

static enum table_rc
lookup_table(struct table_set *s, struct slice text, struct slice key, bool is_part,
             struct buf *value, struct err *e)
{
    uint64_t began = clock_mono_ms();
    enum table_rc rc = TABLE_TEMP;
    struct table *t;
    struct slice arg;
    const struct table_type *type = table_type_of(text, &arg);

    buf_reset(value);
    if (is_part && type && type->is_pattern)
        return TABLE_NOTFOUND;
    if (type == &table_mysql && is_resting(s, e))
        return TABLE_TEMP;
    t = table_set_open(s, text, NULL, e);
    if (t)
        rc = t->type->lookup(t, key, value, e);
    if (rc == TABLE_TEMP) {
        complain(s, e);
        if (type == &table_mysql)
            table_set_note_failure(s, began, e);
    }
    return rc;
}

/* ---- lists ---- */

/* Parameters whose value is a list of domains: plain names match too. Of these some can match
 * subdomains, as parent_domain_matches_subdomains says. */
static const struct {
    const char *name;
    bool may_be_parent;
} domain_lists[] = {
    { "mydestination", false },
    { "virtual_mailbox_domains", false },
    { "virtual_alias_domains", false },
    { "relay_domains", true },
    { "permit_mx_backup_networks", true },
    { "fast_flush_domains", true },
    { "masquerade_domains", false },
    { "authorized_verp_clients", false },
};

struct list_ask {
    struct table_set *set;
    struct slice key;
    struct buf *value;
    struct err *e;
    bool is_domains, is_parent;
    bool is_part; /* the key is a part of what is looked for */
    unsigned depth;
};

static enum table_rc list_lookup(struct list_ask *a, struct slice text);

/* "/file": its words are patterns. */
static enum table_rc
file_lookup(struct list_ask *a, struct slice path)
{
    struct table as = { .arg = sl_dupz(path), .set = a->set };
    struct table_file f = { 0 };
    struct buf text = { 0 }, words = { 0 };
    struct table_lines lines = { 0 };
    struct slice line;
    enum table_rc rc = TABLE_TEMP;

    if (table_file_open(&f, &as, &text, a->e) == 0) {
        lines.in = buf_slice(&text);
        while (table_lines_next(&lines, &line)) {
            buf_adds(&words, line);
            buf_addc(&words, '\n');
        }
        rc = list_lookup(a, buf_slice(&words));
    }
    table_lines_free(&lines);
    table_file_close(&f);
    buf_free(&words);
    buf_free(&text);
    free(as.arg);
    return rc;
}

static bool
is_domain_match(const struct list_ask *a, struct slice item)
{
    if (sl_ieq(item, a->key))
        return true;
    if (sl_starts(item, '.')) /* ".example.com": subdomains only */
        return !a->is_parent && sl_has_isuffix(a->key, item);
    return a->is_parent && a->key.n > item.n && sl_has_isuffix(a->key, item) &&
           a->key.p[a->key.n - item.n - 1] == '.';
}

/* In a list of domains a table is also asked for the parents, where the list is one that matches those. */
static enum table_rc
domain_table_lookup(struct list_ask *a, struct slice item)
{
    struct slice key = a->key;
    enum table_rc rc;

    for (;;) {
        size_t dot;

        rc = lookup_table(a->set, item, key, a->is_part || key.n < a->key.n, a->value, a->e);
        dot = sl_find_char(key, '.');
        if (rc != TABLE_NOTFOUND || !a->is_parent || dot == SL_NPOS)
            return rc;
        key = sl_from(key, dot + 1);
    }
}

static enum table_rc
item_lookup(struct list_ask *a, struct slice item)
{
    if (table_is_type_text(item))
        return a->is_domains ? domain_table_lookup(a, item)
                             : lookup_table(a->set, item, a->key, a->is_part, a->value, a->e);
    if (!a->is_domains)
        return TABLE_NOTFOUND;
    if (sl_starts(item, '/'))
        return file_lookup(a, item);
    if (!is_domain_match(a, item))
        return TABLE_NOTFOUND;
    buf_reset(a->value);
    buf_adds(a->value, item);
    return TABLE_FOUND;
}

/* In order; the first that matches decides, "!item" against. */
static enum table_rc
list_lookup(struct list_ask *a, struct slice text)
{
    struct slice item;

    if (++a->depth > LIST_DEPTH_MAX) {
        err_set(a->e, ERR_CONFIG, "lists nested deeper than %d", LIST_DEPTH_MAX);
        return TABLE_TEMP;
    }
    while (table_take_item(&text, &item)) {
        bool is_negated = a->is_domains && sl_take_char(&item, '!');
        enum table_rc rc = item_lookup(a, item);

        if (rc == TABLE_FOUND && is_negated)
            rc = TABLE_NOTFOUND;
        else if (rc == TABLE_NOTFOUND)
            continue;
        a->depth--;
        return rc;
    }
    a->depth--;
    return TABLE_NOTFOUND;
}

static const char *
list_text(struct table_set *s, struct slice name)
{
    char *text = map_get(s->lists, name), *z;
    const char *value;

    if (text)
        return text;
    z = sl_dupz(name);
    value = conf_user_value(s->conf, z);
    free(z);
    if (value == NULL)
        return NULL;
    text = mem_dupz(value);
    map_set(s->lists, name, text);
    return text;
}

/* ---- which tables main.cf names ---- */

/* A question is "name key": a name with spaces in it (inline:{ ... }) is asked for without them. */
static void
add_named(struct table_set *s, struct slice item)
{
    struct buf bare = { 0 };

    for (size_t i = 0; i < item.n; i++)
        if (item.p[i] != ' ' && item.p[i] != '\t')
            buf_addc(&bare, item.p[i]);
    free(map_set(s->named, buf_slice(&bare), sl_dupz(item)));
    buf_free(&bare);
}

static void
collect_text(struct table_set *s, struct slice text)
{
    struct slice item, arg;

    while (table_take_item(&text, &item)) {
        (void)sl_take_char(&item, '!'); /* one whose words are not in the list */
        if (sl_starts(item, '{') && sl_ends(item, '}') && item.n > 2)
            collect_text(s, sl_n(item.p + 1, item.n - 2));
        else if (table_is_type_text(item) && table_type_of(item, &arg))
            add_named(s, item);
    }
}

static void
collect_conf(struct table_set *s, const struct conf *c)
{
    size_t n;
    const struct conf_param *p = conf_params(&n);

    for (size_t i = 0; i < n; i++)
        if (!p[i].is_noop)
            collect_text(s, sl_z(conf_user_value(c, p[i].name)));
}

/* The table's text as main.cf has it, or NULL when it names none such. */
static const char *
named_text(struct table_set *s, struct slice text)
{
    if (s->named == NULL) {
        static const char *const services[] = { "submission", "submissions" };
        struct slice classes = sl_z(conf_user_value(s->conf, "smtpd_restriction_classes")), name;

        s->named = map_new();
        collect_conf(s, s->conf);
        while (table_take_item(&classes, &name))
            collect_text(s, sl_z(list_text(s, name)));
        for (size_t i = 0; i < COUNT_OF(services); i++) {
            struct conf *c = conf_for_service(s->conf, services[i]);

            if (c)
                collect_conf(s, c);
            conf_unref(&c);
        }
    }
    return map_get(s->named, text);
}

static enum table_rc
lookup_one(struct table_set *s, struct slice name, struct slice key, struct buf *value,
           struct err *e)
{
    struct list_ask a = { .set = s, .key = key, .value = value, .e = e };
    const char *text;

    buf_reset(value);
    a.is_part = sl_take_prefix(&name, SL(LOOKUP_PART_PREFIX));
    if (table_is_type_text(name)) {
        text = named_text(s, name);
        if (text)
            return lookup_table(s, sl_z(text), key, a.is_part, value, e);
        err_set(e, ERR_PERM, "main.cf does not name the table %.*s", SL_ARG(name));
        return TABLE_PERM;
    }
    text = list_text(s, name);
    if (text == NULL) {
        err_set(e, ERR_PERM, "main.cf has no parameter %.*s", SL_ARG(name));
        return TABLE_PERM;
    }
    for (size_t i = 0; i < COUNT_OF(domain_lists); i++) {
        if (sl_eqz(name, domain_lists[i].name)) {
            a.is_domains = true;
            a.is_parent = domain_lists[i].may_be_parent &&
                          list_has(&s->conf->parent_domain_matches_subdomains, name);
        }
    }
    return list_lookup(&a, sl_z(text));
}

enum table_rc
table_set_match(struct table_set *s, struct slice name, struct slice line, struct buf *value,
                struct err *e)
{
    return line.n ? lookup_one(s, name, line, value, e) : TABLE_NOTFOUND;
}

/* A table that has a domain in one spelling has it in the other. */
enum table_rc
table_set_lookup(struct table_set *s, struct slice name, struct slice key, struct buf *value,
                 struct err *e)
{
    char others[2][IDN_KEY_OCTETS];
    enum table_rc rc;
    size_t n;

    buf_reset(value);
    if (key.n > TABLE_KEY_OCTETS)
        return TABLE_NOTFOUND;
    rc = lookup_one(s, name, key, value, e);
    n = rc == TABLE_NOTFOUND ? idn_other_keys(key, others) : 0;

    for (size_t i = 0; i < n && rc == TABLE_NOTFOUND; i++)
        rc = lookup_one(s, name, sl_z(others[i]), value, e);
    return rc;
}
