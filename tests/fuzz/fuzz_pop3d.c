/* pop3d after login, on a store of its own: any octets, by an account of each kind of settings. What earlier inputs did to the
 * mailbox stays, so a finding may need its predecessors; now and then it is filled again. */
#include "pop3d/pop3d.h"

#include "base/mem.h"
#include "core/daemon.h"
#include "tests/fuzz/wire.h"

#include <dirent.h>

enum { MESSAGES = 7, FILLED_EVERY = 10, KINDS = 4 };

/* The choice's bits 0 and 1. */
static const char *const kinds[KINDS] = {
    "",
    "pop3_uidl_format = %g\npop3_no_flag_updates = yes\npop3_enable_last = "
    "yes\npop3_uidl_duplicates = rename\n"
    "pop3_client_workarounds = outlook-no-nuls oe-ns-eoh\n",
    "pop3_uidl_format = %f\npop3_lock_session = yes\npop3_fast_size_lookups = "
    "yes\npop3_reuse_xuidl = yes\n",
    "pop3_uidl_format = %v.%u\npop3_save_uidl = yes\npop3_delete_type = flag\npop3_deleted_flag = "
    "$Gone\n",
};
static struct conf *confs[KINDS];

static bool
is_busy(void)
{
    return work_pending(pop3d.pool) > 0;
}

static void
open_session(struct wire *w, unsigned kind, bool is_utf8)
{
    struct pop3_adopted a = { .conf = confs[kind],
                              .user = SL("u@example.com"),
                              .sid = SL("s"),
                              .input = SL(""),
                              .ip = "192.0.2.1",
                              .is_utf8 = is_utf8 };

    a.fd = wire_open(w);
    w->is_busy = is_busy;
    pop3_new(&a);
}

static void
close_session(struct wire *w)
{
    wire_close(w);
    for (int i = 0; i < 1000 && !list_is_empty(&pop3d.sessions); i++)
        wire_settle(w);
    MUST(list_is_empty(&pop3d.sessions));
}

static unsigned
count(const char *inside)
{
    char path[128];
    unsigned n = 0;
    DIR *d;

    snprintf(path, sizeof path, "%s/mail/example.com/u/%s", wire_dir, inside);
    d = opendir(path);
    MUST(d != NULL);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n - 2;
}

/* Files by hand, as somebody may put them there, when there are few. */
static void
fill(void)
{
    static const char *const texts[] = {
        "Subject: one\n\n.dot\n..\nline\n",
        "From: =?utf-8?Q?=C3=A4?= <a@b>\r\nSubject: two\r\n\r\nx",
        ("Subject: \xc3\xa4\nFrom: \xe4 <a\xc3\xa9@b>\n\n\xc3\xa4\n"),
        "",
        "\n\n.",
        "no header at all",
        "X-UIDL: of another server\nSubject: \xf0\x9f\x93\xa7\n\n\n\n",
    };
    static unsigned n;
    char path[192];

    if (count("new") + count("cur") >= MESSAGES)
        return;
    for (int i = 0; i < MESSAGES; i++) {
        FILE *f;

        snprintf(path, sizeof path, "%s/mail/example.com/u/new/15786%05u.M%uP1.h", wire_dir, n, n);
        n++;
        f = fopen(path, "w");
        MUST(f && fputs(texts[i], f) >= 0 && fclose(f) == 0);
    }
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const folders[] = { "mail",
                                           "mail/example.com",
                                           "mail/example.com/u",
                                           "mail/example.com/u/new",
                                           "mail/example.com/u/cur",
                                           "mail/example.com/u/tmp" };
    struct buf text = { 0 };
    struct err e = { 0 };
    char path[128];

    (void)argc;
    (void)argv;
    wire_init(&text);
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        snprintf(path, sizeof path, "%s/%s", wire_dir, folders[i]);
        MUST(mkdir(path, 0700) == 0);
    }
    buf_addf(&text, "mail_location = maildir:%s/mail/%%d/%%n\n", wire_dir);
    for (size_t i = 0; i < KINDS; i++) {
        struct conf_problems ps = { 0 };
        struct buf whole = { 0 };

        buf_adds(&whole, buf_slice(&text));
        buf_addz(&whole, kinds[i]);
        confs[i] = conf_parse(buf_slice(&whole), "main.cf", &ps);
        MUST(confs[i] != NULL);
        buf_free(&whole);
        conf_problems_free(&ps);
    }
    list_init(&pop3d.sessions);
    MUST(store_new(confs[0], &pop3d.store, &e) == 0);
    pop3d.pool = work_pool_new("pop3", 1, 0);
    fill();
    buf_free(&text);
    return 0;
}

/* Every reply ends with CRLF, and no line is of more than one: what a message holds is stuffed. */
static void
must_be_replies(const struct wire *w)
{
    struct slice said = buf_slice(&w->got);

    MUST(said.n == 0 || sl_has_prefix(said, SL("+OK")) || sl_has_prefix(said, SL("-ERR")));
    MUST(said.n == 0 || !w->is_closed || sl_has_suffix(said, SL("\r\n")));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static unsigned inputs;
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 4 ? in.n / 2 : in.n;
    struct wire w;

    open_session(&w, choice % KINDS, choice & 16);
    if (choice & 32)
        wire_send(&w, SL("DELE 1\r\nRETR 2\r\nUIDL\r\n"));
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    if (choice & 8)
        wire_send(&w, SL("\r\nQUIT\r\n"));
    must_be_replies(&w);
    close_session(&w);
    pop3_delay_forget();
    if (++inputs % FILLED_EVERY == 0)
        fill();
    return 0;
}
