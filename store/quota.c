/* store/quota.c - see quota.h: what others ask. */
#include "store/store_int.h"

#include "base/mem.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

void
quota_on_change(struct store *s, void (*fn)(void *arg, const struct quota_change *c), void *arg)
{
    if (s->quota == NULL)
        return;
    s->quota->on_change = fn;
    s->quota->on_change_arg = arg;
}

static struct slice
quota_field(const struct store_userdb *db)
{
    return db == NULL ? sl_n(NULL, 0) : db->quota;
}

/* Rules of a user; wrong ones are ERR_TEMP. */
static int
rules_for(struct store *s, const struct store_userdb *db, struct quota_rules **out, struct err *e)
{
    if (quota_rules_over(s->quota->rules, quota_field(db), out, e) == 0)
        return 0;
    e->kind = ERR_TEMP;
    return -1;
}

/* ---- counting ---- */

/* Nobody has mail where there is no Maildir: no index is made to find that out. */
static int
count_absent(struct quota *q, struct slice user, const struct quota_rules *r,
             struct quota_usage *out, struct err *e)
{
    struct quota_row row;
    int rc;

    if (quota_begin(q, true, e))
        return -1;
    rc = quota_row_take(q, user, &row, e);
    if (rc == 0) {
        row.is_counted = true;
        row.octets = row.messages = 0; /* of a Maildir that was there once */
        row.ignored = quota_rules_ignored(r);
        rc = quota_row_save(q, &row, e);
    }
    if (rc == 0)
        rc = quota_deliveries_gone(q, row.id, e);
    if (rc == 0)
        rc = quota_row_load(q, user, &row, e) < 0 ? -1 : quota_row_usage(q, user, &row, r, out, e);
    return quota_end(q, true, rc, e);
}

static int
count(struct store *s, struct slice user, const struct store_userdb *db,
      const struct quota_rules *r, void (*progress)(void *arg, struct slice mailbox), void *arg,
      struct quota_usage *out, struct err *e)
{
    struct location where;
    struct store_user *u;
    struct stat st;
    int rc;

    if (location_resolve(s->conf, user, db == NULL ? sl_n(NULL, 0) : db->mail, &where, e))
        return -1;
    rc = stat(where.root, &st) && errno == ENOENT;
    location_free(&where);
    if (rc)
        return count_absent(s->quota, user, r, out, e);
    if (store_user_open(s, user, db, &u, e))
        return -1;
    rc = quota_recount_user(u, progress, arg, out, e);
    store_user_close(&u);
    return rc;
}

int
quota_recount(struct store *s, struct slice user, const struct store_userdb *db,
              void (*progress)(void *arg, struct slice mailbox), void *arg, struct quota_usage *out,
              struct err *e)
{
    struct quota_usage mine;
    struct quota_rules *r;
    int rc;

    if (out == NULL)
        out = &mine;
    memset(out, 0, sizeof(*out));
    if (s->quota == NULL)
        return err_set(e, ERR_CONFIG, "quota is off");
    if (rules_for(s, db, &r, e))
        return -1;
    rc = count(s, user, db, r, progress, arg, out, e);
    quota_rules_free(&r);
    return rc;
}

/* ---- usage, checks ---- */

static int
usage_by(struct store *s, struct slice user, const struct store_userdb *db,
         const struct quota_rules *r, struct quota_usage *out, struct err *e)
{
    struct quota *q = s->quota;
    struct quota_row row;
    int rc;

    if (quota_begin(q, false, e))
        return -1;
    rc = quota_row_load(q, user, &row, e);
    if (rc == 1 && (!row.is_counted || row.ignored != quota_rules_ignored(r)))
        rc = 0;
    else if (rc == 1)
        rc = quota_row_usage(q, user, &row, r, out, e) ? -1 : 1;
    if (quota_end(q, false, rc < 0 ? -1 : 0, e))
        return -1;
    return rc == 1 ? 0 : count(s, user, db, r, NULL, NULL, out, e);
}

int
quota_usage(struct store *s, struct slice user, const struct store_userdb *db,
            struct quota_usage *out, struct err *e)
{
    struct quota_rules *r;
    int rc;

    memset(out, 0, sizeof(*out));
    if (s->quota == NULL)
        return 0;
    if (rules_for(s, db, &r, e))
        return -1;
    rc = usage_by(s, user, db, r, out, e);
    quota_rules_free(&r);
    return rc;
}

int
quota_check(struct store *s, const struct quota_ask *ask, struct err *e)
{
    struct buf name = { 0 };
    struct quota_rules *r = NULL;
    struct quota_usage usage = { 0 };
    struct quota_limit limit;
    struct location where;
    int rc = -1;

    if (s->quota == NULL)
        return 0;
    if (location_resolve(s->conf, ask->user, ask->db == NULL ? sl_n(NULL, 0) : ask->db->mail,
                         &where, e))
        goto out;
    if (name_normalise(&where, ask->mailbox.n > 0 ? ask->mailbox : SL("INBOX"), &name, e) ||
        rules_for(s, ask->db, &r, e))
        goto out;
    if (!quota_rules_limit(r, buf_slice(&name), where.separator, &limit))
        rc = 0;
    else if (!quota_rules_limited(r, ask->user) ||
             usage_by(s, ask->user, ask->db, r, &usage, e) == 0)
        rc = quota_judge(r, &usage, &limit, ask->octets, ask->messages, ask->max_octets, ask->flags,
                         e);
out:
    quota_rules_free(&r);
    location_free(&where);
    buf_free(&name);
    return rc;
}

/* ---- everybody ---- */

struct listed {
    char *name;
    struct quota_row row;
};

int
quota_each(struct store *s, struct slice domain,
           bool (*fn)(void *arg, struct slice user, const struct quota_usage *usage,
                      bool is_counted),
           void *arg, struct err *e)
{
    struct listed *v = NULL;
    size_t n = 0, cap = 0;
    struct quota *q = s->quota;
    struct db_stmt *st;
    int rc, more = 0;

    if (q == NULL)
        return err_set(e, ERR_CONFIG, "quota is off");
    if (quota_begin(q, false, e))
        return -1;
    rc = db_prepare(q->db,
                    "SELECT name, is_counted, octets + open_octets, messages + open_messages"
                    " FROM users WHERE ?1 = '' OR domain = lower(?1) ORDER BY domain, name",
                    &st, e);
    if (rc == 0)
        db_bind_text(st, 1, domain.n > 0 ? domain : SL(""));
    while (rc == 0 && (more = db_step(st, e)) == 1) {
        v = mem_grow(v, &cap, n + 1, sizeof(v[0]));
        v[n].name = sl_dupz(db_text(st, 0));
        v[n].row.is_counted = db_int(st, 1) != 0;
        v[n].row.octets = db_int(st, 2);
        v[n].row.messages = db_int(st, 3);
        n++;
    }
    rc = quota_end(q, false, more < 0 ? -1 : rc, e);
    for (size_t i = 0, go = 1; i < n; i++) { /* fn may take its time: nothing is locked */
        struct quota_usage usage = { .octets = v[i].row.octets, .messages = v[i].row.messages };

        if (rc == 0 && go)
            go = fn(arg, sl_z(v[i].name), &usage, v[i].row.is_counted);
        free(v[i].name);
    }
    free(v);
    return rc;
}

int
quota_forget(struct store *s, struct slice user, struct err *e)
{
    struct quota *q = s->quota;
    struct db_stmt *st;
    int rc;

    if (q == NULL)
        return 0;
    if (quota_begin(q, true, e))
        return -1;
    rc = db_prepare(q->db, "DELETE FROM users WHERE name = ?", &st, e);
    if (rc == 0) {
        db_bind_text(st, 1, user);
        rc = db_run(st, e);
    }
    return quota_end(q, true, rc, e);
}
