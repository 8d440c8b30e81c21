/* cli/cmd_domain.c - `postern domain`: the rows of virtual_domains. */
#include "base/mem.h"
#include "auth/users_app.h"
#include "cli/users_cmd.h"

static int
add_one(struct users_cmd *u, const char *text)
{
    struct buf name = { 0 };
    struct db_stmt *s;
    struct err e;
    int64_t id;
    int rc;

    if (!users_domain(text, &name)) {
        buf_free(&name);
        return users_cmd_fail(u, EXIT_DATA_ERROR, "\"%s\" is no domain name", text);
    }
    rc = users_domain_id(u->db, buf_slice(&name), &id, &e);
    if (rc > 0)
        rc = users_cmd_fail(u, EXIT_DATA_ERROR, "%s is there already", text);
    else if (rc < 0 ||
             db_prepare(u->db, "INSERT INTO virtual_domains (name) VALUES (?1)", &s, &e) < 0)
        rc = users_cmd_err(u, &e);
    else {
        db_bind_text(s, 1, buf_slice(&name));
        rc = db_run(s, &e) < 0 ? users_cmd_err(u, &e) : EXIT_OK;
    }
    buf_free(&name);
    return rc;
}

static int
run_add(struct users_cmd *u)
{
    struct err e;
    int rc = EXIT_OK;

    if (db_begin(u->db, &e) < 0)
        return users_cmd_err(u, &e);
    for (int i = 0; i < u->n_words && rc == EXIT_OK; i++)
        rc = add_one(u, u->words[i]);
    if (rc != EXIT_OK)
        db_rollback(u->db);
    else if (db_commit(u->db, &e) < 0)
        rc = users_cmd_err(u, &e);
    return rc;
}

/* What would go with it. */
static int
count_of(struct users_cmd *u, const char *sql, int64_t id, int64_t *n, struct err *e)
{
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, sql, &s, e) < 0)
        return -1;
    db_bind_int(s, 1, id);
    rc = db_step(s, e);
    *n = rc > 0 ? db_int(s, 0) : 0;
    db_reset(s);
    return rc;
}

static int
remove_id(struct users_cmd *u, const char *name, int64_t id)
{
    struct db_stmt *s;
    int64_t people = 0, aliases = 0;
    struct err e;

    if (count_of(u, "SELECT count(*) FROM virtual_users WHERE domain_id = ?1", id, &people, &e) <
            0 ||
        count_of(u, "SELECT count(*) FROM virtual_aliases WHERE domain_id = ?1", id, &aliases, &e) <
            0)
        return users_cmd_err(u, &e);
    if (people + aliases > 0 && !u->is_force)
        return users_cmd_fail(u, EXIT_DATA_ERROR,
                              "%s still has %lld users and %lld aliases, which would go with it "
                              "(their mail stays on disk): "
                              "say so with --force",
                              name, (long long)people, (long long)aliases);
    if (db_prepare(u->db, "DELETE FROM virtual_domains WHERE id = ?1", &s, &e) < 0)
        return users_cmd_err(u, &e);
    db_bind_int(s, 1, id);
    if (db_run(s, &e) < 0 || users_quota_forget_domain(u->users, sl_z(name), &e) < 0 ||
        users_tidy(u->users, &e) < 0)
        return users_cmd_err(u, &e);
    return EXIT_OK;
}

static int
run_remove(struct users_cmd *u)
{
    struct err e;
    int64_t id = 0;
    int rc = users_domain_id(u->db, sl_z(u->words[0]), &id, &e);

    if (rc < 0)
        return users_cmd_err(u, &e);
    if (rc == 0)
        return users_cmd_fail(u, EXIT_NO_USER, "there is no domain %s", u->words[0]);
    return remove_id(u, u->words[0], id);
}

static int
run_list(struct users_cmd *u)
{
    return users_cmd_list(
        u,
        "SELECT name AS domain, (SELECT count(*) FROM virtual_users u WHERE u.domain_id = d.id) AS "
        "users,"
        " (SELECT count(*) FROM virtual_aliases a WHERE a.domain_id = d.id) AS aliases"
        " FROM virtual_domains d ORDER BY name",
        sl_n(NULL, 0));
}

static const struct users_verb verbs[] = {
    { "add", 1, -1, USERS_DB_MADE, "", run_add },
    { "remove", 1, 1, USERS_DB_NEEDED, "f", run_remove },
    { "list", 0, 0, USERS_DB_NEEDED, "j", run_list },
};

static int
run(const struct cli_args *a)
{
    return users_cmd_run(a, &cmd_domain, verbs, COUNT_OF(verbs));
}

const struct cli_command cmd_domain = {
    .name = "domain",
    .usage = "domain add DOMAIN... | remove [--force] DOMAIN | list [--json]",
    .summary = "domains whose mail is kept here",
    .help = "DESCRIPTION\n"
            "    The hosted domains: rows of virtual_domains in the users' database.\n\n"
            "    add DOMAIN...             host these; the database is made when it is not there\n"
            "    remove [--force] DOMAIN   host it no longer. Its users and aliases go with it, so "
            "--force must\n"
            "                              say so when it has any. Mail that was delivered stays "
            "on disk\n"
            "    list [--json]             domains, with how many users and aliases each has\n\n"
            "    A change is in force within a tenth of a second; nothing needs to be reloaded.\n\n"
            "EXIT STATUS\n"
            "    0 done; 64 wrong usage; 65 no domain name, or there already; 67 no such domain; "
            "69 no database\n"
            "    yet; 73 it cannot be made; 75 it is locked or the disk is full: try again; 77 no "
            "right to use\n"
            "    it; 78 wrong configuration.\n\n"
            "EXAMPLES\n"
            "    postern domain add example.com example.org\n",
    .run = run,
};
