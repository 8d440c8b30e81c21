/* auth/users_app.h - what the users' database keeps of log-ins beside the guide's tables: app passwords (postern_app_passwords)
 * and who may not log in (postern_disabled). Tables are made when the first row is; a database without them is none that fails.
 * An app password belongs to the row of virtual_users it was made for, number and address: when that row goes or gets another
 * address, by whatever statement, a trigger takes the app passwords away, and where there was no trigger they are worth nothing.
 * Blocking, as auth/users.h. Layer: auth. */
#ifndef POSTERN_AUTH_USERS_APP_H
#define POSTERN_AUTH_USERS_APP_H

#include "auth/app_password.h"
#include "auth/users.h"

enum { USERS_APPS_MAX = 50, USERS_APP_LABEL_OCTETS = 64 };

struct users_app {
    const char *
        label; /* USERS_APP_LABEL_OCTETS at most, no second one of that name; NULL: "app-" and the number */
    unsigned services;      /* APP_... */
    int64_t expires_unix_s; /* 0: never */
};
/* Keep a new one of the user; bare: its characters. 0 and its number, or -1: ERR_NOTFOUND no such user; ERR_CLIENT there is one
 * of that label, or there are USERS_APPS_MAX already. */
int users_app_add(struct users *u, struct slice email, const struct users_app *a, const char *bare,
                  int64_t *id, struct err *e);
/* By number or label; an empty one: all. How many there were, or -1. */
int users_app_revoke(struct users *u, struct slice email, struct slice which, struct err *e);

enum users_app_rc {
    USERS_APP_NONE,    /* none of these is it */
    USERS_APP_GOOD,    /* *id */
    USERS_APP_EXPIRED, /* it is, but its time is over */
    USERS_APP_SCOPE    /* it is, but not for that service */
};
/* Is `entered` an app password of the user, for this service? Takes as long for every user, those without any too. -1: e. */
int users_app_match(struct users *u, struct slice email, struct slice entered, unsigned service,
                    int64_t now_unix_s, int64_t *id, struct err *e);
/* It was used: for list. Within a transaction of the caller. */
int users_app_used(struct users *u, int64_t id, int64_t when_unix_s, struct slice service,
                   struct slice address, struct err *e);

/* ---- who may not log in ---- */
int users_is_disabled(struct users *u, struct slice email, struct err *e); /* 1, 0, -1 */
/* 1: it was otherwise before, 0, -1. Of a user who exists. */
int users_disable(struct users *u, struct slice email, bool is_disabled, struct err *e);

/* Take away what belongs to no user any more, and put the triggers back where virtual_users has been made anew: after statements
 * of an operator's, and before an address is given to somebody. Nothing to do: nothing is written. 0 or -1. */
int users_tidy(struct users *u, struct err *e);

#endif
