/* session/queue_space.c - see queue_space.h. */
#include "session/queue_space.h"

#include <sys/statvfs.h>

uint64_t
queue_space_least(const struct conf *c)
{
    return c->queue_minfree > 0 ? (uint64_t)c->queue_minfree
                                : (uint64_t)c->message_size_limit / 2 * 3;
}

bool
queue_space_is_enough(const struct conf *c)
{
    struct statvfs v;

    return statvfs(c->queue_directory, &v) != 0 ||
           (uint64_t)v.f_bavail * v.f_frsize >= queue_space_least(c);
}
