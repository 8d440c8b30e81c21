/* cli/cmd_queue_why.c - `postern queue why`: why a message waits and what happens next, in words. What the database knows of
 * it comes with the listing; what qmgr has in memory, of it and of the hosts it is for, is asked for besides (queue/why.c). */
#include "cli/cmd_queue.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/queue_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS = 8, SPAN_OCTETS = 32 };

/* A recipient in memory, and a destination. */
struct place {
    unsigned i;
    struct slice state, hop;
};
struct host {
    struct slice hop, class, why;
    uint64_t busy, window, waiting, dead_s;
};

struct why {
    struct queue_source *s;
    const struct conf *conf;
    bool is_json, is_missing;
    struct err err;
    struct queue_list_message m;
    struct queue_list_rcpt *rcpts;
    size_t n_rcpts, cap_rcpts;
    struct place *places;
    size_t n_places, cap_places;
    struct host *hosts;
    size_t n_hosts, cap_hosts;
    struct arena mem; /* texts of one message */
    struct buf ids;   /* those to be told of */
};

/* "3 d 2 h", "5 min", "40 s" */
static const char *
span(int64_t s, char out[SPAN_OCTETS])
{
    if (s < 0)
        s = 0;
    if (s >= 86400)
        snprintf(out, SPAN_OCTETS, "%" PRId64 " d %" PRId64 " h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(out, SPAN_OCTETS, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    else if (s >= 120)
        snprintf(out, SPAN_OCTETS, "%" PRId64 " min", s / 60);
    else
        snprintf(out, SPAN_OCTETS, "%" PRId64 " s", s);
    return out;
}

/* ---- what memory has ---- */

static uint64_t
number(struct slice s)
{
    uint64_t v = 0;

    (void)sl_to_u64(s, &v);
    return v;
}

static void
take_memory(struct why *w, struct slice text)
{
    struct slice line, f[FIELDS];

    while (sl_take_until(&text, '\n', &line)) {
        queue_list_split(line, f, FIELDS);
        if (sl_eqz(f[0], "B")) {
            w->places = mem_grow(w->places, &w->cap_places, w->n_places + 1, sizeof *w->places);
            w->places[w->n_places++] = (struct place){ .i = (unsigned)number(f[1]),
                                                       .state = arena_dup(&w->mem, f[2]),
                                                       .hop = arena_dup(&w->mem, f[3]) };
        } else if (sl_eqz(f[0], "H")) {
            w->hosts = mem_grow(w->hosts, &w->cap_hosts, w->n_hosts + 1, sizeof *w->hosts);
            w->hosts[w->n_hosts++] = (struct host){ .hop = arena_dup(&w->mem, f[1]),
                                                    .class = arena_dup(&w->mem, f[2]),
                                                    .busy = number(f[3]),
                                                    .window = number(f[4]),
                                                    .waiting = number(f[5]),
                                                    .dead_s = number(f[6]),
                                                    .why = arena_dup(&w->mem, f[7]) };
        }
    }
}

static const struct host *
host_of(const struct why *w, struct slice hop)
{
    for (size_t k = 0; hop.n > 0 && k < w->n_hosts; k++)
        if (sl_eq(w->hosts[k].hop, hop))
            return &w->hosts[k];
    return NULL;
}

static const struct place *
place_of(const struct why *w, unsigned i)
{
    for (size_t k = 0; k < w->n_places; k++)
        if (w->places[k].i == i && !sl_eqz(w->places[k].state, "done"))
            return &w->places[k];
    return NULL;
}

/* A hop more to ask for, on a line of its own; lines are there once. */
static void
add_hop(struct buf *words, struct slice hop)
{
    struct slice have = buf_slice(words), line;

    while (sl_take_until(&have, '\n', &line))
        if (sl_eq(line, hop))
            return;
    if (hop.n > 0)
        buf_addf(words, "%.*s\n", SL_ARG(hop));
}

/* First where the recipients are, then what is known of where they go. */
static int
ask_memory(struct why *w)
{
    struct queue_page p = { 0 };
    struct buf words = { 0 };
    int rc;

    buf_addf(&words, "%.*s\n", SL_ARG(w->m.id));
    rc = queue_source_ask(w->s, "memory", buf_z(&words), &p, &w->err);
    if (rc == 0) {
        take_memory(w, buf_slice(&p.text));
        for (size_t k = 0; k < w->n_rcpts; k++)
            add_hop(&words, w->rcpts[k].hop);
        for (size_t k = 0; k < w->n_places; k++)
            add_hop(&words, w->places[k].hop);
        w->n_places = 0;
        rc = queue_source_ask(w->s, "memory", buf_z(&words), &p, &w->err);
        if (rc == 0)
            take_memory(w, buf_slice(&p.text));
    }
    buf_free(&words);
    buf_free(&p.text);
    return rc;
}

/* ---- in words ---- */

static int64_t
expires_s(const struct why *w)
{
    int64_t life_ms =
        w->m.sender.n > 0 ? w->conf->maximal_queue_lifetime : w->conf->bounce_queue_lifetime;

    return clock_unix_s() - w->m.age_s + life_ms / 1000;
}

static bool
is_returned(const struct why *w)
{
    return w->m.is_expired;
}

static void
tell_hold(const struct why *w, const struct queue_list_rcpt *r)
{
    if (r->is_by_hand)
        printf("      on hold: an operator put it there\n");
    else if (r->attempts == 0 && w->m.hold.n > 0)
        printf("      on hold since it was accepted: %.*s\n", SL_ARG(w->m.hold));
    else if (r->why.n > 0)
        printf("      on hold: %.*s\n", SL_ARG(r->why));
    else
        printf("      on hold\n");
    printf("      next: nothing, until \"postern queue release %.*s\"\n", SL_ARG(w->m.id));
}

static void
tell_host(const struct host *h)
{
    char text[SPAN_OCTETS];

    if (h->dead_s > 0) {
        printf("      %.*s: nothing is tried there for another %s: %.*s\n", SL_ARG(h->hop),
               span((int64_t)h->dead_s, text), SL_ARG(h->why));
        return;
    }
    printf("      %.*s: %s; %" PRIu64 " of at most %" PRIu64 " deliveries under way, %" PRIu64
           " recipients wait for their turn\n",
           SL_ARG(h->hop),
           sl_eqz(h->class, "good")  ? "takes mail"
           : sl_eqz(h->class, "new") ? "was not tried lately"
                                     : "the last try failed",
           h->busy, h->window, h->waiting);
}

static void
tell_active(const struct why *w, const struct queue_list_rcpt *r, const struct place *p)
{
    const struct host *h = host_of(w, p ? p->hop : SL(""));

    if (queue_source_is_offline(w->s))
        printf("      was being tried when qmgr stopped\n      next: a try once it runs\n");
    else if (p == NULL)
        printf("      just being recorded\n");
    else if (sl_eqz(p->state, "routing"))
        printf("      its way is being looked up\n");
    else if (sl_eqz(p->state, "delivering"))
        printf("      is being delivered to %.*s now\n", SL_ARG(p->hop));
    else
        printf("      waits for its turn at %.*s\n", SL_ARG(p->hop));
    if (h)
        tell_host(h);
    if (r->is_by_hand)
        printf("      an operator wants it on hold: it will be, if this try fails\n");
}

static void
tell_deferred(const struct why *w, const struct queue_list_rcpt *r)
{
    const struct host *h = host_of(w, r->hop);
    int64_t in_s = r->due_s - clock_unix_s();
    char text[QUEUE_TIME_OCTETS], how_long[SPAN_OCTETS];

    if (is_returned(w)) {
        printf("      next: it is returned to the sender, as an operator wants\n");
        return;
    }
    if (h)
        tell_host(h);
    if (in_s > 0)
        printf("      next: a try at %s, in %s\n", queue_time(r->due_s, text),
               span(in_s, how_long));
    else
        printf("      next: a try as soon as there is room%s\n",
               queue_source_is_offline(w->s) ? " and qmgr runs" : "");
}

static void
tell_rcpt(const struct why *w, const struct queue_list_rcpt *r)
{
    printf("  <%.*s>", SL_ARG(r->address));
    if (r->orig.n > 0 && !sl_eq(r->orig, r->address))
        printf(", for <%.*s>", SL_ARG(r->orig));
    putchar('\n');
    if (r->attempts > 0) {
        printf("      tried %u time%s", r->attempts, r->attempts == 1 ? "" : "s");
        if (r->hop.n > 0)
            printf(", last for the next hop %.*s", SL_ARG(r->hop));
        printf("\n      it ended with: %.*s %.*s\n", SL_ARG(r->status), SL_ARG(r->why));
    } else {
        printf("      not tried yet\n");
    }
    if (sl_eqz(r->state, "hold"))
        tell_hold(w, r);
    else if (sl_eqz(r->state, "active"))
        tell_active(w, r, place_of(w, r->i));
    else
        tell_deferred(w, r);
}

static void
tell(const struct why *w)
{
    char text[QUEUE_TIME_OCTETS], how_long[SPAN_OCTETS];
    int64_t now = clock_unix_s(), end = expires_s(w);

    printf("%.*s: %.*s, %" PRIu64 " octets from <%.*s>", SL_ARG(w->m.id), SL_ARG(w->m.state),
           w->m.size, SL_ARG(w->m.sender));
    if (w->m.account.n > 0)
        printf(", submitted by %.*s", SL_ARG(w->m.account));
    printf("\n  arrived %s, %s ago\n", queue_time(w->m.arrived_s, text),
           span(now - w->m.arrived_s, how_long));
    if (sl_eqz(w->m.state, "damaged"))
        printf("  its envelope is damaged: it stays until an operator deletes it\n");
    for (size_t k = 0; k < w->n_rcpts; k++)
        tell_rcpt(w, &w->rcpts[k]);
    if (sl_eqz(w->m.state, "hold") || sl_eqz(w->m.state, "damaged") || is_returned(w))
        putchar('\n');
    else if (end > now)
        printf("  what is not delivered by %s, in %s, is %s\n\n", queue_time(end, text),
               span(end - now, how_long),
               w->m.sender.n > 0 ? "returned to the sender" : "the postmaster's, or stays on hold");
    else
        printf("  it is too old: one more failure, and it is %s\n\n",
               w->m.sender.n > 0 ? "returned to the sender" : "the postmaster's, or stays on hold");
}

/* ---- JSON ---- */

static void
member(const char *name, struct slice value)
{
    if (value.n == 0)
        return;
    printf(",\"%s\":", name);
    json_write(stdout, value);
}

static void
json_host(const struct host *h)
{
    printf(",\"destination\":{\"class\":");
    json_write(stdout, h->class);
    printf(",\"deliveries\":%" PRIu64 ",\"concurrency\":%" PRIu64 ",\"waiting\":%" PRIu64
           ",\"dead_seconds\":%" PRIu64,
           h->busy, h->window, h->waiting, h->dead_s);
    member("dead_reason", h->why);
    putchar('}');
}

static void
json_rcpt(const struct why *w, const struct queue_list_rcpt *r)
{
    const struct place *p = sl_eqz(r->state, "active") ? place_of(w, r->i) : NULL;
    const struct host *h = host_of(w, p ? p->hop : r->hop);

    printf("{\"address\":");
    json_write(stdout, r->address);
    if (!sl_eq(r->orig, r->address))
        member("original", r->orig);
    member("state", r->state);
    member("now", p ? p->state : SL(""));
    printf(",\"attempts\":%u", r->attempts);
    if (sl_eqz(r->state, "deferred"))
        printf(",\"next_attempt\":%" PRId64, r->due_s);
    member("status", r->status);
    member("delay_reason", r->why);
    member("next_hop", p && p->hop.n > 0 ? p->hop : r->hop);
    if (sl_eqz(r->state, "hold"))
        printf(",\"held_by\":\"%s\"", r->is_by_hand ? "operator" : "policy");
    if (h)
        json_host(h);
    putchar('}');
}

static void
tell_json(const struct why *w)
{
    printf("{\"queue_id\":");
    json_write(stdout, w->m.id);
    member("queue_name", w->m.state);
    printf(",\"message_size\":%" PRIu64 ",\"arrival_time\":%" PRId64 ",\"expires\":%" PRId64
           ",\"forced_expire\":%s,\"sender\":",
           w->m.size, w->m.arrived_s, expires_s(w), is_returned(w) ? "true" : "false");
    json_write(stdout, w->m.sender);
    member("account", w->m.account);
    member("hold_reason", w->m.hold);
    printf(",\"recipients\":[");
    for (size_t k = 0; k < w->n_rcpts; k++) {
        if (k > 0)
            putchar(',');
        json_rcpt(w, &w->rcpts[k]);
    }
    fputs("]}\n", stdout);
}

/* ---- one message after the other ---- */

static void
on_message(void *arg, const struct queue_list_message *m)
{
    struct why *w = arg;

    w->m = *m;
    w->m.id = arena_dup(&w->mem, m->id);
    w->m.state = arena_dup(&w->mem, m->state);
    w->m.sender = arena_dup(&w->mem, m->sender);
    w->m.account = arena_dup(&w->mem, m->account);
    w->m.hold = arena_dup(&w->mem, m->hold);
}

static void
on_rcpt(void *arg, const struct queue_list_rcpt *r)
{
    struct why *w = arg;
    struct queue_list_rcpt *c;

    w->rcpts = mem_grow(w->rcpts, &w->cap_rcpts, w->n_rcpts + 1, sizeof *w->rcpts);
    c = &w->rcpts[w->n_rcpts++];
    *c = *r;
    c->state = arena_dup(&w->mem, r->state);
    c->status = arena_dup(&w->mem, r->status);
    c->address = arena_dup(&w->mem, r->address);
    c->orig = arena_dup(&w->mem, r->orig);
    c->why = arena_dup(&w->mem, r->why);
    c->hop = arena_dup(&w->mem, r->hop);
}

static void
on_missing(void *arg, struct slice id)
{
    struct why *w = arg;

    fprintf(stderr, "postern queue: %.*s: no such message in the queue\n", SL_ARG(id));
    w->is_missing = true;
}

static void
note_id(void *arg, const struct queue_list_message *m)
{
    struct why *w = arg;

    buf_addf(&w->ids, "%.*s\n", SL_ARG(m->id));
}

static int
tell_one(struct why *w, const char *id)
{
    static const struct queue_list_ops ops = { .message = on_message, .rcpt = on_rcpt };
    int rc;

    arena_reset(&w->mem);
    w->n_rcpts = w->n_places = w->n_hosts = 0;
    w->m = (struct queue_list_message){ 0 };
    rc = queue_list_each(w->s, id, &ops, w, &w->err);
    if (rc != 0 || w->m.id.n == 0) /* left meanwhile */
        return rc;
    rc = ask_memory(w);
    if (rc == 0 && w->is_json)
        tell_json(w);
    else if (rc == 0)
        tell(w);
    return rc;
}

int
queue_why(struct queue_source *s, const struct conf *c, const char *words, bool is_json)
{
    static const struct queue_list_ops ops = { .message = note_id, .missing = on_missing };
    struct why w = { .s = s, .conf = c, .is_json = is_json };
    struct slice ids, id;
    int rc = queue_list_each(s, words, &ops, &w, &w.err);

    ids = buf_slice(&w.ids);
    while (rc == 0 && sl_take_until(&ids, '\n', &id)) {
        char *z = sl_dupz(id);

        rc = tell_one(&w, z);
        free(z);
    }
    buf_free(&w.ids);
    arena_free(&w.mem);
    free(w.rcpts);
    free(w.places);
    free(w.hosts);
    return rc != 0 ? queue_fail(&w.err) : w.is_missing ? EXIT_FAILED : EXIT_OK;
}
