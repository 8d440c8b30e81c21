/* smtpd/expand.c - a list of addresses to look at, each with the one it came from. An address that an alias gives back as
 * itself is final; one that comes back by a detour is a loop. */
#include "smtpd/expand_int.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "proto/alias_item.h"
#include "session/queue_proto.h"
#include "smtpd/srs.h"

#include <stdlib.h>

/* Of one recipient, when aliases(5) had a part in it: a list may well be longer than virtual_alias_expansion_limit, which
 * is about virtual(5) only. */
enum { LOCAL_RESULTS_MAX = QUEUE_RCPTS_MAX };

static void run(struct smtpd_sess *s, struct expansion *x);

/* Where mail has gone round, or aliases lead to nobody, and it goes nowhere else, whoever sent it is still there to be told: a
 * report might go to somebody else. */
static void
refuse_hopeless(struct smtpd_sess *s, struct expansion *x)
{
    if (x->rc != EXPAND_OK || x->n_out == 0 || x->n_good > 0)
        return;
    x->refusal = x->unknown;
    for (size_t i = 0; i < x->n_out && x->refusal == NULL; i++)
        if (x->out[i].kind == RCPT_REFUSED)
            x->refusal = arena_printf(&s->tx->mem, "554 %.*s", SL_ARG(x->out[i].target));
    x->rc = x->refusal ? EXPAND_REFUSED : EXPAND_TEMP;
}

static void
tell(struct smtpd_sess *s, struct expansion *x)
{
    refuse_hopeless(s, x);
    x->done(s, x->rc, x->out, x->n_out);
}

static void
finish(struct smtpd_sess *s, struct expansion *x, enum expand_rc rc)
{
    x->is_over = true;
    x->rc = rc;
    if (!x->is_running)
        tell(s, x);
}

void
expand_free(struct expansion **x)
{
    struct expansion *old = *x;

    *x = NULL;
    if (old == NULL)
        return;
    map_free(&old->seen, NULL);
    free(old->own);
    free(old->out);
    free(old);
}

void
expand_give_up(struct smtpd_sess *s, struct expansion *x, enum expand_rc rc, const char *why)
{
    log_event(
        LOG_LV_WARN, s->cfg->cleanup_ident, "alias.error", LOG_F(LF_Z("qid", s->tx->id)),
        "%s: unreasonable alias expansion (%s) for %.*s -- message not accepted, try again later",
        s->tx->id, why, SL_ARG(x->rcpt->addr));
    finish(s, x, rc);
}

void
expand_lookup_failed(struct smtpd_sess *s, struct expansion *x)
{
    log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "alias.lookup", LOG_F(LF_Z("qid", s->tx->id)),
              "%s: alias lookup problem for %.*s -- message not accepted, try again later",
              s->tx->id, SL_ARG(x->rcpt->addr));
    finish(s, x, EXPAND_TEMP);
}

void
expand_leads_nowhere(struct smtpd_sess *s, struct expansion *x)
{
    log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "alias.nowhere",
              LOG_F(LF_Z("qid", s->tx->id), LF_S("alias", x->at->addr)),
              "%s: alias %.*s leads to no address -- message not accepted, try again later",
              s->tx->id, SL_ARG(x->at->addr));
    finish(s, x, EXPAND_TEMP);
}

void
expand_refuse(struct smtpd_sess *s, struct expansion *x, const char *what)
{
    log_event(LOG_LV_WARN, s->cfg->cleanup_ident, "alias.restricted",
              LOG_F(LF_Z("qid", s->tx->id), LF_S("rcpt", x->rcpt->addr)),
              "%s: %s: alias of %.*s -- message not accepted", s->tx->id, what,
              SL_ARG(x->rcpt->addr));
    x->refusal = arena_printf(&s->tx->mem, "550 5.7.1 <%.*s>: Recipient address rejected: %s",
                              SL_ARG(x->rcpt->addr), what);
    finish(s, x, x->refusal ? EXPAND_REFUSED : EXPAND_TEMP);
}

const char *
expand_refusal(const struct smtpd_sess *s)
{
    return s->tx->expansion->refusal;
}

void
expand_next(struct smtpd_sess *s, struct expansion *x)
{
    if (x->is_over)
        return;
    x->at = NULL;
    x->must_go_on = true;
    if (!x->is_running)
        run(s, x);
}

/* ---- results ---- */

/* Another recipient leads there, too, and one copy is enough: who wants to be told of it is told (RFC 3461 §4.1; no
 * NOTIFY is to be told of a failure). */
static void
add_notify(struct queue_rcpt *out, const struct smtpd_rcpt *also, unsigned notify)
{
    bool has_default = out->notify == 0 || notify == 0;

    if (notify == out->notify || notify == SMTP_NOTIFY_NEVER)
        return;
    if (out->notify == SMTP_NOTIFY_NEVER) {
        out->orig = also->addr;
        out->orcpt = also->orcpt;
        out->notify = notify;
        return;
    }
    out->notify |= notify | (has_default ? SMTP_NOTIFY_FAILURE : 0);
}

/* What makes two results one: the same place, and the same one to hear of failures. */
static void
result_key(const struct queue_rcpt *r, struct buf *key)
{
    if (r->target.n > 0) {
        buf_addc(key, r->kind == RCPT_COMMAND ? '|' : '/');
        buf_adds(key, r->target);
    } else {
        for (size_t i = 0; i < r->addr.n; i++)
            buf_addc(key, sl_lower_char(r->addr.p[i]));
    }
    if (r->has_sender) {
        buf_addc(key, '\0');
        buf_adds(key, r->sender);
    }
}

/* Its place in out. */
static size_t
place(struct expansion *x, const struct queue_rcpt *r)
{
    struct buf key = { 0 };
    uintptr_t had; /* from 1 */

    result_key(r, &key);
    had = (uintptr_t)map_get(x->seen, buf_slice(&key));
    if (!had) {
        x->out = mem_grow(x->out, &x->cap_out, x->n_out + 1, sizeof(*x->out));
        x->out[x->n_out++] = *r;
        had = x->n_out;
        map_set(x->seen, buf_slice(&key), (void *)had);
    }
    buf_free(&key);
    return had - 1;
}

static bool
has_own(const struct expansion *x, size_t at)
{
    /* What is behind n_before is this recipient's. */
    for (size_t i = 0; at < x->n_before && i < x->n_own; i++)
        if (x->own[i] == at)
            return true;
    return false;
}

bool
expand_result(struct smtpd_sess *s, struct expansion *x, enum queue_rcpt_kind kind,
              struct slice addr, struct slice target)
{
    size_t most = x->is_local ? LOCAL_RESULTS_MAX
                              : (size_t)s->cfg->conf->virtual_alias_expansion_limit,
           n_out = x->n_out, at;
    struct queue_rcpt r = { .kind = kind,
                            .addr = arena_dup(&s->tx->mem, addr),
                            .orig = x->rcpt->addr,
                            .orcpt = x->rcpt->orcpt,
                            .notify = x->rcpt->notify };

    if (target.n > 0)
        r.target = arena_dup(&s->tx->mem, target);
    if (r.addr.p == NULL || (target.n > 0 && r.target.p == NULL) || ++x->n_of_rcpt > most ||
        x->n_out >= QUEUE_RCPTS_MAX - 1) {
        expand_give_up(s, x, EXPAND_LOOP, "size");
        return false;
    }
    r.is_forwarded = s->tx->wishes.redirect.n || x->rcpt->is_forwarded ||
                     (x->at->from && x->at->kind == ITEM_ADDRESS && !sl_ieq(addr, x->rcpt->addr));
    if (x->at->owner) {
        r.has_sender = true;
        r.sender = *x->at->owner;
    }
    if (kind == RCPT_ADDRESS && x->at->kind == ITEM_ADDRESS &&
        conf_list_has(s->cfg->conf->prepend_delivered_header, "forward"))
        r.alias = expand_led_by(x->at, &s->tx->mem);
    at = place(x, &r);
    if (at == n_out && !x->at->is_unknown && kind != RCPT_REFUSED && !x->rcpt->is_copy)
        x->n_good++;
    if (at < n_out && (at >= x->n_before || has_own(x, at)))
        return true; /* by two ways */
    x->own = mem_grow(x->own, &x->cap_own, x->n_own + 1, sizeof(*x->own));
    x->own[x->n_own++] = at;
    return true;
}

void
expand_emit(struct smtpd_sess *s, struct expansion *x, struct slice addr)
{
    if (expand_result(s, x, RCPT_ADDRESS, addr, SL("")))
        expand_next(s, x);
}

/* All results of a recipient are known, so is what becomes of its wishes to be told (RFC 3461 §5.2.7). One result: it
 * inherits them. More: success is that it was expanded, and told now. A list, which has an owner: the same, and what comes
 * after is between the owner and the members. False: memory is full. */
static bool
settle_notify(struct smtpd_sess *s, struct expansion *x)
{
    unsigned notify = x->rcpt->notify;
    bool is_expanded = x->n_own > 1;

    for (size_t i = 0; i < x->n_own; i++)
        is_expanded = is_expanded || x->out[x->own[i]].has_sender;
    is_expanded = is_expanded && (notify & SMTP_NOTIFY_SUCCESS);
    if (is_expanded)
        notify = notify == SMTP_NOTIFY_SUCCESS ? SMTP_NOTIFY_NEVER : notify & ~SMTP_NOTIFY_SUCCESS;
    for (size_t i = 0; i < x->n_own; i++) {
        struct queue_rcpt *r = &x->out[x->own[i]];

        if (r->has_sender) {
            r->notify = 0;
            r->orcpt = sl_z(arena_printf(&s->tx->mem, "rfc822;%.*s", SL_ARG(r->addr)));
            if (r->orcpt.p == NULL)
                return false;
        } else if (x->own[i] < x->n_before) {
            add_notify(r, x->rcpt, notify);
        } else {
            r->notify = notify;
        }
    }
    if (is_expanded && x->n_out < QUEUE_RCPTS_MAX) {
        x->out = mem_grow(x->out, &x->cap_out, x->n_out + 1, sizeof(*x->out));
        x->out[x->n_out++] = (struct queue_rcpt){ .kind = RCPT_EXPANDED,
                                                  .addr = x->rcpt_addr,
                                                  .orig = x->rcpt->addr,
                                                  .orcpt = x->rcpt->orcpt,
                                                  .notify = SMTP_NOTIFY_SUCCESS };
    }
    return true;
}

/* ---- items ---- */

struct item *
expand_add(struct smtpd_sess *s, struct expansion *x, struct item *from, struct slice addr,
           enum item_kind kind)
{
    struct item *i = ARENA_NEW(&s->tx->mem, struct item);

    if (i == NULL)
        return NULL;
    i->addr = arena_dup(&s->tx->mem, addr);
    if (i->addr.p == NULL)
        return NULL;
    i->from = from;
    i->kind = kind;
    i->owner = from ? from->owner : NULL;
    i->depth = from ? from->depth + 1 : 0;
    *x->end = i;
    x->end = &i->next;
    if (from && kind == ITEM_ADDRESS && from->kind == ITEM_ADDRESS && sl_ieq(addr, from->addr))
        i->is_final = true;
    return i;
}

/* The address among those it came from, by a detour: NULL when there is none. */
static const struct item *
find_ancestor(const struct item *i)
{
    for (const struct item *p = i->from; p; p = p->from)
        if (p->kind == i->kind && sl_ieq(p->addr, i->addr))
            return p;
    return NULL;
}

/* ---- one address ---- */

static void
alias_step(struct smtpd_sess *s, struct expansion *x)
{
    if (x->at->is_final || s->cfg->conf->virtual_alias_maps.n == 0)
        expand_local(s, x);
    else
        find_addr(s, "virtual_alias_maps", x->info.to.addr, x->info.to.is_local, expand_on_virtual,
                  x);
}

/* A sender of ours: what was forwarded under it comes back, for the one it stands for. */
static void
on_srs(struct smtpd_sess *s, void *arg, enum srs_verdict v, struct slice value)
{
    struct expansion *x = arg;

    if (v == SRS_UNKNOWN)
        expand_lookup_failed(s, x);
    else if (v != SRS_STANDS) /* nobody's: who checks no recipients bounces it */
        alias_step(s, x);
    else if (expand_add(s, x, x->at, value, ITEM_ADDRESS))
        expand_next(s, x);
    else
        expand_give_up(s, x, EXPAND_LOOP, "size");
}

static void
on_route(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct expansion *x = arg;

    (void)value;
    (void)ext;
    if (f == FOUND_TEMP)
        expand_lookup_failed(s, x);
    else if (f == FOUND_NO) /* an alias leads to what is no address: it will bounce */
        expand_emit(s, x, x->at->addr);
    else
        srs_ask(s, x->at->addr, on_srs, x); /* the route has lost the case */
}

static void
item_step(struct smtpd_sess *s, struct expansion *x)
{
    const struct item *before = x->at->is_final ? NULL : find_ancestor(x->at);

    /* The command's memory holds nothing but what the last address was asked with; a message may have thousands. Whoever is
     * on the stack above has said its last word by calling back. */
    arena_reset(&s->smtp.cmd);

    if (x->at->depth > (unsigned)s->cfg->conf->virtual_alias_recursion_limit ||
        (before && !before->maps_to_itself && x->at->kind == ITEM_ADDRESS)) {
        expand_give_up(s, x, EXPAND_LOOP, "nesting");
        return;
    }
    if (before) /* itself again, now for good: the mailbox */
        x->at->is_final = x->at->no_alias = x->at->is_again = true;
    if (x->at->kind != ITEM_ADDRESS) {
        (x->at->kind == ITEM_NAME ? expand_name : expand_include)(s, x);
        return;
    }
    x->info = (struct addr_info){ .given = x->at->addr };
    find_route(s, &x->info, &s->smtp.cmd, on_route, x);
}

/* REDIRECT: the first recipient's place is taken by this address, which no virtual alias changes any more; the others
 * get nothing. */
static bool
add_redirected(struct smtpd_sess *s, struct expansion *x)
{
    struct slice to = smtp_addr_rewrite(&s->cfg->rules, s->tx->wishes.redirect, &s->smtp.cmd);

    if (!expand_add(s, x, NULL, to, ITEM_ADDRESS))
        return false;
    x->first->is_final = true;
    return true;
}

static bool
add_recipient(struct smtpd_sess *s, struct expansion *x)
{
    x->n_of_rcpt = x->n_own = 0;
    x->n_before = x->n_out;
    x->is_local = false;
    x->end = &x->first;
    x->rcpt_addr = x->rcpt->mapped;
    if (x->rcpt_addr.p == NULL) /* not through rewrite.c: a notice, a message that goes elsewhere */
        x->rcpt_addr =
            arena_dup(&s->tx->mem, smtp_addr_rewrite(&s->cfg->rules, x->rcpt->addr, &s->smtp.cmd));
    if (x->rcpt_addr.p == NULL)
        return false;
    if (s->tx->wishes.redirect.n)
        return add_redirected(s, x);
    return expand_add(s, x, NULL, x->rcpt_addr, ITEM_ADDRESS) != NULL;
}

/* The next address of this recipient, or the next recipient's. False: all done. */
static bool
take_item(struct smtpd_sess *s, struct expansion *x)
{
    if (x->first == NULL) {
        if (x->rcpt && !settle_notify(s, x)) {
            expand_give_up(s, x, EXPAND_TEMP, "size");
            return false;
        }
        if (x->rcpt && s->tx->wishes.redirect.n)
            return false;
        x->rcpt = x->rcpt ? x->rcpt->next : s->tx->first;
        if (x->rcpt == NULL)
            return false;
        if (!add_recipient(s, x)) {
            expand_give_up(s, x, EXPAND_TEMP,
                           "size"); /* never the message without this recipient */
            return false;
        }
    }
    x->at = x->first;
    x->first = x->at->next;
    if (x->first == NULL)
        x->end = &x->first;
    return true;
}

static void
run(struct smtpd_sess *s, struct expansion *x)
{
    x->is_running = true;
    for (;;) {
        x->must_go_on = false;
        if (!take_item(s, x)) { /* all done, or given up */
            x->is_over = true;
            break;
        }
        item_step(s, x);
        if (!x->must_go_on || x->is_over)
            break;
    }
    x->is_running = false;
    if (x->is_over) /* last: with it x may go */
        tell(s, x);
}

void
expand_recipients(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, enum expand_rc rc,
                                                     const struct queue_rcpt *rcpts, size_t n))
{
    struct expansion *x = MEM_NEW(struct expansion);

    expand_free(&s->tx->expansion);
    s->tx->expansion = x;
    x->seen = map_new();
    x->done = done;
    x->end = &x->first;
    run(s, x);
}
