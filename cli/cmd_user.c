/* cli/cmd_user.c - `postern user`: the rows of virtual_users. */
#include "auth/password.h"
#include "auth/scram_keeper.h"
#include "auth/users_app.h"
#include "base/mem.h"
#include "cli/cmd_user.h"
#include "cli/password_prompt.h"

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
    if (rc == 0) /* whoever had it before may have left something */
        rc = users_tidy(u->users, &e);
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

/* What belonged to him is not to be the next one's of this name. */
static int
remove_named(struct users_cmd *u, struct slice name)
{
    struct db_stmt *s;
    struct err e;

    if (db_prepare(u->db, "DELETE FROM virtual_users WHERE email = ?1 COLLATE NOCASE", &s, &e) < 0)
        return users_cmd_err(u, &e);
    db_bind_text(s, 1, name);
    return db_run(s, &e) < 0 || users_tidy(u->users, &e) < 0 ||
                   users_quota_forget(u->users, name, &e) < 0
               ? users_cmd_err(u, &e)
               : EXIT_OK;
}

static int
run_remove(struct users_cmd *u)
{
    struct buf name = { 0 };
    int rc;

    if (users_cmd_find(u, u->words[0], &name, &rc) > 0)
        rc = remove_named(u, buf_slice(&name));
    buf_free(&name);
    return rc;
}

static int
set_password(struct users_cmd *u, struct slice name)
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
    if (db_prepare(u->db, "UPDATE virtual_users SET password = ?1 WHERE email = ?2 COLLATE NOCASE",
                   &s, &e) < 0) {
        rc = users_cmd_err(u, &e);
    } else {
        db_bind_text(s, 1, sl_z(hash));
        db_bind_text(s, 2, name);
        rc = store_password(u, s, name, hash, buf_slice(&password));
    }
    password_wipe(&password);
    mem_wipe(hash, sizeof hash);
    return rc;
}

static int
run_password(struct users_cmd *u)
{
    struct buf name = { 0 };
    int rc;

    if (users_cmd_find(u, u->words[0], &name, &rc) > 0)
        rc = set_password(u, buf_slice(&name));
    buf_free(&name);
    return rc;
}

static int
set_disabled(struct users_cmd *u, bool is_disabled)
{
    struct err e;
    int rc = users_disable(u->users, sl_z(u->words[0]), is_disabled, &e);

    if (rc == 0)
        fprintf(stderr, "postern user: %s %s already\n", u->words[0],
                is_disabled ? "is disabled" : "may log in");
    return rc < 0 ? users_cmd_err(u, &e) : EXIT_OK;
}

static int
run_disable(struct users_cmd *u)
{
    return set_disabled(u, true);
}

static int
run_enable(struct users_cmd *u)
{
    return set_disabled(u, false);
}

#define LIST(state, join, of_domain)                                                               \
    "SELECT u.email AS user, " state " AS login FROM virtual_users u " join of_domain              \
    " ORDER BY u.email"
#define OF_DOMAIN  " JOIN virtual_domains d ON d.id = u.domain_id WHERE d.name = ?1 COLLATE NOCASE"
#define STATE      "CASE WHEN x.name IS NULL THEN 'yes' ELSE 'disabled' END"
#define STATE_JOIN "LEFT JOIN postern_disabled x ON x.name = u.email"

static int
run_list(struct users_cmd *u)
{
    struct slice domain = u->n_words ? sl_z(u->words[0]) : sl_n(NULL, 0);
    struct err e;
    int has = users_has_table(u->users, "postern_disabled", &e);

    if (has < 0)
        return users_cmd_err(u, &e);
    if (has)
        return users_cmd_list(
            u, domain.p ? LIST(STATE, STATE_JOIN, OF_DOMAIN) : LIST(STATE, STATE_JOIN, ""), domain);
    return users_cmd_list(u, domain.p ? LIST("'yes'", "", OF_DOMAIN) : LIST("'yes'", "", ""),
                          domain);
}

static const struct users_verb verbs[] = {
    { "add", 1, 1, USERS_DB_NEEDED, "s", run_add },
    { "remove", 1, 1, USERS_DB_NEEDED, "", run_remove },
    { "password", 1, 1, USERS_DB_NEEDED, "s", run_password },
    { "list", 0, 1, USERS_DB_NEEDED, "j", run_list },
    { "disable", 1, 1, USERS_DB_NEEDED, "", run_disable },
    { "enable", 1, 1, USERS_DB_NEEDED, "", run_enable },
    { "app-password add", 1, 1, USERS_DB_NEEDED, "lvx", user_app_add },
    { "app-password list", 1, 1, USERS_DB_NEEDED, "j", user_app_list },
    { "app-password revoke", 1, 2, USERS_DB_NEEDED, "a", user_app_revoke },
    { "test", 1, 1, USERS_DB_NONE, "se", user_test },
    { "hash", 0, 0, USERS_DB_NONE, "sc", user_hash },
};

static int
run(const struct cli_args *a)
{
    return users_cmd_run(a, &cmd_user, verbs, COUNT_OF(verbs));
}

const struct cli_command cmd_user = {
    .name = "user",
    .usage = "user add [--stdin] ADDRESS | password [--stdin] ADDRESS | remove ADDRESS | list "
             "[--json] [DOMAIN] | disable ADDRESS | enable ADDRESS | app-password "
             "add|list|revoke ADDRESS ... | test [--service S] [--stdin] NAME | hash [--scheme S] "
             "[--stdin]",
    .summary = "people with a mailbox here, and their passwords",
    .help =
        "DESCRIPTION\n"
        "    The users: rows of virtual_users in the users' database. A user is an address of a "
        "hosted\n"
        "    domain; it is also the login name, without case. All of it holds at once; nothing has "
        "to be\n"
        "    reloaded.\n\n"
        "    add [--stdin] ADDRESS\n"
        "        a new user; the domain must be hosted (postern domain add)\n"
        "    password [--stdin] ADDRESS\n"
        "        a new password; sessions that are open go on\n"
        "    remove ADDRESS\n"
        "        no login and no mail any more. Mail that was delivered stays on disk\n"
        "    list [--json] [DOMAIN]\n"
        "        all users, or those of one domain\n"
        "    disable ADDRESS, enable ADDRESS\n"
        "        no login with any password until he is enabled again, which only those hear who "
        "have the\n"
        "        right one. Mail for him is taken, and sessions that are open go on\n" USER_APP_HELP
        "    test [--service imap|pop3|smtp] [--stdin] NAME\n"
        "        would that password log NAME in? A running authd is asked, as programs ask it (a "
        "wrong\n"
        "        password counts there as one); else the tables. NAME may be user*master\n"
        "    hash [--scheme SCHEME] [--stdin]\n"
        "        print a password as it is stored, with its {SCHEME}: for auth_master_users\n\n"
        "    A password is asked for at the terminal, without echo, a new one twice; with --stdin "
        "it is the\n"
        "    first line of standard input. It is never an argument: every process of the machine "
        "can read\n"
        "    those. It is stored as default_pass_scheme says, SHA512-CRYPT unless set, and with it "
        "what\n"
        "    SCRAM-SHA-256 needs to know of it (auth_scram_iterations). A password that is put "
        "into the\n"
        "    database by other means is known to SCRAM after its first login with PLAIN or "
        "LOGIN.\n\n"
        "EXIT STATUS\n"
        "    0 done, or right; 64 wrong usage; 65 no address or no password that can be one, or "
        "there already;\n"
        "    67 no such user, domain or app password; 69 no database yet; 75 it is locked or the "
        "disk is full,\n"
        "    or authd cannot tell: try again; 77 no right to use it, or, of test, the password is "
        "wrong; 78\n"
        "    wrong configuration.\n\n"
        "EXAMPLES\n"
        "    postern user add anna@example.com\n"
        "    pwgen -s 20 1 | tee note | postern user password --stdin anna@example.com\n"
        "    postern user app-password add --label phone --services imap,smtp anna@example.com\n"
        "    postern user app-password revoke anna@example.com phone\n",
    .run = run,
};
