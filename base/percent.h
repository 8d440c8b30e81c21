/* base/percent.h - Dovecot's %-variables: "%u", "%{user}", and between % and the name [[-]OFFSET.][0][-]WIDTH and
 * modifiers: L lower case, U upper case, X number in hexadecimal, R reversed, T blanks at its end taken off. "%08Xu": eight
 * digits at least, zeros in front; a width without 0 cuts. %% is a percent sign. Layer: base. Reentrant. */
#ifndef POSTERN_BASE_PERCENT_H
#define POSTERN_BASE_PERCENT_H

#include "base/buf.h"

#include <stdbool.h>

struct percent_var {
    char key;         /* '\0': none */
    const char *name; /* long one, or NULL */
};
/* NULL: it can be expanded. Else what is wrong with it, in words that stay: a variable, modifier or width that is none. */
const char *percent_check(struct slice format, const struct percent_var *vars, size_t n_vars);
/* Is the i-th variable in it? */
bool percent_has(struct slice format, const struct percent_var *vars, size_t n_vars, size_t i);
/* Append it. value() appends what the i-th variable is; what percent_check() complains of is left out. */
void percent_expand(struct buf *out, struct slice format, const struct percent_var *vars,
                    size_t n_vars, void (*value)(void *arg, size_t i, struct buf *out), void *arg);

#endif
