/* tests/fault/clock_preload.c - a wall clock that a test sets: as many seconds ahead of the real one as the first eight octets
 * of the file $FAULT_CLOCK say (a native int64, shared, so that it can change while programs run). */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;

static int64_t
ahead_s(void)
{
    static int has_tried;
    const char *path;
    int fd;

    if (!has_tried) {
        has_tried = 1;
        path = getenv("FAULT_CLOCK");
        fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd >= 0) {
            void *at = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, fd, 0);

            if (at != MAP_FAILED)
                shift = at;
            close(fd);
        }
    }
    return shift ? *shift : 0;
}

int
clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, id, t);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        t->tv_sec += ahead_s();
    return rc;
}

int
gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec ts;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &ts);
    t->tv_sec = ts.tv_sec;
    t->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t
time(time_t *out)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (out)
        *out = ts.tv_sec;
    return ts.tv_sec;
}
