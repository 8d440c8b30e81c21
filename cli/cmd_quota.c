/* cli/cmd_quota.c - `postern quota`: limits in the users' database, and what is used of them. Limits are read and written as
 * whoever runs the command; then, for quota.db and the mail, it becomes the mail's owner for good. */
#include "auth/names.h"
#include "auth/users.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/quota_units.h"
#include "cli/users_cmd.h"
#include "core/daemon.h"
#include "core/loop.h"
#include "store/maintain.h"
#include "store/quota.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BAR_COLUMNS = 40, PERCENT_MAX = 1000000 };

struct person {
    char *name, *fields; /* userdb's, as authd tells them */
};

struct job {
    const struct conf *conf;
    bool is_all, is_json;
    int64_t over;     /* per cent; 0: all */
    const char *name; /* user or domain; NULL with is_all */
    struct person *v;
    size_t n, cap;
    char **domains; /* whose rows are told, too */
    size_t n_domains, cap_domains;
    struct store *store;
    struct users *users;
    size_t n_rows;
};

static int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int
fail(int code, const char *fmt, ...)
{
    va_list ap;

    fputs("postern quota: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

static bool
is_address(const char *name)
{
    return strchr(name, '@') != NULL;
}

/* ---- who is meant, out of the users' database ---- */

static int
add_person(struct job *j, struct slice email, struct err *e)
{
    struct buf name = { 0 }, fields = { 0 };
    int rc;

    auth_format_name(j->conf->auth_username_format, email, &name);
    rc = users_quota_fields(j->users, email, &fields, e);
    j->v = mem_grow(j->v, &j->cap, j->n + 1, sizeof *j->v);
    j->v[j->n++] = (struct person){ sl_dupz(buf_slice(&name)), sl_dupz(buf_slice(&fields)) };
    buf_free(&name);
    buf_free(&fields);
    return rc;
}

static void
add_domain(struct job *j, struct slice domain)
{
    j->domains = mem_grow(j->domains, &j->cap_domains, j->n_domains + 1, sizeof *j->domains);
    j->domains[j->n_domains++] = sl_dupz(domain);
}

static int
load_names(struct job *j, const char *sql, struct slice bound, char ***out, size_t *n,
           struct err *e)
{
    struct db_stmt *s;
    size_t cap = 0;
    int rc;

    *out = NULL;
    *n = 0;
    if (db_prepare(users_db(j->users), sql, &s, e) < 0)
        return -1;
    if (bound.n)
        db_bind_text(s, 1, bound);
    while ((rc = db_step(s, e)) > 0) {
        *out = mem_grow(*out, &cap, *n + 1, sizeof **out);
        (*out)[(*n)++] = sl_dupz(db_text(s, 0));
    }
    return rc;
}

static int
load_people(struct job *j, struct slice domain, struct err *e)
{
    static const char all[] = "SELECT email FROM virtual_users ORDER BY email";
    static const char of_domain[] = "SELECT email FROM virtual_users WHERE substr(email, "
                                    "-length(?1) - 1) = '@' || ?1 COLLATE NOCASE ORDER BY email";
    char **names;
    size_t n;
    int rc = load_names(j, domain.n ? of_domain : all, domain, &names, &n, e);

    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = add_person(j, sl_z(names[i]), e);
        free(names[i]);
    }
    free(names);
    return rc;
}

static int
load_one(struct job *j, struct err *e)
{
    struct buf name = { 0 }, password = { 0 };
    int rc = users_find(j->users, sl_z(j->name), &name, &password, e);

    if (rc > 0)
        rc = add_person(j, buf_slice(&name), e) < 0 ? -1 : 1;
    if (password.p)
        mem_wipe(password.p, password.cap);
    buf_free(&name);
    buf_free(&password);
    return rc;
}

/* Exit code. */
static int
load(struct job *j)
{
    struct err e = { 0 };
    int64_t id;
    int rc;

    if (j->is_all) {
        rc = load_people(j, SL(""), &e);
        if (rc == 0)
            rc = load_names(j, "SELECT name FROM virtual_domains ORDER BY name", SL(""),
                            &j->domains, &j->n_domains, &e);
    } else if (is_address(j->name)) {
        rc = load_one(j, &e);
        if (rc == 0)
            return fail(EXIT_NO_USER, "there is no user %s", j->name);
    } else {
        rc = users_domain_id(users_db(j->users), sl_z(j->name), &id, &e);
        if (rc == 0)
            return fail(EXIT_NO_USER, "there is no domain %s", j->name);
        if (rc > 0) {
            add_domain(j, sl_z(j->name));
            rc = load_people(j, sl_z(j->name), &e);
        }
    }
    return rc < 0 ? users_db_fail("quota", &e) : EXIT_OK;
}

/* ---- the mail's side ---- */

static int
become_owner(const struct conf *c)
{
    const struct passwd *pw = getpwnam(c->front_user);
    gid_t extra = pw ? pw->pw_gid : 0; /* opens the sockets by which daemons hear of changes */
    bool has_extra = pw != NULL;

    umask(077);
    pw = getpwnam(daemon_user_of(c, "lmtpd"));
    if (geteuid() != 0 || pw == NULL || pw->pw_uid == 0)
        return EXIT_OK;
    if (setgroups(1, has_extra ? &extra : &pw->pw_gid) != 0 ||
        setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0 ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0 || setuid(0) == 0)
        return fail(EXIT_OS_ERROR, "cannot become the owner of the mail, %s: %s", pw->pw_name,
                    strerror(errno));
    return EXIT_OK;
}

static int
fail_err(const char *whom, const struct err *e)
{
    return fail(e->kind == ERR_CONFIG     ? EXIT_CONFIG_ERROR
                : e->kind == ERR_NOTFOUND ? EXIT_NO_USER
                : e->kind == ERR_PERM     ? EXIT_DATA_ERROR
                                          : EXIT_TEMPFAIL,
                "%s: %s", whom, e->msg);
}

/* Whom no mail was ever delivered to is not to get a Maildir by being asked about. */
static int
usage_of(struct job *j, const struct person *p, struct quota_usage *u, struct err *e)
{
    struct store_userdb db = { .quota = sl_z(p->fields) };
    bool has_mail = false, has_index = false;
    struct quota_rules *r = NULL;
    struct slice name = sl_z(p->name);

    memset(u, 0, sizeof *u);
    if (store_has_index(j->store, name, &db, &has_mail, &has_index, e) < 0)
        return -1;
    if (has_mail)
        return quota_usage(j->store, name, &db, u, e);
    if (quota_rules_new(j->conf, db.quota, &r, e) < 0)
        return -1;
    u->limit = quota_rules_user(r);
    quota_rules_free(&r);
    return 0;
}

/* ---- get ---- */

static int64_t
percent(int64_t used, int64_t limit)
{
    return limit > 0 ? (int64_t)((double)used * 100 / (double)limit) : -1;
}

static void
json_limit(const char *name, int64_t used, int64_t limit)
{
    printf(",\"%s\":%lld,\"%s_limit\":", name, (long long)used, name);
    if (limit > 0)
        printf("%lld,\"%s_percent\":%lld", (long long)limit, name, (long long)percent(used, limit));
    else
        printf("null,\"%s_percent\":null", name);
}

static void
text_limit(const char *used, const char *limit, int64_t of_it)
{
    char text[24] = "-";

    if (of_it >= 0)
        snprintf(text, sizeof text, "%lld%%", (long long)of_it);
    printf("  %9s %9s %6s", used, limit, text);
}

static void
put_row(struct job *j, const char *name, bool is_domain, int64_t octets, int64_t messages,
        struct quota_limit limit)
{
    int64_t by_size = percent(octets, limit.octets), by_count = percent(messages, limit.messages);
    char used[QUOTA_SIZE_TEXT], most[QUOTA_SIZE_TEXT];

    if (j->over > 0 && by_size < j->over && by_count < j->over)
        return;
    if (j->is_json) {
        printf("%s{\"name\":", j->n_rows++ ? ",\n " : "[");
        cli_json_string(sl_z(name));
        printf(",\"type\":\"%s\"", is_domain ? "domain" : "user");
        json_limit("storage", octets, limit.octets);
        json_limit("messages", messages, limit.messages);
        putchar('}');
        return;
    }
    if (j->n_rows++ == 0)
        printf("%-36s  %9s %9s %6s  %9s %9s %6s\n", "NAME", "STORAGE", "LIMIT", "USED", "MESSAGES",
               "LIMIT", "USED");
    printf("%-36s", name);
    text_limit(quota_size_text(octets, used),
               limit.octets > 0 ? quota_size_text(limit.octets, most) : "-", by_size);
    snprintf(used, sizeof used, "%lld", (long long)messages);
    snprintf(most, sizeof most, "%lld", (long long)limit.messages);
    text_limit(used, limit.messages > 0 ? most : "-", by_count);
    putchar('\n');
}

static bool
add_up(void *arg, struct slice user, const struct quota_usage *u, bool is_counted)
{
    struct quota_usage *sum = arg;

    (void)user;
    (void)is_counted;
    sum->octets += u->octets;
    sum->messages += u->messages;
    return true;
}

/* With --all only domains that have a limit. */
static int
put_domain(struct job *j, const char *domain, const char *fields)
{
    struct quota_rules *r = NULL;
    struct quota_usage sum = { 0 };
    struct quota_limit limit;
    struct err e = { 0 };

    if (quota_rules_new(j->conf, sl_z(fields), &r, &e) < 0 ||
        quota_each(j->store, sl_z(domain), add_up, &sum, &e) < 0) {
        quota_rules_free(&r);
        return fail_err(domain, &e);
    }
    limit = quota_rules_domain(r, sl_z(domain));
    quota_rules_free(&r);
    if (!j->is_all || limit.octets > 0 || limit.messages > 0)
        put_row(j, domain, true, sum.octets, sum.messages, limit);
    return EXIT_OK;
}

static int
get(struct job *j, char **domain_fields)
{
    int rc = EXIT_OK;

    for (size_t i = 0; i < j->n; i++) {
        struct quota_usage u;
        struct err e = { 0 };

        if (usage_of(j, &j->v[i], &u, &e) < 0)
            rc = fail_err(j->v[i].name, &e);
        else
            put_row(j, j->v[i].name, false, u.octets, u.messages, u.limit);
    }
    for (size_t i = 0; i < j->n_domains; i++) {
        int one = put_domain(j, j->domains[i], domain_fields[i]);

        rc = one != EXIT_OK ? one : rc;
    }
    if (j->is_json)
        puts(j->n_rows ? "]" : "[]");
    return rc;
}

/* ---- recalc ---- */

struct bar {
    bool is_on;
    size_t at, all;
};

static void
draw(void *arg, struct slice mailbox)
{
    const struct bar *b = arg;
    size_t done = b->all ? b->at * BAR_COLUMNS / b->all : 0;

    (void)mailbox;
    if (!b->is_on)
        return;
    fprintf(stderr, "\r\033[K[%.*s%.*s] user %zu of %zu", (int)done,
            "########################################", (int)(BAR_COLUMNS - done),
            "........................................", b->at + 1, b->all);
}

struct gone {
    struct map *people; /* those that there are */
    char **v;
    size_t n, cap;
};

static bool
note_gone(void *arg, struct slice user, const struct quota_usage *u, bool is_counted)
{
    struct gone *g = arg;

    (void)u;
    (void)is_counted;
    if (map_get(g->people, user) == NULL) {
        g->v = mem_grow(g->v, &g->cap, g->n + 1, sizeof *g->v);
        g->v[g->n++] = sl_dupz(user);
    }
    return true;
}

/* Who is no user any more has no part in what his domain has together; if he is one all the same, he is counted again when
 * that is needed. */
static int
forget_gone(struct job *j)
{
    struct gone g = { .people = map_new() };
    struct err e = { 0 };
    int rc;

    for (size_t i = 0; i < j->n; i++)
        map_set(g.people, sl_z(j->v[i].name), j);
    rc = quota_each(j->store, sl_z(j->is_all ? "" : j->name), note_gone, &g, &e);
    for (size_t i = 0; i < g.n; i++) {
        if (rc == 0)
            rc = quota_forget(j->store, sl_z(g.v[i]), &e);
        free(g.v[i]);
    }
    free(g.v);
    map_free(&g.people, NULL);
    return rc < 0 ? fail_err("users who are gone", &e) : EXIT_OK;
}

static int
recalc(struct job *j)
{
    struct bar b = { .is_on = isatty(STDERR_FILENO), .all = j->n };
    int rc = j->is_all || !is_address(j->name) ? forget_gone(j) : EXIT_OK;

    for (; b.at < j->n; b.at++) {
        const struct person *p = &j->v[b.at];
        struct store_userdb db = { .quota = sl_z(p->fields) };
        bool has_mail = false, has_index = false;
        struct quota_usage u;
        struct err e = { 0 };
        int one = store_has_index(j->store, sl_z(p->name), &db, &has_mail, &has_index, &e);

        if (one == 0 && has_mail)
            one = quota_recount(j->store, sl_z(p->name), &db, draw, &b, &u, &e);
        else if (one == 0)
            one = quota_forget(j->store, sl_z(p->name), &e);
        if (one < 0) {
            if (b.is_on)
                fputs("\r\033[K", stderr);
            rc = fail_err(p->name, &e);
        }
    }
    if (b.is_on)
        fputs("\r\033[K", stderr);
    return rc;
}

/* ---- set ---- */

static bool
set_limit(struct users_quota *q, struct slice word)
{
    struct slice name;
    int64_t *to;
    uint64_t n;

    if (!sl_take_until(&word, '=', &name))
        return false;
    to = sl_eqz(name, "storage") ? &q->octets : sl_eqz(name, "messages") ? &q->messages : NULL;
    if (to == NULL)
        return false;
    if (sl_eqz(word, "none")) {
        *to = 0;
        return true;
    }
    if (sl_eqz(word, "default")) {
        *to = -1;
        return true;
    }
    if (to == &q->octets)
        return quota_parse_size(word, to) && *to > 0 && *to <= USERS_QUOTA_MAX;
    if (!sl_to_u64(word, &n) || n == 0 || n > USERS_QUOTA_MAX)
        return false;
    *to = (int64_t)n;
    return true;
}

/* The name as the database has it; exit code. */
static int
find_name(struct job *j, struct buf *out)
{
    struct buf password = { 0 };
    struct err e = { 0 };
    int64_t id;
    int rc;

    if (is_address(j->name)) {
        rc = users_find(j->users, sl_z(j->name), out, &password, &e);
        buf_wipe(&password);
    } else {
        rc = users_domain_id(users_db(j->users), sl_z(j->name), &id, &e);
        buf_addz(out, j->name);
    }
    if (rc < 0)
        return users_db_fail("quota", &e);
    return rc > 0 ? EXIT_OK
                  : fail(EXIT_NO_USER, "there is no %s %s", is_address(j->name) ? "user" : "domain",
                         j->name);
}

static int
set(struct job *j, char **words, int n)
{
    struct buf name = { 0 };
    struct users_quota q;
    struct err e = { 0 };
    int rc = find_name(j, &name);

    if (rc == EXIT_OK && users_quota_find(j->users, buf_slice(&name), &q, &e) < 0)
        rc = users_db_fail("quota", &e);
    for (int i = 0; rc == EXIT_OK && i < n; i++) {
        if (n == 1 && strcmp(words[i], "default") == 0)
            q = (struct users_quota){ -1, -1 };
        else if (!set_limit(&q, sl_z(words[i])))
            rc = cli_usage_error(&cmd_quota,
                                 "\"%s\" is no limit: storage=1G, messages=10000, either =none or "
                                 "=default, or default alone",
                                 words[i]);
    }
    if (rc == EXIT_OK &&
        (q.octets < 0 && q.messages < 0 ? users_quota_forget(j->users, buf_slice(&name), &e)
                                        : users_quota_set(j->users, buf_slice(&name), &q, &e)) < 0)
        rc = users_db_fail("quota", &e);
    if (rc == EXIT_OK && !quota_is_on(j->conf))
        fputs("postern quota: note: quota is not set in main.cf, so no limit holds yet\n", stderr);
    buf_free(&name);
    return rc;
}

/* ---- the command ---- */

/* Fields that hold for a domain's limit: read before the rights go. */
static int
load_domain_fields(struct job *j, char ***out)
{
    *out = mem_zalloc((j->n_domains + 1) * sizeof **out);
    for (size_t i = 0; i < j->n_domains; i++) {
        struct buf user = { 0 }, fields = { 0 };
        struct err e = { 0 };
        int rc;

        buf_addf(&user, "@%s", j->domains[i]);
        rc = users_quota_fields(j->users, buf_slice(&user), &fields, &e);
        (*out)[i] = sl_dupz(buf_slice(&fields));
        buf_free(&user);
        buf_free(&fields);
        if (rc < 0)
            return users_db_fail("quota", &e);
    }
    return EXIT_OK;
}

static int
run_on_mail(struct job *j, bool is_get)
{
    char **fields = NULL;
    struct err e = { 0 };
    int rc =
        quota_is_on(j->conf) ? load(j) : fail(EXIT_CONFIG_ERROR, "quota is not set in main.cf");

    if (rc == EXIT_OK)
        rc = load_domain_fields(j, &fields);
    users_close(&j->users);
    if (rc == EXIT_OK)
        rc = become_owner(j->conf);
    if (rc == EXIT_OK) {
        loop_init();
        if (store_new(j->conf, &j->store, &e) < 0)
            rc = fail_err("store", &e);
        else
            rc = is_get ? get(j, fields) : recalc(j);
        store_free(&j->store);
    }
    for (size_t i = 0; fields && i < j->n_domains; i++)
        free(fields[i]);
    free(fields);
    return rc;
}

static bool
take_over(struct job *j, const char *text)
{
    struct slice s = sl_z(text);
    uint64_t n;

    if (!sl_take_u64(&s, &n) || n == 0 || n > PERCENT_MAX || (s.n && !sl_eqz(s, "%")))
        return false;
    j->over = (int64_t)n;
    return true;
}

/* Options out of the words; exit code. */
static int
take_words(struct job *j, const struct cli_args *a, char **words, int *n)
{
    for (int i = 2; i < a->argc; i++) {
        if (strcmp(a->argv[i], "--json") == 0)
            j->is_json = true;
        else if (strcmp(a->argv[i], "--all") == 0 || strcmp(a->argv[i], "-A") == 0)
            j->is_all = true;
        else if (strcmp(a->argv[i], "--over") == 0 && i + 1 < a->argc &&
                 take_over(j, a->argv[i + 1]))
            i++;
        else if (a->argv[i][0] == '-')
            return cli_usage_error(&cmd_quota, "%s: %s", a->argv[i],
                                   strcmp(a->argv[i], "--over") == 0 ? "per cent are wanted"
                                                                     : "unknown option");
        else
            words[(*n)++] = a->argv[i];
    }
    return EXIT_OK;
}

static int
run_verb(struct job *j, const struct cli_args *a, char **words, int n)
{
    const char *verb = a->argv[1];
    bool is_get = strcmp(verb, "get") == 0, is_set = strcmp(verb, "set") == 0;
    struct conf *c;
    int rc;

    if (!is_get && !is_set && strcmp(verb, "recalc") != 0)
        return cli_usage_error(&cmd_quota, "%s is not known", verb);
    if (is_set ? n < 2 || j->is_all || j->is_json || j->over : n != (j->is_all ? 0 : 1))
        return cli_usage_error(&cmd_quota, "%s: %s", verb,
                               is_set ? "a name and its limits are wanted"
                                      : "one name is wanted, or --all");
    j->name = j->is_all ? NULL : words[0];
    c = cli_load_conf(a, false);
    if (c == NULL)
        return EXIT_CONFIG_ERROR;
    j->conf = c;
    rc = users_db_open(c, "quota", false, &j->users);
    if (rc == EXIT_OK)
        rc = is_set ? set(j, words + 1, n - 1) : run_on_mail(j, is_get);
    users_close(&j->users);
    conf_unref(&c);
    return rc;
}

static int
run(const struct cli_args *a)
{
    struct job j = { 0 };
    char **words = mem_zalloc(sizeof *words * (size_t)(a->argc + 1));
    int n = 0, rc;

    if (a->argc < 2)
        rc = cli_usage_error(&cmd_quota, "what is to be done?");
    else if ((rc = take_words(&j, a, words, &n)) == EXIT_OK)
        rc = run_verb(&j, a, words, n);
    for (size_t i = 0; i < j.n; i++) {
        free(j.v[i].name);
        free(j.v[i].fields);
    }
    for (size_t i = 0; i < j.n_domains; i++)
        free(j.domains[i]);
    free(j.v);
    free(j.domains);
    free(words);
    return rc;
}

const struct cli_command cmd_quota = {
    .name = "quota",
    .usage = "quota get [--json] [--over N%] USER|DOMAIN|--all | set USER|DOMAIN storage=SIZE "
             "messages=N | recalc USER|DOMAIN|--all",
    .summary = "how full mailboxes are, and how full they may get",
    .help =
        "DESCRIPTION\n"
        "    What users and domains have and may have. It works while the server runs and while it "
        "does not.\n\n"
        "    get NAME|--all      what is used and what the limit is. A DOMAIN is told with its "
        "users; its own row\n"
        "                        is what they have together. With --all domains that have no limit "
        "are left out\n"
        "      --json            as an array of objects; sizes in octets, no limit is null\n"
        "      --over N%         only who has used at least so much of a limit\n"
        "    set NAME LIMIT...   limits of a USER, in place of what quota_rule in main.cf says of "
        "\"*\"; or of a\n"
        "                        DOMAIN: what all its users have together, in place of "
        "quota_domain_rule. LIMIT:\n"
        "                        storage=SIZE (a number with K, M, G or T, or of octets) or "
        "messages=N; \"none\"\n"
        "                        as value is no limit, \"default\" is main.cf's again; default "
        "alone: both\n"
        "    recalc NAME|--all   look into every mailbox and count anew. Needed only after "
        "somebody "
        "has changed\n"
        "                        files by hand and does not want to wait until they are looked "
        "at;\n"
        "                        and when users were removed: what they had is no more their "
        "domain's\n\n"
        "    Limits hold for the next delivery; sessions that are open keep theirs. They are in "
        "the "
        "table\n"
        "    postern_quota (name, storage, messages) of the users' database, for other tools, "
        "too.\n"
        "    Started by root the command becomes the mail's owner before it opens any mail.\n\n"
        "EXIT STATUS\n"
        "    0 done; 64 wrong usage; 65 damaged; 67 no such user or domain; 69 no users' database; "
        "75 locked or\n"
        "    the disk is full: try again; 77 no right to use it; 78 wrong configuration, or quota "
        "is not set.\n\n"
        "EXAMPLES\n"
        "    postern quota set anna@example.com storage=2G\n"
        "    postern quota set example.com storage=50G messages=none\n"
        "    postern quota get --all --over 90%\n",
    .run = run,
};
