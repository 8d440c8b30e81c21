/* imapd/fail.c - what an error of the store is to the client: a code of RFC 5530 §3, and words that say nothing of paths. The
 * rest is the operator's and goes into the log. */
#include "imapd/fail.h"

#include "base/log.h"
#include "base/utf8.h"

#include <errno.h>

/* Of what went wrong on our side. */
static struct imap_failure
trouble(const struct err *e)
{
    switch (e->sys) {
    case EUCLEAN:
        return (struct imap_failure){ "CORRUPTION", "Stored mail data is damaged", true };
    case EACCES:
    case EPERM:
    case EROFS:
        return (struct imap_failure){ "NOPERM", "Permission denied", true };
    case EBUSY:
        return (struct imap_failure){ "INUSE", "Somebody else is using it, try again later", true };
    case EDQUOT:
        return (struct imap_failure){ "OVERQUOTA", "Not enough disk quota", true };
    default:
        return (struct imap_failure){ e->kind == ERR_BUG ? "SERVERBUG" : "UNAVAILABLE",
                                      "Internal error occurred. Refer to server log for more "
                                      "information.",
                                      true };
    }
}

struct imap_failure
imap_failure_of(const struct err *e, bool saves, const char *code_notfound)
{
    switch (e->kind) {
    case ERR_PERM:
        if (e->sys == EUCLEAN)
            return trouble(e);
        return (struct imap_failure){ err_is_stale(e) ? "EXPUNGEISSUED" : "CANNOT", e->msg, false };
    case ERR_CLIENT:
        return (struct imap_failure){ "CANNOT", e->msg, false };
    case ERR_NOTFOUND:
        return (struct imap_failure){ code_notfound, NULL, false };
    case ERR_EXISTS:
        return (struct imap_failure){ "ALREADYEXISTS", "Mailbox already exists", false };
    case ERR_LIMIT:
        return (struct imap_failure){ saves && e->sys != E2BIG ? "OVERQUOTA" : "LIMIT", e->msg,
                                      false };
    default:
        return trouble(e);
    }
}

void
imap_fail(struct imap_cmd *c, const struct err *e, struct slice mailbox, const char *code_notfound)
{
    struct imap_failure f = imap_failure_of(e, (c->row->flags & IF_SAVES) != 0, code_notfound);
    struct buf wire = { 0 };

    if (f.is_operators)
        log_error(
            "imap.fail",
            LOG_F(LF_Z("user", c->s->user), LF_Z("sid", c->s->name), LF_Z("cmd", c->row->name)),
            "imap(%s)<%s>: Error: %s: %s", c->s->user, c->s->name,
            c->row->name ? c->row->name : "login", e->msg);
    if (f.text) {
        imap_reply(c, "NO [%s] %s", f.code, f.text);
        return;
    }
    utf8_to_mutf7(&wire, mailbox); /* text is ASCII: RFC 3501 §9 */
    imap_reply(c, "NO [%s] Mailbox doesn't exist: %s", f.code, buf_z(&wire));
    buf_free(&wire);
}
