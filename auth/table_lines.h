/* auth/table_lines.h - the lines of a table's text file: comments and empty lines dropped, a line that begins with
 * white space continues the one before; and watching the file. Layer: auth. */
#ifndef POSTERN_AUTH_TABLE_LINES_H
#define POSTERN_AUTH_TABLE_LINES_H

#include "auth/table.h"

#include <sys/stat.h>

struct table_file {
    char *path;
    struct timespec mtime;
    off_t size;
    ino_t ino;
};
/* Read the file of table t; the text is appended to out. */
int table_file_open(struct table_file *f, const struct table *t, struct buf *out, struct err *e);
bool table_file_changed(const struct table_file *f);
void table_file_close(struct table_file *f);

struct table_lines {
    struct slice in;
    struct buf joined;
    unsigned line, next_line; /* of the logical line, from 1 */
};
/* The next logical line; valid until the next call. */
bool table_lines_next(struct table_lines *l, struct slice *out);
void table_lines_free(struct table_lines *l);
/* Key and value of such a line, as postmap(1) or, for aliases, postalias(1) reads it; false: it is neither. */
bool table_line_split(struct slice line, bool is_aliases, struct slice *key, struct slice *value);

/* Read the file of table t, or the rules in braces that stand in its place ("{{/^x/ OK}, {/y/ NO}}"), and give each logical line to add with its number, in order, until one fails. 0, or -1 with
 * e from the file or from add. */
int table_file_rules(struct table_file *f, const struct table *t,
                     int (*add)(void *state, struct slice line, unsigned number, struct err *e),
                     void *state, struct err *e);

#endif
