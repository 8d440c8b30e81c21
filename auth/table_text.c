/* auth/table_text.c - hash:, btree:, lmdb: and texthash:: the text file itself, as postmap(1) or postalias(1) would
 * read it; the compiled file beside it is not needed. Keys without case. The first of two equal keys wins. */
#include "auth/table_lines.h"

#include "base/arena.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

struct text_table {
    struct table_file file;
    struct arena mem;
    struct map *rows; /* key -> struct slice in mem */
};

/* "name: value" with a name that may be quoted; false: malformed. */
static bool
split_alias(struct slice line, struct slice *key, struct slice *value)
{
    size_t at;

    if (sl_take_char(&line, '"')) {
        if (!sl_take_until(&line, '"', key))
            return false;
        line = sl_trim(line);
        if (!sl_take_char(&line, ':'))
            return false;
    } else {
        at = sl_find_char(line, ':');
        if (at == SL_NPOS)
            return false;
        *key = sl_trim(sl_head(line, at));
        line = sl_from(line, at + 1);
    }
    *value = sl_trim(line);
    return key->n && value->n;
}

/* A blank inside quotes belongs to the key ("a b"@example.com), quotes and all. */
static bool
split_map(struct slice line, struct slice *key, struct slice *value)
{
    size_t n = 0;
    bool is_quoted = false;

    while (n < line.n && (is_quoted || (line.p[n] != ' ' && line.p[n] != '\t'))) {
        if (line.p[n] == '\\' && n + 1 < line.n)
            n++;
        else if (line.p[n] == '"')
            is_quoted = !is_quoted;
        n++;
    }
    *key = sl_head(line, n);
    *value = sl_trim(sl_from(line, n));
    return key->n && value->n;
}

bool
table_line_split(struct slice line, bool is_aliases, struct slice *key, struct slice *value)
{
    return is_aliases ? split_alias(line, key, value) : split_map(line, key, value);
}

static void
add_row(struct text_table *x, struct slice key, struct slice value, const char *path, unsigned line)
{
    struct slice *row;

    if (map_get(x->rows, key)) {
        log_warn("table.duplicate", LOG_NONE, "%s, line %u: duplicate entry \"%.*s\" ignored", path,
                 line, SL_ARG(key));
        return;
    }
    row = ARENA_NEW(&x->mem, struct slice);
    *row = arena_dup(&x->mem, value);
    map_set(x->rows, key, row);
}

static int
text_open(struct table *t, struct err *e)
{
    struct text_table *x = MEM_NEW(struct text_table);
    struct buf text = { 0 };
    struct table_lines lines = { 0 };
    struct slice line, key, value;

    t->state = x;
    x->rows = map_new_icase();
    if (table_file_open(&x->file, t, &text, e) < 0) {
        buf_free(&text);
        return -1;
    }
    lines.in = buf_slice(&text);
    while (table_lines_next(&lines, &line)) {
        if (table_line_split(line, t->is_aliases, &key, &value))
            add_row(x, key, value, x->file.path, lines.line);
        else
            log_warn("table.syntax", LOG_NONE, "%s, line %u: expected \"%s\", ignored",
                     x->file.path, lines.line, t->is_aliases ? "name: value" : "key value");
    }
    table_lines_free(&lines);
    buf_free(&text);
    return 0;
}

static enum table_rc
text_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct text_table *x = t->state;
    const struct slice *row = map_get(x->rows, key);

    (void)e;
    if (row == NULL)
        return TABLE_NOTFOUND;
    buf_adds(value, *row);
    return TABLE_FOUND;
}

static bool
text_poll(struct table *t)
{
    struct text_table *x = t->state;

    return table_file_changed(&x->file);
}

static void
text_close(struct table *t)
{
    struct text_table *x = t->state;

    map_free(&x->rows, NULL);
    arena_free(&x->mem);
    table_file_close(&x->file);
    free(x);
}

const struct table_type table_hash = {
    "hash", text_open, text_lookup, text_poll, text_close, false
};
const struct table_type table_btree = { "btree",   text_open,  text_lookup,
                                        text_poll, text_close, false };
const struct table_type table_lmdb = {
    "lmdb", text_open, text_lookup, text_poll, text_close, false
};
const struct table_type table_texthash = { "texthash", text_open,  text_lookup,
                                           text_poll,  text_close, false };
