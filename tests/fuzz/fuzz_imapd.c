/* imapd after login, on a store of its own: any octets, in each state that a session or a command can be in. What earlier
 * inputs did to the mailboxes stays, so a finding may need its predecessors; now and then most messages go. */
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

/* What was sent before the input: the choice's bits 0, 1, 4 and 5. */
static const char *const before[16] = {
    "",
    "a SELECT INBOX\r\n",
    "a EXAMINE INBOX\r\nb ENABLE CONDSTORE\r\n",
    "a SELECT INBOX\r\nb IDLE\r\n",
    "a APPEND INBOX (\\Seen) {40+}\r\nSubject: x", /* in a message */
    "a APPEND INBOX {5+}\r\na: b\n",               /* behind one */
    "a SELECT INBOX\r\nb APPEND INBOX CATENATE (TEXT {5+}\r\na: b\n",
    "a APPEND INBOX ~{150+}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    "Content-Transfer-Encoding: binary\r\n\r\n",
    "a SELECT INBOX\r\nb UID REPLACE * INBOX ",
    "a ENABLE IMAP4rev2 UTF8=ACCEPT\r\nb SELECT INBOX\r\n",
    "a ENABLE QRESYNC\r\nb SELECT INBOX\r\n",
    "a ENABLE UIDONLY\r\nb SELECT INBOX\r\n",
    "a BOGUS {20+}\r\nx", /* in what is passed over */
    "a NOTIFY SET (SELECTED (MessageNew (FLAGS) MessageExpunge FlagChange)) (PERSONAL "
    "(MessageNew MessageExpunge))\r\nb SELECT INBOX\r\n",
    "a SELECT INBOX\r\nb SEARCH SUBJECT {10+}\r\n", /* in a literal that is an argument */
    "a COMPRESS DEFLATE\r\n",
};

static void
empty(void)
{
    struct wire w;

    open_session(&w);
    wire_send(&w, SL("a SELECT INBOX\r\nb STORE 5:* +FLAGS.SILENT (\\Deleted)\r\nc EXPUNGE\r\n"));
    wire_settle(&w);
    close_session(&w);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned inputs;
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 4 ? in.n / 2 : in.n;
    struct wire w;

    open_session(&w);
    wire_send(&w, sl_z(before[(choice & 3) | (choice >> 2 & 12)]));
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    if (choice & 8)
        wire_send(&w, SL("\r\nz LOGOUT\r\n"));
    close_session(&w);
    if (++inputs % 500 == 0)
        empty();
    return 0;
}
