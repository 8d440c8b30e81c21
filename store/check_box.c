/* store/check_box.c - a mailbox compared: its rows with each other, with the sums of its row, and with the files.
 *
 * Other processes and programs go on meanwhile. Rows are read in one transaction; files are read around it, and what
 * differs counts only when neither the mailbox's row nor a folder's mtime was changed by then. A folder whose mtime is not
 * the one that the index has recorded was changed by another program, and its differences are no faults: the next scan
 * takes them in. */
#include "store/check_int.h"

#include "base/mem.h"
#include "store/rows.h"
#include "store/snapshot.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRIES = 5 };

/* %llu: how often. */
static const char *const words[FAULTS] = {
    [FAULT_NO_FILE] = "%llu messages of the index have no file",
    [FAULT_NO_ROW] = "%llu files are not in the index, though it takes itself to be up to date",
    [FAULT_OTHER_NAME] = "%llu files have other names than in the index",
    [FAULT_FLAGS] = "%llu messages have other flags in the index than in their file's name",
    [FAULT_SIZE] = "%llu files have another size than the index says",
    [FAULT_CRLF] = "%llu messages have another size on the wire than the index says",
    [FAULT_TWIN] = "%llu messages have the file of another one",
    [FAULT_UIDNEXT] = "%llu UIDs are not below UIDNEXT or its reserve",
    [FAULT_MODSEQ] = "%llu MODSEQs are above HIGHESTMODSEQ or its reserve",
    [FAULT_SUMS] = "%llu sums differ from what they sum up",
    [FAULT_LOG] = "%llu entries of the log of expunges are about messages that are there",
    [FAULT_KEYWORD] = "%llu messages have keywords without a name",
    [FAULT_KEYWORD_FILE] = "%llu keywords differ between the index and dovecot-keywords",
    [FAULT_SNAPSHOT] = "%llu snapshot differs from the rows",
    [FAULT_UIDVALIDITY] = "%llu UIDVALIDITY is above what postern-uidvalidity has given",
};

void
check_found(struct check_box *c, enum fault f, const char *fmt, ...)
{
    va_list ap;

    if (c->faults[f]++ == 0) {
        va_start(ap, fmt);
        vsnprintf(c->first[f], sizeof(c->first[f]), fmt, ap);
        va_end(ap);
    }
}

uint64_t
check_box_count(const struct check_box *c)
{
    uint64_t n = 0;

    for (size_t i = 0; i < FAULTS; i++)
        n += c->faults[i];
    return n;
}

void
check_box_tell(const struct check_box *c, const struct store_teller *t)
{
    for (size_t i = 0; t->note != NULL && i < FAULTS; i++) {
        char text[400];
        int n;

        if (c->faults[i] == 0)
            continue;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        n = snprintf(text, sizeof(text), words[i], (unsigned long long)c->faults[i]);
#pragma GCC diagnostic pop
        snprintf(text + n, sizeof(text) - (size_t)n, "%s%s",
                 c->faults[i] == 1 ? ": " : ", first: ", c->first[i]);
        t->note(t->arg, c->name, text);
    }
}

void
check_box_reset(struct check_box *c)
{
    c->n = 0;
    c->pending = 0;
    c->is_moving = false;
    memset(c->faults, 0, sizeof(c->faults));
    arena_reset(&c->mem);
    map_free(&c->by_base, NULL);
}

void
check_box_free(struct check_box *c)
{
    check_box_reset(c);
    arena_free(&c->mem);
    free(c->rows);
    c->rows = NULL;
    c->cap = 0;
}

/* ---- rows with each other ---- */

struct slice
check_base_of(const char *file)
{
    return sl_head(sl_z(file), sl_find_char(sl_z(file), ':'));
}

/* What the name says, where it can: one with no room for letters leaves flags to the index. */
static void
check_name(struct check_box *c, struct check_row *r)
{
    const uint64_t letters = (UINT64_C(1) << MAILDIR_KEYWORD_LETTERS) - 1;
    char composed[MAILDIR_NAME_MAX], other[8];
    struct maildir_name name;

    if (!maildir_parse(r->file, &name)) {
        check_found(c, FAULT_NO_FILE, "UID %u has no file name", r->uid);
        return;
    }
    if (name.size == (uint64_t)r->size && name.crlf <= INT64_MAX && r->crlf >= 0 &&
        (int64_t)name.crlf != r->crlf) {
        r->is_crlf_wrong = true;
        r->right_crlf = (int64_t)name.crlf;
        check_found(c, FAULT_CRLF, "UID %u, %lld in the index, %lld by its name", r->uid,
                    (long long)r->crlf, (long long)name.crlf);
    }
    if ((r->dir == MAILDIR_NEW && !name.has_info) ||
        (name.sys == r->flags.sys && name.kw == (r->flags.kw & letters)) ||
        !maildir_compose(composed, name.base, r->flags.sys, (uint32_t)(r->flags.kw & letters),
                         maildir_other_letters(name.info, other)))
        return;
    r->is_flags_wrong = true;
    check_found(c, FAULT_FLAGS, "UID %u, %s", r->uid, r->file);
}

struct sums {
    struct mbox now;
    uint64_t kw;
};

static void
add_row(struct check_box *c, struct db_stmt *s, struct sums *sum)
{
    struct check_row r = {
        .uid = (uint32_t)db_int(s, 0),
        .dir = (int)db_int(s, 1),
        .file = arena_dupz(&c->mem, db_text(s, 2)),
        .flags = { .sys = (uint32_t)db_int(s, 3), .kw = (uint64_t)db_int(s, 4) },
        .modseq = (uint64_t)db_int(s, 5),
        .size = db_int(s, 6),
        .crlf = db_int(s, 7),
    };

    sum->now.messages++;
    sum->now.unseen += (r.flags.sys & STORE_SEEN) == 0;
    sum->now.deleted += (r.flags.sys & STORE_DELETED) != 0;
    sum->now.octets += r.size;
    sum->now.crlf_octets += r.crlf > r.size ? r.crlf : r.size;
    sum->now.recent += r.uid >= c->mb.recent_from;
    sum->kw |= r.flags.kw;
    if (r.uid >= c->mb.uidnext)
        check_found(c, FAULT_UIDNEXT, "UID %u, UIDNEXT %u", r.uid, c->mb.uidnext);
    if (r.modseq > c->mb.modseq || r.modseq == 0)
        check_found(c, FAULT_MODSEQ, "UID %u, MODSEQ %llu, HIGHESTMODSEQ %llu", r.uid,
                    (unsigned long long)r.modseq, (unsigned long long)c->mb.modseq);
    check_name(c, &r);
    if (map_get(c->by_base, check_base_of(r.file)) != NULL) {
        r.is_twin = r.is_seen = true;
        check_found(c, FAULT_TWIN, "UID %u, %s", r.uid, r.file);
    }
    c->rows = mem_grow(c->rows, &c->cap, c->n + 1, sizeof(c->rows[0]));
    c->rows[c->n++] = r;
    if (!r.is_twin)
        map_set(c->by_base, check_base_of(r.file), (void *)(uintptr_t)c->n);
}

static void
check_sum(struct check_box *c, const char *what, int64_t has, int64_t should)
{
    if (has != should)
        check_found(c, FAULT_SUMS, "%s is %lld and should be %lld", what, (long long)has,
                    (long long)should);
}

static int
ask(struct check_box *c, const char *sql, int64_t *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *out = 0;
    if (db_prepare(c->u->db, sql, &s, e))
        return -1;
    db_bind_int(s, 1, c->id);
    rc = db_step(s, e);
    if (rc == 1) {
        *out = db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : 0;
}

/* The folder's file is what other programs go by. */
static int
check_keywords(struct check_box *c, uint64_t used, struct err *e)
{
    struct keywords k, file;
    struct slice ours, theirs;

    if (keywords_load(c->u, c->id, &k, e))
        return -1;
    if (keywords_read_file(c->u, c->dir, &file, e)) {
        keywords_free(&k);
        return -1;
    }
    for (size_t i = 0; i < c->n; i++)
        if (k.n < 64 && c->rows[i].flags.kw >> k.n != 0)
            check_found(c, FAULT_KEYWORD, "UID %u", c->rows[i].uid);
    for (size_t i = 0; i < MAILDIR_KEYWORD_LETTERS && (i < k.n || i < file.n); i++) {
        ours = i < k.n ? sl_z(k.name[i]) : SL("");
        theirs = i < file.n ? sl_z(file.name[i]) : SL("");
        /* One that Dovecot has added is taken in when a message bears it; one without a meaning is in no file. */
        if (sl_eq(ours, theirs) || (i >= k.n && !(used & UINT64_C(1) << i)) ||
            (i >= file.n && sl_has_prefix(ours, SL("unknown-"))))
            continue;
        check_found(c, FAULT_KEYWORD_FILE, "letter %c is %.*s in the index, %.*s in the file",
                    (int)('a' + i), SL_ARG(ours), SL_ARG(theirs));
    }
    keywords_free(&k);
    keywords_free(&file);
    return 0;
}

static int
read_rows(struct check_box *c, struct sums *sum, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(c->u->db,
                   "SELECT uid, dir, file, flags, kw, modseq, size, crlf FROM messages"
                   " WHERE mailbox = ? ORDER BY uid",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->id);
    while ((rc = db_step(s, e)) == 1)
        add_row(c, s, sum);
    return rc;
}

static int
check_log(struct check_box *c, struct sums *sum, struct err *e)
{
    int64_t n;

    if (ask(c, "SELECT count(*) FROM expunges WHERE mailbox = ?", &sum->now.ranges, e) ||
        ask(c,
            "SELECT count(*) FROM expunges x WHERE x.mailbox = ?1 AND EXISTS (SELECT 1 FROM"
            " messages m WHERE m.mailbox = ?1 AND m.uid BETWEEN x.first AND x.last)",
            &n, e))
        return -1;
    if (n > 0) {
        check_found(c, FAULT_LOG, "%lld", (long long)n);
        c->faults[FAULT_LOG] = (uint64_t)n;
    }
    return 0;
}

/* What was expunged after that MODSEQ. */
static int
load_expunged(struct check_box *c, uint64_t after, struct store_uids *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(c->u->db, "SELECT first, last FROM expunges WHERE mailbox = ? AND modseq > ?",
                   &s, e))
        return -1;
    db_bind_int(s, 1, c->id);
    db_bind_int(s, 2, (int64_t)after);
    while ((rc = db_step(s, e)) == 1)
        store_uids_add(out, (uint32_t)db_int(s, 0), (uint32_t)db_int(s, 1));
    return rc;
}

/* Both by UID. What changed after the snapshot's MODSEQ may differ. */
static void
compare_snapshot(struct check_box *c, const struct rows *rows, uint64_t modseq,
                 const struct store_uids *expunged)
{
    size_t n = rows_count(rows);

    for (size_t i = 0, j = 0; i < c->n || j < n;) {
        struct vrow v = j < n ? rows_at(rows, j) : (struct vrow){ .uid = UINT32_MAX };
        const struct check_row *r = i < c->n ? &c->rows[i] : NULL;
        bool is_lost = false;

        if (r == NULL || v.uid < r->uid) {
            is_lost = !store_uids_has(expunged, v.uid);
            j++;
        } else if (r->uid < v.uid) {
            v.uid = r->uid;
            is_lost = r->modseq <= modseq;
            i++;
        } else {
            is_lost = r->modseq <= modseq && (v.sys != r->flags.sys || v.kw != r->flags.kw);
            i++;
            j++;
        }
        if (is_lost) {
            check_found(c, FAULT_SNAPSHOT, "UID %u", v.uid);
            return;
        }
    }
}

static int
check_snapshot(struct check_box *c, struct err *e)
{
    struct store_uids expunged = { 0 };
    struct rows *rows = NULL;
    uint64_t modseq = 0;
    bool is_bad;
    int rc = snapshot_load(c->u, &c->mb, &rows, &modseq, &is_bad, e);

    if (rc == 0 && is_bad)
        check_found(c, FAULT_SNAPSHOT, "it cannot be read");
    if (rc == 1 && (rc = load_expunged(c, modseq, &expunged, e)) == 0)
        compare_snapshot(c, rows, modseq, &expunged);
    store_uids_free(&expunged);
    rows_unref(&rows);
    return rc < 0 ? -1 : 0;
}

static int
check_index(struct check_box *c, struct err *e)
{
    struct sums sum = { 0 };
    struct uidvalidity v;
    const struct mbox *mb = &c->mb;
    int rc = mbox_load(c->u, c->id, &c->mb, e);

    if (rc < 1)
        return rc < 0 ? -1 : err_set(e, ERR_NOTFOUND, "mailbox %.*s is gone", SL_ARG(c->name));
    if (read_rows(c, &sum, e) || check_log(c, &sum, e) || check_keywords(c, sum.kw, e) ||
        check_snapshot(c, e) || uidvalidity_read(c->u->control_dir, &v, e))
        return -1;
    check_sum(c, "the number of messages", mb->messages, sum.now.messages);
    check_sum(c, "the number of unseen ones", mb->unseen, sum.now.unseen);
    check_sum(c, "the number of deleted ones", mb->deleted, sum.now.deleted);
    check_sum(c, "the number of recent ones", mb->recent, sum.now.recent);
    check_sum(c, "the sum of sizes", mb->octets, sum.now.octets);
    check_sum(c, "the sum of sizes on the wire", mb->crlf_octets, sum.now.crlf_octets);
    check_sum(c, "the length of the log of expunges", mb->ranges, sum.now.ranges);
    if (mb->uidnext > mb->uid_reserved)
        check_found(c, FAULT_UIDNEXT, "UIDNEXT %u, reserved up to %u", mb->uidnext,
                    mb->uid_reserved);
    if (mb->modseq > mb->modseq_reserved)
        check_found(c, FAULT_MODSEQ, "HIGHESTMODSEQ %llu, reserved up to %llu",
                    (unsigned long long)mb->modseq, (unsigned long long)mb->modseq_reserved);
    if (mb->uidvalidity > v.highest)
        check_found(c, FAULT_UIDVALIDITY, "%u", mb->uidvalidity);
    return 0;
}

/* ---- both ---- */

/* Rows as of one moment. */
static int
snapshot(struct check_box *c, struct err *e)
{
    struct db_stmt *begin, *end;
    int rc;

    if (db_prepare(c->u->db, "BEGIN", &begin, e) || db_run(begin, e))
        return -1;
    rc = check_index(c, e);
    if (db_prepare(c->u->db, "COMMIT", &end, rc ? NULL : e) || db_run(end, rc ? NULL : e)) {
        db_rollback(c->u->db);
        rc = -1;
    }
    return rc;
}

int
check_box(struct check_box *c, struct err *e)
{
    for (int i = 0; i < TRIES; i++) {
        struct check_disk d = { .new_ns = dir_mtime_ns(c->dir, "new"),
                                .cur_ns = dir_mtime_ns(c->dir, "cur") };
        struct mbox after;

        check_box_reset(c);
        c->by_base = map_new();
        if (snapshot(c, e))
            return -1;
        d.is_in_line = c->mb.new_mtime_ns != 0 && c->mb.cur_mtime_ns != 0 &&
                       c->mb.new_mtime_ns == d.new_ns && c->mb.cur_mtime_ns == d.cur_ns &&
                       c->mb.suspect_ms == 0;
        if (check_disk(c, &d, e) || mbox_load(c->u, c->id, &after, e) < 0)
            return -1;
        if (after.modseq == c->mb.modseq && after.new_mtime_ns == c->mb.new_mtime_ns &&
            after.cur_mtime_ns == c->mb.cur_mtime_ns && dir_mtime_ns(c->dir, "new") == d.new_ns &&
            dir_mtime_ns(c->dir, "cur") == d.cur_ns)
            return 0;
    }
    check_box_reset(c);
    c->is_moving = true;
    return 0;
}
