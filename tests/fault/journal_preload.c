/* tests/fault/journal_preload.c - journals what a family of processes does to a file system, for tests/lib/powercut.py.
 *
 * Preloaded (LD_PRELOAD) with FAULT_JOURNAL=FILE. FILE is a mapping shared by all of them, made by journal_create(): a
 * header and records, in the order in which things happened: each call and its record are made under one lock, except
 * syncs, which have a record for their begin and one for their end. What a sync promises at its end is what had been
 * done at its begin. Nothing is really synced; it takes a random time instead (FAULT_SYNC_US, at most).
 *
 * FAULT_NO_SYNC=1        syncs say "done" and are not recorded: as a build without them
 * FAULT_KILL=N           one sync in N does not end: its process gets SIGKILL (no more than one in a second does)
 * FAULT_KILL_ON=FILE     while there is FILE, which holds a part of a path, so does the next sync of such a path; FILE goes
 * FAULT_BOOT_ID=FILE     stands for /proc/sys/kernel/random/boot_id
 * FAULT_CLOCK_S=SECONDS  added to the wall clock
 * With only the last two nothing is journaled.
 *
 * Regular files and folders of the one file system (header.dev) are recorded, wherever they are. What changes them in
 * a way that is not understood here sets header.strange, which fails the test. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAGIC   "PSTNJRN1"
#define BOOT_ID "/proc/sys/kernel/random/boot_id"

enum { HEADER_OCTETS = 4096, ALIGN = 8, NAME_MAX_OCTETS = 256, PATH_OCTETS = 4096 };

/* powercut.py has the same numbers */
enum op {
    OP_CREATE = 1, /* ino, dir, name, a = mode */
    OP_SIZE,       /* ino, a = size */
    OP_GROW,       /* ino, a = at least this size */
    OP_WRITE,      /* ino, a = offset, data */
    OP_LINK,       /* ino, dir, name */
    OP_UNLINK,     /* ino, dir, name */
    OP_MKDIR,      /* ino, dir, name, a = mode */
    OP_RMDIR,      /* ino, dir, name */
    OP_RENAME,     /* ino, dir, name -> dir2, data = name */
    OP_MODE,       /* ino, a = mode */
    OP_TIME,       /* ino, a = mtime in ns */
    OP_SYNC,       /* ino (0: all), b = 1: data and size only */
    OP_SYNCED,     /* a = sequence number of the OP_SYNC */
    OP_MAPPED,     /* ino: writable mapping, content not known from here on */
    OP_MARK        /* data: the test's word */
};

struct header {
    char magic[8];
    uint64_t size, used, seq, dev, killed_s;
    uint32_t kills;
    uint32_t strange;
    char why[64];
    pthread_mutex_t lock;
};

struct rec {
    uint32_t octets; /* with name, data, padding */
    uint16_t op, n_name;
    uint64_t seq, ino, dir, dir2;
    int64_t a, b;
    uint32_t n_data, pid;
};

static struct header *journal;
static char boot_id[PATH_OCTETS], kill_on[PATH_OCTETS];
static long clock_s, sync_us, kill_one_in;
static bool no_sync;

/* For the test, which loads this as a library: */
int journal_create(const char *path, uint64_t octets, const char *folder);
uint64_t journal_mark(const char *text, uint64_t n);
const char *journal_strange(void);
uint32_t journal_kills(void);

/* ---- the journal ---- */

static void
lock_journal(void)
{
    if (pthread_mutex_lock(&journal->lock) == EOWNERDEAD)
        pthread_mutex_consistent(&journal->lock);
}

static void
unlock_journal(void)
{
    pthread_mutex_unlock(&journal->lock);
}

static void
strange(const char *why)
{
    if (!journal->strange)
        snprintf(journal->why, sizeof journal->why, "%s", why);
    journal->strange = 1;
}

/* Under the lock. n_iov pieces of n_data octets in all are the data. */
static uint64_t
put(struct rec r, const char *name, const struct iovec *iov, int n_iov, size_t n_data)
{
    char *at = (char *)journal + journal->used;
    size_t n_name = name ? strlen(name) : 0;
    size_t octets = (sizeof r + n_name + n_data + ALIGN - 1) / ALIGN * ALIGN;

    if (journal->used + octets > journal->size) {
        strange("the journal is full");
        return 0;
    }
    r.octets = (uint32_t)octets;
    r.n_name = (uint16_t)n_name;
    r.n_data = (uint32_t)n_data;
    r.pid = (uint32_t)getpid();
    r.seq = ++journal->seq;
    memcpy(at, &r, sizeof r);
    at += sizeof r;
    if (n_name)
        memcpy(at, name, n_name);
    at += n_name;
    for (int i = 0; i < n_iov && n_data > 0; i++) {
        size_t n = iov[i].iov_len < n_data ? iov[i].iov_len : n_data;

        if (n > 0)
            memcpy(at, iov[i].iov_base, n);
        at += n;
        n_data -= n;
    }
    __atomic_store_n(&journal->used, journal->used + octets, __ATOMIC_RELEASE);
    return r.seq;
}

static uint64_t
put_plain(enum op op, uint64_t ino, int64_t a, int64_t b)
{
    return put((struct rec){ .op = (uint16_t)op, .ino = ino, .a = a, .b = b }, NULL, NULL, 0, 0);
}

static int
map_journal(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    void *p;

    if (fd < 0 || fstat(fd, &st) != 0)
        return -1;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED || memcmp(p, MAGIC, 8) != 0)
        return -1;
    journal = p;
    return 0;
}

/* Make the journal of `octets` for the file system of folder, and open it here. */
int
journal_create(const char *path, uint64_t octets, const char *folder)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    pthread_mutexattr_t attr;
    struct header *h;
    struct stat st;

    if (fd < 0 || stat(folder, &st) != 0 || ftruncate(fd, (off_t)octets) != 0)
        return -1;
    h = mmap(NULL, HEADER_OCTETS, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (h == MAP_FAILED)
        return -1;
    memset(h, 0, sizeof *h);
    h->size = octets;
    h->used = HEADER_OCTETS;
    h->dev = st.st_dev;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&h->lock, &attr);
    memcpy(h->magic, MAGIC, 8);
    munmap(h, HEADER_OCTETS);
    return map_journal(path);
}

/* Something has been told to a client, or is about to be. */
uint64_t
journal_mark(const char *text, uint64_t n)
{
    struct iovec v = { (void *)(uintptr_t)text, n };
    uint64_t seq;

    lock_journal();
    seq = put((struct rec){ .op = OP_MARK }, NULL, &v, 1, n);
    unlock_journal();
    return seq;
}

uint32_t
journal_kills(void)
{
    return journal->kills;
}

const char *
journal_strange(void)
{
    return journal->strange ? journal->why : "";
}

__attribute__((constructor)) static void
begin(void)
{
    const char *v;

    if ((v = getenv("FAULT_BOOT_ID")) != NULL)
        snprintf(boot_id, sizeof boot_id, "%s", v);
    if ((v = getenv("FAULT_KILL_ON")) != NULL)
        snprintf(kill_on, sizeof kill_on, "%s", v);
    if ((v = getenv("FAULT_CLOCK_S")) != NULL)
        clock_s = atol(v);
    if ((v = getenv("FAULT_SYNC_US")) != NULL)
        sync_us = atol(v);
    if ((v = getenv("FAULT_KILL")) != NULL)
        kill_one_in = atol(v);
    no_sync = (v = getenv("FAULT_NO_SYNC")) != NULL && *v == '1';
    if ((v = getenv("FAULT_JOURNAL")) != NULL && map_journal(v) != 0) {
        fprintf(stderr, "fault layer: cannot open %s\n", v);
        abort();
    }
}

#define REAL(name)                                                                                 \
    static __typeof__(name) *real;                                                                 \
    if (!real)                                                                                     \
    real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* ---- names ---- */

static bool
is_ours(const struct stat *st)
{
    return st->st_dev == journal->dev && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

/* The folder's inode and the last part of a path; 0 when there is none. */
static uint64_t
split(int dirfd, const char *path, char name[NAME_MAX_OCTETS])
{
    char dir[PATH_OCTETS];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    struct stat st;

    if (n >= sizeof dir || strlen(slash ? slash + 1 : path) >= NAME_MAX_OCTETS)
        return 0;
    memcpy(dir, path, n);
    dir[n] = '\0';
    snprintf(name, NAME_MAX_OCTETS, "%s", slash ? slash + 1 : path);
    if (slash == path)
        snprintf(dir, sizeof dir, "/");
    else if (!slash)
        snprintf(dir, sizeof dir, ".");
    if (name[0] == '\0')
        strange("a path that ends in a slash");
    return fstatat(dirfd, dir, &st, 0) == 0 ? st.st_ino : 0;
}

static void
put_name(enum op op, uint64_t ino, int dirfd, const char *path, int64_t a)
{
    char name[NAME_MAX_OCTETS] = "";
    uint64_t dir = split(dirfd, path, name);

    if (dir)
        put((struct rec){ .op = (uint16_t)op, .ino = ino, .dir = dir, .a = a }, name, NULL, 0, 0);
}

/* What a path names, when it is ours. */
static bool
look(int dirfd, const char *path, struct stat *st)
{
    return fstatat(dirfd, path, st, AT_SYMLINK_NOFOLLOW) == 0 && is_ours(st);
}

static bool
look_fd(int fd, struct stat *st)
{
    return fstat(fd, st) == 0 && is_ours(st);
}

/* ---- open ---- */

static int
open_noted(int (*real)(int, const char *, int, ...), int dirfd, const char *path, int flags,
           mode_t mode)
{
    struct stat was, st;
    bool existed;
    int fd, sys;

    if (boot_id[0] && strcmp(path, BOOT_ID) == 0)
        return real(dirfd, boot_id, flags, mode);
    if (!journal || !(flags & (O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY))))
        return real(dirfd, path, flags, mode);
    lock_journal();
    existed = fstatat(dirfd, path, &was, 0) == 0;
    fd = real(dirfd, path, flags, mode);
    sys = errno;
    if (fd >= 0 && look_fd(fd, &st) && S_ISREG(st.st_mode)) {
        if (flags & (O_SYNC | O_DSYNC))
            strange("O_SYNC");
        if ((flags & O_TMPFILE) == O_TMPFILE) /* its number may have been another's */
            put((struct rec){ .op = OP_CREATE, .ino = st.st_ino }, "", NULL, 0, 0);
        else if (!existed)
            put_name(OP_CREATE, st.st_ino, dirfd, path, st.st_mode & 07777);
        else if ((flags & O_TRUNC) && was.st_size > 0)
            put_plain(OP_SIZE, st.st_ino, 0, 0);
    }
    unlock_journal();
    errno = sys;
    return fd;
}

#define TAKE_MODE(flags, mode)                                                                     \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        mode = (mode_t)va_arg(ap, int);                                                            \
        va_end(ap);                                                                                \
    }

int
openat(int dirfd, const char *path, int flags, ...)
{
    REAL(openat);
    TAKE_MODE(flags, mode)
    return open_noted(real, dirfd, path, flags, mode);
}

int
openat64(int dirfd, const char *path, int flags, ...)
{
    REAL(openat64);
    TAKE_MODE(flags, mode)
    return open_noted(real, dirfd, path, flags, mode);
}

int
open(const char *path, int flags, ...)
{
    REAL(openat);
    TAKE_MODE(flags, mode)
    return open_noted(real, AT_FDCWD, path, flags, mode);
}

int
open64(const char *path, int flags, ...)
{
    REAL(openat64);
    TAKE_MODE(flags, mode)
    return open_noted(real, AT_FDCWD, path, flags, mode);
}

int
creat(const char *path, mode_t mode)
{
    return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

static int
made_temporary(int fd, const char *path)
{
    struct stat st;
    int sys = errno;

    if (journal) {
        if (fd >= 0 && look_fd(fd, &st))
            put_name(OP_CREATE, st.st_ino, AT_FDCWD, path, st.st_mode & 07777);
        unlock_journal();
    }
    errno = sys;
    return fd;
}

int
mkostemp(char *path, int flags)
{
    REAL(mkostemp);
    if (journal)
        lock_journal();
    return made_temporary(real(path, flags), path);
}

int
mkstemp(char *path)
{
    return mkostemp(path, 0);
}

FILE *
fopen(const char *path, const char *mode)
{
    REAL(fopen);
    struct stat st;
    FILE *f = real(path, mode);

    if (f && journal && strpbrk(mode, "wa+") && look_fd(fileno(f), &st))
        strange("fopen for writing");
    return f;
}

/* ---- content ---- */

/* What was written at the place where the descriptor now stands, or at `at`. Under the lock. */
static void
put_written(int fd, const struct iovec *iov, int n_iov, ssize_t n, off_t at)
{
    struct stat st;

    if (n <= 0 || !look_fd(fd, &st))
        return;
    if (at < 0)
        at = lseek(fd, 0, SEEK_CUR) - n;
    put((struct rec){ .op = OP_WRITE, .ino = st.st_ino, .a = at }, NULL, iov, n_iov, (size_t)n);
}

#define WRITE_NOTED(call, fd, iov, n_iov, at)                                                      \
    struct stat st_;                                                                               \
    ssize_t n_;                                                                                    \
    int sys_;                                                                                      \
    if (!journal || !look_fd(fd, &st_))                                                            \
        return call;                                                                               \
    lock_journal();                                                                                \
    n_ = call;                                                                                     \
    sys_ = errno;                                                                                  \
    put_written(fd, iov, n_iov, n_, at);                                                           \
    unlock_journal();                                                                              \
    errno = sys_;                                                                                  \
    return n_

ssize_t
write(int fd, const void *p, size_t n)
{
    REAL(write);
    struct iovec v = { (void *)(uintptr_t)p, n };

    WRITE_NOTED(real(fd, p, n), fd, &v, 1, -1);
}

ssize_t
writev(int fd, const struct iovec *v, int n)
{
    REAL(writev);
    WRITE_NOTED(real(fd, v, n), fd, v, n, -1);
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
    REAL(pwrite);
    struct iovec v = { (void *)(uintptr_t)p, n };

    WRITE_NOTED(real(fd, p, n, at), fd, &v, 1, at);
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    REAL(pwrite64);
    struct iovec v = { (void *)(uintptr_t)p, n };

    WRITE_NOTED(real(fd, p, n, at), fd, &v, 1, at);
}

ssize_t
pwritev(int fd, const struct iovec *v, int n, off_t at)
{
    REAL(pwritev);
    WRITE_NOTED(real(fd, v, n, at), fd, v, n, at);
}

ssize_t
pwritev64(int fd, const struct iovec *v, int n, off64_t at)
{
    REAL(pwritev64);
    WRITE_NOTED(real(fd, v, n, at), fd, v, n, at);
}

#define SIZE_NOTED(op, call, is_ok, size)                                                          \
    struct stat st_;                                                                               \
    int rc_, sys_;                                                                                 \
    if (!journal || !look_fd(fd, &st_))                                                            \
        return call;                                                                               \
    lock_journal();                                                                                \
    rc_ = call;                                                                                    \
    sys_ = errno;                                                                                  \
    if (is_ok)                                                                                     \
        put_plain(op, st_.st_ino, size, 0);                                                        \
    unlock_journal();                                                                              \
    errno = sys_;                                                                                  \
    return rc_

int
ftruncate(int fd, off_t size)
{
    REAL(ftruncate);
    SIZE_NOTED(OP_SIZE, real(fd, size), rc_ == 0, size);
}

int
ftruncate64(int fd, off64_t size)
{
    REAL(ftruncate64);
    SIZE_NOTED(OP_SIZE, real(fd, size), rc_ == 0, size);
}

int
posix_fallocate(int fd, off_t at, off_t n)
{
    REAL(posix_fallocate);
    SIZE_NOTED(OP_GROW, real(fd, at, n), rc_ == 0, at + n);
}

int
posix_fallocate64(int fd, off64_t at, off64_t n)
{
    REAL(posix_fallocate64);
    SIZE_NOTED(OP_GROW, real(fd, at, n), rc_ == 0, at + n);
}

int
fallocate(int fd, int mode, off_t at, off_t n)
{
    REAL(fallocate);
    if (mode && journal)
        strange("fallocate with a mode");
    SIZE_NOTED(OP_GROW, real(fd, mode, at, n), rc_ == 0, at + n);
}

int
fallocate64(int fd, int mode, off64_t at, off64_t n)
{
    REAL(fallocate64);
    if (mode && journal)
        strange("fallocate with a mode");
    SIZE_NOTED(OP_GROW, real(fd, mode, at, n), rc_ == 0, at + n);
}

static void
note_mapping(int prot, int flags, int fd)
{
    struct stat st;

    if (journal && fd >= 0 && (prot & PROT_WRITE) && (flags & MAP_SHARED) && look_fd(fd, &st)) {
        lock_journal();
        put_plain(OP_MAPPED, st.st_ino, 0, 0);
        unlock_journal();
    }
}

void *
mmap(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
    REAL(mmap);
    note_mapping(prot, flags, fd);
    return real(p, n, prot, flags, fd, at);
}

void *
mmap64(void *p, size_t n, int prot, int flags, int fd, off64_t at)
{
    REAL(mmap64);
    note_mapping(prot, flags, fd);
    return real(p, n, prot, flags, fd, at);
}

static void
refuse_strange(int fd, const char *what)
{
    struct stat st;

    if (journal && look_fd(fd, &st))
        strange(what);
}

ssize_t
sendfile(int out, int in, off_t *at, size_t n)
{
    REAL(sendfile);
    refuse_strange(out, "sendfile");
    return real(out, in, at, n);
}

ssize_t
copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
    REAL(copy_file_range);
    refuse_strange(out, "copy_file_range");
    return real(in, in_at, out, out_at, n, flags);
}

ssize_t
splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t n, unsigned flags)
{
    REAL(splice);
    refuse_strange(out, "splice");
    return real(in, in_at, out, out_at, n, flags);
}

int
truncate(const char *path, off_t size)
{
    REAL(truncate);
    if (journal)
        strange("truncate");
    return real(path, size);
}

/* ---- names ---- */

#define NAME_NOTED(call, before, after)                                                            \
    int rc_, sys_;                                                                                 \
    if (!journal)                                                                                  \
        return call;                                                                               \
    lock_journal();                                                                                \
    before;                                                                                        \
    rc_ = call;                                                                                    \
    sys_ = errno;                                                                                  \
    if (rc_ == 0) {                                                                                \
        after;                                                                                     \
    }                                                                                              \
    unlock_journal();                                                                              \
    errno = sys_;                                                                                  \
    return rc_

int
unlinkat(int dirfd, const char *path, int flags)
{
    REAL(unlinkat);
    struct stat st;
    bool is;

    NAME_NOTED(
        real(dirfd, path, flags), is = look(dirfd, path, &st),
        if (is) put_name(flags & AT_REMOVEDIR ? OP_RMDIR : OP_UNLINK, st.st_ino, dirfd, path, 0));
}

int
unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int
rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int
remove(const char *path)
{
    struct stat st;

    if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return rmdir(path);
    return unlink(path);
}

int
mkdirat(int dirfd, const char *path, mode_t mode)
{
    REAL(mkdirat);
    struct stat st;

    NAME_NOTED(real(dirfd, path, mode), (void)0,
               if (look(dirfd, path, &st))
                   put_name(OP_MKDIR, st.st_ino, dirfd, path, st.st_mode & 07777));
}

int
mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int
linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    REAL(linkat);
    struct stat st;

    NAME_NOTED(real(from_fd, from, to_fd, to, flags), (void)0,
               if (look(to_fd, to, &st)) put_name(OP_LINK, st.st_ino, to_fd, to, 0));
}

int
link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int
symlinkat(const char *target, int dirfd, const char *path)
{
    REAL(symlinkat);
    if (journal)
        strange("symlink");
    return real(target, dirfd, path);
}

int
symlink(const char *target, const char *path)
{
    return symlinkat(target, AT_FDCWD, path);
}

static void
put_rename(uint64_t ino, int from_fd, const char *from, int to_fd, const char *to)
{
    char a[NAME_MAX_OCTETS] = "", b[NAME_MAX_OCTETS] = "";
    struct rec r = {
        .op = OP_RENAME, .ino = ino, .dir = split(from_fd, from, a), .dir2 = split(to_fd, to, b)
    };
    struct iovec v = { b, strlen(b) };

    put(r, a, &v, 1, v.iov_len);
}

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    REAL(renameat2);
    struct stat st;
    bool is;

    if (journal && (flags & ~(unsigned)RENAME_NOREPLACE))
        strange("renameat2 with flags");
    NAME_NOTED(real(from_fd, from, to_fd, to, flags), is = look(from_fd, from, &st),
               if (is) put_rename(st.st_ino, from_fd, from, to_fd, to));
}

int
renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

int
rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- modes and times ---- */

int
fchmod(int fd, mode_t mode)
{
    REAL(fchmod);
    SIZE_NOTED(OP_MODE, real(fd, mode), rc_ == 0, mode & 07777);
}

int
chmod(const char *path, mode_t mode)
{
    REAL(chmod);
    struct stat st;

    NAME_NOTED(real(path, mode), (void)0,
               if (stat(path, &st) == 0 && is_ours(&st))
                   put_plain(OP_MODE, st.st_ino, mode & 07777, 0));
}

int
futimens(int fd, const struct timespec t[2])
{
    REAL(futimens);
    struct stat now;

    SIZE_NOTED(OP_TIME, real(fd, t), rc_ == 0 && fstat(fd, &now) == 0,
               (int64_t)now.st_mtim.tv_sec * 1000000000 + now.st_mtim.tv_nsec);
}

/* ---- syncs ---- */

static unsigned
chance(void)
{
    static __thread unsigned seed;

    if (seed == 0)
        seed = (unsigned)(uintptr_t)&seed ^ (unsigned)getpid() * 2654435761U;
    return (unsigned)rand_r(&seed);
}

/* As if killed between a write and its sync. */
static void
die_sometimes(void)
{
    struct timespec now;
    uint64_t was, s;

    /* Not the supervisor, which syncs the folders that it makes. */
    if (kill_one_in <= 0 || strcmp(program_invocation_short_name, "postern") == 0 ||
        chance() % (unsigned long)kill_one_in != 0)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    s = (uint64_t)now.tv_sec;
    was = __atomic_exchange_n(&journal->killed_s, s, __ATOMIC_RELAXED);
    if (was < s) {
        __atomic_fetch_add(&journal->kills, 1, __ATOMIC_RELAXED);
        kill(getpid(), SIGKILL);
    }
}

/* As asked for by the test, once. */
static void
die_as_told(int fd)
{
    char link[64], path[PATH_OCTETS] = "", part[PATH_OCTETS] = "";
    FILE *f = kill_on[0] ? fopen(kill_on, "re") : NULL;

    if (f == NULL)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (fgets(part, sizeof part, f) != NULL && readlink(link, path, sizeof path - 1) > 0 &&
        part[0] != '\0' && strstr(path, part) != NULL && unlink(kill_on) == 0) {
        __atomic_fetch_add(&journal->kills, 1, __ATOMIC_RELAXED);
        kill(getpid(), SIGKILL);
    }
    fclose(f);
}

static void
take_a_while(void)
{
    struct timespec t = { 0 };

    if (sync_us <= 0)
        return;
    t.tv_nsec = (long)(chance() % (unsigned long)sync_us) * 1000;
    nanosleep(&t, NULL);
}

static int
sync_noted(int fd, uint64_t ino, bool is_data_only)
{
    uint64_t seq = 0;

    die_as_told(fd);
    if (!no_sync) {
        lock_journal();
        seq = put_plain(OP_SYNC, ino, 0, is_data_only);
        unlock_journal();
    }
    die_sometimes();
    take_a_while();
    if (!no_sync) {
        lock_journal();
        put_plain(OP_SYNCED, ino, (int64_t)seq, is_data_only);
        unlock_journal();
    }
    return 0;
}

int
fsync(int fd)
{
    REAL(fsync);
    struct stat st;

    return journal && look_fd(fd, &st) ? sync_noted(fd, st.st_ino, false) : real(fd);
}

int
fdatasync(int fd)
{
    REAL(fdatasync);
    struct stat st;

    return journal && look_fd(fd, &st) ? sync_noted(fd, st.st_ino, true) : real(fd);
}

int
syncfs(int fd)
{
    REAL(syncfs);
    struct stat st;

    return journal && look_fd(fd, &st) ? sync_noted(fd, 0, false) : real(fd);
}

int
sync_file_range(int fd, off64_t at, off64_t n, unsigned flags)
{
    (void)fd;
    (void)at;
    (void)n;
    (void)flags;
    return 0; /* promises nothing */
}

void
sync(void)
{
    if (journal)
        sync_noted(-1, 0, false);
}

/* ---- the clock ---- */

int
clock_gettime(clockid_t which, struct timespec *t)
{
    REAL(clock_gettime);
    int rc = real(which, t);

    if (rc == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        t->tv_sec += clock_s;
    return rc;
}

int
gettimeofday(struct timeval *t, void *zone)
{
    static int (*real)(struct timeval *, void *);
    int rc;

    if (!real)
        real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    rc = real(t, zone);
    if (rc == 0)
        t->tv_sec += clock_s;
    return rc;
}

time_t
time(time_t *out)
{
    static time_t (*real)(time_t *);
    time_t t;

    if (!real)
        real = (time_t(*)(time_t *))dlsym(RTLD_NEXT, "time");
    t = real(NULL) + clock_s;
    if (out)
        *out = t;
    return t;
}
