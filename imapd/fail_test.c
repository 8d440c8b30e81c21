/* Which response code an error gives (RFC 5530 §3), and that nothing of ours is in the text. */
#include "base/test.h"
#include "imapd/fail.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>

TEST(every_code_has_its_error)
{
    static const struct {
        enum err_kind kind;
        int sys;
        bool saves;
        const char *code;
        bool is_operators;
    } rows[] = {
        { ERR_TEMP, 0, false, "UNAVAILABLE", true },
        { ERR_TEMP, ENOSPC, true, "UNAVAILABLE", true },
        { ERR_TEMP, EIO, false, "UNAVAILABLE", true },
        { ERR_TEMP, EACCES, false, "NOPERM", true },
        { ERR_TEMP, EROFS, false, "NOPERM", true },
        { ERR_TEMP, EBUSY, false, "INUSE", true },
        { ERR_TEMP, EDQUOT, true, "OVERQUOTA", true },
        { ERR_TEMP, EUCLEAN, false, "CORRUPTION", true },
        { ERR_PERM, EUCLEAN, false, "CORRUPTION", true },
        { ERR_PERM, ESTALE, true, "EXPUNGEISSUED", false },
        { ERR_PERM, 0, false, "CANNOT", false },
        { ERR_CLIENT, 0, false, "CANNOT", false },
        { ERR_LIMIT, 0, true, "OVERQUOTA", false },
        { ERR_LIMIT, E2BIG, true, "LIMIT", false },
        { ERR_LIMIT, 0, false, "LIMIT", false },
        { ERR_EXISTS, 0, false, "ALREADYEXISTS", false },
        { ERR_NOTFOUND, 0, true, "TRYCREATE", false },
        { ERR_BUG, 0, false, "SERVERBUG", true },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct err e = { .kind = rows[i].kind, .sys = rows[i].sys, .msg = "/srv/mail/x: secret" };
        struct imap_failure f = imap_failure_of(&e, rows[i].saves, "TRYCREATE");

        CHECK_EQ_STR(f.code, rows[i].code);
        CHECK_EQ_INT(f.is_operators, rows[i].is_operators);
        CHECK(!rows[i].is_operators || !strstr(f.text, "secret"));
    }
}
TEST_MAIN()
