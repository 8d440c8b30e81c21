/* store/keywords.c - keywords of a mailbox: rows of the index, and the first 26 as letters of file names, whose meaning
 * is in the file dovecot-keywords ("0 $Forwarded") of the folder. The file says a letter before a name bears it. */
#include "store/store_int.h"

#include "base/fs.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYWORDS_FILE_MAX = 64 * 1024 };
#define KEYWORDS_FILE "dovecot-keywords"

void
keywords_free(struct keywords *k)
{
    for (size_t i = 0; i < k->n; i++)
        free(k->name[i]);
    free(k->name);
    memset(k, 0, sizeof(*k));
}

static void
keywords_put(struct keywords *k, size_t at, struct slice name)
{
    if (at >= STORE_KEYWORDS_MAX)
        return;
    for (; k->n <= at; k->n++) { /* a gap: a letter whose meaning was lost */
        char word[32];

        snprintf(word, sizeof(word), "unknown-%zu", k->n);
        k->name = mem_grow(k->name, &k->cap, k->n + 1, sizeof(k->name[0]));
        k->name[k->n] = mem_dupz(word);
    }
    free(k->name[at]);
    k->name[at] = sl_dupz(name);
}

int
keywords_load(struct store_user *u, int64_t mailbox, struct keywords *out, struct err *e)
{
    struct db_stmt *s;
    int rc;

    memset(out, 0, sizeof(*out));
    if (db_prepare(u->db, "SELECT at, name FROM keywords WHERE mailbox = ? ORDER BY at", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    while ((rc = db_step(s, e)) == 1)
        keywords_put(out, (size_t)db_int(s, 0), db_text(s, 1));
    if (rc)
        keywords_free(out);
    return rc;
}

static int
insert_row(struct store_user *u, int64_t mailbox, size_t at, struct slice name, struct err *e)
{
    struct db_stmt *s;

    if (db_prepare(u->db, "INSERT OR REPLACE INTO keywords VALUES (?, ?, ?)", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    db_bind_int(s, 2, (int64_t)at);
    db_bind_text(s, 3, name);
    return db_run(s, e);
}

/* An atom (RFC 3501 §9 flag-keyword). */
static int
check_keyword(struct slice name, struct err *e)
{
    if (name.n == 0 || name.n > STORE_KEYWORD_MAX_OCTETS)
        return err_set(e, ERR_CLIENT, "Invalid keyword: %s", name.n == 0 ? "empty" : "too long");
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if (c <= ' ' || c >= 0x7f || strchr("(){%*\"\\]", c) != NULL)
            return err_set(e, ERR_CLIENT, "Invalid keyword: '%.*s'", SL_ARG(name));
    }
    return 0;
}

int
keywords_write_file(const struct store_user *u, const char *dir, const struct keywords *k,
                    struct err *e)
{
    char *control = mbox_control_dir(u, dir), *path = path_join(control, KEYWORDS_FILE, NULL);
    struct buf text = { 0 };
    int rc;

    for (size_t i = 0; i < k->n && i < MAILDIR_KEYWORD_LETTERS; i++)
        buf_addf(&text, "%zu %s\n", i, k->name[i]);
    rc = strcmp(control, dir) == 0 ? 0 : fs_mkdirs(control, 0700, e);
    if (rc == 0)
        rc = fs_replace_file(path, buf_slice(&text), 0600, e);
    buf_free(&text);
    free(path);
    free(control);
    return rc;
}

int
keywords_read_file(const struct store_user *u, const char *dir, struct keywords *out, struct err *e)
{
    char *control = mbox_control_dir(u, dir), *path = path_join(control, KEYWORDS_FILE, NULL);
    struct buf text = { .max = KEYWORDS_FILE_MAX };
    struct slice s, line, word;
    struct err why = { 0 };
    uint32_t at;
    int rc = 0;

    memset(out, 0, sizeof(*out));
    if (fs_read_file(path, &text, &why) && why.kind != ERR_NOTFOUND) {
        *e = why;
        rc = -1;
    }
    s = buf_slice(&text);
    while (rc == 0 && sl_take_until(&s, '\n', &line))
        if (sl_take_word(&line, " ", &word) && sl_to_u32(word, &at) &&
            at < MAILDIR_KEYWORD_LETTERS && check_keyword(sl_trim(line), NULL) == 0)
            keywords_put(out, at, sl_trim(line));
    buf_free(&text);
    free(path);
    free(control);
    return rc;
}

/* The folder is still that mailbox's: else its file would be given the letters of another. */
static int
check_place(struct store_user *u, const char *dir, int64_t mailbox, struct err *e)
{
    struct buf now = { 0 };
    struct db_stmt *s;
    int rc;

    if (db_prepare(u->db, "SELECT name FROM mailboxes WHERE id = ?", &s, e))
        return -1;
    db_bind_int(s, 1, mailbox);
    rc = db_step(s, e);
    if (rc == 1)
        rc = mbox_dir(u, db_text(s, 0), &now, e) ? -1 : strcmp(buf_z(&now), dir) == 0;
    db_reset(s);
    buf_free(&now);
    if (rc == 0)
        err_set(e, ERR_NOTFOUND, "Mailbox was deleted");
    return rc == 1 ? 0 : -1;
}

int
keywords_import(struct store_user *u, const char *dir, int64_t mailbox, uint64_t in_use,
                struct err *e)
{
    struct keywords file, known;
    size_t want = 0;
    int rc = 0;

    if (keywords_read_file(u, dir, &file, e))
        return -1;
    if (keywords_load(u, mailbox, &known, e)) {
        keywords_free(&file);
        return -1;
    }
    for (size_t i = 0; i < MAILDIR_KEYWORD_LETTERS; i++)
        if (in_use & UINT64_C(1) << i)
            want = i + 1;
    if (want > file.n && want > known.n)
        keywords_put(&file, want - 1, sl_z("unknown"));
    if (file.n > 0 && want == file.n && sl_eqz(sl_z(file.name[want - 1]), "unknown")) {
        char word[32];

        snprintf(word, sizeof(word), "unknown-%zu", want - 1);
        keywords_put(&file, want - 1, sl_z(word));
    }
    /* The file is the truth of letters: it came with the folder, which a rename and a power cut, or a backup put back, may
     * have laid where the index has another. A gap in it says nothing. */
    for (size_t i = 0; rc == 0 && i < file.n; i++)
        if (i >= known.n || (strcmp(file.name[i], known.name[i]) != 0 &&
                             !sl_has_prefix(sl_z(file.name[i]), SL("unknown-"))))
            rc = insert_row(u, mailbox, i, sl_z(file.name[i]), e);
    keywords_free(&file);
    keywords_free(&known);
    return rc;
}

static int
find_name(const struct keywords *k, struct slice name)
{
    for (size_t i = 0; i < k->n; i++)
        if (sl_ieqz(name, k->name[i]))
            return (int)i;
    return -1;
}

int
keywords_take(struct store_user *u, const char *dir, int64_t mailbox, struct slice name,
              bool create, struct err *e)
{
    struct keywords k;
    int at;

    if (check_keyword(name, e) || keywords_load(u, mailbox, &k, e))
        return -1;
    at = find_name(&k, name);
    if (at < 0 && create) {
        /* A letter that the file alone knows is of a transaction that did not end, and files may bear it. */
        keywords_free(&k);
        if (check_place(u, dir, mailbox, e) || keywords_import(u, dir, mailbox, 0, e) ||
            keywords_load(u, mailbox, &k, e))
            return -1;
        at = find_name(&k, name);
    }
    if (at < 0 && !create)
        err_set(e, ERR_NOTFOUND, "no keyword '%.*s'", SL_ARG(name));
    else if (at < 0 && k.n >= STORE_KEYWORDS_MAX)
        err_set(e, ERR_LIMIT, "Too many keywords in this mailbox");
    else if (at < 0) {
        size_t next = k.n;

        keywords_put(&k, next, name);
        if ((next >= MAILDIR_KEYWORD_LETTERS || keywords_write_file(u, dir, &k, e) == 0) &&
            insert_row(u, mailbox, next, name, e) == 0)
            at = (int)next;
    }
    keywords_free(&k);
    return at;
}
