/* cli/cmd_user.c - `postern user`: the rows of virtual_users. */
#include "auth/password.h"
#include "auth/scram_keeper.h"
#include "base/mem.h"
#include "cli/password_prompt.h"
#include "cli/users_cmd.h"

#include <stdio.h>

/* A password that is asked for, and its hash; both are wiped by the caller. */
static int
new_password(struct users_cmd *u, const char *whom, struct buf *password,
             char hash[PASSWORD_HASH_OCTETS])
{
    struct err e;
    int rc = password_prompt(whom, u->from_stdin, password, &e);

    if (rc == 0)
        rc = password_make(buf_slice(password), u->conf->default_pass_scheme, hash, &e);
    return rc < 0 ? users_cmd_err(u, &e) : EXIT_OK;
}

/* Run a statement that stores the hash, and keep with it what SCRAM needs; both or none. */
static int
store_password(struct users_cmd *u, struct db_stmt *s, struct slice address, const char *hash,
               struct slice password)
{
    struct err e;

    if (db_begin(u->db, &e) < 0)
        return users_cmd_err(u, &e);
    if (db_run(s, &e) < 0 || users_scram_renew(u->users, address, sl_z(hash), password,
                                               scram_iterations(u->conf), &e) < 0) {
        db_rollback(u->db);
        return users_cmd_err(u, &e);
    }
    return db_commit(u->db, &e) < 0 ? users_cmd_err(u, &e) : EXIT_OK;
}

/* 1 there, 0 not, -1. */
static int
has_user(struct users_cmd *u, struct slice address, struct err *e)
{
    struct buf name = { 0 }, password = { 0 };
    int rc = users_find(u->users, address, &name, &password, e);

    buf_free(&name);
    password_wipe(&password);
    return rc;
}

static int
insert(struct users_cmd *u, int64_t domain, struct slice address)
{
    char hash[PASSWORD_HASH_OCTETS];
    struct buf password = { 0 };
    struct db_stmt *s;
    struct err e;
    int rc = new_password(u, u->words[0], &password, hash);

    if (rc != EXIT_OK) {
        password_wipe(&password);
        return rc;
    }
    if (db_prepare(u->db,
                   "INSERT INTO virtual_users (domain_id, password, email) VALUES (?1, ?2, ?3)", &s,
                   &e) < 0) {
        rc = users_cmd_err(u, &e);
    } else {
        db_bind_int(s, 1, domain);
        db_bind_text(s, 2, sl_z(hash));
        db_bind_text(s, 3, address);
        rc = store_password(u, s, address, hash, buf_slice(&password));
    }
    password_wipe(&password);
    mem_wipe(hash, sizeof hash);
    return rc;
}

static int
add_address(struct users_cmd *u, struct slice address)
{
    struct slice domain = users_domain_of(address);
    struct err e;
    int64_t id = 0;
    int rc = users_domain_id(u->db, domain, &id, &e);

    if (rc == 0)
        return users_cmd_fail(u, EXIT_NO_USER,
                              "the domain %.*s is not hosted here: postern domain add %.*s",
                              SL_ARG(domain), SL_ARG(domain));
    if (rc > 0)
        rc = has_user(u, address, &e);
    if (rc < 0)
        return users_cmd_err(u, &e);
    if (rc > 0)
        return users_cmd_fail(u, EXIT_DATA_ERROR, "%.*s is there already", SL_ARG(address));
    return insert(u, id, address);
}

static int
run_add(struct users_cmd *u)
{
    struct buf address = { 0 };
    int rc;

    if (users_address(u->words[0], false, &address))
        rc = add_address(u, buf_slice(&address));
    else
        rc = users_cmd_fail(u, EXIT_DATA_ERROR, "\"%s\" is no address: name@domain is wanted",
                            u->words[0]);
    buf_free(&address);
    return rc;
}

static int
no_such_user(struct users_cmd *u)
{
    return users_cmd_fail(u, EXIT_NO_USER, "there is no user %s", u->words[0]);
}

static int
run_remove(struct users_cmd *u)
{
    struct db_stmt *s;
    struct err e;

    if (db_prepare(u->db, "DELETE FROM virtual_users WHERE email = ?1 COLLATE NOCASE", &s, &e) < 0)
        return users_cmd_err(u, &e);
    db_bind_text(s, 1, sl_z(u->words[0]));
    if (db_run(s, &e) < 0)
        return users_cmd_err(u, &e);
    if (db_changes(u->db) == 0)
        return no_such_user(u);
    /* His limit is not to be the next one's of this name. */
    return users_scram_prune(u->users, &e) < 0 ||
                   users_quota_forget(u->users, sl_z(u->words[0]), &e) < 0
               ? users_cmd_err(u, &e)
               : EXIT_OK;
}

static int
run_password(struct users_cmd *u)
{
    char hash[PASSWORD_HASH_OCTETS];
    struct buf password = { 0 };
    struct db_stmt *s;
    struct err e;
    int rc = has_user(u, sl_z(u->words[0]), &e);

    if (rc < 0)
        return users_cmd_err(u, &e);
    if (rc == 0)
        return no_such_user(u);
    rc = new_password(u, u->words[0], &password, hash);
    if (rc != EXIT_OK) {
        password_wipe(&password);
        return rc;
    }
    if (db_prepare(u->db, "UPDATE virtual_users SET password = ?1 WHERE email = ?2 COLLATE NOCASE",
                   &s, &e) < 0) {
        rc = users_cmd_err(u, &e);
    } else {
        db_bind_text(s, 1, sl_z(hash));
        db_bind_text(s, 2, sl_z(u->words[0]));
        rc = store_password(u, s, sl_z(u->words[0]), hash, buf_slice(&password));
    }
    password_wipe(&password);
    mem_wipe(hash, sizeof hash);
    return rc;
}

static int
run_list(struct users_cmd *u)
{
    if (u->n_words == 0)
        return users_cmd_list(u, "SELECT email AS user FROM virtual_users ORDER BY email",
                              sl_n(NULL, 0));
    return users_cmd_list(
        u,
        "SELECT u.email AS user FROM virtual_users u JOIN virtual_domains d ON d.id = u.domain_id"
        " WHERE d.name = ?1 COLLATE NOCASE ORDER BY u.email",
        sl_z(u->words[0]));
}

static const struct users_verb verbs[] = {
    { "add", 1, 1, false, "s", run_add },
    { "remove", 1, 1, false, "", run_remove },
    { "password", 1, 1, false, "s", run_password },
    { "list", 0, 1, false, "j", run_list },
};

static int
run(const struct cli_args *a)
{
    return users_cmd_run(a, &cmd_user, verbs, COUNT_OF(verbs));
}

const struct cli_command cmd_user = {
    .name = "user",
    .usage = "user add [--stdin] ADDRESS | password [--stdin] ADDRESS | remove ADDRESS | list "
             "[--json] [DOMAIN]",
    .summary = "people with a mailbox here, and their passwords",
    .help = "DESCRIPTION\n"
            "    The users: rows of virtual_users in the users' database. A user is an address of "
            "a hosted\n"
            "    domain; it is also the login name, without case.\n\n"
            "    add [--stdin] ADDRESS        a new user; the domain must be hosted (postern "
            "domain add)\n"
            "    password [--stdin] ADDRESS   a new password; sessions that are open go on\n"
            "    remove ADDRESS               no login and no mail any more. Mail that was "
            "delivered stays on disk\n"
            "    list [--json] [DOMAIN]       all users, or those of one domain\n\n"
            "    The password is asked for twice at the terminal, without echo; with --stdin it is "
            "the first line\n"
            "    of standard input. It is never an argument: every process of the machine can read "
            "those. It is\n"
            "    stored as default_pass_scheme says, SHA512-CRYPT unless set.\n\n"
            "EXIT STATUS\n"
            "    0 done; 64 wrong usage; 65 no address or no password that can be one, or there "
            "already; 67 no\n"
            "    such user or domain; 69 no database yet; 75 it is locked or the disk is full: try "
            "again; 77 no\n"
            "    right to use it; 78 wrong configuration.\n\n"
            "EXAMPLES\n"
            "    postern user add anna@example.com\n"
            "    pwgen -s 20 1 | tee note | postern user password --stdin anna@example.com\n",
    .run = run,
};
