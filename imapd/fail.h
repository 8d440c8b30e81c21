/* imapd/fail.h - errors as response codes (RFC 5530 §3). Folder-private; imap_fail() is in cmd.h. */
#ifndef POSTERN_IMAPD_FAIL_H
#define POSTERN_IMAPD_FAIL_H

#include "imapd/cmd.h"

struct imap_failure {
    const char *code;
    const char *text;  /* e's, or static; NULL: that the mailbox does not exist */
    bool is_operators; /* the message goes into the log, and not to the client */
};
/* saves: what is too much for the command is so for the quota. */
struct imap_failure imap_failure_of(const struct err *e, bool saves, const char *code_notfound);

#endif
