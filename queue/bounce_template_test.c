/* queue/bounce_template_test.c - bounce(5): templates out of a file, what is wrong with them, and what $name becomes. */
#include "queue/bounce_template.h"

#include "base/fs.h"
#include "base/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];
static struct conf_problems problems;

static struct bounce_templates *
load(const char *text)
{
    char conf[300];
    struct bounce_templates *t;
    struct conf *c;
    FILE *f;

    conf_problems_free(&problems);
    snprintf(path, sizeof path, "/tmp/bounce_template_test.%d", (int)getpid());
    f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    snprintf(conf, sizeof conf,
             "myhostname = mx.example\nmine = own\nmaximal_queue_lifetime = 36h\n"
             "delay_warning_time = 90m\nbounce_template_file = %s\n",
             path);
    c = conf_parse(sl_z(conf), "main.cf", &problems);
    conf_problems_free(&problems); /* "mine" is no parameter of ours */
    t = bounce_templates_load(c, &problems);
    conf_unref(&c);
    unlink(path);
    return t;
}

TEST(files)
{
    static const struct {
        const char *what, *text, *subject, *body,
            *charset;  /* of the failure template; "-": as built in */
        unsigned line; /* of the problem; 0: none */
        const char *problem;
    } rows[] = {
        { "nothing", "", "-", "-", "us-ascii", 0, NULL },
        { "comments", "# a\n\n   \n", "-", "-", "us-ascii", 0, NULL },
        { "text only", "failure_template = <<EOF\nHello $myhostname\nagain\nEOF\n", "-",
          "Hello mx.example\nagain\n", "us-ascii", 0, NULL },
        { "headers",
          "failure_template=<<END\nSubject: Oh no\nFROM: me@here\nCharset: "
          "utf-8\n\n\xc3\xa4\nEND\n",
          "Oh no", "\xc3\xa4\n", "utf-8", 0, NULL },
        { "CRLF", "failure_template = <<EOF\r\nSubject: x\r\n\r\nt\r\nEOF\r\n", "x", "t\r\n",
          "us-ascii", 0, NULL },
        { "no end of line", "failure_template = <<EOF\nSubject: x\n\nt\nEOF", "x", "t\n",
          "us-ascii", 0, NULL },
        { "a dollar", "failure_template = <<EOF\n\n$$5 ${mine} $(mine) ${none?a:b}\nEOF\n", "-",
          NULL, "us-ascii", 1, "none" },
        { "names", "failure_template = <<EOF\n\n$$5 ${mine} $mine ${mine?{yes}:{no}}\nEOF\n", "-",
          "$5 own own yes\n", "us-ascii", 0, NULL },
        { "times",
          "failure_template = <<EOF\n\n$delay_warning_time_seconds $delay_warning_time_minutes "
          "${delay_warning_time_hours} $maximal_queue_lifetime_hours $maximal_queue_lifetime_days "
          "$maximal_queue_lifetime_weeks $delay_warning_time\nEOF\n",
          "-", "5400 90 2 36 2 0 90m\n", "us-ascii", 0, NULL },
        { "a blank line in the text", "failure_template = <<EOF\nSubject: a\n\n\nx\n\ny: z\nEOF\n",
          "a", "\nx\n\ny: z\n", "us-ascii", 0, NULL },
        { "another template", "delay_template = <<EOF\n\nx\nEOF\n", "-", "-", "us-ascii", 0, NULL },
        { "the last of two counts",
          "failure_template = <<A\nSubject: a\n\na\nA\nfailure_template = <<B\nSubject: "
          "b\n\nb\nB\n",
          "b", "b\n", "us-ascii", 0, NULL },
        { "unknown template", "\nfail_template = <<EOF\n\nx\nEOF\n", "-", "-", "us-ascii", 2,
          "unknown template fail_template" },
        { "no here-document", "failure_template = hello\n", "-", "-", "us-ascii", 1, "<<EOF" },
        { "no equals sign", "failure_template\n", "-", "-", "us-ascii", 1, "<<EOF" },
        { "no word", "failure_template = <<\n", "-", "-", "us-ascii", 1, "<<EOF" },
        { "no end", "#\nfailure_template = <<EOF\n\nx\n EOF\n", "-", "-", "us-ascii", 2,
          "no line EOF" },
        { "unknown header", "failure_template = <<EOF\nReply-To: x\n\nx\nEOF\n", "-", "-",
          "us-ascii", 2, "no header Reply-To" },
        { "no text", "failure_template = <<EOF\nSubject: x\nEOF\n", "-", "-", "us-ascii", 3,
          "without text" },
        { "8 bits without a charset", "failure_template = <<EOF\n\n\xc3\xa4\nEOF\n", "-", "-",
          "us-ascii", 4, "Charset" },
        { "8 bits in a header", "failure_template = <<EOF\nSubject: \xc3\xa4\n\nx\nEOF\n", "-", "-",
          "us-ascii", 2, "ASCII" },
        { "empty header", "failure_template = <<EOF\nSubject:\n\nx\nEOF\n", "-", "-", "us-ascii", 2,
          "ASCII" },
        { "unknown name", "failure_template = <<EOF\nSubject: x\n\n$no_such_name\nEOF\n", "-", "-",
          "us-ascii", 1, "no_such_name" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bounce_templates *t = load(rows[i].text);
        const struct bounce_template *f = &t->v[BOUNCE_FAILURE];

        TEST_ROW("%s", rows[i].what);
        if (strcmp(rows[i].subject, "-") != 0)
            CHECK(sl_eqz(f->subject, rows[i].subject));
        else
            CHECK(sl_eqz(f->subject, "Undelivered Mail Returned to Sender"));
        if (rows[i].body && strcmp(rows[i].body, "-") != 0)
            CHECK(sl_eqz(f->text, rows[i].body));
        else
            CHECK(sl_has_prefix(f->text, SL("This is the mail system at host mx.example.\n")));
        CHECK(sl_eqz(f->charset, rows[i].charset));
        CHECK_EQ_INT(problems.n, rows[i].line > 0);
        if (problems.n > 0) {
            CHECK_EQ_INT(problems.v[0].line, rows[i].line);
            CHECK_EQ_STR(problems.v[0].file, path);
            CHECK(!problems.v[0].is_error && rows[i].problem &&
                  strstr(problems.v[0].text, rows[i].problem));
        }
        bounce_templates_unref(&t);
    }
    conf_problems_free(&problems);
}

TEST(no_file)
{
    struct conf_problems ps = { 0 };
    struct conf *c = conf_parse(SL("\nbounce_template_file = /no/such/file\n"), "main.cf", &ps);
    struct bounce_templates *t = bounce_templates_load(c, &ps);

    CHECK_EQ_INT(ps.n, 1);
    CHECK_EQ_INT(ps.v[0].line, 2);
    CHECK(sl_eqz(t->v[BOUNCE_DELAY].subject, "Delayed Mail (still being retried)"));
    conf_problems_free(&ps);
    bounce_templates_unref(&t);
    conf_unref(&c);
}

TEST_MAIN()
