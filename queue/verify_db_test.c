/* queue/verify_db_test.c - verdicts are kept, replaced, forgotten and bounded. */
#include "queue/verify_db.h"

#include "base/fs.h"
#include "base/log.h"
#include "base/test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void
put(struct verify_db *d, const char *addr, enum verify_status status, int64_t updated_s,
    const char *text)
{
    struct verify_row row = { .status = status, .updated_s = updated_s };
    struct err e = { 0 };

    snprintf(row.text, sizeof row.text, "%s", text);
    CHECK_EQ_INT(verify_db_put(d, sl_z(addr), &row, &e), 0);
}

static int
has(struct verify_db *d, const char *addr)
{
    struct verify_row row;
    struct err e = { 0 };

    return verify_db_get(d, sl_z(addr), &row, &e);
}

TEST(kept_in_a_file)
{
    struct verify_db *d = NULL;
    struct verify_row row;
    struct err e = { 0 };
    char root[] = "/tmp/verify_db_test.XXXXXX", path[80];

    NEED(mkdtemp(root) != NULL);
    snprintf(path, sizeof path, "%s/verify.db", root);
    NEED(verify_db_open(path, &d, &e) == 0);
    CHECK_EQ_INT(has(d, "a@x"), 0);
    put(d, "a@x", VERIFY_OK, 100, "250 2.1.5 Ok");
    put(d, "a@x", VERIFY_BOUNCE, 200, "host x said: 550 no");
    put(d, "A@x", VERIFY_DEFER, 300, ""); /* a local part has its case */
    verify_db_close(&d);
    NEED(verify_db_open(path, &d, &e) == 0);
    CHECK_EQ_INT(verify_db_get(d, SL("a@x"), &row, &e), 1);
    CHECK_EQ_INT(row.status, VERIFY_BOUNCE);
    CHECK_EQ_INT(row.updated_s, 200);
    CHECK_EQ_STR(row.text, "host x said: 550 no");
    CHECK_EQ_INT(has(d, "A@x"), 1);
    CHECK_EQ_INT(verify_db_delete(d, SL("a@x"), &e), 0);
    CHECK_EQ_INT(has(d, "a@x"), 0);
    verify_db_close(&d);
    CHECK_EQ_INT(fs_remove_tree(root, &e), 0);
}

TEST(forgotten)
{
    static const struct {
        int64_t good_s, bad_s;
        uint64_t most, want;
        const char *left;
    } rows[] = {
        { INT64_MIN, INT64_MIN, 100, 0, "g1 g5 b1 b5" },
        { 2, INT64_MIN, 100, 1, "g5 b1 b5" },
        { INT64_MIN, 2, 100, 1, "g1 g5 b5" },
        { 6, 6, 100, 4, "" },
        { INT64_MIN, INT64_MIN, 2, 2, "g5 b5" },
        { 2, 2, 1, 3, "*" },
    };
    static const char *const all[] = { "g1", "g5", "b1", "b5" };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct verify_db *d = NULL;
        struct err e = { 0 };
        uint64_t n = 0, left = 0;

        TEST_ROW("%zu", i);
        NEED(verify_db_open(":memory:", &d, &e) == 0);
        put(d, "g1", VERIFY_OK, 1, "");
        put(d, "g5", VERIFY_OK, 5, "");
        put(d, "b1", VERIFY_BOUNCE, 1, "");
        put(d, "b5", VERIFY_DEFER, 5, "");
        CHECK_EQ_INT(verify_db_clean(d, rows[i].good_s, rows[i].bad_s, rows[i].most, &n, &e), 0);
        CHECK_EQ_INT(n, rows[i].want);
        for (size_t k = 0; k < 4; k++) {
            left += (uint64_t)has(d, all[k]);
            if (rows[i].left[0] != '*')
                CHECK_EQ_INT(has(d, all[k]), strstr(rows[i].left, all[k]) != NULL);
        }
        CHECK_EQ_INT(left, 4 - n);
        verify_db_close(&d);
    }
}

/* What many strangers ask about does not grow without end. */
TEST(bounded)
{
    struct verify_db *d = NULL;
    struct err e = { 0 };
    uint64_t n = 0;
    char addr[32];

    NEED(verify_db_open(":memory:", &d, &e) == 0);
    for (int i = 0; i < VERIFY_ROWS_MAX + 1500; i++) {
        snprintf(addr, sizeof addr, "u%d@x", i);
        put(d, addr, VERIFY_BOUNCE, i, "");
    }
    CHECK_EQ_INT(has(d, "u0@x"), 0);
    CHECK_EQ_INT(has(d, addr), 1);
    CHECK_EQ_INT(verify_db_clean(d, INT64_MIN, INT64_MIN, 0, &n, &e), 0);
    CHECK(n <= VERIFY_ROWS_MAX + 1000);
    verify_db_close(&d);
}

TEST(a_damaged_file_is_put_aside)
{
    struct verify_db *d = NULL;
    struct err e = { 0 };
    char root[] = "/tmp/verify_db_test.XXXXXX", path[80];
    int fd;

    NEED(mkdtemp(root) != NULL);
    snprintf(path, sizeof path, "%s/verify.db", root);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    for (int i = 0; i < 500; i++)
        CHECK(write(fd, "this is no database ", 20) == 20);
    close(fd);
    log_set_output(LOG_TO_FILE, "/dev/null", LOG_FMT_TEXT, LOG_LV_INFO);
    if (!CHECK_EQ_INT(verify_db_open(path, &d, &e), 0)) {
        printf("%s\n", e.msg);
        return;
    }
    put(d, "a@x", VERIFY_OK, 1, "");
    CHECK_EQ_INT(has(d, "a@x"), 1);
    verify_db_close(&d);
    CHECK_EQ_INT(fs_remove_tree(root, &e), 0);
}

TEST_MAIN()
