/* store/search_test.c - SEARCH over a Maildir written by hand. */
#include "store/search.h"

#include "store/store_int.h"

#include "base/mem.h"
#include "base/test.h"
#include "core/loop.h"
#include "mime/mime.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sequence numbers follow the names. */
/* clang-format off */
static const struct {
    const char *flags, *date, *text;
} mails[] = {
    { "S", "10-Jan-2020 12:00:00 +0000",
      "From: Alice Adams <alice@example.com>\r\nTo: bob@example.org\r\nSubject: Hello World\r\n"
      "Date: Thu, 9 Jan 2020 23:30:00 -0500\r\n\r\nThe quick brown fox\r\n" },
    { "FS", "11-Jan-2020 12:00:00 +0000",
      "From: bob@example.org\r\nCc: carol@example.net\r\nSubject: =?UTF-8?B?w4RyZ2VyIG1pdCDDlmw=?=\r\n"
      "Date: Sat, 11 Jan 2020 00:10:00 +0900\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
      "Content-Transfer-Encoding: quoted-printable\r\n\r\nDie =D6lpreise stei=\r\ngen weiter\r\n" },
    { "", "12-Jan-2020 12:00:00 +0000",
      "From: Carol <carol@example.net>\r\nTo: alice@example.com,\r\n bob@example.org\r\nSubject: a folded\r\n subject\r\n"
      "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble word\r\n--b\r\n"
      "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
      "PHA+R3LDvMOfZSBhdXMgS8O2bG48L3A+\r\n--b\r\nContent-Type: application/pdf; name=\"report.pdf\"\r\n\r\n"
      "unsearchable octets\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner subject\r\n\r\ninner body\r\n--b--\r\n" },
    { "T", "13-Jan-2020 12:00:00 +0000", "Subject: no date\r\nX-Empty:\r\n\r\n" },
    { "DR", "14-Jan-2020 12:00:00 +0000",
      "From: dave@example.com\r\nSubject: =?KOI8-R?Q?=F0=D2=C9=D7=C5=D4?=\r\nDate: 14 Jan 2020 12:00:00 +0000\r\n\r\nshort\r\n" },
};
/* clang-format on */

static char dir[] = "/tmp/search-XXXXXX";
static struct store_view *view;

/* A program written as an array: nodes point at later ones. */
#define TEXT(k, t)                                                                                 \
    {                                                                                              \
        .kind = (k), .text = SL_INIT(t)                                                            \
    }
#define HEAD(f, t)                                                                                 \
    {                                                                                              \
        .kind = SEARCH_HEADER, .field = SL_INIT(f), .text = SL_INIT(t)                             \
    }
#define NUM(k, n_)                                                                                 \
    {                                                                                              \
        .kind = (k), .number = (n_)                                                                \
    }
#define SYS(k, b)                                                                                  \
    {                                                                                              \
        .kind = (k), .sys = (b)                                                                    \
    }
#define DAY(k, y, m, d)                                                                            \
    {                                                                                              \
        .kind = (k), .day = (y)*10000 + (m)*100 + (d)                                              \
    } /* made a day below */

/* clang-format off */
static struct row {
    const char *name;
    struct search_node n;
    const char *want;
} rows[] = {
    { "ALL", { .kind = SEARCH_ALL }, "1 2 3 4 5" },
    { "SEEN", SYS(SEARCH_FLAG, STORE_SEEN), "1 2" },
    { "UNSEEN", SYS(SEARCH_UNFLAG, STORE_SEEN), "3 4 5" },
    { "FLAGGED", SYS(SEARCH_FLAG, STORE_FLAGGED), "2" },
    { "DELETED", SYS(SEARCH_FLAG, STORE_DELETED), "4" },
    { "DRAFT", SYS(SEARCH_FLAG, STORE_DRAFT), "5" },
    { "ANSWERED", SYS(SEARCH_FLAG, STORE_ANSWERED), "5" },
    { "KEYWORD absent", TEXT(SEARCH_KEYWORD, "nowhere"), "" },
    { "UNKEYWORD absent", TEXT(SEARCH_UNKEYWORD, "nowhere"), "1 2 3 4 5" },
    { "BEFORE", DAY(SEARCH_BEFORE, 2020, 1, 12), "1 2" },
    { "ON", DAY(SEARCH_ON, 2020, 1, 12), "3" },
    { "SINCE", DAY(SEARCH_SINCE, 2020, 1, 12), "3 4 5" },
    { "SENTON as written, not in UTC", DAY(SEARCH_SENTON, 2020, 1, 9), "1" },
    { "SENTON as written, east", DAY(SEARCH_SENTON, 2020, 1, 11), "2" },
    { "SENTBEFORE: none without a date", DAY(SEARCH_SENTBEFORE, 2030, 1, 1), "1 2 5" },
    { "SENTSINCE", DAY(SEARCH_SENTSINCE, 2020, 1, 11), "2 5" },
    { "LARGER", NUM(SEARCH_LARGER, 400), "3" },
    { "SMALLER", NUM(SEARCH_SMALLER, 60), "4" },
    { "OLDER", NUM(SEARCH_OLDER, 3600), "1 2 3 4 5" },
    { "YOUNGER", NUM(SEARCH_YOUNGER, 3600), "" },
    { "FROM", HEAD("FROM", "ALICE"), "1" },
    { "TO across a fold", HEAD("TO", "bob@example.org"), "1 3" },
    { "CC", HEAD("Cc", "carol"), "2" },
    { "SUBJECT decoded, without case", HEAD("SUBJECT", "\xC3\xA4RGER mit \xC3\xB6L"), "2" },
    { "SUBJECT Cyrillic", HEAD("SUBJECT", "\xD0\xBF\xD1\x80\xD0\x98\xD0\x92"), "5" },
    { "SUBJECT folded line", HEAD("SUBJECT", "folded subject"), "3" },
    { "SUBJECT of an inner message is none", HEAD("SUBJECT", "inner"), "" },
    { "HEADER exists", HEAD("Date", ""), "1 2 5" },
    { "HEADER exists, empty", HEAD("x-empty", ""), "4" },
    { "HEADER prefix of a name", HEAD("Subj", ""), "" },
    { "BODY", TEXT(SEARCH_BODY, "QUICK BROWN"), "1" },
    { "BODY quoted-printable, Latin-1, soft break", TEXT(SEARCH_BODY, "\xC3\xB6lpreise steigen"), "2" },
    { "BODY base64 UTF-8 in a part", TEXT(SEARCH_BODY, "gr\xC3\xBC\xC3\x9F" "e aus k\xC3\x96ln"), "3" },
    { "BODY of an attached message", TEXT(SEARCH_BODY, "inner"), "3" },
    { "BODY is not the header", TEXT(SEARCH_BODY, "alice"), "" },
    { "BODY: HTML without its tags", TEXT(SEARCH_BODY, "<p>"), "" },
    { "BODY: decomposed", TEXT(SEARCH_BODY, "gru\xCC\x88\xC3\x9F"), "3" },
    { "BODY: no binary part", TEXT(SEARCH_BODY, "unsearchable"), "" },
    { "BODY empty", TEXT(SEARCH_BODY, ""), "1 2 3 4 5" },
    { "TEXT header", TEXT(SEARCH_TEXT, "carol@EXAMPLE.net"), "2 3" },
    { "TEXT field name", TEXT(SEARCH_TEXT, "subject: hello"), "1" },
    { "TEXT body", TEXT(SEARCH_TEXT, "short"), "5" },
    { "TEXT name of an attachment", TEXT(SEARCH_TEXT, "REPORT.pdf"), "3" },
    { "HEADER not in the index", HEAD("X-Empty", "x"), "" },
    { "EMAILID, none of ours", TEXT(SEARCH_EMAILID, "M00000000000000zz"), "" },
    { "THREADID, in capitals", TEXT(SEARCH_THREADID, "T00000000000000AB"), "" },
    { "SAVEDBEFORE", DAY(SEARCH_SAVEDBEFORE, 2020, 1, 20), "" },
    { "SAVEDON", DAY(SEARCH_SAVEDON, 2020, 1, 12), "" },
    { "SAVEDSINCE", DAY(SEARCH_SAVEDSINCE, 2020, 1, 20), "1 2 3 4 5" },
    { "MODSEQ", NUM(SEARCH_MODSEQ, 1), "1 2 3 4 5" },
    { "MODSEQ far", NUM(SEARCH_MODSEQ, UINT64_MAX / 4), "" },
};
/* clang-format on */

static struct store_uids
set_of(uint32_t a, uint32_t b)
{
    struct store_uids s = { 0 };

    store_uids_add(&s, a, b);
    return s;
}

static unsigned asked;

static bool
always(void *arg)
{
    (void)arg;
    asked++;
    return true;
}

static void
expect(const struct search_node *n, const char *want, bool (*yield)(void *))
{
    struct store_search *s = store_search_new(view, n);
    struct buf got = { 0 };
    struct err e = { 0 };
    const uint32_t *seqs;
    size_t count;
    int rc;

    do
        rc = store_search_run(s, yield, NULL, &e);
    while (rc == 1);
    CHECK_EQ_INT(rc, 0);
    seqs = store_search_result(s, &count);
    for (size_t i = 0; i < count; i++)
        buf_addf(&got, "%s%u", i ? " " : "", (unsigned)seqs[i]);
    CHECK_EQ_STR(buf_z(&got), want);
    store_search_free(&s);
    buf_free(&got);
}

TEST(leaves)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct search_node n = rows[i].n;

        TEST_ROW("%s", rows[i].name);
        n.day =
            n.day ? mime_day_of((int)(n.day / 10000), (int)(n.day / 100 % 100), (int)(n.day % 100))
                  : 0;
        expect(&n, rows[i].want, NULL);
        expect(&n, rows[i].want, always); /* stopped wherever it may be */
    }
    CHECK(asked > 0);
}

/* The first and the last so many of what a search without a limit finds; again with only 2:4 looked at. */
static void
expect_ends(const struct search_node *n, const char *want, size_t first, size_t last, bool among)
{
    struct store_search *s = store_search_new(view, n);
    struct store_uids some = set_of(2, 4);
    uint32_t all[5], got[5];
    size_t n_all = 0, n_got, k = 0;
    const uint32_t *seqs;
    struct err e = { 0 };
    int rc;

    for (const char *p = want; *p; p++)
        if (*p != ' ' && (!among || (*p >= '2' && *p <= '4')))
            all[n_all++] = (uint32_t)(*p - '0');
    for (size_t i = 0; i < n_all; i++)
        if (i < first || i + last >= n_all)
            got[k++] = all[i];
    store_search_limit(s, first, last);
    if (among)
        store_search_among(s, &some);
    while ((rc = store_search_run(s, always, NULL, &e)) == 1) {
    }
    CHECK_EQ_INT(rc, 0);
    seqs = store_search_result(s, &n_got);
    CHECK_EQ_INT(n_got, k);
    for (size_t i = 0; i < k && i < n_got; i++)
        CHECK_EQ_INT(seqs[i], got[i]);
    store_search_free(&s);
    store_uids_free(&some);
}

TEST(no_more_than_asked_for)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct search_node n = rows[i].n;

        n.day =
            n.day ? mime_day_of((int)(n.day / 10000), (int)(n.day / 100 % 100), (int)(n.day % 100))
                  : 0;
        for (unsigned k = 1; k < 9 * 2; k++) {
            TEST_ROW("%s %u %u %u", rows[i].name, k / 2 % 3, k / 6, k % 2);
            if (k / 2 % 3 > 0 || k / 6 > 0)
                expect_ends(&n, rows[i].want, k / 2 % 3, k / 6, k % 2);
        }
    }
}

TEST(an_end_is_found_without_the_rest)
{
    struct search_node text = TEXT(SEARCH_TEXT, "subject");
    struct store_search *s;
    struct err e = { 0 };

    for (int i = 0; i < 2; i++) {
        s = store_search_new(view, &text);
        store_search_limit(s, i == 0, i == 1);
        asked = 0;
        while (store_search_run(s, always, NULL, &e) == 1) {
        }
        CHECK_EQ_INT(asked, 2); /* after one file, and its block */
        store_search_free(&s);
    }
}

TEST(what_a_set_leaves)
{
    struct search_node uids = { .kind = SEARCH_UIDS, .set = set_of(2, UINT32_MAX) };
    struct search_node seen = SYS(SEARCH_FLAG, STORE_SEEN);
    struct search_node *two[] = { &seen, &uids };
    struct search_node and = { .kind = SEARCH_AND, .kids = two, .n_kids = 2 };
    struct store_search *s = store_search_new(view, &and);
    struct store_uids range;

    store_search_range(s, &range);
    CHECK_EQ_INT(store_uids_count(&range), 4);
    CHECK(!store_uids_has(&range, 1));
    store_uids_free(&range);
    store_search_free(&s);
    s = store_search_new(view, &seen);
    store_search_range(s, &range);
    CHECK_EQ_INT(store_uids_count(&range), 5);
    store_uids_free(&range);
    store_search_free(&s);
    store_uids_free(&uids.set);
}

TEST(object_ids)
{
    for (uint32_t seq = 1; seq <= 5; seq++) {
        struct search_node n = { .kind = SEARCH_EMAILID };
        struct store_msg msg;
        struct err e = { 0 };
        char want[12];

        snprintf(want, sizeof want, "%u", (unsigned)seq);
        NEED(store_fetch(view, seq, STORE_GET_IDS, &msg, &e) == 0);
        n.text = sl_z(msg.email_id);
        expect(&n, want, NULL);
        n.kind = SEARCH_THREADID; /* they are five threads */
        n.text = sl_z(msg.thread_id);
        expect(&n, want, NULL);
        store_msg_free(&msg);
    }
}

TEST(sets)
{
    struct search_node n = { .kind = SEARCH_SEQS, .set = set_of(2, 4) };
    struct store_row last;

    expect(&n, "2 3 4", NULL);
    store_uids_free(&n.set);
    NEED(store_view_row(view, 5, &last));
    n = (struct search_node){ .kind = SEARCH_UIDS, .set = set_of(last.uid, last.uid + 100) };
    expect(&n, "5", NULL);
    store_uids_free(&n.set);
}

TEST(trees)
{
    struct search_node fox = TEXT(SEARCH_BODY, "fox"), seen = SYS(SEARCH_FLAG, STORE_SEEN);
    struct search_node flagged = SYS(SEARCH_FLAG, STORE_FLAGGED), dave = HEAD("From", "dave");
    struct search_node *two[] = { &fox, &seen }, *either[] = { &dave, &flagged },
                       *none[] = { &fox };
    struct search_node and = { .kind = SEARCH_AND, .kids = two, .n_kids = 2 };
    struct search_node or = { .kind = SEARCH_OR, .kids = either, .n_kids = 2 };
    struct search_node not = { .kind = SEARCH_NOT, .kids = none, .n_kids = 1 };
    struct search_node *all[] = { &not, & or };
    struct search_node top = { .kind = SEARCH_AND, .kids = all, .n_kids = 2 };
    struct search_node empty = { .kind = SEARCH_AND };

    expect(&and, "1", NULL);
    expect(& or, "2 5", NULL);
    expect(&not, "2 3 4 5", NULL);
    expect(&top, "2 5", NULL);
    expect(&empty, "1 2 3 4 5", NULL);
}

/* Run while the files are away: what the rows decide alone must not open any. */
TEST(no_file_is_opened_in_vain)
{
    struct search_node seqs = { .kind = SEARCH_SEQS, .set = set_of(9, 9) },
                       fox = TEXT(SEARCH_BODY, "fox");
    struct search_node *two[] = { &fox, &seqs }, *alt[] = { &fox, &seqs };
    struct search_node and = { .kind = SEARCH_AND, .kids = two, .n_kids = 2 };
    struct search_node all = { .kind = SEARCH_ALL };
    struct search_node or = { .kind = SEARCH_OR, .kids = alt, .n_kids = 2 };

    alt[1] = &all;
    asked = 0;
    expect(&and, "", always);
    expect(& or, "1 2 3 4 5", always);
    CHECK_EQ_INT(asked,
                 1); /* it is asked after each opened file, and after a block that had candidates */
    expect(&fox, "1", always);
    CHECK_EQ_INT(asked, 1 + 5 + 1);
    store_uids_free(&seqs.set);
}

/* The last: nobody knows how long it is, so it is neither larger nor not larger. */
TEST(a_message_that_is_gone)
{
    struct search_node larger = { .kind = SEARCH_LARGER, .number = 1 };
    struct search_node *kid[] = { &larger };
    struct search_node not = { .kind = SEARCH_NOT, .kids = kid, .n_kids = 1 };
    struct store_row third;
    struct db_stmt *s;
    struct err e = { 0 };
    char path[256];

    snprintf(path, sizeof path, "%s/example.com/u/cur/1578600002.M2P1.host:2,%s", dir,
             mails[2].flags);
    CHECK_EQ_INT(unlink(path), 0);
    NEED(store_view_row(view, 3, &third) && user_lock(view->u, &e) == 0);
    NEED(db_prepare(view->u->db, "UPDATE messages SET crlf = -1 WHERE uid = ?", &s, &e) == 0);
    db_bind_int(s, 1, third.uid);
    CHECK_EQ_INT(db_run(s, &e), 0);
    user_unlock(view->u);
    expect(&larger, "1 2 4 5", NULL);
    expect(&not, "", NULL);
}

/* Hundreds of keys in a large message are not looked for without giving others their turn. */
TEST(many_keys_in_a_large_message)
{
    enum { KEYS = 600, OCTETS = 1 << 20 };
    static char texts[KEYS][8];
    struct search_node *keys = mem_zalloc(KEYS * sizeof(*keys)), *kids[KEYS];
    struct search_node any = { .kind = SEARCH_OR, .kids = kids, .n_kids = KEYS };
    struct search_node fifth = { .kind = SEARCH_SEQS, .set = set_of(5, 5) };
    struct search_node *two[] = { &fifth, &any };
    struct search_node and = { .kind = SEARCH_AND, .kids = two, .n_kids = 2 };
    char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/example.com/u/cur/1578600004.M4P1.host:2,%s", dir,
             mails[4].flags);
    f = fopen(path, "a");
    NEED(f != NULL);
    for (int i = 0; i < OCTETS / 64; i++)
        fprintf(f, "%62s\r\n", "x");
    fputs("K599\r\n", f);
    NEED(fclose(f) == 0);
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(texts[i], sizeof texts[i], "k%zu", i);
        keys[i] = (struct search_node){ .kind = SEARCH_BODY, .text = sl_z(texts[i]) };
        kids[i] = &keys[i];
    }
    asked = 0;
    expect(&and, "5", always);
    CHECK_EQ_INT(asked, 3 + 1);
    any.n_kids = KEYS - 1;
    keys[59].text = SL("nowhere"); /* K59 is in K599 */
    keys[5].text = SL("nowhere");
    expect(&and, "", always);
    store_uids_free(&fifth.set);
    free(keys);
}

static void
write_mails(void)
{
    char path[256];

    snprintf(path, sizeof path,
             "mkdir -p %s/example.com/u/new %s/example.com/u/cur %s/example.com/u/tmp %s/q", dir,
             dir, dir, dir);
    BUG_ON(system(path) != 0);
    for (size_t i = 0; i < COUNT_OF(mails); i++) {
        struct timespec t[2] = { 0 };
        int64_t unix_s;
        int16_t tz;
        FILE *f;

        snprintf(path, sizeof path, "%s/example.com/u/cur/15786%05zu.M%zuP1.host:2,%s", dir, i, i,
                 mails[i].flags);
        f = fopen(path, "w");
        BUG_ON(!f || fputs(mails[i].text, f) < 0 || fclose(f) != 0);
        BUG_ON(!mime_parse_imap_date(sl_z(mails[i].date), &unix_s, &tz));
        t[0].tv_sec = t[1].tv_sec = unix_s;
        BUG_ON(utimensat(AT_FDCWD, path, t, 0) != 0);
    }
}

static void
stop(void *arg)
{
    (void)arg;
    loop_stop();
}

int
main(int argc, char **argv)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct store *store = NULL;
    struct timer end = { 0 };
    struct store_user *user = NULL;
    struct conf *conf;
    struct err e = { 0 };
    char command[64];
    int rc;

    loop_init(); /* the store tells other views through it */
    BUG_ON(!mkdtemp(dir));
    write_mails();
    buf_addf(&text,
             "queue_directory = %s/q\ndata_directory = %s/q\nmail_location = maildir:%s/%%d/%%n\n",
             dir, dir, dir);
    conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    BUG_ON(!conf);
    if (store_new(conf, &store, &e) != 0 ||
        store_user_open(store, SL("u@example.com"), NULL, &user, &e) != 0 ||
        store_select(user, SL("INBOX"), false, &view, &e) != 0) {
        printf("cannot open the mailbox: %s\n", e.msg);
        return 1;
    }
    rc = test_main(argc, argv);
    store_unselect(&view);
    store_user_close(&user);
    timer_start(&end, 10, stop, NULL);
    loop_run(); /* what it wanted to tell */
    store_free(&store);
    loop_free();
    conf_unref(&conf);
    buf_free(&text);
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command) == 0 ? rc : 1;
}
