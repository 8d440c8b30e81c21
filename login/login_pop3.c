/* login/login_pop3.c - POP3's AUTHORIZATION state: RFC 1939 §4, 2449 §5 (CAPA), 2595 §4 (STLS), 5034 §4 (AUTH), 6856 §2.1
 * (UTF8) and §3 (LANG), and the response codes of RFC 2449 §8 and 3206 §4. */
#include "login/login_int.h"

#include "base/mem.h"
#include "proto/pop3.h"

#include <stdlib.h>

static void
greet(struct sess *s)
{
    /* Dovecot's word for a client that would use XCLIENT: it need not ask CAPA */
    conn_printf(s->conn, "+OK %s%s\r\n", s->is_trusted ? "[XCLIENT] " : "",
                s->conf->login_greeting);
}

static void
bye(struct sess *s, const char *text)
{
    conn_printf(s->conn, "-ERR %s\r\n", text);
}

static void
challenge(struct sess *s, struct slice base64)
{
    conn_printf(s->conn, "+ %.*s\r\n", SL_ARG(base64));
}

static void
refuse(struct sess *s, enum login_refusal why, struct slice reason)
{
    static const char *const replies[] = {
        [LOGIN_WRONG] = "[AUTH] Authentication failed.",
        [LOGIN_DISABLED] = "[AUTH] Login disabled.",
        [LOGIN_EXPIRED] = "[AUTH] Password expired.",
        [LOGIN_LIMIT] = "[IN-USE] Too many sessions.",
        [LOGIN_UNAVAILABLE] = "[SYS/TEMP] Temporary authentication failure, try again later.",
        [LOGIN_PLAINTEXT] =
            "[AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.",
        [LOGIN_NO_MECH] = "[AUTH] Unsupported authentication mechanism.",
        [LOGIN_ABORTED] = "Authentication aborted by client.",
        [LOGIN_NO_CERT] = "[AUTH] Authentication failed.",
        [LOGIN_BAD_BASE64] = "[AUTH] Invalid base64 in response",
        [LOGIN_BAD_INITIAL] = "[AUTH] Invalid base64 data in initial response",
    };
    const char *text = replies[why];

    if (reason.n > 0 && why <= LOGIN_LIMIT) /* the code stays, the words are authd's */
        conn_printf(s->conn, "-ERR %.*s %.*s\r\n", (int)(strchr(text, ']') + 1 - text), text,
                    SL_ARG(reason));
    else
        conn_printf(s->conn, "-ERR %s\r\n", text);
}

static void
run_capa(struct sess *s, struct slice args)
{
    char mech[LOGIN_MECH_OCTETS];

    struct buf out = { 0 };

    (void)args;
    buf_addz(&out, "+OK\r\n");
    pop3_add_capa(&out,
                  &(struct pop3_capa){ .login_delay_s = (uint64_t)s->conf->pop3_login_delay / 1000,
                                       .expire = s->conf->pop3_expire });
    if (login_offers_starttls(s))
        buf_addz(&out, "STLS\r\n");
    if (login_may_send_password(s))
        buf_addz(&out, "USER\r\n");
    buf_addz(&out, "SASL");
    for (size_t i = 0; login_mech(s, i, mech); i++)
        buf_addf(&out, " %s", mech);
    buf_addz(&out, "\r\n.\r\n");
    conn_writes(s->conn, buf_slice(&out));
    buf_free(&out);
}

static void
run_user(struct sess *s, struct slice args)
{
    if (!login_may_send_password(s)) {
        login_refuse(s, LOGIN_PLAINTEXT);
        return;
    }
    free(s->pop3_user);
    s->pop3_user = sl_dupz(args);
    conn_writes(s->conn, SL("+OK\r\n"));
}

static void
run_pass(struct sess *s, struct slice args)
{
    char *user = s->pop3_user;

    if (!user) {
        conn_writes(s->conn, SL("-ERR No username given.\r\n"));
        return;
    }
    s->pop3_user = NULL; /* after a failure both are asked for anew (RFC 1939 §7) */
    login_password(s, sl_z(user), args);
    free(user);
}

static void
run_auth(struct sess *s, struct slice args)
{
    struct slice mech = args, initial = { 0 };
    char name[LOGIN_MECH_OCTETS];

    if (args.n == 0) { /* RFC 1734's way to ask */
        conn_writes(s->conn, SL("+OK\r\n"));
        for (size_t i = 0; login_mech(s, i, name); i++)
            conn_printf(s->conn, "%s\r\n", name);
        conn_writes(s->conn, SL(".\r\n"));
        return;
    }
    if (sl_take_until(&args, ' ', &mech))
        initial = sl_trim(args);
    login_authenticate(s, mech, initial);
}

static void
run_stls(struct sess *s, struct slice args)
{
    (void)args;
    if (s->is_tls) {
        conn_writes(s->conn, SL("-ERR TLS is already active.\r\n"));
    } else if (!login_tls(s)) {
        conn_writes(s->conn, SL("-ERR TLS support isn't enabled.\r\n"));
    } else {
        s->is_utf8 = false; /* what was said in clear counts no more: RFC 2595 §4 */
        conn_writes(s->conn, SL("+OK Begin TLS negotiation now.\r\n"));
        login_start_tls(s);
    }
}

static void
run_utf8(struct sess *s, struct slice args)
{
    if (args.n > 0) {
        conn_writes(s->conn, SL("-ERR UTF8 takes no argument.\r\n"));
        return;
    }
    s->is_utf8 = true;
    conn_writes(s->conn, SL("+OK UTF-8 it is.\r\n"));
}

static void
run_lang(struct sess *s, struct slice args)
{
    struct buf out = { 0 };

    pop3_add_lang(&out, args);
    conn_writes(s->conn, buf_slice(&out));
    buf_free(&out);
}

static void
run_quit(struct sess *s, struct slice args)
{
    (void)args;
    conn_writes(s->conn, SL("+OK Logging out\r\n"));
    login_end(s, "Disconnected: Aborted login by logging out", NULL);
}

static const struct {
    const char *name;
    void (*run)(struct sess *s, struct slice args);
} commands[] = {
    { "CAPA", run_capa }, { "USER", run_user }, { "PASS", run_pass },
    { "AUTH", run_auth }, { "STLS", run_stls }, { "UTF8", run_utf8 },
    { "LANG", run_lang }, { "QUIT", run_quit }, { "XCLIENT", login_pop3_xclient },
};

static bool
step(struct sess *s)
{
    struct slice line, name, args = { 0 };
    struct buf copy = { 0 };
    enum frame_rc rc = conn_take_line(s->conn, LOGIN_LINE_MAX, LINE_LF_TOO, &line);

    if (rc == FRAME_TOO_LONG) {
        login_end(s, "Disconnected: Input buffer full", "Input line too long.");
        return false;
    }
    if (rc != FRAME_OK)
        return false;
    buf_adds(&copy, line); /* conn_ calls end the line's life */
    name = buf_slice(&copy);
    args = name;
    if (sl_take_until(&args, ' ', &name)) {
        /* args is what follows the first space; a password may begin or end with others */
    } else {
        name = args;
        args = SL("");
    }
    for (size_t i = 0; i <= COUNT_OF(commands); i++) {
        if (i == COUNT_OF(commands) || memchr(copy.p ? copy.p : "", '\0', copy.n)) {
            if (!login_count_bad(s))
                conn_writes(s->conn, SL("-ERR Unknown command.\r\n"));
            break;
        }
        if (sl_ieqz(name, commands[i].name)) {
            commands[i].run(s, args);
            break;
        }
    }
    buf_wipe(&copy);
    return true;
}

const struct login_proto login_pop3 = {
    .service = "pop3",
    .greet = greet,
    .step = step,
    .challenge = challenge,
    .refuse = refuse,
    .bye = bye,
};
