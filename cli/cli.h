/* cli/cli.h - the commands of `postern`: one row each in postern_main.c, one cmd_*.c each. Layer: cli. */
#ifndef POSTERN_CLI_CLI_H
#define POSTERN_CLI_CLI_H

#include "conf/conf.h"

/* Exit codes, of sysexits(3) where it has one. */
enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE_ERROR = 64,
    EXIT_DATA_ERROR = 65,
    EXIT_NO_INPUT = 66,
    EXIT_NO_USER = 67,
    EXIT_UNAVAILABLE = 69,
    EXIT_SOFTWARE = 70,
    EXIT_OS_ERROR = 71,
    EXIT_CANNOT_CREATE = 73,
    EXIT_TEMPFAIL = 75,
    EXIT_CONFIG_ERROR = 78
};

/* What every command is given: main.cf's path (from -c, default /etc/postern/main.cf or /etc/postfix/main.cf) and its own arguments, argv[0]
 * being its name. Returns the exit code. */
struct cli_args {
    const char *conf_path;
    int argc;
    char **argv;
};
struct cli_command {
    const char *name, *usage, *summary;
    const char *help; /* the manual: printed by `postern help NAME` and `postern NAME --help` */
    int (*run)(const struct cli_args *a);
};

/* Each command's row, in its cmd_*.c. */
extern const struct cli_command cmd_serve, cmd_reload, cmd_status, cmd_stop, cmd_check, cmd_config,
    cmd_cert, cmd_sql, cmd_domain, cmd_user, cmd_alias, cmd_queue, cmd_store;
extern const struct cli_command cmd_quota;

/* Load main.cf; problems go to standard error as "FILE:LINE: error: TEXT". NULL when there were errors: return
 * EXIT_CONFIG_ERROR. Warnings are told only when `with_warnings`. */
struct conf *cli_load_conf(const struct cli_args *a, bool with_warnings);
void cli_print_problems(const struct conf_problems *ps, bool with_warnings);
/* "command: words; see postern help command" to standard error; returns EXIT_USAGE_ERROR. */
int cli_usage_error(const struct cli_command *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* cli/check.c: what only the whole can tell - certificates, maps, restrictions, users, postmaster. Adds to ps. */
void check_config(const struct conf *c, struct conf_problems *ps);

/* cli/common.c: printing JSON to standard output, strings escaped. */
void cli_json_string(struct slice s);

#endif
