/* cli/tls_files.h - the files of certificates, keys and authorities that a configuration names, read and judged: for the
 * supervisor, which keeps them and hands them to daemons, and for `postern check`. Layer: cli. Blocking. */
#ifndef POSTERN_CLI_TLS_FILES_H
#define POSTERN_CLI_TLS_FILES_H

#include "base/buf.h"
#include "conf/conf.h"
#include "tls/tls_store.h"

enum {
    TLS_PEM_OCTETS = 1024 * 1024, /* of one file */
    TLS_SNI_MAX = 4096,           /* names */
    TLS_SETS_MAX = 4,
    TLS_EXPIRY_WARN_S = 14 * 86400
};

/* What tells that a file is another than it was. All zero: there is none. */
struct tls_stamp {
    int64_t mtime_s, mtime_ns, ctime_s, ctime_ns, size;
    uint64_t inode;
};
bool tls_stamp_same(const struct tls_stamp *a, const struct tls_stamp *b);

/* Files whose text is one certificate with its key, or authorities. */
struct tls_item {
    const char *param; /* main.cf's; static */
    char *sni;         /* NULL: for everybody, or authorities */
    bool is_ca;
    char **paths;
    size_t n;
    /* What is in service: of these files as they were then. */
    struct buf pem; /* none: it was never good */
    struct tls_facts facts;
    struct tls_stamp *loaded;
    /* The files as they were when last looked at, and when they were last read. */
    struct tls_stamp *seen, *tried;
    unsigned failures;          /* looks since they are no good */
    char *problem;              /* why they are not; NULL: they are */
    bool is_told;               /* the log has that problem */
    int64_t expiry_told_unix_s; /* 0: not yet */
    bool was_over;              /* what was told: it has expired */
};
/* Read the files anew. 0 with *is_changed, or -1 with e, and what was in service stays. Also -1 while somebody writes them. */
int tls_item_load(struct tls_item *it, const char *host, bool *is_changed, struct err *e);
/* Stamps of its files now, n of them. */
void tls_item_stamps(const struct tls_item *it, struct tls_stamp *out);
/* Its files by name: "/a.pem, /b.pem". Appended. */
void tls_item_add_paths(const struct tls_item *it, struct buf *out);

/* What listeners of some services show. */
struct tls_set {
    char *services; /* "smtp submission submissions"; "imap imaps pop3 pop3s" are together */
    struct tls_item *v;
    size_t n, cap;
};
struct tls_files {
    struct tls_set v[TLS_SETS_MAX];
    size_t n;
    struct tls_table { /* files behind tls_server_sni_maps */
        char *path;
        struct tls_stamp stamp, seen;
    } * tables;
    size_t n_tables, cap_tables;
};

/* Which files there are, none read yet. Problems go to ps: a table that cannot be used is an error. -1 when there were errors. */
int tls_files_find(const struct conf *c, struct tls_files *out, struct conf_problems *ps);
/* Read them all. What is shown to everybody must be good, else an error; a name's that is not is a warning, and from
 * `old` (may be NULL) it keeps what was in service. */
int tls_files_load(struct tls_files *f, const struct conf *c, const struct tls_files *old,
                   struct conf_problems *ps);
/* The same while running: nothing is an error for which there is something in `old`; what is no good is in each item. */
int tls_files_renew(struct tls_files *f, const struct conf *c, const struct tls_files *old);
bool tls_item_same(const struct tls_item *a, const struct tls_item *b); /* name and files */
/* Is it (name and files) also in a set before the one that it is in? */
bool tls_files_is_repeated(const struct tls_files *f, const struct tls_item *it);
void tls_files_free(struct tls_files *f);

/* cli/tls_sni.c: items of tls_server_sni_maps, added to set. */
int tls_sni_find(const struct conf *c, struct tls_set *set, struct tls_files *f,
                 struct conf_problems *ps);
/* A new item at the set's end; sni is copied. paths: words between octets of seps; relative ones are under
 * $config_directory. */
struct tls_item *tls_set_add(struct tls_set *s, const struct conf *c, const char *param,
                             const char *sni, struct slice paths, const char *seps);
#define TLS_LIST_SEPS ", \t\r\n"
void tls_table_note(struct tls_files *f, const char *path);
struct tls_stamp tls_stamp_of(const char *path);

/* May others than its owner and group read it? Is a private key in it? */
bool tls_key_is_open(const char *path);
bool tls_file_has_key(const char *path);
/* "expires in 3 days (2026-11-26)" and the like; "" while that is far. Appended; is_over: it has expired or is not valid yet. */
void tls_expiry_words(const struct tls_facts *f, int64_t now_unix_s, struct buf *out,
                      bool *is_over);

#endif
