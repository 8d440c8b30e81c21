/* smtpd/transcript_test.c - of which class a reply is. */
#include "smtpd/transcript.h"

#include "base/test.h"

TEST(classes_of_replies)
{
    static const struct {
        const char *reply;
        unsigned class;
    } rows[] = {
        { "250 2.1.0 Ok", 0 },
        { "354 End data with <CR><LF>.<CR><LF>", 0 },
        { "221 2.0.0 Bye", 0 },
        { "235 2.7.0 Authentication successful", 0 },
        { "452 4.3.1 Insufficient system storage", TRANSCRIPT_RESOURCE },
        { "452 4.5.3 Error: too many recipients", TRANSCRIPT_POLICY },
        { "451 4.3.5 Server configuration error", TRANSCRIPT_SOFTWARE },
        { "451 4.3.5 Server configuration problem",
          TRANSCRIPT_POLICY }, /* a policy server that is away */
        { "451 4.3.0 Error: queue file write error", TRANSCRIPT_SOFTWARE },
        { "451 4.3.0 <a@b>: Temporary lookup failure", TRANSCRIPT_DATA },
        { "454 4.7.0 Temporary authentication failure: x", TRANSCRIPT_DATA },
        { "454 4.7.1 <a@b>: Relay access denied", TRANSCRIPT_POLICY },
        { "450 4.1.8 <a@b>: Sender address rejected: Domain not found", TRANSCRIPT_POLICY },
        { "450 4.2.0 <a@b>: Recipient address rejected: Greylisted", TRANSCRIPT_POLICY },
        { "421 4.4.2 mx Error: timeout exceeded", 0 },
        { "535 5.7.8 Error: authentication failed", 0 },
        { "550 5.1.1 <a@b>: Recipient address rejected: User unknown", TRANSCRIPT_BOUNCE },
        { "550 5.7.1 no", TRANSCRIPT_POLICY },
        { "554 5.7.1 <a@b>: Relay access denied", TRANSCRIPT_POLICY },
        { "553 5.7.1 <a@b>: Sender address rejected: not owned by user x", TRANSCRIPT_POLICY },
        { "552 5.3.4 Message size exceeds fixed limit", TRANSCRIPT_POLICY },
        { "530 5.7.0 Must issue a STARTTLS command first", TRANSCRIPT_POLICY },
        { "500 5.5.2 Error: command not recognized", TRANSCRIPT_PROTOCOL },
        { "501 5.5.4 Syntax: HELO hostname", TRANSCRIPT_PROTOCOL },
        { "503 5.5.1 Error: nested MAIL command", TRANSCRIPT_PROTOCOL },
        { "554 5.5.1 Error: no valid recipients", TRANSCRIPT_PROTOCOL },
        { "521 5.5.2 mx Error: bare <LF> received", TRANSCRIPT_PROTOCOL },
        { "5", 0 },
        { "", 0 },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TEST_ROW("%s", rows[i].reply);
        CHECK_EQ_INT(transcript_class_of(sl_z(rows[i].reply)), rows[i].class);
    }
}

TEST(classes_of_main_cf)
{
    static const struct {
        const char *text;
        unsigned classes;
    } rows[] = {
        { "", TRANSCRIPT_RESOURCE | TRANSCRIPT_SOFTWARE },
        { "notify_classes =\n", 0 },
        { "notify_classes = 2bounce, delay\n", 0 },
        { "notify_classes = bounce, data policy protocol\n",
          TRANSCRIPT_BOUNCE | TRANSCRIPT_DATA | TRANSCRIPT_POLICY | TRANSCRIPT_PROTOCOL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf_problems ps = { 0 };
        struct conf *c = conf_parse(sl_z(rows[i].text), "main.cf", &ps);

        TEST_ROW("%s", rows[i].text);
        CHECK_EQ_INT(transcript_classes(c), rows[i].classes);
        conf_unref(&c);
        conf_problems_free(&ps);
    }
}

TEST_MAIN()
