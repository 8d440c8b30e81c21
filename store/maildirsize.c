/* store/maildirsize.c - see quota_int.h: the quota file of Maildir++ in a user's root. The first line has the limits,
 * "1073741824S,1000C"; each other line octets and messages that came or went, the first of them all there was. */
#include "store/quota_int.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAILDIRSIZE_MAX_OCTETS = 5120 }; /* a longer one is written anew, as Maildir++ has it */
#define MAILDIRSIZE "maildirsize"

static void
limits_line(const struct quota_rules *r, struct buf *out)
{
    struct quota_limit l = quota_rules_user(r);

    if (l.octets > 0)
        buf_addf(out, "%lldS", (long long)l.octets);
    if (l.messages > 0)
        buf_addf(out, "%s%lldC", l.octets > 0 ? "," : "", (long long)l.messages);
    buf_addc(out, '\n');
}

/* Is the file there, short enough, and of these limits? */
static bool
is_fit(int fd, struct slice limits)
{
    char head[80];
    struct stat st;
    ssize_t got;

    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size > MAILDIRSIZE_MAX_OCTETS ||
        limits.n > sizeof(head))
        return false;
    got = pread(fd, head, limits.n, 0);
    return got == (ssize_t)limits.n && memcmp(head, limits.p, limits.n) == 0;
}

static void
write_anew(const char *root, struct slice text)
{
    struct buf tmp = { 0 }, path = { 0 };
    char suffix[17];
    int fd;

    rand_hex(suffix, sizeof(suffix) - 1);
    buf_addf(&path, "%s/" MAILDIRSIZE, root);
    buf_addf(&tmp, "%s/" MAILDIRSIZE ".%s", root, suffix);
    fd = open(buf_z(&tmp), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0) {
        if (fs_write_all(fd, text, NULL) || rename(buf_z(&tmp), buf_z(&path)))
            unlink(buf_z(&tmp));
        close(fd);
    }
    buf_free(&tmp);
    buf_free(&path);
}

void
maildirsize_note(const char *root, const struct quota_rules *r, int64_t octets, int64_t messages,
                 const struct quota_usage *now)
{
    struct buf text = { 0 }, path = { 0 };
    bool fits = false;
    int fd;

    limits_line(r, &text);
    buf_addf(&path, "%s/" MAILDIRSIZE, root);
    fd = open(buf_z(&path), O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        fits = is_fit(fd, buf_slice(&text));
        if (fits) {
            buf_reset(&text);
            buf_addf(&text, "%lld %lld\n", (long long)octets, (long long)messages);
            fs_write_all(fd, buf_slice(&text), NULL);
        }
        close(fd);
    }
    if (!fits) {
        buf_addf(&text, "%lld %lld\n", (long long)now->octets, (long long)now->messages);
        write_anew(root, buf_slice(&text));
    }
    buf_free(&text);
    buf_free(&path);
}
