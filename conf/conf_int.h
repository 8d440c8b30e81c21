/* conf/conf_int.h - what the files of conf/ share. Layer: conf, folder-private. */
#ifndef POSTERN_CONF_CONF_INT_H
#define POSTERN_CONF_CONF_INT_H

#include "base/arena.h"
#include "base/map.h"
#include "conf/conf.h"

enum {
    CONF_TEXT_MAX_OCTETS = 1 << 20,
    CONF_EXPAND_DEPTH_MAX = 100,
    CONF_VALUE_MAX_OCTETS = 256 * 1024
};

/* One "name = value" of the file; value with continuation lines joined by one space each. */
struct conf_entry {
    const char *name, *value;
    unsigned line;
    bool is_used; /* named in another value, or known */
};

enum conf_type {
    CONF_T_STR,
    CONF_T_RAW,
    CONF_T_BOOL,
    CONF_T_INT,
    CONF_T_SIZE,
    CONF_T_TIME,
    CONF_T_LIST,
    CONF_T_NOOP
};

struct conf_row { /* one line of params.def */
    struct conf_param pub;
    enum conf_type type;
    size_t offset; /* in struct conf */
};
extern const struct conf_row conf_rows[];
extern const size_t conf_n_rows;
const struct conf_row *conf_row_of(struct slice name); /* NULL: not a parameter */

struct conf_private {
    _Atomic int refs;
    struct arena mem;    /* every string and list of the object */
    struct map *by_name; /* -> struct conf_entry, of the file */
    const char *file;
    const char *text;    /* the file's text, for views */
    const char *service; /* NULL, or the listener of a view */
    bool is_stressed;    /* the view of a busy server: $stress is yes */
    struct map *host;    /* computed defaults: myhostname, mydomain */
};

/* Split text into entries, in order of the file. Problems of syntax are added. The arena owns all. */
void conf_read_entries(struct slice text, const char *file, struct arena *mem, struct map *by_name,
                       struct conf_problems *ps);

/* The value of a name before expansion: the file's, else a listener's or the host's own default, else the table's.
 * NULL: nobody knows the name. entry (may be NULL) is set when the file has it. */
const char *conf_raw_value(const struct conf_private *p, struct slice name,
                           struct conf_entry **entry);

/* Expand $name, ${name?a:b}, $(name) in `raw` (postconf(5)). 0, or -1 with e: nested too deep, bad syntax. */
int conf_expand(const struct conf_private *p, struct slice raw, struct buf *out, struct err *e);

/* Convert one row's text into its field. -1 with e (ERR_CONFIG) in the words an operator sees. */
int conf_set_field(struct conf *c, const struct conf_row *row, const char *text, struct arena *mem,
                   struct err *e);

/* Warn of the n entries v of the file that are no parameters of ours (v is put in order of lines): once for each group of
 * Postfix's parameters that Postern has not, whoever names them; one by one for the rest, where nothing else in the file
 * names them (is_used). */
void conf_report_foreign(const struct conf_private *p, struct conf_entry **v, size_t n,
                         struct conf_problems *ps);

#endif
