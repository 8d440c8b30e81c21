/* login/login_log.c - what is written of a session: login_log_format and login_log_format_elements with Dovecot's
 * variables, and how a session that nobody logged in to has ended, in its words. Programs ban addresses by these lines, so
 * nothing that a client says may look like a field. */
#include "login/login_int.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <unistd.h>

enum { LOG_USER_OCTETS = 80, LOG_VALUE_OCTETS = 512 };

/* ---- variables ---- */

enum var {
    V_USER,
    V_NAME,
    V_DOMAIN,
    V_AUTH_USER,
    V_AUTH_NAME,
    V_AUTH_DOMAIN,
    V_MASTER,
    V_SERVICE,
    V_LIP,
    V_RIP,
    V_PID,
    V_MECH,
    V_LPORT,
    V_RPORT,
    V_SECURED,
    V_SECURITY,
    V_MAIL_PID,
    V_SESSION,
    V_REAL_LIP,
    V_REAL_RIP,
    V_REAL_LPORT,
    V_REAL_RPORT,
    V_NONE /* known, and empty here */
};
static const struct {
    char letter; /* 0: none */
    const char *name;
    enum var var;
} vars[] = {
    { 'u', "user", V_USER },
    { 'n', "username", V_NAME },
    { 'd', "domain", V_DOMAIN },
    { 's', "service", V_SERVICE },
    { 'l', "lip", V_LIP },
    { 'r', "rip", V_RIP },
    { 'p', "pid", V_PID },
    { 'm', "mech", V_MECH },
    { 'a', "lport", V_LPORT },
    { 'b', "rport", V_RPORT },
    { 'c', "secured", V_SECURED },
    { 'k', "ssl_security", V_SECURITY },
    { 'e', "mail_pid", V_MAIL_PID },
    { 0, "session", V_SESSION },
    { 0, "real_lip", V_REAL_LIP },
    { 0, "real_rip", V_REAL_RIP },
    { 0, "real_lport", V_REAL_LPORT },
    { 0, "real_rport", V_REAL_RPORT },
    { 0, "local_ip", V_LIP },
    { 0, "remote_ip", V_RIP },
    { 0, "local_port", V_LPORT },
    { 0, "remote_port", V_RPORT },
    { 0, "mechanism", V_MECH },
    { 0, "orig_user", V_USER },
    { 0, "orig_username", V_NAME },
    { 0, "orig_domain", V_DOMAIN },
    { 0, "auth_user", V_AUTH_USER },
    { 0, "auth_username", V_AUTH_NAME },
    { 0, "auth_domain", V_AUTH_DOMAIN },
    { 0, "master_user", V_MASTER },
    { 'h', "home", V_NONE },
    { 0, "listener", V_NONE },
    { 0, "local_name", V_NONE },
};

/* What a stranger has written: no octet that ends it there, and not long. */
static void
add_said(struct buf *out, struct slice s, size_t most)
{
    bool is_cut = s.n > most;

    s = sl_head(s, most);
    for (size_t i = 0; i < s.n; i++)
        buf_addc(out, (unsigned char)s.p[i] < ' ' || strchr("<>\"\x7f", s.p[i]) ? '?' : s.p[i]);
    if (is_cut)
        buf_addz(out, "...");
}

static void
add_ip(struct buf *out, const struct addr *a)
{
    char text[ADDR_TEXT_OCTETS];

    buf_addz(out, addr_ip_text(a, text));
}

static void
add_tls(struct buf *out, const struct sess *s)
{
    if (!s->is_tls) {
        buf_addz(out, s->is_secured ? "secured" : "");
        return;
    }
    buf_addz(out, s->is_tls_ready ? "TLS" : "TLS handshaking");
    if (s->tls_why)
        buf_addf(out, ": %s", s->tls_why);
}

static void
add_security(struct buf *out, const struct sess *s)
{
    struct tls_info t;

    if (s->conn && tls_info_of(s->conn, &t))
        buf_addf(out, "%s with cipher %s (%d/%d bits)", t.protocol, t.cipher, t.bits, t.algbits);
}

/* Which of "u@d": 0 all of it, 1 before the '@', 2 behind it. */
static void
add_name(struct buf *out, const char *name, int part)
{
    struct slice s = sl_z(name);
    size_t at = sl_find_char(s, '@');

    if (part == 1)
        s = sl_head(s, at == SL_NPOS ? s.n : at);
    else if (part == 2)
        s = sl_from(s, at == SL_NPOS ? s.n : at + 1);
    add_said(out, s, LOG_USER_OCTETS);
}

static void
add_var(struct buf *out, const struct sess *s, enum var v, int worker_pid)
{
    switch (v) {
    case V_USER:
    case V_NAME:
    case V_DOMAIN:
        add_name(out, s->user, (int)v - V_USER);
        break;
    case V_AUTH_USER:
    case V_AUTH_NAME:
    case V_AUTH_DOMAIN:
        add_name(out, s->master ? s->master : s->user, (int)v - V_AUTH_USER);
        break;
    case V_MASTER:
        add_name(out, s->master, 0);
        break;
    case V_SERVICE:
        buf_addz(out, s->proto->service);
        break;
    case V_LIP:
        add_ip(out, &s->local);
        break;
    case V_RIP:
        add_ip(out, &s->remote);
        break;
    case V_REAL_LIP:
        add_ip(out, &s->real_local);
        break;
    case V_REAL_RIP:
        add_ip(out, &s->real_remote);
        break;
    case V_PID:
        buf_addf(out, "%d", (int)getpid());
        break;
    case V_MECH:
        add_said(out, sl_z(s->mech), LOGIN_MECH_OCTETS);
        break;
    case V_LPORT:
        buf_addu(out, addr_port(&s->local));
        break;
    case V_RPORT:
        buf_addu(out, addr_port(&s->remote));
        break;
    case V_REAL_LPORT:
        buf_addu(out, addr_port(&s->real_local));
        break;
    case V_REAL_RPORT:
        buf_addu(out, addr_port(&s->real_remote));
        break;
    case V_SECURED:
        add_tls(out, s);
        break;
    case V_SECURITY:
        add_security(out, s);
        break;
    case V_MAIL_PID:
        if (worker_pid > 0)
            buf_addf(out, "%d", worker_pid);
        break;
    case V_SESSION:
        add_said(out, sl_z(s->sid), LOG_VALUE_OCTETS);
        break;
    case V_NONE:
        break;
    }
}

/* "%u", "%{user}"; the variable, or -1 for a letter or name that is none. */
static int
take_var(struct slice *in)
{
    struct slice name;
    char letter;

    if (sl_take_char(in, '{')) {
        if (!sl_take_until(in, '}', &name))
            return -1;
        for (size_t i = 0; i < COUNT_OF(vars); i++)
            if (sl_eqz(name, vars[i].name))
                return (int)vars[i].var;
        return -1;
    }
    if (in->n == 0)
        return -1;
    letter = in->p[0];
    *in = sl_from(*in, 1);
    for (size_t i = 0; i < COUNT_OF(vars); i++)
        if (vars[i].letter == letter)
            return (int)vars[i].var;
    return -1;
}

/* One word of login_log_format_elements. s NULL: as it is with nothing known. True: it names the user, and is told in any
 * case. */
static bool
add_element(struct buf *out, struct slice word, const struct sess *s, int worker_pid)
{
    bool has_user = false;

    while (word.n > 0) {
        int v;

        if (!sl_take_char(&word, '%')) {
            buf_addc(out, word.p[0]);
            word = sl_from(word, 1);
            continue;
        }
        if (sl_take_char(&word, '%')) {
            buf_addc(out, '%');
            continue;
        }
        v = take_var(&word);
        has_user = has_user || v == V_USER || v == V_NAME || v == V_DOMAIN;
        if (s && v >= 0)
            add_var(out, s, (enum var)v, worker_pid);
    }
    return has_user;
}

/* Words whose variables are all empty are left out. */
static void
add_elements(struct buf *out, const struct sess *s, int worker_pid)
{
    struct slice in = sl_z(s->conf->login_log_format_elements), word;
    struct buf is = { 0 }, empty = { 0 };
    bool is_first = true;

    while (sl_take_word(&in, " ", &word)) {
        bool has_user;

        buf_reset(&is);
        buf_reset(&empty);
        has_user = add_element(&is, word, s, worker_pid);
        add_element(&empty, word, NULL, 0);
        if (!has_user && sl_eq(buf_slice(&is), buf_slice(&empty)))
            continue;
        buf_addz(out, is_first ? "" : ", ");
        buf_adds(out, buf_slice(&is));
        is_first = false;
    }
    buf_free(&is);
    buf_free(&empty);
}

void
login_log(const struct sess *s, const char *event, const char *what, int worker_pid)
{
    struct slice in = sl_z(s->conf->login_log_format);
    char rip[ADDR_TEXT_OCTETS], lip[ADDR_TEXT_OCTETS];
    struct buf b = { 0 };

    addr_ip_text(&s->remote, rip);
    addr_ip_text(&s->local, lip);
    while (in.n > 0) {
        if (sl_take_prefix(&in, SL("%$"))) {
            buf_addz(&b, what);
        } else if (sl_take_prefix(&in, SL("%s"))) {
            add_elements(&b, s, worker_pid);
        } else {
            if (sl_has_prefix(in, SL("%%")))
                in = sl_from(in, 1);
            buf_addc(&b, in.p[0]);
            in = sl_from(in, 1);
        }
    }
    log_info(event,
             LOG_F(LF_Z("service", s->proto->service), LF_Z("user", s->user),
                   LF_Z("method", s->mech), LF_Z("rip", rip), LF_Z("lip", lip), LF_Z("sid", s->sid),
                   LF_Z("what", what)),
             "%s-login: %s", s->proto->service, buf_z(&b));
    buf_free(&b);
}

const char *
login_log_fault(const struct conf *c, const char **param)
{
    struct slice in = sl_z(c->login_log_format_elements);
    bool has_what = false, has_elements = false;

    *param = "login_log_format_elements";
    while (in.n > 0)
        if (!sl_take_char(&in, '%'))
            in = sl_from(in, 1);
        else if (!sl_take_char(&in, '%') && take_var(&in) < 0)
            return "a letter or name behind % that is none is left out";
    *param = "login_log_format";
    in = sl_z(c->login_log_format);
    while (in.n > 0)
        if (sl_take_prefix(&in, SL("%$")))
            has_what = true;
        else if (sl_take_prefix(&in, SL("%s")))
            has_elements = true;
        else if (sl_take_char(&in, '%') && !sl_take_char(&in, '%'))
            return "behind % only $, s and % mean anything";
        else if (in.n > 0)
            in = sl_from(in, 1);
    return has_what || has_elements ? NULL : "without %$ and %s the log tells nothing";
}

/* ---- how it ended ---- */

static const char *
why_certificate(const struct sess *s)
{
    struct tls_info t;

    if (!s->conf->auth_ssl_require_client_cert || !s->is_tls_ready || s->is_cert_valid)
        return NULL;
    return s->conn && tls_info_of(s->conn, &t) && t.has_peer_cert ? "(client sent an invalid cert)"
                                                                  : "(client didn't send a cert)";
}

static const char *
why_refused(enum login_refusal r)
{
    static const char *const words[] = {
        [LOGIN_DISABLED] = "(user disabled)",
        [LOGIN_EXPIRED] = "(password expired)",
        [LOGIN_UNAVAILABLE] = "(auth service reported temporary failure)",
        [LOGIN_PLAINTEXT] = "(tried to use disallowed plaintext auth)",
        [LOGIN_NO_MECH] = "(tried to use unsupported auth mechanism)",
        [LOGIN_BAD_BASE64] = "(sent invalid base64 in response)",
        [LOGIN_BAD_INITIAL] = "(sent invalid base64 in response)",
    };

    return (size_t)r < COUNT_OF(words) ? words[r] : NULL;
}

void
login_log_end(const struct sess *s, const char *why)
{
    uint64_t now = clock_mono_ms();
    unsigned long long secs = (now - s->began_ms) / 1000;
    unsigned long long auth_secs = s->auth_began_ms ? (now - s->auth_began_ms) / 1000 : 0;
    bool is_once = s->attempts == 1;
    const char *words = why_certificate(s);
    struct buf b = { 0 };

    if (!words && s->attempts > 0 && !(s->is_unanswered && is_once))
        words = why_refused(s->last_refusal);
    buf_addf(&b, "%s ", why);
    if (s->wrong > 0) /* whatever came after it */
        buf_addf(&b, "(auth failed, %u attempts in %llu secs)", s->attempts, auth_secs);
    else if (s->conf->auth_ssl_require_client_cert && s->attempts > 0 && !s->is_tls)
        buf_addz(&b, "(cert required, client didn't start TLS)");
    else if (words)
        buf_addz(&b, words);
    else if (s->attempts == 0)
        buf_addf(&b, "(no auth attempts in %llu secs)", secs);
    else if (s->is_unanswered && is_once)
        buf_addf(&b, "(client didn't finish SASL auth, waited %llu secs)", auth_secs);
    else if (s->auth_req && is_once)
        buf_addf(&b, "(disconnected while authenticating, waited %llu secs)", auth_secs);
    else if (s->successes > 0 && s->spare_fd >= 0)
        buf_addf(&b, "(disconnected while finishing login, waited %llu secs)", auth_secs);
    else if (s->successes > 0)
        buf_addf(&b, "(internal failure, %u successful auths)", s->successes);
    else
        buf_addf(&b, "(auth failed, %u attempts in %llu secs)", s->attempts, auth_secs);
    login_log(s, "login.end", buf_z(&b), 0);
    buf_free(&b);
}
