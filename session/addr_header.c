/* session/addr_header.c - fields are taken as many at a time as fit into memory: all their addresses are asked for side by
 * side, then the fields are written anew. */
#include "session/addr_header.h"

#include "base/log.h"
#include "base/mem.h"
#include "proto/smtp_header.h"

#include <stdlib.h>

enum {
    GROUP_OCTETS = 4 * 1024 * 1024, /* of memory: no field more is read */
    FIELD_OCTETS = 32 * 1024 * 1024 /* one that would take more than this stays as it is */
};

static const struct {
    struct slice name; /* without "Resent-" */
    enum addr_side side;
    bool may_be_resent;
} fields[] = {
    { SL_INIT("Apparently-To"), ADDR_SIDE_RECIPIENT, false },
    { SL_INIT("Bcc"), ADDR_SIDE_RECIPIENT, true },
    { SL_INIT("Cc"), ADDR_SIDE_RECIPIENT, true },
    { SL_INIT("Disposition-Notification-To"), ADDR_SIDE_SENDER, false },
    { SL_INIT("Errors-To"), ADDR_SIDE_SENDER, false },
    { SL_INIT("From"), ADDR_SIDE_SENDER, true },
    { SL_INIT("Mail-Followup-To"), ADDR_SIDE_SENDER, false },
    { SL_INIT("Reply-To"), ADDR_SIDE_SENDER, true },
    { SL_INIT("Return-Path"), ADDR_SIDE_SENDER, false },
    { SL_INIT("Return-Receipt-To"), ADDR_SIDE_SENDER, false },
    { SL_INIT("Sender"), ADDR_SIDE_SENDER, true },
    { SL_INIT("To"), ADDR_SIDE_RECIPIENT, true },
};

enum addr_side
addr_header_side(struct slice name)
{
    bool is_resent = sl_take_iprefix(&name, SL("Resent-"));

    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (sl_ieq(name, fields[i].name) && (!is_resent || fields[i].may_be_resent))
            return fields[i].side;
    return ADDR_SIDE_NONE;
}

struct piece {
    struct piece *next;
    struct header_field *field;
    struct smtp_header read;
    enum addr_side side;
};

struct job {
    struct addr_map *m;
    struct addr_header_how how;
    struct smtp_addr_rules rules;
    char *label;
    struct header_run *r;
    struct header_field *at; /* not read yet */
    struct arena mem;
    struct piece *pieces, **end;
    unsigned n_open; /* plans being carried out */
    bool is_good, is_running, must_go_on;
};

static void job_go(struct job *j);

static const struct addr_plan *
plan_of(const struct job *j, enum addr_side side)
{
    const struct addr_plan *p = side == ADDR_SIDE_SENDER ? j->how.sender : j->how.recipient;

    return j->m && p && !addr_plan_is_empty(p) ? p : NULL;
}

/* ---- the end of a group ---- */

static void
write_field(struct job *j, const struct piece *p)
{
    struct slice name = header_field_name(p->field);
    struct buf out = { 0 };
    size_t n_stripped;

    smtp_header_write(&p->read, name, &out, &n_stripped);
    if (n_stripped)
        log_event(LOG_LV_WARN, j->how.ident, "header.stripped", LOG_F(LF_Z("qid", j->label)),
                  "%s: stripping too many comments from %zu addresses of %.*s", j->label,
                  n_stripped, SL_ARG(name));
    header_field_set(p->field, buf_slice(&out));
    buf_free(&out);
}

static void
job_end(struct job *j, int rc)
{
    struct header_run *r = j->r;
    struct err e = { 0 };

    if (rc)
        err_set(&e, ERR_TEMP, "addresses of the header could not be looked up");
    arena_free(&j->mem);
    addr_map_unref(&j->m);
    free(j->label);
    free(j);
    header_run_next(r, rc, &e);
}

static void
end_group(struct job *j)
{
    for (const struct piece *p = j->pieces; p && j->is_good; p = p->next)
        if (p->read.is_changed)
            write_field(j, p);
    arena_reset(&j->mem);
    j->must_go_on = true;
    if (!j->is_running)
        job_go(j);
}

/* ---- a group ---- */

static void
on_mapped(uint64_t side, void *arg, bool good, const struct addr_mapped *v, size_t n)
{
    struct job *j = arg;
    size_t k = 0;

    j->is_good = j->is_good && good;
    for (struct piece *p = j->pieces; p && j->is_good; p = p->next)
        for (size_t i = 0; p->side == (enum addr_side)side && i < p->read.n && k < n; i++, k++)
            if (v[k].is_changed) {
                *p->read.addrs[i] = arena_dup(&j->mem, v[k].addr);
                p->read.is_changed = true;
                j->is_good = j->is_good && p->read.addrs[i]->p;
            }
    if (--j->n_open == 0)
        end_group(j);
}

static void
ask_side(struct job *j, enum addr_side side)
{
    const struct addr_plan *plan = plan_of(j, side);
    struct slice *addrs;
    size_t n = 0, k = 0;

    if (plan == NULL)
        return;
    for (const struct piece *p = j->pieces; p; p = p->next)
        n += p->side == side ? p->read.n : 0;
    if (n == 0)
        return;
    addrs = mem_alloc(n * sizeof(*addrs));
    for (const struct piece *p = j->pieces; p; p = p->next)
        for (size_t i = 0; p->side == side && i < p->read.n; i++)
            addrs[k++] = *p->read.addrs[i];
    j->n_open++;
    addr_map_run(j->m, plan, addrs, n, on_mapped, side, j);
    free(addrs);
}

/* The field's addresses, where there is something to do with them. */
static void
read_field(struct job *j, struct header_field *f)
{
    enum addr_side side = addr_header_side(header_field_name(f));
    struct piece *p;

    if (side == ADDR_SIDE_NONE || f->is_fixed || (j->how.rules == NULL && !plan_of(j, side)))
        return;
    j->mem.cap = j->mem.used + FIELD_OCTETS;
    p = ARENA_NEW(&j->mem, struct piece);
    if (p == NULL || !smtp_header_read(j->how.rules, header_field_value(f), j->how.max_tokens,
                                       &j->mem, &p->read)) {
        log_event(LOG_LV_WARN, j->how.ident, "header.complex", LOG_F(LF_Z("qid", j->label)),
                  "%s: the addresses of %.*s stay as they are: it is too long", j->label,
                  SL_ARG(header_field_name(f)));
        return;
    }
    p->field = f;
    p->side = side;
    *j->end = p;
    j->end = &p->next;
}

static void
do_group(struct job *j)
{
    j->pieces = NULL;
    j->end = &j->pieces;
    for (; j->at && j->mem.used < GROUP_OCTETS; j->at = j->at->next)
        read_field(j, j->at);
    j->mem.cap = 0; /* the answers are as long as their own bounds say */
    j->n_open = 1;
    ask_side(j, ADDR_SIDE_SENDER);
    ask_side(j, ADDR_SIDE_RECIPIENT);
    if (--j->n_open == 0)
        end_group(j);
}

/* Group after group, until one has to wait. */
static void
job_go(struct job *j)
{
    j->is_running = true;
    do {
        if (j->at == NULL || !j->is_good) {
            job_end(j, j->is_good ? 0 : -1);
            return;
        }
        j->must_go_on = false;
        do_group(j);
    } while (j->must_go_on);
    j->is_running = false;
}

void
addr_header_run(struct addr_map *m, const struct addr_header_how *how, struct header *h,
                struct header_run *r)
{
    struct job *j = MEM_NEW(struct job);

    j->how = *how;
    if (how->rules) {
        j->rules = *how->rules;
        j->how.rules = &j->rules;
    }
    j->label = mem_dupz(how->label);
    j->r = r;
    j->is_good = true;
    if (m)
        j->m = addr_map_ref(m);
    if (h->class == HEADER_PRIMARY)
        j->at = h->first;
    job_go(j);
}
