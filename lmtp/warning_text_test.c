/* lmtp/warning_text_test.c - templates and what becomes of them; what users were told, kept. */
#include "lmtp/warning_text.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"
#include "lmtp/told.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/postern-warning-XXXXXX";

static const char *
put(const char *text)
{
    static char path[128];
    struct err e;

    if (sl_has_suffix(sl_z(dir), SL("XXXXXX")) && mkdtemp(dir) == NULL)
        FAIL("mkdtemp");
    snprintf(path, sizeof path, "%s/t", dir);
    if (fs_replace_file(path, sl_z(text), 0600, &e) < 0)
        FAIL("%s", e.msg);
    return path;
}

static struct conf *
conf_of(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(lines), "main.cf", &ps);

    conf_problems_free(&ps);
    BUG_ON(c == NULL);
    return c;
}

TEST(templates)
{
    static const struct {
        const char *name, *text;
        bool is_good;
    } rows[] = {
        { "plain", "Subject: full\n\nYour mailbox is full.\n", true },
        { "names", "X-A: b\nSubject: $percent%\n folded\n\n$user ${used} of $limit, $free\n",
          true },
        { "CRLF", "Subject: a\r\n\r\nb\r\n", true },
        { "UTF-8", "Subject: a\n\nM\xc3\xbcll\n", true },
        { "empty", "", false },
        { "no Subject", "X-A: b\n\ntext\n", false },
        { "no header", "Your mailbox is full.\n", false },
        { "unknown name", "Subject: a\n\n$nobody\n", false },
        { "open brace", "Subject: a\n\n${user\n", false },
        { "Latin-1", "Subject: a\n\nM\xfcll\n", false },
    };
    struct err e = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        TEST_ROW("%s", rows[i].name);
        CHECK_EQ_INT(warning_template_check(put(rows[i].text), &e), rows[i].is_good ? 0 : -1);
    }
    CHECK_EQ_INT(warning_template_check("/nonexistent/template", &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CONFIG);
}

static bool
has(struct buf *b, const char *text)
{
    return strstr(buf_z(b), text) != NULL;
}

TEST(texts)
{
    struct warning_about w = {
        .user = SL("anna@example.com"),
        .usage = { .octets = 97 * 1024 * 1024, .messages = 19, .limit = { 100 * 1024 * 1024, 20 } }
    };
    struct conf *c = conf_of("myhostname = mx.example.com\n");
    struct buf text = { 0 }, lines = { 0 };

    warning_text(c, &w, &text);
    CHECK(has(&text, "Return-Path: <>\r\n"));
    CHECK(has(&text, "From: Mail Delivery System <postmaster@example.com>\r\n"));
    CHECK(has(&text, "To: anna@example.com\r\n"));
    CHECK(has(&text, "Subject: Your mailbox is 97% full\r\n\r\n"));
    CHECK(has(&text, "97.0 MB of 100 MB\r\n"));
    CHECK(has(&text, "charset=us-ascii"));
    w.is_messages = w.is_below = true;
    buf_reset(&text);
    warning_text(c, &w, &text);
    CHECK(has(&text, "Subject: There is room in your mailbox again\r\n"));
    CHECK(has(&text, "19 messages of 20 messages\r\nare in use (95%).\r\n"));
    conf_unref(&c);

    buf_addf(&lines, "postmaster_address = help@host.example\nquota_warning_template = %s\n",
             put("Subject: $user\n\nNoch $free, M\xc3\xbcll leeren! $postmaster $$\n"));
    c = conf_of(buf_z(&lines));
    w.is_messages = w.is_below = false;
    buf_reset(&text);
    warning_text(c, &w, &text);
    CHECK(has(&text, "Subject: anna@example.com\r\n\r\n"));
    CHECK(has(&text, "Noch 3.0 MB, M\xc3\xbcll leeren! help@host.example $\r\n"));
    CHECK(has(&text, "charset=utf-8\r\nContent-Transfer-Encoding: 8bit"));
    put("no template");
    buf_reset(&text);
    warning_text(c, &w, &text); /* it was good when main.cf was checked: then our own */
    CHECK(has(&text, "Subject: Your mailbox is 97% full\r\n"));
    conf_unref(&c);
    buf_free(&text);
    buf_free(&lines);
}

static void
count(void *arg, struct slice user, const struct told *t)
{
    (void)user;
    (void)t;
    ++*(int *)arg;
}

TEST(what_was_told)
{
    struct told t = { .marks = 5, .mark = 2, .ident = "quota.abc" }, got;
    struct buf lines = { 0 };
    struct db *db = NULL;
    struct conf *c;
    struct err e = { 0 };
    int n = 0;

    put("");
    buf_addf(&lines, "mail_location = maildir:%s/%%d/%%n\n", dir);
    c = conf_of(buf_z(&lines));
    NEED(told_open(c, &db, &e) == 0);
    CHECK_EQ_INT(told_load(db, SL("a@b"), &got, &e), 0);
    CHECK_EQ_INT(got.marks, 0);
    CHECK_EQ_INT(told_save(db, SL("a@b"), &t, &e), 0);
    db_close(&db);
    NEED(told_open(c, &db, &e) == 0);
    CHECK_EQ_INT(told_load(db, SL("a@b"), &got, &e), 0);
    CHECK_EQ_INT(got.marks, 5);
    CHECK_EQ_INT(got.mark, 2);
    CHECK_EQ_STR(got.ident, "quota.abc");
    CHECK_EQ_INT(told_each(db, count, &n, &e), 0);
    CHECK_EQ_INT(n, 1);
    CHECK_EQ_INT(told_save(db, SL("a@b"), &(struct told){ .mark = -1 }, &e), 0);
    CHECK_EQ_INT(told_each(db, count, &n, &e), 0);
    CHECK_EQ_INT(n, 1); /* nothing is kept of who has been told nothing */
    db_close(&db);
    conf_unref(&c);
    c = conf_of("mail_location = maildir:%h/Maildir\n");
    CHECK_EQ_INT(told_open(c, &db, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CONFIG);
    conf_unref(&c);
    buf_free(&lines);
    if (fs_remove_tree(dir, &e) < 0)
        FAIL("%s", e.msg);
}

TEST_MAIN()
