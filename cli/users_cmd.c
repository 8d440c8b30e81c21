/* cli/users_cmd.c - see users_cmd.h. */
#include "cli/users_cmd.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DOMAIN_OCTETS = 253, LABEL_OCTETS = 63, LOCAL_OCTETS = 64 };

int
users_cmd_fail(const struct users_cmd *u, int code, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "postern %s: ", u->command->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

int
users_cmd_err(const struct users_cmd *u, const struct err *e)
{
    return users_db_fail(u->command->name, e);
}

/* ---- names ---- */

bool
users_domain(const char *text, struct buf *out)
{
    struct slice s = sl_z(text);
    size_t label = 0;

    if (s.n == 0 || s.n > DOMAIN_OCTETS || !utf8_is_valid(s))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '.' ? label == 0 || i + 1 == s.n
                     : !sl_is_alnum_char(c) && c != '-' && c != '_' && !((unsigned char)c & 0x80))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > LABEL_OCTETS)
            return false;
        buf_addc(out, sl_lower_char(c));
    }
    return true;
}

bool
users_address(const char *text, bool may_be_catch_all, struct buf *out)
{
    struct slice s = sl_z(text);
    size_t at = sl_rfind_char(s, '@');

    if (at == SL_NPOS || at > LOCAL_OCTETS || (at == 0 && !may_be_catch_all) || !utf8_is_valid(s))
        return false;
    for (size_t i = 0; i < at; i++) {
        char c = s.p[i];

        if ((unsigned char)c <= ' ' || c == 0x7f || strchr("<>()[]\\,;:\"@", c))
            return false;
        buf_addc(out, sl_lower_char(c));
    }
    buf_addc(out, '@');
    return users_domain(text + at + 1, out);
}

struct slice
users_domain_of(struct slice address)
{
    return sl_from(address, sl_rfind_char(address, '@') + 1);
}

int
users_domain_id(struct db *d, struct slice domain, int64_t *id, struct err *e)
{
    static const char sql[] =
        "SELECT id FROM virtual_domains WHERE name = ?1 COLLATE NOCASE LIMIT 1";
    struct db_stmt *s;
    int rc;

    if (db_prepare(d, sql, &s, e) < 0)
        return -1;
    db_bind_text(s, 1, domain);
    rc = db_step(s, e);
    if (rc > 0)
        *id = db_int(s, 0);
    db_reset(s);
    return rc;
}

int
users_cmd_find(const struct users_cmd *u, const char *address, struct buf *name, int *rc)
{
    struct buf password = { 0 };
    struct err e;
    int found = users_find(u->users, sl_z(address), name, &password, &e);

    buf_wipe(&password);
    if (found == 0)
        *rc = users_cmd_fail(u, EXIT_NO_USER, "there is no user %s", address);
    else if (found < 0)
        *rc = users_cmd_err(u, &e);
    return found;
}

int
users_cmd_list(struct users_cmd *u, const char *sql, struct slice bound)
{
    struct db_stmt *s;
    struct err e;
    int rc;

    if (db_prepare(u->db, sql, &s, &e) < 0)
        return users_cmd_err(u, &e);
    if (bound.p)
        db_bind_text(s, 1, bound);
    rc = rows_print(s, u->is_json ? ROWS_JSON : ROWS_TABLE, &e);
    return rc < 0 ? users_cmd_err(u, &e) : EXIT_OK;
}

/* ---- running ---- */

static const struct {
    const char *text;
    char letter;
    bool has_value;
    size_t at; /* of a bool in struct users_cmd, or of a const char * */
} options[] = {
    { "--json", 'j', false, offsetof(struct users_cmd, is_json) },
    { "--force", 'f', false, offsetof(struct users_cmd, is_force) },
    { "--stdin", 's', false, offsetof(struct users_cmd, from_stdin) },
    { "--all", 'a', false, offsetof(struct users_cmd, is_all) },
    { "--label", 'l', true, offsetof(struct users_cmd, label) },
    { "--services", 'v', true, offsetof(struct users_cmd, services) },
    { "--expires", 'x', true, offsetof(struct users_cmd, expires) },
    { "--scheme", 'c', true, offsetof(struct users_cmd, scheme) },
    { "--service", 'e', true, offsetof(struct users_cmd, service) },
};

/* Word i; what it takes behind it. -1: an exit code is in *rc. */
static int
take_word(struct users_cmd *u, const struct users_verb *v, char **argv, int left, int *rc)
{
    for (size_t i = 0; i < COUNT_OF(options); i++) {
        void *at = (char *)u + options[i].at;

        if (strcmp(argv[0], options[i].text) != 0 || !strchr(v->options, options[i].letter))
            continue;
        if (!options[i].has_value) {
            *(bool *)at = true;
            return 0;
        }
        if (left < 2) {
            *rc = cli_usage_error(u->command, "%s: %s needs a value", v->name, argv[0]);
            return -1;
        }
        *(const char **)at = argv[1];
        return 1;
    }
    if (argv[0][0] == '-') {
        *rc = cli_usage_error(u->command, "%s: unknown option %s", v->name, argv[0]);
        return -1;
    }
    u->words[u->n_words++] = argv[0];
    return 0;
}

static int
open_and_run(struct users_cmd *u, const struct users_verb *v)
{
    struct err e;
    int rc;

    if (v->database == USERS_DB_NONE)
        return v->run(u);
    rc = users_db_open(u->conf, u->command->name, v->database == USERS_DB_MADE, &u->users);
    if (rc != EXIT_OK)
        return rc;
    u->db = users_db(u->users);
    if (v->database == USERS_DB_MADE && users_make_tables(u->users, &e) < 0)
        rc = users_cmd_err(u, &e);
    if (rc == EXIT_OK)
        rc = v->run(u);
    users_close(&u->users);
    return rc;
}

/* How many words of the command line are this verb's name; 0: it is another. */
static int
is_verb(const struct cli_args *a, const struct users_verb *v)
{
    struct slice rest = sl_z(v->name), word;
    int n = 0;

    while (sl_take_word(&rest, " ", &word)) {
        n++;
        if (n >= a->argc || !sl_eqz(word, a->argv[n]))
            return 0;
    }
    return n;
}

static int
parse(struct users_cmd *u, const struct users_verb *v, const struct cli_args *a, int from)
{
    int rc = EXIT_OK;

    for (int i = from; i < a->argc; i++) {
        int n = take_word(u, v, a->argv + i, a->argc - i, &rc);

        if (n < 0)
            return rc;
        i += n;
    }
    if (u->n_words < v->min_words || (v->max_words >= 0 && u->n_words > v->max_words))
        return cli_usage_error(u->command, "%s: %s", v->name,
                               u->n_words < v->min_words ? "a name is missing" : "too many names");
    return EXIT_OK;
}

/* "app-password" alone is the beginning of some. */
static int
unknown_verb(const struct cli_args *a, const struct cli_command *command,
             const struct users_verb *verbs, size_t n)
{
    struct slice rest;

    for (size_t i = 0; i < n; i++) {
        rest = sl_z(verbs[i].name);
        if (sl_take_prefix(&rest, sl_z(a->argv[1])) && sl_has_prefix(rest, SL(" ")))
            return cli_usage_error(command, "%s: what is to be done?", a->argv[1]);
    }
    return cli_usage_error(command, "%s is not known", a->argv[1]);
}

int
users_cmd_run(const struct cli_args *a, const struct cli_command *command,
              const struct users_verb *verbs, size_t n)
{
    struct users_cmd u = { .command = command };
    const struct users_verb *v = NULL;
    struct conf *c = NULL;
    int rc, at = 0;

    if (a->argc < 2)
        return cli_usage_error(command, "what is to be done?");
    for (size_t i = 0; i < n && at == 0; i++) {
        at = is_verb(a, &verbs[i]);
        v = &verbs[i];
    }
    if (at == 0)
        return unknown_verb(a, command, verbs, n);
    u.words = mem_zalloc(sizeof *u.words * (size_t)a->argc);
    rc = parse(&u, v, a, at + 1);
    if (rc == EXIT_OK) {
        c = cli_load_conf(a, false);
        u.conf = c;
        rc = c ? open_and_run(&u, v) : EXIT_CONFIG_ERROR;
    }
    conf_unref(&c);
    free(u.words);
    return rc;
}
