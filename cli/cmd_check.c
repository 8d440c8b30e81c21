/* cli/cmd_check.c - `postern check`: every problem of the configuration at once, nothing started. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static void
print_json(const struct conf_problems *ps)
{
    puts("[");
    for (size_t i = 0; i < ps->n; i++) {
        printf("  {\"file\": ");
        cli_json_string(sl_z(ps->v[i].file));
        printf(", \"line\": %u, \"level\": \"%s\", \"text\": ", ps->v[i].line,
               ps->v[i].is_error ? "error" : "warning");
        cli_json_string(sl_z(ps->v[i].text));
        printf("}%s\n", i + 1 < ps->n ? "," : "");
    }
    puts("]");
}

/* In the order of the file, as an editor goes through it; what has no line comes last. */
static void
sort_by_line(struct conf_problems *ps)
{
    for (size_t i = 1; i < ps->n; i++) {
        struct conf_problem p = ps->v[i];
        size_t at = i;

        for (; at > 0 && ps->v[at - 1].line - 1 > p.line - 1; at--) /* line 0 is the largest */
            ps->v[at] = ps->v[at - 1];
        ps->v[at] = p;
    }
}

static int
run(const struct cli_args *a)
{
    struct conf_problems ps = { 0 };
    struct conf *c;
    bool is_json = a->argc > 1 && strcmp(a->argv[1], "--json") == 0;
    int rc;

    if (a->argc > 1 + is_json)
        return cli_usage_error(&cmd_check, "no argument %s", a->argv[1 + is_json]);
    c = conf_load_file(a->conf_path, &ps);
    if (c != NULL)
        check_config(c, &ps);
    sort_by_line(&ps);
    if (is_json)
        print_json(&ps);
    else
        cli_print_problems(&ps, true);
    rc = ps.errors > 0 ? EXIT_CONFIG_ERROR : EXIT_OK;
    if (!is_json)
        printf("%s: %zu error%s, %zu warning%s%s\n", a->conf_path, ps.errors,
               ps.errors == 1 ? "" : "s", ps.n - ps.errors, ps.n - ps.errors == 1 ? "" : "s",
               c == NULL ? "; the rest is looked at when these errors are gone" : "");
    conf_unref(&c);
    conf_problems_free(&ps);
    return rc;
}

const struct cli_command cmd_check = {
    .name = "check",
    .usage = "check [--json]",
    .summary = "report every problem of the configuration with file and line",
    .help = "DESCRIPTION\n"
            "    Reads main.cf, certificates, map files and the users' database as `serve` would, "
            "and reports\n"
            "    all that is wrong. Starts and changes nothing.\n\n"
            "EXIT STATUS\n"
            "    0 no errors (there may be warnings); 64 wrong usage; 78 errors.\n",
    .run = run,
};
