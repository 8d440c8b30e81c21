/* conf/conf.h - the configuration: main.cf parsed, every parameter typed, immutable, counted.
 * Parameters are rows in conf/params.def; each row makes a field of struct conf of the same name as in main.cf.
 * Layer: conf. Blocking only in conf_load_file() and conf_default_dir(). */
#ifndef POSTERN_CONF_CONF_H
#define POSTERN_CONF_CONF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

/* A list parameter, split at commas and white space ({ } groups and "quotes" as Postfix keeps them whole). */
struct conf_list {
    const char *const *v; /* n C strings */
    size_t n;
};
/* Is the word one of the items? Case does not count. */
bool conf_list_has(struct conf_list l, const char *word);

/* Row kinds in params.def: STR text ($ expanded), RAW text kept unexpanded, BOOL, INT, SIZE octets, TIME seconds... */
struct conf {
#define CONF_STR(name, def, doc)            const char *name;
#define CONF_STR_AS(field, name, def, doc)  const char *field;
#define CONF_RAW(name, def, doc)            const char *name;
#define CONF_BOOL(name, def, doc)           bool name;
#define CONF_INT(name, def, min, max, doc)  int64_t name;
#define CONF_SIZE(name, def, min, max, doc) int64_t name; /* octets */
#define CONF_TIME(name, def, min, max, doc) int64_t name; /* milliseconds */
#define CONF_LIST(name, def, doc)           struct conf_list name;
#define CONF_NOOP(name, doc)                /* accepted, has no meaning here */
#include "conf/params.def"
    struct conf_private *priv;
};

/* One problem of a file. */
struct conf_problem {
    bool is_error; /* else a warning */
    const char *file;
    unsigned line; /* 0: no line (a default, or across lines) */
    const char *text;
};
struct conf_problems {
    struct conf_problem *v;
    size_t n, cap;
    size_t errors;
};
void conf_problem_add(struct conf_problems *ps, bool is_error, const char *file, unsigned line,
                      const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void conf_problems_free(struct conf_problems *ps);

/* Parse text (of `file`, for messages). All problems of the file are collected, not the first alone. NULL when there
 * were errors. The result has one reference. */
struct conf *conf_parse(struct slice text, const char *file, struct conf_problems *ps);
struct conf *conf_load_file(const char *path, struct conf_problems *ps);

/* The folder of main.cf where none is named: /etc/postern when it has one, else /etc/postfix. */
const char *conf_default_dir(void);
struct conf *conf_ref(const struct conf *c); /* thread-safe count */
void conf_unref(struct conf **c);            /* NULL-safe */

/* The view of one listener: "submission" or "submissions": parameters submission_X override smtpd_X. A new reference. */
struct conf *conf_for_service(const struct conf *c, const char *service);
/* The same (service NULL: none) for a server under stress: $stress is "yes", whatever the file says. */
struct conf *conf_for_stress(const struct conf *c, const char *service);

/* Where a parameter was set: file line, 0 when it has its default. */
unsigned conf_line_of(const struct conf *c, const char *name);
const char *conf_file_of(const struct conf *c);
/* The effective value as main.cf would write it, or NULL for an unknown name. `defaults`: the default. Caller frees. */
char *conf_value_text(const struct conf *c, const char *name, bool want_default);
/* The names that the file sets, in no order: *it is 0 at first. False behind the last. */
bool conf_next_set(const struct conf *c, size_t *it, const char **name);
/* Any text with $name expanded, as a value of this file. Caller frees; NULL: e. */
char *conf_expand_text(const struct conf *c, const char *text, struct err *e);
/* Any name set in the file that is not in the table (restriction classes, $mua_... ): its expanded text or NULL. */
const char *conf_user_value(const struct conf *c, const char *name);

/* Text with $name, ${name}, ${name?yes:no} whose names are not main.cf's: a reply's template (default_rbl_reply). */
struct conf_template {
    bool (*look_up)(void *arg, struct slice name,
                    struct buf *out); /* appends; false: no such name */
    void *arg;
    const bool *allowed; /* 256: octets of values that may stand, others become "_"; NULL: all */
};
/* Append to out. -1 with e: bad syntax, or a name that is none. Values are not expanded again. */
int conf_expand_template(struct slice text, const struct conf_template *t, struct buf *out,
                         struct err *e);
/* The octets in a text with C's escapes ("\t\40!"), as smtpd_expansion_filter has them. */
void conf_unescape_set(const char *text, bool allowed[256]);

/* "10s", "5m", "300" (then of `unit`: s, m, h, d or w) in milliseconds. */
int conf_parse_time(struct slice text, char unit, int64_t *ms, struct err *e);

/* The parameter table, for `postern config` and the manual. */
struct conf_param {
    const char *name, *type, *def, *doc;
    bool is_noop;
    int64_t min, max;
};
const struct conf_param *conf_params(size_t *n);

#endif
