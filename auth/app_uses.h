/* auth/app_uses.h - when, for what and from where app passwords were last used: gathered in memory and written to the users'
 * database now and then, by the backend's thread, so that a log-in costs no write. An app password that is used all the time is
 * written once a minute. What cannot be written (a database that authd may only read) is logged once and forgotten.
 * Layer: auth; on the loop. */
#ifndef POSTERN_AUTH_APP_USES_H
#define POSTERN_AUTH_APP_USES_H

#include "auth/backend.h"
#include "core/addr.h"

enum {
    APP_USES_WRITE_MS = 3 * 1000, /* after a use */
    APP_USES_REST_S = 60, /* one that was written is not written again, unless used otherwise */
    APP_USES_MAX = 4096   /* kept; more at once are not noted */
};

struct app_uses;
struct app_uses *app_uses_new(struct backend *b);
void app_uses_free(struct app_uses **u); /* before the backend; NULL-safe */
/* u NULL: nothing is kept. */
void app_uses_note(struct app_uses *u, int64_t id, const char *service, const struct addr *remote);
/* At the daemon's end: write what is not written yet; is all of it? */
void app_uses_flush(struct app_uses *u);
bool app_uses_is_idle(const struct app_uses *u);

#endif
