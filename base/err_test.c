#include "base/err.h"

#include "base/test.h"

#include <errno.h>

TEST(fills)
{
    struct err e = { 0 };

    CHECK_EQ_INT(err_set(&e, ERR_PERM, "no %s %d", "such", 7), -1);
    CHECK_EQ_INT(e.kind, ERR_PERM);
    CHECK_EQ_INT(e.sys, 0);
    CHECK_EQ_STR(e.msg, "no such 7");
    CHECK_EQ_INT(err_prefix(&e, "while %s", "testing"), -1);
    CHECK_EQ_STR(e.msg, "while testing: no such 7");
    CHECK_EQ_INT(e.kind, ERR_PERM);
    CHECK_EQ_INT(err_set(&e, ERR_TEMP, "<%s>", e.msg), -1);
    CHECK_EQ_STR(e.msg, "<while testing: no such 7>");
    CHECK_EQ_INT(err_parse(&e, "bad %c", 'x'), PARSE_BAD);
    CHECK_EQ_INT(e.kind, ERR_CLIENT);
    CHECK_EQ_STR(e.msg, "bad x");
}

TEST(sys_keeps_errno)
{
    struct err e = { 0 };

    errno = ENOSPC;
    CHECK_EQ_INT(err_sys(&e, "cannot write %s", "x"), -1);
    CHECK_EQ_INT(errno, ENOSPC);
    CHECK_EQ_INT(e.kind, ERR_TEMP);
    CHECK_EQ_STR(e.msg, "cannot write x: No space left on device");
    CHECK(err_is_full(&e));
    err_prefix(&e, "queue");
    CHECK(err_is_full(&e));
    errno = EACCES;
    err_sys(&e, "open");
    CHECK(!err_is_full(&e));
}

TEST(takes_null)
{
    CHECK_EQ_INT(err_set(NULL, ERR_PERM, "x"), -1);
    CHECK_EQ_INT(err_sys(NULL, "x"), -1);
    CHECK_EQ_INT(err_prefix(NULL, "x"), -1);
    CHECK_EQ_INT(err_parse(NULL, "x"), PARSE_BAD);
}

/* A message may quote the wire and still go into a reply. */
TEST(control_octets_become_question_marks)
{
    struct err e = { 0 };

    err_parse(&e, "bad \"%s\"", "a\r\n250 ok\t\x7f\x1b");
    CHECK_EQ_STR(e.msg, "bad \"a??250 ok???\"");
}

TEST(long_messages_are_cut)
{
    struct err e = { 0 };

    err_set(&e, ERR_PERM, "%0400d", 0);
    CHECK_EQ_INT(strlen(e.msg), ERR_MSG_OCTETS - 1);
    err_prefix(&e, "%0400d", 0);
    CHECK_EQ_INT(strlen(e.msg), ERR_MSG_OCTETS - 1);
    errno = EIO;
    err_sys(&e, "%0400d", 0);
    CHECK_EQ_INT(strlen(e.msg), ERR_MSG_OCTETS - 1);
}

TEST(kinds_have_names)
{
    for (int k = ERR_NONE; k <= ERR_BUG; k++)
        CHECK(strcmp(err_kind_name((enum err_kind)k), "unknown") != 0);
    CHECK_EQ_STR(err_kind_name((enum err_kind)99), "unknown");
}

TEST_MAIN()
