/* smtpd/restrict_test.c - lists in lists, warnings and deferrals, with tables that answer later. */
#include "smtpd/check.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/test.h"

#include <stdlib.h>
#include <unistd.h>

/* ---- tables: "table key" and what it says; "TEMP" cannot be asked ---- */

static const struct {
    const char *question, *answer;
} rows_of_tables[] = {
    { "hash:t ok@a.example", "OK" },
    { "hash:t reject@a.example", "REJECT" },
    { "hash:t text@a.example", "550 5.1.1 no such thing" },
    { "hash:t defer@a.example", "DEFER busy" },
    { "hash:t dip@a.example", "DEFER_IF_PERMIT" },
    { "hash:t dir@a.example", "DEFER_IF_REJECT wait" },
    { "hash:t dunno@a.example", "DUNNO" },
    { "hash:t a.example", "REJECT whole domain" },
    { "hash:t list@a.example", "permit_mynetworks, reject" },
    { "hash:t class@a.example", "strict" },
    { "hash:t loop@a.example", "loop" },
    { "hash:t warned@a.example", "warn_if_reject reject" },
    { "hash:t unknown@a.example", "no_such_restriction" },
    { "hash:t table@a.example", "check_sender_access hash:t" },
    { "hash:t filter@a.example", "FILTER scan:localhost" },
    { "hash:t bye@a.example", "421 4.3.2 bye" },
    { "hash:t <>", "REJECT bounces" },
    { "hash:t temp@a.example", "TEMP" },
    { "hash:t hold@a.example", "HOLD look at it" },
    { "hash:t discard@a.example", "DISCARD" },
    { "hash:t many@a.example", "BCC one@b.example" },
    { "hash:t prepend@a.example", "PREPEND X-Seen: yes" },
    { "hash:t noheader@a.example", "PREPEND nothing" },
    { "hash:t redirect@a.example", "REDIRECT to@b.example" },
    { "hash:c client.example", "REJECT" },
    { "hash:c 127.0.0", "OK" },
    { "hash:c reverse.example", "OK" },
    { "inline:{a.example=DEFER_IF_PERMIT} a.example", "DEFER_IF_PERMIT" },
};

/* Answers come when the evaluation has let go, as they do from authd. */
struct asked {
    char question[512];
    void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value);
    uint64_t id;
};
static struct asked asked[16];
static size_t n_asked, n_questions;

void
lookup_ask(struct lookup_client *l, const char *name, struct slice key,
           void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    struct asked *a = &asked[n_asked++];

    (void)l;
    n_questions++;
    snprintf(a->question, sizeof(a->question), "%s %.*s", name, SL_ARG(key));
    a->cb = cb;
    a->id = id;
}
void
lookup_ask_lines(struct lookup_client *l, const char *name, const struct slice *lines, size_t n,
                 lookup_lines_fn *cb, uint64_t id)
{
    (void)l;
    (void)name;
    (void)lines;
    (void)n;
    (void)cb;
    (void)id;
    FAIL("no content is looked into");
}
void
lookup_ask_part(struct lookup_client *l, const char *name, struct slice key,
                void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id)
{
    lookup_ask(l, name, key, cb, id);
}

static void
answer_all(void)
{
    while (n_asked) {
        struct asked a = asked[--n_asked];
        const char *said = NULL;

        for (size_t i = 0; i < COUNT_OF(rows_of_tables); i++)
            if (!strcmp(rows_of_tables[i].question, a.question))
                said = rows_of_tables[i].answer;
        if (said && !strcmp(said, "TEMP"))
            a.cb(a.id, LOOKUP_TEMP, sl_n(NULL, 0));
        else
            a.cb(a.id, said ? LOOKUP_FOUND : LOOKUP_NOTFOUND, sl_z(said));
    }
}

/* ---- a session without a connection ---- */

#define CLASSES                                                                                    \
    "mydestination = example.com\nmynetworks = 192.0.2.0/24\nmyhostname = mx.example.com\n"        \
    "smtpd_reject_unlisted_recipient = no\n"                                                       \
    "smtpd_restriction_classes = strict, lax, loop, empty, deep\n"                                 \
    "strict = reject\nlax = permit\nloop = permit_mynetworks, loop\nempty =\n"                     \
    "deep = warn_if_reject strict, reject_unauth_destination\n"

static char log_path[] = "/tmp/restrict_test.XXXXXX";
static char reply[CHECK_REPLY_OCTETS];
static unsigned n_done;

static void
done(struct smtpd_sess *s, const char *r)
{
    (void)s;
    n_done++;
    snprintf(reply, sizeof(reply), "%s", r ? r : "");
}

static void
open_session(struct smtpd_sess *s, struct smtpd_cfg *g, const char *text)
{
    struct conf_problems ps = { 0 };
    struct err e = { 0 };

    memset(s, 0, sizeof(*s));
    memset(g, 0, sizeof(*g));
    g->conf = conf_parse(sl_z(text), "main.cf", &ps);
    conf_problems_free(&ps);
    BUG_ON(g->conf == NULL);
    if (restrict_set_init(&g->restrictions, g->conf, &e))
        BUG_ON(test_true(__FILE__, __LINE__, e.msg, 0) == 0);
    g->ident = "postfix/smtpd";
    g->access_parents = true;
    g->rules = (struct smtp_addr_rules){ .myorigin = SL("example.com"),
                                         .mydomain = SL("example.com"),
                                         .myhostname = SL("mx.example.com") };
    domlist_init(&g->mydestination, "mydestination", g->conf->mydestination, false);
    s->cfg = g;
    s->smtp.where = "RCPT";
    s->smtp.id = id_add(&s->smtp);
    s->name = mem_dupz("client.example");
    s->reverse_name = mem_dupz("reverse.example");
    s->namaddr = mem_dupz("client.example[127.0.0.1]");
    s->helo = mem_dupz("helo.example");
    addr_parse_ip(SL("127.0.0.1"), 25, &s->peer);
    s->tx = MEM_NEW(struct smtpd_tx);
    s->tx->end = &s->tx->first;
}

static void
close_session(struct smtpd_sess *s, struct smtpd_cfg *g)
{
    id_del(s->smtp.id);
    arena_free(&s->smtp.cmd);
    arena_free(&s->tx->mem);
    free(s->tx->deferral);
    free(s->tx);
    free(s->name);
    free(s->reverse_name);
    free(s->namaddr);
    free(s->helo);
    free(s->client_deferral);
    free(s->helo_deferral);
    restrict_set_free(&g->restrictions);
    conf_unref(&g->conf);
}

static void
run_stage(struct smtpd_sess *s, enum restrict_stage stage, const char *sender)
{
    struct restrict_subject about = { .helo = s->helo };

    s->tx->sender = (struct addr_info){ .given = arena_dup(&s->tx->mem, sl_z(sender)) };
    if (stage != STAGE_CLIENT && stage != STAGE_HELO)
        about.sender = s->tx->sender.given;
    if (stage == STAGE_RCPT)
        about.recipient = SL("you@example.com");
    n_done = 0;
    restrict_run(s, stage, &about, done);
    answer_all();
    CHECK_EQ_INT(n_done, 1);
    arena_reset(&s->smtp.cmd);
}

/* What was logged since the last time. */
static const char *
logged(void)
{
    static char text[65536];
    FILE *f = fopen(log_path, "r");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

    text[n] = '\0';
    if (f)
        fclose(f);
    if (truncate(log_path, 0))
        text[0] = '\0';
    return text;
}

static void
check_log_has(const char *want)
{
    const char *text = logged();

    if (want && !CHECK(strstr(text, want) != NULL))
        printf("    wanted: %s\n    logged: %s\n", want, text);
}

static const char *
conf_of(const char *lines)
{
    static char text[4096];

    snprintf(text, sizeof(text), "%s%s\n", CLASSES, lines);
    return text;
}

/* ---- */

TEST(lists_warnings_and_deferrals)
{
#define S  "smtpd_sender_restrictions = "
#define R  "smtpd_recipient_restrictions = "
#define SR "<x@a.example>: Sender address rejected: "
#define RR "<you@example.com>: Recipient address rejected: "
    static const struct {
        const char *name, *lines, *reply, *log;
    } rows[] = {
        { "nothing", R "permit", "", NULL },
        { "reject", S "reject\n" R "permit", "554 5.7.1 " SR "Access denied",
          "NOQUEUE: reject: RCPT from client.example[127.0.0.1]: 554 5.7.1 " SR
          "Access denied; from=<x@a.example> to=<you@example.com> proto=SMTP helo=<helo.example>" },
        { "permit ends a list only", S "permit, reject\n" R "reject",
          "554 5.7.1 " RR "Access denied", NULL },
        { "class", S "strict\n" R "permit", "554 5.7.1 " SR "Access denied", NULL },
        { "class permits the list around it", S "lax, reject\n" R "permit", "", NULL },
        { "empty class", S "empty, reject\n" R "permit", "554 5.7.1 " SR "Access denied", NULL },
        { "class in itself", S "loop\n" R "permit", "451 4.3.5 Server configuration error",
          "loop causes unreasonable recursion" },
        { "warning", S "warn_if_reject reject, permit\n" R "permit", "",
          "NOQUEUE: reject_warning: RCPT from client.example[127.0.0.1]: 554 5.7.1 " SR },
        { "warning of one step only", S "warn_if_reject reject, reject\n" R "permit",
          "554 5.7.1 " SR "Access denied", "reject_warning" },
        { "warning of a class", S "warn_if_reject strict, permit\n" R "permit", "",
          "reject_warning" },
        { "warning of a class, then none", S "warn_if_reject strict, reject\n" R "permit",
          "554 5.7.1 " SR "Access denied", "reject_warning" },
        { "warning inside a class", S "deep\n" R "permit", "", "reject_warning" },
        { "warning at the end warns of nothing", S "warn_if_reject\n" R "reject",
          "554 5.7.1 " RR "Access denied", NULL },
        { "no warning of our own errors", S "warn_if_reject loop\n" R "permit",
          "451 4.3.5 Server configuration error", NULL },
        { "defer_if_permit", S "defer_if_permit\n" R "permit",
          "450 4.7.0 " SR "defer_if_permit requested", NULL },
        { "defer_if_permit, then refused", S "defer_if_permit\n" R "reject",
          "554 5.7.1 " RR "Access denied", NULL },
        { "the first of two reasons", S "defer_if_permit\n" R "defer_if_permit, permit",
          "450 4.7.0 " SR "defer_if_permit requested", NULL },
        { "warned defer_if_permit", S "warn_if_reject defer_if_permit\n" R "permit", "",
          "reject_warning: RCPT from client.example[127.0.0.1]: 450 4.7.0" },
        { "defer_if_reject", S "defer_if_reject, reject\n" R "permit",
          "450 4.7.0 " SR "defer_if_reject requested", NULL },
        { "defer_if_reject, then permitted", S "defer_if_reject\n" R "permit", "", NULL },
        { "defer_if_reject ends with its stage", S "defer_if_reject\n" R "reject",
          "554 5.7.1 " RR "Access denied", NULL },
        { "defer_if_reject keeps a 4xx", S "defer_if_reject, defer\n" R "permit",
          "450 4.3.2 " SR "Try again later", NULL },
        { "defer_if_reject goes from recipient to relay list",
          R "defer_if_reject\nsmtpd_relay_restrictions = reject",
          "450 4.7.0 " RR "defer_if_reject requested", NULL },
        { "both end the list", S "defer_if_reject, defer_if_permit, reject\n" R "permit",
          "450 4.7.0 " SR "defer_if_permit requested", NULL },
        { "both in a class end the list around it",
          "both = defer_if_reject, defer_if_permit\nsmtpd_restriction_classes = both\n" S
          "both, reject\n" R "permit",
          "450 4.7.0 " SR "defer_if_permit requested", NULL },
        { "a warning does not become a deferral",
          S "defer_if_reject, warn_if_reject reject\n" R "permit", "",
          "reject_warning: RCPT from client.example[127.0.0.1]: 554 5.7.1" },
        { "a bare table", S "hash:t\n" R "permit", "554 5.7.1 " SR "whole domain", NULL },
        { "deferred by a table",
          S "check_sender_access inline:{a.example=DEFER_IF_PERMIT}\n" R "permit",
          "450 4.7.1 " SR "Service unavailable", NULL },
        { "permits are logged where asked for",
          "smtpd_log_access_permit_actions = permit\n" R "permit", "",
          "permit: RCPT from client.example[127.0.0.1]: action=permit for Recipient "
          "address=you@example.com ;" },
        { "a bad code is ours",
          "access_map_reject_code = 554\n" S "check_sender_access { hash:t }\n" R "permit",
          "554 5.7.1 " SR "whole domain", NULL },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtpd_sess s;
        struct smtpd_cfg g;

        TEST_ROW("%s", rows[i].name);
        (void)logged();
        open_session(&s, &g, conf_of(rows[i].lines));
        run_stage(&s, STAGE_RCPT, "x@a.example");
        CHECK_EQ_STR(reply, rows[i].reply);
        check_log_has(rows[i].log);
        close_session(&s, &g);
    }
}

TEST(what_tables_say)
{
#define NAME(x) "<" x "@a.example>: Sender address rejected: "
    static const struct {
        const char *sender, *reply, *log;
    } rows[] = {
        { "ok@a.example", "", NULL },
        { "OK@A.example", "", NULL },
        { "reject@a.example", "554 5.7.1 " NAME("reject") "Access denied", NULL },
        { "text@a.example", "550 5.1.7 " NAME("text") "no such thing", "mapping DSN status 5.1.1" },
        { "defer@a.example", "450 4.7.1 " NAME("defer") "busy", NULL },
        { "dip@a.example", "554 5.7.1 " NAME("dip") "Access denied", NULL }, /* refused anyway */
        { "dir@a.example", "450 4.7.1 " NAME("dir") "wait", NULL },
        { "dunno@a.example", "554 5.7.1 " NAME("dunno") "Access denied", NULL },
        { "other@a.example", "554 5.7.1 " NAME("other") "whole domain", NULL },
        { "other@b.a.example",
          "554 5.7.1 <other@b.a.example>: Sender address rejected: whole domain", NULL },
        { "nobody@b.example",
          "554 5.7.1 <nobody@b.example>: Sender address rejected: Access denied", NULL },
        { "list@a.example", "554 5.7.1 " NAME("list") "Access denied", NULL },
        { "class@a.example", "554 5.7.1 " NAME("class") "Access denied", NULL },
        { "loop@a.example", "451 4.3.5 Server configuration error", "unreasonable recursion" },
        { "warned@a.example", "554 5.7.1 " NAME("warned") "Access denied", "reject_warning" },
        { "unknown@a.example", "451 4.3.5 Server configuration error",
          "warning: access table hash:t entry \"unknown@a.example\": unknown smtpd restriction: "
          "\"no_such_restriction\"" },
        { "table@a.example", "451 4.3.5 Server configuration error",
          "access table hash:t has entry with lookup table: check_sender_access hash:t" },
        { "filter@a.example", "451 4.3.5 Server configuration error",
          "content filters are not supported" },
        { "bye@a.example", "421 4.3.2 " NAME("bye") "bye", NULL },
        { "", "554 5.7.1 <>: Sender address rejected: bounces", NULL },
        { "temp@a.example", "451 4.3.5 " NAME("temp") "Server configuration error", NULL },
        { "discard@a.example", "",
          "discard: RCPT from client.example[127.0.0.1]: <discard@a.example>: "
          "Sender address triggers DISCARD action;" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtpd_sess s;
        struct smtpd_cfg g;

        TEST_ROW("%s", rows[i].sender);
        (void)logged();
        open_session(&s, &g, conf_of(S "check_sender_access hash:t, reject\n" R "permit"));
        run_stage(&s, STAGE_RCPT, rows[i].sender);
        CHECK_EQ_STR(reply, rows[i].reply);
        check_log_has(rows[i].log);
        close_session(&s, &g);
    }
}

/* Kept for the message, once, however often the lists are evaluated. */
TEST(wishes_for_the_message)
{
    struct smtpd_sess s;
    struct smtpd_cfg g;

    open_session(&s, &g, conf_of(S "check_sender_access hash:t\n" R "permit"));
    run_stage(&s, STAGE_RCPT, "hold@a.example");
    CHECK_EQ_STR(reply, "");
    CHECK_EQ_STR(s.tx->wishes.hold, "look at it");
    check_log_has(
        "hold: RCPT from client.example[127.0.0.1]: <hold@a.example>: Sender address look at it;");
    for (int i = 0; i < 2; i++)
        run_stage(&s, STAGE_RCPT, "many@a.example");
    NEED(s.tx->wishes.bcc != NULL);
    CHECK(sl_eqz(s.tx->wishes.bcc->text, "one@b.example"));
    CHECK(s.tx->wishes.bcc->next == NULL);
    run_stage(&s, STAGE_RCPT, "prepend@a.example");
    run_stage(&s, STAGE_RCPT, "prepend@a.example");
    NEED(s.tx->wishes.prepend != NULL);
    CHECK(sl_eqz(s.tx->wishes.prepend->text, "X-Seen: yes"));
    NEED(s.tx->wishes.prepend->next != NULL);
    (void)logged();
    run_stage(&s, STAGE_RCPT, "noheader@a.example");
    CHECK(s.tx->wishes.prepend->next->next == NULL);
    check_log_has(
        "warning: access table hash:t entry \"noheader@a.example\" requires header: text");
    run_stage(&s, STAGE_RCPT, "redirect@a.example");
    CHECK(sl_eqz(s.tx->wishes.redirect, "to@b.example"));
    close_session(&s, &g);
}

/* Once a message is to be discarded nothing more is asked, nobody refused. */
TEST(discard_ends_all_checks)
{
    struct smtpd_sess s;
    struct smtpd_cfg g;

    open_session(&s, &g, conf_of(S "check_sender_access hash:t, reject\n" R "reject"));
    run_stage(&s, STAGE_RCPT, "discard@a.example");
    CHECK_EQ_STR(reply, "");
    CHECK(s.tx->wishes.discard);
    n_questions = 0;
    run_stage(&s, STAGE_RCPT, "reject@a.example");
    CHECK_EQ_STR(reply, "");
    CHECK_EQ_INT(n_questions, 0);
    close_session(&s, &g);
}

TEST(without_delay_deferrals_go_from_stage_to_stage)
{
    static const struct {
        const char *lines, *client, *helo, *mail, *rcpt;
    } rows[] = {
        { "smtpd_client_restrictions = defer_if_permit", "", "", "",
          "450 4.7.0 <client.example[127.0.0.1]>: Client host rejected: defer_if_permit "
          "requested" },
        { "smtpd_helo_restrictions = defer_if_permit\n" S "defer_if_permit", "", "", "",
          "450 4.7.0 <helo.example>: Helo command rejected: defer_if_permit requested" },
        { S "defer_if_permit", "", "", "",
          "450 4.7.0 <x@a.example>: Sender address rejected: defer_if_permit requested" },
        { S "defer_if_reject", "", "", "", "" },
        { "smtpd_helo_restrictions = reject", "",
          "554 5.7.1 <helo.example>: Helo command rejected: Access denied", "", "" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char lines[512];
        struct smtpd_sess s;
        struct smtpd_cfg g;

        TEST_ROW("%s", rows[i].lines);
        snprintf(lines, sizeof(lines), "smtpd_delay_reject = no\n%s\n" R "permit", rows[i].lines);
        open_session(&s, &g, conf_of(lines));
        run_stage(&s, STAGE_CLIENT, "x@a.example");
        CHECK_EQ_STR(reply, rows[i].client);
        run_stage(&s, STAGE_HELO, "x@a.example");
        CHECK_EQ_STR(reply, rows[i].helo);
        run_stage(&s, STAGE_MAIL, "x@a.example");
        CHECK_EQ_STR(reply, rows[i].mail);
        run_stage(&s, STAGE_RCPT, "x@a.example");
        CHECK_EQ_STR(reply, rows[i].rcpt);
        /* The next message does not inherit what was said of this one's sender. */
        free(s.tx->deferral);
        s.tx->deferral = NULL;
        run_stage(&s, STAGE_DATA, "x@a.example");
        CHECK_EQ_STR(reply, "");
        close_session(&s, &g);
    }
}

TEST(clients_by_name_and_address)
{
#define C "smtpd_client_restrictions = "
    static const struct {
        const char *lines, *reply;
    } rows[] = {
        { C "check_client_access hash:c",
          "554 5.7.1 <client.example[127.0.0.1]>: Client host rejected: Access denied" },
        { C "check_client_access hash:other, reject",
          "554 5.7.1 <client.example[127.0.0.1]>: Client host rejected: Access denied" },
        { C "check_reverse_client_hostname_access hash:c",
          "451 4.3.5 Server configuration error" }, /* OK from a name that anybody can have */
        { C "check_sasl_access hash:c", "" },
        { C "check_etrn_access hash:c", "" },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char lines[512];
        struct smtpd_sess s;
        struct smtpd_cfg g;

        TEST_ROW("%s", rows[i].lines);
        snprintf(lines, sizeof(lines), "%s\n" R "permit", rows[i].lines);
        open_session(&s, &g, conf_of(lines));
        run_stage(&s, STAGE_RCPT, "x@b.example");
        CHECK_EQ_STR(reply, rows[i].reply);
        close_session(&s, &g);
    }
}

/* ---- the words of main.cf ---- */

TEST(steps_are_read)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "permit", "permit" },
        { "PERMIT,reject", "permit reject" },
        { "check_client_access hash:/a", "check_client_access(hash:/a)" },
        { "check_client_access { hash:/a }", "check_client_access(hash:/a)" },
        { "check_client_access inline:{ a=b, {c = d e} }",
          "check_client_access(inline:{a=b,{c=de}})" },
        { "hash:/a permit", "bare(hash:/a) permit" },
        { "{ hash:/a } permit", "bare(hash:/a) permit" },
        { "strict, lax", "[strict] [lax]" },
        { "Strict", "! unknown smtpd restriction: \"Strict\"" },
        { "warn_if_reject reject", "warn reject" },
        { "check_ccert_access { hash:/a, search = cert_fingerprint }",
          "check_ccert_access(hash:/a c)" },
        { "check_ccert_access { hash:/a, { search = pubkey_fingerprint, cert_fingerprint } }",
          "check_ccert_access(hash:/a kc)" },
        { "check_ccert_access hash:/a", "check_ccert_access(hash:/a ck)" },
        { "check_ccert_access { hash:/a, search = name }",
          "! restriction check_ccert_access: unknown search type \"name\"" },
        { "check_ccert_access { hash:/a, find = name }",
          "! restriction check_ccert_access: unknown map attribute \"find\"" },
        { "check_client_access { hash:/a, search = cert_fingerprint }",
          "! restriction check_client_access: \"{ hash:/a, search = cert_fingerprint }\": this "
          "restriction's table has no options" },
        { "check_client_access { hash:/a", "! restriction check_client_access: malformed map "
                                           "specification: \"{ hash:/a\"" },
        { "check_client_access /a permit",
          "! restriction check_client_access: bad argument \"/a\": need maptype:mapname permit" },
        { "check_client_access", "! restriction check_client_access needs an argument" },
        { "sleep 3", "sleep" },
        { "sleep soon", "! restriction sleep must be followed by a number, not \"soon\"" },
        { "check_policy_service { unix:private/p, timeout=10s, default_action=DUNNO }",
          "check_policy_service" },
        { "check_policy_service private/p permit",
          "! restriction check_policy_service must be followed by transport:server, not "
          "\"private/p\" permit" },
        { "nonsense permit", "! unknown smtpd restriction: \"nonsense\" permit" },
        { "", "" },
    };
    static struct restrict_class classes[] = { { "strict", { NULL, 0 } }, { "lax", { NULL, 0 } } };
    struct restrict_set set = { .classes = classes, .n_classes = 2 };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct slice text = sl_z(rows[i].text);
        struct restrict_step st;
        struct err e = { 0 };
        char got[512] = "";
        int rc;

        TEST_ROW("%s", rows[i].text);
        while ((rc = restrict_take_step(&set, &text, &set.mem, &st, &e)) != 0) {
            char *p = got + strlen(got);
            size_t room = sizeof(got) - strlen(got);
            const char *gap = got[0] ? " " : "";

            if (rc < 0)
                snprintf(p, room, "%s! %s", gap, e.msg);
            else if (st.kind == RESTRICT_CLASS)
                snprintf(p, room, "%s[%s]", gap, st.name);
            else if (st.kind == RESTRICT_WARN)
                snprintf(p, room, "%swarn", gap);
            else if (st.kind == RESTRICT_BARE)
                snprintf(p, room, "%sbare(%s)", gap, st.table.name);
            else if (st.table.name)
                snprintf(p, room, "%s%s(%s%s%s)", gap, st.name, st.table.name,
                         st.needs & ARG_CCERT ? " " : "",
                         st.needs & ARG_CCERT ? st.table.search : "");
            else
                snprintf(p, room, "%s%s", gap, st.name);
        }
        CHECK_EQ_STR(got, rows[i].want);
    }
    arena_free(&set.mem);
}

TEST(what_check_says_of_lists)
{
    static const struct {
        const char *text, *want; /* NULL: nothing */
        unsigned line;
        bool is_error;
    } rows[] = {
        { R "permit_mynetworks, reject_unauth_destination", NULL, 0, false },
        { "mynetworks = 127.0.0.1\n" R "permit_mynetworks,\n  nonsense, reject",
          "smtpd_recipient_restrictions: unknown smtpd restriction: \"nonsense\"", 2, true },
        { R "check_client_access",
          "smtpd_recipient_restrictions: restriction check_client_access needs an argument", 1,
          true },
        { R "reject, warn_if_reject",
          "smtpd_recipient_restrictions: restriction `warn_if_reject' after `reject' is ignored", 1,
          false },
        { R "permit_mynetworks, warn_if_reject",
          "smtpd_recipient_restrictions: warn_if_reject at the end has nothing to warn about", 1,
          true },
        { R "reject, permit",
          "smtpd_recipient_restrictions: restriction `permit' after `reject' is ignored", 1,
          false },
        { R "warn_if_reject reject, reject", NULL, 0, false },
        { "smtpd_restriction_classes = a\na = reject\n" R "a", NULL, 0, false },
        { "smtpd_restriction_classes = a\n" R "a, reject",
          "smtpd_restriction_classes: restriction class `a' needs a definition", 1, true },
        { "smtpd_restriction_classes = a, b\na = b\nb = permit_mynetworks, a\n" R "reject",
          "a: restriction class `a' contains itself", 2, true },
        { "smtpd_restriction_classes = a\na = hash:/x\nsmtpd_data_restrictions = a\n" R "reject",
          "smtpd_data_restrictions: specify one of check_client_access, check_helo_access, "
          "check_sender_access, check_recipient_access before \"hash:/x\"",
          3, true },
        { "smtpd_restriction_classes = a\na = nonsense\n" R "reject",
          "a: unknown smtpd restriction: \"nonsense\"", 2, true },
        { "smtpd_client_restrictions = check_client_access nosuch:/x\n" R "reject",
          "smtpd_client_restrictions: restriction check_client_access: unsupported dictionary "
          "type: \"nosuch:/x\"",
          1, true },
        { R "permit",
          "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions stops strangers from "
          "relaying: add reject_unauth_destination",
          1, true },
        { R "warn_if_reject reject_unauth_destination, permit_mynetworks",
          "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions stops strangers from "
          "relaying: add reject_unauth_destination",
          1, true },
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct conf_problems ps = { 0 };
        struct conf *c = conf_parse(sl_z(rows[i].text), "main.cf", &ps);
        bool is_found = false;

        TEST_ROW("%s", rows[i].text);
        conf_problems_free(&ps);
        NEED(c != NULL);
        restrict_check_conf(c, NULL, &ps);
        if (rows[i].want == NULL)
            CHECK_EQ_INT(ps.n, 0);
        for (size_t k = 0; k < ps.n; k++) {
            if (rows[i].want && !strcmp(ps.v[k].text, rows[i].want)) {
                is_found = true;
                CHECK_EQ_INT(ps.v[k].line, rows[i].line);
                CHECK_EQ_INT(ps.v[k].is_error, rows[i].is_error);
            }
        }
        if (rows[i].want && !CHECK(is_found))
            for (size_t k = 0; k < ps.n; k++)
                printf("    %s\n", ps.v[k].text);
        conf_problems_free(&ps);
        conf_unref(&c);
    }
}

/* Thirty classes that name the next one twice: 2^30 steps if each were walked. */
TEST(classes_that_multiply_end)
{
    struct buf text = { 0 };
    struct conf_problems ps = { 0 };
    struct smtpd_sess s;
    struct smtpd_cfg g;

    buf_addz(&text, "smtpd_restriction_classes =");
    for (int i = 0; i < 30; i++)
        buf_addf(&text, " c%d", i);
    for (int i = 0; i < 29; i++)
        buf_addf(&text, "\nc%d = c%d, c%d", i, i + 1, i + 1);
    buf_addz(&text, "\nc29 = defer_if_reject\nsmtpd_data_restrictions = c0\n" R "c0, reject\n");
    open_session(&s, &g, buf_z(&text));
    buf_free(&text);
    restrict_check_conf(g.conf, NULL, &ps);
    NEED(ps.n == 1);
    CHECK_EQ_STR(ps.v[0].text,
                 "smtpd_recipient_restrictions: restriction classes name each other too often");
    conf_problems_free(&ps);
    run_stage(&s, STAGE_RCPT, "x@b.example");
    CHECK_EQ_STR(reply, "451 4.3.5 Server configuration error");
    close_session(&s, &g);
}

/* All restrictions of Postfix's manual, postconf(5); warn_if_reject is no verb but a word before one. */
TEST(every_documented_verb_has_a_row)
{
    static const char *const verbs[] = {
        "check_ccert_access",
        "check_client_access",
        "check_client_a_access",
        "check_client_mx_access",
        "check_client_ns_access",
        "check_reverse_client_hostname_access",
        "check_reverse_client_hostname_a_access",
        "check_reverse_client_hostname_mx_access",
        "check_reverse_client_hostname_ns_access",
        "check_sasl_access",
        "permit_inet_interfaces",
        "permit_mynetworks",
        "permit_sasl_authenticated",
        "permit_tls_all_clientcerts",
        "permit_tls_clientcerts",
        "reject_rbl_client",
        "permit_dnswl_client",
        "reject_rhsbl_client",
        "permit_rhswl_client",
        "reject_rhsbl_reverse_client",
        "reject_unknown_client_hostname",
        "reject_unknown_reverse_client_hostname",
        "check_policy_service",
        "defer",
        "defer_if_permit",
        "defer_if_reject",
        "permit",
        "reject_multi_recipient_bounce",
        "reject_plaintext_session",
        "reject_unauth_pipelining",
        "reject",
        "sleep",
        "check_etrn_access",
        "check_helo_access",
        "check_helo_a_access",
        "check_helo_mx_access",
        "check_helo_ns_access",
        "reject_invalid_helo_hostname",
        "reject_non_fqdn_helo_hostname",
        "reject_rhsbl_helo",
        "reject_unknown_helo_hostname",
        "check_recipient_access",
        "check_recipient_a_access",
        "check_recipient_mx_access",
        "check_recipient_ns_access",
        "permit_auth_destination",
        "permit_mx_backup",
        "reject_non_fqdn_recipient",
        "reject_rhsbl_recipient",
        "reject_unauth_destination",
        "defer_unauth_destination",
        "reject_unknown_recipient_domain",
        "reject_unlisted_recipient",
        "reject_unverified_recipient",
        "check_sender_access",
        "check_sender_a_access",
        "check_sender_mx_access",
        "check_sender_ns_access",
        "reject_authenticated_sender_login_mismatch",
        "reject_known_sender_login_mismatch",
        "reject_non_fqdn_sender",
        "reject_rhsbl_sender",
        "reject_sender_login_mismatch",
        "reject_unauthenticated_sender_login_mismatch",
        "reject_unknown_sender_domain",
        "reject_unlisted_sender",
        "reject_unverified_sender",
    };

    CHECK_EQ_INT(COUNT_OF(verbs), 67);
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        TEST_ROW("%s", verbs[i]);
        CHECK(restrict_verb_of(sl_z(verbs[i])) >= 0);
    }
}

int
main(int argc, char **argv)
{
    int fd = mkstemp(log_path), rc;

    if (fd < 0)
        return 1;
    close(fd);
    log_set_program("smtpd", "postfix/smtpd", NULL);
    log_set_output(LOG_TO_FILE, log_path, LOG_FMT_TEXT, LOG_LV_INFO);
    rc = test_main(argc, argv);
    unlink(log_path);
    return rc;
}
