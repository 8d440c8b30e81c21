/* store/uidvalidity.c - the file postern-uidvalidity in a user's root: the highest UIDVALIDITY ever given there, and
 * whether the old server's UIDs were taken over. It outlives the index, so a rebuilt one cannot repeat a value. */
#include "store/store_int.h"

#include "base/clock.h"
#include "base/fs.h"

#include <stdlib.h>

enum { UIDVALIDITY_FILE_MAX = 200 };

int
uidvalidity_read(const char *root, struct uidvalidity *out, struct err *e)
{
    char *path = path_join(root, UIDVALIDITY_FILE, NULL);
    struct buf text = { .max = UIDVALIDITY_FILE_MAX };
    struct slice s, word;
    struct err why = { 0 };
    int rc = 0;

    *out = (struct uidvalidity){ 0 };
    if (fs_read_file(path, &text, &why)) {
        if (why.kind != ERR_NOTFOUND) {
            if (e != NULL)
                *e = why;
            rc = -1;
        }
        goto out;
    }
    s = buf_slice(&text);
    if (!sl_take_word(&s, " \n", &word) || !sl_eqz(word, "1") || !sl_take_word(&s, " \n", &word) ||
        !sl_to_u32(word, &out->highest) || !sl_take_word(&s, " \n", &word))
        rc = err_set(e, ERR_TEMP, "%s is damaged", path);
    out->is_exported = rc == 0 && sl_eqz(word, "exported");
    out->is_imported = out->is_exported || (rc == 0 && sl_eqz(word, "imported"));
out:
    buf_free(&text);
    free(path);
    return rc;
}

int
uidvalidity_write(const char *root, const struct uidvalidity *v, struct err *e)
{
    char *path = path_join(root, UIDVALIDITY_FILE, NULL);
    struct buf text = { 0 };
    int rc;

    buf_addf(&text, "1 %u %s\n", v->highest,
             v->is_exported   ? "exported"
             : v->is_imported ? "imported"
                              : "new");
    rc = fs_replace_file(path, buf_slice(&text), 0600, e);
    buf_free(&text);
    free(path);
    return rc;
}

int
uidvalidity_mark(struct store_user *u, uint32_t at_least, bool is_exported, struct err *e)
{
    struct uidvalidity v;
    int rc;

    if (index_begin(u, e))
        return -1;
    rc = uidvalidity_read(u->control_dir, &v, e);
    if (rc == 0) {
        v.highest = v.highest > at_least ? v.highest : at_least;
        v.is_imported = true;
        v.is_exported = v.is_exported || is_exported;
        rc = uidvalidity_write(u->control_dir, &v, e);
    }
    if (rc)
        index_rollback(u);
    else
        rc = index_commit(u, e);
    return rc;
}

int
uidvalidity_next(const char *root, uint32_t *out, struct err *e)
{
    struct uidvalidity v;
    int64_t now_s = clock_unix_s();

    if (uidvalidity_read(root, &v, e))
        return -1;
    v.highest = now_s > (int64_t)v.highest && now_s <= UINT32_MAX ? (uint32_t)now_s : v.highest + 1;
    if (v.highest == 0)
        return err_set(e, ERR_TEMP, "no UIDVALIDITY is left in %s", root);
    if (uidvalidity_write(root, &v, e))
        return -1;
    *out = v.highest;
    return 0;
}
