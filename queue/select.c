/* queue/select.c - see select.h. */
#include "queue/select.h"

#include "base/arena.h"
#include "base/mem.h"
#include "session/queue_id.h"

#include <stdlib.h>

enum about { BY_SENDER, BY_RCPT, BY_DEST, BY_REASON, BY_ACCOUNT, BY_STATE, BY_AGE, BY_SIZE };

static const struct {
    const char *name;
    enum about about;
    bool is_number;
} names[] = {
    { "sender", BY_SENDER, false }, { "from", BY_SENDER, false },
    { "to", BY_RCPT, false },       { "recipient", BY_RCPT, false },
    { "dest", BY_DEST, false },     { "destination", BY_DEST, false },
    { "reason", BY_REASON, false }, { "account", BY_ACCOUNT, false },
    { "state", BY_STATE, false },   { "age", BY_AGE, true },
    { "size", BY_SIZE, true },
};

struct select {
    struct arena mem;
    struct {
        enum about about;
        char op; /* '=', '!', '<', '>' */
        struct slice pattern;
        uint64_t number;
    } conds[SELECT_WORDS_MAX];
    size_t n_conds;
    struct {
        uint64_t n;
        char id[QUEUE_ID_TEXT_OCTETS];
    } * ids;
    size_t n_ids, cap_ids;
    bool is_all;
};

/* ---- reading words ---- */

/* A number and its unit; a bare number is of the first. */
static bool
take_amount(struct slice in, const char *units, const uint64_t *factors, uint64_t *out)
{
    uint64_t factor = 1;

    if (!sl_take_u64(&in, out) || in.n > 1)
        return false;
    if (in.n == 1) {
        const char *at = strchr(units, in.p[0]);

        if (at == NULL || in.p[0] == '\0')
            return false;
        factor = factors[at - units];
    }
    return !__builtin_mul_overflow(*out, factor, out);
}

static bool
take_number(enum about about, struct slice in, uint64_t *out)
{
    static const uint64_t spans[] = { 1, 60, 3600, 86400, 604800 };
    static const uint64_t sizes[] = { 1, 1024, 1024, 1 << 20, 1 << 20, 1 << 30, 1 << 30 };

    return about == BY_AGE ? take_amount(in, "smhdw", spans, out)
                           : take_amount(in, "bkKmMgG", sizes, out);
}

static bool
is_state(struct slice s)
{
    return sl_ieqz(s, "active") || sl_ieqz(s, "deferred") || sl_ieqz(s, "hold") ||
           sl_ieqz(s, "expired");
}

static int
add_condition(struct select *s, enum about about, bool is_number, char op, struct slice value,
              struct slice word, struct err *e)
{
    size_t k = s->n_conds;

    if (k == SELECT_WORDS_MAX)
        return err_set(e, ERR_CLIENT, "more than %d conditions", SELECT_WORDS_MAX);
    if (is_number != (op == '<' || op == '>'))
        return err_set(e, ERR_CLIENT, "\"%.*s\": %s", SL_ARG(word),
                       is_number ? "compare by < or >" : "compare by = or !=");
    if (is_number && !take_number(about, value, &s->conds[k].number))
        return err_set(e, ERR_CLIENT, "\"%.*s\": %s", SL_ARG(word),
                       about == BY_AGE ? "a time is a number and s, m, h, d or w"
                                       : "a size is a number and k, M or G");
    if (about == BY_STATE && !is_state(value))
        return err_set(e, ERR_CLIENT, "\"%.*s\": a state is active, deferred, hold or expired",
                       SL_ARG(word));
    s->conds[k].about = about;
    s->conds[k].op = op;
    s->conds[k].pattern = arena_dup(&s->mem, value);
    s->n_conds++;
    return 0;
}

static int
add_id(struct select *s, struct slice word, struct err *e)
{
    uint64_t n;

    if (!queue_id_parse(word, NULL, &n, NULL) || word.n >= QUEUE_ID_TEXT_OCTETS)
        return err_set(e, ERR_CLIENT, "\"%.*s\" is neither a queue id nor a condition",
                       SL_ARG(word));
    if (s->n_ids == SELECT_IDS_MAX)
        return err_set(e, ERR_CLIENT, "more than %d ids", SELECT_IDS_MAX);
    s->ids = mem_grow(s->ids, &s->cap_ids, s->n_ids + 1, sizeof *s->ids);
    s->ids[s->n_ids].n = n;
    memcpy(s->ids[s->n_ids].id, word.p, word.n);
    s->ids[s->n_ids++].id[word.n] = '\0';
    return 0;
}

static int
add_word(struct select *s, struct slice word, struct err *e)
{
    if (sl_eqz(word, "ALL")) {
        s->is_all = true;
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct slice value = word;
        char op;

        if (!sl_take_iprefix(&value, sl_z(names[i].name)) || value.n == 0)
            continue;
        op = value.p[0];
        if (sl_take_prefix(&value, SL("!=")) || sl_take_char(&value, '=') ||
            sl_take_char(&value, '<') || sl_take_char(&value, '>'))
            return add_condition(s, names[i].about, names[i].is_number, op, value, word, e);
    }
    return add_id(s, word, e);
}

int
select_parse(struct slice words, struct select **out, struct err *e)
{
    struct select *s = MEM_NEW(struct select);
    struct slice word;

    while (words.n > 0) {
        if (!sl_take_until(&words, '\n', &word)) {
            word = words;
            words = SL("");
        }
        if (word.n > 0 && add_word(s, word, e) != 0)
            goto bad;
    }
    if (!s->is_all && s->n_ids == 0 && s->n_conds == 0) {
        err_set(e, ERR_CLIENT, "which messages? Ids, conditions, or ALL");
        goto bad;
    }
    if (s->is_all && s->n_ids > 0) {
        err_set(e, ERR_CLIENT, "ALL or ids, not both");
        goto bad;
    }
    *out = s;
    return 0;
bad:
    select_free(&s);
    return -1;
}

void
select_free(struct select **ss)
{
    struct select *s = *ss;

    if (s == NULL)
        return;
    *ss = NULL;
    arena_free(&s->mem);
    free(s->ids);
    free(s);
}

size_t
select_ids(const struct select *s)
{
    return s->n_ids;
}

const char *
select_id(const struct select *s, size_t i, uint64_t *n)
{
    *n = s->ids[i].n;
    return s->ids[i].id;
}

/* ---- looking at messages ---- */

bool
select_pattern_fits(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SL_NPOS, star_t = 0;

    /* The last star takes one octet more whenever what follows it does not fit: no way back beyond it is needed. */
    while (t < text.n) {
        if (p < pattern.n && pattern.p[p] == '*') {
            star = p++;
            star_t = t;
        } else if (p < pattern.n && sl_lower_char(pattern.p[p]) == sl_lower_char(text.p[t])) {
            p++;
            t++;
        } else if (star != SL_NPOS) {
            p = star + 1;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (p < pattern.n && pattern.p[p] == '*')
        p++;
    return p == pattern.n;
}

const char *
select_state(const struct qdb_message *m)
{
    int64_t due = QDB_DUE_HELD;

    for (size_t k = 0; k < m->n_rcpts; k++)
        due = m->rcpts[k].due < due ? m->rcpts[k].due : due;
    return due == INT64_MIN ? "active" : due == QDB_DUE_HELD ? "hold" : "deferred";
}

bool
select_is_expired(const struct qdb_message *m)
{
    for (size_t k = 0; k < m->n_rcpts; k++)
        if (m->rcpts[k].flags & QDB_EXPIRED)
            return true;
    return false;
}

static bool
sender_fits(struct slice pattern, struct slice sender)
{
    if (sender.n == 0)
        return sl_eqz(pattern, "<>") || pattern.n == 0 || sl_ieqz(pattern, "MAILER-DAEMON") ||
               sl_eqz(pattern, "*");
    return select_pattern_fits(pattern, sender);
}

static bool
rcpt_fits(enum about about, struct slice pattern, const struct queue_rcpt *r,
          const struct qdb_rcpt *row)
{
    size_t at = sl_rfind_char(r->addr, '@');

    switch (about) {
    case BY_RCPT:
        return select_pattern_fits(pattern, r->addr) || select_pattern_fits(pattern, r->orig);
    case BY_DEST:
        return (at != SL_NPOS && select_pattern_fits(pattern, sl_from(r->addr, at + 1))) ||
               (row->hop.n > 0 && select_pattern_fits(pattern, row->hop));
    case BY_REASON:
        return row->why.n > 0 && select_pattern_fits(pattern, row->why);
    default:
        return r->has_sender && sender_fits(pattern, r->sender);
    }
}

/* Conditions about what the envelope says. */
static bool
env_fits(enum about about, struct slice pattern, const struct qdb_message *m,
         const struct queue_env *env)
{
    if (about == BY_ACCOUNT)
        return env->sasl_user.n > 0 && select_pattern_fits(pattern, env->sasl_user);
    if (about == BY_SENDER && sender_fits(pattern, env->sender))
        return true;
    if (about == BY_REASON && env->hold.n > 0 && select_pattern_fits(pattern, env->hold))
        return true;
    for (size_t k = 0; k < m->n_rcpts; k++)
        if (m->rcpts[k].i < env->n_rcpts &&
            rcpt_fits(about, pattern, &env->rcpts[m->rcpts[k].i], &m->rcpts[k]))
            return true;
    return false;
}

static bool
number_fits(char op, uint64_t value, uint64_t limit)
{
    return op == '<' ? value < limit : value > limit;
}

bool
select_fits(const struct select *s, const struct qdb_message *m, int64_t now_s)
{
    uint64_t age = now_s > m->arrived_s ? (uint64_t)(now_s - m->arrived_s) : 0;
    bool needs_env = false, fits = true;
    struct arena a = { 0 };
    struct queue_env env;
    int64_t us;

    for (size_t i = 0; i < s->n_conds && fits; i++) { /* what is cheap first */
        enum about about = s->conds[i].about;
        struct slice pattern = s->conds[i].pattern;

        if (about == BY_AGE)
            fits = number_fits(s->conds[i].op, age, s->conds[i].number);
        else if (about == BY_SIZE)
            fits = number_fits(s->conds[i].op, m->size, s->conds[i].number);
        else if (about == BY_STATE)
            fits = (sl_ieqz(pattern, "expired")
                        ? select_is_expired(m)
                        : sl_ieqz(pattern, select_state(m))) == (s->conds[i].op == '=');
        else
            needs_env = true;
    }
    if (!fits || !needs_env)
        return fits;
    if (!m->is_env_ok || queue_env_unpack(m->env, &a, &env, &us, NULL) != 0)
        fits = false;
    for (size_t i = 0; i < s->n_conds && fits; i++)
        if (s->conds[i].about < BY_STATE)
            fits = env_fits(s->conds[i].about, s->conds[i].pattern, m, &env) ==
                   (s->conds[i].op == '=');
    arena_free(&a);
    return fits;
}
