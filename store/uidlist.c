/* store/uidlist.c - dovecot-uidlist (versions 1 and 3), dovecot-uidvalidity: taken over once, so that no client downloads
 * anything again. Version 3: "3 V1275660208 N22 G<guid>", then "UID [extensions] :BASENAME"; version 1:
 * "1 UIDVALIDITY UIDNEXT", then "UID BASENAME". */
#include "store/store_int.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

enum { UIDLIST_MAX_OCTETS = 1024 * 1024 * 1024 };
#define UIDLIST_FILE "dovecot-uidlist"

void
uidlist_free(struct uidlist *l)
{
    map_free(&l->uids, NULL);
}

static bool
take_header(struct slice line, struct uidlist *out, unsigned *version)
{
    struct slice word;
    bool has_v = false, has_n = false;

    if (!sl_take_word(&line, " ", &word))
        return false;
    if (sl_eqz(word, "1")) {
        *version = 1;
        return sl_take_word(&line, " ", &word) && sl_to_u32(word, &out->uidvalidity) &&
               sl_take_word(&line, " ", &word) && sl_to_u32(word, &out->uidnext) &&
               out->uidvalidity > 0;
    }
    if (!sl_eqz(word, "3"))
        return false;
    *version = 3;
    while (sl_take_word(&line, " ", &word)) {
        if (sl_take_char(&word, 'V'))
            has_v = sl_to_u32(word, &out->uidvalidity);
        else if (sl_take_char(&word, 'N'))
            has_n = sl_to_u32(word, &out->uidnext);
    }
    return has_v && has_n && out->uidvalidity > 0;
}

/* A line of a message; what is not understood is left out: the file gets a new UID. */
static void
take_message(struct slice line, unsigned version, uint32_t *last, struct uidlist *out)
{
    struct slice word, base;
    uint32_t uid;
    size_t at;

    if (!sl_take_word(&line, " ", &word) || !sl_to_u32(word, &uid) || uid <= *last ||
        uid == UINT32_MAX)
        return;
    if (version == 3) {
        at = sl_find(line, SL(" :"));
        if (at == SL_NPOS)
            return;
        base = sl_from(line, at + 2);
    } else {
        base = sl_from(line, 1);
    }
    base = sl_head(base, sl_find_char(base, ':'));
    if (base.n == 0)
        return;
    *last = uid;
    map_set(out->uids, base, (void *)(uintptr_t)uid);
    if (uid >= out->uidnext)
        out->uidnext = uid + 1;
}

int
uidlist_read(const char *dir, struct uidlist *out, struct err *e)
{
    char *path = path_join(dir, UIDLIST_FILE, NULL);
    struct buf text = { .max = UIDLIST_MAX_OCTETS };
    struct slice s, line;
    unsigned version = 0;
    uint32_t last = 0;
    int rc = -1;

    memset(out, 0, sizeof(*out));
    if (fs_read_file(path, &text, e))
        goto out;
    s = buf_slice(&text);
    if (!sl_take_until(&s, '\n', &line) || !take_header(line, out, &version)) {
        err_set(e, ERR_PERM, "%s: not understood", path);
        goto out;
    }
    out->uids = map_new();
    while (sl_take_until(&s, '\n',
                         &line)) /* a last line without its end was being written: no message yet */
        take_message(line, version, &last, out);
    rc = 0;
out:
    buf_free(&text);
    free(path);
    return rc;
}

/* The highest of the files dovecot-uidvalidity.XXXXXXXX. */
static uint32_t
old_uidvalidity(const char *root)
{
    DIR *d = opendir(root);
    struct dirent *ent;
    uint32_t highest = 0;

    while (d != NULL && (ent = readdir(d)) != NULL) {
        struct slice name = sl_z(ent->d_name);
        unsigned long v;
        char *end;

        if (!sl_take_prefix(&name, SL("dovecot-uidvalidity.")) || name.n != 8)
            continue;
        v = strtoul(name.p, &end, 16);
        if (*end == '\0' && v > highest && v < UINT32_MAX)
            highest = (uint32_t)v;
    }
    if (d != NULL)
        closedir(d);
    return highest;
}

/* What the old server had in new/ nobody has seen; the rest is not recent. */
static int
set_recent(struct store_user *u, struct mbox *mb, struct err *e)
{
    struct db_stmt *s;
    uint32_t uid = 1;
    int rc;

    if (db_prepare(u->db,
                   "SELECT coalesce(max(uid), 0) + 1 FROM messages WHERE mailbox = ? AND dir = 1",
                   &s, e))
        return -1;
    db_bind_int(s, 1, mb->id);
    rc = db_step(s, e);
    if (rc == 1) {
        uid = (uint32_t)db_int(s, 0);
        db_reset(s);
    }
    return rc < 0 ? -1 : mbox_set_recent(u, mb, uid, e);
}

/* One folder. MODSEQs start above any the old server can have given: it counted changes, we start at the time. */
static int
import_folder(struct store_user *u, struct slice normal, struct uidvalidity *v, struct err *e)
{
    struct buf dir = { 0 };
    char *control = NULL;
    struct uidlist l = { 0 };
    struct mbox mb;
    struct err why = { 0 };
    struct db_stmt *s;
    int64_t id;
    int rc = -1;

    if (mbox_dir(u, normal, &dir, e))
        goto out;
    control = mbox_control_dir(u, buf_z(&dir));
    if (uidlist_read(control, &l, &why)) {
        rc = why.kind == ERR_TEMP ? (*e = why, -1) : 0;
        if (why.kind == ERR_PERM)
            log_warn("store.import", LOG_F(LF_Z("user", u->name)),
                     "user %s: %s: UIDs are given anew", u->name, why.msg);
        goto out;
    }
    if (l.uidvalidity > v->highest)
        v->highest = l.uidvalidity;
    if (db_prepare(u->db, "SELECT 1 FROM mailboxes WHERE name = ?", &s, e))
        goto out;
    db_bind_text(s, 1, normal);
    rc = db_step(s, e);
    db_reset(s);
    if (rc != 0) { /* taken over by an import that was interrupted */
        rc = rc < 0 ? -1 : 0;
        goto out;
    }
    rc = -1;
    if (maildir_make(buf_z(&dir), !name_is_inbox(normal), e) ||
        mbox_insert(u, normal, l.uidvalidity, l.uidnext, (uint64_t)clock_unix_s(), &id, e) ||
        keywords_import(u, buf_z(&dir), id, 0, e) || mbox_load(u, id, &mb, e) != 1 ||
        mbox_scan_in_tx(u, buf_z(&dir), &mb, false, true, l.uids, e) || set_recent(u, &mb, e) ||
        mbox_save(u, &mb, e))
        goto out;
    log_info("store.import", LOG_F(LF_Z("user", u->name), LF_S("mailbox", normal)),
             "user %s: mailbox %.*s: UIDs and keywords of Dovecot's are taken over", u->name,
             SL_ARG(normal));
    rc = 0;
out:
    uidlist_free(&l);
    free(control);
    buf_free(&dir);
    return rc;
}

static int
import_in_tx(struct store_user *u, struct uidvalidity *v, struct err *e)
{
    struct names folders;
    uint32_t old = old_uidvalidity(u->control_dir);
    int rc;

    if (old > v->highest)
        v->highest = old;
    if (folders_read(&u->loc, &folders, e))
        return -1;
    rc = import_folder(u, SL("INBOX"), v, e);
    for (size_t i = 0; rc == 0 && i < folders.n; i++)
        rc = import_folder(u, sl_z(folders.v[i]), v, e);
    names_free(&folders);
    return rc;
}

int
uidlist_import_all(struct store_user *u, struct err *e)
{
    struct uidvalidity v;
    int rc;

    if (uidvalidity_read(u->control_dir, &v, e))
        return -1;
    if (v.is_imported)
        return 0;
    if (index_begin(u, e))
        return -1;
    rc = uidvalidity_read(u->control_dir, &v, e); /* another process may have done it meanwhile */
    if (rc == 0 && !v.is_imported)
        rc = import_in_tx(u, &v, e);
    if (rc) {
        index_rollback(u);
        return -1;
    }
    /* The rows are on disk before the mark: a cut between them repeats the import, which finds the rows. */
    if (index_commit(u, e) || index_sync(u, e))
        return -1;
    if (v.is_imported)
        return 0;
    v.is_imported = true;
    return uidvalidity_write(u->control_dir, &v, e);
}
