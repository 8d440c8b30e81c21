/* cli/serve_tls.c - certificates and keys: only the supervisor can read them, so it does, again when they were
 * renewed, and hands their text to the daemons that speak TLS. */
#include "cli/serve_int.h"

#include "base/fs.h"
#include "base/mem.h"
#include "tls/tls.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PEM_MAX_OCTETS = 1024 * 1024 };

struct stamp {
    int64_t sec, nsec, size;
    uint64_t inode;
};

struct pair {
    char *chain_path, *key_path;
    struct buf chain, key;
    struct stamp chain_stamp, key_stamp;
};

/* A name the daemons know, and the parameters behind it. */
static const struct {
    const char *name, *cert_param, *key_param;
    size_t cert_at, key_at;
} rows[] = {
    { "smtpd", "smtpd_tls_cert_file", "smtpd_tls_key_file",
      offsetof(struct conf, smtpd_tls_cert_file), offsetof(struct conf, smtpd_tls_key_file) },
    { "imap", "ssl_cert", "ssl_key", offsetof(struct conf, ssl_cert),
      offsetof(struct conf, ssl_key) },
    /* Not handed down by itself: added to the first. */
    { "smtpd-ec", "smtpd_tls_eccert_file", "smtpd_tls_eckey_file",
      offsetof(struct conf, smtpd_tls_eccert_file), offsetof(struct conf, smtpd_tls_eckey_file) },
};
enum { ROW_SMTPD, ROW_IMAP, ROW_EC };
static struct pair pairs[COUNT_OF(rows)];

static const char *
text_at(const struct conf *c, size_t at)
{
    const char *path = *(const char *const *)(const void *)((const char *)c + at);

    return path[0] == '<' ? path + 1 : path; /* Dovecot writes ssl_cert = </path */
}

static struct stamp
stamp_of(const char *path)
{
    struct stat st;

    if (!path || stat(path, &st) != 0)
        return (struct stamp){ 0 };
    return (struct stamp){ st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_size, st.st_ino };
}

static void
pair_free(struct pair *p)
{
    if (p->key.n > 0)
        mem_wipe(p->key.p, p->key.cap);
    buf_free(&p->chain);
    buf_free(&p->key);
    free(p->chain_path);
    free(p->key_path);
    *p = (struct pair){ 0 };
}

static bool
read_file(const struct conf *c, const char *param, const char *path, struct buf *out,
          struct conf_problems *ps)
{
    struct err e = { 0 };

    out->max = PEM_MAX_OCTETS;
    if (fs_read_file(path, out, &e) == 0)
        return true;
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param),
                     "%s: %s: correct the path, make it readable for who starts postern, or make a "
                     "certificate for a trial with `postern cert self-signed`",
                     param, e.msg);
    return false;
}

static bool
load_pair(const struct conf *c, size_t row, struct pair *p, struct conf_problems *ps)
{
    const char *cert = text_at(c, rows[row].cert_at), *key = text_at(c, rows[row].key_at);
    struct err e = { 0 };
    int64_t until;

    if (cert[0] == '\0')
        return true;
    if (key[0] == '\0')
        key = row == 0 ? cert : text_at(c, rows[0].key_at);
    p->chain_path = mem_dupz(cert);
    p->key_path = mem_dupz(key);
    p->chain_stamp = stamp_of(cert); /* before reading: a change meanwhile is seen as one */
    p->key_stamp = stamp_of(key);
    if (!read_file(c, rows[row].cert_param, cert, &p->chain, ps) ||
        !read_file(c, rows[row].key_param, key, &p->key, ps))
        return false;
    if (tls_check_pem(buf_slice(&p->chain), buf_slice(&p->key), &until, &e) == 0)
        return true;
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, rows[row].key_param), "%s, %s: %s",
                     cert, key, e.msg);
    return false;
}

int
serve_tls_load(const struct conf *c, struct conf_problems *ps)
{
    struct pair fresh[COUNT_OF(rows)] = { 0 };
    bool is_ok = true;

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        is_ok = load_pair(c, i, &fresh[i], ps) && is_ok;
    if (is_ok) {
        buf_adds(&fresh[ROW_SMTPD].chain, buf_slice(&fresh[ROW_EC].chain));
        buf_adds(&fresh[ROW_SMTPD].key, buf_slice(&fresh[ROW_EC].key));
    }
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (is_ok) {
            pair_free(&pairs[i]);
            pairs[i] = fresh[i];
        } else {
            /* Not again until it changes once more. */
            pairs[i].chain_stamp = stamp_of(pairs[i].chain_path);
            pairs[i].key_stamp = stamp_of(pairs[i].key_path);
            pair_free(&fresh[i]);
        }
    }
    return is_ok ? 0 : -1;
}

static bool
is_same(const struct stamp *a, const struct stamp *b)
{
    return a->sec == b->sec && a->nsec == b->nsec && a->size == b->size && a->inode == b->inode;
}

bool
serve_tls_has_changed(void)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct stamp chain = stamp_of(pairs[i].chain_path), key = stamp_of(pairs[i].key_path);

        if (!is_same(&chain, &pairs[i].chain_stamp) || !is_same(&key, &pairs[i].key_stamp))
            return true;
    }
    return false;
}

bool
serve_tls_of(const char *program, const char **name, struct slice *chain, struct slice *key)
{
    size_t row = strcmp(program, "login") == 0 && pairs[1].chain.n > 0 ? 1 : 0;

    *name = rows[row].name;
    *chain = buf_slice(&pairs[row].chain);
    *key = buf_slice(&pairs[row].key);
    return chain->n > 0;
}

void
serve_tls_free(void)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        pair_free(&pairs[i]);
}
