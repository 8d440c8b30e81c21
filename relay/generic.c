/* relay/generic.c - see generic.h. */
#include "relay/generic.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "session/addr_header.h"

#include <stdlib.h>

/* What the map of a message is in; goes with it. */
struct generic {
    struct conf *conf;
    struct smtp_addr_rules rules;
    struct domlist mydestination;
    const char **names; /* of mydestination: those that are no tables, which relayd may not ask */
    struct addr_plan plan;
};

static const char *
param_of(const struct session *s)
{
    return s->is_lmtp ? "lmtp_generic_maps" : "smtp_generic_maps";
}

static const char *
ident_of(const struct session *s)
{
    return s->is_lmtp ? "postfix/lmtp" : "postfix/smtp";
}

bool
generic_is_wanted(const struct session *s)
{
    return (s->is_lmtp ? s->conf->lmtp_generic_maps.n : s->conf->smtp_generic_maps.n) > 0;
}

static void
release(void *owner)
{
    struct generic *g = owner;

    conf_unref(&g->conf);
    free(g->names);
    free(g);
}

static void
set_domains(struct generic *g)
{
    struct conf_list all = g->conf->mydestination;
    size_t n = 0;

    g->names = mem_alloc((all.n + 1) * sizeof *g->names);
    for (size_t i = 0; i < all.n; i++)
        if (!domlist_is_table(all.v[i]))
            g->names[n++] = all.v[i];
    domlist_init(&g->mydestination, "mydestination", (struct conf_list){ g->names, n }, false);
}

static void
make_map(struct session *s)
{
    struct generic *g;
    const struct conf *c = s->conf;
    const char *id = arena_dupz(&s->arena, s->queue_id);
    struct addr_map_conf m = { .lookup = relay_content,
                               .own = &relay_own,
                               .outcome = "message deferred",
                               .release = release };

    if (s->map)
        return;
    m.owner = g = MEM_NEW(struct generic);
    m.conf = g->conf = conf_ref(s->conf);
    m.rules = &g->rules;
    m.mydestination = &g->mydestination;
    g->rules = (struct smtp_addr_rules){
        .myorigin = sl_z(c->myorigin),
        .mydomain = sl_z(c->mydomain),
        .myhostname = sl_z(c->myhostname),
        .append_at_myorigin = c->append_at_myorigin,
        .append_dot_mydomain = c->append_dot_mydomain,
        .swap_bangpath = c->swap_bangpath,
        .allow_percent_hack = c->allow_percent_hack,
    };
    set_domains(g);
    g->plan = (struct addr_plan){
        .tables = { { param_of(s) } },
        .n_tables = 1,
        .rounds = 1,
        .keeps_extension = conf_list_has(c->propagate_unmatched_extensions, "generic"),
    };
    m.ident = ident_of(s);
    s->map = addr_map_new(&m, id ? id : "NOQUEUE");
    s->generic_plan = &g->plan;
}

void
generic_free(struct session *s)
{
    addr_map_unref(&s->map);
    s->generic_plan = NULL;
}

/* ---- the envelope: the sender, then the recipients ---- */

/* As the wire has it. */
static bool
put(struct session *s, struct slice *path, const struct addr_mapped *v)
{
    if (!v->is_changed)
        return true;
    *path = arena_dup(&s->arena, smtp_addr_quote(v->addr, &s->arena));
    if (!utf8_is_ascii(*path))
        s->tx.is_utf8 = true;
    return path->p != NULL;
}

static void
on_mapped(uint64_t id, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct session *s = arg;

    (void)id;
    good = good && n == s->n_rcpts + 1 && put(s, &s->tx.sender, &v[0]);
    for (size_t i = 0; i < s->n_rcpts && good; i++)
        good = put(s, &s->rcpts[i].addr, &v[i + 1]);
    s->on_generic(s, good);
}

static struct slice
internal(struct session *s, struct slice path)
{
    struct slice out = { 0 };
    struct err e;

    return smtp_path_parse(path, false, &s->arena, &out, &e) == PARSE_OK ? out : path;
}

void
generic_envelope(struct session *s, void (*done)(struct session *s, bool good))
{
    struct slice *v = mem_alloc((s->n_rcpts + 1) * sizeof *v);

    make_map(s);
    s->on_generic = done;
    v[0] = s->tx.sender.n ? internal(s, s->tx.sender) : SL("");
    for (size_t i = 0; i < s->n_rcpts; i++)
        v[i + 1] = internal(s, s->rcpts[i].addr);
    addr_map_run(s->map, s->generic_plan, v, s->n_rcpts + 1, on_mapped, s->id, s);
    free(v);
}

/* ---- the header ---- */

void
generic_header(struct session *s, struct header *h, struct header_run *r)
{
    struct addr_header_how how = { .max_tokens = SIZE_MAX, .ident = ident_of(s) };
    const char *id = arena_dupz(&s->arena, s->queue_id);

    make_map(s);
    how.label = id ? id : "NOQUEUE";
    how.sender = how.recipient = s->generic_plan;
    addr_header_run(s->map, &how, h, r);
}
