/* auth/account.h - what the tables say of somebody who wants to log in, in one look: his password, whom he may be, whether he
 * may at all. As much work for who does not exist as for who does. On the backend's thread. Layer: auth. */
#ifndef POSTERN_AUTH_ACCOUNT_H
#define POSTERN_AUTH_ACCOUNT_H

#include "auth/table.h"
#include "auth/users_app.h"

struct account_ask {
    struct slice name; /* who is to prove himself; canonical */
    struct slice
        other; /* whom he wants to be, canonical; empty: himself. Then he must be a master */
    struct slice entered; /* his password where it is known: it may be an app password; or empty */
    const char *service;  /* "imap" */
};
struct account {
    bool
        is_found; /* there is the user who will be logged in: `other` when asked for, else `name` */
    bool is_master;   /* `other` was asked for, and `name` is one of auth_master_users */
    bool is_disabled; /* the user who will be logged in */
    struct buf name;  /* of that user, as the database has it */
    /* What `name` has to know, as stored: of the master, else of the user. When there is no such, something to spend the time on,
     * or empty. A secret: account_free() wipes it. */
    struct buf password;
    bool wants_verifier;   /* a SCRAM verifier of that password is to be kept once it was right */
    enum users_app_rc app; /* what `entered` is; a master has none */
    int64_t app_id;
};
/* 0, or -1: e (the users' database or the tables of masters cannot be asked). out is zeroed first. */
int account_look(struct table_set *tables, const struct account_ask *ask, struct account *out,
                 struct err *e);
void account_free(struct account *a);

/* 1: there is such a master: his password as stored. 0, -1. */
int account_find_master(struct table_set *tables, struct slice name, struct buf *password,
                        struct err *e);

#endif
