/* auth/table_include_test.c - which files authd reads for who follows aliases. */
#include "auth/table_include.h"
#include "base/test.h"

#include "base/fs.h"
#include "base/log.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/postern-include-XXXXXX";

static void
put(const char *name, const char *text, mode_t mode)
{
    char path[256];
    struct err e;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (fs_replace_file(path, sl_z(text), mode, &e) < 0 || chmod(path, mode) != 0)
        FAIL("%s", name);
}

/* $D is the folder, ">" a tab. */
static void
expand(const char *in, struct buf *out)
{
    for (buf_reset(out); *in; in++) {
        if (in[0] == '$' && in[1] == 'D') {
            buf_addz(out, dir);
            in++;
        } else {
            buf_addc(out, *in == '>' ? '\t' : *in);
        }
    }
}

static const struct {
    const char *way, *want;
} rows[] = {
    { "list>$D/list", "a@x.test, b\n:include:$D/more\n\"|cmd a\"\n" },
    { "LIST>$D/list", "a@x.test, b\n:include:$D/more\n\"|cmd a\"\n" },
    { "my list>$D/list", "a@x.test, b\n:include:$D/more\n\"|cmd a\"\n" },
    { "list>$D/list>$D/more", "c\n" },
    { "list>$D/more", "-" }, /* not by this way */
    { "other>$D/list", "-" },
    { "absent>$D/list", "-" },
    { "list", "-" },
    { "list>/etc/passwd", "-" },
    { "none>$D/none", "temp unable to open :include: file $D/none: No such file or directory" },
    { "rel>list", "temp :include:list uses a relative path" },
    { "open>$D/open", "temp :include: file $D/open is world writable" },
    { "dir>$D", "temp :include: file $D is not a regular file" },
    { "loop>$D/loop>$D/loop>$D/loop", ":include:$D/loop\n" },
    { "loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/"
      "loop",
      "temp :include: files nested deeper than 10" },
};

TEST(only_what_an_alias_leads_to)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 }, way = { 0 }, want = { 0 }, got = { 0 };
    struct table_set *s;
    struct conf *c;
    struct err e = { 0 };

    NEED(mkdtemp(dir) != NULL);
    expand("list: x, :include:$D/list\n\"my list\": :include:$D/list\nother: "
           ":include:$D/more\nnone: :include:$D/none\n"
           "rel: :include:list\nopen: :include:$D/open\ndir: :include:$D\nloop: :include:$D/loop\n",
           &text);
    put("aliases", buf_z(&text), 0644);
    expand("# one\na@x.test, b\n\n   :include:$D/more  \n\"|cmd a\"", &text);
    put("list", buf_z(&text), 0644);
    put("more", "c\n", 0644);
    put("open", "c\n", 0666);
    expand(":include:$D/loop\n", &text);
    put("loop", buf_z(&text), 0644);
    expand("myhostname = mx.x.test\nalias_maps = hash:$D/aliases\n", &text);
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    NEED(c);
    s = table_set_new(c);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum table_rc rc;

        TEST_ROW("%s", rows[i].way);
        expand(rows[i].way, &way);
        expand(rows[i].want, &want);
        buf_reset(&got);
        rc = table_include(s, buf_slice(&way), &got, &e);
        if (rc == TABLE_TEMP)
            buf_addf(&got, "temp %s", e.msg);
        else if (rc == TABLE_NOTFOUND)
            buf_addz(&got, "-");
        CHECK_EQ_STR(buf_z(&got), buf_z(&want));
    }
    table_set_free(&s);
    conf_unref(&c);
    conf_problems_free(&ps);
    buf_free(&text);
    buf_free(&way);
    buf_free(&want);
    buf_free(&got);
    CHECK(fs_remove_tree(dir, &e) == 0);
}

TEST_MAIN()
