/* store/subscriptions.c - the file `subscriptions` in the root, as Dovecot keeps it: names in modified UTF-7, one a line.
 * Version 2 begins with a line "V\t2" and an empty one, and has levels separated by tabs; version 1 by the separator. Both
 * are read; a file keeps its version, a new one is version 2. */
#include "store/store_int.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { SUBSCRIPTIONS_MAX_OCTETS = 4 * 1024 * 1024 };

void
names_add(struct names *l, struct slice name)
{
    l->v = mem_grow(l->v, &l->cap, l->n + 1, sizeof(l->v[0]));
    l->v[l->n++] = sl_dupz(name);
}

static bool
is_inbox(const char *name)
{
    return name[0] == 'I' && strcmp(name, "INBOX") == 0;
}

/* INBOX first, then by octets. */
static int
cmp(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;

    return is_inbox(x) != is_inbox(y) ? (is_inbox(x) ? -1 : 1) : strcmp(x, y);
}

static int
cmp_key(struct slice x, const char *y)
{
    if (name_is_inbox(x) != is_inbox(y))
        return name_is_inbox(x) ? -1 : 1;
    return sl_cmp(x, sl_z(y));
}

void
names_sort(struct names *l)
{
    size_t n = 0;

    if (l->n > 1)
        qsort(l->v, l->n, sizeof(l->v[0]), cmp);
    for (size_t i = 0; i < l->n; i++) {
        if (n > 0 && strcmp(l->v[n - 1], l->v[i]) == 0)
            free(l->v[i]);
        else
            l->v[n++] = l->v[i];
    }
    l->n = n;
}

/* In a sorted list. */
bool
names_has(const struct names *l, struct slice name)
{
    size_t lo = 0, hi = l->n;

    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = cmp_key(name, l->v[mid]);

        if (c == 0)
            return true;
        *(c < 0 ? &hi : &lo) = c < 0 ? mid : mid + 1;
    }
    return false;
}

void
names_free(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->v[i]);
    free(l->v);
    memset(l, 0, sizeof(*l));
}

static void
take_line(const struct location *l, struct slice line, bool is_v2, struct names *out)
{
    struct buf disk = { 0 }, name = { 0 }, normal = { 0 };

    for (size_t i = 0; i < line.n; i++)
        buf_addc(&disk, is_v2 && line.p[i] == '\t' ? l->separator : line.p[i]);
    if (l->is_utf8 || utf8_from_mutf7(&name, buf_slice(&disk))) /* UTF-8, from another program */
        buf_adds(&name, buf_slice(&disk));
    if (name.n > 0 && name_normalise(l, buf_slice(&name), &normal, NULL) == 0)
        names_add(out, buf_slice(&normal));
    buf_free(&disk);
    buf_free(&name);
    buf_free(&normal);
}

static int
read_all(const struct location *l, const char *path, struct names *out, bool *is_v2, struct err *e)
{
    struct buf text = { .max = SUBSCRIPTIONS_MAX_OCTETS };
    struct slice s, line;
    struct err why = { 0 };

    memset(out, 0, sizeof(*out));
    *is_v2 = true;
    if (fs_read_file(path, &text, &why)) {
        buf_free(&text);
        if (why.kind == ERR_NOTFOUND)
            return 0;
        *e = why;
        return -1;
    }
    s = buf_slice(&text);
    *is_v2 = sl_take_prefix(&s, SL("V\t2\n"));
    while (s.n > 0) {
        if (!sl_take_until(&s, '\n', &line)) {
            line = s;
            s.n = 0;
        }
        take_line(l, line, *is_v2, out);
    }
    if (text.n == 0)
        *is_v2 = true;
    buf_free(&text);
    names_sort(out);
    return 0;
}

int
subscriptions_read(const struct location *l, struct names *out, struct err *e)
{
    char *path = path_join(l->control, "subscriptions", NULL);
    bool is_v2;
    int rc = read_all(l, path, out, &is_v2, e);

    free(path);
    return rc;
}

static int
write_all(const struct location *where, const char *path, const struct names *l, bool is_v2,
          struct err *e)
{
    struct buf text = { 0 };
    int rc;

    if (is_v2)
        buf_addz(&text, "V\t2\n\n");
    for (size_t i = 0; i < l->n; i++) {
        size_t was = text.n;

        if (where->is_utf8)
            buf_addz(&text, l->v[i]);
        else
            utf8_to_mutf7(&text, sl_z(l->v[i]));
        for (size_t j = was; is_v2 && j < text.n; j++)
            if (text.p[text.off + j] == where->separator)
                text.p[text.off + j] = '\t';
        buf_addc(&text, '\n');
    }
    if (text.n > SUBSCRIPTIONS_MAX_OCTETS) /* nobody could read it again */
        rc = err_set(e, ERR_LIMIT, "Too many subscriptions");
    else
        rc = fs_replace_file(path, buf_slice(&text), 0600, e);
    buf_free(&text);
    return rc;
}

int
subscriptions_change(const struct location *l, const struct names *which, bool on, struct err *e)
{
    char *path = path_join(l->control, "subscriptions", NULL);
    char *lock = path_join(l->control, INDEX_LOCK_FILE ".sub", NULL);
    struct names was = { 0 }, now = { 0 };
    bool is_v2;
    int fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = -1;

    if (fd < 0 || flock(fd, LOCK_EX)) {
        err_sys(e, "cannot lock %s", lock);
        goto out;
    }
    if (read_all(l, path, &was, &is_v2, e))
        goto out;
    for (size_t i = 0; i < was.n; i++)
        if (on || !names_has(which, sl_z(was.v[i])))
            names_add(&now, sl_z(was.v[i]));
    for (size_t i = 0; on && i < which->n; i++)
        names_add(&now, sl_z(which->v[i]));
    names_sort(&now);
    rc = now.n == was.n ? 0 : write_all(l, path, &now, is_v2, e);
out:
    if (fd >= 0)
        close(fd);
    names_free(&was);
    names_free(&now);
    free(path);
    free(lock);
    return rc;
}
