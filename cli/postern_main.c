/* cli/postern_main.c - `postern [-c FILE] COMMAND ...`: find the command's row and run it. */
#include "cli/cli.h"
#include "cli/links.h"

#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_command *const commands[] = {
    &cmd_serve, &cmd_check, &cmd_config, &cmd_cert,   &cmd_sql,    &cmd_domain, &cmd_user,
    &cmd_alias, &cmd_queue, &cmd_store,  &cmd_reload, &cmd_status, &cmd_stop,   &cmd_quota,
};

static void
print_summary(FILE *to)
{
    fputs("usage: postern [-c FILE] COMMAND [ARGUMENT ...]\n"
          "A whole mail server: SMTP, submission, IMAP, POP3, LMTP, queue and users.\n\n",
          to);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(to, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\nunder the names that they have in other mail servers, too:\n ", to);
    for (size_t i = 0; links_name(i); i++)
        fprintf(to, " %s", links_name(i));
    fputs("\n\n  -c FILE  the configuration, in Postfix's syntax (default: /etc/postern/main.cf, "
          "or where there\n"
          "           is none, /etc/postfix/main.cf)\n"
          "  postern help COMMAND tells more of one.\n",
          to);
}

static const struct cli_command *
find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

/* For the Makefile. */
static int
print_links(void)
{
    for (size_t i = 0; links_name(i); i++)
        puts(links_name(i));
    return EXIT_OK;
}

static int
print_help(const struct cli_command *c)
{
    printf("NAME\n    postern %s - %s\n\nSYNOPSIS\n    postern [-c FILE] %s\n\n%s", c->name,
           c->summary, c->usage, c->help);
    return EXIT_OK;
}

/* What could not be written was not said. Who reads no further (`| head`) knows that himself. */
static int
flushed(int rc)
{
    bool is_bad = fflush(stdout) != 0, is_pipe = is_bad && errno == EPIPE;

    is_bad = ferror(stdout) != 0 || is_bad;
    if (is_bad && !is_pipe)
        fprintf(stderr, "postern: the output could not be written\n");
    return is_bad && rc == EXIT_OK ? EXIT_FAILED : rc;
}

int
main(int argc, char **argv)
{
    char default_path[PATH_MAX];
    struct cli_args a = { .conf_path = default_path };
    const struct cli_link *link = links_find(argc > 0 ? argv[0] : NULL);
    const struct cli_command *c;
    int at = 1;

    if (link)
        return link->run(argc, argv);
    snprintf(default_path, sizeof default_path, "%s/main.cf", conf_default_dir());
    if (at + 1 < argc && strcmp(argv[at], "-c") == 0) {
        a.conf_path = argv[at + 1];
        at += 2;
    }
    if (at >= argc || argv[at][0] == '-' || strcmp(argv[at], "help") == 0) {
        bool is_asked =
            at < argc && (strcmp(argv[at], "help") == 0 || strcmp(argv[at], "--help") == 0 ||
                          strcmp(argv[at], "-h") == 0);

        if (is_asked && at + 1 < argc && strcmp(argv[at + 1], "--links") == 0)
            return print_links();
        c = is_asked && at + 1 < argc ? find(argv[at + 1]) : NULL;
        if (c != NULL)
            return print_help(c);
        print_summary(is_asked ? stdout : stderr);
        return is_asked && at + 1 >= argc ? EXIT_OK : EXIT_USAGE_ERROR;
    }
    link = strchr(argv[at], '/') ? NULL : links_find(argv[at]);
    if (link) {
        if (at > 1)
            setenv("MAIL_CONFIG", a.conf_path, 1);
        return link->run(argc - at, argv + at);
    }
    c = find(argv[at]);
    if (c == NULL) {
        fprintf(stderr, "postern: no command \"%s\"; see postern help\n", argv[at]);
        return EXIT_USAGE_ERROR;
    }
    a.argc = argc - at;
    a.argv = argv + at;
    for (int i = 1; i < a.argc; i++)
        if (strcmp(a.argv[i], "--help") == 0)
            return print_help(c);
    return flushed(c->run(&a));
}
