/* cli/link_postmap.c - postmap(1), postalias(1) and newaliases(1). hash: and its kin are read from their text by authd, which
 * sees by itself that a file has changed: there is nothing to be made, so these look through the text and say what is wrong
 * with it. What would change a compiled file alone is refused: it would have no effect. */
#include "cli/links.h"
#include "cli/cli.h"

#include "auth/table_lines.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "mime/mime.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STDIN_OCTETS = 256 * 1024 * 1024 };

enum query { QUERY_KEYS, QUERY_HEADER, QUERY_BODY };

struct tool {
    const char *name; /* "postmap" */
    bool is_aliases, keeps_case;
    struct conf *conf;
    struct table_set *set;
};

/* One table of the command line. */
struct source {
    const struct tool *tool;
    char *text; /* "type:/absolute/path" */
    const struct table_type *type;
    const char *arg;
    struct table *table; /* of other types; the set's */
    bool is_text;        /* its rows are in `rows` */
    struct arena mem;
    struct map *rows; /* key -> struct slice * */
};

static int fail(const struct tool *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int
fail(const struct tool *t, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "%s: fatal: ", t->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

static int
usage(const struct tool *t)
{
    return fail(
        t, "usage: %s [-bfFhimnNoprsuUvw] [-c config_dir] [-d key] [-q key] [map_type:]file...",
        t->name);
}

/* ---- tables ---- */

static bool
is_text_type(const struct table_type *type)
{
    return type == &table_hash || type == &table_btree || type == &table_lmdb ||
           type == &table_texthash;
}

/* Who types a name means it from where he is; main.cf's are in its own folder. */
static void
add_absolute(struct buf *out, const struct table_type *type, struct slice arg)
{
    char cwd[PATH_MAX];
    bool is_path = !sl_starts(arg, '/') && !sl_starts(arg, '{') && type != &table_inline &&
                   type != &table_static && type != &table_fail && type != &table_unix;

    buf_addf(out, "%s:", type->name);
    if (is_path && getcwd(cwd, sizeof cwd))
        buf_addf(out, "%s/", cwd);
    buf_adds(out, arg);
}

static int
find_source(struct source *s, const struct tool *t, const char *word)
{
    struct slice text = sl_z(word), arg;
    struct buf b = { 0 };

    s->tool = t;
    if (table_is_type_text(text)) {
        s->type = table_type_of(text, &arg);
        if (s->type == NULL)
            return fail(t, "unsupported dictionary type: %.*s",
                        SL_ARG(sl_head(text, sl_find_char(text, ':'))));
    } else {
        s->type = &table_hash;
        arg = text;
    }
    add_absolute(&b, s->type, arg);
    s->text = mem_dupz(buf_z(&b));
    buf_free(&b);
    s->arg = strchr(s->text, ':') + 1;
    s->is_text = is_text_type(s->type);
    return 0;
}

static void __attribute__((format(printf, 4, 5)))
warn(const struct source *s, bool is_asked, unsigned line, const char *fmt, ...)
{
    va_list ap;

    if (!is_asked)
        return;
    fprintf(stderr, "%s: warning: %s, line %u: ", s->tool->name, s->arg, line);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

static void
take_line(struct source *s, struct slice line, unsigned number, bool with_warnings)
{
    bool is_aliases = s->tool->is_aliases;
    struct slice key, value, *row;

    if (!table_line_split(line, is_aliases, &key, &value)) {
        warn(s, with_warnings, number, "%s",
             is_aliases ? "need name:value pair" : "expected format: key whitespace value");
        return;
    }
    if (is_aliases && sl_find_char(key, '@') != SL_NPOS) {
        warn(s, with_warnings, number, "name must be local");
        return;
    }
    if (!is_aliases && sl_ends(key, ':'))
        warn(s, with_warnings, number,
             "record is in \"key: value\" format; is this an alias file?");
    if (map_get(s->rows, key)) {
        warn(s, with_warnings, number, "duplicate entry: \"%.*s\"", SL_ARG(key));
        return;
    }
    row = ARENA_NEW(&s->mem, struct slice);
    *row = arena_dup(&s->mem, value);
    map_set(s->rows, key, row);
}

static int
read_text(struct source *s, bool with_warnings)
{
    struct buf text = { .max = TABLE_FILE_OCTETS };
    struct table_lines lines = { 0 };
    struct slice line;
    struct err e = { 0 };

    if (fs_read_file(s->arg, &text, &e) != 0) {
        buf_free(&text);
        return fail(s->tool, "%s", e.msg);
    }
    s->rows = s->tool->keeps_case ? map_new() : map_new_icase();
    lines.in = buf_slice(&text);
    while (table_lines_next(&lines, &line))
        take_line(s, line, lines.line, with_warnings);
    table_lines_free(&lines);
    buf_free(&text);
    return 0;
}

static int
open_source(struct source *s, const struct tool *t, const char *word, bool with_warnings)
{
    struct err e = { 0 };
    int code = find_source(s, t, word);

    if (code != 0)
        return code;
    if (s->is_text)
        return read_text(s, with_warnings);
    s->table = table_set_open(t->set, sl_z(s->text), NULL, &e);
    return s->table ? 0 : fail(t, "%s: %s", s->text, e.msg);
}

static void
close_source(struct source *s)
{
    map_free(&s->rows, NULL);
    arena_free(&s->mem);
    free(s->text);
}

static enum table_rc
look_up(const struct source *s, struct slice key, struct buf *value, struct err *e)
{
    const struct slice *row;

    if (!s->is_text)
        return s->type->lookup(s->table, key, value, e);
    row = map_get(s->rows, key);
    if (row == NULL)
        return TABLE_NOTFOUND;
    buf_adds(value, *row);
    return TABLE_FOUND;
}

/* ---- what is asked for ---- */

/* In the first table that has it. 1 found, 0 not, -1 told why not. */
static int
ask_one(struct source *v, size_t n, struct slice key, bool with_key)
{
    struct buf value = { 0 };
    struct err e = { 0 };
    int found = 0;

    for (size_t i = 0; i < n && found == 0; i++) {
        enum table_rc rc = look_up(&v[i], key, &value, &e);

        if (rc == TABLE_FOUND) {
            if (with_key)
                printf("%.*s\t", SL_ARG(key));
            printf("%.*s\n", SL_ARG(buf_slice(&value)));
            found = 1;
        } else if (rc != TABLE_NOTFOUND) {
            fail(v[i].tool, "table %s: query error: %s", v[i].text, e.msg);
            found = -1;
        }
    }
    buf_free(&value);
    return found;
}

/* Keys of standard input: its lines, or a message's fields, or the lines of its body. */
static int
ask_input(const struct tool *t, struct source *v, size_t n, enum query what)
{
    struct buf text = { .max = STDIN_OCTETS };
    struct slice in, line, header;
    struct mime_field f;
    struct err e = { 0 };
    int n_found = 0, rc = 0;

    if (fs_read_fd(STDIN_FILENO, &text, &e) != 0) {
        buf_free(&text);
        return fail(t, "%s", e.msg);
    }
    in = buf_slice(&text);
    if (what != QUERY_KEYS) {
        header = mime_header_of(in);
        in = sl_from(in, header.n);
        while (what == QUERY_HEADER && rc >= 0 && mime_next_field(&header, &f)) {
            struct slice key = sl_trim(f.whole);

            rc = ask_one(v, n, key, true);
            n_found += rc > 0;
        }
    }
    while (what != QUERY_HEADER && rc >= 0 && sl_take_line(&in, &line)) {
        rc = ask_one(v, n, line, true);
        n_found += rc > 0;
    }
    buf_free(&text);
    return rc >= 0 && n_found > 0 ? EXIT_OK : EXIT_FAILED;
}

static int
query(const struct tool *t, char **words, size_t n, const char *key, enum query what)
{
    struct source *v = mem_zalloc((n + 1) * sizeof *v);
    int code = 0;

    for (size_t i = 0; i < n && code == 0; i++)
        code = open_source(&v[i], t, words[i], false);
    if (code == 0)
        code = strcmp(key, "-") == 0                 ? ask_input(t, v, n, what)
               : ask_one(v, n, sl_z(key), false) > 0 ? EXIT_OK
                                                     : EXIT_FAILED;
    for (size_t i = 0; i < n; i++)
        close_source(&v[i]);
    free(v);
    return code;
}

static int
print_all(struct source *s)
{
    struct slice key;
    size_t it = 0;
    void *row;

    if (!s->is_text)
        return fail(s->tool, "table %s: sequence operator is not supported", s->text);
    while (map_next(s->rows, &it, &key, &row))
        printf("%.*s%s\t%.*s\n", SL_ARG(key), s->tool->is_aliases ? ":" : "",
               SL_ARG(*(const struct slice *)row));
    return 0;
}

/* "Make" each table, which is to look through it; or print it. */
static int
each_table(const struct tool *t, char **words, size_t n, bool is_print)
{
    int code = 0;

    for (size_t i = 0; i < n && code == 0; i++) {
        struct source s = { 0 };

        code = open_source(&s, t, words[i], !is_print);
        if (code == 0 && is_print)
            code = print_all(&s);
        close_source(&s);
    }
    return code;
}

/* ---- the commands ---- */

static int
begin(struct tool *t, const char *conf_option)
{
    char path[PATH_MAX];
    struct cli_args a = { .conf_path = link_conf_path(conf_option, path) };

    t->conf = cli_load_conf(&a, false);
    if (t->conf == NULL)
        return EXIT_FAILED;
    t->set = table_set_new(t->conf);
    return 0;
}

static void
end(struct tool *t)
{
    table_set_free(&t->set);
    conf_unref(&t->conf);
}

static int
run(struct tool *t, int argc, char **argv)
{
    const char *conf = NULL, *key = NULL;
    bool is_print = false, is_change = false, is_of_files = false;
    enum query what = QUERY_KEYS;
    int opt, code;

    optind = 1;
    while ((opt = getopt(argc, argv, "+Nbc:d:fFhimnopq:rsuUvw")) > 0)
        switch (opt) {
        case 'b':
            what = QUERY_BODY;
            break;
        case 'c':
            conf = optarg;
            break;
        case 'd':
        case 'i':
            is_change = true;
            break;
        case 'f':
            t->keeps_case = true;
            break;
        case 'F': /* tables of tls_server_sni_maps: the files are read by the supervisor */
            is_of_files = true;
            break;
        case 'm':
            return fail(t, "-%c is not supported", opt);
        case 'h':
            what = QUERY_HEADER;
            break;
        case 'q':
            key = optarg;
            break;
        case 's':
            is_print = true;
            break;
        case '?':
            return usage(t);
        default: /* of the compiled file, which there is not */
            break;
        }
    if (is_of_files && (key || is_print))
        return fail(t, "-F with -q or -s is not supported: what files hold is not shown");
    if (is_change)
        return fail(t, "tables are read from their text files: add or remove the line there, "
                       "nothing else is needed");
    if (optind >= argc || (what != QUERY_KEYS && (!key || strcmp(key, "-") != 0)))
        return usage(t);
    code = begin(t, conf);
    if (code == 0)
        code = key ? query(t, argv + optind, (size_t)(argc - optind), key, what)
                   : each_table(t, argv + optind, (size_t)(argc - optind), is_print);
    end(t);
    return fflush(stdout) == 0 ? code : EXIT_FAILED;
}

int
link_postmap(int argc, char **argv)
{
    struct tool t = { .name = "postmap" };

    return run(&t, argc, argv);
}

int
link_postalias(int argc, char **argv)
{
    struct tool t = { .name = "postalias", .is_aliases = true };

    return run(&t, argc, argv);
}

/* All of alias_database, or the one that -oA (sendmail's), or our caller, names. */
int
link_newaliases(int argc, char **argv)
{
    struct tool t = { .name = "postalias", .is_aliases = true };
    const char *named = NULL;
    int code;

    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "-oA", 3) == 0)
            named = argv[i] + 3;
        else if (argv[i][0] != '-')
            named = argv[i];
    code = begin(&t, NULL);
    if (code == 0 && named)
        code = each_table(&t, (char **)(uintptr_t)&named, 1, false);
    for (size_t i = 0; code == 0 && !named && i < t.conf->alias_database.n; i++) {
        char *word = mem_dupz(t.conf->alias_database.v[i]);

        code = each_table(&t, &word, 1, false);
        free(word);
    }
    end(&t);
    return code;
}
