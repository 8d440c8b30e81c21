/* cli/tls_sni.c - tls_server_sni_maps: which files are shown to clients that ask for a name. Who speaks TLS cannot read keys,
 * so the supervisor must know all names beforehand: tables that can only be asked, not listed, do not serve. */
#include "cli/tls_files.h"

#include "auth/table_lines.h"
#include "base/fs.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    const struct conf *c;
    struct tls_set *set;
    struct conf_problems *ps;
    const char *where; /* the table, for messages */
    size_t n;
};

static void
tell(struct reading *r, bool is_error, unsigned line, const char *what)
{
    if (line > 0)
        conf_problem_add(r->ps, is_error, r->where, line, "tls_server_sni_maps: %s", what);
    else
        conf_problem_add(r->ps, is_error, conf_file_of(r->c),
                         conf_line_of(r->c, "tls_server_sni_maps"), "tls_server_sni_maps: %s: %s",
                         r->where, what);
}

/* A host's name, or a dot and one; A-labels, as clients send them. */
static bool
is_name(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!sl_is_alnum_char(s.p[i]) && !strchr("-._", s.p[i]))
            return false;
    return s.n > 0 && s.n < 256 && !sl_eqz(s, ".");
}

static bool
has(const struct tls_set *s, const char *sni)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].sni && sl_ieq(sl_z(s->v[i].sni), sl_z(sni)))
            return true;
    return false;
}

/* The first table with a name counts, and in it the first line. */
static void
add_row(struct reading *r, struct slice key, struct slice value, unsigned line)
{
    char *sni = sl_dupz(key);

    if (!is_name(key))
        tell(r, false, line,
             "the name of a host, or .domain, must stand first; the line is ignored");
    else if (r->n >= TLS_SNI_MAX)
        tell(r, true, line, "more names than there may be (4096)");
    else if (!has(r->set, sni)) {
        tls_set_add(r->set, r->c, "tls_server_sni_maps", sni, value, TLS_LIST_SEPS);
        r->n++;
    }
    free(sni);
}

static void
read_text(struct reading *r, struct tls_files *f, struct slice path)
{
    struct buf full = { 0 }, text = { 0 };
    struct table_lines lines = { 0 };
    struct slice line, key, value;
    struct err e = { 0 };

    table_add_path(&full, r->c, path);
    r->where = buf_z(&full);
    if (f)
        tls_table_note(f, r->where); /* before it is read: a change meanwhile is seen as one */
    text.max = TABLE_FILE_OCTETS;
    if (fs_read_file(r->where, &text, &e)) {
        tell(r, true, 0, e.msg);
    } else {
        lines.in = buf_slice(&text);
        while (table_lines_next(&lines, &line))
            if (table_line_split(line, false, &key, &value))
                add_row(r, key, value, lines.line);
            else
                tell(r, false, lines.line, "a name and files are wanted; the line is ignored");
        table_lines_free(&lines);
    }
    buf_free(&text);
    buf_free(&full);
}

/* inline:{ name=files, { name = files } } */
static void
read_inline(struct reading *r, struct slice in)
{
    struct slice item;

    r->where = "inline:";
    in = sl_trim(in);
    if (!sl_starts(in, '{') || !sl_ends(in, '}')) {
        tell(r, true, 0, "{ name=files, ... } is wanted");
        return;
    }
    in = sl_n(in.p + 1, in.n - 2);
    while (table_take_item(&in, &item)) {
        size_t eq;

        if (sl_starts(item, '{') && sl_ends(item, '}') && item.n > 1)
            item = sl_trim(sl_n(item.p + 1, item.n - 2));
        eq = sl_find_char(item, '=');
        if (eq == SL_NPOS)
            tell(r, true, 0, "name=files is wanted");
        else
            add_row(r, sl_trim(sl_head(item, eq)), sl_trim(sl_from(item, eq + 1)), 0);
    }
}

int
tls_sni_find(const struct conf *c, struct tls_set *set, struct tls_files *f,
             struct conf_problems *ps)
{
    struct reading r = { .c = c, .set = set, .ps = ps };
    size_t before = ps->errors;

    for (size_t i = 0; i < c->tls_server_sni_maps.n; i++) {
        struct slice text = sl_z(c->tls_server_sni_maps.v[i]), arg;
        const struct table_type *type = table_type_of(text, &arg);

        r.where = c->tls_server_sni_maps.v[i];
        if (type == &table_texthash || type == &table_hash || type == &table_btree ||
            type == &table_lmdb)
            read_text(&r, f, arg);
        else if (type == &table_inline)
            read_inline(&r, arg);
        else
            tell(&r, true, 0,
                 "names must be known beforehand, which tables of this type cannot tell: use "
                 "texthash, hash, btree, lmdb or inline");
    }
    return ps->errors == before ? 0 : -1;
}
