/* lmtp/warner.c - see warner.h.
 *
 * What has been told is kept, not what has happened: for each user who is over a mark, quota-warnings.db beside quota.db has the
 * marks that he is over, and the message that he is owed. A look at a user compares the marks with his usage now, writes what
 * is new together with the name of the message it calls for, delivers the message under that name, and crosses it off.
 * So a message that was lost is owed still, and one that was delivered is found by its name. Who is killed between a
 * change and a look leaves a difference, which the next look finds: after any change, and when a process that changes
 * mailboxes starts - it may follow one that was killed - everybody is looked at, a few at a time. */
#include "lmtp/warner.h"

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "lmtp/lmtpd.h"
#include "lmtp/told.h"
#include "lmtp/warning_text.h"
#include "store/quota.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MARKS_MAX = 62, /* of quota_warning; bits */
    LOOKS_MAX = 4,  /* users looked at at once */
    RETRY_MS = 60 * 1000,
    SWEEP_EVERY_MS = 5000 /* at most */
};

struct person {
    struct list link; /* in waiting, or nowhere */
    uint64_t id;
    char *user;
    uint64_t marks; /* those that he has been told of */
    bool is_busy, must_look;
    struct timer retry;
};

struct look { /* a person's, while the pool or the deliverer has it */
    struct work_job work;
    uint64_t person;
    struct conf *conf;
    struct buf mem;
    struct slice user;
    struct store_userdb db;
    uint64_t marks;
    char ident[TOLD_IDENT_OCTETS]; /* "": nothing is owed */
    bool may_be_repeat;
    bool is_gone; /* no such user */
    struct buf text;
    struct deliver_msg *msg;
    uint64_t id;
    int rc;
    struct err err;
};

static struct db *db; /* the pool's, which has one thread */
static struct work_pool *pool;
static struct map *people;
static struct list waiting = { &waiting, &waiting };
static size_t n_looks;

static struct { /* everybody is looked at */
    struct work_job work;
    struct timer timer;
    struct buf users; /* NUL after each */
    size_t at;        /* in users */
    bool is_wanted, is_out;
    uint64_t ended_ms;
} sweep;

static void look_next(void);
static void sweep_want(void);

/* ---- marks ---- */

static uint64_t
marks_of(const struct quota_rules *r, const struct quota_usage *u)
{
    const struct quota_warning *w;
    uint64_t marks = 0;

    for (size_t i = 0; i < MARKS_MAX && (w = quota_rules_warning(r, i)) != NULL; i++)
        if ((w->at.octets > 0 && u->octets >= w->at.octets) ||
            (w->at.messages > 0 && u->messages >= w->at.messages))
            marks |= UINT64_C(1) << i;
    return marks;
}

/* The first row that a change of marks calls for, as Dovecot has it; -1: none. Where the limit is gone there is nothing to
 * tell. */
static int64_t
mark_due(const struct quota_rules *r, uint64_t was, uint64_t now)
{
    const struct quota_warning *w;

    for (size_t i = 0; i < MARKS_MAX && (w = quota_rules_warning(r, i)) != NULL; i++) {
        uint64_t changed = w->is_below ? was & ~now : now & ~was;

        if ((changed >> i & 1) && (w->at.octets > 0 || w->at.messages > 0))
            return (int64_t)i;
    }
    return -1;
}

/* ---- on the pool ---- */

static int
look_compare(struct look *k, const struct quota_rules *r, const struct quota_usage *u)
{
    struct told t;

    if (told_load(db, k->user, &t, &k->err) < 0)
        return -1;
    k->may_be_repeat = t.ident[0] != '\0';
    if (!k->may_be_repeat) { /* else first things first */
        uint64_t now = marks_of(r, u);
        char hex[25];

        if (now == t.marks) {
            k->marks = now;
            return 0;
        }
        t.mark = mark_due(r, t.marks, now);
        t.marks = now;
        rand_hex(hex, 24);
        if (t.mark >= 0)
            snprintf(t.ident, sizeof t.ident, "quota.%s", hex);
        if (told_save(db, k->user, &t, &k->err) < 0)
            return -1;
    }
    k->marks = t.marks;
    memcpy(k->ident, t.ident, sizeof k->ident);
    if (k->ident[0] != '\0') {
        const struct quota_warning *w = quota_rules_warning(r, (size_t)t.mark);
        struct warning_about about = { .user = k->user,
                                       .is_below = w && w->is_below,
                                       .is_messages = w && w->at.octets == 0,
                                       .usage = *u };

        warning_text(k->conf, &about, &k->text);
    }
    return 0;
}

static enum work_rc
run_look(struct work_job *work)
{
    struct look *k = CONTAINER_OF(work, struct look, work);
    struct quota_rules *r = NULL;
    struct quota_usage u;

    if (k->is_gone) {
        k->rc = told_save(db, k->user, &(struct told){ .mark = -1 }, &k->err);
        return WORK_DONE;
    }
    k->rc = quota_rules_new(k->conf, k->db.quota, &r, &k->err);
    if (k->rc == 0)
        k->rc = quota_usage(deliverer_store(lmtpd_env.deliverer), k->user, &k->db, &u, &k->err);
    if (k->rc == 0)
        k->rc = look_compare(k, r, &u);
    quota_rules_free(&r);
    return WORK_DONE;
}

static enum work_rc
run_cross_off(struct work_job *work)
{
    struct look *k = CONTAINER_OF(work, struct look, work);
    struct told t = { .marks = k->marks, .mark = -1 };

    k->rc = told_save(db, k->user, &t, &k->err);
    return WORK_DONE;
}

/* ---- on the loop ---- */

static struct person *
person_of(struct slice user)
{
    struct person *p = map_get(people, user);

    if (p)
        return p;
    p = MEM_NEW(struct person);
    p->user = sl_dupz(user);
    p->id = id_add(p);
    list_init(&p->link);
    map_set(people, user, p);
    return p;
}

static void
person_free(struct person *p)
{
    map_del(people, sl_z(p->user));
    timer_stop(&p->retry);
    list_remove(&p->link);
    id_del(p->id);
    free(p->user);
    free(p);
}

static void
want_look(struct person *p)
{
    if (p->is_busy) {
        p->must_look = true;
        return;
    }
    timer_stop(&p->retry);
    list_remove(&p->link);
    list_push_back(&waiting, &p->link);
    look_next();
}

static void
retry(void *arg)
{
    want_look(arg);
}

/* The look is over, well or not. */
static void
end_look(struct person *p, bool is_good)
{
    n_looks--;
    p->is_busy = false;
    if (p->must_look)
        want_look(p);
    else if (!is_good)
        timer_start(&p->retry, RETRY_MS, retry, p);
    else if (p->marks == 0)
        person_free(p);
    look_next();
}

static void
look_free(struct look *k)
{
    if (k->msg)
        deliver_msg_free(&k->msg);
    conf_unref(&k->conf);
    buf_free(&k->mem);
    buf_free(&k->text);
    free(k);
}

static void
look_failed(struct look *k)
{
    struct person *p = id_get(k->person);

    log_error("quota.warning", LOG_F(LF_S("user", k->user), LF_Z("why", k->err.msg)),
              "quota-warning(%.*s): %s", SL_ARG(k->user), k->err.msg);
    look_free(k);
    if (p)
        end_look(p, false);
}

static void
done_all(struct work_job *work)
{
    struct look *k = CONTAINER_OF(work, struct look, work);
    struct person *p = id_get(k->person);

    if (k->rc != 0) {
        look_failed(k);
        return;
    }
    if (p) {
        p->marks = k->is_gone ? 0 : k->marks;
        p->must_look = p->must_look || k->may_be_repeat; /* what else there is to tell */
    }
    look_free(k);
    if (p)
        end_look(p, true);
}

static void
on_delivered(uint64_t id, int rc, const struct err *e)
{
    struct look *k = id_get(id);

    if (k == NULL)
        return;
    id_del(id);
    if (rc != 0) {
        k->err = *e;
        look_failed(k);
        return;
    }
    log_info("quota.warned", LOG_F(LF_S("user", k->user), LF_Z("ident", k->ident)),
             "quota-warning(%.*s): saved mail to INBOX", SL_ARG(k->user));
    k->work = (struct work_job){ .run = run_cross_off, .done = done_all };
    work_submit(pool, &k->work);
}

static void
done_look(struct work_job *work)
{
    struct look *k = CONTAINER_OF(work, struct look, work);
    struct deliver_rcpt to = { .user = k->user,
                               .db = k->db,
                               .mailbox = SL("INBOX"),
                               .prepend = SL(""),
                               .ident = sl_z(k->ident),
                               .may_be_repeat = k->may_be_repeat,
                               .ignores_quota = true };

    if (k->rc != 0 || k->ident[0] == '\0') {
        done_all(work);
        return;
    }
    k->msg = deliver_msg_new(lmtpd_env.deliverer);
    deliver_msg_write(k->msg, buf_slice(&k->text));
    k->id = id_add(k);
    deliver(k->msg, &to, on_delivered, k->id);
}

static struct slice
keep(struct look *k, size_t *at, struct slice s)
{
    struct slice kept = sl_n(buf_slice(&k->mem).p + *at, s.n);

    *at += s.n;
    return kept;
}

static void
on_user(uint64_t id, const struct auth_user *u)
{
    struct person *p = id_get(id);
    struct look *k;
    size_t at = 0;

    if (p == NULL)
        return;
    if (u->found < 0) {
        end_look(p, false);
        return;
    }
    k = MEM_NEW(struct look);
    k->person = id;
    k->conf = conf_ref(lmtpd_env.conf);
    k->is_gone = u->found == 0;
    buf_addz(&k->mem, p->user);
    buf_adds(&k->mem, u->mail);
    buf_adds(&k->mem, u->quota);
    k->user = keep(k, &at, sl_z(p->user));
    k->db.mail = keep(k, &at, u->mail);
    k->db.quota = keep(k, &at, u->quota);
    k->work = (struct work_job){ .run = run_look, .done = done_look };
    work_submit(pool, &k->work);
}

/* Who waits to be looked at, then the next of the sweep. */
static struct person *
take_next(void)
{
    struct list *n = list_pop_front(&waiting);
    struct slice rest = sl_from(buf_slice(&sweep.users), sweep.at), user;

    if (n) {
        list_init(n);
        return CONTAINER_OF(n, struct person, link);
    }
    while (!sweep.is_out && sl_take_until(&rest, '\0', &user)) {
        struct person *p = person_of(user);

        sweep.at = sweep.users.n - rest.n;
        if (!p->is_busy)
            return p;
    }
    if (!sweep.is_out && sweep.users.n > 0) {
        buf_free(&sweep.users);
        sweep.at = 0;
        sweep.ended_ms = loop_now_ms();
        if (sweep.is_wanted)
            sweep_want();
    }
    return NULL;
}

static void
look_next(void)
{
    struct person *p;

    while (n_looks < LOOKS_MAX && (p = take_next()) != NULL) {
        timer_stop(&p->retry);
        n_looks++;
        p->is_busy = true;
        p->must_look = false;
        auth_master_user(lmtpd_env.auth, sl_z(p->user), "quota-warning", on_user, p->id);
    }
}

/* ---- everybody ---- */

static bool
add_to_sweep(void *arg, struct slice user, const struct quota_usage *u, bool is_counted)
{
    (void)arg;
    (void)u;
    if (is_counted) { /* others' usage is nobody's yet */
        buf_adds(&sweep.users, user);
        buf_addc(&sweep.users, '\0');
    }
    return true;
}

static enum work_rc
run_sweep(struct work_job *work)
{
    struct err e = { 0 };

    (void)work;
    if (quota_each(deliverer_store(lmtpd_env.deliverer), SL(""), add_to_sweep, NULL, &e) < 0)
        log_error("quota.warning", LOG_F(LF_Z("why", e.msg)), "quota-warning: %s", e.msg);
    return WORK_DONE;
}

static void
done_sweep(struct work_job *work)
{
    (void)work;
    sweep.is_out = false;
    look_next();
}

static void
sweep_begin(void *arg)
{
    (void)arg;
    sweep.is_wanted = false;
    sweep.is_out = true;
    sweep.work = (struct work_job){ .run = run_sweep, .done = done_sweep };
    work_submit(pool, &sweep.work);
}

static void
sweep_want(void)
{
    uint64_t next_ms = sweep.ended_ms ? sweep.ended_ms + SWEEP_EVERY_MS : 0, now = loop_now_ms();

    if (sweep.is_out || sweep.users.n > 0)
        sweep.is_wanted = true;
    else if (!timer_is_running(&sweep.timer))
        timer_start(&sweep.timer, next_ms > now ? next_ms - now : 0, sweep_begin, NULL);
}

void
warner_look(struct slice user)
{
    if (people && user.n > 0)
        want_look(person_of(user));
    else if (people)
        sweep_want();
}

/* ---- what the deliverer charges ---- */

struct news {
    uint64_t marks;
    char user[];
};

static void
on_news(void *arg)
{
    struct news *n = arg;
    const struct person *p = map_get(people, sl_z(n->user));

    if (p ? p->is_busy || p->marks != n->marks : n->marks != 0)
        warner_look(sl_z(n->user));
    free(n);
}

/* From any thread. */
static void
on_change(void *arg, const struct quota_change *c)
{
    struct news *n;

    (void)arg;
    if (quota_rules_warning(c->rules, 0) == NULL)
        return;
    n = mem_alloc(sizeof *n + c->user.n + 1);
    n->marks = marks_of(c->rules, &c->now);
    memcpy(n->user, c->user.p, c->user.n);
    n->user[c->user.n] = '\0';
    loop_call_from_thread(on_news, n);
}

/* ---- the beginning ---- */

static void
remember(void *arg, struct slice user, const struct told *t)
{
    (void)arg;
    person_of(user)->marks = t->marks;
}

/* Those who have been told something, or are owed it, come first. */
static void
look_at_all(void *arg)
{
    size_t it = 0;
    struct slice user;
    void *p;

    (void)arg;
    while (map_next(people, &it, &user, &p))
        want_look(p);
    sweep_want();
}

void
warner_start(void)
{
    struct err e = { 0 };

    people = map_new();
    if (told_open(lmtpd_env.conf, &db, &e) < 0 || told_each(db, remember, NULL, &e) < 0) {
        log_error("quota.warning", LOG_F(LF_Z("why", e.msg)),
                  "quota-warning: nobody is written to: %s", e.msg);
        map_free(&people, NULL);
        return;
    }
    pool = work_pool_new("warn", 1, 0);
    quota_on_change(deliverer_store(lmtpd_env.deliverer), on_change, NULL);
    loop_defer(look_at_all, NULL);
}
