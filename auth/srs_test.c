/* Addresses were made with Python's hmac from the published description of the scheme; tests/interop/t_srs.py holds them
 * against postsrsd and Mail::SRS. */
#include "auth/srs.h"

#include "auth/srs_map.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DAY = 20000, DAY_S = 24 * 60 * 60 };

static struct srs
srs_at(int day)
{
    return (struct srs){ .secrets = { SL("secret"), SL("old one") },
                         .n_secrets = 2,
                         .now_s = (int64_t)day * DAY_S + 100,
                         .days = 21,
                         .hash = 4 };
}

static const char *
show(enum srs_rc rc, struct buf *out)
{
    return rc == SRS_OK        ? buf_z(out)
           : rc == SRS_EXPIRED ? "expired"
           : rc == SRS_OTHER   ? "other"
                               : "failed";
}

TEST(a_sender_becomes)
{
    static const struct {
        const char *sender, *want;
        unsigned hash;
        int day;
    } rows[] = {
        { "alice@sender.example", "SRS0=UZ7x=RA=sender.example=alice@fwd.example", 4, DAY },
        { "alice@sender.example", "SRS0=UZ7xTEio=RA=sender.example=alice@fwd.example", 8, DAY },
        { "alice@sender.example",
          "SRS0=UZ7xTEiotVCKh2BDU5iNt6UIDIQ=RA=sender.example=alice@fwd.example", 27, DAY },
        { "alice@sender.example", "SRS0=LI3c=77=sender.example=alice@fwd.example", 4, 1023 },
        { "Al=Ice+x@Sender.Example", "SRS0=11gO=RA=Sender.Example=Al=Ice+x@fwd.example", 4, DAY },
        { "a b@sender.example", "SRS0=aJfz=RA=sender.example=a b@fwd.example", 4, DAY },
        { "j\303\266rg@b\303\274cher.example",
          "SRS0=bRsw=RA=b\303\274cher.example=j\303\266rg@fwd.example", 4, DAY },
        /* what another forwarder made is put into an envelope of ours, with any of the three separators */
        { "SRS0=aBcD=T2=sender.example=alice@fwd.example",
          "SRS1=5688=fwd.example==aBcD=T2=sender.example=alice@fwd.example", 4, DAY },
        { "srs0+aBcD=T2=sender.example=alice@fwd.example",
          "SRS1=hL+m=fwd.example=+aBcD=T2=sender.example=alice@fwd.example", 4, DAY },
        { "SRS0-aBcD=T2=sender.example=alice@fwd.example",
          "SRS1=Ir48=fwd.example=-aBcD=T2=sender.example=alice@fwd.example", 4, DAY },
        /* and what a second one made leads to the first all the same */
        { "SRS1=ZZZZ=fwd.example==aBcD=T2=sender.example=alice@two.example",
          "SRS1=5688=fwd.example==aBcD=T2=sender.example=alice@fwd.example", 4, DAY },
        { "alice", "other", 4, DAY },
        { "alice@", "other", 4, DAY },
        { "@sender.example", "other", 4, DAY },
        { "alice@sender=.example", "other", 4, DAY },
        { "", "other", 4, DAY },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct srs c = srs_at(rows[i].day);
        struct buf out = { 0 };

        TEST_ROW("%s", rows[i].sender);
        c.hash = rows[i].hash;
        CHECK_EQ_STR(show(srs_forward(&c, sl_z(rows[i].sender), SL("fwd.example"), &out), &out),
                     rows[i].want);
        buf_free(&out);
    }
}

TEST(an_address_stands_for)
{
    static const struct {
        const char *what, *addr, *want;
    } rows[] = {
        { "as made", "SRS0=UZ7x=RA=sender.example=alice@fwd.example", "alice@sender.example" },
        { "at any domain", "SRS0=UZ7x=RA=sender.example=alice@other.example",
          "alice@sender.example" },
        { "in lower case", "srs0=uz7x=ra=sender.example=alice@fwd.example",
          "alice@sender.example" },
        { "in upper case", "SRS0=UZ7X=RA=SENDER.EXAMPLE=ALICE@FWD.EXAMPLE",
          "ALICE@SENDER.EXAMPLE" },
        { "with +", "SRS0+UZ7x=RA=sender.example=alice@fwd.example", "alice@sender.example" },
        { "with -", "SRS0-UZ7x=RA=sender.example=alice@fwd.example", "alice@sender.example" },
        { "a longer hash", "SRS0=UZ7xTEio=RA=sender.example=alice@fwd.example",
          "alice@sender.example" },
        { "the whole hash", "SRS0=UZ7xTEiotVCKh2BDU5iNt6UIDIQ=RA=sender.example=alice@fwd.example",
          "alice@sender.example" },
        { "= in the local part", "SRS0=11gO=RA=Sender.Example=Al=Ice+x@fwd.example",
          "Al=Ice+x@Sender.Example" },
        { "signed with the second secret", "SRS0=6+ZP=RA=sender.example=alice@fwd.example",
          "alice@sender.example" },
        { "21 days old", "SRS0=784m=QL=sender.example=alice@fwd.example", "alice@sender.example" },
        { "22 days old", "SRS0=ql2H=QK=sender.example=alice@fwd.example", "expired" },
        { "from tomorrow", "SRS0=7RBE=RB=sender.example=alice@fwd.example",
          "alice@sender.example" },
        { "from the day after", "SRS0=INGD=RC=sender.example=alice@fwd.example", "expired" },
        { "a later one", "SRS1=5688=fwd.example==aBcD=T2=sender.example=alice@two.example",
          "SRS0=aBcD=T2=sender.example=alice@fwd.example" },
        { "a later one with +", "SRS1=hL+m=fwd.example=+aBcD=T2=sender.example=alice@two.example",
          "SRS0+aBcD=T2=sender.example=alice@fwd.example" },
        { "another hash", "SRS0=UZ7y=RA=sender.example=alice@fwd.example", "other" },
        { "a short hash", "SRS0=UZ7=RA=sender.example=alice@fwd.example", "other" },
        { "no hash", "SRS0==RA=sender.example=alice@fwd.example", "other" },
        { "a hash that is too long",
          "SRS0=UZ7xTEiotVCKh2BDU5iNt6UIDIQ=x=RA=sender.example=alice@fwd.example", "other" },
        { "another user", "SRS0=UZ7x=RA=sender.example=bob@fwd.example", "other" },
        { "another domain", "SRS0=UZ7x=RA=elsewhere.example=alice@fwd.example", "other" },
        { "another day", "SRS0=UZ7x=RB=sender.example=alice@fwd.example", "other" },
        { "no day", "SRS0=UZ7x=sender.example=alice@fwd.example", "other" },
        { "a day of other letters", "SRS0=UZ7x=R1=sender.example=alice@fwd.example", "other" },
        { "another hash, a later one",
          "SRS1=5689=fwd.example==aBcD=T2=sender.example=alice@two.example", "other" },
        { "another host, a later one",
          "SRS1=5688=evil.example==aBcD=T2=sender.example=alice@two.example", "other" },
        { "nothing more", "SRS0=@fwd.example", "other" },
        { "no local part in it", "SRS0=UZ7x=RA=sender.example=@fwd.example", "other" },
        { "no domain in it", "SRS0=UZ7x=RA==alice@fwd.example", "other" },
        { "somebody's name", "SRS0@fwd.example", "other" },
        { "another separator", "SRS0.UZ7x=RA=sender.example=alice@fwd.example", "other" },
        { "without a domain", "SRS0=UZ7x=RA=sender.example=alice", "other" },
        { "nothing", "", "other" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct srs c = srs_at(DAY);
        struct buf out = { 0 };

        TEST_ROW("%s", rows[i].what);
        CHECK_EQ_STR(show(srs_reverse(&c, sl_z(rows[i].addr), &out), &out), rows[i].want);
        buf_free(&out);
    }
}

/* Where longer hashes are made, a short one is nothing: it could be guessed. */
TEST(short_hashes)
{
    struct srs c = srs_at(DAY);
    struct buf out = { 0 };

    c.hash = 8;
    CHECK_EQ_STR(
        show(srs_reverse(&c, SL("SRS0=UZ7x=RA=sender.example=alice@fwd.example"), &out), &out),
        "other");
    CHECK_EQ_STR(
        show(srs_reverse(&c, SL("SRS0=UZ7xTEio=RA=sender.example=alice@fwd.example"), &out), &out),
        "alice@sender.example");
    buf_free(&out);
}

/* The stamp begins anew every 1024 days. */
TEST(days_wrap)
{
    for (int day = 1020; day < 1030; day++) {
        struct srs then = srs_at(day);
        struct buf addr = { 0 };

        CHECK_EQ_INT(srs_forward(&then, SL("a@b.example"), SL("x.example"), &addr), SRS_OK);
        for (int later = 0; later < 30; later++) {
            struct srs now = srs_at(day + later);
            struct buf out = { 0 };

            TEST_ROW("day %d, %d days later", day, later);
            CHECK_EQ_INT(srs_reverse(&now, buf_slice(&addr), &out),
                         later <= 21 ? SRS_OK : SRS_EXPIRED);
            buf_free(&out);
        }
        buf_free(&addr);
    }
}

/* ---- as look-ups ---- */

static char dir[64];

static void
begin(void)
{
    snprintf(dir, sizeof dir, "/tmp/postern-srs-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void
end(void)
{
    struct err e = { 0 };

    CHECK_EQ_INT(fs_remove_tree(dir, &e), 0);
}

static struct table_set *
set_of(const char *lines)
{
    struct conf_problems ps = { 0 };
    struct buf text = { 0 };
    struct table_set *s;
    struct conf *c;

    buf_addf(&text,
             "config_directory = %s\ndata_directory = %s\nmyhostname = mx.example.com\n"
             "myorigin = example.com\nmydestination = example.com, mx.example.com, localhost\n"
             "virtual_alias_domains = inline:{ { fwd.example = x }, { broken.example = x } }\n"
             "virtual_mailbox_domains = hosted.example, xn--bcher-kva.example\nalias_maps =\n%s",
             dir, dir, lines);
    c = conf_parse(buf_slice(&text), "main.cf", &ps);
    buf_free(&text);
    if (c == NULL)
        FAIL("%s", ps.n ? ps.v[0].text : "main.cf");
    conf_problems_free(&ps);
    s = table_set_new(c);
    conf_unref(&c);
    return s;
}

static const char *
ask(struct table_set *s, const char *name, const char *key, struct buf *out)
{
    struct err e = { 0 };

    switch (srs_map_lookup(s, sl_z(name), sl_z(key), out, &e)) {
    case TABLE_FOUND:
        return buf_z(out);
    case TABLE_NOTFOUND:
        return "-";
    default:
        return "trouble";
    }
}

static void
put_secret(const char *text)
{
    char path[128];
    struct err e = { 0 };

    snprintf(path, sizeof path, "%s/srs.secret", dir);
    if (text)
        CHECK_EQ_INT(fs_replace_file(path, sl_z(text), 0600, &e), 0);
    else
        unlink(path);
}

/* Only the end of an address: the rest changes with the day. */
static const char *
tail(const char *addr)
{
    size_t n = strlen(addr);

    return n > 12 && strncmp(addr, "SRS0=", 5) == 0 ? addr + 12 : addr;
}

TEST(whose_mail_is_rewritten_and_to_what)
{
    static const struct {
        const char *lines, *key, *want;
    } rows[] = {
        { "", "@fwd.example a@sender.example", "=sender.example=a@fwd.example" },
        { "", "@hosted.example a@sender.example", "=sender.example=a@hosted.example" },
        { "", "a@sender.example", "=sender.example=a@example.com" },
        { "", "a b@sender.example", "=sender.example=a b@example.com" },
        /* no domain of ours, or none that means anything elsewhere: it is myorigin's */
        { "", "@sender.example a@sender.example", "=sender.example=a@example.com" },
        { "", "@localhost a@sender.example", "=sender.example=a@example.com" },
        { "", "@b\303\274cher.example a@sender.example",
          "=sender.example=a@xn--bcher-kva.example" },
        { "myorigin = elsewhere.example\n", "a@sender.example",
          "=sender.example=a@mx.example.com" },
        { "myorigin = elsewhere.example\nmydestination = localhost\n", "a@sender.example", "-" },
        { "srs_domain = bounces.example\n", "@fwd.example a@sender.example",
          "=sender.example=a@bounces.example" },
        /* ours, and those that are to be left alone */
        { "", "@fwd.example a@hosted.example", "-" },
        { "", "@fwd.example a@EXAMPLE.com", "-" },
        { "", "@fwd.example a@fwd.example", "-" },
        { "srs_domain = bounces.example\n", "@fwd.example a@bounces.example", "-" },
        { "srs_exclude_domains = sender.example\n", "@fwd.example a@Sender.example", "-" },
        { "srs_exclude_domains = sender.example\n", "@fwd.example a@sub.sender.example",
          "=sub.sender.example=a@fwd.example" },
        { "srs_exclude_domains = .sender.example\n", "@fwd.example a@sub.sender.example", "-" },
        { "srs_exclude_domains = .sender.example\n", "@fwd.example a@sender.example",
          "=sender.example=a@fwd.example" },
        { "srs_enable = no\n", "@fwd.example a@sender.example", "-" },
        { "relay_domains = sender.example\n", "@fwd.example a@sender.example",
          "=sender.example=a@fwd.example" },
        /* what is no sender */
        { "", "@fwd.example root", "-" },
        { "", "@fwd.example ", "-" },
        { "", "", "-" },
        { "", "root", "-" },
        { "", "@sender.example", "-" },
        { "", "@fwd.example a@[192.0.2.1]", "-" },
        { "", "@fwd.example a@", "-" },
        /* a table that cannot be asked */
        { "virtual_mailbox_domains = fail:later\n", "@fwd.example a@sender.example", "trouble" },
        { "srs_secret_file = $data_directory/missing\n", "@fwd.example a@sender.example",
          "trouble" },
    };

    begin();
    put_secret("one\n");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct table_set *s = set_of(rows[i].lines);
        struct buf out = { 0 };

        TEST_ROW("%s%s", rows[i].lines, rows[i].key);
        CHECK_EQ_STR(tail(ask(s, "srs_forward", rows[i].key, &out)), rows[i].want);
        buf_free(&out);
        table_set_free(&s);
    }
    end();
}

TEST(ways_back)
{
    struct table_set *s = (begin(), set_of(""));
    struct buf out = { 0 }, addr = { 0 };
    struct srs old = {
        .secrets = { SL("one") }, .n_secrets = 1, .now_s = clock_unix_s() - 22 * DAY_S, .hash = 4
    };

    put_secret("one\n");
    ask(s, "srs_forward", "@fwd.example a@sender.example", &addr);
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "a@sender.example");
    CHECK_EQ_STR(ask(s, "srs_verdict", buf_z(&addr), &out), "valid a@sender.example");
    /* a new secret signs, the old one still holds, until it is taken out */
    put_secret("two\r\n\none\n");
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "a@sender.example");
    put_secret("two\n");
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "-");
    CHECK_EQ_STR(ask(s, "srs_verdict", buf_z(&addr), &out), "-");
    put_secret("\n\n");
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "trouble");
    put_secret("one");
    /* at a domain that is not ours it is somebody else's */
    buf_reset(&addr);
    srs_forward(
        &(struct srs){
            .secrets = { SL("one") }, .n_secrets = 1, .now_s = clock_unix_s(), .hash = 4 },
        SL("a@sender.example"), SL("elsewhere.example"), &addr);
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "-");
    buf_reset(&addr);
    srs_forward(&old, SL("a@sender.example"), SL("fwd.example"), &addr);
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "-");
    CHECK_EQ_STR(ask(s, "srs_verdict", buf_z(&addr), &out), "expired");
    buf_free(&addr);
    buf_free(&out);
    table_set_free(&s);
    end();
}

TEST(the_secret_is_made_on_the_first_need)
{
    struct table_set *s = (begin(), set_of(""));
    struct buf out = { 0 }, addr = { 0 };
    struct stat st = { 0 };
    char path[128];

    put_secret(NULL);
    snprintf(path, sizeof path, "%s/srs.secret", dir);
    CHECK_EQ_STR(ask(s, "srs_reverse", "SRS0=UZ7x=RA=sender.example=alice@fwd.example", &out), "-");
    CHECK(stat(path, &st) != 0); /* strangers' look-alikes make none */
    CHECK_EQ_STR(tail(ask(s, "srs_forward", "a@sender.example", &addr)),
                 "=sender.example=a@example.com");
    NEED(stat(path, &st) == 0);
    CHECK_EQ_INT(st.st_mode & 0777, 0600);
    table_set_free(&s);
    s = set_of(""); /* another start: the same one */
    CHECK_EQ_STR(ask(s, "srs_reverse", buf_z(&addr), &out), "a@sender.example");
    CHECK_EQ_STR(ask(s, "srs_verdict", "a@fwd.example", &out), "-");
    buf_free(&addr);
    buf_free(&out);
    table_set_free(&s);
    end();
}

TEST_MAIN()
