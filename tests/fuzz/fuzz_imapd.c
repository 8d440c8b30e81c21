/* imapd after login, on a store of its own: any octets, in no mailbox or in one with a few messages. What earlier inputs did
 * to the mailboxes stays, so a finding may need its predecessors. */
#include "imapd/imapd.h"
#include "tests/fuzz/wire.h"

static struct conf *conf;

static bool
is_busy(void)
{
    return work_pending(imapd.pool) > 0;
}

static void
open_session(struct wire *w)
{
    struct imap_adopted a = {
        .conf = conf, .user = SL("u@example.com"), .tag = SL("t"), .input = SL(""), .name = SL("s")
    };

    a.fd = wire_open(w);
    w->is_busy = is_busy;
    imap_sess_new(&a);
}

static void
close_session(struct wire *w)
{
    wire_close(w);
    for (int i = 0; i < 1000 && !list_is_empty(&imapd.sessions); i++)
        wire_settle(w);
    MUST(list_is_empty(&imapd.sessions));
}

static void
fill(void)
{
    static const char one[] =
        "From: A <a@b>\r\nTo: g: c@d;\r\nSubject: =?utf-8?Q?x?=\r\nDate: Sun, 22 Nov 2026 15:04:00 "
        "+0000\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b\r\n"
        "Content-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\n--b--\r\n";
    struct buf text = { 0 };
    struct wire w;

    for (int i = 0; i < 3; i++)
        buf_addf(&text, "a APPEND INBOX (\\Seen k%d) {%zu+}\r\n%s\r\n", i, sizeof one - 1, one);
    open_session(&w);
    wire_send(&w, buf_slice(&text));
    wire_settle(&w);
    MUST(sl_find(buf_slice(&w.got), SL("a OK [APPENDUID")) != SL_NPOS);
    buf_free(&text);
    close_session(&w);
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
    conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    MUST(conf != NULL);
    list_init(&imapd.sessions);
    if (store_new(conf, &imapd.store, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return -1;
    }
    imapd.pool = work_pool_new("imap", 1, 0);
    fill();
    buf_free(&text);
    conf_problems_free(&ps);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const before[4] = { "", "a SELECT INBOX\r\n",
                                           "a EXAMINE INBOX\r\nb ENABLE CONDSTORE\r\n",
                                           "a SELECT INBOX\r\nb IDLE\r\n" };
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 4 ? in.n / 2 : in.n;
    struct wire w;

    open_session(&w);
    wire_send(&w, sl_z(before[choice & 3]));
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    if (choice & 8)
        wire_send(&w, SL("\r\nz LOGOUT\r\n"));
    close_session(&w);
    return 0;
}
