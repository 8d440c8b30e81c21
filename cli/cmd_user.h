/* cli/cmd_user.h - the verbs of `postern user` that have files of their own. Layer: cli. */
#ifndef POSTERN_CLI_CMD_USER_H
#define POSTERN_CLI_CMD_USER_H

#include "cli/users_cmd.h"

/* cmd_user_app.c */
int user_app_add(struct users_cmd *u);
int user_app_list(struct users_cmd *u);
int user_app_revoke(struct users_cmd *u);
/* A part of the manual. */
#define USER_APP_HELP                                                                              \
    "    app-password add [--label TEXT] [--services LIST] [--expires WHEN] ADDRESS\n"             \
    "        a new password for one program or device, which is printed once and never again. It " \
    "logs in\n"                                                                                    \
    "        where the user's own password does, until it is revoked or expires; it cannot "       \
    "change "                                                                                      \
    "anything.\n"                                                                                  \
    "        LIST is some of imap,pop3,smtp (all, unless said); WHEN is a date, after which it "   \
    "is "                                                                                          \
    "over\n"                                                                                       \
    "        (2030-12-31), or a number of days (90); TEXT tells it from others of that user\n"     \
    "    app-password list [--json] ADDRESS\n"                                                     \
    "        those of a user: for what they are, and when, for what and from where they were "     \
    "last "                                                                                        \
    "used\n"                                                                                       \
    "    app-password revoke ADDRESS NUMBER|TEXT\n"                                                \
    "    app-password revoke --all ADDRESS\n"                                                      \
    "        it logs nobody in any more; sessions that are open go on. All of them go with the "   \
    "user, and when\n"                                                                             \
    "        his address changes; a new password of the user's own leaves them\n"

/* cmd_user_try.c: is that password right? */
int user_test(struct users_cmd *u);
int user_hash(struct users_cmd *u);

#endif
