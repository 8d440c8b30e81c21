#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"
#include "conf/users_list.h"

#include <stdlib.h>
#include <unistd.h>

TEST(rows)
{
    static const struct {
        const char *items[4];
        const char *user;
        enum users_list_rc want;
    } rows[] = {
        { { "static:anyone" }, "alice", USERS_YES },
        { { "!mallory", "static:all" }, "mallory", USERS_NO },
        { { "!mallory", "static:all" }, "alice", USERS_YES },
        { { "root", "alice" }, "alice", USERS_YES },
        { { "root", "alice" }, "bob", USERS_NO },
        { { NULL }, "root", USERS_NO },
        { { "root", "hash:/x", "bob" }, "bob", USERS_ASK },
        { { "bob", "hash:/x" }, "bob", USERS_YES },
        { { "/tmp/no/such/file", "static:all" }, "bob", USERS_NO },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf_list l = { .v = rows[i].items };
        struct slice table;
        struct err e = { 0 };
        size_t at = 0;

        while (l.n < 4 && rows[i].items[l.n])
            l.n++;
        TEST_ROW("%zu", i);
        CHECK_EQ_INT(users_list_match(l, rows[i].user, &at, &table, &e), rows[i].want);
    }
}

TEST(goes_on_behind_a_table)
{
    const char *items[] = { "!hash:/x", "bob" };
    struct conf_list l = { .v = items, .n = 2 };
    struct slice table;
    struct err e = { 0 };
    size_t at = 0;

    CHECK_EQ_INT(users_list_match(l, "bob", &at, &table, &e), USERS_ASK);
    CHECK(sl_eqz(table, "hash:/x"));
    CHECK(!users_list_found(l, at));
    CHECK_EQ_INT(users_list_match(l, "bob", &at, &table, &e), USERS_YES);
}

TEST(file)
{
    char path[] = "/tmp/users-XXXXXX";
    int fd = mkstemp(path);
    const char *items[] = { path };
    struct conf_list l = { .v = items, .n = 1 };
    struct slice table;
    struct err e = { 0 };
    size_t at = 0;

    NEED(fd >= 0);
    CHECK_EQ_INT(fs_write_all(fd, SL("# comment bob\nroot, alice\n!eve\n"), &e), 0);
    CHECK_EQ_INT(users_list_match(l, "alice", &at, &table, &e), USERS_YES);
    at = 0;
    CHECK_EQ_INT(users_list_match(l, "bob", &at, &table, &e), USERS_NO);
    at = 0;
    CHECK_EQ_INT(users_list_match(l, "eve", &at, &table, &e), USERS_NO);
    close(fd);
    unlink(path);
}

TEST_MAIN()
