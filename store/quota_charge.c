/* store/quota_charge.c - see quota_int.h: what changes of a user's mailboxes mean for quota.db. user.lock is held; it comes
 * before the lock of quota.db. */
#include "store/store_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    CHARGE_RETRY_MS = 5000,
    CHARGE_LOOK_MS = 5000,            /* between looks for files of deliveries that are gone */
    CHARGE_LOOK_BOXES_MS = 60 * 1000, /* and for mailboxes */
    CHARGE_LOOK_ROWS = 500            /* at one */
};

static const struct quota_rules *
rules_of(const struct store_user *u)
{
    return u->rules != NULL ? u->rules : u->s->quota->rules;
}

/* For who does not hold user.lock: another session that opens the user brings his rules of now. */
static struct quota_rules *
rules_ref(struct store_user *u)
{
    struct quota_rules *r;

    pthread_mutex_lock(&u->lock);
    r = quota_rules_ref(u->rules != NULL ? u->rules : u->s->quota->rules);
    pthread_mutex_unlock(&u->lock);
    return r;
}

static void
charge_reset(struct quota_charge *c)
{
    c->n_scans = c->n_seen = 0;
    c->is_changed = c->is_recount = c->is_full = false;
    c->floor = c->seq = 0;
}

void
quota_charge_free(struct quota_charge *c)
{
    charge_reset(c);
    free(c->scans);
    free(c->seen);
    free(c->looked);
    memset(c, 0, sizeof(*c));
}

/* ---- what the index says ---- */

struct sums {
    int64_t seq, octets, messages;
};

/* All in one statement, so as of one moment. */
static int
sums_read(struct store_user *u, struct sums *out, struct err *e)
{
    const struct quota_rules *r = rules_of(u);
    struct db_stmt *s;
    int rc;

    memset(out, 0, sizeof(*out));
    if (db_prepare(u->db,
                   quota_rules_ignore_any(r)
                       ? "SELECT messages, octets, (SELECT value FROM meta WHERE key = 'seq'), name"
                         " FROM mailboxes"
                       : "SELECT coalesce(sum(messages), 0), coalesce(sum(octets), 0),"
                         " (SELECT value FROM meta WHERE key = 'seq'), '' FROM mailboxes",
                   &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        struct slice name = db_text(s, 3);
        struct quota_limit limit;

        out->seq = db_int(s, 2);
        if (name.n > 0 && !quota_rules_limit(r, name, u->loc.separator, &limit))
            continue;
        out->messages += db_int(s, 0);
        out->octets += db_int(s, 1);
    }
    return rc;
}

/* Messages of a COPY or APPEND that is being brought in, by this process or another: their sizes are in the names. A move
 * within the user brings nothing. */
static int
sums_add_pending(struct store_user *u, struct sums *out, struct err *e)
{
    const struct quota_rules *r = rules_of(u);
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT name, file FROM pending WHERE src = ''", &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1) {
        struct slice files = db_text(s, 1), one;
        struct quota_limit limit;

        if (!quota_rules_limit(r, db_text(s, 0), u->loc.separator, &limit))
            continue;
        while (record_next_name(&files, &one)) {
            char file[MAILDIR_NAME_MAX];
            struct maildir_name name;

            snprintf(file, sizeof(file), "%.*s", SL_ARG(one));
            if (!maildir_parse(file, &name))
                continue;
            out->messages++;
            out->octets += name.size == UINT64_MAX ? 0 : (int64_t)name.size;
        }
    }
    return rc;
}

/* ---- which rows of deliveries are in the sums ---- */

struct row {
    int64_t id;
    char *base, *dir, *file;
    bool is_done;
    bool is_in; /* the index has its file, or nobody has it any more */
};
struct rows {
    struct row *v;
    size_t n, cap;
};

static void
rows_free(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->v[i].base);
        free(r->v[i].dir);
        free(r->v[i].file);
    }
    free(r->v);
}

/* Up to n of them (-1: all) behind a base name. */
static int
rows_load(struct quota *q, int64_t user, const char *behind, int n, struct rows *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(q->db,
                   "SELECT id, base, dir, file, is_done FROM deliveries WHERE user = ?1 AND"
                   " base > ?2 ORDER BY base LIMIT ?3",
                   &s, e))
        return -1;
    db_bind_int(s, 1, user);
    db_bind_text(s, 2, sl_z(behind));
    db_bind_int(s, 3, n);
    while ((rc = db_step(s, e)) == 1) {
        out->v = mem_grow(out->v, &out->cap, out->n + 1, sizeof(out->v[0]));
        out->v[out->n++] = (struct row){ .id = db_int(s, 0),
                                         .base = sl_dupz(db_text(s, 1)),
                                         .dir = sl_dupz(db_text(s, 2)),
                                         .file = sl_dupz(db_text(s, 3)),
                                         .is_done = db_int(s, 4) != 0 };
    }
    return rc;
}

/* Rows of those met for the first time by the scans of this transaction leave, each found by its name: there may be very
 * many of either, and everybody's deliveries wait for this. */
static int
drop_met(struct store_user *u, int64_t user, const struct quota_scan *scan, struct err *e)
{
    /* Wherever it was delivered to: its folder may have another name by now. Should there be two of its name, the other
     * is counted by a scan. */
    struct quota *q = u->s->quota;
    struct db_stmt *s, *drop;
    int rc;

    if (db_prepare(q->db, "DELETE FROM deliveries WHERE user = ?1 AND base = ?2", &drop, e) ||
        db_prepare(u->db, "SELECT file FROM messages WHERE mailbox = ? AND uid >= ?", &s, e))
        return -1;
    db_bind_int(s, 1, scan->mailbox);
    db_bind_int(s, 2, scan->first_uid);
    while ((rc = db_step(s, e)) == 1) {
        struct slice file = db_text(s, 0);

        db_bind_int(drop, 1, user);
        db_bind_text(drop, 2, sl_head(file, sl_find_char(file, ':')));
        if (db_run(drop, e)) {
            db_reset(s);
            return -1;
        }
    }
    return rc;
}

/* Is its file not where it was delivered to? */
static bool
is_gone(const struct row *r)
{
    char *path = path_join(r->dir, r->file, NULL);
    bool is = access(path, F_OK) && (errno == ENOENT || errno == ENOTDIR);

    free(path);
    return is;
}

static int
find_anywhere(struct store_user *u, struct rows *rows, struct err *e)
{
    struct map *by_base = map_new();
    struct db_stmt *s;
    int rc = -1;

    for (size_t i = 0; i < rows->n; i++)
        map_set(by_base, sl_z(rows->v[i].base), &rows->v[i]);
    if (db_prepare(u->db, "SELECT file FROM messages", &s, e) == 0)
        while ((rc = db_step(s, e)) == 1) {
            struct slice file = db_text(s, 0);
            struct row *at = map_get(by_base, sl_head(file, sl_find_char(file, ':')));

            if (at != NULL)
                at->is_in = true;
        }
    map_free(&by_base, NULL);
    /* Neither there: gone with its folder, or moved by another program, so that a scan will meet it anew. */
    for (size_t i = 0; rc == 0 && i < rows->n; i++)
        rows->v[i].is_in = rows->v[i].is_in || (rows->v[i].is_done && is_gone(&rows->v[i]));
    return rc;
}

static int
drop_found(struct store_user *u, int64_t user, struct err *e)
{
    struct quota *q = u->s->quota;
    struct rows rows = { 0 };
    int rc = rows_load(q, user, "", -1, &rows, e);

    if (rc == 0)
        rc = find_anywhere(u, &rows, e);
    for (size_t i = 0; rc == 0 && i < rows.n; i++)
        if (rows.v[i].is_in)
            rc = quota_delivery_drop(q, rows.v[i].id, e);
    rows_free(&rows);
    return rc;
}

/* Rows that the sums now have leave in the transaction that brings the sums. */
static int
drop_rows(struct store_user *u, const struct quota_row *row, struct err *e)
{
    const struct quota_charge *c = &u->charge;
    int rc = 0;

    if (row->open_messages == 0)
        return 0;
    for (size_t i = 0; rc == 0 && i < c->n_seen; i++)
        rc = quota_delivery_drop(u->s->quota, c->seen[i], e);
    if (rc == 0 && c->is_full)
        return drop_found(u, row->id, e);
    for (size_t i = 0; rc == 0 && i < c->n_scans; i++)
        rc = drop_met(u, row->id, &c->scans[i], e);
    return rc;
}

/* ---- writing ---- */

static void
usage_of_row(const struct quota_row *r, struct quota_usage *out)
{
    memset(out, 0, sizeof(*out));
    out->octets = r->octets + r->open_octets;
    out->messages = r->messages + r->open_messages;
}

/* The sums differ from what quota.db has by this transaction, and by nothing else: not by one of another process, which
 * may have been killed before it dropped its rows, nor by another name of this Maildir. */
static bool
is_ours_alone(const struct quota_charge *c, int64_t seq, int64_t was)
{
    return seq == was || (c->is_changed && seq == c->seq && was == c->seq - 1);
}

static int
write_sums(struct store_user *u, struct quota_usage *was, struct quota_usage *now, bool *is_late,
           struct err *e)
{
    struct quota *q = u->s->quota;
    struct quota_row row;
    struct sums sums;

    /* The index is read after quota.db is locked: what it says is not older than what quota.db has of it. */
    if (quota_row_take(q, sl_z(u->name), &row, e) || sums_read(u, &sums, e))
        return -1;
    usage_of_row(&row, was);
    *now = *was;
    /* An index that fell behind, as by a power cut, and was not looked at when it was opened. */
    *is_late = sums.seq < row.seq;
    if (*is_late)
        return 0;
    if (!is_ours_alone(&u->charge, sums.seq, row.seq))
        u->charge.is_full = true;
    if (sums.seq > row.seq || u->charge.is_full) {
        row.seq = sums.seq;
        row.octets = sums.octets;
        row.messages = sums.messages;
        row.ignored = quota_rules_ignored(rules_of(u));
        row.is_counted = row.is_counted || u->charge.is_recount;
        if (quota_row_save(q, &row, e))
            return -1;
    }
    if (drop_rows(u, &row, e) || quota_row_load(q, sl_z(u->name), &row, e) < 0)
        return -1;
    usage_of_row(&row, now);
    return 0;
}

static void
charge(struct store_user *u)
{
    struct quota *q = u->s->quota;
    struct quota_change change = { .user = sl_z(u->name), .rules = rules_of(u) };
    struct err e = { 0 };
    bool is_late = false;
    int rc = -1;

    if (quota_begin(q, true, &e) == 0)
        rc = quota_end(q, true, write_sums(u, &change.was, &change.now, &is_late, &e), &e);
    if (rc) {
        if (err_is_full(&e))
            reserve_release(u->s->reserve);
        if (!u->charge.is_behind)
            log_warn("quota.behind", LOG_F(LF_Z("user", u->name)),
                     "user %s: usage is written later: %s", u->name, e.msg);
        u->charge.is_behind = true;
        u->charge.retry_ms = clock_mono_ms() + CHARGE_RETRY_MS;
        return;
    }
    u->charge.is_behind = is_late;
    u->charge.retry_ms = 0;
    if (change.was.octets == change.now.octets && change.was.messages == change.now.messages)
        return;
    change.was.limit = change.now.limit = quota_rules_user(change.rules);
    maildirsize_note(u->root, change.rules, change.now.octets - change.was.octets,
                     change.now.messages - change.was.messages, &change.now);
    if (q->on_change != NULL)
        q->on_change(q->on_change_arg, &change);
}

int
quota_before_commit(struct store_user *u, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (!u->charge.is_changed)
        return 0;
    /* Kept also while quota is off: so that the numbers differ when it is turned on. */
    if (db_prepare(u->db,
                   "INSERT INTO meta VALUES ('seq', max(?1, ?2) + 1) ON CONFLICT (key) DO UPDATE"
                   " SET value = max(value, ?2) + 1 RETURNING value",
                   &s, e))
        return -1;
    db_bind_int(s, 1, clock_unix_us()); /* a new index's is beyond its forerunner's */
    db_bind_int(s, 2, u->charge.floor);
    while ((rc = db_step(s, e)) == 1)
        u->charge.seq = db_int(s, 0);
    return rc;
}

void
quota_after_commit(struct store_user *u)
{
    struct quota_charge *c = &u->charge;

    if (u->s->quota != NULL && (c->is_changed || c->n_seen > 0 || c->is_behind)) {
        c->is_full = c->is_full || c->is_behind;
        charge(u);
    }
    charge_reset(c);
}

void
quota_after_rollback(struct store_user *u)
{
    charge_reset(&u->charge);
}

/* ---- scans ---- */

static int
load_done(struct quota *q, struct slice user, const char *dir, struct quota_charge *c,
          struct err *e)
{
    struct quota_row row;
    struct db_stmt *s;
    int rc = quota_row_load(q, user, &row, e);

    if (rc < 1 || row.open_messages == 0)
        return rc < 0 ? -1 : 0;
    if (db_prepare(q->db,
                   "SELECT id FROM deliveries WHERE user = ?1 AND is_done = 1 AND"
                   " (?2 IS NULL OR dir = ?2)",
                   &s, e))
        return -1;
    db_bind_int(s, 1, row.id);
    if (dir == NULL)
        db_bind_null(s, 2);
    else
        db_bind_text(s, 2, sl_z(dir));
    while ((rc = db_step(s, e)) == 1) {
        c->seen = mem_grow(c->seen, &c->cap_seen, c->n_seen + 1, sizeof(c->seen[0]));
        c->seen[c->n_seen++] = db_int(s, 0);
    }
    return rc;
}

void
quota_scan_look(struct store_user *u, const char *dir, struct quota_charge *done)
{
    struct quota *q = u->s->quota;
    struct err e = { 0 };

    if (q != NULL && quota_begin(q, false, &e) == 0 &&
        quota_end(q, false, load_done(q, sl_z(u->name), dir, done, &e), &e))
        done->n_seen = 0; /* they stay for the next scan */
}

void
quota_scan_tx(struct store_user *u, int64_t mailbox, uint32_t uidnext)
{
    struct quota_charge *c = &u->charge;

    if (u->s->quota == NULL)
        return;
    c->scans = mem_grow(c->scans, &c->cap_scans, c->n_scans + 1, sizeof(c->scans[0]));
    c->scans[c->n_scans++] = (struct quota_scan){ .mailbox = mailbox, .first_uid = uidnext };
}

void
quota_scan_seen(struct store_user *u, const struct quota_charge *done)
{
    struct quota_charge *c = &u->charge;

    for (size_t i = 0; i < done->n_seen; i++) {
        c->seen = mem_grow(c->seen, &c->cap_seen, c->n_seen + 1, sizeof(c->seen[0]));
        c->seen[c->n_seen++] = done->seen[i];
    }
}

/* ---- opening ---- */

static int
index_seq(struct store_user *u, int64_t *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *out = 0;
    if (db_prepare(u->db, "SELECT value FROM meta WHERE key = 'seq'", &s, e))
        return -1;
    rc = db_step(s, e);
    if (rc == 1) {
        *out = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

static int
quota_row_of(struct quota *q, struct slice user, struct quota_row *out, struct err *e)
{
    if (quota_begin(q, false, e))
        return -1;
    return quota_end(q, false, quota_row_load(q, user, out, e), e);
}

/* A transaction of the index that changes nothing but the sequence number; after it quota.db has the sums. */
static int
write_anew(struct store_user *u, bool is_recount, int64_t floor, struct err *e)
{
    if (index_begin(u, e))
        return -1;
    u->charge.is_changed = u->charge.is_full = true;
    u->charge.is_recount = is_recount;
    u->charge.floor = floor;
    if (index_commit(u, e))
        return -1;
    return u->charge.is_behind ? err_set(e, ERR_TEMP, "usage of %s could not be written", u->name)
                               : 0;
}

/* Mailboxes that the index knows and the disk does not: their rows go. One who deletes a mailbox may be killed, or a power
 * cut come, when its folder has gone and the index was not told; and nobody selects it any more. */
static int
forget_vanished(struct store_user *u, struct err *e)
{
    struct names all = { 0 };
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT name FROM mailboxes", &s, e))
        return -1;
    while ((rc = db_step(s, e)) == 1)
        names_add(&all, db_text(s, 0));
    for (size_t i = 0; rc == 0 && i < all.n; i++) {
        struct err why = { 0 };
        int64_t id;

        if (mbox_find(u, sl_z(all.v[i]), &id, &why) && why.kind != ERR_NOTFOUND) {
            *e = why;
            rc = -1;
        }
    }
    names_free(&all);
    return rc;
}

/* Some rows whose files are no more where they were delivered to, into charge.seen. Wherever they went, a scan has met
 * them or will, and then this was right. */
static int
look_for_gone(struct store_user *u, struct err *e)
{
    struct quota *q = u->s->quota;
    struct quota_charge *c = &u->charge;
    struct rows rows = { 0 };
    struct quota_row row;
    int rc;

    if (quota_begin(q, false, e))
        return -1;
    rc = quota_row_load(q, sl_z(u->name), &row, e);
    if (rc == 1)
        rc = row.open_messages == 0 ? 0
                                    : rows_load(q, row.id, c->looked == NULL ? "" : c->looked,
                                                CHARGE_LOOK_ROWS, &rows, e);
    rc = quota_end(q, false, rc, e);
    free(c->looked);
    c->looked = rc == 0 && rows.n == CHARGE_LOOK_ROWS ? mem_dupz(rows.v[rows.n - 1].base) : NULL;
    for (size_t i = 0; rc == 0 && i < rows.n; i++)
        if (rows.v[i].is_done && is_gone(&rows.v[i])) {
            c->seen = mem_grow(c->seen, &c->cap_seen, c->n_seen + 1, sizeof(c->seen[0]));
            c->seen[c->n_seen++] = rows.v[i].id;
        }
    rows_free(&rows);
    return rc;
}

static void
look(struct store_user *u)
{
    struct err e = { 0 };
    uint64_t now_ms = clock_mono_ms();
    int rc = 0;

    u->charge.look_ms = now_ms + CHARGE_LOOK_MS;
    if (now_ms >= u->charge.look_boxes_ms) {
        u->charge.look_boxes_ms = now_ms + CHARGE_LOOK_BOXES_MS;
        rc = forget_vanished(u, &e);
    }
    if (rc == 0)
        rc = look_for_gone(u, &e);
    if (rc)
        log_warn("quota.look", LOG_F(LF_Z("user", u->name)), "user %s: %s", u->name, e.msg);
    quota_after_commit(u);
}

void
quota_opened(struct store_user *u)
{
    struct quota *q = u->s->quota;
    struct quota_row row;
    struct err e = { 0 };
    int64_t seq;
    int rc;

    if (q == NULL)
        return;
    u->charge.is_behind = false;
    rc = index_seq(u, &seq, &e) ? -1 : quota_row_of(q, sl_z(u->name), &row, &e);
    if (rc == 1 && (row.seq != seq || row.ignored != quota_rules_ignored(rules_of(u))))
        rc = forget_vanished(u, &e) ? -1 : write_anew(u, false, row.seq, &e);
    if (rc < 0) {
        log_warn("quota.behind", LOG_F(LF_Z("user", u->name)),
                 "user %s: usage is written later: %s", u->name, e.msg);
        u->charge.is_behind = true;
        u->charge.retry_ms = clock_mono_ms() + CHARGE_RETRY_MS;
        return;
    }
    u->charge.look_boxes_ms = 0;
    look(u);
}

void
quota_locked(struct store_user *u)
{
    if (u->s->quota == NULL)
        return;
    if (u->charge.is_behind && clock_mono_ms() >= u->charge.retry_ms)
        quota_opened(u);
    else if (clock_mono_ms() >= u->charge.look_ms)
        look(u);
}

/* ---- folders ---- */

void
quota_moved(struct store_user *u, const char *dir, const char *to)
{
    struct quota *q = u->s->quota;
    struct err e = { 0 };
    struct quota_row row;
    struct db_stmt *s;
    int rc;

    if (q == NULL || quota_begin(q, true, &e))
        return; /* rows stay: somebody looks for their files some time */
    rc = quota_row_load(q, sl_z(u->name), &row, &e);
    if (rc == 1 && row.open_messages > 0) {
        rc = db_prepare(q->db,
                        to == NULL ? "DELETE FROM deliveries WHERE user = ?1 AND dir = ?2"
                                   : "UPDATE deliveries SET dir = ?3 WHERE user = ?1 AND dir = ?2",
                        &s, &e);
        if (rc == 0) {
            db_bind_int(s, 1, row.id);
            db_bind_text(s, 2, sl_z(dir));
            if (to != NULL)
                db_bind_text(s, 3, sl_z(to));
            rc = db_run(s, &e);
        }
    }
    quota_end(q, true, rc < 0 ? -1 : 0, &e);
}

/* ---- is there room ---- */

static int
check_rules(const struct store_user *u, struct err *e)
{
    return u->has_wrong_rules
               ? err_set(e, ERR_TEMP, "quota rules of %s cannot be understood", u->name)
               : 0;
}

int
quota_room(struct store_user *u, struct slice mailbox, int64_t octets, int64_t messages,
           int64_t max_octets, struct err *e)
{
    struct quota *q = u->s->quota;
    const struct quota_rules *r;
    struct quota_usage usage = { 0 };
    struct quota_limit limit;
    struct quota_row row;
    struct sums sums;
    int rc;

    if (q == NULL)
        return 0;
    r = rules_of(u);
    if (check_rules(u, e))
        return -1;
    if (!quota_rules_limit(r, mailbox, u->loc.separator, &limit))
        return 0;
    if (quota_rules_limited(r, sl_z(u->name))) {
        if (sums_read(u, &sums, e) || sums_add_pending(u, &sums, e) || quota_begin(q, false, e))
            return -1;
        rc = quota_row_load(q, sl_z(u->name), &row, e);
        if (rc >= 0)
            rc = quota_row_usage(q, sl_z(u->name), &row, r, &usage, e);
        if (quota_end(q, false, rc, e))
            return -1;
        /* The sums of this moment, for what quota.db has of some moment before. */
        usage.domain_octets += sums.octets - row.octets;
        usage.domain_messages += sums.messages - row.messages;
        usage.octets = sums.octets + row.open_octets;
        usage.messages = sums.messages + row.open_messages;
    }
    return quota_judge(r, &usage, &limit, octets, messages, max_octets, 0, e);
}

bool
quota_counts(const struct store_user *u, struct slice mailbox)
{
    struct quota_limit limit;

    return u->s->quota != NULL && quota_rules_limit(rules_of(u), mailbox, u->loc.separator, &limit);
}

/* What a replacement takes beyond the room of what it replaces. */
static int
replacement_room(const struct record *r, struct err *e)
{
    int64_t size = r->items[0].m.size;
    struct msg_row old;
    int rc = msg_load(r->u, r->from_id, r->items[0].src_uid, &old, e);

    if (rc < 0)
        return -1;
    if (rc == 0 || !quota_counts(r->u, r->from))
        return quota_room(r->u, r->to, size, 1, size, e);
    return quota_room(r->u, r->to, size > old.size ? size - old.size : 0, 0, size, e);
}

int
quota_record_room(const struct record *r, struct err *e)
{
    int64_t octets = 0, max_octets = 0;

    if (r->u->s->quota == NULL || (r->how == RECORD_MOVE && quota_counts(r->u, r->from)))
        return 0;
    if (r->how == RECORD_REPLACE)
        return replacement_room(r, e);
    for (size_t i = 0; i < r->n; i++) {
        int64_t size = r->items[i].m.size;

        octets += size;
        max_octets = size > max_octets ? size : max_octets;
    }
    return quota_room(r->u, r->to, octets, (int64_t)r->n, max_octets, e);
}

int
quota_be_counted(struct store_user *u, struct err *e)
{
    struct quota *q = u->s->quota;
    struct quota_rules *r;
    struct quota_row row;
    bool is_limited;
    int rc;

    if (q == NULL)
        return 0;
    r = rules_ref(u);
    is_limited = quota_rules_limited(r, sl_z(u->name));
    quota_rules_free(&r);
    if (!is_limited)
        return 0;
    rc = quota_row_of(q, sl_z(u->name), &row, e);
    if (rc == 1 && row.is_counted)
        return 0;
    return rc < 0 ? -1 : quota_recount_user(u, NULL, NULL, NULL, e);
}

/* ---- counting ---- */

static int
count_mailbox(struct store_user *u, struct slice normal, struct err *e)
{
    struct err why = { 0 };
    struct mbox mb;
    int64_t id;
    int rc;

    if (user_lock(u, e))
        return -1;
    rc = record_recover(u, &why) ? -1 : mbox_find(u, normal, &id, &why);
    if (rc == 0) {
        rc = mbox_load(u, id, &mb, &why);
        if (rc == 1)
            rc = mbox_scan(u, normal, &mb, false, true, &why);
    }
    user_unlock(u);
    if (rc == 0 || why.kind == ERR_NOTFOUND) /* deleted meanwhile */
        return 0;
    *e = why;
    return -1;
}

int
quota_recount_user(struct store_user *u, void (*progress)(void *arg, struct slice mailbox),
                   void *arg, struct quota_usage *out, struct err *e)
{
    struct quota *q = u->s->quota;
    struct quota_charge done = { 0 };
    struct names all = { 0 };
    struct quota_row row;
    int rc = -1;

    if (quota_begin(q, false, e) ||
        quota_end(q, false, load_done(q, sl_z(u->name), NULL, &done, e), e))
        goto out;
    if (folders_read(&u->loc, &all, e))
        goto out;
    names_add(&all, SL("INBOX"));
    names_sort(&all);
    for (size_t i = 0; i < all.n; i++) {
        if (progress != NULL)
            progress(arg, sl_z(all.v[i]));
        if (count_mailbox(u, sl_z(all.v[i]), e))
            goto out;
    }
    if (user_lock(u, e))
        goto out;
    rc = forget_vanished(u, e) ? -1 : quota_row_of(q, sl_z(u->name), &row, e);
    if (rc >= 0) {
        /* Whatever was done when we began has been met, or is gone. */
        quota_scan_seen(u, &done);
        rc = write_anew(u, true, rc == 1 ? row.seq : 0, e);
    }
    user_unlock(u);
    if (rc == 0 && out != NULL && (rc = quota_begin(q, false, e)) == 0) {
        struct quota_rules *r = rules_ref(u);

        rc = quota_row_load(q, sl_z(u->name), &row, e);
        if (rc >= 0)
            rc = quota_row_usage(q, sl_z(u->name), &row, r, out, e);
        rc = quota_end(q, false, rc, e);
        quota_rules_free(&r);
    }
out:
    quota_charge_free(&done);
    names_free(&all);
    return rc;
}
