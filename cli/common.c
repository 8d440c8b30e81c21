/* cli/common.c - what every command does the same way: load main.cf, tell problems, refuse wrong usage. */
#include "cli/cli.h"

#include "base/json.h"

#include <stdarg.h>
#include <stdio.h>

void
cli_print_problems(const struct conf_problems *ps, bool with_warnings)
{
    for (size_t i = 0; i < ps->n; i++) {
        const struct conf_problem *p = &ps->v[i];

        if (!p->is_error && !with_warnings)
            continue;
        if (p->line > 0)
            fprintf(stderr, "%s:%u: %s: %s\n", p->file, p->line, p->is_error ? "error" : "warning",
                    p->text);
        else
            fprintf(stderr, "%s: %s: %s\n", p->file, p->is_error ? "error" : "warning", p->text);
    }
}

struct conf *
cli_load_conf(const struct cli_args *a, bool with_warnings)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_load_file(a->conf_path, &ps);

    cli_print_problems(&ps, with_warnings);
    conf_problems_free(&ps);
    return c;
}

int
cli_usage_error(const struct cli_command *c, const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "postern %s: ", c->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nusage: postern [-c FILE] %s\nsee postern help %s\n", c->usage, c->name);
    return EXIT_USAGE_ERROR;
}

void
cli_json_string(struct slice s)
{
    json_write(stdout, s);
}
