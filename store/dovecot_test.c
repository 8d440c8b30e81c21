/* store/dovecot_test.c - from a Dovecot, to it, and back again; with files as it writes them. */
#include "store/maintain.h"
#include "store/pop3.h"

#include "store/store_test.h"

static void
put(const char *name, const char *text)
{
    foreign("", name, text);
}

static char *
get(const char *name)
{
    char path[400];
    struct buf text = { 0 };

    snprintf(path, sizeof path, "%s/%s", root, name);
    if (fs_read_file(path, &text, NULL))
        buf_addz(&text, "(absent)");
    buf_z(&text);
    return text.p;
}

static uint32_t
uid_at(const struct store_view *v, uint32_t seq)
{
    struct store_row r = { 0 };

    store_view_row(v, seq, &r);
    return r.uid;
}

static uint64_t
size_at(struct store_view *v, uint32_t seq)
{
    struct store_msg m;
    uint64_t n = 0;

    if (store_fetch(v, seq, STORE_GET_SIZE, &m, &e) == 0) {
        n = m.size_octets;
        store_msg_free(&m);
    }
    return n;
}

/* Three messages of Dovecot's, with all that it can say of them. */
static void
make_old(void)
{
    foreign_mkdirs("");
    foreign("cur", "1.a:2,S", "Subject: a\n\nx\n");
    foreign("cur", "2.b:2,ac", "Subject: b\n\nx\n");
    foreign("cur", "3.c,S=14,W=17:2,", "Subject: c\n\nx\n");
    put("dovecot-uidlist",
        "3 V1234 N9 G0123456789abcdef0123456789abcdef\n"
        "2 Pone O2 Gg-a W17 :1.a\n4 :2.b\n5 Pgone :9.z\n7 Pthree O1 :3.c,S=14,W=17\n");
    put("dovecot-keywords", "0 $Forwarded\n");
    put("dovecot-uidvalidity", "000004d9");
}

static void
add_ids(void *arg, const struct store_pop3_row *r)
{
    buf_addf(arg, "%u:%.*s:%u:%.*s:%.*s ", r->uid, SL_ARG(r->uidl.p ? r->uidl : SL("-")), r->order,
             SL_ARG(r->guid.p ? r->guid : SL("-")), SL_ARG(r->file));
}

TEST(what_dovecot_says_is_kept)
{
    struct store_view *v;
    struct store_box b;
    struct buf ids = { 0 };
    char *text;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK_EQ_INT(b.uidvalidity, 1234);
    CHECK_EQ_INT(b.uidnext, 9);
    CHECK(b.highestmodseq > 1000000000);
    NEED(exists(v) == 3);
    CHECK_EQ_INT(uid_at(v, 1), 2);
    CHECK_EQ_INT(uid_at(v, 2), 4);
    CHECK_EQ_INT(uid_at(v, 3), 7);
    CHECK_EQ_INT(size_at(v, 1), 17);
    CHECK_EQ_STR(store_view_keyword(v, 0), "$Forwarded");
    CHECK_EQ_STR(store_view_keyword(v, 2), "unknown-2"); /* a letter without a name */
    CHECK_EQ_INT(store_pop3_rows(v, 1, UINT32_MAX, 0, add_ids, &ids, &e), 0);
    CHECK_EQ_STR(buf_z(&ids), "2:one:2:g-a:1.a 4:-:4294967295:-:2.b 7:three:1:-:3.c,S=14,W=17 ");
    buf_reset(&ids);
    CHECK_EQ_INT(store_pop3_rows(v, 3, UINT32_MAX, 1, add_ids, &ids, &e), 0);
    CHECK_EQ_STR(buf_z(&ids), "4:-:4294967295:-:2.b ");
    buf_reset(&ids);
    CHECK_EQ_INT(store_pop3_rows(v, 2, 6, 0, add_ids, &ids, &e), 0);
    CHECK_EQ_STR(buf_z(&ids), "2:one:2:g-a:1.a 4:-:4294967295:-:2.b ");
    buf_free(&ids);
    store_unselect(&v);
    text = get("dovecot-uidlist"); /* untouched */
    CHECK(strstr(text, "Pgone") != NULL);
    free(text);
    text = get("postern-uidvalidity");
    CHECK_EQ_STR(text, "1 1241 imported\n"); /* 0x4d9, the highest of all */
    free(text);
    teardown();
}

static void
export_now(struct store_exported *x)
{
    if (store_export_dovecot(us, NULL, NULL, x, &e))
        FAIL("export: %s", e.msg);
}

TEST(an_export_says_the_same)
{
    struct store_exported x;
    struct store_view *v;
    char *text;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    CHECK_EQ_INT(append("INBOX", "Subject: d\r\n\r\nx\r\n", 0, "late"), 9);
    store_unselect(&v);
    put("dovecot.index.log", "old");
    put("dovecot.list.index", "old");
    put("dovecot-acl", "user=x l\n");
    export_now(&x);
    CHECK_EQ_INT(x.messages, 4);
    CHECK_EQ_INT(x.indexes, 2);
    text = get("dovecot-uidlist");
    CHECK(sl_has_prefix(sl_z(text), SL("3 V1234 N10 G0123456789abcdef0123456789abcdef\n"
                                       "2 Pone O2 Gg-a S14 W17 :1.a\n4 S14 :2.b\n"
                                       "7 Pthree O1 :3.c,S=14,W=17\n9 :")));
    free(text);
    text = get("dovecot-keywords");
    CHECK_EQ_STR(text, "0 $Forwarded\n1 unknown-1\n2 unknown-2\n3 late\n");
    free(text);
    text = get("dovecot-acl");
    CHECK_EQ_STR(text, "user=x l\n");
    free(text);
    text = get("postern-uidvalidity");
    CHECK(strstr(text, "exported") != NULL);
    free(text);
    text = get("dovecot.index.log");
    CHECK_EQ_STR(text, "(absent)");
    free(text);
    teardown();
}

/* As a Dovecot does it: one more message, one less, one that it saw vanish and come back. */
TEST(coming_back)
{
    struct store_exported x;
    struct store_imported in;
    struct store_view *v;
    char *text;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    export_now(&x);
    close_store();

    foreign("cur", "4.d:2,b", "Subject: d\n\nx\n");
    put("dovecot-uidlist", "3 V1234 N9 G0123456789abcdef0123456789abcdef\n"
                           "2 Pone O2 Gg-a W17 :1.a\n9 :2.b\n10 Pfour :4.d\n");
    put("dovecot-keywords", "0 $Forwarded\n1 theirs\n");
    CHECK(name_with("cur", "3.c")[0] != '\0');
    {
        char path[600];

        snprintf(path, sizeof path, "%s/cur/%s", root, name_with("cur", "3.c"));
        CHECK_EQ_INT(unlink(path), 0);
    }
    open_store();
    v = sel("INBOX");
    NEED(exists(v) == 3);
    CHECK_EQ_INT(uid_at(v, 1), 2);
    CHECK_EQ_INT(uid_at(v, 2), 9);
    CHECK_EQ_INT(uid_at(v, 3), 10);
    {
        struct store_box b;
        struct buf ids = { 0 };

        store_view_box(v, &b);
        CHECK_EQ_INT(b.uidvalidity, 1234);
        CHECK_EQ_INT(b.uidnext, 11);
        CHECK_EQ_INT(store_pop3_rows(v, 2, UINT32_MAX, 0, add_ids, &ids, &e), 0);
        CHECK(sl_find(buf_slice(&ids), SL(":four:")) != SL_NPOS);
        buf_free(&ids);
    }
    store_unselect(&v);
    /* Nothing new: nothing is read again, and forth again. */
    CHECK_EQ_INT(store_import_dovecot(st, SL("bob@example.org"), NULL, false, NULL, &in, &e), 0);
    CHECK_EQ_INT(in.mailboxes, 0);
    CHECK_EQ_INT(append("INBOX", "Subject: e\r\n\r\nx\r\n", 0, NULL), 11);
    export_now(&x);
    text = get("dovecot-uidlist");
    CHECK(strncmp(text, "3 V1234 N12 ", 12) == 0);
    free(text);
    teardown();
}

TEST(both_have_assigned_uids)
{
    struct store_exported x;
    struct store_view *v;
    struct store_box b;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    export_now(&x);
    CHECK_EQ_INT(append("INBOX", "Subject: ours\r\n\r\nx\r\n", 0, NULL), 9);
    close_store();
    foreign("cur", "4.d:2,", "Subject: theirs\n\nx\n");
    put("dovecot-uidlist", "3 V1234 N10 G0123456789abcdef0123456789abcdef\n"
                           "2 :1.a\n4 :2.b\n7 :3.c,S=14,W=17\n9 :4.d\n");
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK(b.uidvalidity > 1241); /* UID 9 was two messages */
    CHECK_EQ_INT(b.exists, 5);
    store_unselect(&v);
    teardown();
}

TEST(dovecots_new_and_renamed_mailboxes)
{
    struct store_exported x;
    struct store_view *v;
    struct store_box b;
    char from[300], to[300];

    setup();
    make_old();
    open_store();
    CHECK_EQ_INT(store_create(us, SL("Old"), 0, &e), 0);
    CHECK_EQ_INT(append("Old", "Subject: o\r\n\r\nx\r\n", 0, NULL), 1);
    CHECK_EQ_INT(append("Old", "Subject: o\r\n\r\nx\r\n", 0, NULL), 2);
    v = sel("Old");
    CHECK_EQ_INT(store_flags(v, 1, 1, STORE_ADD, STORE_DELETED, 0, false), 0);
    CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
    store_view_box(v, &b);
    store_unselect(&v);
    export_now(&x);
    close_store();
    snprintf(from, sizeof from, "%s/.Old", root);
    snprintf(to, sizeof to, "%s/.Moved", root);
    CHECK_EQ_INT(rename(from, to), 0);
    {
        char *was = get(".Moved/dovecot-uidlist"), more[2000];

        snprintf(more, sizeof more, "%s5 :7.n\n", was);
        put(".Moved/dovecot-uidlist", more);
        foreign(".Moved/cur", "7.n:2,", "Subject: n\n\nx\n");
        free(was);
    }
    foreign_mkdirs(".Made");
    foreign(".Made/cur", "8.m:2,", "Subject: n\n\nx\n");
    put(".Made/dovecot-uidlist", "3 V4000000000 N8 G1123456789abcdef0123456789abcdef\n3 :8.m\n");
    open_store();
    v = sel("Moved");
    CHECK_EQ_INT(exists(v), 2);
    CHECK_EQ_INT(uid_at(v, 1), 2);
    CHECK_EQ_INT(uid_at(v, 2), 5);
    {
        struct store_box now;

        store_view_box(v, &now);
        CHECK_EQ_INT(now.uidvalidity, b.uidvalidity);
    }
    store_unselect(&v);
    v = sel("Made");
    store_view_box(v, &b);
    CHECK_EQ_INT(b.uidvalidity, 4000000000);
    CHECK_EQ_INT(uid_at(v, 1), 3);
    store_unselect(&v);
    teardown();
}

/* Names and UIDVALIDITYs are in no order: both are Dovecot's own, and what its clients know. */
TEST(dovecots_new_mailboxes_in_any_order)
{
    struct store_exported x;
    struct store_view *v;
    struct store_box b;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    export_now(&x);
    close_store();
    for (int i = 0; i < 4; i++) {
        char name[60], text[100];

        snprintf(name, sizeof name, ".New%d", i);
        foreign_mkdirs(name);
        snprintf(name, sizeof name, ".New%d/cur", i);
        foreign(name, "8.m:2,", "Subject: n\n\nx\n");
        snprintf(name, sizeof name, ".New%d/dovecot-uidlist", i);
        snprintf(text, sizeof text, "3 V%u N8 G1123456789abcdef0123456789abcde%d\n3 :8.m\n",
                 4000000000U + (i == 1   ? 9
                                : i == 3 ? 7
                                         : (unsigned)i),
                 i);
        put(name, text);
    }
    open_store();
    for (int i = 0; i < 4; i++) {
        char name[20];

        snprintf(name, sizeof name, "New%d", i);
        v = sel(name);
        store_view_box(v, &b);
        CHECK_EQ_INT(b.uidvalidity, 4000000000U + (i == 1 ? 9 : i == 3 ? 7 : (unsigned)i));
        CHECK_EQ_INT(uid_at(v, 1), 3);
        store_unselect(&v);
    }
    teardown();
}

/* An old export lies there still: its UIDVALIDITY does not come back, whatever Dovecot does to its list. */
TEST(rebuilt_after_an_export)
{
    static const char list[] = "3 V1234 N9 G0123456789abcdef0123456789abcdef\n"
                               "2 Pone O2 Gg-a W17 :1.a\n4 :2.b\n7 Pthree O1 :3.c,S=14,W=17\n";
    struct store_exported x;
    struct store_rebuilt anew;
    struct store_view *v;
    struct store_box b;
    uint32_t uidvalidity;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    export_now(&x);
    CHECK_EQ_INT(append("INBOX", "Subject: ours\r\n\r\nx\r\n", 0, NULL), 9);
    close_store();
    open_store();
    CHECK_EQ_INT(store_rebuild(st, SL("bob@example.org"), NULL, NULL, &anew, &e), 0);
    v = sel("INBOX");
    store_view_box(v, &b);
    uidvalidity = b.uidvalidity;
    CHECK(uidvalidity > 1241);
    store_unselect(&v);
    for (int i = 0; i < 3; i++) {
        close_store();
        if (i > 0)
            put("dovecot-uidlist", list);
        open_store();
        v = sel("INBOX");
        store_view_box(v, &b);
        CHECK_EQ_INT(b.uidvalidity, uidvalidity);
        CHECK_EQ_INT(b.exists, 4);
        store_unselect(&v);
    }
    teardown();
}

/* What Postern assigned after coming back is not in the export: a Dovecot that is started without another one is met. */
TEST(gone_again_without_an_export)
{
    static const char list[] = "3 V1234 N%d G0123456789abcdef0123456789abcdef\n"
                               "2 :1.a\n4 :2.b\n7 :3.c,S=14,W=17\n%s";
    struct store_exported x;
    struct store_view *v;
    struct store_box b;
    char text[300];

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    export_now(&x);
    CHECK_EQ_INT(append("INBOX", "Subject: ours\r\n\r\nx\r\n", 0, NULL), 9);
    close_store();
    snprintf(text, sizeof text, list, 9, "");
    put("dovecot-uidlist", text);
    open_store();
    v = sel("INBOX");
    CHECK_EQ_INT(uid_at(v, 4), 9);
    store_unselect(&v);
    close_store();
    foreign("cur", "4.d:2,", "Subject: theirs\n\nx\n");
    snprintf(text, sizeof text, list, 10, "9 :4.d\n");
    put("dovecot-uidlist", text);
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK(b.uidvalidity > 1241); /* UID 9 was two messages */
    CHECK_EQ_INT(b.exists, 5);
    store_unselect(&v);
    teardown();
}

/* An export that was stopped, or is under way while somebody logs in: the lists of mailboxes that it has not come to are
 * those that were taken over at first, and no news. */
TEST(an_export_that_stopped)
{
    struct uidvalidity at;
    struct store_view *v;
    struct store_box b;

    setup();
    make_old();
    open_store();
    CHECK_EQ_INT(append("INBOX", "Subject: ours\r\n\r\nx\r\n", 0, NULL), 9);
    close_store();
    NEED(uidvalidity_read(root, &at, &e) == 0);
    at.is_exported = true;
    NEED(uidvalidity_write(root, &at, &e) == 0);
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK_EQ_INT(b.uidvalidity, 1234);
    CHECK_EQ_INT(uid_at(v, 4), 9);
    store_unselect(&v);
    close_store();
    /* A Dovecot that came then is seen, all the same. */
    foreign("cur", "4.d:2,", "Subject: theirs\n\nx\n");
    put("dovecot-uidlist", "3 V1234 N10 G0123456789abcdef0123456789abcdef\n"
                           "2 :1.a\n4 :2.b\n7 :3.c,S=14,W=17\n9 :4.d\n");
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK(b.uidvalidity > 1241);
    store_unselect(&v);
    teardown();
}

/* The index is lost after an export: what was assigned since is not known, so the list is not believed. */
TEST(an_index_lost_after_an_export)
{
    struct store_exported x;
    struct store_view *v;
    struct store_box b;
    char path[300];

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    export_now(&x);
    close_store();
    snprintf(path, sizeof path, "%s/" INDEX_FILE, root);
    CHECK_EQ_INT(unlink(path), 0);
    open_store();
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK(b.uidvalidity > 1241);
    CHECK_EQ_INT(b.exists, 3);
    store_unselect(&v);
    teardown();
}

TEST(copies_elsewhere)
{
    struct store_exported x;
    struct store_view *v;
    char to[200], *text;

    setup();
    make_old();
    open_store();
    v = sel("INBOX");
    store_unselect(&v);
    CHECK_EQ_INT(store_subscribe(us, SL("Sent"), true, &e), 0);
    put("dovecot.index", "old");
    snprintf(to, sizeof to, "%s/out", root);
    CHECK_EQ_INT(store_export_dovecot(us, to, NULL, &x, &e), 0);
    text = get("out/.INBOX/dovecot-uidlist");
    CHECK(strncmp(text, "3 V1234 N9 ", 11) == 0);
    free(text);
    text = get("out/subscriptions");
    CHECK(strstr(text, "Sent") != NULL);
    free(text);
    text = get("dovecot.index");
    CHECK_EQ_STR(text, "old");
    free(text);
    text = get("dovecot-uidlist");
    CHECK(strstr(text, "Pgone") != NULL);
    free(text);
    text = get("postern-uidvalidity");
    CHECK(strstr(text, "imported") != NULL);
    free(text);
    teardown();
}

static void
keep_note(void *arg, struct slice mailbox, const char *text)
{
    snprintf(arg, 300, "%.*s: %s", SL_ARG(mailbox), text);
}

/* A Maildir has 26 letters: the others stay behind, and that is said. */
TEST(more_keywords_than_letters)
{
    char said[300] = "", word[20], *text;
    struct store_teller t = { .note = keep_note, .arg = said };
    struct store_exported x;
    struct store_view *v;

    setup();
    open_store();
    CHECK_EQ_INT(append("INBOX", "Subject: k\r\n\r\nx\r\n", 0, NULL), 1);
    v = sel("INBOX");
    for (int i = 0; i < 28; i++) {
        snprintf(word, sizeof word, "kw%d", i);
        CHECK_EQ_INT(store_keyword(v, sl_z(word), true, &e), i);
    }
    CHECK_EQ_INT(store_flags(v, 1, 1, STORE_ADD, 0, UINT64_C(1) << 27 | 1, false), 0);
    store_unselect(&v);
    CHECK_EQ_INT(store_export_dovecot(us, NULL, &t, &x, &e), 0);
    CHECK_EQ_INT(x.lost_keywords, 2);
    CHECK_EQ_STR(said, "INBOX: 2 keywords beyond the 26 that a Maildir can hold stay behind (on 1 "
                       "messages), the first of them kw26");
    text = get("dovecot-keywords");
    CHECK(strstr(text, "25 kw25\n") != NULL && strstr(text, "kw26") == NULL);
    free(text);
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
