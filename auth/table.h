/* auth/table.h - look-up tables, as Postfix calls "type:name", and what a parameter that is a list of them answers.
 * Everything here blocks and belongs to one thread at a time (auth/backend.h's). Layer: auth. */
#ifndef POSTERN_AUTH_TABLE_H
#define POSTERN_AUTH_TABLE_H

#include "auth/users.h"
#include "base/buf.h"
#include "conf/conf.h"

enum table_rc {
    TABLE_FOUND,
    TABLE_NOTFOUND,
    TABLE_TEMP, /* cannot say now: e */
    TABLE_PERM  /* no such table is served: e */
};
enum {
    TABLE_POLL_MS = 100,
    TABLE_KEY_OCTETS = 8192,
    TABLE_VALUE_OCTETS = 90000,
    TABLE_FILE_OCTETS = 64 * 1024 * 1024
};

struct table_set;
/* The tables that c names; opened when first asked for. Holds a reference to c. */
struct table_set *table_set_new(const struct conf *c);
void table_set_free(struct table_set **s);
const struct conf *table_set_conf(const struct table_set *s);
/* Look (at most every TABLE_POLL_MS) whether a file or database behind a table has changed; true: answers given
 * before may be wrong now. */
bool table_set_poll(struct table_set *s);
/* When it last looked, by clock_mono_ms(); 0: not yet. */
uint64_t table_set_polled_ms(const struct table_set *s);
/* name: a parameter ("virtual_mailbox_maps") or a table as main.cf writes it ("hash:/etc/aliases").
 * A parameter that is a list of domains also matches plain names and "/file" and "!not" patterns. Before the name
 * LOOKUP_PART_PREFIX: the key is a part of what is looked for, and tables of patterns are passed over. A key with an
 * internationalized domain is looked for in both spellings (proto/idn.h). */
enum table_rc table_set_lookup(struct table_set *s, struct slice name, struct slice key,
                               struct buf *value, struct err *e);
/* The same for a line of content, of any length and octets: only as it is, and never a part of anything. */
enum table_rc table_set_match(struct table_set *s, struct slice name, struct slice line,
                              struct buf *value, struct err *e);
/* Open one table, for checks: NULL with e; *half (may be NULL) is then what there is of it, or NULL. */
struct table *table_set_open(struct table_set *s, struct slice text, struct table **half,
                             struct err *e);
/* users_database, opened on need; NULL: e. */
struct users *table_set_users(struct table_set *s, struct err *e);
/* A job that began at `began_ms` (clock_mono_ms()) ended with the temporary failure e of the users' database. When that
 * took long, table_set_users() and all tables of that database fail at once, with the same words, for a second: who
 * holds a lock on the database must not make a queue of everybody else. */
void table_set_note_failure(struct table_set *s, uint64_t began_ms, const struct err *e);

/* ---- one table ---- */

struct table;
struct table_type {
    const char *name;
    /* arg: what follows "type:". -1: e; the next look-up tries again. */
    int (*open)(struct table *t, struct err *e);
    enum table_rc (*lookup)(struct table *t, struct slice key, struct buf *value, struct err *e);
    bool (*poll)(struct table *t);  /* something changed; may be NULL */
    void (*close)(struct table *t); /* after a failed open too */
    bool is_pattern;                /* matches whole keys: is not asked for parts of an address */
};
struct table {
    const struct table_type *type;
    char *arg;
    void *state; /* the type's */
    struct table_set *set;
    bool is_aliases; /* file in the syntax of aliases(5) */
    bool is_open;
};

/* The row of "type" in "type:arg" ("proxy:" is stripped first); NULL: none. *arg: what follows. */
const struct table_type *table_type_of(struct slice text, struct slice *arg);
/* Does the text look like "type:..." (letters, digits and dashes before a colon)? */
bool table_is_type_text(struct slice text);
/* A path as main.cf means it: relative ones are under $config_directory. Appended. */
void table_add_path(struct buf *out, const struct conf *c, struct slice path);
const struct conf *table_conf(const struct table *t);
/* Items of a list: split at commas and white space, { groups } whole. False at the end. */
bool table_take_item(struct slice *in, struct slice *item);

extern const struct table_type table_mysql, table_sqlite; /* table_sql.c */
extern const struct table_type table_hash, table_btree, table_lmdb,
    table_texthash;                                      /* table_text.c */
extern const struct table_type table_cidr;               /* table_cidr.c */
extern const struct table_type table_regexp, table_pcre; /* table_regexp.c */
extern const struct table_type table_passwd;             /* table_passwd.c */
extern const struct table_type table_inline, table_static, table_fail,
    table_unix; /* table_small.c */

#endif
