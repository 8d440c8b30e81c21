/* cli/link_postfix.c - postfix(1): the verbs that operators know, as the commands of postern that do the same. */
#include "cli/cli.h"
#include "cli/links.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *verb, *command; /* command NULL: `why` */
    const char *why;
} verbs[] = {
    { "reload", "reload", NULL },
    { "stop", "stop", NULL },
    { "abort", "stop", NULL },
    { "status", "status", NULL },
    { "check", "check", NULL },
    { "flush", "postqueue", NULL },
    { "start-fg", "serve", NULL },
    { "start", NULL,
      "the service manager starts the server (systemctl start postern), or `postern serve` does, "
      "in the foreground" },
    { "set-permissions", NULL,
      "nothing is to be set: `postern serve` sees to the folders' owners when it starts" },
    { "upgrade-configuration", NULL,
      "there is no master.cf, and main.cf needs no upgrade: `postern check` reports what is wrong "
      "with it" },
};

static int
usage(void)
{
    fputs("postfix: usage: postfix [-c config_dir] reload | stop | abort | status | check | flush "
          "| start-fg\n",
          stderr);
    return EXIT_FAILED;
}

int
link_postfix(int argc, char **argv)
{
    const char *conf = NULL;
    char path[PATH_MAX];
    int opt;

    optind = 1;
    while ((opt = getopt(argc, argv, "+c:Dv")) > 0)
        if (opt == 'c')
            conf = optarg;
        else if (opt == '?')
            return usage();
    if (optind + 1 != argc)
        return usage();
    link_conf_path(conf, path);
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[optind], verbs[i].verb) != 0)
            continue;
        if (verbs[i].command == NULL) {
            fprintf(stderr, "postfix: %s: %s\n", argv[optind], verbs[i].why);
            return strcmp(argv[optind], "start") == 0 ? EXIT_FAILED : EXIT_OK;
        }
        /* Itself, under its own name: each command is a program's whole life. */
        execl("/proc/self/exe", "postern", "-c", path, verbs[i].command,
              strcmp(verbs[i].command, "postqueue") == 0 ? "-f" : NULL, (char *)NULL);
        perror("postfix: cannot start postern");
        return EXIT_FAILED;
    }
    fprintf(stderr, "postfix: unknown command: '%s'\n", argv[optind]);
    return usage();
}
