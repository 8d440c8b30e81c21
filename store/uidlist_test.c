/* store/uidlist_test.c - dovecot-uidlist as real ones are, and damaged. */
#include "store/uidlist.h"

#include "base/fs.h"
#include "base/test.h"

#include <stdlib.h>
#include <unistd.h>

/* Feed text line by line, as a file is. "": the first line was not understood. Else what was read, in one line:
 * "V N guid|base=uid ...|uid:letters ...|bad". */
static void
read_text(const char *text, struct buf *out)
{
    struct uidlist l = { 0 };
    struct slice s = sl_z(text), line, base_name;
    struct err why = { 0 };
    void *value;

    while (sl_take_until(&s, '\n', &line))
        if (uidlist_take(&l, line, &why)) {
            CHECK_EQ_INT(why.kind, ERR_PERM);
            uidlist_free(&l);
            return;
        }
    buf_addf(out, "%u %u %s|", l.uidvalidity, l.uidnext, l.guid);
    for (uint32_t uid = 1; uid <= l.last; uid++)
        for (size_t it = 0; map_next(l.uids, &it, &base_name, &value);)
            if ((uintptr_t)value == uid)
                buf_addf(out, "%.*s=%u ", SL_ARG(base_name), uid);
    buf_addz(out, "|");
    for (size_t i = 0; i < l.n; i++) {
        const struct uidlist_extra *x = &l.v[i];

        buf_addf(out, "%u:", x->uid);
        if (x->guid)
            buf_addf(out, "G%s,", x->guid);
        if (x->uidl)
            buf_addf(out, "P%s,", x->uidl);
        if (x->order != UINT32_MAX)
            buf_addf(out, "O%u,", x->order);
        if (x->size >= 0)
            buf_addf(out, "S%lld,", (long long)x->size);
        if (x->crlf >= 0)
            buf_addf(out, "W%lld,", (long long)x->crlf);
    }
    buf_addf(out, "|%zu", l.n_bad);
    uidlist_free(&l);
}

TEST(reads_lists)
{
#define V3 "3 V9 N5 G0123456789abcdef0123456789abcdef\n"
#define H3 "9 5 0123456789abcdef0123456789abcdef|"
    static const struct {
        const char *name, *text, *want;
    } rows[] = {
        { "plain", V3 "1 :a.M1.h,S=3,W=4\n4 :b\n", H3 "a.M1.h,S=3,W=4=1 b=4 ||0" },
        { "all letters", V3 "2 Gg1 Pp/1 O7 S10 W12 :x\n", H3 "x=2 |2:Gg1,Pp/1,O7,S10,W12,|0" },
        { "unknown letters", V3 "2 Zz q1 W5 :x\n", H3 "x=2 |2:W5,|0" },
        { "a colon in a value", V3 "2 Pa:b Gc:d :x\n", H3 "x=2 |2:Gc:d,Pa:b,|0" },
        { "many spaces", V3 "2  W5   :x\n", H3 "x=2 |2:W5,|0" },
        { "a base name with a space", V3 "2 :x y\n", H3 "x y=2 ||0" },
        { "flags are cut off", V3 "2 :x:2,FS\n", H3 "x=2 ||0" },
        { "N behind the lines", "3 V9 N1\n3 :x\n", "9 4 |x=3 ||0" },
        { "header in any order", "3 N5 V9 Xq\n", "9 5 |||0" },
        { "guid in capitals", "3 V9 N5 G0123456789ABCDEF0123456789ABCDEF\n", H3 "||0" },
        { "a guid that is none", "3 V9 N5 G12\n1 :x\n", "9 5 |x=1 ||0" },
        { "the same file again", V3 "1 Pold :x\n2 :y\n3 :x\n", H3 "y=2 x=3 |1:Pold,|0" },
        { "UIDs out of order", V3 "3 :x\n2 :y\n3 :z\n4 :v\n", H3 "x=3 v=4 ||2" },
        { "no base name", V3 "1\n2 \n3 W5\n4 :\n5 :x\n",
          "9 6 0123456789abcdef0123456789abcdef|x=5 ||4" },
        { "no number", V3 "x :y\n-1 :y\n1x :y\n:y\n\n 2 :y\n", H3 "||6" },
        { "numbers too large", V3 "4294967295 :x\n99999999999 :y\n0 :z\n", H3 "||3" },
        { "UIDs that would be the last", V3 "4278190080 :x\n4294967294 :z\n", H3 "||2" },
        { "UIDNEXT at its end", "3 V9 N4294967295\n", "" },
        { "UIDVALIDITY at its end", "3 V4294967295 N1\n", "" },
        { "version 1 at its end", "1 9 4294967295\n", "" },
        { "a path", V3 "1 :../x\n", H3 "||1" },
        { "values that are none", V3 "1 Wx S-1 O0 G :x\n", H3 "x=1 |1:|0" },
        { "no UIDL is the base name", V3 "1 P W5 :x,S=3:2,S\n2 P :a b\n",
          H3 "x,S=3=1 a b=2 |1:Px,S=3,W5,2:|0" },
        { "values with 8-bit and control octets", V3 "1 P\xc3\xa4 Ga\x01 :x\n", H3 "x=1 ||0" },
        { "version 1", "1 9 5\n1 a:2,S\n4 b\n", "9 5 |a=1 b=4 ||0" },
        { "version 1, UIDNEXT behind", "1 9 2\n4 b\n", "9 5 |b=4 ||0" },
        { "version 2", "2 9 5\n1 a\n", "" },
        { "UIDVALIDITY 0", "3 V0 N5\n", "" },
        { "no V", "3 N5\n1 :a\n", "" },
        { "no N", "3 V9\n1 :a\n", "" },
        { "no numbers", "3 Vx Ny\n", "" },
        { "nothing", "\n", "" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf got = { 0 };

        TEST_ROW("%s", rows[i].name);
        read_text(rows[i].text, &got);
        CHECK_EQ_STR(buf_z(&got), rows[i].want);
        buf_free(&got);
    }
}

TEST(lines_come_back)
{
    static const char *const lines[] = {
        "1 :a.M1.h,S=3,W=4\n",
        "2 Pp/1 O7 Gg1 S10 W12 :x\n",
        "9 P00000001000000ff :b\n",
        "10 W5 :c\n",
    };

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct slice line = sl_head(sl_z(lines[i]), strlen(lines[i]) - 1), file;
        struct uidlist_extra x = { .order = UINT32_MAX, .size = -1, .crlf = -1 };
        struct uidlist l = { 0 };
        struct buf out = { 0 };

        TEST_ROW("%s", lines[i]);
        file = sl_from(line, sl_find(line, SL(" :")) + 2);
        CHECK_EQ_INT(uidlist_take(&l, SL("3 V9 N5"), NULL), 0);
        CHECK_EQ_INT(uidlist_take(&l, line, NULL), 0);
        if (l.n > 0)
            x = l.v[0];
        x.uid = l.last;
        uidlist_add_line(&out, file, &x);
        CHECK_EQ_STR(buf_z(&out), lines[i]);
        buf_free(&out);
        uidlist_free(&l);
    }
}

TEST(a_list_of_100000_lines)
{
    struct buf text = { 0 };
    struct uidlist l;
    char path[64] = "/tmp/uidlist-XXXXXX", name[96];

    NEED(mkdtemp(path) != NULL);
    buf_addz(&text, "3 V9 N100001 G0123456789abcdef0123456789abcdef\n");
    for (unsigned i = 1; i <= 100000; i++)
        buf_addf(&text, "%u W%u :1600000000.M%uP1.host,S=%u\n", i, i + 9, i, i);
    buf_addz(&text, "100001 :not whole yet");
    snprintf(name, sizeof name, "%s/dovecot-uidlist", path);
    CHECK_EQ_INT(fs_replace_file(name, buf_slice(&text), 0600, NULL), 0);
    CHECK_EQ_INT(uidlist_read(path, &l, NULL), 0);
    CHECK_EQ_INT(map_count(l.uids), 100000);
    CHECK_EQ_INT(l.n, 100000);
    CHECK_EQ_INT(l.uidnext, 100001);
    CHECK_EQ_INT(l.n_bad, 0);
    CHECK_EQ_INT((uintptr_t)map_get(l.uids, SL("1600000000.M77777P1.host,S=77777")), 77777);
    uidlist_free(&l);
    buf_free(&text);
    fs_remove_tree(path, NULL);
}

/* A line without end is passed over and does not fill memory. */
TEST(an_endless_line)
{
    struct buf text = { 0 };
    struct uidlist l;
    char path[64] = "/tmp/uidlist-XXXXXX", name[96];

    NEED(mkdtemp(path) != NULL);
    buf_addz(&text, "3 V9 N5\n1 :a\n2 ");
    for (unsigned i = 0; i < 100000; i++)
        buf_addz(&text, "xxxxxxxxxx");
    buf_addz(&text, " :b\n3 :c\n");
    snprintf(name, sizeof name, "%s/dovecot-uidlist", path);
    CHECK_EQ_INT(fs_replace_file(name, buf_slice(&text), 0600, NULL), 0);
    CHECK_EQ_INT(uidlist_read(path, &l, NULL), 0);
    CHECK_EQ_INT(map_count(l.uids), 2);
    CHECK_EQ_INT(l.n_bad, 1);
    CHECK_EQ_INT((uintptr_t)map_get(l.uids, SL("c")), 3);
    uidlist_free(&l);
    buf_free(&text);
    fs_remove_tree(path, NULL);
}

TEST_MAIN()
