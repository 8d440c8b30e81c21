/* store/folders.c - the folders of a root as they are on disk: Maildir++ has them side by side (".Lists.a"), LAYOUT=fs one
 * in another ("Lists/a"). */
#include "store/store_int.h"

#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDERS_MAX = 100 * 1000 }; /* looked into, with LAYOUT=fs */

static bool
is_dir(DIR *d, const struct dirent *ent)
{
    struct stat st;

    if (ent->d_type == DT_DIR)
        return true;
    if (ent->d_type != DT_UNKNOWN && ent->d_type != DT_LNK)
        return false;
    return fstatat(dirfd(d), ent->d_name, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

bool
folder_has_mark(const struct store_user *u, const char *dir)
{
    return u->loc.layout == LAYOUT_MAILDIRPP && strcmp(dir, u->root) != 0;
}

/* With LAYOUT=fs a folder may be there for those below it alone. */
int
folder_is_there(const struct store_user *u, const char *dir, struct err *e)
{
    char *cur = u->loc.layout == LAYOUT_FS ? path_join(dir, "cur", NULL) : NULL;
    struct stat st;
    int rc = stat(cur == NULL ? dir : cur, &st);

    if (rc == 0)
        rc = S_ISDIR(st.st_mode) ? 1 : 0;
    else /* else it may be there */
        rc = errno == ENOENT || errno == ENOTDIR ? 0 : err_sys(e, "cannot look at %s", dir);
    free(cur);
    return rc;
}

/* ---- the folders that are there ---- */

static int
read_plus(const struct location *l, struct names *out, struct err *e)
{
    DIR *d = opendir(l->root);
    struct dirent *ent;
    struct buf name = { 0 };
    int rc = 0;

    if (d == NULL)
        return err_sys(e, "cannot open folder %s", l->root);
    while ((errno = 0, ent = readdir(d)) != NULL) {
        buf_reset(&name);
        if (name_from_folder(l, sl_z(ent->d_name), &name) && is_dir(d, ent))
            names_add(out, buf_slice(&name));
    }
    if (errno != 0)
        rc = err_sys(e, "cannot read folder %s", l->root);
    closedir(d);
    buf_free(&name);
    return rc;
}

struct walk {
    const struct location *l;
    struct names *out;
    struct buf path; /* the folder being read */
    struct {
        dev_t dev;
        ino_t ino;
    } above[STORE_DEPTH_MAX + 1]; /* a link that leads back up is not followed */
    unsigned depth;
    size_t n_dirs;
};

static bool
leads_up(const struct walk *w, const struct stat *st)
{
    for (unsigned i = 0; i < w->depth; i++)
        if (w->above[i].dev == st->st_dev && w->above[i].ino == st->st_ino)
            return true;
    return false;
}

static int walk_folder(struct walk *w, struct err *e);

/* A folder below the one being read, by its name on disk. */
static int
walk_below(struct walk *w, const char *disk, struct err *e)
{
    size_t root_n = strlen(w->l->root) + 1, was = w->path.n;
    struct buf name = { 0 };
    int rc = 0;

    buf_addf(&w->path, "/%s", disk);
    if (name_from_folder(w->l, sl_from(buf_slice(&w->path), root_n), &name)) {
        struct stat st;
        size_t end = w->path.n;

        buf_addz(&w->path, "/cur");
        if (stat(buf_z(&w->path), &st) == 0 && S_ISDIR(st.st_mode))
            names_add(w->out, buf_slice(&name));
        buf_truncate(&w->path, end);
        if (w->depth < STORE_DEPTH_MAX)
            rc = walk_folder(w, e);
    } else if (sl_ieqz(sl_from(buf_slice(&w->path), root_n), "INBOX")) {
        rc = walk_folder(w, e); /* the root is INBOX; what is below INBOX is here */
    }
    buf_truncate(&w->path, was);
    buf_free(&name);
    return rc;
}

static bool
is_maildir_part(const char *name)
{
    return strcmp(name, "cur") == 0 || strcmp(name, "new") == 0 || strcmp(name, "tmp") == 0 ||
           strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int
walk_folder(struct walk *w, struct err *e)
{
    DIR *d = opendir(buf_z(&w->path));
    struct dirent *ent;
    struct stat st;
    int rc = 0;

    if (d == NULL && w->depth > 0)
        return 0; /* gone meanwhile, or not ours to read */
    if (d == NULL || fstat(dirfd(d), &st)) {
        rc = err_sys(e, "cannot open folder %s", buf_z(&w->path));
        if (d != NULL)
            closedir(d);
        return rc;
    }
    if (leads_up(w, &st) || w->n_dirs++ >= FOLDERS_MAX) {
        closedir(d);
        return 0;
    }
    w->above[w->depth].dev = st.st_dev;
    w->above[w->depth++].ino = st.st_ino;
    while (rc == 0 && (errno = 0, ent = readdir(d)) != NULL)
        if (!is_maildir_part(ent->d_name) && is_dir(d, ent))
            rc = walk_below(w, ent->d_name, e);
    if (rc == 0 && errno != 0)
        rc = err_sys(e, "cannot read folder %s", buf_z(&w->path));
    w->depth--;
    closedir(d);
    return rc;
}

int
folders_read(const struct location *l, struct names *out, struct err *e)
{
    struct walk w = { .l = l, .out = out };
    int rc;

    memset(out, 0, sizeof(*out));
    if (l->layout == LAYOUT_FS) {
        buf_addz(&w.path, l->root);
        rc = walk_folder(&w, e);
        buf_free(&w.path);
    } else {
        rc = read_plus(l, out, e);
    }
    names_sort(out);
    if (rc)
        names_free(out);
    return rc;
}

/* One that is absent is made and its name added to made. */
static int
make_one(struct store_user *u, struct slice name, struct names *made, struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int rc = 0;

    if (name_normalise(&u->loc, name, &normal, e) || mbox_dir(u, buf_slice(&normal), &dir, e)) {
        rc = err_prefix(e, "auto_mailboxes");
    } else if (folder_is_there(u, buf_z(&dir), NULL) == 0) {
        rc = maildir_make_unsynced(buf_z(&dir), folder_has_mark(u, buf_z(&dir)), e);
        names_add(made, buf_slice(&normal));
    }
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

int
folders_make_auto(struct store_user *u, struct err *e)
{
    struct names made = { 0 };
    struct slice name;
    unsigned use;
    int rc = 0, fd;

    for (size_t i = 0; rc == 0 && name_auto(u->s->conf, i, &name, &use); i++)
        rc = make_one(u, name, &made, e);
    names_sort(&made);
    if (rc == 0 && made.n > 0) {
        rc = subscriptions_change(&u->loc, &made, true, e);
        fd = open(u->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (rc == 0 && (fd < 0 || syncfs(fd)))
            rc = err_sys(e, "cannot sync %s", u->root);
        if (fd >= 0)
            close(fd);
    }
    names_free(&made);
    return rc;
}
