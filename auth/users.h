/* auth/users.h - the users' database: the guide's three tables, and nothing else that they would not know.
 * Own things go into tables named postern_... . Blocking; a handle belongs to one thread at a time. Layer: auth. */
#ifndef POSTERN_AUTH_USERS_H
#define POSTERN_AUTH_USERS_H

#include "base/buf.h"
#include "db/db.h"

struct users;

enum {
    USERS_MAKE = 1,     /* create the file (mode 0600; its folder must exist) and nothing in it */
    USERS_IMPATIENT = 2 /* authd: many wait behind one who waits for a lock */
};
/* MySQL's functions are there. -1: ERR_NOTFOUND no such file, else as db_open(). */
int users_open(const char *path, unsigned flags, struct users **out, struct err *e);
void users_close(struct users **u);
struct db *users_db(struct users *u);
/* The guide's tables, where they are absent. */
int users_make_tables(struct users *u, struct err *e);

/* Somebody changed the database, or put another file in its place: close and open again. */
bool users_is_changed(struct users *u);

/* 1: there is such a user: name as stored, password as stored. 0: none; password is then somebody's (or empty), for
 * spending the same time. -1: e. The bufs are reset first. */
int users_find(struct users *u, struct slice email, struct buf *name, struct buf *password,
               struct err *e);
/* 1: virtual_domains has a row; 0: it has none; -1: e (no such table: ERR_NOTFOUND). */
int users_has_domains(struct users *u, struct err *e);

#endif
