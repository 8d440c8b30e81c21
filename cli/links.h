/* cli/links.h - the names of Postfix's commands: `postern` behaves like the one under whose name it was started. Layer: cli. */
#ifndef POSTERN_CLI_LINKS_H
#define POSTERN_CLI_LINKS_H

#include <stddef.h>

/* argv is the program's own, argv[0] with or without a path. Returns the exit code. Where main.cf is, each finds out by
 * link_conf_path(). */
typedef int link_fn(int argc, char **argv);
struct cli_link {
    const char *name;
    link_fn *run;
};

/* The row of what argv0 ends in; NULL: none, it is `postern` itself. */
const struct cli_link *links_find(const char *argv0);

/* The names, for the Makefile and the manual; NULL behind the last. */
const char *links_name(size_t i);

/* Path of main.cf as Postfix's commands find it: option (-c DIR, or a file; NULL: not given), else $MAIL_CONFIG, else
 * conf_default_dir(). out: PATH_MAX octets; returned. */
const char *link_conf_path(const char *option, char *out);

/* Each in its link_*.c. */
link_fn link_mailq, link_postqueue, link_postsuper, link_postcat, link_sendmail, link_newaliases,
    link_postmap, link_postalias, link_postconf, link_postfix;

#endif
