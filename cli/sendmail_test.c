#include "base/mem.h"
#include "base/test.h"
#include "cli/sendmail.h"
#include "proto/smtp_param.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- options ---- */

static const char *
show(const struct sendmail_opts *o)
{
    static const char *const modes[] = { "bm", "bv", "bs", "bp", "bi", "bd", "q", "ignore" };
    static char out[1000];
    struct buf b = { 0 };

    buf_addf(&b, "%s", modes[o->mode]);
    if (o->sender)
        buf_addf(&b, " f<%s>", o->sender);
    if (o->full_name)
        buf_addf(&b, " F<%s>", o->full_name);
    if (o->conf)
        buf_addf(&b, " C<%s>", o->conf);
    if (o->envid)
        buf_addf(&b, " V<%s>", o->envid);
    if (o->body)
        buf_addf(&b, " B<%s>", o->body);
    if (o->ret)
        buf_addf(&b, " R<%s>", o->ret);
    if (o->aliases)
        buf_addf(&b, " A<%s>", o->aliases);
    if (o->verp)
        buf_addf(&b, " XV<%s>", o->verp);
    if (o->notify)
        buf_addf(&b, " N%u", o->notify);
    if (o->flush_id)
        buf_addf(&b, " I<%s>", o->flush_id);
    if (o->flush_site)
        buf_addf(&b, " S<%s>", o->flush_site);
    buf_addf(&b, "%s%s%s", o->extracts ? " t" : "", o->dot_is_text ? " i" : "",
             o->is_gateway ? " G" : "");
    for (size_t i = 0; i < o->n_rcpts; i++)
        buf_addf(&b, " %s", o->rcpts[i]);
    snprintf(out, sizeof out, "%s", buf_z(&b));
    buf_free(&b);
    return out;
}

TEST(options)
{
    static const struct {
        const char *line, *want; /* words parted by one blank, "''" an empty one */
    } rows[] = {
        { "a@b", "bm a@b" },
        { "-t -i", "bm t i" },
        { "-ti", "bm t i" },
        { "-oi -t", "bm t i" },
        { "-oem -oi -odb a", "bm i a" },
        { "-i -FCronDaemon -B8BITMIME -oem root", "bm F<CronDaemon> B<8BITMIME> i root" },
        { "-f a@b c", "bm f<a@b> c" },
        { "-fa@b c", "bm f<a@b> c" },
        { "-r a@b c", "bm f<a@b> c" },
        { "-f '' c", "bm f<> c" },
        { "-F Name c", "bm F<Name> c" },
        { "c -f a", "bm f<a> c" },
        { "-- -f a", "bm -f a" },
        { "- c", "bm - c" },
        { "-bs", "bs" },
        { "-bp", "bp" },
        { "-bi", "bi" },
        { "-I", "bi" },
        { "-oA/etc/aliases", "bi A</etc/aliases>" },
        { "-bm a", "bm a" },
        { "-bd", "bd" },
        { "-bl", "bd" },
        { "-bh", "ignore" },
        { "-bv a", "bv a" },
        { "-b s", "bs" },
        { "-q", "q" },
        { "-qI4abc", "q I<4abc>" },
        { "-qRexample.com", "q S<example.com>" },
        { "-q30m -bd", "bd" },
        { "-N success,delay a", "bm N10 a" },
        { "-Nnever a", "bm N1 a" },
        { "-R hdrs -V x1 a", "bm V<x1> R<HDRS> a" },
        { "-RFULL a", "bm R<FULL> a" },
        { "-XV a", "bm XV<> a" },
        { "-XV+= a", "bm XV<+=> a" },
        { "-X /tmp/log a", "bm a" },
        { "-O DeliveryMode=b -OErrorMode=m a", "bm a" },
        { "-Am -d a", NULL },
        { "-Am -Ac -h 3 -L x -m -n -U -x -G a", "bm G a" },
        { "-o x value a", "bm a" },
        { "-C /etc/x -v a", "bm C</etc/x> a" },
        { "-bz", NULL },
        { "-N sometimes a", "bm a" },
        { "-R some a", "bm a" },
        { "-B 9bit a", NULL },
        { "-oA", NULL },
        { "-qSexample.com", NULL },
        { "-f", NULL },
        { "-Z a", NULL },
        { "--help", NULL },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *argv[20] = { (char *)(uintptr_t) "sendmail" }, *line = mem_dupz(rows[i].line), *word,
             *at;
        const char *rcpts[20];
        struct sendmail_opts o = { .rcpts = rcpts };
        struct err e = { 0 };
        int argc = 1, rc;

        for (word = strtok_r(line, " ", &at); word; word = strtok_r(NULL, " ", &at))
            argv[argc++] = strcmp(word, "''") ? word : word + 2;
        TEST_ROW("%s", rows[i].line);
        rc = sendmail_parse(argc, argv, &o, &e);
        if (rows[i].want == NULL) {
            CHECK_EQ_INT(rc, EXIT_USAGE_ERROR);
            CHECK(e.msg[0] != '\0');
        } else {
            CHECK_EQ_INT(rc, 0);
            CHECK_EQ_STR(show(&o), rows[i].want);
        }
        free(line);
    }
}

/* ---- the message ---- */

static void
put(void *arg, struct slice lines)
{
    buf_adds(arg, lines);
}

static void
add_list(struct buf *b, const struct sendmail_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        buf_addf(b, "%s%.*s", i ? "|" : "", SL_ARG(l->v[i]));
}

TEST(messages)
{
    static const struct {
        const char *in, *out, *to;
        bool dot_is_text;
        const char *fix;
    } rows[] = {
        { "Subject: a\n\nb\n", "Subject: a\r\n\r\nb\r\n", "", false, "always" },
        { "Subject: a\r\n\r\nb\r\n", "Subject: a\r\n\r\nb\r\n", "", false, "always" },
        { "no end", "no end\r\n", "", false, "always" },
        { "a\n.\nb\n", "a\r\n", "", false, "always" },
        { "a\n.\nb\n", "a\r\n.\r\nb\r\n", "", true, "always" },
        { "a\r\n.\r\nb\r\n", "a\r\n", "", false, "always" },
        { "a\n..\n. \n", "a\r\n..\r\n. \r\n", "", false, "always" },
        { "From x Mon\n>From y\nTo: a\n\nb\n", "To: a\r\n\r\nb\r\n", "a", false, "always" },
        { "a\r\nb\r\n", "a\r\r\nb\r\r\n", "", false, "never" },
        { "a\r\nb\r\n", "a\r\nb\r\n", "", false, "strict" },
        { "a\nb\r\n", "a\r\nb\r\r\n", "", false, "strict" },
        { "To: a, b@c\nCc: \"X, Y\" <d@e>,\n\tf\nBcc: g\nFrom: h\n\nTo: not\n",
          "To: a, b@c\r\nCc: \"X, Y\" <d@e>,\r\n\tf\r\nBcc: g\r\nFrom: h\r\n\r\nTo: not\r\n",
          "a|b@c|d@e|f|g", false, "always" },
        { "To: a\nResent-To: b\nResent-Cc: c\n\n", "To: a\r\nResent-To: b\r\nResent-Cc: c\r\n\r\n",
          "R b|c", false, "always" },
        { "To: a\nbody at once\nTo: b\n", "To: a\r\nbody at once\r\nTo: b\r\n", "a", false,
          "always" },
        { "To : a\nTO:b\n\n", "To : a\r\nTO:b\r\n\r\n", "a|b", false, "always" },
        { "", "", "", false, "always" },
        { ".\n", "", "", false, "always" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        for (size_t step = 1; step < 9; step += 7) {
            struct buf out = { 0 }, to = { 0 };
            struct sendmail_reader r = { .extracts = true,
                                         .dot_is_text = rows[i].dot_is_text,
                                         .fix_line_endings = rows[i].fix,
                                         .put = put,
                                         .arg = &out };
            struct slice in = sl_z(rows[i].in);

            TEST_ROW("%zu, %zu octets at once", i, step);
            while (in.n > 0 && !sendmail_read(&r, sl_head(in, step)))
                in = sl_from(in, step);
            sendmail_read_end(&r);
            CHECK_EQ_STR(buf_z(&out), rows[i].out);
            if (r.is_resent)
                buf_addz(&to, "R ");
            add_list(&to, r.is_resent ? &r.resent_to : &r.to);
            CHECK_EQ_STR(buf_z(&to), rows[i].to);
            sendmail_reader_free(&r);
            buf_free(&out);
            buf_free(&to);
        }
}

/* A line longer than what is held; its end may look like a lone dot. */
TEST(long_lines)
{
    static char line[700 * 1024];
    struct buf out = { 0 };
    struct sendmail_reader r = { .fix_line_endings = "always", .put = put, .arg = &out };

    memset(line, 'x', sizeof line);
    CHECK(!sendmail_read(&r, sl_n(line, sizeof line)));
    CHECK(!sendmail_read(&r, SL(".")));
    CHECK(!sendmail_read(&r, SL("\r\nb\n")));
    sendmail_read_end(&r);
    CHECK_EQ_INT(out.n, sizeof line + 1 + 2 + 3);
    CHECK(sl_has_suffix(buf_slice(&out), SL("xx.\r\nb\r\n")));
    buf_free(&out);
    sendmail_reader_free(&r);
}

TEST(nul_and_8bit)
{
    struct buf out = { 0 };
    struct sendmail_reader r = { .fix_line_endings = "always", .put = put, .arg = &out };

    sendmail_read(&r, SL("a\0b\n\303\244\n"));
    sendmail_read_end(&r);
    CHECK_EQ_MEM(buf_slice(&out).p, out.n, "a\0b\r\n\303\244\r\n", 9);
    CHECK(r.is_8bit);
    buf_free(&out);
    sendmail_reader_free(&r);
}

TEST(size_limit)
{
    struct buf out = { 0 };
    struct sendmail_reader r = {
        .fix_line_endings = "always", .size_limit = 10, .put = put, .arg = &out
    };

    CHECK(!sendmail_read(&r, SL("12345678\n")));
    CHECK(!r.is_too_big);
    CHECK(sendmail_read(&r, SL("1\n")));
    CHECK(r.is_too_big);
    buf_free(&out);
    sendmail_reader_free(&r);
}

TEST(verp)
{
    static const struct {
        const char *sender, *rcpt, *want;
    } rows[] = {
        { "list@a.example", "u@b.example", "list+u=b.example@a.example" },
        { "list", "u@b.example", "list+u=b.example" },
        { "list@a.example", "u", "list+u@a.example" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        sendmail_verp(sl_z(rows[i].sender), sl_z(rows[i].rcpt), "+=", &b);
        CHECK_EQ_STR(buf_z(&b), rows[i].want);
        buf_free(&b);
    }
}

TEST(gecos)
{
    static const struct {
        const char *gecos, *login, *want;
    } rows[] = {
        { "Alice Smith,Room 1,555", "alice", "Alice Smith" },
        { "& Smith", "alice", "Alice Smith" },
        { "", "alice", "" },
        { ",,,", "alice", "" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct buf b = { 0 };

        sendmail_gecos(rows[i].gecos, rows[i].login, &b);
        CHECK_EQ_STR(buf_z(&b), rows[i].want);
        buf_free(&b);
    }
}

TEST_MAIN()
