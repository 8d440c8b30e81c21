/* smtpd/restrict_conf.c - what is wrong with the restriction lists of a main.cf, as `postern check` says it: everything
 * with its file and line, not the first thing alone. */
#include "smtpd/restrict.h"

#include "auth/table.h"
#include "base/mem.h"
#include "smtpd/rbl_conf.h"

#include <stdio.h>
#include <stdlib.h>

enum { WALK_MAX = 100000 /* steps looked at, classes inside classes counted each time */ };

struct looking {
    const struct conf *c;
    struct conf_problems *ps;
    const char *service;     /* NULL: of the file itself */
    struct restrict_set set; /* what could be read of it */
    const char *param;       /* the list looked at, and where it stands */
    unsigned line;
    unsigned walked;
};

static void problem(const struct looking *k, bool is_error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void
problem(const struct looking *k, bool is_error, const char *fmt, ...)
{
    char text[2 * ERR_MSG_OCTETS];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    conf_problem_add(k->ps, is_error, conf_file_of(k->c), k->line, "%s%s%s: %s", k->param,
                     k->service ? " of " : "", k->service ? k->service : "", text);
}

/* ---- one list ---- */

static bool
ends_list(const struct restrict_step *s)
{
    static const char *const ends[] = { "permit", "reject", "defer" };

    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (s->kind == RESTRICT_VERB && !strcmp(s->name, ends[i]))
            return true;
    return false;
}

/* A table that authd could never open. */
static void
check_type(const struct looking *k, const struct restrict_step *s)
{
    struct slice arg;

    if (s->table.name && table_type_of(sl_z(s->table.name), &arg) == NULL)
        problem(k, true, "restriction %s: unsupported dictionary type: \"%s\"", s->name,
                s->table.name);
}

/* Is each step a good one, and is it reached? */
static void
read_list(struct looking *k, struct slice text, struct restrict_list *l)
{
    const char *ended = NULL;
    bool is_warning = false;
    struct slice at = text, word;
    size_t cap = 0;
    int rc;

    while (restrict_take_word(&at, &word))
        cap++;
    l->n = 0;
    l->v = arena_alloc(&k->set.mem, (cap + 1) * sizeof(*l->v));
    for (struct err e; (rc = restrict_take_step(&k->set, &text, &k->set.mem, &l->v[l->n], &e));) {
        const struct restrict_step *s = &l->v[l->n];

        if (rc < 0) {
            problem(k, true, "%s", e.msg);
            is_warning = false;
            continue;
        }
        check_type(k, s);
        if (ended)
            problem(k, false, "restriction `%s' after `%s' is ignored", s->name, ended);
        ended = ends_list(s) && !is_warning ? s->name : NULL;
        is_warning = s->kind == RESTRICT_WARN;
        l->n++;
    }
    if (is_warning)
        problem(k, true, "warn_if_reject at the end has nothing to warn about");
}

/* ---- lists together ---- */

/* Classes that name each other over and over are a short text and endless work. */
static bool
may_walk(struct looking *k, unsigned depth)
{
    return depth < RESTRICT_DEPTH_MAX && k->walked++ < WALK_MAX;
}

/* Does the list come to the class by way of others? */
static bool
leads_to(struct looking *k, const struct restrict_list *l, const struct restrict_class *to,
         unsigned depth)
{
    for (size_t i = 0; i < l->n && may_walk(k, depth); i++)
        if (l->v[i].kind == RESTRICT_CLASS &&
            (l->v[i].cls == to || leads_to(k, &l->v[i].cls->list, to, depth + 1)))
            return true;
    return false;
}

/* A table alone, where no verb is meant. */
static void
find_bare(struct looking *k, const struct restrict_list *l, unsigned depth)
{
    for (size_t i = 0; i < l->n && may_walk(k, depth); i++) {
        if (l->v[i].kind == RESTRICT_BARE)
            problem(k, true,
                    "specify one of check_client_access, check_helo_access, check_sender_access, "
                    "check_recipient_access before \"%s\"",
                    l->v[i].arg);
        else if (l->v[i].kind == RESTRICT_CLASS)
            find_bare(k, &l->v[i].cls->list, depth + 1);
    }
}

static bool
stops_relaying(struct looking *k, const struct restrict_list *l, unsigned depth)
{
    static const char *const stops[] = { "reject_unauth_destination",
                                         "defer_unauth_destination",
                                         "check_relay_domains",
                                         "reject",
                                         "defer",
                                         "defer_if_permit" };

    for (size_t i = 0; i < l->n && may_walk(k, depth); i++) {
        const struct restrict_step *s = &l->v[i];

        if (s->kind == RESTRICT_WARN) {
            i++;
        } else if (s->kind == RESTRICT_CLASS) {
            if (stops_relaying(k, &s->cls->list, depth + 1))
                return true;
        } else if (s->kind == RESTRICT_VERB) {
            if (!strcmp(s->name, "permit"))
                return false;
            for (size_t w = 0; w < COUNT_OF(stops); w++)
                if (!strcmp(s->name, stops[w]))
                    return true;
        }
    }
    return false;
}

/* ---- all of them ---- */

static void
set_place(struct looking *k, const char *param)
{
    k->param = param;
    k->line = conf_line_of(k->c, param);
}

static void
look_at_classes(struct looking *k)
{
    struct conf_list names = k->c->smtpd_restriction_classes;

    k->set.classes = arena_alloc(&k->set.mem, (names.n + 1) * sizeof(*k->set.classes));
    k->set.n_classes = names.n;
    for (size_t i = 0; i < names.n; i++)
        k->set.classes[i].name = names.v[i];
    for (size_t i = 0; i < names.n; i++) {
        const char *text = conf_user_value(k->c, names.v[i]);

        set_place(k, text ? names.v[i] : "smtpd_restriction_classes");
        if (text)
            read_list(k, sl_z(text), &k->set.classes[i].list);
        else
            problem(k, true, "restriction class `%s' needs a definition", names.v[i]);
        if (restrict_verb_of(sl_z(names.v[i])) >= 0)
            problem(k, false,
                    "restriction class `%s' has the name of a restriction, which goes first",
                    names.v[i]);
    }
    for (size_t i = 0; i < names.n; i++) {
        set_place(k, names.v[i]);
        k->walked = 0;
        if (leads_to(k, &k->set.classes[i].list, &k->set.classes[i], 0))
            problem(k, true, "restriction class `%s' contains itself", names.v[i]);
    }
}

static void
look_at_list(struct looking *k, enum restrict_list_id id)
{
    struct conf_list l = restrict_conf_list(k->c, id);
    struct buf text = { 0 };

    set_place(k, restrict_list_name(id));
    for (size_t i = 0; i < l.n; i++)
        buf_addf(&text, "%s%s", i ? " " : "", l.v[i]);
    read_list(k, buf_slice(&text), &k->set.lists[id]);
    buf_free(&text);
    k->walked = 0;
    if (id == RESTRICT_DATA || id == RESTRICT_END_OF_DATA)
        find_bare(k, &k->set.lists[id], 0);
}

void
restrict_check_conf(const struct conf *c, const char *service, struct conf_problems *ps)
{
    struct looking k = { .c = c, .ps = ps, .service = service };
    bool is_safe;

    look_at_classes(&k);
    for (int id = 0; id < RESTRICT_LISTS; id++)
        look_at_list(&k, (enum restrict_list_id)id);
    set_place(&k, "smtpd_recipient_restrictions");
    k.walked = 0;
    is_safe = stops_relaying(&k, &k.set.lists[RESTRICT_RELAY], 0) ||
              stops_relaying(&k, &k.set.lists[RESTRICT_RECIPIENT], 0);
    if (k.walked > WALK_MAX)
        problem(&k, true, "restriction classes name each other too often");
    else if (!is_safe)
        conf_problem_add(ps, true, conf_file_of(c), k.line,
                         "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions%s%s "
                         "stops strangers from relaying: add reject_unauth_destination",
                         service ? " of " : "", service ? service : "");
    rbl_check_conf(c, &k.set, ps);
    restrict_set_free(&k.set);
}
