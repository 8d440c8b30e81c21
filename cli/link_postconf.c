/* cli/link_postconf.c - postconf(1): what main.cf says, what it would be without, and changing it. */
#include "cli/links.h"
#include "cli/cli.h"
#include "cli/conf_edit.h"

#include "auth/table.h"
#include "base/fs.h"
#include "base/mem.h"

#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAIN_CF_OCTETS = 1024 * 1024, OVERRIDES_MAX = 100 };

struct show {
    bool defaults, only_set, no_names, no_values, folds, expands;
    bool no_builtin, no_user; /* -C */
};

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int
fail(const char *fmt, ...)
{
    struct buf b = { 0 };
    va_list ap;

    va_start(ap, fmt);
    buf_vaddf(&b, fmt, ap);
    va_end(ap);
    fprintf(stderr, "postconf: fatal: %s\n", buf_z(&b));
    buf_free(&b);
    return EXIT_FAILED;
}

/* ---- showing ---- */

static bool
is_builtin(const char *name)
{
    size_t n;
    const struct conf_param *all = conf_params(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0)
            return true;
    return false;
}

static int
print_one(const struct conf *c, const char *name, const struct show *how)
{
    char *value = conf_value_text(c, name, false); /* with -d the file is empty */
    struct buf line = { 0 };
    struct err e = { 0 };
    int rc = 0;

    if (value == NULL) {
        fprintf(stderr, "postconf: warning: %s: unknown parameter\n", name);
        return 0;
    }
    if (how->expands) {
        char *text = conf_expand_text(c, value, &e);

        if (text == NULL)
            rc = fail("%s: %s", name, e.msg);
        free(value);
        value = text;
    }
    if (value && how->no_values)
        buf_addz(&line, name);
    else if (value && how->no_names)
        buf_addz(&line, value);
    else if (value)
        buf_addf(&line, "%s = %s", name, value);
    if (value && how->folds) {
        struct buf folded = { 0 };

        conf_fold(buf_slice(&line), &folded);
        puts(buf_z(&folded));
        buf_free(&folded);
    } else if (value) {
        puts(buf_z(&line));
    }
    buf_free(&line);
    free(value);
    return rc;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
print_all(const struct conf *c, const struct show *how)
{
    size_t n_params, n = 0, cap = 0, it = 0;
    const struct conf_param *all = conf_params(&n_params);
    const char **names = NULL, *name;
    int rc = 0;

    for (size_t i = 0; i < n_params && !how->only_set && !how->no_builtin; i++) {
        names = mem_grow(names, &cap, n + 1, sizeof *names);
        names[n++] = all[i].name;
    }
    while (!how->defaults && conf_next_set(c, &it, &name)) {
        bool builtin = is_builtin(name);

        if (builtin ? (!how->only_set || how->no_builtin) : how->no_user)
            continue;
        names = mem_grow(names, &cap, n + 1, sizeof *names);
        names[n++] = name;
    }
    if (n > 1)
        qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = print_one(c, names[i], how);
    free(names);
    return rc;
}

/* main.cf with the lines of -o behind it; NULL: told why. */
static struct conf *
load(const char *path, const struct show *how, const char *const *more, size_t n_more)
{
    struct conf_problems ps = { 0 };
    struct buf text = { .max = MAIN_CF_OCTETS };
    struct conf *c = NULL;
    struct err e = { 0 };

    if (!how->defaults && fs_read_file(path, &text, &e) != 0) {
        fail("%s", e.msg);
    } else {
        for (size_t i = 0; i < n_more; i++)
            buf_addf(&text, "\n%s\n", more[i]);
        c = conf_parse(buf_slice(&text), path, &ps);
        if (c == NULL)
            cli_print_problems(&ps, false);
    }
    conf_problems_free(&ps);
    buf_free(&text);
    return c;
}

static int
show_parameters(const char *path, const struct show *how, char **names, int n,
                const char *const *more, size_t n_more)
{
    struct conf *c = load(path, how, more, n_more);
    int rc = 0;

    if (c == NULL)
        return EXIT_FAILED;
    if (n == 0)
        rc = print_all(c, how);
    for (int i = 0; i < n && rc == 0; i++)
        if (!how->only_set || conf_line_of(c, names[i]) > 0)
            rc = print_one(c, names[i], how);
    conf_unref(&c);
    return fflush(stdout) == 0 ? rc : EXIT_FAILED;
}

/* ---- changing ---- */

static bool
is_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && !strchr("_-.", s.p[i]))
            return false;
    return s.n > 0;
}

/* "name = value" or, for what takes no value, "name" into e; the strings are the caller's to free. */
static int
read_word(const char *word, enum conf_edit_mode mode, struct conf_edit *out)
{
    struct slice text = sl_z(word), name;
    bool has_value = sl_take_until(&text, '=', &name);

    if (mode == CONF_EDIT_SET && !has_value)
        return fail("missing '=' after attribute name: \"%s\"", word);
    if (mode != CONF_EDIT_SET && has_value)
        return fail("-X or -# requires names without a value: \"%s\"", word);
    name = sl_trim(has_value ? name : text);
    if (!is_name(name))
        return fail("bad parameter name: \"%s\"", word);
    if (has_value && sl_find_char(sl_trim(text), '\n') != SL_NPOS)
        return fail("-e accepts no multi-line input");
    out->name = sl_dupz(name);
    out->value = has_value ? sl_dupz(sl_trim(text)) : NULL;
    return 0;
}

/* Others who edit wait, or one of two changes would be lost. Each change makes a new file: the lock must be on the one that
 * has the name. -1: it cannot be locked, which stops nobody. */
static int
lock_file(const char *path)
{
    struct stat here, there;

    for (;;) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0 || flock(fd, LOCK_EX) != 0 || fstat(fd, &here) != 0 || stat(path, &there) != 0 ||
            (here.st_dev == there.st_dev && here.st_ino == there.st_ino))
            return fd;
        close(fd);
    }
}

static int
replace(const char *path, struct conf_edit *v, size_t n, enum conf_edit_mode mode)
{
    struct buf text = { .max = MAIN_CF_OCTETS }, out = { 0 };
    char real[PATH_MAX];
    struct stat st;
    struct err e = { 0 };
    int rc, lock;

    if (realpath(path, real) == NULL || stat(real, &st) != 0)
        return fail("open %s: no such file", path);
    lock = lock_file(real);
    rc = fs_read_file(real, &text, &e);
    if (rc == 0 && stat(real, &st) == 0) {
        conf_edit_text(buf_slice(&text), v, n, mode, &out);
        for (size_t i = 0; i < n; i++)
            if (v[i].found > 1)
                fprintf(stderr, "postconf: warning: %s: multiple entries for \"%s\"\n", path,
                        v[i].name);
        if (!sl_eq(buf_slice(&text), buf_slice(&out)))
            rc = fs_replace_file(real, buf_slice(&out), st.st_mode & 07777, &e);
        if (rc == 0 && geteuid() == 0 && (st.st_uid != 0 || st.st_gid != 0))
            rc = chown(real, st.st_uid, st.st_gid) == 0 ? 0 : err_sys(&e, "chown %s", real);
    }
    if (lock >= 0)
        close(lock);
    buf_free(&text);
    buf_free(&out);
    return rc == 0 ? 0 : fail("%s", e.msg);
}

static int
edit(const char *path, char **words, int n, enum conf_edit_mode mode)
{
    struct conf_edit *v = mem_zalloc((size_t)(n + 1) * sizeof *v);
    int rc = 0;

    for (int i = 0; i < n && rc == 0; i++)
        rc = read_word(words[i], mode, &v[i]);
    if (rc == 0)
        rc = replace(path, v, (size_t)n, mode);
    for (int i = 0; i < n; i++) {
        free((char *)(uintptr_t)v[i].name);
        free((char *)(uintptr_t)v[i].value);
    }
    free(v);
    return rc;
}

/* ---- the command ---- */

static int
print_map_types(void)
{
    static const char *const names[] = { "btree",  "cidr",     "fail",  "hash",   "inline",
                                         "lmdb",   "mysql",    "proxy", "regexp", "sqlite",
                                         "static", "texthash", "unix" };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        puts(names[i]);
    return EXIT_OK;
}

static bool
set_classes(struct show *how, const char *list)
{
    struct slice in = sl_z(list), word;

    how->no_builtin = how->no_user = true;
    while (sl_take_word(&in, ", ", &word)) {
        bool is_all = sl_eqz(word, "all");

        if (is_all || sl_eqz(word, "builtin"))
            how->no_builtin = false;
        if (is_all || sl_eqz(word, "user"))
            how->no_user = false;
        if (!is_all && !sl_eqz(word, "builtin") && !sl_eqz(word, "user") &&
            !sl_eqz(word, "service"))
            return false;
    }
    return true;
}

static int
usage(void)
{
    return fail("usage: postconf [-aAdefhHlmnpvxX#] [-c config_dir] [-C class] [-o name=value] "
                "[name[=value]...]");
}

int
link_postconf(int argc, char **argv)
{
    const char *conf = NULL, *more[OVERRIDES_MAX];
    struct show how = { 0 };
    size_t n_more = 0;
    int opt, n;
    bool is_edit = false, is_list = false;
    enum conf_edit_mode mode = CONF_EDIT_SET;
    char path[PATH_MAX];

    optind = 1;
    while ((opt = getopt(argc, argv, "aAbc:C:deEfFhHlmMno:pPtT:vxX#")) > 0)
        switch (opt) {
        case 'a':
            puts("dovecot");
            is_list = true;
            break;
        case 'A': /* smtp_sasl_type has no choice */
        case 'l': /* Maildirs are not locked */
            is_list = true;
            break;
        case 'm':
            print_map_types();
            is_list = true;
            break;
        case 'c':
            conf = optarg;
            break;
        case 'C':
            if (!set_classes(&how, optarg))
                return fail("bad parameter class: %s", optarg);
            break;
        case 'd':
            how.defaults = true;
            break;
        case 'e':
            is_edit = true;
            break;
        case 'f':
            how.folds = true;
            break;
        case 'h':
            how.no_names = true;
            break;
        case 'H':
            how.no_values = true;
            break;
        case 'n':
            how.only_set = true;
            break;
        case 'o':
            if (n_more == OVERRIDES_MAX || !strchr(optarg, '='))
                return usage();
            more[n_more++] = optarg;
            break;
        case 'x':
            how.expands = true;
            break;
        case 'X':
            is_edit = true;
            mode = CONF_EDIT_REMOVE;
            break;
        case '#':
            is_edit = true;
            mode = CONF_EDIT_COMMENT;
            break;
        case 'p':
        case 'v':
            break;
        case 'M':
        case 'F':
        case 'P':
            return fail(
                "there is no master.cf: listeners are listen_* in main.cf, what is special to "
                "one is submission_* and submissions_*");
        default:
            return usage();
        }
    if (is_list)
        return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
    link_conf_path(conf, path);
    n = argc - optind;
    for (int i = optind; i < argc && !how.defaults && !how.only_set; i++)
        is_edit = is_edit || strchr(argv[i], '=') != NULL;
    if (is_edit && n == 0)
        return usage();
    return is_edit ? edit(path, argv + optind, n, mode)
                   : show_parameters(path, &how, argv + optind, n, more, n_more);
}
