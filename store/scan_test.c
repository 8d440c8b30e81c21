/* store/scan_test.c - what other programs do to a Maildir, before and between our looks: a table of their doings and of the
 * messages that must be there; a large folder that is scanned while others work. */
#include "store/store_test.h"

#include "base/fs.h"

#include <pthread.h>

/* ---- a table ---- */

/* Words: "+DIR/NAME=TEXT" a file of that text (LF at its end), "-DIR/NAME" removed, "A>B" renamed, "A&B" linked, "@A" a symbolic link to
 * nowhere, "|A" a fifo, "#A" a folder, "*A=TEXT" rewritten in place. */
static void
do_words(const char *words)
{
    struct slice all = sl_z(words), word;

    while (all.n > 0) {
        size_t at = sl_find_char(all, ' '), mid;
        char a[400], b[400];

        word = sl_head(all, at == SL_NPOS ? all.n : at);
        all = sl_from(all, at == SL_NPOS ? all.n : at + 1);
        mid = sl_find_char(word, '>');
        if (mid == SL_NPOS)
            mid = sl_find_char(word, '&');
        if (mid != SL_NPOS && word.p[0] != '+') {
            snprintf(a, sizeof a, "%s/%.*s", root, SL_ARG(sl_head(word, mid)));
            snprintf(b, sizeof b, "%s/%.*s", root, SL_ARG(sl_from(word, mid + 1)));
            CHECK_EQ_INT(word.p[mid] == '>' ? rename(a, b) : link(a, b), 0);
            continue;
        }
        mid = strchr("+*", word.p[0]) ? sl_rfind_char(word, '=') : word.n;
        snprintf(a, sizeof a, "%s/%.*s", root, SL_ARG(sl_from(sl_head(word, mid), 1)));
        switch (word.p[0]) {
        case '+':
        case '*': {
            int fd = open(a, O_CREAT | O_WRONLY | O_TRUNC, 0600);

            snprintf(b, sizeof b, "%.*s\n", SL_ARG(sl_from(word, mid + 1)));
            CHECK(fd >= 0 && write(fd, b, strlen(b)) == (ssize_t)strlen(b));
            close(fd);
            break;
        }
        case '-':
            CHECK_EQ_INT(unlink(a), 0);
            break;
        case '@':
            CHECK_EQ_INT(symlink("/nowhere", a), 0);
            break;
        case '|':
            CHECK_EQ_INT(mkfifo(a, 0600), 0);
            break;
        case '#':
            CHECK_EQ_INT(mkdir(a, 0700), 0);
            break;
        default:
            FAIL("word: %.*s", SL_ARG(word));
        }
    }
}

/* "UID FLAGS TEXT", one after the other. */
static const char *
state_of(struct store_view *v)
{
    static char out[1000];
    static const char letters[] = "SRFTD"; /* as STORE_SEEN and on */
    size_t n = 0;

    out[0] = '\0';
    for (uint32_t seq = 1; seq <= exists(v); seq++) {
        struct store_file *f;
        struct store_row r = { 0 };
        struct slice text;

        store_view_row(v, seq, &r);
        n += (size_t)snprintf(out + n, sizeof out - n, "%s%u", seq > 1 ? " " : "", r.uid);
        for (int i = 0; i < 5; i++)
            if (r.flags.sys & 1u << i)
                out[n++] = letters[i];
        if (store_file_open(v, seq, &f, &e)) {
            n += (size_t)snprintf(out + n, sizeof out - n, "(%s)", e.msg);
            continue;
        }
        text = store_file_octets(f);
        n += (size_t)snprintf(out + n, sizeof out - n, "%.*s",
                              SL_ARG(sl_head(text, text.n > 2 ? text.n - 2 : 0)));
        store_file_close(&f);
    }
    return out;
}

static const struct {
    const char *name, *before, *want_before, *after, *want_after;
} rows[] = {
    { "one more in new/", "+cur/10.a:2,S=one", "1Sone", "+new/11.b=two", "1Sone 2two" },
    { "one more in cur/", "+cur/10.a:2,S=one", "1Sone", "+cur/9.b:2,F=two", "1Sone 2Ftwo" },
    { "in the order of their names' times",
      "+cur/10.b:2,=two +new/9.c=one +cur/11.a:2,=four +new/10.d=three", "1one 2two 3three 4four",
      "", "1one 2two 3three 4four" },
    { "gone", "+cur/10.a:2,S=one +cur/11.b:2,=two", "1Sone 2two", "-cur/10.a:2,S", "2two" },
    { "other flags", "+cur/10.a:2,S=one", "1Sone", "cur/10.a:2,S>cur/10.a:2,FR", "1RFone" },
    { "without flags", "+cur/10.a:2,S=one", "1Sone", "cur/10.a:2,S>cur/10.a", "1one" },
    { "back to new/", "+cur/10.a:2,S=one", "1Sone", "cur/10.a:2,S>new/10.a", "1Sone" },
    { "back to new/ with flags", "+cur/10.a:2,S=one", "1Sone", "cur/10.a:2,S>new/10.a:2,F",
      "1Fone" },
    { "another base name is another message", "+cur/10.a:2,S=one", "1Sone",
      "cur/10.a:2,S>cur/11.a:2,S", "2Sone" },
    { "two of one name at once", "+cur/10.a:2,S=one +cur/10.a:2,F=two", "1Ftwo 2Sone", "",
      "1Ftwo 2Sone" },
    { "a second one of a name", "+cur/10.a:2,S=one", "1Sone", "+cur/10.a:2,F=two", "1Sone 2Ftwo" },
    { "a second one of a name, listed first or not", "+cur/10.a:2,F=one", "1Fone",
      "+cur/10.a:2,S=two", "1Fone 2Stwo" },
    { "a second one, and the first has other flags", "+cur/10.a:2,S=one", "1Sone",
      "cur/10.a:2,S>cur/10.a:2,T +cur/10.a:2,D=other", "1Tone 2Dother" },
    { "the same, the other way round", "+cur/10.a:2,S=one", "1Sone",
      "cur/10.a:2,S>cur/10.a:2,D +cur/10.a:2,T=other", "1Done 2Tother" },
    { "a second one in new/", "+cur/10.a:2,S=one", "1Sone", "+new/10.a=two", "1Sone 2two" },
    { "a second one in new/, of the very name", "+cur/10.a:2,=one", "1one", "+new/10.a=two",
      "1one 2two" },
    { "two names of one file", "+cur/10.a:2,S=one", "1Sone", "cur/10.a:2,S&cur/10.a:2,F", "1Sone" },
    { "a copy by a link", "+cur/10.a:2,S=one", "1Sone", "cur/10.a:2,S&cur/11.b:2,F",
      "1Sone 2Fone" },
    { "names of all sorts",
      "+cur/noinfo=one +cur/a:1,x=two +cur/.hidden=no +cur/:2,S=no +cur/10.a:2,PSS=three "
      "+cur/-,S=x=four",
      "1four 2two 3one 4Sthree", "", "1four 2two 3one 4Sthree" },
    { "sizes in names: too large is a wreck, too small is not believed",
      "+cur/10.a,S=100:2,=one +cur/11.b,S=2,W=3:2,=two", "1two", "+cur/12.c,S=6,W=7:2,=three",
      "1two 2three" },
    { "no messages", "@cur/10.a:2, |cur/11.b:2, #cur/12.c:2, @new/13.d |new/14.e #new/15.f", "",
      "+cur/16.g:2,=one", "1one" },
    { "a folder in place of a message", "+cur/10.a:2,S=one +cur/11.b:2,=two", "1Sone 2two",
      "-cur/10.a:2,S #cur/10.a:2,S", "2two" },
    { "rewritten longer: another message", "+cur/10.a:2,S=one", "1Sone",
      "*cur/10.a:2,S=longer cur/10.a:2,S>cur/10.a:2,FS", "2SFlonger" },
    { "what is in tmp/ is none of ours", "+tmp/10.a=one", "", "+tmp/11.b=two", "" },
};

TEST(what_other_programs_do)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct store_view *v;

        TEST_ROW("%s", rows[i].name);
        setup();
        open_store();
        do_words(rows[i].before);
        v = sel("INBOX");
        NEED(v != NULL);
        CHECK_EQ_STR(state_of(v), rows[i].want_before);
        do_words(rows[i].after);
        sync_quiet(v);
        CHECK_EQ_STR(state_of(v), rows[i].want_after);
        sync_quiet(v); /* and again: nothing is left to settle */
        CHECK_EQ_STR(state_of(v), rows[i].want_after);
        store_unselect(&v);
        teardown();
    }
}

/* Two messages whose files bear one base name, renamed at once: neither becomes the other. */
TEST(messages_of_one_name_do_not_change_places)
{
    struct store_view *v;

    setup();
    open_store();
    do_words("+cur/10.a:2,S=one");
    v = sel("INBOX");
    do_words("+cur/10.a:2,F=second");
    sync_quiet(v);
    CHECK_EQ_STR(state_of(v), "1Sone 2Fsecond");
    CHECK_EQ_INT(count_files("cur"), 2);
    CHECK_EQ_INT(store_flags(v, 1, 1, STORE_SET, STORE_FLAGGED, 0, false), 0);
    CHECK_EQ_INT(store_flags(v, 2, 2, STORE_SET, STORE_SEEN, 0, false), 0);
    sync_quiet(v);
    CHECK_EQ_STR(state_of(v), "1Fone 2Ssecond");
    store_unselect(&v);
    teardown();
}

/* ---- while others work ---- */

enum { MANY = 6000 };

static void
make_many(int n)
{
    char name[80], text[120];

    for (int i = 0; i < n; i++) {
        /* their order is not that of their making */
        snprintf(name, sizeof name, "%d.M%dP1.x:2,", 1000 + i % 7, i);
        snprintf(text, sizeof text, "+cur/%s=%d", name, i);
        do_words(text);
    }
}

struct other {
    pthread_t thread;
    atomic_bool must_end;
    atomic_int turns;
};

/* Appends and flags in the same mailbox, and in another. */
static void *
work_beside(void *arg)
{
    struct other *o = arg;
    struct err why = { 0 };
    struct store_view *v = NULL;

    while (!atomic_load(&o->must_end)) {
        struct store_append *a;
        uint32_t uidvalidity, *uids = NULL;
        size_t n;

        if (store_append_begin(us, SL("Sent"), &a, &why) ||
            store_append_msg(a, 0, NULL, 0, 0, 0, &why) ||
            store_append_octets(a, SL("x\r\n"), &why) ||
            store_append_commit(&a, &uidvalidity, &uids, &n, &why))
            break;
        free(uids);
        if (v == NULL && store_select(us, SL("Sent"), false, &v, &why))
            break;
        atomic_fetch_add(&o->turns, 1);
    }
    if (v != NULL)
        store_unselect(&v);
    if (why.kind != ERR_NONE)
        fprintf(stderr, "beside: %s\n", why.msg);
    return why.kind == ERR_NONE ? NULL : o;
}

TEST(a_first_scan_lets_others_work_and_keeps_the_order_of_arrival)
{
    struct other o = { 0 };
    struct store_view *v;
    void *failed = NULL;
    char last[80] = "";
    struct db_stmt *s;
    int before, rc, n = 0;

    setup();
    open_store();
    make_many(MANY);
    NEED(pthread_create(&o.thread, NULL, work_beside, &o) == 0);
    while (atomic_load(&o.turns) < 2)
        usleep(1000);
    before = atomic_load(&o.turns);
    v = sel("INBOX");
    /* It ran in a dozen transactions; whoever waited had a turn after each. */
    CHECK(atomic_load(&o.turns) >= before + 3);
    atomic_store(&o.must_end, true);
    pthread_join(o.thread, &failed);
    CHECK(failed == NULL);
    CHECK_EQ_INT(exists(v), MANY);
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(db_prepare(us->db,
                            "SELECT file FROM messages WHERE mailbox = (SELECT id FROM "
                            "mailboxes WHERE name = 'INBOX') ORDER BY uid",
                            &s, &e),
                 0);
    for (; (rc = db_step(s, &e)) == 1; n++) {
        char name[80];

        snprintf(name, sizeof name, "%.*s", SL_ARG(db_text(s, 0)));
        if (n > 0 && maildir_name_cmp(last, name) >= 0)
            FAIL("%s comes before %s", last, name);
        memcpy(last, name, sizeof last);
    }
    CHECK_EQ_INT(rc, 0);
    CHECK_EQ_INT(n, MANY);
    user_unlock(us);
    store_unselect(&v);
    teardown();
}

/* Scans again and again, while messages are flagged, copied, expunged and come: in the end all agree. */
static void *
scan_beside(void *arg)
{
    struct other *o = arg;
    struct err why = { 0 };
    struct mbox mb;
    int64_t id;

    while (!atomic_load(&o->must_end) && why.kind == ERR_NONE) {
        if (user_lock(us, &why))
            break;
        if (mbox_find(us, SL("INBOX"), &id, &why) == 0 && mbox_load(us, id, &mb, &why) == 1)
            mbox_scan(us, SL("INBOX"), &mb, true, true, &why);
        user_unlock(us);
        atomic_fetch_add(&o->turns, 1);
    }
    if (why.kind != ERR_NONE)
        fprintf(stderr, "scan beside: %s\n", why.msg);
    return why.kind == ERR_NONE ? NULL : o;
}

TEST(changes_of_ours_during_a_scan_are_not_judged_by_old_facts)
{
    struct other o = { 0 };
    struct store_view *v;
    struct store_changes ch;
    void *failed = NULL;
    struct mbox mb;
    uint64_t modseq;
    int64_t id;

    setup();
    open_store();
    make_many(700);
    v = sel("INBOX");
    NEED(pthread_create(&o.thread, NULL, scan_beside, &o) == 0);
    for (uint32_t round = 0; round < 60; round++) {
        struct store_uids u = { 0 };
        struct store_copied done;
        uint32_t first = 1 + round * 10;

        CHECK_EQ_INT(store_flags(v, first, first + 9, STORE_SET, round & 31, 0, false), 0);
        append("INBOX", "x\r\n", 0, NULL);
        store_uids_add(&u, first, first + 1);
        CHECK_EQ_INT(store_copy(v, &u, SL("INBOX"), round % 2 == 0, &done, &e), 0);
        store_copied_free(&done);
        CHECK_EQ_INT(store_flags(v, first + 2, first + 2, STORE_ADD, STORE_DELETED, 0, false), 0);
        CHECK_EQ_INT(store_expunge(v, NULL, &e), 0);
        store_uids_free(&u);
        if (round % 8 == 7 && store_view_sync(v, true, &ch, &e) == 0)
            store_changes_free(&ch);
    }
    sync_quiet(v);
    for (uint32_t i = 0; i < 4000; i++) { /* what was set stays set */
        uint32_t want = i & (STORE_SEEN | STORE_ANSWERED | STORE_FLAGGED), last = exists(v);
        struct store_row r = { 0 };

        store_view_row(v, last, &r);
        CHECK_EQ_INT(store_flags(v, r.uid, r.uid, STORE_SET, want, 0, false), 0);
        sync_quiet(v);
        store_view_row(v, last, &r);
        if ((r.flags.sys & ~(uint32_t)STORE_RECENT) != want) {
            FAIL("flags %x were set, %x are there", want, r.flags.sys);
            break;
        }
    }
    atomic_store(&o.must_end, true);
    pthread_join(o.thread, &failed);
    CHECK(failed == NULL);
    CHECK(atomic_load(&o.turns) > 1);
    NEED(user_lock(us, &e) == 0);
    CHECK_EQ_INT(mbox_find(us, SL("INBOX"), &id, &e), 0);
    CHECK_EQ_INT(mbox_load(us, id, &mb, &e), 1);
    modseq = mb.modseq;
    CHECK_EQ_INT(mbox_scan(us, SL("INBOX"), &mb, true, true, &e), 0);
    CHECK_EQ_INT(mb.modseq, modseq); /* the index is what lies there */
    user_unlock(us);
    sync_quiet(v);
    CHECK_EQ_INT(exists(v), count_files("cur"));
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
