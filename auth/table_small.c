/* auth/table_small.c - inline:, static:, fail: and unix:passwd.byname. */
#include "auth/table.h"

#include "base/map.h"
#include "base/mem.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

enum { PASSWD_NAME_OCTETS = 256, PASSWD_ROW_OCTETS = 64 * 1024 };

/* ---- inline:{ { key = value }, key=value } ---- */

static int
inline_row(struct map *rows, struct slice item, struct err *e)
{
    size_t eq;
    struct slice key;

    if (sl_starts(item, '{') && sl_ends(item, '}'))
        item = sl_trim(sl_n(item.p + 1, item.n - 2));
    eq = sl_find_char(item, '=');
    key = sl_trim(sl_head(item, eq == SL_NPOS ? 0 : eq));
    if (key.n == 0)
        return err_set(e, ERR_CONFIG, "inline: expected key=value, not \"%.*s\"", SL_ARG(item));
    free(map_set(rows, key, sl_dupz(sl_trim(sl_from(item, eq + 1)))));
    return 0;
}

static int
inline_open(struct table *t, struct err *e)
{
    struct slice in = sl_trim(sl_z(t->arg)), item;
    struct map *rows = map_new_icase();

    t->state = rows;
    if (!sl_starts(in, '{') || !sl_ends(in, '}'))
        return err_set(e, ERR_CONFIG, "inline: expected { key=value, ... }");
    in = sl_n(in.p + 1, in.n - 2);
    while (table_take_item(&in, &item))
        if (inline_row(rows, item, e) < 0)
            return -1;
    return 0;
}

static enum table_rc
inline_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    const char *v = map_get(t->state, key);

    (void)e;
    if (v == NULL)
        return TABLE_NOTFOUND;
    buf_addz(value, v);
    return TABLE_FOUND;
}

static void
inline_close(struct table *t)
{
    struct map *rows = t->state;

    map_free(&rows, free);
}

/* ---- static: and fail: ---- */

static int
nothing_to_open(struct table *t, struct err *e)
{
    (void)t;
    (void)e;
    return 0;
}

static void
nothing_to_close(struct table *t)
{
    (void)t;
}

static enum table_rc
static_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct slice v = sl_z(t->arg);

    (void)key;
    (void)e;
    if (sl_starts(v, '{') && sl_ends(v, '}'))
        v = sl_trim(sl_n(v.p + 1, v.n - 2));
    buf_adds(value, v);
    return TABLE_FOUND;
}

static enum table_rc
fail_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    (void)key;
    (void)value;
    err_set(e, ERR_TEMP, "fail:%s", t->arg);
    return TABLE_TEMP;
}

/* ---- unix:passwd.byname ---- */

static int
unix_open(struct table *t, struct err *e)
{
    if (strcmp(t->arg, "passwd.byname") == 0)
        return 0;
    return err_set(e, ERR_CONFIG, "unix:%s is not known; unix:passwd.byname is", t->arg);
}

static enum table_rc
unix_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct passwd pw, *found = NULL;
    char *row, *name;
    int rc;

    (void)t;
    if (key.n == 0 || key.n > PASSWD_NAME_OCTETS || memchr(key.p, '\0', key.n))
        return TABLE_NOTFOUND;
    row = mem_alloc(PASSWD_ROW_OCTETS);
    name = sl_dupz(key);
    rc = getpwnam_r(name, &pw, row, PASSWD_ROW_OCTETS, &found);
    if (found) /* as passwd(5), the password left out */
        buf_addf(value, "%s:*:%u:%u:%s:%s:%s", pw.pw_name, (unsigned)pw.pw_uid, (unsigned)pw.pw_gid,
                 pw.pw_gecos, pw.pw_dir, pw.pw_shell);
    free(row);
    free(name);
    if (found)
        return TABLE_FOUND;
    /* getpwnam(3) lists these as "not found" beside 0. */
    if (rc == 0 || rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM)
        return TABLE_NOTFOUND;
    err_set(e, ERR_TEMP, "getpwnam %.*s: %s", SL_ARG(key), strerror(rc));
    return TABLE_TEMP;
}

const struct table_type table_inline = { "inline", inline_open,  inline_lookup,
                                         NULL,     inline_close, false };
const struct table_type table_static = { "static", nothing_to_open,  static_lookup,
                                         NULL,     nothing_to_close, false };
const struct table_type table_fail = { "fail", nothing_to_open,  fail_lookup,
                                       NULL,   nothing_to_close, true };
const struct table_type table_unix = {
    "unix", unix_open, unix_lookup, NULL, nothing_to_close, false
};
