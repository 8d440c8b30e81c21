/* cli/cmd_alias.c - `postern alias`: the rows of virtual_aliases. */
#include "base/mem.h"
#include "cli/users_cmd.h"

static int
insert(struct users_cmd *u, int64_t domain, struct slice source, struct slice destination)
{
    struct db_stmt *s;
    struct err e;
    int rc;

    if (db_prepare(u->db,
                   "SELECT 1 FROM virtual_aliases WHERE source = ?1 COLLATE NOCASE AND destination "
                   "= ?2 COLLATE NOCASE",
                   &s, &e) < 0)
        return users_cmd_err(u, &e);
    db_bind_text(s, 1, source);
    db_bind_text(s, 2, destination);
    rc = db_step(s, &e);
    db_reset(s);
    if (rc > 0)
        return users_cmd_fail(u, EXIT_DATA_ERROR, "%.*s leads to %.*s already", SL_ARG(source),
                              SL_ARG(destination));
    if (rc < 0 ||
        db_prepare(
            u->db,
            "INSERT INTO virtual_aliases (domain_id, source, destination) VALUES (?1, ?2, ?3)", &s,
            &e) < 0)
        return users_cmd_err(u, &e);
    db_bind_int(s, 1, domain);
    db_bind_text(s, 2, source);
    db_bind_text(s, 3, destination);
    return db_run(s, &e) < 0 ? users_cmd_err(u, &e) : EXIT_OK;
}

static int
add_destinations(struct users_cmd *u, int64_t domain, struct slice source)
{
    struct err e;
    int rc = EXIT_OK;

    if (db_begin(u->db, &e) < 0)
        return users_cmd_err(u, &e);
    for (int i = 1; i < u->n_words && rc == EXIT_OK; i++) {
        struct buf to = { 0 };

        if (users_address(u->words[i], false, &to))
            rc = insert(u, domain, source, buf_slice(&to));
        else
            rc = users_cmd_fail(u, EXIT_DATA_ERROR, "\"%s\" is no address: name@domain is wanted",
                                u->words[i]);
        buf_free(&to);
    }
    if (rc != EXIT_OK)
        db_rollback(u->db);
    else if (db_commit(u->db, &e) < 0)
        rc = users_cmd_err(u, &e);
    return rc;
}

static int
run_add(struct users_cmd *u)
{
    struct buf source = { 0 };
    struct slice domain;
    struct err e;
    int64_t id = 0;
    int rc;

    if (!users_address(u->words[0], true, &source)) {
        buf_free(&source);
        return users_cmd_fail(
            u, EXIT_DATA_ERROR,
            "\"%s\" is no address: name@domain, or @domain for all the rest, is wanted",
            u->words[0]);
    }
    domain = users_domain_of(buf_slice(&source));
    rc = users_domain_id(u->db, domain, &id, &e);
    if (rc > 0)
        rc = add_destinations(u, id, buf_slice(&source));
    else if (rc < 0)
        rc = users_cmd_err(u, &e);
    else
        rc = users_cmd_fail(u, EXIT_NO_USER,
                            "the domain %.*s is not hosted here: postern domain add %.*s",
                            SL_ARG(domain), SL_ARG(domain));
    buf_free(&source);
    return rc;
}

static int
run_remove(struct users_cmd *u)
{
    struct db_stmt *s;
    struct err e;

    if (db_prepare(u->db,
                   "DELETE FROM virtual_aliases WHERE source = ?1 COLLATE NOCASE"
                   " AND (?2 IS NULL OR destination = ?2 COLLATE NOCASE)",
                   &s, &e) < 0)
        return users_cmd_err(u, &e);
    db_bind_text(s, 1, sl_z(u->words[0]));
    if (u->n_words > 1)
        db_bind_text(s, 2, sl_z(u->words[1]));
    if (db_run(s, &e) < 0)
        return users_cmd_err(u, &e);
    if (db_changes(u->db))
        return EXIT_OK;
    return users_cmd_fail(u, EXIT_NO_USER,
                          u->n_words > 1 ? "there is no alias %s to %s" : "there is no alias %s",
                          u->words[0], u->n_words > 1 ? u->words[1] : "");
}

static int
run_list(struct users_cmd *u)
{
    if (u->n_words == 0)
        return users_cmd_list(
            u,
            "SELECT source AS alias, destination FROM virtual_aliases ORDER BY source, destination",
            sl_n(NULL, 0));
    return users_cmd_list(
        u,
        "SELECT a.source AS alias, a.destination FROM virtual_aliases a JOIN virtual_domains d"
        " ON d.id = a.domain_id WHERE d.name = ?1 COLLATE NOCASE ORDER BY a.source, a.destination",
        sl_z(u->words[0]));
}

static const struct users_verb verbs[] = {
    { "add", 2, -1, USERS_DB_NEEDED, "", run_add },
    { "remove", 1, 2, USERS_DB_NEEDED, "", run_remove },
    { "list", 0, 1, USERS_DB_NEEDED, "j", run_list },
};

static int
run(const struct cli_args *a)
{
    return users_cmd_run(a, &cmd_alias, verbs, COUNT_OF(verbs));
}

const struct cli_command cmd_alias = {
    .name = "alias",
    .usage =
        "alias add ADDRESS DESTINATION... | remove ADDRESS [DESTINATION] | list [--json] [DOMAIN]",
    .summary = "addresses that lead to others",
    .help = "DESCRIPTION\n"
            "    The aliases: rows of virtual_aliases in the users' database. Mail to ADDRESS, of "
            "a hosted\n"
            "    domain, goes to each DESTINATION instead; those may be anywhere. @domain as "
            "ADDRESS takes what\n"
            "    has no mailbox and no alias of its own in that domain.\n\n"
            "    add ADDRESS DESTINATION...       lead mail there (too)\n"
            "    remove ADDRESS [DESTINATION]     not to that one any more, or to none\n"
            "    list [--json] [DOMAIN]           all aliases, or those of one domain\n\n"
            "EXIT STATUS\n"
            "    0 done; 64 wrong usage; 65 no address, or there already; 67 no such alias or "
            "domain; 69 no\n"
            "    database yet; 75 it is locked or the disk is full: try again; 77 no right to use "
            "it; 78 wrong\n"
            "    configuration.\n\n"
            "EXAMPLES\n"
            "    postern alias add postmaster@example.com anna@example.com\n",
    .run = run,
};
