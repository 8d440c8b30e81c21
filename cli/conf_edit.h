/* cli/conf_edit.h - changing main.cf as postconf(1) does: comments and order stay. Layer: cli. Pure. */
#ifndef POSTERN_CLI_CONF_EDIT_H
#define POSTERN_CLI_CONF_EDIT_H

#include "base/buf.h"

enum conf_edit_mode {
    CONF_EDIT_SET,
    CONF_EDIT_COMMENT, /* "#name = value", and its further lines */
    CONF_EDIT_REMOVE
};
struct conf_edit {
    const char *name, *value; /* value only for CONF_EDIT_SET */
    unsigned found;           /* told: how often the file set it */
};
/* The new text, appended to out. Each definition of a name is changed; one that is not there is added at the end. Comments
 * and empty lines inside a value stay. */
void conf_edit_text(struct slice text, struct conf_edit *v, size_t n, enum conf_edit_mode mode,
                    struct buf *out);

/* A value on several lines of at most 80 columns, broken at blanks, for reading (postconf -f). */
void conf_fold(struct slice line, struct buf *out);

#endif
