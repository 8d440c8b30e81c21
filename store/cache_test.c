/* store/cache_test.c - what is computed of a message, when, and what becomes of it; long messages. */
#include "store/cache.h"
#include "mime/mime.h"
#include "store/store_test.h"

/* ---- one message ---- */

TEST(sort_row)
{
    static const struct {
        const char *in, *want; /* subject|reply|from|to|cc|from name|to name|id|refs */
    } t[] = {
        { "Subject: Re: A b\r\nFrom: \xc3\x84nne <ANN@x.Y>\r\nTo: Bob@z, c@d\r\nCc: g: d@e;\r\n"
          "Message-ID: <m@x>\r\nReferences: <a@b> <c@d>\r\nIn-Reply-To: <z@z>\r\n\r\n",
          "A B|1|ANN|BOB|G|A\xcc\x88NNE|BOB@Z|m@x|a@b,c@d" },
        { "In-Reply-To: your <r@x> and <s@x>\r\n\r\n", "|0|||||||r@x" },
        { "References: none\r\nIn-Reply-To: <r@x>\r\n\r\n", "|0|||||||r@x" },
        { "Subject: first\r\nSubject: second\r\n\r\n", "FIRST|0|||||||" },
        { "", "|0|||||||" },
    };

    for (size_t i = 0; i < COUNT_OF(t); i++) {
        static const enum sort_text texts[] = { SORT_FROM_KEY,  SORT_TO_KEY,  SORT_CC_KEY,
                                                SORT_FROM_NAME, SORT_TO_NAME, SORT_MESSAGE_ID,
                                                SORT_REFS };
        struct buf got = { 0 };
        struct forms f;

        TEST_ROW("%s", t[i].in);
        forms_compute(sl_z(t[i].in), &f);
        buf_addf(&got, "%.*s|%d", SL_ARG(buf_slice(&f.sort[SORT_SUBJECT])), f.is_reply);
        for (size_t k = 0; k < COUNT_OF(texts); k++)
            buf_addf(&got, "|%.*s", SL_ARG(buf_slice(&f.sort[texts[k]])));
        for (size_t k = 0; k < got.n; k++)
            if (got.p[k] == '\n')
                got.p[k] = ',';
        CHECK_EQ_STR(buf_z(&got), t[i].want);
        buf_free(&got);
        forms_free(&f);
    }
}

TEST(dates_as_written)
{
    struct forms f;

    forms_compute(SL("Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\n"), &f);
    CHECK(f.has_sent);
    CHECK_EQ_INT(f.sent_unix_s, 760686745);
    CHECK_EQ_INT(f.sent_tz, -480);
    forms_free(&f);
    forms_compute(SL("Date: someday\r\n\r\n"), &f);
    CHECK(!f.has_sent);
    forms_free(&f);
}

TEST(usual_fields)
{
    struct forms f;

    forms_compute(SL("Received: x\r\nfrom: a@b\r\nList-Unsubscribe: <y>\r\nX-Other: z\r\nTO: c\r\n"
                     " folded\r\n\r\nbody"),
                  &f);
    CHECK_EQ_STR(buf_z(&f.form[FORM_HEADERS]),
                 "from: a@b\r\nList-Unsubscribe: <y>\r\nTO: c\r\n folded\r\n");
    CHECK_EQ_STR(buf_z(&f.form[FORM_PREVIEW]), "body");
    CHECK(form_is_kept(&f, FORM_HEADERS));
    forms_free(&f);
    CHECK(store_caches_field(SL("LIST-anything")) && store_caches_field(SL("in-reply-to")));
    CHECK(!store_caches_field(SL("Received")) && !store_caches_field(SL("")));
}

/* The first id names the thread, the last are the nearest. */
TEST(references_are_bounded)
{
    struct buf in = { 0 };
    struct slice refs, line;
    struct forms f;
    size_t n = 0;

    buf_addz(&in, "References:");
    for (int i = 0; i < 10000; i++)
        buf_addf(&in, " <%d@x>\r\n", i);
    buf_addz(&in, "\r\n");
    forms_compute(buf_slice(&in), &f);
    refs = buf_slice(&f.sort[SORT_REFS]);
    CHECK(sl_has_prefix(refs, SL("0@x\n9901@x\n9902@x\n")));
    CHECK(sl_has_suffix(refs, SL("\n9998@x\n9999@x")));
    while (sl_take_line(&refs, &line))
        n++;
    CHECK_EQ_INT(n, CACHE_REFS_MAX);
    forms_free(&f);
    buf_reset(&in);
    buf_addz(&in, "References:");
    for (int i = 0; i < 100; i++)
        buf_addf(&in, " <%d-%0900d@x>\r\n", i, i);
    buf_addz(&in, "\r\n");
    forms_compute(buf_slice(&in), &f);
    CHECK(f.sort[SORT_REFS].n <= CACHE_REFS_MAX_OCTETS && f.sort[SORT_REFS].n > 15000);
    CHECK(sl_has_prefix(buf_slice(&f.sort[SORT_REFS]), SL("0-00")));
    forms_free(&f);
    buf_free(&in);
}

/* ---- a mailbox ---- */

static int64_t
count(const char *sql)
{
    struct db_stmt *s;
    int64_t n = -1;

    if (user_lock(us, &e) == 0) {
        if (db_prepare(us->db, sql, &s, &e) == 0 && db_step(s, &e) == 1) {
            n = db_int(s, 0);
            db_reset(s);
        }
        user_unlock(us);
    }
    return n;
}
#define COUNT(table) count("SELECT count(*) FROM " table)

static void
many(int n)
{
    foreign_mkdirs(".");
    for (int i = 0; i < n; i++) {
        char name[60], text[200];

        snprintf(name, sizeof name, "%d.M%dP1.x:2,", 1000000 + i, i);
        snprintf(text, sizeof text, "Subject: s%d\nMessage-ID: <%d@x>\n\nbody %d\n", i, i, i);
        foreign("cur", name, text);
    }
}

static bool
stop_always(void *arg)
{
    ++*(int *)arg;
    return true;
}

static bool
stop_never(void *arg)
{
    ++*(int *)arg;
    return false;
}

TEST(filled_for_a_view)
{
    struct store_uids some = { 0 };
    struct store_view *v;
    uint32_t at = 0;
    int n = 0, turns = 0;

    setup();
    many(100);
    open_store();
    v = sel("INBOX");
    store_uids_add(&some, 3, 4);
    store_uids_add(&some, 90, 200);
    CHECK_EQ_INT(cache_fill(v, &some, &at, NULL, NULL, &e), 0);
    CHECK_EQ_INT(COUNT("cache_sort"), 13);
    at = 0;
    while (cache_fill(v, NULL, &at, stop_always, &n, &e) == 1)
        turns++;
    CHECK_EQ_INT(COUNT("cache_sort"), 100);
    CHECK_EQ_INT(COUNT("cache"), 100);
    CHECK_EQ_INT(COUNT("cache_headers"), 100);
    CHECK(turns >= 3 && n == turns);
    CHECK_EQ_INT(count("SELECT count(*) FROM messages WHERE thread = 0 OR crlf <= size"), 0);
    CHECK_EQ_INT(count("SELECT crlf_octets - (SELECT sum(crlf) FROM messages) FROM mailboxes"
                       " WHERE name = 'INBOX'"),
                 0);
    /* Only what is new. */
    append("INBOX", "Subject: new\r\n\r\n", 0, NULL);
    sync_quiet(v);
    at = 0;
    n = 0;
    CHECK_EQ_INT(cache_fill(v, NULL, &at, stop_never, &n, &e), 0);
    CHECK_EQ_INT(n, 1);
    CHECK_EQ_INT(COUNT("cache_sort"), 101);
    store_uids_free(&some);
    store_unselect(&v);
    teardown();
}

/* Some files are gone and one was renamed: the others are computed. */
TEST(filled_where_files_change)
{
    struct store_view *v;
    char a[300], b[304];
    uint32_t at = 0;

    setup();
    many(10);
    open_store();
    v = sel("INBOX");
    snprintf(a, sizeof a, "%s/cur/%s", root, name_with("cur", "M3P1"));
    unlink(a);
    snprintf(a, sizeof a, "%s/cur/%s", root, name_with("cur", "M5P1"));
    snprintf(b, sizeof b, "%sFS", a);
    CHECK_EQ_INT(rename(a, b), 0);
    CHECK_EQ_INT(cache_fill(v, NULL, &at, NULL, NULL, &e), 0);
    CHECK_EQ_INT(COUNT("cache_sort"), 9);
    CHECK_EQ_INT(COUNT("cache_sort WHERE uid NOT IN (SELECT uid FROM messages)"), 0);
    store_unselect(&v);
    teardown();
}

TEST(forms_of_another_version_go)
{
    struct store_view *v;
    uint32_t at = 0;
    int64_t thread;

    setup();
    many(5);
    open_store();
    v = sel("INBOX");
    CHECK_EQ_INT(cache_fill(v, NULL, &at, NULL, NULL, &e), 0);
    store_unselect(&v);
    thread = count("SELECT sum(thread) FROM messages");
    count("UPDATE meta SET value = value + 1 WHERE key = 'cache' RETURNING 1");
    close_store();
    open_store();
    CHECK_EQ_INT(COUNT("cache"), 0);
    CHECK_EQ_INT(COUNT("cache_sort"), 0);
    CHECK_EQ_INT(count("SELECT sum(thread) FROM messages"), thread);
    v = sel("INBOX");
    at = 0;
    CHECK_EQ_INT(cache_fill(v, NULL, &at, NULL, NULL, &e), 0);
    CHECK_EQ_INT(COUNT("cache"), 5);
    store_unselect(&v);
    close_store();
    open_store();
    CHECK_EQ_INT(COUNT("cache"), 5);
    teardown();
}

/* A form that is too long for the index is told all the same, and does not count as missing. */
TEST(forms_too_long_to_keep)
{
    struct buf text = { 0 };
    struct store_view *v;
    struct store_msg m;
    uint32_t at = 0;
    int n = 0;

    setup();
    open_store();
    for (int i = 0; i < 12; i++) {
        buf_addf(&text, "%s: ", i % 2 ? "From" : "To");
        for (int k = 0; k < 3000; k++)
            buf_addf(&text, "name %d of many people <user-%d@example.com>,\r\n ", k, k);
        buf_addz(&text, "x@y\r\n");
    }
    buf_addz(&text, "\r\nbody\r\n");
    append("INBOX", buf_z(&text), 0, NULL);
    v = sel("INBOX");
    for (int i = 0; i < 3; i++) {
        CHECK_EQ_INT(
            store_fetch(v, 1, STORE_GET_ENVELOPE | STORE_GET_HEADERS | STORE_GET_PREVIEW, &m, &e),
            0);
        CHECK(m.envelope.n > CACHE_TEXT_MAX_OCTETS && m.headers.p == NULL);
        CHECK(sl_eqz(m.preview, "body"));
        store_msg_free(&m);
        sync_quiet(v);
    }
    CHECK_EQ_INT(count("SELECT count(*) FROM cache WHERE envelope IS NULL AND body NOTNULL"), 1);
    CHECK_EQ_INT(cache_fill(v, NULL, &at, stop_never, &n, &e), 0);
    CHECK_EQ_INT(n, 0);
    buf_free(&text);
    store_unselect(&v);
    teardown();
}

/* Files are opened by the names of rows that were read ahead: others may have renamed or removed them since. */
TEST(files_change_while_a_mailbox_is_gone_through)
{
    struct store_view *v;
    struct store_msg m;
    char from[600], to[600];

    setup();
    foreign_mkdirs(".");
    foreign("cur", "1.a:2,", "Subject: one\r\n\r\n");
    foreign("cur", "2.b:2,", "Subject: two\r\n\r\n");
    foreign("cur", "3.c:2,", "Subject: three\r\n\r\n");
    foreign("cur", "4.d:2,", "Subject: four\r\n\r\n");
    open_store();
    v = sel("INBOX");
    CHECK_EQ_INT(exists(v), 4);
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_ENVELOPE, &m, &e), 0);
    store_msg_free(&m);
    snprintf(from, sizeof from, "%s/cur/2.b:2,", root);
    snprintf(to, sizeof to, "%s/cur/2.b:2,S", root);
    CHECK_EQ_INT(rename(from, to), 0);
    snprintf(from, sizeof from, "%s/cur/3.c:2,", root);
    CHECK_EQ_INT(unlink(from), 0);
    CHECK_EQ_INT(store_fetch(v, 2, STORE_GET_ENVELOPE | STORE_GET_SIZE, &m, &e), 0);
    CHECK(sl_find(m.envelope, SL("two")) != SL_NPOS);
    CHECK_EQ_INT(m.size_octets, 16);
    store_msg_free(&m);
    CHECK_EQ_INT(store_fetch(v, 3, STORE_GET_ENVELOPE, &m, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    e = (struct err){ 0 };
    CHECK_EQ_INT(store_fetch(v, 4, STORE_GET_ENVELOPE, &m, &e), 0);
    CHECK(sl_find(m.envelope, SL("four")) != SL_NPOS);
    store_msg_free(&m);
    CHECK_EQ_INT(store_fetch(v, 4, STORE_GET_ENVELOPE, &m, &e),
                 0); /* computed, not in the index yet */
    store_msg_free(&m);
    CHECK_EQ_INT(v->n_fresh, 3);
    CHECK_EQ_INT(store_fetch(v, 2, STORE_GET_IDS, &m, &e), 0);
    CHECK(m.thread_id[0] != '\0');
    store_msg_free(&m);
    store_unselect(&v);
    CHECK_EQ_INT(COUNT("cache_sort"), 3);
    CHECK_EQ_INT(COUNT("cache_sort WHERE uid NOT IN (SELECT uid FROM messages)"), 0);
    teardown();
}

static void
check_file(struct store_view *v, uint32_t seq, const char *want)
{
    struct store_file *f = NULL;

    CHECK_EQ_INT(store_file_open(v, seq, &f, &e), 0);
    CHECK(f != NULL && sl_eqz(store_file_octets(f), want));
    store_file_close(&f);
}

/* The same when whole messages are read, one after the other. */
TEST(files_change_while_messages_are_read)
{
    struct store_file *f = NULL;
    struct store_view *v;
    char from[600], to[600];

    setup();
    foreign_mkdirs(".");
    foreign("cur", "1.a:2,", "Subject: 1\n\none\n");
    foreign("cur", "2.b:2,", "Subject: 2\n\n");
    foreign("cur", "3.c:2,", "Subject: 3\n\nx");
    foreign("cur", "4.d:2,", "Subject: 4\n\n");
    foreign("cur", "5.e:2,", "Subject: 5\r\n\r\nfive");
    foreign("cur", "6.f:2,", "");
    open_store();
    v = sel("INBOX");
    check_file(v, 1, "Subject: 1\r\n\r\none\r\n");
    check_file(v, 2, "Subject: 2\r\n\r\n"); /* the names of all are read */
    CHECK(v->ahead != NULL);
    snprintf(from, sizeof from, "%s/cur/3.c:2,", root);
    snprintf(to, sizeof to, "%s/cur/3.c:2,S", root);
    CHECK_EQ_INT(rename(from, to), 0);
    snprintf(from, sizeof from, "%s/cur/4.d:2,", root);
    CHECK_EQ_INT(unlink(from), 0);
    check_file(v, 3, "Subject: 3\r\n\r\nx");
    CHECK_EQ_INT(store_file_open(v, 4, &f, &e), -1);
    CHECK_EQ_INT(e.kind, ERR_NOTFOUND);
    e = (struct err){ 0 };
    check_file(v, 5, "Subject: 5\r\n\r\nfive");
    check_file(v, 6, "");
    check_file(v, 1, "Subject: 1\r\n\r\none\r\n");
    store_unselect(&v);
    teardown();
}

/* Who goes through a mailbox for ids has them computed by dozens: no message waits in the view. */
TEST(ids_of_a_whole_mailbox)
{
    struct store_view *v;
    struct store_msg m;

    setup();
    open_store();
    for (int i = 0; i < 70; i++)
        append("INBOX", "Subject: x\r\n\r\n", 0, NULL);
    v = sel("INBOX");
    for (uint32_t seq = 1; seq <= 70; seq++) {
        CHECK_EQ_INT(store_fetch(v, seq, STORE_GET_IDS | STORE_GET_PREVIEW, &m, &e), 0);
        CHECK(m.thread_id[0] != '\0');
        store_msg_free(&m);
        if (seq == 2)
            CHECK_EQ_INT(COUNT("cache_sort"), 1 + 32);
    }
    CHECK_EQ_INT(COUNT("cache_sort"), 70);
    store_unselect(&v);
    teardown();
}

static void
pick(struct slice header, struct slice name, struct buf *out)
{
    struct mime_field f;

    while (mime_next_field(&header, &f))
        if (sl_ieq(f.name, name)) {
            buf_adds(out, f.whole);
            if (!sl_ends(f.whole, '\n'))
                buf_addz(out, "\r\n");
        }
}

/* A field from what is kept is the field from the file, however the header is written. */
TEST(kept_fields_are_those_of_the_file)
{
    static const struct slice names[] = { SL_INIT("Subject"),   SL_INIT("subject"), SL_INIT("To"),
                                          SL_INIT("List-"),     SL_INIT("List-Id"), SL_INIT("From"),
                                          SL_INIT("X-Priority") };
    static const struct slice t[] = {
        SL_INIT("Subject: a\r\n b\r\n\tc\r\nSUBJECT:d\r\nSubject : e\r\nSubjects: f\r\n\r\nTo: g"),
        SL_INIT(" Subject: first\r\nSubject: a\r\nnothing\r\n Subject: b\r\nTo:\r\n\r\n"),
        SL_INIT("From joe\r\n To: x\r\nTo: y\r\nList-: z\r\nList-Id: \xff\xfe\r\nX-Priority: 1"),
        SL_INIT("Subject: nul \0 octet\r\nTo\0: x\r\nFrom:\r\n \r\n\t\r\nTo: a\r\r\n\r\n"),
        SL_INIT("Subject"),
        SL_INIT("Subject:"),
        SL_INIT("To: a\r"),
        SL_INIT("To: a\r\n\r"),
        SL_INIT(": x\r\n To: y\r\n\tSubject: a\r\nTo: b\r\n"),
    };

    for (size_t i = 0; i < COUNT_OF(t); i++) {
        struct forms f;

        forms_compute(t[i], &f);
        for (size_t k = 0; k < COUNT_OF(names); k++) {
            struct buf got = { 0 }, want = { 0 };

            TEST_ROW("%d %.*s", (int)i, SL_ARG(names[k]));
            CHECK(store_caches_field(names[k]));
            pick(mime_header_of(t[i]), names[k], &want);
            pick(buf_slice(&f.form[FORM_HEADERS]), names[k], &got);
            CHECK(sl_eq(buf_slice(&got), buf_slice(&want)));
            buf_free(&got);
            buf_free(&want);
        }
        forms_free(&f);
    }
}

TEST(ids_of_a_flood_of_references)
{
    struct buf text = { 0 };
    struct store_view *v;
    struct store_msg m;
    char thread[40];

    setup();
    open_store();
    buf_addz(&text, "Message-ID: <m@x>\r\nReferences:");
    for (int i = 0; i < 10000; i++)
        buf_addf(&text, " <%d@x>\r\n", i);
    buf_addz(&text, "\r\n");
    append("INBOX", buf_z(&text), 0, NULL);
    append("INBOX", "In-Reply-To: <9999@x>\r\n\r\n", 0, NULL);
    append("INBOX", "In-Reply-To: <5000@x>\r\n\r\n", 0, NULL); /* not among those that count */
    v = sel("INBOX");
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_IDS, &m, &e), 0);
    memcpy(thread, m.thread_id, sizeof thread);
    store_msg_free(&m);
    CHECK_EQ_INT(COUNT("message_ids"), CACHE_REFS_MAX + 1);
    CHECK_EQ_INT(store_fetch(v, 2, STORE_GET_IDS, &m, &e), 0);
    CHECK_EQ_STR(m.thread_id, thread);
    store_msg_free(&m);
    CHECK_EQ_INT(store_fetch(v, 3, STORE_GET_IDS, &m, &e), 0);
    CHECK(strcmp(m.thread_id, thread) != 0);
    store_msg_free(&m);
    buf_free(&text);
    store_unselect(&v);
    teardown();
}

/* ---- long messages ---- */

enum { LONG_LINES = 100 * 1000, LONG_OCTETS = LONG_LINES * 42 };

static void
long_lines(struct buf *out, const char *end)
{
    for (int i = 0; i < LONG_LINES; i++)
        buf_addf(out, "%039d%s", i, end);
}

/* With LF on disk; what is open stays as it was when the file is cut short. has_tmp: room on the user's disk. */
static void
check_long(bool has_tmp)
{
    struct buf text = { 0 }, want = { 0 };
    struct store_file *f = NULL;
    struct store_view *v;
    struct store_msg m;
    char path[400];

    buf_addz(&text, "Subject: long\n\n");
    long_lines(&text, "\n");
    buf_addz(&want, "Subject: long\r\n\r\n");
    long_lines(&want, "\r\n");
    setup();
    foreign_mkdirs(".");
    foreign("cur", "1.long:2,S", buf_z(&text));
    open_store();
    v = sel("INBOX");
    if (!has_tmp) {
        snprintf(path, sizeof path, "%s/tmp", root);
        CHECK_EQ_INT(rmdir(path), 0);
    }
    CHECK_EQ_INT(store_file_open(v, 1, &f, &e), 0);
    snprintf(path, sizeof path, "%s/cur/1.long:2,S", root);
    CHECK_EQ_INT(truncate(path, 10), 0);
    CHECK(f != NULL && sl_eq(store_file_octets(f), buf_slice(&want)));
    store_file_close(&f);
    CHECK_EQ_INT(store_file_open(v, 1, &f, &e), 0); /* the next piece is of the same octets */
    CHECK(f != NULL && sl_eq(store_file_octets(f), buf_slice(&want)));
    store_view_sleep(v);
    store_file_close(&f);
    CHECK_EQ_INT(store_view_wake(v, &e), 0);
    CHECK_EQ_INT(store_file_open(v, 1, &f, &e), 0);
    CHECK(f != NULL && store_file_octets(f).n < 20); /* read anew */
    store_file_close(&f);
    foreign("cur", "1.long:2,S", buf_z(&text));
    CHECK_EQ_INT(store_fetch(v, 1, STORE_GET_SIZE, &m, &e), 0);
    CHECK_EQ_INT(m.size_octets, want.n);
    store_msg_free(&m);
    CHECK_EQ_INT(store_header_open(v, 1, &f, &e), 0);
    CHECK(store_file_octets(f).n < 64 * 1024);
    store_file_close(&f);
    buf_free(&text);
    buf_free(&want);
    store_unselect(&v);
    teardown();
}

TEST(a_long_message_lies_in_a_file)
{
    check_long(true);
}

TEST(a_long_message_where_the_disk_has_no_room)
{
    check_long(false);
}

/* A header longer than what is kept in memory, found by its empty line wherever blocks end. */
TEST(a_long_header)
{
    for (int shift = 0; shift < 4; shift++) {
        struct buf text = { 0 };
        struct store_file *f = NULL;
        struct store_view *v;
        char name[8] = "X-Long";

        setup();
        foreign_mkdirs(".");
        name[2 + shift] = '\0';
        buf_addf(&text, "Subject: %s\n", name);
        while (text.n < 3 * 1024 * 1024)
            buf_addz(&text, "X-Field: value\n");
        buf_addz(&text, "\nbody\n");
        while (text.n < 5 * 1024 * 1024)
            buf_addz(&text, "line of body\n");
        foreign("cur", "1.long:2,S", buf_z(&text));
        open_store();
        v = sel("INBOX");
        CHECK_EQ_INT(store_header_open(v, 1, &f, &e), 0);
        CHECK(f != NULL && sl_find(store_file_octets(f), SL("\r\n\r\nbody")) != SL_NPOS);
        CHECK(f != NULL && store_file_octets(f).n < 4 * 1024 * 1024);
        store_file_close(&f);
        buf_free(&text);
        store_unselect(&v);
        teardown();
    }
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
