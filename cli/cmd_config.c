/* cli/cmd_config.c - `postern config`: the parameter table, what is set, defaults; the reference in the manual. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum show { SHOW_ALL, SHOW_DEFAULTS, SHOW_SET, SHOW_REFERENCE };

static void
print_reference(const struct conf_param *p)
{
    printf("%s (%s", p->name, p->type);
    if (!p->is_noop)
        printf(", default: %s", p->def[0] != '\0' ? p->def : "empty");
    if (strcmp(p->type, "number") == 0 && p->max < INT64_MAX)
        printf(", %lld to %lld", (long long)p->min, (long long)p->max);
    printf(")\n    %s%s.\n\n", p->is_noop ? "Accepted; has no meaning here. " : "", p->doc);
}

static void
print_json(const char *name, const char *value, bool is_first)
{
    printf("%s  ", is_first ? "" : ",\n");
    cli_json_string(sl_z(name));
    fputs(": ", stdout);
    cli_json_string(sl_z(value));
}

/* Print one parameter in the form asked for; false when it is not to be shown. */
static bool
print_param(const struct conf *c, const struct conf_param *p, enum show show, bool is_json,
            bool is_first)
{
    char *v;

    if (show == SHOW_REFERENCE) {
        print_reference(p);
        return true;
    }
    if (show == SHOW_SET && conf_line_of(c, p->name) == 0)
        return false;
    v = conf_value_text(c, p->name, show == SHOW_DEFAULTS);
    if (is_json)
        print_json(p->name, v, is_first);
    else
        printf("%s = %s\n", p->name, v);
    free(v);
    return true;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp((*(const struct conf_param *const *)a)->name,
                  (*(const struct conf_param *const *)b)->name);
}

static int
print_table(const struct conf *c, enum show show, bool is_json)
{
    size_t n;
    const struct conf_param *all = conf_params(&n);
    const struct conf_param **sorted = calloc(n, sizeof(struct conf_param *));
    bool is_first = true;

    if (sorted == NULL)
        return EXIT_TEMPFAIL;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &all[i];
    qsort(sorted, n, sizeof(struct conf_param *), by_name);
    if (is_json)
        puts("{");
    for (size_t i = 0; i < n; i++)
        if (print_param(c, sorted[i], show, is_json, is_first))
            is_first = false;
    if (is_json)
        puts("\n}");
    free(sorted);
    return EXIT_OK;
}

static const struct conf_param *
find(const char *name)
{
    size_t n;
    const struct conf_param *all = conf_params(&n);

    for (size_t i = 0; i < n; i++)
        if (strcmp(all[i].name, name) == 0)
            return &all[i];
    return NULL;
}

static int
print_named(const struct conf *c, char **names, int n, enum show show, bool is_json)
{
    int rc = EXIT_OK;

    if (is_json)
        puts("{");
    for (int i = 0; i < n; i++) {
        char *v = conf_value_text(c, names[i], show == SHOW_DEFAULTS);

        if (v == NULL) {
            fprintf(stderr, "postern config: %s: no such parameter\n", names[i]);
            rc = EXIT_DATA_ERROR;
            continue;
        }
        if (show == SHOW_REFERENCE && find(names[i]) != NULL)
            print_reference(find(names[i]));
        else if (is_json)
            print_json(names[i], v, i == 0);
        else
            printf("%s = %s\n", names[i], v);
        free(v);
    }
    if (is_json)
        puts("\n}");
    return rc;
}

static int
run(const struct cli_args *a)
{
    enum show show = SHOW_ALL;
    bool is_json = false;
    struct conf_problems none = { 0 };
    struct conf *c;
    int at = 1, rc;

    for (; at < a->argc && a->argv[at][0] == '-'; at++) {
        if (strcmp(a->argv[at], "-d") == 0)
            show = SHOW_DEFAULTS;
        else if (strcmp(a->argv[at], "-n") == 0)
            show = SHOW_SET;
        else if (strcmp(a->argv[at], "--reference") == 0)
            show = SHOW_REFERENCE;
        else if (strcmp(a->argv[at], "--json") == 0)
            is_json = true;
        else
            return cli_usage_error(&cmd_config, "no option %s", a->argv[at]);
    }
    /* Defaults and the reference need no file. */
    c = show == SHOW_DEFAULTS || show == SHOW_REFERENCE ? conf_parse(SL(""), "defaults", &none)
                                                        : cli_load_conf(a, false);
    conf_problems_free(&none);
    if (c == NULL)
        return EXIT_CONFIG_ERROR;
    rc = at < a->argc ? print_named(c, a->argv + at, a->argc - at, show, is_json)
                      : print_table(c, show, is_json);
    conf_unref(&c);
    return rc;
}

const struct cli_command cmd_config = {
    .name = "config",
    .usage = "config [-d | -n | --reference] [--json] [PARAMETER ...]",
    .summary = "show parameters: in force, defaults, set in the file, or what each means",
    .help = "DESCRIPTION\n"
            "    Prints parameters as main.cf would write them, in force for the file of -c.\n\n"
            "OPTIONS\n"
            "    -d           defaults instead; needs no file\n"
            "    -n           only what the file sets\n"
            "    --reference  every parameter with type, default, range and meaning\n"
            "    --json       one JSON object of names and values\n\n"
            "EXIT STATUS\n"
            "    0 done; 64 wrong usage; 65 no such parameter; 78 the file has errors.\n",
    .run = run,
};
