/* SEARCH, SORT, THREAD and ESEARCH without the wire: the arguments parsed, and the program run over a small mailbox. What MIN and
 * MAX find without looking at the rest must be the ends of what is found in all; contexts must be what a search finds. */
#include "imapd/context.h"
#include "imapd/search.h"
#include "base/mem.h"
#include "tests/fuzz/wire.h"

static struct conf *conf;
static struct imap_sess sess = { .user = "u@example.com", .name = "s" };

static const struct {
    const char *name;
    bool is_uid;
} commands[] = {
    { "SEARCH", false }, { "SEARCH", true },   { "SORT", false },   { "SORT", true },
    { "THREAD", true },  { "ESEARCH", false }, { "SEARCH", false }, { "SEARCH", true }
};

static const char *const mails[] = {
    "From: A <a@b>\nTo: g: c@d;\nSubject: =?utf-8?Q?x?=\nDate: Sun, 22 Nov 2026 15:04:00 +0000\n"
    "Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
    "Content-Type: message/rfc822\n\nSubject: in\n\nbody\n--b--\n",
    "From: \"q\\\"\" (who)@ b\nSubject: Re: x\nReferences: <1@x> <2@x>\nMessage-ID: <3@x>\n\none\n",
    "Subject: y\nMessage-ID: <1@x>\nContent-Type: text/html; "
    "charset=utf-8\n\n<p>gr\xc3\xbc\xc3\x9f</p>\n",
    "X-Odd\n\n\xff\xfe",
    "Cc: c@d\nDate: 1 Feb 1994 00:00:00 -1200\n\n",
};

static void
fill(struct store_user *u)
{
    struct store_append *a;
    struct err e = { 0 };
    uint32_t validity, *uids;
    size_t n;

    MUST(store_append_begin(u, SL("INBOX"), &a, &e) == 0);
    for (size_t i = 0; i < COUNT_OF(mails); i++) {
        const char *keyword = "k1";

        MUST(store_append_msg(a, (uint32_t)i, &keyword, i % 2, (int64_t)i * 86400 * 365, 0, &e) ==
             0);
        MUST(store_append_octets(a, sl_z(mails[i]), &e) == 0);
    }
    MUST(store_append_commit(&a, &validity, &uids, &n, &e) == 0);
    free(uids);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf text = { 0 };
    struct conf_problems ps = { 0 };
    struct err e = { 0 };

    (void)argc;
    (void)argv;
    wire_init(&text);
    buf_addf(&text, "mail_location = maildir:%s/mail/%%d/%%n\n", wire_dir);
    sess.conf = conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    MUST(conf != NULL && store_new(conf, &imapd.store, &e) == 0);
    MUST(store_user_open(imapd.store, sl_z(sess.user), NULL, &sess.store, &e) == 0);
    fill(sess.store);
    MUST(store_select(sess.store, SL("INBOX"), false, &sess.view, &e) == 0);
    buf_free(&text);
    conf_problems_free(&ps);
    return 0;
}

static void
run(struct imap_cmd *c, struct slice text)
{
    struct err e = { 0 };
    struct slice in;
    enum cmd_rc rc = CMD_DONE;

    c->s = &sess;
    c->mem.cap = IMAPD_ARENA_OCTETS;
    c->tag = SL("t");
    buf_addc(&c->text, ' ');
    for (size_t i = 0; i < text.n; i++) /* as the reader frames it */
        buf_addc(&c->text, text.p[i] == '\0' ? '0' : text.p[i]);
    in = buf_slice(&c->text);
    if (c->row->parse(c, &in, &e) == PARSE_OK && in.n == 0)
        do
            rc = c->row->run(c);
        while (rc != CMD_DONE);
}

static void
end(struct imap_cmd *c)
{
    c->row->done(c);
    buf_free(&c->text);
    buf_free(&c->out);
    buf_free(&c->tagged);
    arena_free(&c->mem);
}

/* The ends, found from both sides, of what the program finds in all. */
static void
check_ends(struct slice text)
{
    struct imap_cmd c = { .s = &sess, .row = imap_row_find(SL("SEARCH"), false), .tag = SL("t") };
    struct search_text t = { .text = text, .view = sess.view, .mem = &c.mem };
    struct search_program p = { 0 };
    struct store_search *all, *ends;
    const uint32_t *a, *b;
    size_t n_a, n_b;
    struct err e = { 0 };

    c.mem.cap = IMAPD_ARENA_OCTETS;
    buf_adds(&c.text, text);
    if (search_program_parse(&c, &t, &p)) {
        all = store_search_new(sess.view, p.root);
        ends = store_search_new(sess.view, p.root);
        store_search_limit(ends, 1, 1);
        MUST(store_search_run(all, NULL, NULL, &e) == 0);
        MUST(store_search_run(ends, NULL, NULL, &e) == 0);
        a = store_search_result(all, &n_a);
        b = store_search_result(ends, &n_b);
        MUST(n_b == (n_a < 2 ? n_a : 2));
        MUST(n_a == 0 || (a[0] == b[0] && a[n_a - 1] == b[n_b - 1]));
        store_search_free(&all);
        store_search_free(&ends);
    }
    search_program_free(&p);
    buf_free(&c.text);
    buf_free(&c.out);
    buf_free(&c.tagged);
    arena_free(&c.mem);
}

/* All messages are looked at again and none has changed: nothing may be told. */
static void
check_contexts(void)
{
    uint32_t seqs[COUNT_OF(mails)];
    struct store_changes ch = { .changed = seqs, .n_changed = COUNT_OF(mails) };
    struct imap_cmd c = { .s = &sess, .row = imap_row_find(SL("NOOP"), false) };
    struct imap_contexts_turn *t;

    for (uint32_t i = 0; i < COUNT_OF(mails); i++)
        seqs[i] = i + 1;
    t = imap_contexts_begin(&c, &ch);
    while (!imap_contexts_changed(&c, t))
        MUST(c.out.n == 0); /* a turn was over */
    imap_contexts_end(&t);
    MUST(c.out.n == 0);
    buf_free(&c.out);
    imap_contexts_free(&sess);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t which = choice % COUNT_OF(commands);
    struct imap_cmd c = { .is_uid = commands[which].is_uid };

    c.row = imap_row_find(sl_z(commands[which].name), c.is_uid);
    sess.enabled = (choice & 8 ? IMAP_ON_REV2 : 0) | (choice & 16 ? IMAP_ON_CONDSTORE : 0);
    run(&c, in);
    end(&c);
    check_contexts();
    if (in.n < 20000 && sl_find_char(in, '\0') == SL_NPOS)
        check_ends(in);
    return 0;
}
