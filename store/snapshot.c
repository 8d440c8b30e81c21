/* store/snapshot.c - rows of a mailbox packed.
 *
 * Version, then numbers of 7 bits an octet, low ones first: UIDVALIDITY, MODSEQ, how many rows, the length of each column; then the
 * columns, each as runs of (value, how often): UIDs as distances to the one before, flags, keywords, MODSEQs as distances, with
 * the sign in the lowest bit; at the end a CRC-32, least octet first. */
#include "store/snapshot.h"

#include "base/enc.h"
#include "base/log.h"

enum { SNAPSHOT_VERSION = 1, SNAPSHOT_ROWS_MAX = 64 * 1024 * 1024, CRC_OCTETS = 4, COLUMNS = 4 };

/* ---- numbers and runs ---- */

static void
put(struct buf *out, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(out, (char)(unsigned char)(v | 0x80));
    buf_addc(out, (char)(unsigned char)v);
}

static bool
take(struct slice *in, uint64_t *v)
{
    *v = 0;
    for (unsigned shift = 0; in->n > 0 && shift < 64; shift += 7) {
        unsigned char c = (unsigned char)in->p[0];

        *in = sl_from(*in, 1);
        *v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return true;
    }
    return false;
}

struct run { /* of a column, written or read */
    uint64_t value, n;
};

static void
run_put(struct run *r, struct buf *out, uint64_t value)
{
    if (r->n > 0 && r->value == value) {
        r->n++;
        return;
    }
    if (r->n > 0) {
        put(out, r->value);
        put(out, r->n);
    }
    *r = (struct run){ value, 1 };
}

static bool
run_take(struct run *r, struct slice *in, uint64_t *value)
{
    if (r->n == 0 && (!take(in, &r->value) || !take(in, &r->n) || r->n == 0))
        return false;
    r->n--;
    *value = r->value;
    return true;
}

/* Distances in both directions: small ones stay small. */
static uint64_t
zigzag(uint64_t from, uint64_t to)
{
    return to >= from ? (to - from) << 1 : ((from - to) << 1) - 1;
}

static uint64_t
unzigzag(uint64_t from, uint64_t z)
{
    return z & 1 ? from - (z >> 1) - 1 : from + (z >> 1);
}

/* ---- packing ---- */

void
snapshot_pack(const struct rows *r, uint32_t uidvalidity, uint64_t modseq, struct buf *out)
{
    struct buf cols[COLUMNS] = { { 0 } };
    struct run runs[COLUMNS] = { { 0 } };
    struct vrow was = { 0 };
    uint32_t crc;

    for (size_t i = 0; i < rows_count(r); i++) {
        struct vrow now = rows_at(r, i);

        run_put(&runs[0], &cols[0], now.uid - was.uid);
        run_put(&runs[1], &cols[1], now.sys);
        run_put(&runs[2], &cols[2], now.kw);
        run_put(&runs[3], &cols[3], zigzag(was.modseq, now.modseq));
        was = now;
    }
    buf_addc(out, SNAPSHOT_VERSION);
    put(out, uidvalidity);
    put(out, modseq);
    put(out, rows_count(r));
    for (int i = 0; i < COLUMNS; i++) {
        if (runs[i].n > 0) {
            put(&cols[i], runs[i].value);
            put(&cols[i], runs[i].n);
        }
        put(out, cols[i].n);
    }
    for (int i = 0; i < COLUMNS; i++) {
        buf_adds(out, buf_slice(&cols[i]));
        buf_free(&cols[i]);
    }
    crc = enc_crc32(0, buf_slice(out).p, buf_slice(out).n);
    for (int i = 0; i < CRC_OCTETS; i++)
        buf_addc(out, (char)(unsigned char)(crc >> (8 * i)));
}

static bool
crc_is_right(struct slice *in)
{
    uint32_t crc = 0;

    if (in->n < CRC_OCTETS)
        return false;
    for (int i = 0; i < CRC_OCTETS; i++)
        crc |= (uint32_t)(unsigned char)in->p[in->n - CRC_OCTETS + (size_t)i] << (8 * i);
    *in = sl_head(*in, in->n - CRC_OCTETS);
    return enc_crc32(0, in->p, in->n) == crc;
}

static bool
unpack_rows(struct slice cols[COLUMNS], uint64_t n, uint32_t uidnext, struct rows_maker *m)
{
    struct run runs[COLUMNS] = { { 0 } };
    struct vrow row = { 0 };

    for (uint64_t i = 0; i < n; i++) {
        uint64_t step, sys, distance;

        if (!run_take(&runs[0], &cols[0], &step) || !run_take(&runs[1], &cols[1], &sys) ||
            !run_take(&runs[2], &cols[2], &row.kw) || !run_take(&runs[3], &cols[3], &distance) ||
            step == 0 || step >= uidnext - row.uid)
            return false;
        row.uid += (uint32_t)step;
        row.sys = (uint32_t)sys;
        row.modseq = unzigzag(row.modseq, distance);
        rows_maker_add(m, &row);
    }
    return true;
}

struct rows *
snapshot_unpack(struct slice in, uint32_t uidvalidity, uint64_t modseq, uint32_t uidnext)
{
    struct slice cols[COLUMNS];
    struct rows_maker *m;
    uint64_t v[3], n[COLUMNS];

    if (!crc_is_right(&in) || in.n == 0 || in.p[0] != SNAPSHOT_VERSION)
        return NULL;
    in = sl_from(in, 1);
    for (int i = 0; i < 3; i++)
        if (!take(&in, &v[i]))
            return NULL;
    if (v[0] != uidvalidity || v[1] != modseq || v[2] > SNAPSHOT_ROWS_MAX)
        return NULL;
    for (int i = 0; i < COLUMNS; i++)
        if (!take(&in, &n[i]))
            return NULL;
    for (int i = 0; i < COLUMNS; i++) {
        if (n[i] > in.n)
            return NULL;
        cols[i] = sl_head(in, (size_t)n[i]);
        in = sl_from(in, (size_t)n[i]);
    }
    m = rows_maker_new();
    if (unpack_rows(cols, v[2], uidnext, m))
        return rows_maker_end(&m);
    rows_maker_free(&m);
    return NULL;
}

/* ---- in the index ---- */

int
snapshot_load(struct store_user *u, const struct mbox *mb, struct rows **out, uint64_t *modseq,
              bool *is_bad, struct err *e)
{
    struct db_stmt *s;
    int rc;

    *out = NULL;
    *is_bad = false;
    if (db_prepare(u->db, "SELECT modseq, rows FROM snapshots WHERE mailbox = ?", &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    rc = db_step(s, e);
    if (rc != 1)
        return rc;
    *modseq = (uint64_t)db_int(s, 0);
    /* Older than what the log of expunges knows it is no use, and sound. */
    if (*modseq >= mb->pruned_modseq && *modseq <= mb->modseq) {
        *out = snapshot_unpack(db_text(s, 1), mb->uidvalidity, *modseq, mb->uidnext);
        *is_bad = *out == NULL;
    }
    db_reset(s);
    return *out != NULL;
}

static int
save_in_tx(struct store_user *u, int64_t mailbox, uint32_t uidvalidity, uint64_t modseq,
           struct slice packed, struct err *e)
{
    struct mbox mb;
    struct db_stmt *s;
    int rc = mbox_load(u, mailbox, &mb, e);

    if (rc < 1)
        return rc;
    if (mb.uidvalidity != uidvalidity || mb.modseq < modseq) /* not this one's rows */
        return 0;
    if (db_prepare(u->db,
                   "INSERT INTO snapshots VALUES (?1, ?2, ?3) ON CONFLICT (mailbox) DO UPDATE"
                   " SET modseq = ?2, rows = ?3 WHERE modseq <= ?2 OR modseq > ?4",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, (int64_t)modseq);
    db_bind_blob(s, 3, packed);
    db_bind_int(s, 4, (int64_t)mb.modseq);
    return db_run(s, e);
}

int
snapshot_save(struct store_user *u, int64_t mailbox, uint32_t uidvalidity, uint64_t modseq,
              const struct rows *r, struct err *e)
{
    struct buf packed = { 0 };
    int rc = -1;

    snapshot_pack(r, uidvalidity, modseq, &packed);
    if (index_begin(u, e) == 0) {
        rc = save_in_tx(u, mailbox, uidvalidity, modseq, buf_slice(&packed), e);
        if (rc)
            index_rollback(u);
        else
            rc = index_commit(u, e);
    }
    buf_free(&packed);
    return rc;
}
