/* cli/check_pop3.c - POP3's formats, and what its parameters say together. */
#include "cli/check_int.h"

#include "base/slice.h"
#include "pop3d/formats.h"

#include <string.h>

static void
problem(const struct conf *c, struct conf_problems *ps, const char *param, const char *value,
        const char *text)
{
    conf_problem_add(ps, true, conf_file_of(c), conf_line_of(c, param), "%s: \"%s\": %s", param,
                     value, text);
}

/* An atom (RFC 3501): with another, no message could be marked. Empty: none. */
static bool
is_keyword(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f ||
            strchr("(){%*\"\\]", s.p[i]))
            return false;
    return true;
}

void
check_pop3(const struct conf *c, struct conf_problems *ps)
{
    const char *fault = pop3_uidl_format_fault(c->pop3_uidl_format);
    uint32_t days;

    if (fault)
        problem(c, ps, "pop3_uidl_format", c->pop3_uidl_format, fault);
    fault = pop3_logout_format_fault(c->pop3_logout_format);
    if (fault)
        problem(c, ps, "pop3_logout_format", c->pop3_logout_format, fault);
    if (sl_ieqz(SL("flag"), c->pop3_delete_type) && c->pop3_deleted_flag[0] == '\0')
        problem(c, ps, "pop3_delete_type", c->pop3_delete_type,
                "pop3_deleted_flag does not say which");
    if (c->pop3_deleted_flag[0] == '\\')
        problem(c, ps, "pop3_deleted_flag", c->pop3_deleted_flag,
                "a keyword, such as $POP3Deleted, not one of IMAP's own flags");
    else if (!is_keyword(sl_z(c->pop3_deleted_flag)))
        problem(c, ps, "pop3_deleted_flag", c->pop3_deleted_flag,
                "a keyword, such as $POP3Deleted, has no blanks and none of ( ) { % * \" \\ ]");
    if (c->pop3_expire[0] != '\0' && !sl_eqz(SL("NEVER"), c->pop3_expire) &&
        !sl_to_u32(sl_z(c->pop3_expire), &days))
        problem(c, ps, "pop3_expire", c->pop3_expire, "NEVER, or a number of days");
}
