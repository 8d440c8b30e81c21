/* base/clock.c - see clock.h. */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

static atomic_bool is_fake;
static _Atomic uint64_t fake_mono_ms;
static _Atomic int64_t fake_unix_us;

static int64_t
now_us(clockid_t id)
{
    struct timespec t = { 0 };

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t
clock_mono_ms(void)
{
    return is_fake ? fake_mono_ms : (uint64_t)now_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
clock_unix_s(void)
{
    int64_t us = clock_unix_us();

    return us / 1000000 - (us % 1000000 < 0);
}

int64_t
clock_unix_us(void)
{
    return is_fake ? fake_unix_us : now_us(CLOCK_REALTIME);
}

void
clock_fake(uint64_t mono_ms, int64_t unix_us)
{
    fake_mono_ms = mono_ms;
    fake_unix_us = unix_us;
    is_fake = mono_ms != 0 || unix_us != 0;
}
