/* store/folders.c - the folders of a root as they are on disk. */
#include "store/store_int.h"

#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

int
folders_read(const struct location *l, struct names *out, struct err *e)
{
    const char *root = l->root;
    DIR *d = opendir(root);
    struct dirent *ent;
    struct buf name = { 0 };
    int rc = 0;

    memset(out, 0, sizeof(*out));
    if (d == NULL)
        return err_sys(e, "cannot open folder %s", root);
    while ((errno = 0, ent = readdir(d)) != NULL) {
        buf_reset(&name);
        if (name_from_folder(l, sl_z(ent->d_name), &name) && is_dir(d, ent))
            names_add(out, buf_slice(&name));
    }
    if (errno != 0)
        rc = err_sys(e, "cannot read folder %s", root);
    closedir(d);
    buf_free(&name);
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
    struct stat st;
    int rc = 0;

    if (name_normalise(&u->loc, name, &normal, e) || mbox_dir(u, buf_slice(&normal), &dir, e)) {
        rc = err_prefix(e, "auto_mailboxes");
    } else if (stat(buf_z(&dir), &st)) {
        rc = maildir_make_unsynced(buf_z(&dir), true, e);
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
