/* cli/password_prompt.h - a password from a terminal without echo, or the first line of standard input; never from the
 * command line, where every process could read it. Layer: cli. */
#ifndef POSTERN_CLI_PASSWORD_PROMPT_H
#define POSTERN_CLI_PASSWORD_PROMPT_H

#include "base/buf.h"
#include "base/err.h"

/* from_stdin false: ask twice on the terminal for the password of `whom`. The caller wipes out. -1: e. */
int password_prompt(const char *whom, bool from_stdin, struct buf *out, struct err *e);
/* The same for a password that is there already: asked once. */
int password_ask(const char *whom, bool from_stdin, struct buf *out, struct err *e);
void password_wipe(struct buf *password);

#endif
