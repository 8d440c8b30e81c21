/* store/uidlist.c - see uidlist.h. What is damaged is left out: a message without a UID here gets a new one, and no other
 * message's. */
#include "store/uidlist.h"

#include "base/mem.h"
#include "store/maildir.h"
#include "store/pop3.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PIECE_OCTETS = 64 * 1024 };

void
uidlist_free(struct uidlist *l)
{
    map_free(&l->uids, NULL);
    free(l->v);
    arena_free(&l->mem);
    memset(l, 0, sizeof(*l));
}

/* ---- the first line ---- */

/* 128 bits as Dovecot writes them. */
static bool
take_mailbox_guid(struct slice s, char out[33])
{
    if (s.n != 32)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = sl_lower_char(s.p[i]);

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        out[i] = c;
    }
    out[32] = '\0';
    return true;
}

static bool
take_numbers(struct uidlist *l, struct slice line)
{
    struct slice word;
    bool has_v = false, has_n = false;

    if (!sl_take_word(&line, " ", &word))
        return false;
    if (sl_eqz(word, "1")) {
        l->version = 1;
        return sl_take_word(&line, " ", &word) && sl_to_u32(word, &l->uidvalidity) &&
               sl_take_word(&line, " ", &word) && sl_to_u32(word, &l->uidnext);
    }
    if (!sl_eqz(word, "3"))
        return false;
    l->version = 3;
    while (sl_take_word(&line, " ", &word)) {
        if (sl_take_char(&word, 'V'))
            has_v = sl_to_u32(word, &l->uidvalidity);
        else if (sl_take_char(&word, 'N'))
            has_n = sl_to_u32(word, &l->uidnext);
        else if (sl_take_char(&word, 'G') && !take_mailbox_guid(word, l->guid))
            l->guid[0] = '\0';
    }
    return has_v && has_n;
}

/* Numbers near the end of the range are damage: believed, there would be no UID or UIDVALIDITY left to give. */
static bool
take_first(struct uidlist *l, struct slice line)
{
    return take_numbers(l, line) && l->uidvalidity > 0 && l->uidvalidity <= UIDLIST_NUMBER_MAX &&
           l->uidnext <= UIDLIST_NUMBER_MAX;
}

/* ---- a message ---- */

/* What goes to clients or back into a file: no space, no control octets, no 8-bit. */
static bool
is_word(struct slice s, size_t max)
{
    if (s.n == 0 || s.n > max)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
            return false;
    return true;
}

static int64_t
to_size(struct slice s)
{
    uint64_t v;

    return sl_to_u64(s, &v) && v <= INT64_MAX / 4 ? (int64_t)v : -1;
}

static void
take_extra(struct uidlist *l, struct slice word, struct uidlist_extra *x, bool *has_any)
{
    char key = word.p[0];
    struct slice v = sl_from(word, 1);
    uint32_t order;

    if (key == 'G' && is_word(v, UIDLIST_GUID_MAX))
        x->guid = arena_dupz(&l->mem, v);
    else if (key == 'P' && is_word(v, STORE_UIDL_MAX_OCTETS))
        x->uidl = arena_dupz(&l->mem, v);
    else if (key == 'P' && v.n == 0)
        x->uidl = ""; /* the base name is it */
    else if (key == 'O' && sl_to_u32(v, &order) && order > 0)
        x->order = order;
    else if (key == 'S')
        x->size = to_size(v);
    else if (key == 'W')
        x->crlf = to_size(v);
    else
        return;
    *has_any = true;
}

/* The words between UID and ":BASE". False: there is no base name. */
static bool
take_extras(struct uidlist *l, struct slice line, uint32_t uid, struct slice *base)
{
    struct uidlist_extra x = { .uid = uid, .order = UINT32_MAX, .size = -1, .crlf = -1 };
    struct slice word;
    bool has_any = false;

    for (;;) {
        while (sl_take_char(&line, ' '))
            ;
        if (sl_take_char(&line, ':'))
            break;
        if (!sl_take_word(&line, " ", &word))
            return false;
        take_extra(l, word, &x, &has_any);
    }
    *base = line;
    line = sl_head(line, sl_find_char(line, ':'));
    if (x.uidl != NULL && x.uidl[0] == '\0')
        x.uidl = is_word(line, STORE_UIDL_MAX_OCTETS) ? arena_dupz(&l->mem, line) : NULL;
    if (has_any && line.n > 0) {
        l->v = mem_grow(l->v, &l->cap, l->n + 1, sizeof(l->v[0]));
        l->v[l->n++] = x;
    }
    return true;
}

/* The same file twice: the later UID counts, as for Dovecot, which appends one when an old file comes back. */
static bool
take_message(struct uidlist *l, struct slice line)
{
    struct slice word, base = line;
    uint32_t uid;

    if (!sl_take_word(&line, " ", &word) || word.p != base.p || !sl_to_u32(word, &uid) ||
        uid <= l->last || uid >= UIDLIST_NUMBER_MAX || l->n_lines >= UIDLIST_LINES_MAX)
        return false;
    if (l->version == 3) {
        if (!take_extras(l, line, uid, &base))
            return false;
    } else {
        base = sl_from(line, 1);
    }
    base = sl_head(base, sl_find_char(base, ':')); /* version 1 may have the flags */
    if (base.n == 0 || base.n >= MAILDIR_NAME_MAX || sl_find_char(base, '/') != SL_NPOS)
        return false;
    l->last = uid;
    l->n_lines++;
    map_set(l->uids, base, (void *)(uintptr_t)uid);
    if (uid >= l->uidnext)
        l->uidnext = uid + 1;
    return true;
}

int
uidlist_take(struct uidlist *l, struct slice line, struct err *e)
{
    if (l->version == 0) {
        if (!take_first(l, line))
            return err_set(e, ERR_PERM, "the first line is not understood");
        if (l->uidnext == 0)
            l->uidnext = 1;
        l->uids = map_new();
    } else if (!take_message(l, line)) {
        l->n_bad++;
    }
    return 0;
}

/* ---- the file ---- */

/* The lines that are whole; a last one without its end was being written: no message yet. */
static int
take_lines(struct uidlist *l, struct buf *text, bool *is_skipping, struct err *e)
{
    struct slice s = buf_slice(text), line;
    size_t n = s.n;

    while (sl_take_until(&s, '\n', &line)) {
        if (*is_skipping)
            *is_skipping = false;
        else if (uidlist_take(l, line, e))
            return -1;
    }
    buf_consume(text, n - s.n);
    if (s.n > UIDLIST_LINE_MAX) { /* none of Dovecot's: passed over to its end */
        if (l->version == 0)
            return err_set(e, ERR_PERM, "the first line is not understood");
        l->n_bad += !*is_skipping;
        *is_skipping = true;
        buf_reset(text);
    }
    return 0;
}

static int
read_fd(int fd, struct uidlist *l, struct err *e)
{
    struct buf text = { 0 };
    bool is_skipping = false;
    ssize_t n = 1;
    int rc = 0;

    while (rc == 0 && n > 0) {
        n = read(fd, buf_reserve(&text, PIECE_OCTETS), PIECE_OCTETS);
        if (n < 0 && errno == EINTR) {
            n = 1;
        } else if (n < 0) {
            rc = err_sys(e, "cannot read");
        } else {
            buf_commit(&text, (size_t)n);
            rc = take_lines(l, &text, &is_skipping, e);
        }
    }
    if (rc == 0 && l->version == 0)
        rc = err_set(e, ERR_PERM, "it is empty");
    buf_free(&text);
    return rc;
}

int
uidlist_read(const char *dir, struct uidlist *out, struct err *e)
{
    struct buf path = { 0 };
    int fd, rc = -1;

    memset(out, 0, sizeof(*out));
    buf_addf(&path, "%s/" UIDLIST_FILE, dir);
    fd = open(buf_z(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &out->st)) {
        err_sys(e, "cannot open %s", buf_z(&path));
        if (errno == ENOENT || errno == ENOTDIR)
            e->kind = ERR_NOTFOUND;
    } else if (!S_ISREG(out->st.st_mode)) {
        err_set(e, ERR_PERM, "%s: no file", buf_z(&path));
    } else {
        rc = read_fd(fd, out, e);
        if (rc)
            err_prefix(e, "%s", buf_z(&path));
    }
    if (fd >= 0)
        close(fd);
    buf_free(&path);
    return rc;
}

/* ---- writing ---- */

void
uidlist_add_line(struct buf *out, struct slice file, const struct uidlist_extra *x)
{
    struct slice base = sl_head(file, sl_find_char(file, ':'));

    buf_addf(out, "%u ", x->uid);
    if (x->uidl != NULL)
        buf_addf(out, "P%s ", x->uidl);
    if (x->order != UINT32_MAX)
        buf_addf(out, "O%u ", x->order);
    if (x->guid != NULL)
        buf_addf(out, "G%s ", x->guid);
    if (x->size >= 0)
        buf_addf(out, "S%lld ", (long long)x->size);
    if (x->crlf >= 0)
        buf_addf(out, "W%lld ", (long long)x->crlf);
    buf_addf(out, ":%.*s\n", SL_ARG(base));
}
