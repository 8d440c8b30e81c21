/* base/err.h - what went wrong, as a kind that only the protocol edge turns into a reply.
 * Functions return 0, or -1 with *e filled. e may be NULL where the caller does not care. Layer: base. */
#ifndef POSTERN_BASE_ERR_H
#define POSTERN_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

enum err_kind {
    ERR_NONE,
    ERR_CLIENT,   /* bad syntax or order: 50x, BAD, -ERR */
    ERR_PERM,     /* refused for good: 550, NO, -ERR */
    ERR_TEMP,     /* try again: 451, NO [UNAVAILABLE], -ERR [SYS/TEMP]; see err_is_full */
    ERR_NOTFOUND, /* no such mailbox, message, user: NO [NONEXISTENT] */
    ERR_EXISTS,   /* NO [ALREADYEXISTS] */
    ERR_LIMIT,    /* quota or a configured bound: NO [OVERQUOTA] / [LIMIT] */
    ERR_AUTH,     /* wrong credentials or not allowed: 535, NO [AUTHENTICATIONFAILED] */
    ERR_CONFIG,   /* the operator's: exit 78 */
    ERR_BUG       /* cannot happen; logged, answered as TEMP */
};

enum { ERR_MSG_OCTETS = 256 };

struct err {
    enum err_kind kind;
    int sys; /* errno, or 0 */
    char msg[ERR_MSG_OCTETS];
};

/* Fill and return -1, so that a caller can `return err_set(e, ...)`. Control octets in the message become
 * '?', so a message may quote the wire and still go into a reply. Arguments may point into e->msg. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same with errno's number in sys and ": strerror" appended; kind ERR_TEMP. Preserves errno. */
int err_sys(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Put words in front: "while ...: old message". Returns -1. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* sys is ENOSPC or EDQUOT: 452 4.3.1 rather than 451. (db/ sets ENOSPC for SQLite's full.) */
bool err_is_full(const struct err *e);
/* sys is ESTALE: something that was there has gone meanwhile, as messages that another session expunged. */
bool err_is_stale(const struct err *e);
/* The same as err_set() with ERR_PERM, and stale. */
int err_stale(struct err *e, const char *msg);
const char *err_kind_name(enum err_kind kind);

/* Parsers: OK took it, BAD filled e (kind ERR_CLIENT), MORE: only framers say so. */
enum parse_rc { PARSE_OK, PARSE_BAD, PARSE_MORE };
enum parse_rc err_parse(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
