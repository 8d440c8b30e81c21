/* store/store_test.c - mailboxes on a folder of their own: selecting, changing, copying, watching. */
#include "store/store_test.h"

#include "mime/mime.h"

TEST(a_new_user_has_the_folders_of_the_guide)
{
    struct store_mailboxes l;

    setup();
    open_store();
    CHECK_EQ_INT(store_list(us, &l, &e), 0);
    NEED(l.n == 5);
    CHECK_EQ_STR(l.v[0].name, "INBOX");
    CHECK_EQ_STR(l.v[1].name, "Drafts");
    CHECK_EQ_INT(l.v[1].attrs, STORE_MB_SUBSCRIBED | STORE_MB_USE_DRAFTS);
    CHECK_EQ_STR(l.v[4].name, "Trash");
    store_mailboxes_free(&l);
    teardown();
}

TEST(append_and_fetch)
{
    struct store_view *v;
    struct store_file *f;
    struct store_msg m;
    struct store_box b;
    uint32_t uid;

    setup();
    open_store();
    uid = append("INBOX", "From: a@b\r\nSubject: hi\r\n\r\nbody\r\n", STORE_SEEN, "$Label");
    CHECK_EQ_INT(uid, 1);
    v = sel("inbox");
    NEED(v != NULL);
    store_view_box(v, &b);
    CHECK_EQ_INT(b.exists, 1);
    CHECK_EQ_INT(b.recent, 1);
    CHECK_EQ_INT(b.uidnext, 2);
    CHECK_EQ_INT(flags_of(v, 1), STORE_SEEN | STORE_RECENT);
    CHECK_EQ_STR(store_view_keyword(v, 0), "$Label");
    CHECK(store_view_keyword(v, 1) == NULL);
    CHECK_EQ_INT(
        store_fetch(v, 1,
                    STORE_GET_SIZE | STORE_GET_DATE | STORE_GET_ENVELOPE | STORE_GET_BODYSTRUCTURE,
                    &m, &e),
        0);
    CHECK_EQ_INT(m.size_octets, 32);
    CHECK_EQ_INT(m.internaldate_unix_s, 1700000000);
    CHECK_EQ_INT(m.tz_minutes, 60);
    CHECK(sl_find(m.envelope, SL("\"hi\"")) != SL_NPOS);
    CHECK(sl_find(m.bodystructure, SL("\"text\" \"plain\"")) != SL_NPOS ||
          sl_ifind(m.bodystructure, SL("TEXT")) != SL_NPOS);
    store_msg_free(&m);
    CHECK_EQ_INT(store_file_open(v, 1, &f, &e), 0);
    CHECK_EQ_MEM(store_file_octets(f).p, store_file_octets(f).n,
                 "From: a@b\r\nSubject: hi\r\n\r\nbody\r\n", 32);
    store_file_close(&f);
    CHECK(strstr(name_with("cur", ",S=28,W=32"), ":2,Sa") != NULL);
    CHECK_EQ_INT(store_fetch(v, 2, STORE_GET_SIZE, &m, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    store_unselect(&v);

    /* the second session gets no \Recent, and ENVELOPE from the index */
    v = sel("INBOX");
    CHECK_EQ_INT(flags_of(v, 1), STORE_SEEN);
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_ENVELOPE, &m, &e), 0);
    CHECK(sl_find(m.envelope, SL("\"hi\"")) != SL_NPOS);
    store_msg_free(&m);
    store_unselect(&v);
    teardown();
}

TEST(append_to_a_mailbox_that_is_not_there)
{
    setup();
    open_store();
    CHECK_EQ_INT(append("Nowhere", "x\r\n", 0, NULL), 0);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    teardown();
}

TEST(two_views_hear_each_other)
{
    struct store_view *a, *b;
    struct store_changes c;
    struct store_uids u = { 0 };

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    append("INBOX", "two\r\n", 0, NULL);
    append("INBOX", "three\r\n", 0, NULL);
    a = sel("INBOX");
    b = sel("INBOX");
    NEED(a && b);
    CHECK_EQ_INT(store_flags(a, 2, 2, STORE_ADD, STORE_FLAGGED, 0, true), 0);
    CHECK_EQ_INT(store_view_sync(a, true, &c, &e), 0);
    CHECK_EQ_INT(c.n_changed, 0); /* silent */
    CHECK_EQ_INT(flags_of(a, 2) & STORE_FLAGGED, STORE_FLAGGED);
    store_changes_free(&c);
    CHECK_EQ_INT(store_view_sync(b, true, &c, &e), 0);
    NEED(c.n_changed == 1);
    CHECK_EQ_INT(c.changed[0], 2);
    CHECK_EQ_INT(flags_of(b, 2), STORE_FLAGGED);
    store_changes_free(&c);

    /* expunge 1 and 3 in a; b may not be told yet */
    store_flags(a, 1, 1, STORE_ADD, STORE_DELETED, 0, false);
    store_flags(a, 3, 3, STORE_ADD, STORE_DELETED, 0, false);
    store_uids_add(&u, 1, 1);
    CHECK_EQ_INT(store_expunge(a, &u, &e), 0);
    CHECK_EQ_INT(store_expunge(a, NULL, &e), 0);
    CHECK_EQ_INT(store_view_sync(b, false, &c, &e), 0);
    CHECK_EQ_INT(c.n_expunged, 0);
    store_changes_free(&c);
    CHECK_EQ_INT(exists(b), 3);
    struct store_msg m;
    CHECK_EQ_INT(store_fetch(b, 1, STORE_GET_SIZE, &m, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_view_sync(b, true, &c, &e), 0);
    NEED(c.n_expunged == 2);
    CHECK_EQ_INT(c.expunged[0], 3);
    CHECK_EQ_INT(c.expunged[1], 1);
    CHECK_EQ_INT(c.vanished[0], 3);
    store_changes_free(&c);
    CHECK_EQ_INT(exists(b), 1);
    CHECK_EQ_INT(store_view_seq(b, 2), 1);
    CHECK_EQ_INT(count_files("cur"), 1);

    /* and a new one */
    append("INBOX", "four\r\n", 0, NULL);
    CHECK_EQ_INT(store_view_sync(b, true, &c, &e), 0);
    CHECK(c.exists_changed);
    CHECK_EQ_INT(exists(b), 2);
    CHECK_EQ_INT(store_view_seq(b, 4), 2);
    store_changes_free(&c);
    store_uids_free(&u);
    store_unselect(&a);
    store_unselect(&b);
    teardown();
}

TEST(a_sleeping_view_wakes_as_it_was)
{
    struct store_view *v, *w;
    struct store_changes c;
    struct store_box b;
    struct store_uids u = { 0 };

    setup();
    open_store();
    for (int i = 0; i < 5; i++)
        append("INBOX", "x\r\n", i == 0 ? STORE_SEEN : 0, NULL);
    v = sel("INBOX");
    w = sel("INBOX");
    store_view_sleep(v);
    store_view_sleep(v);
    store_view_box(v, &b);
    CHECK_EQ_INT(b.exists, 5);
    CHECK_EQ_INT(b.first_unseen_seq, 2);
    CHECK_EQ_INT(store_view_wake(v, &e), 0);
    CHECK_EQ_INT(exists(v), 5);
    CHECK_EQ_INT(flags_of(v, 1), STORE_SEEN | STORE_RECENT);
    store_view_sleep(v);
    store_flags(w, 2, 3, STORE_ADD, STORE_DELETED, 0, false);
    store_flags(w, 4, 4, STORE_ADD, STORE_FLAGGED, 0, false);
    store_uids_add(&u, 2, 2);
    CHECK_EQ_INT(store_expunge(w, &u, &e), 0);
    append("INBOX", "y\r\n", 0, NULL);
    /* awake it is as it was told: five messages */
    CHECK_EQ_INT(store_view_wake(v, &e), 0);
    CHECK_EQ_INT(exists(v), 5);
    CHECK_EQ_INT(store_view_seq(v, 2), 2);
    store_view_sleep(v);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    NEED(c.n_expunged == 1 && c.n_changed == 2);
    CHECK_EQ_INT(c.expunged[0], 2);
    CHECK_EQ_INT(c.changed[0], 2);
    CHECK_EQ_INT(c.changed[1], 3);
    CHECK(c.exists_changed);
    CHECK_EQ_INT(exists(v), 5);
    CHECK_EQ_INT(flags_of(v, 3), STORE_FLAGGED | STORE_RECENT);
    store_changes_free(&c);
    /* deleted meanwhile */
    store_unselect(&v);
    store_create(us, SL("gone"), 0, &e);
    append("gone", "x\r\n", 0, NULL);
    v = sel("gone");
    store_view_sleep(v);
    CHECK_EQ_INT(store_delete(us, SL("gone"), &e), 0);
    CHECK_EQ_INT(store_view_wake(v, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    CHECK(c.is_gone);
    store_changes_free(&c);
    store_uids_free(&u);
    store_unselect(&v);
    store_unselect(&w);
    teardown();
}

TEST(unchangedsince)
{
    struct store_view *v;
    struct store_uids u = { 0 }, modified = { 0 };
    struct store_flag_change ch = { .op = STORE_ADD,
                                    .flags = { STORE_SEEN, 0 },
                                    .has_unchangedsince = true };
    struct store_row r;

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    append("INBOX", "two\r\n", 0, NULL);
    v = sel("INBOX");
    store_view_row(v, 1, &r);
    ch.unchangedsince = r.modseq;
    store_uids_add(&u, 1, 2);
    CHECK_EQ_INT(store_change_flags(v, &u, &ch, &modified, &e), 0);
    CHECK(!store_uids_has(&modified, 1));
    CHECK(store_uids_has(&modified, 2));
    sync_quiet(v);
    CHECK_EQ_INT(flags_of(v, 1) & STORE_SEEN, STORE_SEEN);
    CHECK_EQ_INT(flags_of(v, 2) & STORE_SEEN, 0);
    store_uids_free(&u);
    store_uids_free(&modified);
    store_unselect(&v);
    teardown();
}

TEST(copy_and_move)
{
    struct store_view *v, *w;
    struct store_uids u = { 0 };
    struct store_copied done;
    struct store_msg m;
    int kw;

    setup();
    open_store();
    append("INBOX", "Subject: a\r\n\r\none\r\n", STORE_SEEN, "$Label");
    append("INBOX", "Subject: b\r\n\r\ntwo\r\n", STORE_FLAGGED, NULL);
    append("INBOX", "Subject: c\r\n\r\nthree\r\n", 0, NULL);
    append("Sent", "x\r\n", 0, "other");
    v = sel("INBOX");
    store_uids_add(&u, 1, 2);
    CHECK_EQ_INT(store_copy(v, &u, SL("Nowhere"), false, &done, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_copy(v, &u, SL("Sent"), false, &done, &e), 0);
    NEED(done.n == 2);
    CHECK_EQ_INT(done.from[0], 1);
    CHECK_EQ_INT(done.to[0], 2);
    CHECK_EQ_INT(done.to[1], 3);
    store_copied_free(&done);
    w = sel("Sent");
    CHECK_EQ_INT(exists(w), 3);
    CHECK_EQ_INT(flags_of(w, 2) & ~STORE_RECENT, STORE_SEEN);
    CHECK_EQ_INT(flags_of(w, 3) & ~STORE_RECENT, STORE_FLAGGED);
    kw = store_keyword(w, SL("$label"), false, &e);
    CHECK_EQ_INT(kw, 1);
    struct store_row r;
    store_view_row(w, 2, &r);
    CHECK_EQ_INT(r.flags.kw, 2);
    CHECK_EQ_INT(store_fetch(w, 2, STORE_GET_DATE, &m, &e), 0);
    CHECK_EQ_INT(m.internaldate_unix_s, 1700000000);
    store_msg_free(&m);
    CHECK_EQ_INT(exists(v), 3);

    /* move two, then one */
    CHECK_EQ_INT(store_copy(v, &u, SL("Trash"), true, &done, &e), 0);
    CHECK_EQ_INT(done.n, 2);
    store_copied_free(&done);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 1);
    CHECK_EQ_INT(count_files("cur"), 1);
    CHECK_EQ_INT(count_files(".Trash/cur"), 2);
    store_uids_add(&u, 3, 3);
    CHECK_EQ_INT(store_copy(v, &u, SL("Trash"), true, &done, &e), 0);
    CHECK_EQ_INT(done.n, 1);
    store_copied_free(&done);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), 0);
    CHECK_EQ_INT(count_files(".Trash/cur"), 3);
    CHECK_EQ_INT(count_files(".Trash/tmp"), 0);
    CHECK_EQ_INT(count_files(".Sent/cur"), 3);

    /* into itself */
    store_uids_free(&u);
    store_uids_add(&u, 2, 3);
    CHECK_EQ_INT(store_copy(w, &u, SL("Sent"), false, &done, &e), 0);
    store_copied_free(&done);
    sync_quiet(w);
    CHECK_EQ_INT(exists(w), 5);
    store_uids_free(&u);
    store_unselect(&v);
    store_unselect(&w);
    teardown();
}

TEST(create_rename_delete)
{
    struct store_mailboxes l;
    struct store_view *v;
    struct store_status s;
    struct store_changes c;

    setup();
    open_store();
    CHECK_EQ_INT(store_create(us, SL("A.B."), 0, &e), 0);
    CHECK_EQ_INT(store_create(us, SL("A.B"), 0, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_EXISTS);
    CHECK_EQ_INT(store_create(us, SL("INBOX"), 0, &e), -1);
    CHECK_EQ_INT(store_create(us, SL("a/b"), 0, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_CLIENT);
    CHECK_EQ_INT(store_create(us, SL("Old"), STORE_MB_USE_ARCHIVE, &e), 0);
    append("A.B", "one\r\n", 0, NULL);
    CHECK_EQ_INT(store_list(us, &l, &e), 0);
    CHECK_EQ_STR(l.v[1].name, "A");
    CHECK_EQ_INT(l.v[1].attrs, STORE_MB_NONEXISTENT | STORE_MB_HAS_CHILDREN);
    for (size_t i = 0; i < l.n; i++)
        if (strcmp(l.v[i].name, "Old") == 0)
            CHECK_EQ_INT(l.v[i].attrs, STORE_MB_USE_ARCHIVE);
    store_mailboxes_free(&l);

    /* a name that has only children moves them; UIDVALIDITY and mail stay */
    v = sel("A.B");
    CHECK_EQ_INT(store_rename(us, SL("A"), SL("A.x"), &e), -1);
    CHECK_EQ_INT(store_rename(us, SL("A"), SL("Z"), &e), 0);
    CHECK_EQ_INT(store_status(us, SL("Z.B"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 1);
    CHECK_EQ_INT(s.unseen, 1);
    CHECK_EQ_INT(store_status(us, SL("A.B"), &s, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    store_unselect(&v);
    CHECK_EQ_INT(store_rename(us, SL("Z.B"), SL("Sent"), &e), -1);
    CHECK_EQ_INT(e.kind, ERR_EXISTS);
    CHECK_EQ_INT(store_rename(us, SL("none"), SL("other"), &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);

    /* INBOX gives its mail away and stays */
    append("INBOX", "one\r\n", 0, NULL);
    CHECK_EQ_INT(store_rename(us, SL("INBOX"), SL("Was.inbox"), &e), 0);
    CHECK_EQ_INT(store_status(us, SL("Was.inbox"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 1);
    CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0);
    CHECK_EQ_INT(s.messages, 0);

    /* deleted under a view, and made again: another UIDVALIDITY */
    uint32_t was;
    CHECK_EQ_INT(store_status(us, SL("Z.B"), &s, &e), 0);
    was = s.uidvalidity;
    v = sel("Z.B");
    CHECK_EQ_INT(store_delete(us, SL("Z.B"), &e), 0);
    CHECK_EQ_INT(store_delete(us, SL("Z.B"), &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    CHECK_EQ_INT(store_delete(us, SL("INBOX"), &e), -1);
    CHECK_EQ_INT(store_view_sync(v, true, &c, &e), 0);
    CHECK(c.is_gone);
    store_changes_free(&c);
    store_unselect(&v);
    CHECK_EQ_INT(store_create(us, SL("Z.B"), 0, &e), 0);
    CHECK_EQ_INT(store_status(us, SL("Z.B"), &s, &e), 0);
    CHECK(s.uidvalidity > was);
    CHECK_EQ_INT(s.messages, 0);
    teardown();
}

TEST(subscriptions_keep_dovecots_format)
{
    struct buf text = { 0 };
    char path[300];

    setup();
    open_store();
    CHECK_EQ_INT(store_subscribe(us, SL("A.B"), true, &e), 0);
    CHECK_EQ_INT(store_subscribe(us, SL("Junk"), false, &e), 0);
    snprintf(path, sizeof path, "%s/subscriptions", root);
    CHECK_EQ_INT(fs_read_file(path, &text, &e), 0);
    CHECK_EQ_STR(buf_z(&text), "V\t2\n\nA\tB\nDrafts\nSent\nTrash\n");
    buf_free(&text);
    teardown();
}

TEST(an_append_of_several_is_all_or_none)
{
    struct store_append *a;
    struct store_status s;
    uint32_t uidvalidity, *uids;
    size_t n;

    setup();
    open_store();
    for (int commit = 0; commit < 2; commit++) {
        CHECK_EQ_INT(store_append_begin(us, SL("INBOX"), &a, &e), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_EQ_INT(store_append_msg(a, 0, NULL, 0, 0, 0, &e), 0);
            CHECK_EQ_INT(store_append_octets(a, SL("one\r"), &e), 0);
            CHECK_EQ_INT(store_append_octets(a, SL("\ntwo"), &e), 0);
        }
        if (commit) {
            CHECK_EQ_INT(store_append_commit(&a, &uidvalidity, &uids, &n, &e), 0);
            CHECK_EQ_INT(n, 3);
            CHECK_EQ_INT(uids[2], 3);
            free(uids);
        } else {
            store_append_abort(&a);
        }
        CHECK_EQ_INT(store_status(us, SL("INBOX"), &s, &e), 0);
        CHECK_EQ_INT(s.messages, commit ? 3 : 0);
        CHECK_EQ_INT(count_files("tmp"), 0);
    }
    teardown();
}

TEST(keywords_have_a_bound)
{
    struct store_view *v;
    char name[20];

    setup();
    open_store();
    append("INBOX", "one\r\n", 0, NULL);
    v = sel("INBOX");
    for (int i = 0; i < STORE_KEYWORDS_MAX; i++) {
        snprintf(name, sizeof name, "kw%d", i);
        CHECK_EQ_INT(store_keyword(v, sl_z(name), true, &e), i);
    }
    CHECK_EQ_INT(store_keyword(v, SL("more"), true, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_LIMIT);
    CHECK_EQ_INT(store_keyword(v, SL("a b"), true, &e), -1);
    CHECK_EQ_INT(store_keyword(v, SL("none"), false, &e), -1);
    /* beyond the letters: kept by the index */
    CHECK_EQ_INT(store_flags(v, 1, 1, STORE_ADD, 0, UINT64_C(1) << 40 | 1, false), 0);
    sync_quiet(v);
    struct store_row r;
    store_view_row(v, 1, &r);
    CHECK(r.flags.kw == (UINT64_C(1) << 40 | 1));
    CHECK(strstr(name_with("cur", ","), ":2,a") != NULL);
    store_unselect(&v);
    teardown();
}

TEST(examine_changes_nothing)
{
    struct store_view *v;
    struct store_box b;

    setup();
    open_store();
    foreign("new", "1800000000.M1P1.other", "x\n");
    NEED(store_select(us, SL("INBOX"), true, &v, &e) == 0);
    store_view_box(v, &b);
    CHECK_EQ_INT(b.exists, 1);
    CHECK_EQ_INT(b.recent, 1);
    CHECK(b.is_readonly);
    CHECK_EQ_INT(count_files("new"), 1);
    CHECK_EQ_INT(store_flags(v, 1, 1, STORE_ADD, STORE_SEEN, 0, false), -1);
    CHECK_EQ_INT(e.kind, ERR_PERM);
    store_unselect(&v);
    v = sel("INBOX");
    store_view_box(v, &b);
    CHECK_EQ_INT(b.recent, 1);
    CHECK_EQ_INT(count_files("new"), 0);
    store_unselect(&v);
    teardown();
}

static int n_told;
static void
told(void *arg)
{
    (void)arg;
    n_told++;
}

TEST(watching)
{
    struct store_view *v, *w;
    struct buf datagram = { 0 };

    setup();
    open_store();
    append("INBOX", "x\r\n", 0, NULL);
    v = sel("INBOX");
    w = sel("INBOX");
    turn(5);
    n_told = 0;
    store_view_watch(v, told, NULL);
    turn(20);
    CHECK_EQ_INT(n_told, 1); /* what came before the watch */
    sync_quiet(v);
    turn(20);
    CHECK_EQ_INT(n_told, 1);
    store_flags(w, 1, 1, STORE_ADD, STORE_SEEN, 0, false); /* ours */
    turn(20);
    CHECK_EQ_INT(n_told, 2);
    store_flags(w, 1, 1, STORE_ADD, STORE_FLAGGED, 0, false); /* once until it looks */
    turn(20);
    CHECK_EQ_INT(n_told, 2);
    sync_quiet(v);
    foreign("new", "1800000000.M1P1.other", "x\n"); /* inotify */
    turn(20);
    CHECK_EQ_INT(n_told, 3);
    sync_quiet(v);
    turn(20);
    sync_quiet(v); /* its own move out of new/ */
    n_told = 0;
    buf_addz(&datagram, "0123456789abcdef\tbob@example.org\tINBOX\n"); /* another process */
    store_notified(st, buf_slice(&datagram));
    CHECK_EQ_INT(n_told, 1);
    store_notified(st, SL("garbage"));
    store_view_watch(v, NULL, NULL);
    store_notified(st, buf_slice(&datagram));
    CHECK_EQ_INT(n_told, 1);
    buf_free(&datagram);
    store_unselect(&v);
    store_unselect(&w);
    teardown();
}

TEST(sets_of_uids)
{
    struct store_uids u = { 0 };

    store_uids_add(&u, 5, 7);
    store_uids_add(&u, 1, 2);
    store_uids_add(&u, 3, 3);
    CHECK_EQ_INT(u.n, 2);
    store_uids_add(&u, 9, 8);
    CHECK_EQ_INT(u.n, 2);
    CHECK_EQ_INT(store_uids_count(&u), 8);
    CHECK(store_uids_has(&u, 9) && !store_uids_has(&u, 4) && !store_uids_has(&u, 10));
    store_uids_add(&u, 4, UINT32_MAX);
    CHECK_EQ_INT(u.n, 1);
    CHECK(store_uids_has(&u, UINT32_MAX));
    store_uids_free(&u);
}

TEST(more_users_than_open_databases)
{
    struct store_user *many[STORE_OPEN_MAX + 5];
    struct store_status s;

    setup();
    open_store();
    for (int i = 0; i < STORE_OPEN_MAX + 5; i++) {
        char name[40];

        snprintf(name, sizeof name, "u%d@example.org", i);
        CHECK_EQ_INT(store_user_open(st, sl_z(name), NULL, &many[i], &e), 0);
    }
    CHECK(st->n_open <= STORE_OPEN_MAX);
    for (int i = 0; i < STORE_OPEN_MAX + 5; i++) {
        CHECK_EQ_INT(store_status(many[i], SL("INBOX"), &s, &e), 0);
        store_user_close(&many[i]);
    }
    teardown();
}

TEST(an_idle_database_is_closed)
{
    struct store_view *v;

    setup();
    open_store();
    v = sel("INBOX");
    CHECK_EQ_INT(st->n_open, 1);
    turn(5);
    NEED(timer_is_running(&st->sweep_timer));
    clock_fake(clock_mono_ms() + STORE_IDLE_MS + 1, clock_unix_us());
    st->sweep_timer.fn(st->sweep_timer.arg);
    timer_stop(&st->sweep_timer);
    usleep(100 * 1000);
    clock_fake(0, 0);
    turn(20);
    CHECK_EQ_INT(st->n_open, 0);
    sync_quiet(v); /* and opened again when wanted */
    CHECK_EQ_INT(st->n_open, 1);
    store_unselect(&v);
    teardown();
}

TEST(unselect_when_the_index_cannot_be_opened)
{
    char lock[200];
    struct store_msg m;
    struct store_view *v;

    setup();
    open_store();
    foreign("cur", "1.a:2,", "Subject: x\n\nhello\n");
    v = sel("INBOX");
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_ENVELOPE, &m, &e), 0);
    store_msg_free(&m);
    CHECK_EQ_INT(v->n_fresh, 1); /* waits to be kept */
    pthread_mutex_lock(&us->lock);
    index_close(us);
    pthread_mutex_unlock(&us->lock);
    snprintf(lock, sizeof lock, "%s/" INDEX_LOCK_FILE, root);
    unlink(lock);
    CHECK_EQ_INT(mkdir(lock, 0700), 0);
    store_unselect(&v);
    rmdir(lock);
    teardown();
}

/* A header of so many octets, and a body that is longer than what is read for a header. */
static void
check_header(size_t octets, const char *line_end)
{
    struct buf text = { 0 };
    struct store_file *f, *whole;
    struct store_view *v;

    setup();
    open_store();
    while (text.n + strlen("X: y") + 2 * strlen(line_end) < octets)
        buf_addf(&text, "X: y%s", line_end);
    buf_addf(&text, "%s", line_end);
    for (int i = 0; i < 20000; i++)
        buf_addf(&text, "a line%s", line_end);
    foreign("cur", "1.a:2,", buf_z(&text));
    v = sel("INBOX");
    CHECK_EQ_INT(store_header_open(v, 1, &f, &e), 0);
    CHECK_EQ_INT(store_file_open(v, 1, &whole, &e), 0);
    CHECK(sl_eq(mime_header_of(store_file_octets(f)), mime_header_of(store_file_octets(whole))));
    CHECK(store_file_octets(f).n < octets * 2 + 16 * 1024);
    store_file_close(&f);
    store_file_close(&whole);
    store_unselect(&v);
    buf_free(&text);
    teardown();
}

TEST(a_header_is_read_alone)
{
    static const size_t octets[] = { 0, 100, 8190, 8191, 8192, 8193, 8194, 30000 };

    for (size_t i = 0; i < COUNT_OF(octets); i++) {
        check_header(octets[i], "\n");
        check_header(octets[i], "\r\n");
    }
}

TEST(a_delete_that_was_killed_is_finished)
{
    char path[300];

    setup();
    open_store();
    close_store();
    foreign_mkdirs("..postern-gone.0123456789abcdef");
    foreign("..postern-gone.0123456789abcdef/cur", "1.a:2,", "x\n");
    open_store();
    snprintf(path, sizeof path, "%s/..postern-gone.0123456789abcdef", root);
    CHECK(access(path, F_OK) != 0);
    teardown();
}

/* Another process renames the mailbox that a view here looks at: the view loses it, the messages keep their UIDs. */
TEST(renamed_under_a_view)
{
    struct store *other;
    struct store_user *them;
    struct store_view *v;
    struct store_row row = { 0 };
    char path[300];

    setup();
    open_store();
    CHECK_EQ_INT(store_create(us, SL("A"), 0, &e), 0);
    CHECK_EQ_INT(append("A", "x\r\n", 0, NULL), 1);
    v = sel("A");
    BUG_ON(store_new(conf, &other, &e));
    CHECK_EQ_INT(store_user_open(other, SL("bob@example.org"), NULL, &them, &e), 0);
    CHECK_EQ_INT(store_rename(them, SL("A"), SL("B"), &e), 0);
    store_user_close(&them);
    store_free(&other);
    CHECK(store_flags(v, 1, 1, STORE_ADD, STORE_SEEN, 0, false) != 0);
    store_unselect(&v);
    snprintf(path, sizeof path, "%s/.A", root);
    CHECK(access(path, F_OK) != 0);
    v = sel("B");
    CHECK(store_view_row(v, 1, &row));
    CHECK_EQ_INT(row.uid, 1);
    store_unselect(&v);
    teardown();
}

TEST(a_link_is_no_message)
{
    char path[200];
    struct store_view *v;

    setup();
    open_store();
    foreign("cur", "1.a:2,", "Subject: x\n\nhello\n");
    snprintf(path, sizeof path, "%s/cur/2.b:2,", root);
    CHECK_EQ_INT(symlink("/etc/passwd", path), 0);
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 1);
    store_unselect(&v);
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
