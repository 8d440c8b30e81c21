/* store/maildir.c - see maildir.h. */
#include "store/maildir.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOST_MAX = 64 };

static char host[HOST_MAX + 1];
static pthread_once_t host_once = PTHREAD_ONCE_INIT;
static long pid; /* asked for once: thousands of names may be made in a row */
static atomic_uint_least64_t counter;

static void
note_pid(void)
{
    pid = (long)getpid();
}

/* The host's name as part of a file name: '/' and ':' as Maildir has them written. */
static void
host_init(void)
{
    char raw[256] = "";
    struct buf out = { 0 };

    note_pid();
    pthread_atfork(NULL, NULL, note_pid);

    if (gethostname(raw, sizeof(raw) - 1) || raw[0] == '\0')
        memcpy(raw, "localhost", sizeof("localhost"));
    for (const char *p = raw; *p != '\0'; p++) {
        if (*p == '/')
            buf_addz(&out, "\\057");
        else if (*p == ':' || *p == ',')
            buf_addz(&out, *p == ':' ? "\\072" : "\\054");
        else
            buf_addc(&out, *p);
    }
    snprintf(host, sizeof(host), "%s", buf_z(&out));
    buf_free(&out);
}

void
maildir_base(char out[MAILDIR_NAME_MAX], const char *ident, uint64_t size_octets,
             uint64_t crlf_octets)
{
    int64_t us = clock_unix_us();
    uint64_t n = atomic_fetch_add(&counter, 1);
    int len;

    pthread_once(&host_once, host_init);
    len = snprintf(out, MAILDIR_NAME_MAX, "%lld.%s%s%sM%06lldP%ldQ%llu.%s,S=%llu,W=%llu",
                   (long long)(us / 1000000), ident[0] ? "Q" : "", ident, ident[0] ? "_" : "",
                   (long long)(us % 1000000), pid, (unsigned long long)n, host,
                   (unsigned long long)size_octets, (unsigned long long)crlf_octets);
    BUG_ON(len < 0 || len >= MAILDIR_NAME_MAX - 64); /* flags must fit behind it */
}

/* Letters, digits and '-' stand for themselves, '.' is '-', everything else (also '-') is =XX: no '_' in it, which ends
 * an ident in a name. */
void
maildir_ident(struct slice ident, char out[MAILDIR_IDENT_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < ident.n; i++) {
        unsigned char c = (unsigned char)ident.p[i];

        if (n + 4 > MAILDIR_IDENT_MAX) {
            n = 0;
            break;
        }
        if (sl_is_alnum_char((char)c))
            out[n++] = (char)c;
        else if (c == '.')
            out[n++] = '-';
        else
            n += (size_t)snprintf(out + n, 4, "=%02X", c);
    }
    out[n] = '\0';
}

bool
maildir_has_ident(const char *name, const char *ident)
{
    const char *dot = strchr(name, '.');
    size_t n = strlen(ident);

    return dot != NULL && dot[1] == 'Q' && strncmp(dot + 2, ident, n) == 0 && dot[2 + n] == '_' &&
           dot[3 + n] == 'M';
}

static uint64_t
field_number(struct slice base, struct slice key)
{
    size_t at = 0;
    uint64_t v;

    for (;;) {
        struct slice rest = sl_from(base, at);
        size_t found = sl_find(rest, key);

        if (found == SL_NPOS)
            return UINT64_MAX;
        rest = sl_from(rest, found + key.n);
        if (sl_take_u64(&rest, &v) && (rest.n == 0 || rest.p[0] == ',' || rest.p[0] == ':'))
            return v;
        at += found + key.n;
    }
}

static void
parse_letters(struct maildir_name *out)
{
    for (size_t i = 0; i < out->info.n; i++) {
        char c = out->info.p[i];

        if (c >= 'a' && c <= 'z')
            out->kw |= 1u << (c - 'a');
        else if (c == 'S')
            out->sys |= STORE_SEEN;
        else if (c == 'R')
            out->sys |= STORE_ANSWERED;
        else if (c == 'F')
            out->sys |= STORE_FLAGGED;
        else if (c == 'T')
            out->sys |= STORE_DELETED;
        else if (c == 'D')
            out->sys |= STORE_DRAFT;
    }
}

static void
parse_time(struct maildir_name *out)
{
    struct slice at = out->base;
    size_t m;

    if (!sl_take_u64(&at, &out->s) || !sl_take_char(&at, '.')) {
        out->s = 0;
        return;
    }
    m = sl_find_char(at, '_');
    if (sl_starts(at, 'Q') && m != SL_NPOS)
        at = sl_from(at, m + 1);
    if (!sl_take_char(&at, 'M') || !sl_take_u64(&at, &out->us))
        out->us = 0;
}

bool
maildir_parse(const char *name, struct maildir_name *out)
{
    struct slice s = sl_z(name);
    size_t at;

    memset(out, 0, sizeof(*out));
    if (s.n == 0 || s.p[0] == '.' || s.n >= MAILDIR_NAME_MAX)
        return false;
    at = sl_find_char(s, ':');
    out->base = sl_head(s, at == SL_NPOS ? s.n : at);
    if (out->base.n == 0)
        return false;
    if (at != SL_NPOS) {
        struct slice info = sl_from(s, at + 1);

        out->has_info = sl_take_prefix(&info, SL("2,"));
        if (out->has_info)
            out->info = info;
    }
    out->size = field_number(out->base, SL(",S="));
    out->crlf = field_number(out->base, SL(",W="));
    parse_letters(out);
    parse_time(out);
    return true;
}

bool
maildir_compose(char out[MAILDIR_NAME_MAX], struct slice base, uint32_t sys, uint32_t kw,
                struct slice other)
{
    /* Letters in ASCII order, as the Maildir rules have it. */
    static const struct {
        char letter;
        uint32_t bit;
    } letters[] = { { 'D', STORE_DRAFT },    { 'F', STORE_FLAGGED }, { 'P', 0 },
                    { 'R', STORE_ANSWERED }, { 'S', STORE_SEEN },    { 'T', STORE_DELETED } };
    size_t n = base.n;

    if (n + 3 + 6 + MAILDIR_KEYWORD_LETTERS + other.n >= MAILDIR_NAME_MAX)
        return false;
    memcpy(out, base.p, n);
    memcpy(out + n, ":2,", 3);
    n += 3;
    for (size_t i = 0; i < COUNT_OF(letters); i++)
        if (letters[i].bit != 0 ? (sys & letters[i].bit) != 0
                                : sl_find_char(other, letters[i].letter) != SL_NPOS)
            out[n++] = letters[i].letter;
    for (size_t i = 0; i < other.n; i++)
        if (other.p[i] != 'P')
            out[n++] = other.p[i];
    for (unsigned i = 0; i < MAILDIR_KEYWORD_LETTERS; i++)
        if (kw & 1u << i)
            out[n++] = (char)('a' + i);
    out[n] = '\0';
    return true;
}

struct slice
maildir_other_letters(struct slice info, char out[8])
{
    size_t n = 0;

    for (size_t i = 0; i < info.n && n < 8; i++) {
        char c = info.p[i];

        if (c >= 'A' && c <= 'Z' && strchr("DFRST", c) == NULL && memchr(out, c, n) == NULL)
            out[n++] = c;
    }
    return sl_n(out, n);
}

int
maildir_name_cmp(const char *a, const char *b)
{
    struct maildir_name na, nb;

    maildir_parse(a, &na);
    maildir_parse(b, &nb);
    if (na.s != nb.s)
        return na.s < nb.s ? -1 : 1;
    if (na.us != nb.us)
        return na.us < nb.us ? -1 : 1;
    return sl_cmp(na.base, nb.base);
}

/* ---- folders ---- */

static char *
join(const char *dir, const char *name)
{
    struct buf b = { 0 };

    buf_addf(&b, "%s/%s", dir, name);
    buf_z(&b);
    return b.p; /* never consumed: p is the start */
}

/* mkdir -p, from the deepest level that is there; *was_there: how much of path was there (SIZE_MAX: all). */
static int
make_path(char *path, size_t *was_there, struct err *e)
{
    struct stat st;
    char *slash;
    int rc;

    if (mkdir(path, 0700) == 0) {
        slash = strrchr(path, '/');
        *was_there = slash == NULL ? 0 : (size_t)(slash - path);
        return 0;
    }
    if (errno == EEXIST) {
        *was_there = SIZE_MAX;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            return 0;
        errno = ENOTDIR;
        return err_sys(e, "cannot make folder %s", path);
    }
    slash = strrchr(path, '/');
    if (errno != ENOENT || slash == NULL || slash == path)
        return err_sys(e, "cannot make folder %s", path);
    *slash = '\0';
    rc = make_path(path, was_there, e);
    *slash = '/';
    if (rc)
        return -1;
    if (*was_there == SIZE_MAX)
        *was_there = (size_t)(slash - path);
    if (mkdir(path, 0700) && errno != EEXIST)
        return err_sys(e, "cannot make folder %s", path);
    return 0;
}

/* Names made below `was_there` are on disk when each folder that got one is synced. */
static int
sync_made(const char *dir, size_t was_there, struct err *e)
{
    char *at = mem_dupz(dir);
    int rc = 0;

    for (;;) {
        char *slash;

        rc = fs_sync_dir(at[0] == '\0' ? "/" : at, e);
        if (rc || strlen(at) <= was_there)
            break;
        slash = strrchr(at, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
    free(at);
    return rc;
}

static int
make_mark(const char *dir, struct err *e)
{
    char *path = join(dir, "maildirfolder");
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    int rc = 0;

    if (fd < 0)
        rc = err_sys(e, "cannot create %s", path);
    else
        close(fd);
    free(path);
    return rc;
}

static int
make_all(const char *dir, bool is_subfolder, size_t *was_there, struct err *e)
{
    static const char *const parts[] = { "cur", "new", "tmp" };
    int rc = 0;

    *was_there = SIZE_MAX;
    for (size_t i = 0; rc == 0 && i < COUNT_OF(parts); i++) {
        char *path = join(dir, parts[i]);
        size_t there = SIZE_MAX;

        rc = make_path(path, &there, e);
        if (there < *was_there)
            *was_there = there;
        free(path);
    }
    if (rc == 0 && is_subfolder && *was_there != SIZE_MAX)
        rc = make_mark(dir, e);
    return rc;
}

int
maildir_make(const char *dir, bool is_subfolder, struct err *e)
{
    size_t was_there;

    if (make_all(dir, is_subfolder, &was_there, e))
        return -1;
    return was_there == SIZE_MAX ? 0 : sync_made(dir, was_there, e);
}

int
maildir_make_unsynced(const char *dir, bool is_subfolder, struct err *e)
{
    size_t was_there;

    return make_all(dir, is_subfolder, &was_there, e);
}

/* 1 when the file at path is as long as its name says. */
static bool
is_whole(const char *path, const char *name)
{
    struct maildir_name n;
    struct stat st;

    return maildir_parse(name, &n) && stat(path, &st) == 0 &&
           (n.size == UINT64_MAX || (uint64_t)st.st_size >= n.size);
}

static int
find_in(const char *dir, const char *part, const char *ident, char **path, struct err *e)
{
    char *at = join(dir, part);
    DIR *d = opendir(at);
    struct dirent *ent;
    int rc = 0;

    if (d == NULL) {
        rc = errno == ENOENT ? 0 : err_sys(e, "cannot open folder %s", at);
        free(at);
        return rc;
    }
    while (rc == 0 && (errno = 0, ent = readdir(d)) != NULL) {
        if (!maildir_has_ident(ent->d_name, ident))
            continue;
        *path = join(at, ent->d_name);
        if (is_whole(*path, ent->d_name)) {
            rc = 1;
        } else {
            free(*path);
            *path = NULL;
        }
    }
    if (rc == 0 && errno != 0)
        rc = err_sys(e, "cannot read folder %s", at);
    closedir(d);
    free(at);
    return rc;
}

int
maildir_find_ident(const char *dir, const char *ident, char **path, struct err *e)
{
    int rc;

    *path = NULL;
    /* new first: a message moves from new to cur, so this order cannot miss one on its way. */
    rc = find_in(dir, "new", ident, path, e);
    return rc != 0 ? rc : find_in(dir, "cur", ident, path, e);
}

/* ---- line ends ---- */

void
maildir_lf(struct buf *out, struct slice in, bool *cr, uint64_t *crlf_octets)
{
    while (in.n > 0) {
        const char *at;
        size_t n;

        if (*cr) { /* a CR that waits: part of a line end, or an octet */
            if (in.p[0] != '\n') {
                buf_addc(out, '\r');
                *crlf_octets += 1;
            }
            *cr = false;
        }
        at = memchr(in.p, '\r', in.n);
        n = at == NULL ? in.n : (size_t)(at - in.p);
        buf_add(out, in.p, n);
        *crlf_octets += n;
        for (const char *lf = in.p; (lf = memchr(lf, '\n', (size_t)(in.p + n - lf))) != NULL; lf++)
            *crlf_octets += 1;
        *cr = at != NULL;
        in = sl_from(in, at == NULL ? n : n + 1);
    }
}

void
maildir_lf_end(struct buf *out, bool *cr, uint64_t *crlf_octets)
{
    if (*cr) {
        buf_addc(out, '\r');
        *crlf_octets += 1;
    }
    *cr = false;
}
