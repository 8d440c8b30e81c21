/* auth/table_lines.c - see table_lines.h. */
#include "auth/table_lines.h"

#include "base/fs.h"
#include "base/mem.h"

#include <stdlib.h>

int
table_file_open(struct table_file *f, const struct table *t, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    struct stat st;

    table_add_path(&path, table_conf(t), sl_z(t->arg));
    f->path = mem_dupz(buf_z(&path));
    buf_free(&path);
    /* Looked at before it is read: a change in between is seen as one. */
    if (stat(f->path, &st) == 0) {
        f->mtime = st.st_mtim;
        f->size = st.st_size;
        f->ino = st.st_ino;
    }
    out->max = TABLE_FILE_OCTETS;
    return fs_read_file(f->path, out, e);
}

bool
table_file_changed(const struct table_file *f)
{
    struct stat st;

    if (f->path == NULL || stat(f->path, &st) < 0)
        return false; /* gone: what was read stands until another takes its place */
    return st.st_mtim.tv_sec != f->mtime.tv_sec || st.st_mtim.tv_nsec != f->mtime.tv_nsec ||
           st.st_size != f->size || st.st_ino != f->ino;
}

void
table_file_close(struct table_file *f)
{
    free(f->path);
    f->path = NULL;
}

static bool
is_blank_or_comment(struct slice line)
{
    struct slice s = sl_trim(line);

    return s.n == 0 || s.p[0] == '#';
}

bool
table_lines_next(struct table_lines *l, struct slice *out)
{
    struct slice line;

    do {
        if (!sl_take_line(&l->in, &line))
            return false;
        l->line = ++l->next_line;
    } while (is_blank_or_comment(line));
    buf_reset(&l->joined);
    buf_adds(&l->joined, line);
    for (struct slice at = l->in, more; sl_take_line(&at, &more);) {
        if (!is_blank_or_comment(more)) {
            if (more.p[0] != ' ' && more.p[0] != '\t')
                break;
            buf_adds(&l->joined, more);
        }
        l->in = at;
        l->next_line++;
    }
    *out = sl_trim(buf_slice(&l->joined));
    return true;
}

void
table_lines_free(struct table_lines *l)
{
    buf_free(&l->joined);
}

/* "{{rule}, {rule}}" in main.cf itself: cidr_table(5), regexp_table(5). */
static int
inline_rules(struct table_file *f, struct slice in,
             int (*add)(void *state, struct slice line, unsigned number, struct err *e),
             void *state, struct err *e)
{
    struct slice item;
    unsigned n = 0;

    f->path = sl_dupz(in); /* what messages call it; there is no such file to watch */
    in = sl_trim(in);
    if (!sl_ends(in, '}'))
        return err_set(e, ERR_CONFIG, "expected {{rule}, {rule}, ...}");
    in = sl_n(in.p + 1, in.n - 2);
    while (table_take_item(&in, &item)) {
        if (!sl_starts(item, '{') || !sl_ends(item, '}'))
            return err_set(e, ERR_CONFIG, "expected {rule}, not \"%.*s\"", SL_ARG(item));
        if (add(state, sl_trim(sl_n(item.p + 1, item.n - 2)), ++n, e) < 0)
            return -1;
    }
    return 0;
}

int
table_file_rules(struct table_file *f, const struct table *t,
                 int (*add)(void *state, struct slice line, unsigned number, struct err *e),
                 void *state, struct err *e)
{
    struct buf text = { 0 };
    struct table_lines lines = { 0 };
    struct slice line;
    int rc;

    if (t->arg[0] == '{')
        return inline_rules(f, sl_z(t->arg), add, state, e);
    rc = table_file_open(f, t, &text, e);
    lines.in = buf_slice(&text);
    while (rc == 0 && table_lines_next(&lines, &line))
        rc = add(state, line, lines.line, e);
    table_lines_free(&lines);
    buf_free(&text);
    return rc;
}
