/* cli/store_users.c - whose store: names of the command line, or everybody of the users' database and everybody who has a
 * folder where mail_location says. Of the mail itself only the names of folders are looked at here, by root. */
#include "cli/store_int.h"

#include "auth/names.h"
#include "auth/users.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/rows.h"
#include "core/daemon.h"
#include "store/names.h"

#include <dirent.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int
fail(int code, const char *what, const char *why)
{
    fprintf(stderr, "postern store: %s: %s\n", what, why);
    return code;
}

/* Those whose name could lead out of its place are nobody's. */
static void
add(struct store_owners *o, struct map *known, struct slice user)
{
    if (!location_user_is_safe(user) || map_set(known, user, known) != NULL)
        return;
    o->v = mem_grow(o->v, &o->cap, o->n + 1, sizeof(o->v[0]));
    o->v[o->n++] = (struct store_owner){ .user = sl_dupz(user) };
}

/* Somebody of the database, by the name that the daemons give him. */
static void
add_person(const struct conf *c, struct store_owners *o, struct map *known, struct slice email)
{
    struct buf name = { 0 };

    auth_format_name(c->auth_username_format, email, &name);
    add(o, known, buf_slice(&name));
    buf_free(&name);
}

static int
add_from_database(const struct conf *c, struct store_owners *o, struct map *known)
{
    struct users *users = NULL;
    struct db_stmt *s;
    struct err e = { 0 };
    int rc;

    if (access(c->users_database, F_OK) != 0)
        return EXIT_OK; /* people who are somewhere else */
    rc = users_db_open(c, "store", false, &users);
    if (rc != EXIT_OK)
        return rc;
    rc = db_prepare(users_db(users), "SELECT email FROM virtual_users ORDER BY email", &s, &e);
    if (rc == 0)
        while ((rc = db_step(s, &e)) == 1)
            add_person(c, o, known, db_text(s, 0));
    users_close(&users);
    return rc < 0 ? users_db_fail("store", &e) : EXIT_OK;
}

/* ---- by folders: PREFIX/%d/%n, PREFIX/%u or PREFIX/%n, and what may follow ---- */

static void
each_folder(const char *path, void (*fn)(void *arg, const char *name), void *arg)
{
    DIR *d = opendir(path);
    struct dirent *ent;
    struct stat st;

    while (d != NULL && (ent = readdir(d)) != NULL)
        if (ent->d_name[0] != '.' && fstatat(dirfd(d), ent->d_name, &st, 0) == 0 &&
            S_ISDIR(st.st_mode))
            fn(arg, ent->d_name);
    if (d != NULL)
        closedir(d);
}

struct by_folder {
    struct store_owners *o;
    struct map *known;
    const char *prefix;
    char *domain; /* NULL: the folder's name is the user's */
    bool has_domains;
};

static void
take_user(void *arg, const char *name)
{
    struct by_folder *b = arg;
    struct buf user = { 0 };

    buf_addz(&user, name);
    if (b->domain != NULL)
        buf_addf(&user, "@%s", b->domain);
    add(b->o, b->known, buf_slice(&user));
    buf_free(&user);
}

static void
take_domain(void *arg, const char *name)
{
    struct by_folder *b = arg;
    struct buf path = { 0 };

    buf_addf(&path, "%s/%s", b->prefix, name);
    b->domain = mem_dupz(name);
    each_folder(buf_z(&path), take_user, b);
    free(b->domain);
    b->domain = NULL;
    buf_free(&path);
}

static void
add_from_folders(const struct conf *c, struct store_owners *o, struct map *known)
{
    char *prefix = location_common(c);
    struct by_folder b = { .o = o, .known = known, .prefix = prefix };
    struct slice path = sl_z(c->mail_location), word;

    if (prefix == NULL)
        return;
    (void)sl_take_iprefix(&path, SL("maildir:"));
    path = sl_head(path, sl_find_char(path, ':'));
    path = sl_from(path, strlen(prefix));
    if (!sl_take_char(&path, '/') || !sl_take_word(&path, "/", &word))
        word = SL("");
    if (sl_eqz(word, "%d") || sl_eqz(word, "%Ld")) {
        if (sl_take_word(&path, "/", &word) && (sl_eqz(word, "%n") || sl_eqz(word, "%Ln")))
            each_folder(prefix, take_domain, &b);
    } else if (sl_eqz(word, "%u") || sl_eqz(word, "%n") || sl_eqz(word, "%Lu") ||
               sl_eqz(word, "%Ln")) {
        each_folder(prefix, take_user, &b);
    }
    free(prefix);
}

/* ---- by name ---- */

static int
add_named(const struct conf *c, const struct store_asked *q, struct store_owners *o,
          struct map *known)
{
    struct users *users = NULL;
    struct buf name = { 0 }, password = { 0 };
    struct err e = { 0 };

    /* As the database writes it, since so do the daemons; who has none asks for what is there. */
    if (access(c->users_database, R_OK) == 0)
        (void)users_open(c->users_database, 0, &users, &e);
    for (int i = 0; i < q->n_words; i++) {
        struct slice user = sl_z(q->words[i]);

        if (!location_user_is_safe(user)) {
            users_close(&users);
            return fail(EXIT_NO_USER, q->words[i], "no user can be called that");
        }
        if (users != NULL && users_find(users, user, &name, &password, &e) == 1)
            add_person(c, o, known, buf_slice(&name));
        else
            add(o, known, user);
    }
    if (password.n > 0)
        mem_wipe(password.p, password.cap);
    buf_free(&name);
    buf_free(&password);
    users_close(&users);
    return EXIT_OK;
}

/* ---- owners ---- */

/* Whose mail it will be when there is some. */
static void
set_usual_owner(const struct conf *c, struct store_owner *o)
{
    const struct passwd *pw = getpwnam(daemon_user_of(c, "lmtpd"));

    if (geteuid() != 0 || pw == NULL)
        return;
    o->uid = pw->pw_uid;
    o->gid = pw->pw_gid;
}

/* Root works in nobody's folders: a user may have laid a link to one of root's in the place of the mail. Where the daemons
 * have a user of their own, that one has no mail that is root's either. */
static void
be_nobody_of_root(const struct conf *c, struct store_owner *o)
{
    const struct passwd *daemons = getpwnam(c->store_user);

    if (o->uid == 0 && geteuid() == 0 && daemons != NULL) {
        o->uid = daemons->pw_uid;
        o->gid = daemons->pw_gid;
    }
}

static int
find_owner(const struct conf *c, struct store_owner *o)
{
    struct location where;
    struct stat st;
    struct err e = { 0 };
    int rc = EXIT_OK;

    if (location_resolve(c, sl_z(o->user), sl_n(NULL, 0), &where, &e)) {
        location_free(&where);
        return fail(e.kind == ERR_CONFIG ? EXIT_CONFIG_ERROR : EXIT_NO_USER, o->user, e.msg);
    }
    if (stat(where.root, &st) == 0) {
        o->has_mail = S_ISDIR(st.st_mode);
        o->uid = st.st_uid;
        o->gid = st.st_gid;
        be_nobody_of_root(c, o);
    } else if (errno == ENOENT || errno == ENOTDIR) {
        set_usual_owner(c, o);
    } else {
        rc = fail(EXIT_TEMPFAIL, where.root, strerror(errno));
    }
    location_free(&where);
    return rc;
}

static int
cmp_owner(const void *a, const void *b)
{
    const struct store_owner *x = a, *y = b;

    if (x->uid != y->uid)
        return x->uid < y->uid ? -1 : 1;
    if (x->gid != y->gid)
        return x->gid < y->gid ? -1 : 1;
    return strcmp(x->user, y->user);
}

int
store_users_find(const struct conf *c, const struct store_asked *q, struct store_owners *out)
{
    struct map *known = map_new_icase();
    int rc;

    memset(out, 0, sizeof(*out));
    if (q->is_all) {
        rc = add_from_database(c, out, known);
        if (rc == EXIT_OK)
            add_from_folders(c, out, known);
    } else {
        rc = add_named(c, q, out, known);
    }
    map_free(&known, NULL);
    for (size_t i = 0; rc == EXIT_OK && i < out->n; i++) {
        rc = find_owner(c, &out->v[i]);
        if (rc != EXIT_OK && q->is_all) { /* one user's folder is no reason to leave the others */
            out->code = rc;
            rc = EXIT_OK;
        }
    }
    if (rc == EXIT_OK && out->n > 1)
        qsort(out->v, out->n, sizeof(out->v[0]), cmp_owner);
    return rc;
}

void
store_users_free(struct store_owners *o)
{
    for (size_t i = 0; i < o->n; i++)
        free(o->v[i].user);
    free(o->v);
    memset(o, 0, sizeof(*o));
}
