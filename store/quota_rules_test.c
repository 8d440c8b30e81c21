/* store/quota_rules_test.c - rules as main.cf and userdb write them, what they allow, and when a warning is due. */
#include "base/test.h"
#include "base/mem.h"
#include "store/quota_int.h"

#include <stdlib.h>

enum { K = 1024, M = 1024 * 1024 };

static struct conf *
conf_of(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(sl_z(lines), "test", &ps);

    if (c == NULL || ps.n > 0)
        FAIL("%s", ps.n > 0 ? ps.v[0].text : "no configuration");
    conf_problems_free(&ps);
    return c;
}

static struct quota_rules *
rules_of(const char *lines, const char *userdb)
{
    struct conf *c = conf_of(lines);
    struct quota_rules *r = NULL;
    struct err e = { 0 };

    if (quota_rules_new(c, sl_z(userdb), &r, &e))
        FAIL("%s", e.msg);
    conf_unref(&c);
    return r;
}

TEST(limits_of_mailboxes)
{
    static const struct {
        const char *conf, *userdb, *mailbox;
        char separator;
        bool counts;
        int64_t octets, messages;
    } rows[] = {
        { "quota_rule = *:storage=1M", "", "INBOX", '.', true, M, 0 },
        { "quota_rule = *:storage=1024", "", "INBOX", '.', true, M, 0 },
        { "quota_rule = *:bytes=1024", "", "INBOX", '.', true, K, 0 },
        { "quota_rule = *:storage=2048b:messages=1k", "", "INBOX", '.', true, 2048, K },
        { "quota_rule = *:storage=1GB", "", "INBOX", '.', true, 1024 * (int64_t)M, 0 },
        { "quota_rule = *:storage=2TiB", "", "INBOX", '.', true, 2 * 1024 * 1024 * (int64_t)M, 0 },
        { "quota_rule = ?:messages=7", "", "INBOX", '.', true, 0, 7 },
        { "", "", "INBOX", '.', true, 0, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Trash:storage=+100M", "", "Trash", '.', true,
          110 * M, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Trash:storage=+100M", "", "Trash.x", '.', true,
          10 * M, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Trash:storage=+10%%", "", "Trash", '.', true,
          11 * M, 0 },
        { "quota_rule = *:bytes=2305843009213693951\nquota_rule2 = Trash:storage=+100000%", "",
          "Trash", '.', true, INT64_C(2305843009213693951) * 2, 0 },
        { "quota_rule = *:bytes=2305843009213693951\nquota_rule2 = Trash:storage=-100000%", "",
          "Trash", '.', true, 1, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Trash:storage=10%", "", "Trash", '.', true,
          11 * M, 0 },
        { "quota_rule = *:storage=10M:messages=100\nquota_rule2 = Junk:storage=-50%:messages=-40",
          "", "Junk", '.', true, 5 * M, 60 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Junk:storage=-20M", "", "Junk", '.', true, 1,
          0 },
        /* what adds to no limit is none */
        { "quota_rule2 = Trash:storage=+100M", "", "Trash", '.', true, 0, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = SPAM:ignore", "", "SPAM", '.', false, 0, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = SPAM:ignore", "", "SPAMX", '.', true, 10 * M,
          0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Lists/*:ignore", "", "Lists.a.b", '.', false,
          0, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Lists/*:ignore", "", "Lists/a", '/', false, 0,
          0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = Lists/*:ignore", "", "Lists", '.', true,
          10 * M, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = L?st*s:ignore", "", "Last.of.us", '.', false,
          0, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = inbox:storage=+1M", "", "INBOX", '.', true,
          11 * M, 0 },
        /* the first that matches holds, by number and not by line */
        { "quota_rule = *:storage=10M\nquota_rule10 = A*:ignore\nquota_rule9 = Ab:storage=+1M", "",
          "Ab", '.', true, 11 * M, 0 },
        /* userdb's go before those of the same name, and nothing else */
        { "quota_rule = *:storage=10M\nquota_rule2 = SPAM:ignore", "quota_rule=*:storage=20M\n",
          "INBOX", '.', true, 20 * M, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = SPAM:ignore", "quota_rule=*:storage=20M\n",
          "SPAM", '.', false, 0, 0 },
        { "quota_rule = *:storage=10M\nquota_rule2 = SPAM:ignore",
          "quota_rule=*:storage=20M\nquota_rule2=SPAM:storage=+1M\nhome=/x\n", "SPAM", '.', true,
          21 * M, 0 },
        { "quota_rule = *:storage=10M", "quota_rule=*:storage=0\n", "INBOX", '.', true, 0, 0 },
        { "quota_rule = *:storage=10M", "quota_rule3=*:messages=5\n", "INBOX", '.', true, 10 * M,
          5 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quota_rules *r = rules_of(rows[i].conf, rows[i].userdb);
        struct quota_limit l;

        TEST_ROW("%zu %s %s", i, rows[i].conf, rows[i].mailbox);
        CHECK_EQ_INT(quota_rules_limit(r, sl_z(rows[i].mailbox), rows[i].separator, &l),
                     rows[i].counts);
        CHECK_EQ_INT(l.octets, rows[i].octets);
        CHECK_EQ_INT(l.messages, rows[i].messages);
        quota_rules_free(&r);
    }
}

TEST(what_is_wrong_is_told_with_its_line)
{
    static const struct {
        const char *line, *want;
    } rows[] = {
        { "quota_rule = storage=1G", "quota_rule: MAILBOX:LIMIT is wanted" },
        { "quota_rule = *:storage=", "quota_rule: \"\" is no number" },
        { "quota_rule = *:storage=1X", "unit \"X\" is not known" },
        { "quota_rule = *:storage=+1G", "a limit of its own has no sign" },
        { "quota_rule = *:storage=-1G", "a limit cannot be negative" },
        { "quota_rule = *:storage=10%", "of what?" },
        { "quota_rule = *:storage=99999999999T", "is too much" },
        { "quota_rule = *:size=1G", "\"size=1G\" is not known" },
        { "quota_rule = *:ignore", "\"ignore\" is not known" },
        { "quota_rule7 = Trash:ignore:storage=1G", "quota_rule7: \"ignore\" is not known" },
        { "quota_grace = much", "quota_grace: \"much\" is no number" },
        { "quota_max_mail_size = 10%", "a size is wanted" },
        { "quota_warning2 = storage=95%", "quota_warning2: LIMIT COMMAND is wanted" },
        { "quota_domain_rule = example.org", "quota_domain_rule: DOMAIN:LIMIT is wanted" },
        { "quota_exceeded_message = </no/such/file", "quota_exceeded_message: " },
        { "quota = :User quota", "quota: BACKEND:NAME is wanted" },
        { "quota = dict:User quota:ns=Public/", "is not supported" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf_problems ps = { 0 };
        struct buf text = { 0 };
        struct conf *c;

        TEST_ROW("%s", rows[i].line);
        buf_addf(&text, "myhostname = a.example\n%s\n", rows[i].line);
        c = conf_of(buf_z(&text));
        quota_conf_check(c, &ps);
        NEED(ps.errors == 1);
        CHECK_EQ_INT(ps.v[0].line, 2);
        if (strstr(ps.v[0].text, rows[i].want) == NULL)
            FAIL("said \"%s\"", ps.v[0].text);
        conf_problems_free(&ps);
        conf_unref(&c);
        buf_free(&text);
    }
}

TEST(what_is_right_is_not_complained_about)
{
    struct conf *c = conf_of("quota = maildir:User quota\nquota_rule = *:storage=1G\n"
                             "quota_rule2 = Trash:storage=+10%%\nquota_rule12 = SPAM:ignore\n"
                             "quota_warning = storage=95%% quota-warning 95 %u\n"
                             "quota_warning2 = storage=80%% quota-warning 80 %u\n"
                             "quota_warning3 = -storage=100%% quota-warning below %u\n"
                             "quota_grace = 10%%\nquota_max_mail_size = 100M\n"
                             "quota_domain_rule = *:storage=50G\n");
    struct conf_problems ps = { 0 };

    quota_conf_check(c, &ps);
    CHECK_EQ_INT(ps.n, 0);
    conf_problems_free(&ps);
    conf_unref(&c);

    /* rules without quota: a warning, as nobody would notice */
    c = conf_of("quota_rule = *:storage=1G\n");
    quota_conf_check(c, &ps);
    CHECK_EQ_INT(ps.n, 1);
    CHECK_EQ_INT(ps.errors, 0);
    conf_problems_free(&ps);
    conf_unref(&c);
}

TEST(domains_have_their_own_limit)
{
    static const struct {
        const char *userdb, *domain;
        int64_t octets;
    } rows[] = {
        { "", "example.org", 50 * (int64_t)M },
        { "", "EXAMPLE.org", 50 * (int64_t)M },
        { "", "other.example", 10 * (int64_t)M },
        { "quota_domain_rule=*:storage=7M\n", "example.org", 7 * (int64_t)M },
        { "quota_domain_rule9=example.org:storage=0\n", "example.org", 0 },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quota_rules *r = rules_of("quota_domain_rule = *:storage=10M\n"
                                         "quota_domain_rule2 = example.org:storage=50M",
                                         rows[i].userdb);

        TEST_ROW("%s %s", rows[i].userdb, rows[i].domain);
        CHECK_EQ_INT(quota_rules_domain(r, sl_z(rows[i].domain)).octets, rows[i].octets);
        quota_rules_free(&r);
    }
}

TEST(what_fits)
{
    static const struct {
        const char *conf;
        int64_t used, used_messages, domain_used, octets, messages, max_octets;
        unsigned flags;
        const char *want; /* of the message; NULL: it fits */
    } rows[] = {
        { "quota_rule = *:bytes=1000", 900, 1, 0, 100, 1, 100, 0, NULL },
        { "quota_rule = *:bytes=1000", 900, 1, 0, 101, 1, 101, 0,
          "Quota exceeded (mailbox for user is full)" },
        { "quota_rule = *:bytes=1000\nquota_exceeded_message = Full", 900, 1, 0, 101, 1, 101, 0,
          "Full" },
        { "quota_rule = *:messages=10", 900, 9, 0, 100, 1, 100, 0, NULL },
        { "quota_rule = *:messages=10", 900, 9, 0, 100, 2, 100, 0, "Quota exceeded" },
        /* the last delivery may exceed by the grace, an APPEND may not; whoever is full gets nothing */
        { "quota_rule = *:bytes=1000", 999, 1, 0, 101, 1, 101, QUOTA_GRACE, NULL },
        { "quota_rule = *:bytes=1000", 999, 1, 0, 102, 1, 102, QUOTA_GRACE, "Quota exceeded" },
        { "quota_rule = *:bytes=1000", 1000, 1, 0, 1, 1, 1, QUOTA_GRACE, "Quota exceeded" },
        { "quota_rule = *:bytes=1000\nquota_grace = 500", 999, 1, 0, 501, 1, 501, QUOTA_GRACE,
          NULL },
        { "quota_rule = *:bytes=1000\nquota_grace = 0", 999, 1, 0, 2, 1, 2, QUOTA_GRACE,
          "Quota exceeded" },
        { "quota_rule = *:messages=10", 0, 10, 0, 1, 1, 1, QUOTA_GRACE, "Quota exceeded" },
        /* is there room at all */
        { "quota_rule = *:bytes=1000", 999, 1, 0, 0, 0, 0, QUOTA_NOW, NULL },
        { "quota_rule = *:bytes=1000", 1000, 1, 0, 0, 0, 0, QUOTA_NOW, "Quota exceeded" },
        { "quota_rule = *:bytes=1000", 2000, 1, 0, 0, 0, 0, 0, NULL },
        { "quota_rule = *:messages=10", 0, 10, 0, 0, 0, 0, QUOTA_NOW, "Quota exceeded" },
        /* both limits hold */
        { "quota_rule = *:bytes=1000\nquota_domain_rule = *:bytes=5000", 100, 1, 4950, 51, 1, 51, 0,
          "Quota exceeded" },
        { "quota_rule = *:bytes=1000\nquota_domain_rule = *:bytes=5000", 100, 1, 4950, 50, 1, 50, 0,
          NULL },
        { "quota_domain_rule = *:bytes=5000", 100, 1, 5000, 0, 0, 0, QUOTA_NOW, "Quota exceeded" },
        { "quota_max_mail_size = 100", 0, 0, 0, 100, 1, 100, 0, NULL },
        { "quota_max_mail_size = 100", 0, 0, 0, 101, 1, 101, QUOTA_GRACE,
          "larger than the maximum" },
        { "quota = count:x:noenforcing\nquota_rule = *:bytes=1", 5, 5, 5, 5, 5, 5, QUOTA_NOW,
          NULL },
        { "", INT64_MAX / 2, 1, 0, INT64_MAX / 4, 1, 1, 0, NULL },
        { "quota_rule = *:bytes=1000", 1, 1, 0, INT64_MAX, 1, 1, 0, "Quota exceeded" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quota_rules *r = rules_of(rows[i].conf, "");
        struct quota_usage u = { .octets = rows[i].used,
                                 .messages = rows[i].used_messages,
                                 .limit = quota_rules_user(r),
                                 .domain_octets = rows[i].domain_used,
                                 .domain_limit = quota_rules_domain(r, SL("example.org")) };
        struct quota_limit at;
        struct err e = { 0 };

        TEST_ROW("%zu %s", i, rows[i].conf);
        quota_rules_limit(r, SL("INBOX"), '.', &at);
        CHECK_EQ_INT(quota_judge(r, &u, &at, rows[i].octets, rows[i].messages, rows[i].max_octets,
                                 rows[i].flags, &e),
                     rows[i].want == NULL ? 0 : -1);
        if (rows[i].want != NULL) {
            CHECK_EQ_INT(e.kind, ERR_LIMIT);
            if (strstr(e.msg, rows[i].want) == NULL)
                FAIL("said \"%s\"", e.msg);
        }
        quota_rules_free(&r);
    }
}

TEST(when_a_warning_is_due)
{
    static const char conf[] = "quota_rule = *:bytes=1000:messages=100\n"
                               "quota_warning = storage=95%% full 95\n"
                               "quota_warning2 = bytes=800 full 80\n"
                               "quota_warning3 = +messages=50%% many\n"
                               "quota_warning4 = -storage=80% below\n";
    static const struct {
        int64_t was, was_messages, now, now_messages;
        const char *want;
    } rows[] = {
        { 0, 0, 799, 1, NULL },        { 799, 1, 800, 2, "full 80" }, { 800, 1, 949, 2, NULL },
        { 949, 1, 950, 2, "full 95" }, { 0, 0, 2000, 1, "full 95" }, /* the first that matches alone */
        { 0, 49, 0, 50, "many" },      { 0, 50, 0, 51, NULL },        { 900, 1, 800, 1, NULL },
        { 800, 1, 799, 1, "below" },   { 2000, 1, 0, 0, "below" },    { 500, 1, 500, 1, NULL },
    };
    struct quota_rules *r = rules_of(conf, "");

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct quota_usage was = { .octets = rows[i].was, .messages = rows[i].was_messages },
                           now = { .octets = rows[i].now, .messages = rows[i].now_messages };
        const struct quota_warning *w = quota_warning_due(r, &was, &now);

        TEST_ROW("%lld -> %lld", (long long)rows[i].was, (long long)rows[i].now);
        CHECK((w == NULL) == (rows[i].want == NULL));
        if (w != NULL && rows[i].want != NULL)
            CHECK_EQ_STR(w->command, rows[i].want);
    }
    quota_rules_free(&r);
}

TEST(the_same_mailboxes_are_ignored_by_the_same_number)
{
    struct quota_rules *a = rules_of("quota_rule2 = SPAM:ignore", ""),
                       *b = rules_of("quota_rule = *:storage=5G\nquota_rule5 = SPAM:ignore", ""),
                       *c = rules_of("quota_rule2 = SPAMX:ignore", ""), *d = rules_of("", "");

    CHECK_EQ_INT(quota_rules_ignored(a), quota_rules_ignored(b));
    CHECK(quota_rules_ignored(a) != quota_rules_ignored(c));
    CHECK(quota_rules_ignored(a) != 0);
    CHECK_EQ_INT(quota_rules_ignored(d), 0);
    quota_rules_free(&a);
    quota_rules_free(&b);
    quota_rules_free(&c);
    quota_rules_free(&d);
}

TEST_MAIN()
