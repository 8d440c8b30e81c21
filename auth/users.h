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

/* This handle has written: that is no change by somebody else. */
void users_wrote(struct users *u);
/* 1, 0, -1: one of our own tables, in a database that may never have heard of it. */
int users_has_table(struct users *u, const char *table, struct err *e);

/* 1: there is such a user: name as stored, password as stored. 0: none; password is then somebody's (or empty), for
 * spending the same time. -1: e. The bufs are reset first. */
int users_find(struct users *u, struct slice email, struct buf *name, struct buf *password,
               struct err *e);
/* 1: virtual_domains has a row; 0: it has none; -1: e (no such table: ERR_NOTFOUND). */
int users_has_domains(struct users *u, struct err *e);

/* ---- what SCRAM-SHA-256 needs (postern_scram_verifiers: email, verifier, made_for), of the password whose stored text it
 * was made for: another text in virtual_users makes it void. The table is made with the first one. ---- */
struct sasl_verifier;
/* stored: as users_find() gave it. 1; 0: none, or it is void; -1. */
int users_scram_find(struct users *u, struct slice email, struct slice stored,
                     struct sasl_verifier *out, struct err *e);
/* Should one be made? iterations: of those made now; 0: no. Cannot tell: no. */
bool users_scram_is_wanted(struct users *u, struct slice email, struct slice stored,
                           uint32_t iterations);
/* Where the user's password is no longer the stored one, nothing is written: that is no error. */
int users_scram_set(struct users *u, struct slice email, struct slice stored,
                    const struct sasl_verifier *v, struct err *e);
int users_scram_forget(struct users *u, struct slice email, struct err *e);
/* Users were removed: theirs, too. */
int users_scram_prune(struct users *u, struct err *e);
/* `postern user`: make it of the password that was just stored; one that SCRAM cannot have (scram_make()) leaves none, which
 * is no error. iterations 0: none is kept. Blocks for as long as that takes. */
int users_scram_renew(struct users *u, struct slice email, struct slice stored,
                      struct slice password, uint32_t iterations, struct err *e);

/* ---- limits (postern_quota: name, storage, messages), by "u@d" or, for what all users of a domain have together, "d";
 * without case. The table is made when the first limit is set. ---- */
struct users_quota {
    int64_t octets, messages; /* 0: no limit; -1: nothing is said of it */
};
#define USERS_QUOTA_MAX (INT64_MAX / 4) /* of either: a rule takes no more */
/* 1, 0 no such row, -1. */
int users_quota_find(struct users *u, struct slice name, struct users_quota *out, struct err *e);
int users_quota_set(struct users *u, struct slice name, const struct users_quota *q, struct err *e);
int users_quota_forget(struct users *u, struct slice name, struct err *e); /* 1, 0, -1 */
/* The domain's limit and those of its users. */
int users_quota_forget_domain(struct users *u, struct slice domain, struct err *e);
int users_quota_make_table(struct users *u, struct err *e);
/* Append the userdb fields of a user, with Dovecot's names, a line each: "quota_rule999999=*:bytes=1048576" - the last of all
 * rules, so that it holds whatever number main.cf's own for "*" has. What is not said stays main.cf's. 0 or -1. */
#define USERS_QUOTA_RULE "999999"
int users_quota_fields(struct users *u, struct slice user, struct buf *out, struct err *e);

#endif
