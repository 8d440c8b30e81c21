/* base/err.c - see err.h. Messages are made in a local first: arguments may point into e->msg. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
err_fill(struct err *e, enum err_kind kind, int sys, const char *msg)
{
    size_t i;

    e->kind = kind;
    e->sys = sys;
    for (i = 0; i < ERR_MSG_OCTETS - 1 && msg[i] != '\0'; i++) {
        unsigned char c = (unsigned char)msg[i];

        e->msg[i] = c < ' ' || c == 0x7f ? '?' : msg[i];
    }
    e->msg[i] = '\0';
}

int
err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
    char msg[ERR_MSG_OCTETS];
    va_list ap;

    if (e == NULL)
        return -1;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    err_fill(e, kind, 0, msg);
    return -1;
}

int
err_sys(struct err *e, const char *fmt, ...)
{
    int sys = errno;
    char msg[ERR_MSG_OCTETS], all[2 * ERR_MSG_OCTETS], why[128];
    va_list ap;

    if (e == NULL)
        return -1;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    snprintf(all, sizeof(all), "%s: %s", msg, strerror_r(sys, why, sizeof(why)));
    err_fill(e, ERR_TEMP, sys, all);
    errno = sys;
    return -1;
}

int
err_prefix(struct err *e, const char *fmt, ...)
{
    char msg[ERR_MSG_OCTETS], all[2 * ERR_MSG_OCTETS + 2];
    va_list ap;

    if (e == NULL)
        return -1;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    snprintf(all, sizeof(all), "%s: %s", msg, e->msg);
    err_fill(e, e->kind, e->sys, all);
    return -1;
}

bool
err_is_full(const struct err *e)
{
    return e->sys == ENOSPC || e->sys == EDQUOT;
}

bool
err_is_stale(const struct err *e)
{
    return e->sys == ESTALE;
}

int
err_stale(struct err *e, const char *msg)
{
    err_set(e, ERR_PERM, "%s", msg);
    if (e)
        e->sys = ESTALE;
    return -1;
}

const char *
err_kind_name(enum err_kind kind)
{
    switch (kind) {
    case ERR_NONE:
        return "none";
    case ERR_CLIENT:
        return "client";
    case ERR_PERM:
        return "perm";
    case ERR_TEMP:
        return "temp";
    case ERR_NOTFOUND:
        return "notfound";
    case ERR_EXISTS:
        return "exists";
    case ERR_LIMIT:
        return "limit";
    case ERR_AUTH:
        return "auth";
    case ERR_CONFIG:
        return "config";
    case ERR_BUG:
        return "bug";
    }
    return "unknown";
}

enum parse_rc
err_parse(struct err *e, const char *fmt, ...)
{
    char msg[ERR_MSG_OCTETS];
    va_list ap;

    if (e == NULL)
        return PARSE_BAD;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    err_fill(e, ERR_CLIENT, 0, msg);
    return PARSE_BAD;
}
