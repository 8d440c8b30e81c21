/* IMAP and POP3 before authentication: any octets, after nothing, a greeting's answer or a failed log-in. */
#include "login/login.h"
#include "tests/fuzz/wire.h"

static struct login_setup setup = { .imapd_workers = 1 };

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf text = { 0 };
    struct conf_problems ps = { 0 };

    (void)argc;
    (void)argv;
    wire_init(&text);
    wire_listen("auth", SOCK_STREAM, wire_auth_accept);
    setup.conf = conf_parse(buf_slice(&text), "main.cf", &ps);
    MUST(setup.conf != NULL);
    setup.auth = auth_client_new(wire_path("auth"));
    auth_client_connect(setup.auth);
    login_set(&setup);
    buf_free(&text);
    conf_problems_free(&ps);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const before[2][4] = {
        { "", "a CAPABILITY\r\n", "a LOGIN u wrong\r\n", "a AUTHENTICATE PLAIN\r\n" },
        { "", "CAPA\r\n", "USER u\r\n", "AUTH PLAIN\r\n" },
    };
    struct slice in = sl_n((const char *)data, n);
    unsigned choice = fuzz_choice(&in);
    size_t half = choice & 16 ? in.n / 2 : in.n;
    struct addr peer;
    struct wire w;

    addr_parse_ip(choice & 8 ? SL("192.0.2.1") : SL("127.0.0.1"), 4711, &peer);
    login_accept(choice & 1 ? SL("pop3") : SL("imap"), wire_open(&w), &peer);
    wire_send(&w, sl_z(before[choice & 1][choice >> 1 & 3]));
    wire_send(&w, sl_head(in, half));
    wire_send(&w, sl_from(in, half));
    wire_close(&w);
    wire_settle(&w);
    MUST(login_count() == 0);
    return 0;
}
