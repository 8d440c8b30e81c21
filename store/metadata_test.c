/* store/metadata_test.c - annotations: what may be set, what outlives what, and the special use among them. */
#include "store/store_test.h"

#include "store/metadata.h"

static const struct store_meta_limits limits = { 4, 100 };

static int
set(const char *mailbox, const char *name, const char *value)
{
    struct store_meta_entry x = { sl_z(name), sl_z(value) };

    return store_meta_change(us, sl_z(mailbox), &x, 1, &limits, &e);
}

/* The value of an entry; "-" when there is none. Static storage. */
static const char *
get(const char *mailbox, const char *name)
{
    static char text[300];
    struct store_meta m;
    const struct store_meta_entry *x;

    snprintf(text, sizeof text, "-");
    if (store_meta_read(us, sl_z(mailbox), &m, &e))
        snprintf(text, sizeof text, "%s", e.msg);
    else if ((x = store_meta_find(&m, sl_z(name))) != NULL)
        snprintf(text, sizeof text, "%.*s", SL_ARG(x->value));
    store_meta_free(&m);
    return text;
}

static unsigned
attrs_of(const char *name)
{
    struct store_mailboxes all;
    unsigned attrs = 0;

    if (store_list(us, &all, &e))
        FAIL("%s", e.msg);
    for (size_t i = 0; i < all.n; i++)
        if (strcmp(all.v[i].name, name) == 0)
            attrs = all.v[i].attrs;
    store_mailboxes_free(&all);
    return attrs;
}

static void
remove_index(void)
{
    static const char *const files[] = { INDEX_FILE, INDEX_FILE "-wal", INDEX_FILE "-shm" };
    char path[300];

    close_store();
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        snprintf(path, sizeof path, "%s/%s", root, files[i]);
        unlink(path);
    }
    open_store();
}

TEST(names_of_entries)
{
    static const struct {
        const char *name;
        bool is_tree;
        const char *want; /* NULL: refused */
    } cases[] = {
        { "/private/Comment", false, "/private/comment" },
        { "/SHARED/vendor/x/y", false, "/shared/vendor/x/y" },
        { "/private", true, "/private" },
        { "/private", false, NULL },
        { "/private/", true, NULL },
        { "/private/", false, NULL },
        { "/privately/x", false, NULL },
        { "private/x", false, NULL },
        { "/internal/urlauth", false, NULL },
        { "", false, NULL },
        { "/", true, NULL },
        { "/shared//x", false, NULL },
        { "/shared/x*", false, NULL },
        { "/shared/%", false, NULL },
        { "/shared/\xc3\xa4", false, NULL },
        { "/shared/a\nb", false, NULL },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char name[40];
        int rc;

        snprintf(name, sizeof name, "%s", cases[i].name);
        rc = store_meta_name(name, strlen(name), cases[i].is_tree, &e);
        CHECK_EQ_INT(rc, cases[i].want ? 0 : -1);
        if (rc == 0)
            CHECK_EQ_STR(name, cases[i].want);
    }
}

TEST(annotations_are_kept)
{
    struct store_meta_entry two[] = { { SL("/private/a"), SL("1") },
                                      { SL("/shared/b"), SL("2\n3 x") } };

    setup();
    open_store();
    CHECK_EQ_INT(store_create(us, SL("Box"), 0, &e), 0);
    CHECK_EQ_STR(get("Box", "/private/a"), "-");
    CHECK_EQ_INT(store_meta_change(us, SL("Box"), two, 2, &limits, &e), 0);
    CHECK_EQ_INT(set("INBOX", "/private/a", "in"), 0);
    CHECK_EQ_INT(set("", "/private/a", "acc"), 0);
    CHECK_EQ_STR(get("Box", "/private/a"), "1");
    CHECK_EQ_STR(get("Box", "/shared/b"), "2\n3 x");
    CHECK_EQ_STR(get("INBOX", "/private/a"), "in");
    CHECK_EQ_STR(get("", "/private/a"), "acc");
    CHECK_EQ_INT(set("Box", "/private/a", ""), 0); /* empty is a value */
    CHECK_EQ_STR(get("Box", "/private/a"), "");
    CHECK_EQ_INT(set("Box", "/private/a", NULL), 0);
    CHECK_EQ_STR(get("Box", "/private/a"), "-");
    remove_index();
    CHECK_EQ_STR(get("Box", "/shared/b"), "2\n3 x");
    CHECK_EQ_INT(store_create(us, SL("Box.low"), 0, &e), 0);
    CHECK_EQ_INT(set("Box.low", "/private/c", "low"), 0);
    CHECK_EQ_INT(store_rename(us, SL("Box"), SL("Bux"), &e), 0);
    CHECK_EQ_STR(get("Bux", "/shared/b"), "2\n3 x");
    CHECK_EQ_STR(get("Bux.low", "/private/c"), "low");
    CHECK_EQ_STR(get("Box", "/shared/b"), "Mailbox doesn't exist: Box");
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_delete(us, SL("Bux"), &e), 0);
    CHECK_EQ_INT(store_create(us, SL("Bux"), 0, &e), 0);
    CHECK_EQ_STR(get("Bux", "/shared/b"), "-");
    CHECK_EQ_INT(set("nowhere", "/private/a", "x"), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    teardown();
}

TEST(annotations_have_limits)
{
    struct store_meta_entry five[5],
        more[] = { { SL("/private/n0"), { NULL, 0 } }, { SL("/private/n9"), SL("9") } };
    char names[5][16], longest[120];

    setup();
    open_store();
    for (size_t i = 0; i < 5; i++) {
        snprintf(names[i], sizeof names[i], "/private/n%zu", i);
        five[i] = (struct store_meta_entry){ sl_z(names[i]), SL("v") };
    }
    CHECK_EQ_INT(store_meta_change(us, SL("INBOX"), five, 5, &limits, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(e.sys, ENOSPC);
    CHECK_EQ_STR(get("INBOX", "/private/n0"), "-"); /* none of them */
    CHECK_EQ_INT(store_meta_change(us, SL("INBOX"), five, 4, &limits, &e), 0);
    CHECK_EQ_INT(set("INBOX", "/private/n9", "9"), -1);
    CHECK_EQ_INT(set("INBOX", "/private/n3", "w"), 0); /* in place of another */
    CHECK_EQ_INT(store_meta_change(us, SL("INBOX"), more, 2, &limits, &e), 0);
    CHECK_EQ_STR(get("INBOX", "/private/n0"), "-");
    CHECK_EQ_STR(get("INBOX", "/private/n9"), "9");
    memset(longest, 'x', sizeof longest);
    five[0].value = sl_n(longest, 100);
    CHECK_EQ_INT(store_meta_change(us, SL("INBOX"), five + 1, 1, &limits, &e), 0);
    five[1].value = sl_n(longest, 101);
    CHECK_EQ_INT(store_meta_change(us, SL("INBOX"), five, 2, &limits, &e), -1);
    CHECK_EQ_INT(e.sys, EMSGSIZE);
    teardown();
}

TEST(special_use_is_an_annotation)
{
    setup();
    open_store();
    CHECK_EQ_STR(get("Sent", "/private/specialuse"), "\\Sent"); /* by auto_mailboxes */
    CHECK_EQ_INT(store_create(us, SL("Alt"), STORE_MB_USE_ARCHIVE | STORE_MB_USE_JUNK, &e), 0);
    CHECK_EQ_STR(get("Alt", "/private/specialuse"), "\\Archive \\Junk");
    CHECK_EQ_INT(store_create(us, SL("All"), STORE_MB_USE_ALL, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CLIENT);
    CHECK_EQ_STR(get("All", "/private/specialuse"), "Mailbox doesn't exist: All");
    remove_index();
    CHECK(attrs_of("Alt") == (STORE_MB_USE_ARCHIVE | STORE_MB_USE_JUNK));
    CHECK_EQ_INT(append("Alt", "Subject: a\r\n\r\nb\r\n", 0, NULL), 1); /* it has a row now */
    CHECK(attrs_of("Alt") == (STORE_MB_USE_ARCHIVE | STORE_MB_USE_JUNK));
    CHECK_EQ_INT(set("Alt", "/private/specialuse", "\\Drafts"), 0);
    CHECK(attrs_of("Alt") == STORE_MB_USE_DRAFTS);
    CHECK_EQ_INT(set("Alt", "/private/specialuse", "\\Nonsense"), -1);
    CHECK_EQ_INT(e.kind, ERR_CLIENT);
    CHECK_EQ_INT(set("Alt", "/private/specialuse", "Drafts"), -1);
    CHECK_EQ_INT(set("Alt", "/private/specialuse", "\\Flagged"), -1);
    CHECK(attrs_of("Alt") == STORE_MB_USE_DRAFTS);
    CHECK_EQ_INT(set("Alt", "/private/specialuse", NULL), 0);
    CHECK(attrs_of("Alt") == 0);
    CHECK_EQ_INT(set("Sent", "/private/specialuse", "\\Trash"), 0);
    CHECK((attrs_of("Sent") & ~(unsigned)STORE_MB_SUBSCRIBED) == STORE_MB_USE_TRASH);
    teardown();
}

TEST(secrets_are_not_seen)
{
    char one[STORE_META_SECRET_OCTETS + 1], two[STORE_META_SECRET_OCTETS + 1];
    struct store_meta m;

    setup();
    open_store();
    CHECK_EQ_INT(store_meta_secret(us, SL("INBOX"), false, one, &e), 0);
    CHECK_EQ_INT(strlen(one), STORE_META_SECRET_OCTETS);
    remove_index();
    CHECK_EQ_INT(store_meta_secret(us, SL("INBOX"), false, two, &e), 0);
    CHECK_EQ_STR(one, two);
    CHECK_EQ_INT(store_meta_read(us, SL("INBOX"), &m, &e), 0);
    CHECK_EQ_INT(m.n, 0);
    store_meta_free(&m);
    CHECK_EQ_INT(set("INBOX", "/private/a", "x"), 0);
    CHECK_EQ_INT(store_meta_secret(us, SL("INBOX"), false, two, &e), 0);
    CHECK_EQ_STR(one, two);
    CHECK_EQ_INT(store_meta_secret(us, SL("INBOX"), true, two, &e), 0);
    CHECK(strcmp(one, two) != 0);
    CHECK_EQ_INT(store_meta_secret(us, SL("INBOX"), false, one, &e), 0);
    CHECK_EQ_STR(one, two);
    CHECK_EQ_INT(store_meta_secret(us, SL("gone"), false, one, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    teardown();
}

/* Whoever asks for a key that is not there makes neither it nor the Maildir it would be in. */
TEST(a_key_is_looked_for_without_a_trace)
{
    char one[STORE_META_SECRET_OCTETS + 1], two[STORE_META_SECRET_OCTETS + 1], where[400];
    struct store_userdb db = { 0 };

    setup();
    open_store();
    snprintf(where, sizeof where, "maildir:%s-stranger", root);
    db.mail = sl_z(where);
    for (int i = 0; i < 2; i++) {
        const char *box = i == 0 ? "INBOX" : "Sent.a";

        CHECK_EQ_INT(
            store_meta_strangers_secret(st, SL("eve@example.org"), &db, sl_z(box), one, &e), -1);
        CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
        CHECK_EQ_INT(access(where + strlen("maildir:"), F_OK), -1);
    }
    CHECK_EQ_INT(store_meta_known_secret(us, SL("INBOX"), one, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_meta_known_secret(us, SL("../INBOX"), one, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CLIENT);
    CHECK_EQ_INT(store_meta_secret(us, SL("INBOX"), false, one, &e), 0);
    CHECK_EQ_INT(store_meta_known_secret(us, SL("INBOX"), two, &e), 0);
    CHECK_EQ_STR(one, two);
    teardown();
}

/* What is not ours is not written over, and not taken for "no annotations". */
TEST(a_damaged_file_is_told)
{
    static const char *const bad[] = { "postern-metadata 1\n5 /private/a\nabc\n",
                                       "postern-metadata 1\n3 /private/a", "something\n",
                                       "postern-metadata 1\n99999999999999999999 /a\nx\n" };
    char path[300];
    struct store_meta m;

    setup();
    open_store();
    snprintf(path, sizeof path, "%s/postern-metadata", root);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK_EQ_INT(fs_replace_file(path, sl_z(bad[i]), 0600, &e), 0);
        CHECK_EQ_INT(store_meta_read(us, SL("INBOX"), &m, &e), -1);
        store_meta_free(&m);
        CHECK_EQ_INT(e.kind, ERR_TEMP);
        CHECK_EQ_INT(set("INBOX", "/private/a", "x"), -1);
    }
    teardown();
}

int
main(int argc, char **argv)
{
    int rc;

    loop_init();
    rc = test_main(argc, argv);
    loop_free();
    return rc;
}
