/* pop3d/formats.h - pop3_uidl_format and pop3_logout_format: their variables, and what is wrong with them. `postern check`
 * asks, too. Layer: pop3d. */
#ifndef POSTERN_POP3D_FORMATS_H
#define POSTERN_POP3D_FORMATS_H

#include "base/percent.h"

enum { POP3_UIDL_VALIDITY, POP3_UIDL_UID, POP3_UIDL_FILE, POP3_UIDL_GUID, POP3_UIDL_VARS };
extern const struct percent_var pop3_uidl_vars[POP3_UIDL_VARS];

enum {
    POP3_LOG_TOP_OCTETS,
    POP3_LOG_TOPS,
    POP3_LOG_RETR_OCTETS,
    POP3_LOG_RETRS,
    POP3_LOG_DELETED,
    POP3_LOG_MESSAGES,
    POP3_LOG_OCTETS,
    POP3_LOG_INPUT,
    POP3_LOG_OUTPUT,
    POP3_LOG_UIDL_CHANGE,
    POP3_LOG_DELETED_OCTETS,
    POP3_LOG_USER,
    POP3_LOG_SESSION,
    POP3_LOG_REMOTE,
    POP3_LOG_VARS
};
extern const struct percent_var pop3_log_vars[POP3_LOG_VARS];

/* NULL: good. Else what is wrong, in words that stay. */
const char *pop3_uidl_format_fault(const char *format);
const char *pop3_logout_format_fault(const char *format);

#endif
