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
    { "secret>$D/secret", "s\n" },
    { "link>$D/link",
      "temp :include: file $D/link is not readable for all, and behind a symbolic link" },
    { "pub>$D/pub", "c\n" },
    { "mine>$D/mine>$D/secret", "s\n" },
    { "loop>$D/loop>$D/loop>$D/loop", ":include:$D/loop\n" },
    { "loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/loop>$D/"
      "loop",
      "temp :include: files nested deeper than 10" },
};

/* The list is a user's; only root can make it one. */
static const struct {
    const char *way, *want;
} rows_of_users[] = {
    { "users>$D/users",
      ":include:$D/secret, :include:$D/more, :include:$D/own, :include:$D/list\n" },
    { "users>$D/users>$D/secret",
      "temp :include: file $D/secret is not readable for all, and a list of uid 12345 names it" },
    { "users>$D/users>$D/more", "c\n" },
    { "users>$D/users>$D/own", "o\n" },
    { "users>$D/users>$D/list>$D/more", "c\n" },
};

static void
check_row(struct table_set *s, const char *way_of, const char *want_of)
{
    struct buf way = { 0 }, want = { 0 }, got = { 0 };
    struct err e = { 0 };
    enum table_rc rc;

    TEST_ROW("%s", way_of);
    expand(way_of, &way);
    expand(want_of, &want);
    rc = table_include(s, buf_slice(&way), &got, &e);
    if (rc == TABLE_TEMP)
        buf_addf(&got, "temp %s", e.msg);
    else if (rc == TABLE_NOTFOUND)
        buf_addz(&got, "-");
    CHECK_EQ_STR(buf_z(&got), buf_z(&want));
    buf_free(&way);
    buf_free(&want);
    buf_free(&got);
}

static void
give(const char *name)
{
    char path[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (chown(path, 12345, 12345) != 0)
        FAIL("%s", name);
}

static void
put_link(const char *name, const char *to)
{
    char path[256], there[256];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(there, sizeof there, "%s/%s", dir, to);
    if (symlink(there, path) != 0)
        FAIL("%s", name);
}

TEST(only_what_an_alias_leads_to)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct table_set *s;
    struct conf *c;
    struct err e = { 0 };

    NEED(mkdtemp(dir) != NULL);
    expand("list: x, :include:$D/list\n\"my list\": :include:$D/list\nother: "
           ":include:$D/more\nnone: :include:$D/none\n"
           "rel: :include:list\nopen: :include:$D/open\ndir: :include:$D\nloop: :include:$D/loop\n"
           "secret: :include:$D/secret\nlink: :include:$D/link\npub: :include:$D/pub\nmine: "
           ":include:$D/mine\n"
           "users: :include:$D/users\n",
           &text);
    put("aliases", buf_z(&text), 0644);
    expand("# one\na@x.test, b\n\n   :include:$D/more  \n\"|cmd a\"", &text);
    put("list", buf_z(&text), 0644);
    put("more", "c\n", 0644);
    put("open", "c\n", 0666);
    put("secret", "s\n", 0600);
    put_link("link", "secret");
    put_link("pub", "more");
    expand(":include:$D/secret", &text);
    put("mine", buf_z(&text), 0640);
    expand(rows_of_users[0].want, &text);
    put("users", buf_z(&text), 0644);
    put("own", "o\n", 0600);
    expand(":include:$D/loop\n", &text);
    put("loop", buf_z(&text), 0644);
    expand("myhostname = mx.x.test\nalias_maps = hash:$D/aliases\n", &text);
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    NEED(c);
    s = table_set_new(c);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_row(s, rows[i].way, rows[i].want);
    if (geteuid() == 0) {
        give("users");
        give("own");
        for (size_t i = 0; i < sizeof rows_of_users / sizeof *rows_of_users; i++)
            check_row(s, rows_of_users[i].way, rows_of_users[i].want);
    }
    table_set_free(&s);
    conf_unref(&c);
    conf_problems_free(&ps);
    buf_free(&text);
    CHECK(fs_remove_tree(dir, &e) == 0);
}

TEST_MAIN()
