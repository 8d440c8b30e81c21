/* cli/store_int.h - `postern store` in its files: cmd_store.c (the command line), store_users.c (whose store), store_run.c
 * (the verbs, without root's rights), store_bar.c (progress). Folder-private. */
#ifndef POSTERN_CLI_STORE_INT_H
#define POSTERN_CLI_STORE_INT_H

#include "cli/cli.h"
#include "store/maintain.h"

#include <sys/types.h>

enum store_verb {
    STORE_VERB_CHECK,
    STORE_VERB_REBUILD,
    STORE_VERB_STATS,
    STORE_VERB_PURGE,
    STORE_VERB_EXPORT,
    STORE_VERB_IMPORT
};

struct store_asked {
    enum store_verb verb;
    const char *name; /* of the verb */
    bool is_all, is_json, is_quiet, must_fix, is_full, must, with_doveadm;
    unsigned purge; /* STORE_PURGE_* */
    const char *to;
    char **words; /* users, argv's */
    int n_words;
};

/* ---- store_users.c ---- */
struct store_owner {
    char *user;
    uid_t uid; /* who owns the mail, and does the work */
    gid_t gid;
    bool has_mail;
};
struct store_owners {
    struct store_owner *v;
    size_t n, cap;
    int code; /* of those of --all who cannot be looked at; the others are served */
};
/* The users that are meant: by name, or all of the users' database and of the folders of mail_location. Sorted by owner.
 * 0 or an exit code after a message. */
int store_users_find(const struct conf *c, const struct store_asked *q, struct store_owners *out);
void store_users_free(struct store_owners *o);

/* ---- store_run.c ---- */
/* The verb for users of one owner, in this process, which has that owner's rights. Exit code, the worst of all. */
int store_run(const struct conf *c, const struct store_asked *q, const struct store_owner *v,
              size_t n);

/* ---- store_bar.c ---- */
/* On standard error, when that is a terminal and it takes long. Zeroed is a bar that shows nothing. */
struct store_bar {
    const char *verb;
    bool is_on, is_drawn;
    uint64_t since_ms, drawn_ms;
    size_t user, users; /* from 0 */
};
void store_bar_begin(struct store_bar *b, const char *verb, size_t users);
void store_bar_draw(struct store_bar *b, uint64_t done, uint64_t all);
void store_bar_clear(struct store_bar *b); /* before something else is printed */

#endif
