/* conf/conf.c - the configuration object: entries of the file, defaults, views of one listener. */
#include "conf/conf_int.h"

#include "base/fs.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What a listener has for a default of its own where neither "submission_X" nor the design's smtpd_X may hold:
 * Postfix's master.cf says the same with -o. */
enum { MYORIGIN_FILE_OCTETS = 1024 };

static const struct {
    const char *service, *name, *value;
} service_defaults[] = {
    { "submission", "smtpd_client_restrictions", "permit_sasl_authenticated, reject" },
    { "submission", "smtpd_tls_security_level", "encrypt" },
    { "submissions", "smtpd_client_restrictions", "permit_sasl_authenticated, reject" },
    { "submissions", "smtpd_tls_wrappermode", "yes" },
};

static pthread_once_t rows_once = PTHREAD_ONCE_INIT;
static struct map *rows_by_name; /* never freed: lives as long as the process */

static void
index_rows(void)
{
    rows_by_name = map_new();
    for (size_t i = 0; i < conf_n_rows; i++)
        map_set(rows_by_name, sl_z(conf_rows[i].pub.name), (void *)(uintptr_t)&conf_rows[i]);
}

const struct conf_row *
conf_row_of(struct slice name)
{
    pthread_once(&rows_once, index_rows);
    return map_get(rows_by_name, name);
}

const struct conf_param *
conf_params(size_t *n)
{
    static struct conf_param *all;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&lock);
    if (all == NULL) {
        all = mem_alloc(conf_n_rows * sizeof(*all));
        for (size_t i = 0; i < conf_n_rows; i++)
            all[i] = conf_rows[i].pub;
    }
    pthread_mutex_unlock(&lock);
    *n = conf_n_rows;
    return all;
}

/* "smtpd_X" as this view's listener may override it: "submission_X". */
static const char *
service_value(const struct conf_private *p, struct slice name, struct conf_entry **entry)
{
    char own[128];
    struct conf_entry *en;

    if (p->service == NULL || !sl_has_prefix(name, SL("smtpd_")))
        return NULL;
    snprintf(own, sizeof(own), "%s_%.*s", p->service, SL_ARG(sl_from(name, 6)));
    en = map_get(p->by_name, sl_z(own));
    if (en != NULL) {
        if (entry != NULL)
            *entry = en;
        return en->value;
    }
    for (size_t i = 0; i < COUNT_OF(service_defaults); i++)
        if (strcmp(service_defaults[i].service, p->service) == 0 &&
            sl_eqz(name, service_defaults[i].name))
            return service_defaults[i].value;
    return NULL;
}

const char *
conf_raw_value(const struct conf_private *p, struct slice name, struct conf_entry **entry)
{
    const char *own = service_value(p, name, entry), *host;
    const struct conf_row *row;
    struct conf_entry *en;

    if (own != NULL)
        return own;
    if (p->is_stressed && sl_eqz(name, "stress"))
        return "yes";
    en = map_get(p->by_name, name);
    if (en != NULL) {
        if (entry != NULL)
            *entry = en;
        return en->value;
    }
    host = p->host != NULL ? map_get(p->host, name) : NULL;
    if (host != NULL)
        return host;
    row = conf_row_of(name);
    return row == NULL ? NULL : row->pub.def;
}

/* myhostname and mydomain where the file names none: the system's name; a name without a dot gets ".localdomain",
 * as Postfix does. */
static void
set_host_defaults(struct conf_private *p)
{
    char name[256] = "localhost";
    struct conf_entry *en = map_get(p->by_name, SL("myhostname"));
    const char *host, *dot;

    p->host = map_new();
    gethostname(name, sizeof(name) - 1);
    host = strchr(name, '.') != NULL ? arena_dupz(&p->mem, sl_z(name))
                                     : arena_printf(&p->mem, "%s.localdomain", name);
    map_set(p->host, SL("myhostname"), (void *)(uintptr_t)host);
    if (en != NULL)
        host = en->value;
    dot = strchr(host, '.');
    map_set(p->host, SL("mydomain"),
            (void *)(uintptr_t)(dot != NULL && dot[1] != '\0' ? dot + 1 : host));
}

/* "myorigin = /etc/mailname", as Debian's Postfix has it: the first word of the file. */
static void
read_myorigin(struct conf_private *p, struct conf_problems *ps)
{
    struct conf_entry *en = map_get(p->by_name, SL("myorigin"));
    struct buf text = { .max = MYORIGIN_FILE_OCTETS };
    struct slice in, word;
    struct err e = { 0 };

    if (en == NULL || en->value[0] != '/')
        return;
    if (fs_read_file(en->value, &text, &e) < 0) {
        conf_problem_add(
            ps, true, p->file, en->line,
            "myorigin: %s: write the host's mail domain into that file, or into main.cf", e.msg);
    } else {
        in = buf_slice(&text);
        if (sl_take_word(&in, " \t\r\n", &word))
            en->value = arena_dupz(&p->mem, word);
        else
            conf_problem_add(ps, true, p->file, en->line, "myorigin: %s has no name in it",
                             en->value);
    }
    buf_free(&text);
}

/* "submission_X" and "submissions_X" for an smtpd_X of the table. */
static bool
is_service_name(struct slice name)
{
    static const char *const services[] = { "submission_", "submissions_" };
    char full[128];

    for (size_t i = 0; i < COUNT_OF(services); i++) {
        if (!sl_has_prefix(name, sl_z(services[i])))
            continue;
        snprintf(full, sizeof(full), "smtpd_%.*s", SL_ARG(sl_from(name, strlen(services[i]))));
        if (conf_row_of(sl_z(full)) != NULL)
            return true;
    }
    return false;
}

/* "quota_rule2": parameters of which there may be several, numbered. */
static bool
is_numbered_name(struct slice name)
{
    static const char *const bases[] = { "quota_rule", "quota_warning", "quota_domain_rule" };

    for (size_t i = 0; i < COUNT_OF(bases); i++) {
        struct slice rest = name;
        uint32_t n;

        if (sl_take_prefix(&rest, sl_z(bases[i])) && sl_to_u32(rest, &n))
            return true;
    }
    return false;
}

/* Convert every row; the file's line is named where it has one. */
static void
set_fields(struct conf *c, struct conf_problems *ps)
{
    struct conf_private *p = c->priv;
    struct buf text = { .max = CONF_VALUE_MAX_OCTETS };

    for (size_t i = 0; i < conf_n_rows; i++) {
        const struct conf_row *row = &conf_rows[i];
        struct conf_entry *en = NULL;
        const char *raw = conf_raw_value(p, sl_z(row->pub.name), &en);
        struct err e = { 0 };
        int rc = 0;

        if (en != NULL)
            en->is_used = true;
        buf_reset(&text);
        if (row->type == CONF_T_RAW)
            buf_addz(&text, raw);
        else
            rc = conf_expand(p, sl_z(raw), &text, &e);
        if (rc == 0)
            rc = conf_set_field(c, row, buf_z(&text), &p->mem, &e);
        if (rc < 0)
            conf_problem_add(ps, true, p->file, en != NULL ? en->line : 0, "%s: %s",
                             en != NULL ? en->name : row->pub.name, e.msg);
    }
    buf_free(&text);
}

/* A name that is an item of some list is a restriction class of the operator's. */
static void
mark_list_items(struct conf_private *p)
{
    struct slice key, item, at;
    size_t it = 0;
    void *v;

    while (map_next(p->by_name, &it, &key, &v)) {
        at = sl_z(((struct conf_entry *)v)->value);
        while (sl_take_word(&at, ", \t", &item)) {
            struct conf_entry *en = map_get(p->by_name, item);

            if (en != NULL)
                en->is_used = true;
        }
    }
}

static void
report_unused(struct conf_private *p, struct conf_problems *ps)
{
    struct conf_entry **others = NULL;
    struct buf text = { .max = CONF_VALUE_MAX_OCTETS };
    size_t it = 0, n = 0, cap = 0;
    struct slice key;
    struct err e = { 0 };
    void *v;

    mark_list_items(p);
    while (map_next(p->by_name, &it, &key, &v)) {
        /* What it names is used; what is wrong with it its view tells. */
        if (is_service_name(key) || is_numbered_name(key)) {
            buf_reset(&text);
            conf_expand(p, sl_z(((struct conf_entry *)v)->value), &text, &e);
        } else if (conf_row_of(key) == NULL) {
            others = mem_grow(others, &cap, n + 1, sizeof *others);
            others[n++] = v;
        }
    }
    conf_report_foreign(p, others, n, ps);
    free(others);
    buf_free(&text);
}

static struct conf *
build(struct slice text, const char *file, const char *service, bool is_stressed,
      struct conf_problems *ps)
{
    struct conf *c = MEM_NEW(struct conf);
    struct conf_private *p = MEM_NEW(struct conf_private);
    size_t before = ps->errors;

    c->priv = p;
    p->refs = 1;
    p->file = arena_dupz(&p->mem, sl_z(file));
    p->text = arena_dupz(&p->mem, text);
    p->service = service != NULL ? arena_dupz(&p->mem, sl_z(service)) : NULL;
    p->is_stressed = is_stressed;
    p->by_name = map_new();
    if (text.n > CONF_TEXT_MAX_OCTETS)
        conf_problem_add(ps, true, file, 0, "longer than %d octets", CONF_TEXT_MAX_OCTETS);
    else
        conf_read_entries(sl_z(p->text), p->file, &p->mem, p->by_name, ps);
    if (strlen(p->text) != text.n)
        conf_problem_add(ps, true, file, 0, "a NUL octet in the text");
    set_host_defaults(p);
    read_myorigin(p, ps);
    set_fields(c, ps);
    report_unused(p, ps);
    if (ps->errors > before)
        conf_unref(&c);
    return c;
}

struct conf *
conf_parse(struct slice text, const char *file, struct conf_problems *ps)
{
    struct conf *c = build(text, file, NULL, false, ps);
    static const char *const services[] = { NULL, "submission", "submissions" };

    /* A wrong submission_X, or one that is wrong under stress, is an error of the file, too: build the views once and
     * keep what they say. */
    for (size_t i = 1; c != NULL && i < 2 * COUNT_OF(services); i++) {
        struct conf_problems of_view = { 0 };
        struct conf *view = build(text, file, services[i / 2], i % 2, &of_view);

        for (size_t k = 0; k < of_view.n; k++)
            if (of_view.v[k].is_error)
                conf_problem_add(ps, true, of_view.v[k].file, of_view.v[k].line, "%s",
                                 of_view.v[k].text);
        if (view == NULL)
            conf_unref(&c);
        conf_unref(&view);
        conf_problems_free(&of_view);
    }
    return c;
}

const char *
conf_default_dir(void)
{
    return access("/etc/postern/main.cf", F_OK) == 0 ? "/etc/postern" : "/etc/postfix";
}

struct conf *
conf_load_file(const char *path, struct conf_problems *ps)
{
    struct buf text = { .max = CONF_TEXT_MAX_OCTETS };
    struct conf *c = NULL;
    struct err e = { 0 };

    if (fs_read_file(path, &text, &e) < 0)
        conf_problem_add(ps, true, path, 0, "%s", e.msg);
    else
        c = conf_parse(buf_slice(&text), path, ps);
    buf_free(&text);
    return c;
}

static struct conf *
view_of(const struct conf *c, const char *service, bool is_stressed)
{
    struct conf_problems ps = { 0 };
    struct conf *view = build(sl_z(c->priv->text), c->priv->file, service, is_stressed, &ps);

    /* conf_parse() has built this view before and found nothing wrong. */
    conf_problems_free(&ps);
    BUG_ON(view == NULL);
    return view;
}

struct conf *
conf_for_service(const struct conf *c, const char *service)
{
    return view_of(c, service, false);
}

struct conf *
conf_for_stress(const struct conf *c, const char *service)
{
    return view_of(c, service, true);
}

struct conf *
conf_ref(const struct conf *c)
{
    atomic_fetch_add(&c->priv->refs, 1);
    return (struct conf *)(uintptr_t)c;
}

void
conf_unref(struct conf **c)
{
    struct conf *old = *c;

    *c = NULL;
    if (old == NULL || atomic_fetch_sub(&old->priv->refs, 1) > 1)
        return;
    map_free(&old->priv->by_name, NULL);
    map_free(&old->priv->host, NULL);
    arena_free(&old->priv->mem);
    free(old->priv);
    free(old);
}

unsigned
conf_line_of(const struct conf *c, const char *name)
{
    struct conf_entry *en = NULL;

    conf_raw_value(c->priv, sl_z(name), &en);
    return en != NULL ? en->line : 0;
}

const char *
conf_file_of(const struct conf *c)
{
    return c->priv->file;
}

char *
conf_value_text(const struct conf *c, const char *name, bool want_default)
{
    const struct conf_row *row = conf_row_of(sl_z(name));
    const char *raw = want_default ? (row != NULL ? row->pub.def : NULL)
                                   : conf_raw_value(c->priv, sl_z(name), NULL);

    return raw == NULL ? NULL : mem_dupz(raw);
}

bool
conf_next_set(const struct conf *c, size_t *it, const char **name)
{
    struct slice key;
    void *en;

    if (!map_next(c->priv->by_name, it, &key, &en))
        return false;
    *name = ((const struct conf_entry *)en)->name;
    return true;
}

char *
conf_expand_text(const struct conf *c, const char *text, struct err *e)
{
    struct buf b = { .max = CONF_VALUE_MAX_OCTETS };
    char *out = NULL;

    if (conf_expand(c->priv, sl_z(text), &b, e) == 0)
        out = mem_dupz(buf_z(&b));
    buf_free(&b);
    return out;
}

const char *
conf_user_value(const struct conf *c, const char *name)
{
    struct buf text = { .max = CONF_VALUE_MAX_OCTETS };
    const char *raw = conf_raw_value(c->priv, sl_z(name), NULL);
    const char *out = NULL;
    struct err e = { 0 };

    if (raw != NULL && conf_expand(c->priv, sl_z(raw), &text, &e) == 0)
        out = arena_dupz(&c->priv->mem, buf_slice(&text));
    buf_free(&text);
    return out;
}
