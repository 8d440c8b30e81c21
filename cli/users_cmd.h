/* cli/users_cmd.h - what `postern domain`, `user` and `alias` share: verbs, addresses, domains. Layer: cli. */
#ifndef POSTERN_CLI_USERS_CMD_H
#define POSTERN_CLI_USERS_CMD_H

#include "auth/users.h"
#include "cli/cli.h"
#include "cli/rows.h"

/* One call of a command, its database open. */
struct users_cmd {
    const struct cli_command *command;
    const struct conf *conf;
    struct users *users;
    struct db *db;
    char **words; /* what follows the verb, options taken out */
    int n_words;
    bool is_json, is_force, from_stdin, is_all;
    const char *label, *services, *expires, *scheme, *service; /* or NULL */
};
enum users_verb_database { USERS_DB_NEEDED, USERS_DB_MADE, USERS_DB_NONE };
struct users_verb {
    const char *name;         /* one word or two: "app-password add" */
    int min_words, max_words; /* max -1: any number */
    enum users_verb_database database;
    const char *options;             /* letters of those it takes: the table in users_cmd.c */
    int (*run)(struct users_cmd *u); /* exit code */
};

/* Parse, load main.cf, open the database, run the verb. */
int users_cmd_run(const struct cli_args *a, const struct cli_command *command,
                  const struct users_verb *verbs, size_t n);
/* "postern COMMAND: words"; returns code. */
int users_cmd_fail(const struct users_cmd *u, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int users_cmd_err(const struct users_cmd *u, const struct err *e);

/* Lower case into out; false: no domain name. */
bool users_domain(const char *text, struct buf *out);
/* Lower case into out; false: no address. may_be_catch_all: "@domain" is one. */
bool users_address(const char *text, bool may_be_catch_all, struct buf *out);
struct slice users_domain_of(struct slice address);
/* 1 and its id, 0 none, -1. */
int users_domain_id(struct db *d, struct slice domain, int64_t *id, struct err *e);
/* 1: there is such a user, by whatever spelling of the domain: name is as the database has it. 0 (which is told), -1 (told
 * too); *rc is then the exit code. */
int users_cmd_find(const struct users_cmd *u, const char *address, struct buf *name, int *rc);
/* Run "SELECT ... " with one text bound (p NULL: none) and print the rows. Exit code. */
int users_cmd_list(struct users_cmd *u, const char *sql, struct slice bound);

#endif
