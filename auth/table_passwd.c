/* auth/table_passwd.c - passwd-file: Dovecot's files of users, "name:password:..."; what follows the password is of no meaning
 * here. For auth_master_users. A line's name is looked for as it is, without case. */
#include "auth/table_lines.h"

#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>

struct passwd_table {
    struct table_file file;
    struct map *rows; /* name -> char *, the password */
};

static void
free_row(void *p)
{
    char *password = p;

    mem_wipe(password, strlen(password));
    free(password);
}

static int
passwd_open(struct table *t, struct err *e)
{
    struct passwd_table *x = MEM_NEW(struct passwd_table);
    struct buf text = { 0 };
    struct slice in, line, name, password;
    int rc;

    t->state = x;
    x->rows = map_new_icase();
    rc = table_file_open(&x->file, t, &text, e);
    in = buf_slice(&text);
    while (rc == 0 && sl_take_line(&in, &line)) {
        if (line.n == 0 || sl_starts(line, '#') || !sl_take_until(&line, ':', &name))
            continue;
        if (!sl_take_until(&line, ':', &password))
            password = line;
        if (name.n && password.n && !map_get(x->rows, name))
            map_set(x->rows, name, sl_dupz(password));
    }
    buf_wipe(&text);
    return rc;
}

static enum table_rc
passwd_lookup(struct table *t, struct slice key, struct buf *value, struct err *e)
{
    struct passwd_table *x = t->state;
    const char *password = map_get(x->rows, key);

    (void)e;
    if (password == NULL)
        return TABLE_NOTFOUND;
    buf_addz(value, password);
    return TABLE_FOUND;
}

static bool
passwd_poll(struct table *t)
{
    struct passwd_table *x = t->state;

    return table_file_changed(&x->file);
}

static void
passwd_close(struct table *t)
{
    struct passwd_table *x = t->state;

    map_free(&x->rows, free_row);
    table_file_close(&x->file);
    free(x);
}

const struct table_type table_passwd = { "passwd-file", passwd_open,  passwd_lookup,
                                         passwd_poll,   passwd_close, false };
