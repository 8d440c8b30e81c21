/* auth/auth_check.c - see auth_check.h. The rule behind it: mail is not refused because nobody imported the users. */
#include "auth/auth_check.h"

#include "auth/names.h"
#include "auth/password.h"
#include "auth/sasl.h"
#include "auth/srs_map.h"
#include "auth/table.h"
#include "auth/table_sql.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
    const struct conf *c;
    struct conf_problems *ps;
    struct table_set *tables;
    struct map *seen; /* tables told of already */
    bool has_mysql, has_users;
    bool is_incomplete; /* tables are not there: what they hold is not known */
};

__attribute__((format(printf, 4, 5))) static void
tell(struct check *k, bool is_error, const char *param, const char *fmt, ...)
{
    struct buf text = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    conf_problem_add(k->ps, is_error, conf_file_of(k->c), conf_line_of(k->c, param), "%s: %s",
                     param, buf_z(&text));
    buf_free(&text);
}

/* ---- mysql: ---- */

static const char ways_out[] = "either bring the users here (mysqldump mailserver | postern sql, "
                               "or postern sql with the statements that made "
                               "them, or postern domain add and postern user add), or leave mail "
                               "with the server that has them until they are here";

static void
check_users(struct check *k, const char *param)
{
    struct err e = { 0 };
    struct users *u = table_set_users(k->tables, &e);
    int has;

    if (k->has_users)
        return;
    k->has_users = true; /* told once */
    if (u == NULL) {
        tell(k, true, param, "the users' database %s cannot be used: %s: %s", k->c->users_database,
             e.msg, ways_out);
        return;
    }
    has = users_has_domains(u, &e);
    if (has < 0)
        tell(k, true, param, "the users' database: %s: %s", e.msg, ways_out);
    else if (has == 0)
        tell(k, true, param,
             "the users' database %s has no domain in it, so all mail would be refused: %s",
             k->c->users_database, ways_out);
}

static void
check_mysql(struct check *k, const char *param, struct slice text, const struct table *half,
            const struct err *opened)
{
    const struct table_cf *cf = half ? table_mysql_cf(half) : NULL;
    size_t errors = k->ps->errors;
    struct slice host;

    k->has_mysql = true;
    if (cf == NULL) {
        tell(k, true, param, "%.*s: %s", SL_ARG(text), opened->msg);
        return;
    }
    if (k->c->mysql_tables[0] == '\0' && !table_cf_is_local(cf, &host))
        tell(k, true, param,
             "%s names the MySQL server %.*s, but Postern answers mysql: tables from its own "
             "database %s: either bring "
             "the users here (mysqldump -h %.*s mailserver | postern sql) and set mysql_tables = "
             "embedded to say so, or "
             "use another table type for the users that stay there",
             cf->file.path, SL_ARG(host), k->c->users_database, SL_ARG(host));
    check_users(k, param);
    if (opened->kind != ERR_NONE && k->ps->errors == errors &&
        table_set_users(k->tables, &(struct err){ 0 }))
        tell(k, true, param, "%.*s: %s", SL_ARG(text), opened->msg);
}

/* ---- every table ---- */

static void
check_table(struct check *k, const char *param, struct slice text)
{
    struct err e = { 0 };
    struct table *half = NULL;
    struct slice arg;
    const struct table_type *type = table_type_of(text, &arg);

    if (map_get(k->seen, text))
        return;
    map_set(k->seen, text, k);
    if (type == NULL && sl_has_suffix(sl_z(param), SL("_checks")))
        tell(k, true, param, "unsupported table type: %.*s", SL_ARG(text));
    if (type == NULL)
        return; /* "check_policy_service inet:..." and the like are no tables: who uses the word checks it */
    if (table_set_open(k->tables, text, &half, &e))
        e.kind = ERR_NONE;
    else
        half = half && half->state ? half : NULL;
    if (type == &table_mysql) {
        check_mysql(k, param, text, half, &e);
    } else if (e.kind == ERR_NOTFOUND) {
        k->is_incomplete = true;
        tell(k, false, param, "%.*s: %s; look-ups answer \"try again\" until it is there",
             SL_ARG(text), e.msg);
    } else if (e.kind != ERR_NONE) {
        tell(k, true, param, "%.*s: %s", SL_ARG(text), e.msg);
    }
}

/* A policy server that master.cf's spawn would start: nobody does here, and what nobody answers is 451. */
static void
check_policy(struct check *k, const char *param, struct slice server)
{
    struct slice path = server;
    struct buf full = { 0 };

    if (!sl_take_prefix(&path, SL("unix:")) || map_get(k->seen, server))
        return;
    if (k->c->quota[0] && sl_eqz(path, "private/quota"))
        return; /* lmtpd's own, when it runs */
    map_set(k->seen, server, k);
    if (!sl_starts(path, '/'))
        buf_addf(&full, "%s/", k->c->queue_directory);
    buf_adds(&full, path);
    if (access(buf_z(&full), F_OK) != 0 && errno == ENOENT)
        tell(k, false, param,
             "check_policy_service %.*s: there is no socket %s, and until there is the answer is "
             "smtpd_policy_service_default_action. master.cf is not read: who was started by its "
             "spawn has to be started by itself",
             SL_ARG(server), buf_z(&full));
    buf_free(&full);
}

static void
check_text(struct check *k, const char *param, struct slice text)
{
    struct slice item, last = SL("");

    for (; table_take_item(&text, &item); last = item) {
        if (sl_ieqz(last, "check_policy_service"))
            check_policy(k, param, item);
        else if (sl_starts(item, '{') && sl_ends(item, '}') && item.n > 2)
            check_text(k, param, sl_n(item.p + 1, item.n - 2));
        else if (table_is_type_text(item))
            check_table(k, param, item);
        else if (sl_has_suffix(sl_z(param), SL("_checks")))
            tell(k, true, param, "%.*s: not of the form type:table", SL_ARG(item));
    }
}

/* What the file sets, then the rest: what is told of a table is told where it is named. */
static void
check_tables(struct check *k)
{
    static const char *const services[] = { "submission_", "submissions_" };
    struct buf name = { 0 };
    size_t n;
    const struct conf_param *p = conf_params(&n);

    for (int is_default = 0; is_default < 2; is_default++)
        /* a listener's unix:path is no unix: map, and these two are not asked */
        for (size_t i = 0; i < n; i++)
            if (!p[i].is_noop && strncmp(p[i].name, "listen_", 7) != 0 &&
                strcmp(p[i].name, "address_verify_map") != 0 &&
                strcmp(p[i].name, "alias_database") != 0 &&
                is_default == !conf_line_of(k->c, p[i].name))
                check_text(k, p[i].name, sl_z(conf_user_value(k->c, p[i].name)));
    for (size_t i = 0; i < n * COUNT_OF(services); i++) {
        if (strncmp(p[i / 2].name, "smtpd_", 6) != 0)
            continue;
        buf_reset(&name);
        buf_addf(&name, "%s%s", services[i % 2], p[i / 2].name + 6);
        if (conf_user_value(k->c, buf_z(&name)))
            check_text(k, buf_z(&name), sl_z(conf_user_value(k->c, buf_z(&name))));
    }
    for (size_t i = 0; i < k->c->smtpd_restriction_classes.n; i++) {
        const char *class = k->c->smtpd_restriction_classes.v[i];

        if (conf_user_value(k->c, class))
            check_text(k, class, sl_z(conf_user_value(k->c, class)));
    }
    buf_free(&name);
}

/* ---- postmaster and root ---- */

/* 1 it leads somewhere, 0 nowhere, -1 cannot be said now. */
static int
asks(struct check *k, const char *list, struct slice key)
{
    struct buf value = { 0 };
    struct err e;
    enum table_rc rc = table_set_lookup(k->tables, sl_z(list), key, &value, &e);

    buf_free(&value);
    return rc == TABLE_FOUND ? 1 : rc == TABLE_NOTFOUND ? 0 : -1;
}

static int
any(struct check *k, const char *const *lists, size_t n, struct slice key)
{
    int worst = 0;

    for (size_t i = 0; i < n; i++) {
        int rc = asks(k, lists[i], key);

        if (rc > 0)
            return 1;
        if (rc < 0)
            worst = -1;
    }
    return worst;
}

static int
reaches(struct check *k, const char *local, struct slice domain)
{
    static const char *const hosted[] = { "virtual_alias_maps", "virtual_mailbox_maps" };
    struct buf address = { 0 }, at_domain = { 0 };
    int rc;

    buf_addf(&address, "%s@%.*s", local, SL_ARG(domain));
    buf_addf(&at_domain, "@%.*s", SL_ARG(domain));
    rc = any(k, hosted, COUNT_OF(hosted), buf_slice(&address));
    if (rc == 0)
        rc = any(k, hosted, COUNT_OF(hosted), buf_slice(&at_domain));
    if (rc == 0 && asks(k, "mydestination", domain) != 0)
        rc = asks(k, "local_recipient_maps", sl_z(local));
    else if (rc == 0 && asks(k, "virtual_mailbox_domains", domain) == 0 &&
             asks(k, "virtual_alias_domains", domain) == 0)
        rc = 1; /* somebody else's domain */
    buf_free(&address);
    buf_free(&at_domain);
    return rc;
}

/* RFC 5321 §4.5.1 wants postmaster; cron writes to root. Unqualified they are @$myorigin. */
static void
check_people(struct check *k)
{
    static const char *const people[] = { "postmaster", "root" };
    struct slice domain = sl_z(k->c->myorigin);

    for (size_t i = 0; i < COUNT_OF(people); i++)
        if (reaches(k, people[i], domain) == 0)
            tell(k, false, "myorigin",
                 "mail to %s@%.*s reaches no mailbox: postern alias add %s@%.*s SOMEBODY@%.*s",
                 people[i], SL_ARG(domain), people[i], SL_ARG(domain), SL_ARG(domain));
}

/* ---- logins ---- */

/* What follows an @; empty: none. */
static bool
is_domain(const char *text)
{
    struct slice s = sl_z(text);

    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '@')
            return false;
    return true;
}

/* No address does without these. */
static bool
is_of_names(char c)
{
    return c == '@' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
}

/* What is wrong with a line of a passwd-file, or NULL. */
static const char *
fault_of_master(struct slice line)
{
    struct slice name, password, word;
    const char *fault = NULL;
    char *scheme;

    if (!sl_take_until(&line, ':', &name) || name.n == 0)
        return "name:password is wanted";
    if (!sl_take_until(&line, ':', &password))
        password = line;
    if (sl_take_char(&password, '{') && sl_take_until(&password, '}', &word)) {
        scheme = sl_dupz(word);
        if (!password_is_scheme(scheme))
            fault = "the password's {SCHEME} is not known";
        free(scheme);
    }
    return fault ? fault : password.n == 0 ? "there is no password" : NULL;
}

/* Nobody is a master by a line that is ignored; the rest holds. */
static void
check_masters(struct check *k, struct slice file)
{
    struct buf path = { 0 }, text = { .max = TABLE_FILE_OCTETS };
    struct slice in, line;
    struct err e = { 0 };
    unsigned n = 0;

    table_add_path(&path, k->c, file);
    if (fs_read_file(buf_z(&path), &text, &e) != 0)
        buf_reset(&text); /* check_tables() tells */
    for (in = buf_slice(&text); sl_take_line(&in, &line);) {
        const char *fault;

        n++;
        fault = line.n == 0 || sl_starts(line, '#') ? NULL : fault_of_master(line);
        if (fault)
            conf_problem_add(k->ps, false, buf_z(&path), n,
                             "auth_master_users: %s; the line makes nobody a master", fault);
    }
    buf_wipe(&text);
    buf_free(&path);
}

static void
check_names(struct check *k)
{
    const char *separator = k->c->auth_master_user_separator;
    struct err e = { 0 };
    struct slice arg;

    if (auth_format_check(k->c->auth_username_format, &e) < 0)
        tell(k, true, "auth_username_format", "\"%s\": %s", k->c->auth_username_format, e.msg);
    if (!is_domain(k->c->auth_default_realm))
        tell(k, true, "auth_default_realm", "\"%s\": a domain is wanted, without @",
             k->c->auth_default_realm);
    if (strlen(k->c->auth_username_translation) % 2)
        tell(k, true, "auth_username_translation", "\"%s\": pairs of characters are wanted",
             k->c->auth_username_translation);
    for (size_t i = 0; i < k->c->auth_master_users.n; i++)
        if (table_type_of(sl_z(k->c->auth_master_users.v[i]), &arg) == NULL)
            tell(k, true, "auth_master_users", "%s: a table is wanted, type:name",
                 k->c->auth_master_users.v[i]);
        else if (sl_has_prefix(sl_z(k->c->auth_master_users.v[i]), SL("passwd-file:")))
            check_masters(k, arg);
    if (separator[0] && separator[1])
        tell(k, true, "auth_master_user_separator", "\"%s\": one character is wanted", separator);
    if (is_of_names(separator[0]))
        tell(k, true, "auth_master_user_separator",
             "\"%s\": is in the names of users, who would be taken for masters: * is usual",
             separator);
    if (separator[0] && k->c->auth_master_users.n == 0)
        tell(k, false, "auth_master_user_separator",
             "nobody is a master: auth_master_users is empty");
}

static void
check_mechanisms(struct check *k)
{
    const struct conf *c = k->c;

    if (c->auth_mechanisms.n == 0 && conf_line_of(c, "auth_mechanisms"))
        tell(k, true, "auth_mechanisms", "empty: nobody could log in");
    for (size_t i = 0; i < c->auth_mechanisms.n; i++) {
        struct slice name = sl_z(c->auth_mechanisms.v[i]);

        if (sasl_find(name) == NULL)
            tell(k, true, "auth_mechanisms", "%s is not known", c->auth_mechanisms.v[i]);
        else if (sl_ieqz(name, "external") && !c->auth_ssl_username_from_cert)
            tell(k, false, "auth_mechanisms",
                 "external is offered to nobody: auth_ssl_username_from_cert is no");
        else if (sl_ieqz(name, "scram-sha-256") && c->auth_scram_iterations == 0)
            tell(k, false, "auth_scram_iterations",
                 "0: no new password will do for scram-sha-256, which auth_mechanisms has");
    }
}

static void
check_logins(struct check *k)
{
    struct err e = { 0 };

    check_names(k);
    check_mechanisms(k);
    if (!password_is_scheme(k->c->default_pass_scheme))
        tell(k, true, "default_pass_scheme", "%s is not known", k->c->default_pass_scheme);
    if (k->c->mysql_tables[0] && strcmp(k->c->mysql_tables, "embedded") != 0)
        tell(k, true, "mysql_tables",
             "\"%s\" is not known; \"embedded\" is: mysql: tables are answered by %s",
             k->c->mysql_tables, k->c->users_database);
    if (!k->has_mysql && table_set_users(k->tables, &e) == NULL)
        tell(
            k, false, "users_database",
            "%s: nobody can log in, and mail for mailboxes here waits in the queue: postern domain "
            "add, postern user add",
            e.msg);
}

/* ---- senders of forwarded mail ---- */

/* One that came with another program is mostly root's: then all mail that is forwarded would wait. */
static void
check_secret_rights(struct check *k, const char *path)
{
    const struct passwd *pw = geteuid() == 0 ? getpwnam(k->c->auth_user) : NULL;
    struct stat st;

    if (stat(path, &st) != 0)
        return;
    if (pw && pw->pw_uid != 0 && !(st.st_uid == pw->pw_uid && (st.st_mode & S_IRUSR)) &&
        !(st.st_gid == pw->pw_gid && (st.st_mode & S_IRGRP)) && !(st.st_mode & S_IROTH))
        tell(k, true, "srs_secret_file", "%s cannot be read by %s: chown %s %s", path,
             k->c->auth_user, k->c->auth_user, path);
    if (st.st_mode & S_IROTH)
        tell(k, false, "srs_secret_file", "anybody can read %s", path);
}

static void
check_srs(struct check *k)
{
    static const char *const ours[] = { "mydestination", "virtual_alias_domains",
                                        "virtual_mailbox_domains" };
    struct buf path = { 0 }, text = { .max = SRS_SECRET_FILE_OCTETS };
    struct err e = { 0 };

    if (k->c->srs_domain[0] && any(k, ours, COUNT_OF(ours), sl_z(k->c->srs_domain)) == 0)
        tell(k, false, "srs_domain",
             "mail for %s is not accepted here, so reports about forwarded mail are lost: "
             "virtual_alias_domains may have it",
             k->c->srs_domain);
    if (k->c->srs_secret_file[0] == '\0')
        return;
    srs_map_path(k->c, &path);
    if (fs_read_file(buf_z(&path), &text, &e) != 0)
        tell(k, true, "srs_secret_file", "%s", e.msg);
    else if (!srs_map_is_secret(buf_slice(&text)))
        tell(k, true, "srs_secret_file", "%s has no secret in it", buf_z(&path));
    else
        check_secret_rights(k, buf_z(&path));
    if (text.n > 0)
        explicit_bzero((char *)(uintptr_t)buf_slice(&text).p, text.n);
    buf_free(&text);
    buf_free(&path);
}

int
auth_check(const struct conf *c, struct conf_problems *ps)
{
    size_t before = ps->errors;
    struct check k = { .c = c, .ps = ps, .tables = table_set_new(c), .seen = map_new() };

    check_tables(&k);
    check_logins(&k);
    check_srs(&k);
    if (ps->errors == before && !k.is_incomplete)
        check_people(&k);
    map_free(&k.seen, NULL);
    table_set_free(&k.tables);
    return (int)(ps->errors - before);
}
