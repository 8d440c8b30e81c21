/* store/metadata.c - see metadata.h. The file is a line "postern-metadata 1", then for each entry a line "OCTETS NAME", the
 * value and a line end. It is written whole, inside a transaction of the index, which keeps other processes out. */
#include "store/metadata.h"

#include "store/store_int.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define META_HEAD         "postern-metadata 1\n"
#define META_FILE         "postern-metadata"
#define META_ACCOUNT_FILE "postern-metadata-account"
#define META_SECRET       "/internal/urlauth"
#define META_USE          "/private/specialuse"

/* ---- names ---- */

int
store_meta_name(char *name, size_t n, bool is_tree, struct err *e)
{
    struct slice s = sl_n(name, n), rest = s;

    for (size_t i = 0; i < n; i++) {
        unsigned char o = (unsigned char)name[i];

        name[i] = sl_lower_char(name[i]);
        if (o == '*' || o == '%')
            return err_set(e, ERR_CLIENT, "Entry name can't contain '*' or '%%'");
        if (o < 0x20 || o >= 0x7f)
            return err_set(e, ERR_CLIENT, "Entry name can't contain control or 8-bit octets");
        if (o == '/' && i > 0 && name[i - 1] == '/')
            return err_set(e, ERR_CLIENT, "Entry name can't contain consecutive '/'");
    }
    if (!sl_take_prefix(&rest, SL("/private")) && !sl_take_prefix(&rest, SL("/shared")))
        return err_set(e, ERR_CLIENT, "Entry name must begin with /private or /shared");
    if (rest.n > 0 && sl_ends(rest, '/'))
        return err_set(e, ERR_CLIENT, "Entry name can't end with '/'");
    if (rest.n > 0 ? !sl_starts(rest, '/') : !is_tree)
        return err_set(e, ERR_CLIENT, "Entry name must begin with /private/ or /shared/");
    if (n > STORE_META_NAME_MAX_OCTETS)
        return err_set(e, ERR_CLIENT, "Entry name too long");
    return 0;
}

static bool
is_hidden(struct slice name)
{
    return sl_has_prefix(name, SL("/internal/"));
}

/* ---- special uses (RFC 6154 §4) ---- */

static const struct {
    unsigned use;
    struct slice word;
} uses[] = {
    { STORE_MB_USE_ALL, SL_INIT("\\All") },       { STORE_MB_USE_ARCHIVE, SL_INIT("\\Archive") },
    { STORE_MB_USE_DRAFTS, SL_INIT("\\Drafts") }, { STORE_MB_USE_FLAGGED, SL_INIT("\\Flagged") },
    { STORE_MB_USE_JUNK, SL_INIT("\\Junk") },     { STORE_MB_USE_SENT, SL_INIT("\\Sent") },
    { STORE_MB_USE_TRASH, SL_INIT("\\Trash") },
};

/* "\Drafts \Sent". What the file says is believed as far as it is understood. */
static unsigned
use_of_text(struct slice text)
{
    struct slice word;
    unsigned use = 0;

    while (sl_take_word(&text, " ", &word))
        if (sl_starts(word, '\\'))
            use |= name_use(word);
    return use;
}

static void
add_use_text(struct buf *out, unsigned use)
{
    for (size_t i = 0; i < COUNT_OF(uses); i++)
        if (use & uses[i].use)
            buf_addf(out, "%s%.*s", out->n > 0 ? " " : "", SL_ARG(uses[i].word));
}

int
store_use_check(unsigned use, struct err *e)
{
    if (use & (STORE_MB_USE_ALL | STORE_MB_USE_FLAGGED)) /* views of other mailboxes' messages */
        return err_set(e, ERR_CLIENT, "No mailbox can be given that special use");
    return 0;
}

static int
check_use_text(struct slice text, struct err *e)
{
    struct slice rest = text, word;

    while (sl_take_word(&rest, " ", &word))
        if (!sl_starts(word, '\\') || name_use(word) == 0)
            return err_set(e, ERR_CLIENT, "Not a special use that is known here");
    return store_use_check(use_of_text(text), e);
}

/* ---- the file ---- */

static char *
file_of(const struct store_user *u, const char *dir)
{
    char *control, *path;

    if (dir == NULL)
        return path_join(u->control_dir, META_ACCOUNT_FILE, NULL);
    control = mbox_control_dir(u, dir);
    path = path_join(control, META_FILE, NULL);
    free(control);
    return path;
}

static int
cmp_names(const void *a, const void *b)
{
    const struct store_meta_entry *x = a, *y = b;

    return sl_cmp(x->name, y->name);
}

static int
parse(struct store_meta *m, const char *path, struct err *e)
{
    struct slice in = buf_slice(&m->text), line;
    size_t cap = 0;

    if (in.n > 0 && !sl_take_prefix(&in, SL(META_HEAD)))
        return err_set(e, ERR_TEMP, "%s is not what it should be", path);
    while (in.n > 0) {
        struct store_meta_entry x;
        uint64_t octets;

        if (!sl_take_until(&in, '\n', &line) || !sl_take_u64(&line, &octets) ||
            !sl_take_char(&line, ' ') || line.n == 0 || octets >= in.n || in.p[octets] != '\n')
            return err_set(e, ERR_TEMP, "%s is damaged", path);
        x.name = line;
        x.value = sl_n(in.p, (size_t)octets);
        in = sl_from(in, (size_t)octets + 1);
        m->v = mem_grow(m->v, &cap, m->n + 1, sizeof(m->v[0]));
        m->v[m->n++] = x;
    }
    if (m->n > 1)
        qsort(m->v, m->n, sizeof(m->v[0]), cmp_names);
    return 0;
}

static int
load(const char *path, struct store_meta *out, struct err *e)
{
    struct err why = { 0 };

    memset(out, 0, sizeof(*out));
    out->text.max = STORE_META_FILE_MAX_OCTETS;
    if (fs_read_file(path, &out->text, &why) && why.kind != ERR_NOTFOUND) {
        why.kind = ERR_TEMP; /* longer than it can be is the operator's, too */
        if (e != NULL)
            *e = why;
        return -1;
    }
    return parse(out, path, e);
}

static int
add_entry(struct buf *text, const struct store_meta_entry *x)
{
    return buf_addf(text, "%zu %.*s\n", x->value.n, SL_ARG(x->name)) || buf_adds(text, x->value) ||
           buf_addc(text, '\n');
}

static int
write_file(struct store_user *u, const char *dir, struct slice text, struct err *e)
{
    char *path = file_of(u, dir), *control = dir == NULL ? NULL : mbox_control_dir(u, dir);
    int rc = 0;

    if (control != NULL && strcmp(control, dir) != 0)
        rc = fs_mkdirs(control, 0700, e);
    if (rc == 0)
        rc = fs_replace_file(path, text, 0600, e);
    free(control);
    free(path);
    return rc;
}

/* ---- reading ---- */

void
store_meta_free(struct store_meta *m)
{
    free(m->v);
    buf_free(&m->text);
    memset(m, 0, sizeof(*m));
}

const struct store_meta_entry *
store_meta_find(const struct store_meta *m, struct slice name)
{
    struct store_meta_entry key = { .name = name };

    return m->n == 0 ? NULL : bsearch(&key, m->v, m->n, sizeof(m->v[0]), cmp_names);
}

static void
drop_hidden(struct store_meta *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++)
        if (!is_hidden(m->v[i].name))
            m->v[n++] = m->v[i];
    m->n = n;
}

/* The use that auto_mailboxes gives it by its name, when no other was set. */
static void
add_default_use(struct store_user *u, struct slice normal, struct store_meta *m)
{
    const struct store_meta_entry *set = store_meta_find(m, SL(META_USE));
    struct slice at;
    unsigned use;

    if (set != NULL && use_of_text(set->value) != 0)
        return;
    for (size_t i = 0; name_auto(u->s->conf, i, &at, &use); i++)
        for (size_t k = 0; sl_eq(at, normal) && k < COUNT_OF(uses); k++)
            if (uses[k].use == use) {
                if (set != NULL) { /* to none at all, which LIST takes for unset */
                    m->v[set - m->v].value = uses[k].word;
                    return;
                }
                m->v = mem_realloc(m->v, (m->n + 1) * sizeof(m->v[0]));
                m->v[m->n++] = (struct store_meta_entry){ SL(META_USE), uses[k].word };
                qsort(m->v, m->n, sizeof(m->v[0]), cmp_names);
                return;
            }
}

/* The name and folder of a mailbox; dir is empty for the account. */
static int
locate(struct store_user *u, struct slice mailbox, struct buf *normal, struct buf *dir,
       struct err *e)
{
    if (mailbox.n == 0)
        return 0;
    return name_normalise(&u->loc, mailbox, normal, e) ? -1
                                                       : mbox_dir(u, buf_slice(normal), dir, e);
}

static const char *
dir_of(struct buf *dir)
{
    return dir->n > 0 ? buf_z(dir) : NULL;
}

static int
load_of(struct store_user *u, struct slice normal, const char *dir, struct store_meta *out,
        struct err *e)
{
    int is_there = dir == NULL ? 1 : folder_is_there(u, dir, e);
    char *path = file_of(u, dir);
    int rc = -1;

    if (is_there == 0)
        err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(normal));
    else if (is_there > 0)
        rc = load(path, out, e);
    free(path);
    return rc;
}

int
store_meta_read(struct store_user *u, struct slice mailbox, struct store_meta *out, struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int rc;

    memset(out, 0, sizeof(*out));
    rc = locate(u, mailbox, &normal, &dir, e);
    if (rc == 0 && (rc = user_lock(u, e)) == 0) {
        rc = load_of(u, buf_slice(&normal), dir_of(&dir), out, e);
        user_unlock(u);
    }
    if (rc == 0) {
        drop_hidden(out);
        if (normal.n > 0)
            add_default_use(u, buf_slice(&normal), out);
    }
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

/* ---- changing ---- */

struct change {
    const struct store_meta_entry *x;
    size_t order;
};

static int
cmp_changes(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    int c = sl_cmp(x->x->name, y->x->name);

    return c != 0 ? c : x->order < y->order ? -1 : 1;
}

/* What the file will be: of several with one name the last counts. */
static int
compose(const struct store_meta *was, const struct store_meta_entry *v, size_t n,
        const struct store_meta_limits *limits, struct buf *text, struct err *e)
{
    struct change *all = mem_alloc((was->n + n + 1) * sizeof(all[0]));
    size_t had = 0, has = 0, total = was->n + n;
    int rc = 0;

    text->max = STORE_META_FILE_MAX_OCTETS;
    for (size_t i = 0; i < total; i++)
        all[i] = (struct change){ i < was->n ? &was->v[i] : &v[i - was->n], i };
    if (total > 1)
        qsort(all, total, sizeof(all[0]), cmp_changes);
    buf_addz(text, META_HEAD);
    for (size_t i = 0; rc == 0 && i < total; i++) {
        const struct store_meta_entry *x = all[i].x;

        had += all[i].order < was->n && !is_hidden(x->name);
        if ((i + 1 < total && sl_eq(all[i + 1].x->name, x->name)) || x->value.p == NULL)
            continue;
        has += !is_hidden(x->name);
        rc = add_entry(text, x);
    }
    free(all);
    if (rc || (limits != NULL && has > had && has > limits->entries)) {
        err_set(e, ERR_LIMIT, "Too many annotations");
        if (e != NULL)
            e->sys = ENOSPC;
        return -1;
    }
    return 0;
}

/* In a transaction: what LIST reads of the special use. */
static int
save_use(struct store_user *u, struct mbox *mb, const struct store_meta_entry *v, size_t n,
         struct err *e)
{
    bool is_set = false;

    for (size_t i = 0; i < n; i++)
        if (sl_eqz(v[i].name, META_USE)) {
            mb->use = use_of_text(v[i].value);
            is_set = true;
        }
    if (!is_set)
        return 0;
    u->must_sync = true;
    return mbox_save(u, mb, e);
}

/* user.lock held. absent_only: when the first of v is there already, all stays as it is, and 1 is returned. */
static int
change_locked(struct store_user *u, struct slice normal, const char *dir,
              const struct store_meta_entry *v, size_t n, const struct store_meta_limits *limits,
              bool absent_only, struct err *e)
{
    struct store_meta was = { 0 };
    struct buf text = { 0 };
    struct mbox mb;
    int64_t id = 0;
    int rc, is_row = 1;

    if ((dir != NULL && mbox_find(u, normal, &id, e)) || index_begin(u, e))
        return -1;
    if (dir != NULL)
        is_row = mbox_load_named(u, id, normal, &mb, e);
    if (is_row == 0)
        err_set(e, ERR_NOTFOUND, "Mailbox doesn't exist: %.*s", SL_ARG(normal));
    rc = is_row == 1 ? load_of(u, normal, dir, &was, e) : -1;
    if (rc == 0 && absent_only && store_meta_find(&was, v[0].name) != NULL)
        rc = 1;
    if (rc == 0)
        rc = compose(&was, v, n, limits, &text, e);
    if (rc == 0 && dir != NULL)
        rc = save_use(u, &mb, v, n, e);
    if (rc == 0)
        rc = write_file(u, dir, buf_slice(&text), e);
    if (rc)
        index_rollback(u);
    else if (index_commit(u, e)) {
        write_file(u, dir, was.text.n > 0 ? buf_slice(&was.text) : SL(META_HEAD), NULL);
        rc = -1;
    }
    store_meta_free(&was);
    buf_free(&text);
    return rc;
}

static int
check_values(const struct store_meta_entry *v, size_t n, const struct store_meta_limits *limits,
             struct err *e)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i].value.p != NULL && v[i].value.n > limits->value_octets) {
            err_set(e, ERR_LIMIT, "Annotation too long");
            if (e != NULL)
                e->sys = EMSGSIZE;
            return -1;
        }
        if (sl_eqz(v[i].name, META_USE) && check_use_text(v[i].value, e))
            return -1;
    }
    return 0;
}

int
store_meta_change(struct store_user *u, struct slice mailbox, const struct store_meta_entry *v,
                  size_t n, const struct store_meta_limits *limits, struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int rc = locate(u, mailbox, &normal, &dir, e);

    if (rc == 0)
        rc = check_values(v, n, limits, e);
    if (rc == 0 && (rc = user_lock(u, e)) == 0) {
        rc = change_locked(u, buf_slice(&normal), dir_of(&dir), v, n, limits, false, e);
        for (size_t i = 0; rc == 0 && i < n; i++)
            user_tell_event(u, STORE_EVENT_METADATA, buf_slice(&normal), v[i].name);
        user_unlock(u);
    }
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

/* ---- secrets ---- */

/* 1: it is there, 0: not, -1: e. */
static int
read_secret(struct store_user *u, struct slice normal, const char *dir,
            char out[STORE_META_SECRET_OCTETS + 1], struct err *e)
{
    struct store_meta m = { 0 };
    const struct store_meta_entry *x;
    int rc = load_of(u, normal, dir, &m, e);

    x = rc == 0 ? store_meta_find(&m, SL(META_SECRET)) : NULL;
    if (x != NULL && x->value.n == STORE_META_SECRET_OCTETS) {
        memcpy(out, x->value.p, STORE_META_SECRET_OCTETS);
        out[STORE_META_SECRET_OCTETS] = '\0';
        rc = 1;
    }
    store_meta_free(&m);
    return rc;
}

static int
secret_locked(struct store_user *u, struct slice normal, const char *dir, bool is_new,
              char out[STORE_META_SECRET_OCTETS + 1], struct err *e)
{
    struct store_meta_entry made = { SL(META_SECRET), { out, STORE_META_SECRET_OCTETS } };
    int rc = is_new ? 0 : read_secret(u, normal, dir, out, e);

    if (rc == 0) {
        rand_hex(out, STORE_META_SECRET_OCTETS);
        rc = change_locked(u, normal, dir, &made, 1, NULL, !is_new, e);
        if (rc == 1) /* another process was first */
            rc = read_secret(u, normal, dir, out, e);
    }
    return rc < 0 ? -1 : 0;
}

int
store_meta_secret(struct store_user *u, struct slice mailbox, bool is_new,
                  char out[STORE_META_SECRET_OCTETS + 1], struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int rc = locate(u, mailbox, &normal, &dir, e);

    if (rc == 0 && (rc = user_lock(u, e)) == 0) {
        rc = secret_locked(u, buf_slice(&normal), dir_of(&dir), is_new, out, e);
        user_unlock(u);
    }
    buf_free(&normal);
    buf_free(&dir);
    return rc;
}

int
store_meta_known_secret(struct store_user *u, struct slice mailbox,
                        char out[STORE_META_SECRET_OCTETS + 1], struct err *e)
{
    struct buf normal = { 0 }, dir = { 0 };
    int rc = locate(u, mailbox, &normal, &dir, e);

    if (rc ==
        0) /* the file is only ever replaced as a whole: no lock, which would make what it is in */
        rc = read_secret(u, buf_slice(&normal), dir_of(&dir), out, e);
    if (rc == 0)
        err_set(e, ERR_NOTFOUND, "Mailbox has no key: %.*s", SL_ARG(mailbox));
    buf_free(&normal);
    buf_free(&dir);
    return rc == 1 ? 0 : -1;
}

int
store_meta_strangers_secret(struct store *s, struct slice user, const struct store_userdb *db,
                            struct slice mailbox, char out[STORE_META_SECRET_OCTETS + 1],
                            struct err *e)
{
    struct store_user *u;
    int rc;

    if (user_open_bare(s, user, db, &u, e))
        return -1;
    rc = store_meta_known_secret(u, mailbox, out, e);
    store_user_close(&u);
    return rc;
}

/* ---- for the rows of mailboxes ---- */

unsigned
meta_read_use(const struct store_user *u, const char *dir)
{
    struct store_meta m = { 0 };
    char *path = file_of(u, dir);
    const struct store_meta_entry *x;
    unsigned use = 0;

    if (load(path, &m, NULL) == 0 && (x = store_meta_find(&m, SL(META_USE))) != NULL)
        use = use_of_text(x->value);
    store_meta_free(&m);
    free(path);
    return use;
}

int
meta_write_use(struct store_user *u, const char *dir, unsigned use, struct err *e)
{
    struct store_meta_entry x = { SL(META_USE), { NULL, 0 } };
    struct buf text = { 0 }, value = { 0 };
    int rc;

    add_use_text(&value, use);
    x.value = buf_slice(&value);
    buf_addz(&text, META_HEAD);
    add_entry(&text, &x);
    rc = write_file(u, dir, buf_slice(&text), e);
    buf_free(&value);
    buf_free(&text);
    return rc;
}

void
meta_forget(const struct store_user *u, const char *dir)
{
    char *path = file_of(u, dir);

    unlink(path);
    free(path);
}
