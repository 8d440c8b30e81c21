/* cli/users_db.c - opening the users' database from the command line. See rows.h. */
#include "cli/rows.h"

#include "auth/users.h"
#include "base/fs.h"
#include "cli/cli.h"
#include "core/daemon.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_NO_RIGHT = 77 };

int
users_db_fail(const char *command, const struct err *e)
{
    fprintf(stderr, "postern %s: %s\n", command, e->msg);
    switch (e->kind) {
    case ERR_NOTFOUND:
        return EXIT_NO_USER;
    case ERR_TEMP:
        return EXIT_TEMPFAIL;
    case ERR_CONFIG:
        return EXIT_CONFIG_ERROR;
    default:
        return EXIT_DATA_ERROR;
    }
}

/* Made by root, but authd reads it under a user of its own. */
static int
give_to_authd(const struct conf *c, struct err *e)
{
    const struct passwd *pw = getpwnam(daemon_user_of(c, "authd"));

    if (pw && chown(c->users_database, pw->pw_uid, pw->pw_gid) != 0)
        return err_sys(e, "cannot give %s to %s", c->users_database, pw->pw_name);
    return 0;
}

/* The folder it is to stand in, where a fresh machine has none yet. */
static int
make_folder(const struct conf *c, struct err *e)
{
    struct slice path = sl_z(c->users_database);
    size_t slash = sl_rfind_char(path, '/');
    const struct passwd *pw = getpwnam(daemon_user_of(c, "authd"));
    char *dir;
    int rc = 0;

    if (slash == SL_NPOS || slash == 0)
        return 0;
    dir = sl_dupz(sl_head(path, slash));
    if (access(dir, F_OK) != 0) {
        rc = fs_mkdirs(dir, geteuid() == 0 ? 0750 : 0700, e);
        if (rc == 0 && geteuid() == 0 && pw && chown(dir, pw->pw_uid, pw->pw_gid) != 0)
            rc = err_sys(e, "cannot give %s to %s", dir, pw->pw_name);
    }
    free(dir);
    return rc;
}

int
users_db_open(const struct conf *c, const char *command, bool make, struct users **out)
{
    struct err e = { 0 };
    bool is_new = access(c->users_database, F_OK) != 0;

    if (make && make_folder(c, &e) < 0) {
        users_db_fail(command, &e);
        return EXIT_CANNOT_CREATE;
    }
    if (users_open(c->users_database, make ? USERS_MAKE : 0, out, &e) == 0) {
        if (is_new && geteuid() == 0 && give_to_authd(c, &e) < 0) {
            users_close(out);
            return users_db_fail(command, &e);
        }
        return EXIT_OK;
    }
    if (e.kind == ERR_NOTFOUND) {
        fprintf(stderr,
                "postern %s: there is no users' database %s yet; make it with `postern domain add "
                "DOMAIN` or "
                "`postern sql FILE`\n",
                command, c->users_database);
        return EXIT_UNAVAILABLE;
    }
    fprintf(stderr, "postern %s: %s\n", command, e.msg);
    if (access(c->users_database, R_OK | W_OK) != 0)
        return is_new ? EXIT_CANNOT_CREATE : EXIT_NO_RIGHT;
    return e.kind == ERR_TEMP ? EXIT_TEMPFAIL : EXIT_DATA_ERROR;
}
