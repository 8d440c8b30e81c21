/* pop3d/formats.c - see formats.h. Names and letters are Dovecot's. */
#include "pop3d/formats.h"

const struct percent_var pop3_uidl_vars[POP3_UIDL_VARS] = {
    [POP3_UIDL_VALIDITY] = { 'v', "uidvalidity" },
    [POP3_UIDL_UID] = { 'u', "uid" },
    [POP3_UIDL_FILE] = { 'f', "filename" },
    [POP3_UIDL_GUID] = { 'g', "guid" },
};

const struct percent_var pop3_log_vars[POP3_LOG_VARS] = {
    [POP3_LOG_TOP_OCTETS] = { 'p', "top_bytes" },
    [POP3_LOG_TOPS] = { 't', "top_count" },
    [POP3_LOG_RETR_OCTETS] = { 'b', "retr_bytes" },
    [POP3_LOG_RETRS] = { 'r', "retr_count" },
    [POP3_LOG_DELETED] = { 'd', "deleted_count" },
    [POP3_LOG_MESSAGES] = { 'm', "message_count" },
    [POP3_LOG_OCTETS] = { 's', "message_bytes" },
    [POP3_LOG_INPUT] = { 'i', "input" },
    [POP3_LOG_OUTPUT] = { 'o', "output" },
    [POP3_LOG_UIDL_CHANGE] = { 'u', "uidl_change" },
    [POP3_LOG_DELETED_OCTETS] = { '\0', "deleted_bytes" },
    [POP3_LOG_USER] = { '\0', "user" },
    [POP3_LOG_SESSION] = { '\0', "session" },
    [POP3_LOG_REMOTE] = { '\0', "rip" },
};

const char *
pop3_uidl_format_fault(const char *format)
{
    static const struct percent_var md5[] = { { 'm', "md5" } };
    struct slice f = sl_z(format);
    const char *fault;

    if (percent_has(f, md5, 1, 0))
        return "%m, which Dovecot has for mbox alone";
    fault = percent_check(f, pop3_uidl_vars, POP3_UIDL_VARS);
    if (fault)
        return fault;
    for (size_t i = 0; i < POP3_UIDL_VARS; i++)
        if (percent_has(f, pop3_uidl_vars, POP3_UIDL_VARS, i) && i != POP3_UIDL_VALIDITY)
            return NULL;
    return "nothing in it that tells messages apart";
}

const char *
pop3_logout_format_fault(const char *format)
{
    return percent_check(sl_z(format), pop3_log_vars, POP3_LOG_VARS);
}
