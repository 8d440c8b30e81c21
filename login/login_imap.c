/* login/login_imap.c - IMAP's not authenticated state: RFC 3501 §3.1, §6.1, §6.2; 2971 (ID), 4959 (SASL-IR), 7888
 * (LITERAL+), 5530 (response codes). */
#include "login/login_int.h"

#include "base/arena.h"
#include "base/mem.h"
#include "proto/imap.h"
#include "proto/imap_capability.h"
#include "proto/imap_id.h"

#include <stdio.h>
#include <stdlib.h>

enum { LITERAL_MINUS_OCTETS = 4096 }; /* RFC 7888 §5 */

/* ---- what is said ---- */

/* What means something before a user is known, IDLE too: Outlook looks for it only now. The rest is told then. */
static const char offered[] = "IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+";
static const char may_be_offered[] = "IMAP4rev1 IMAP4rev2 SASL-IR ID ENABLE IDLE LITERAL+ LITERAL-";

static void
add_names(struct buf *b, const struct sess *s)
{
    struct buf list = { 0 };
    struct slice in, word;
    bool is_first = true;

    buf_addz(&list, offered);
    imap_capability_apply(&list, sl_z(s->conf->imap_capability));
    in = buf_slice(&list);
    while (sl_take_word(&in, " ", &word)) {
        char name[32];

        snprintf(name, sizeof name, "%.*s", SL_ARG(word));
        if (word.n >= sizeof name || !imap_capability_has(sl_z(may_be_offered), name))
            continue;
        buf_addf(b, "%s%s", is_first ? "" : " ", name);
        is_first = false;
    }
    buf_free(&list);
}

/* LITERAL- in place of LITERAL+: RFC 7888 §5. */
static bool
is_literal_minus(const struct sess *s)
{
    struct buf list = { 0 };
    bool is;

    add_names(&list, s);
    is = imap_capability_has(buf_slice(&list), "LITERAL-") &&
         !imap_capability_has(buf_slice(&list), "LITERAL+");
    buf_free(&list);
    return is;
}

static void
add_capabilities(struct buf *b, const struct sess *s)
{
    char mech[LOGIN_MECH_OCTETS];

    add_names(b, s);
    if (login_offers_starttls(s))
        buf_addz(b, " STARTTLS");
    if (!login_may_send_password(s))
        buf_addz(b, " LOGINDISABLED");
    for (size_t i = 0; login_mech(s, i, mech); i++)
        buf_addf(b, " AUTH=%s", mech);
}

static void
greet(struct sess *s)
{
    struct buf b = { 0 };

    buf_addz(&b, "* OK [CAPABILITY ");
    add_capabilities(&b, s);
    buf_addf(&b, "] %s\r\n", s->conf->login_greeting);
    conn_writes(s->conn, buf_slice(&b));
    buf_free(&b);
}

static void
bye(struct sess *s, const char *text)
{
    conn_printf(s->conn, "* BYE %s\r\n", text);
}

static void
challenge(struct sess *s, struct slice base64)
{
    conn_printf(s->conn, "+ %.*s\r\n", SL_ARG(base64));
}

static void
reply(struct sess *s, const char *text)
{
    conn_printf(s->conn, "%s %s\r\n", s->tag ? s->tag : "*", text);
}

static void
refuse(struct sess *s, enum login_refusal why, struct slice reason)
{
    static const char *const replies[] = {
        [LOGIN_WRONG] = "NO [AUTHENTICATIONFAILED] Authentication failed.",
        [LOGIN_DISABLED] = "NO [CONTACTADMIN] Login disabled.",
        [LOGIN_EXPIRED] = "NO [EXPIRED] Password expired.",
        [LOGIN_LIMIT] = "NO [LIMIT] Too many sessions.",
        [LOGIN_UNAVAILABLE] = "NO [UNAVAILABLE] Temporary authentication failure, try again later.",
        [LOGIN_PLAINTEXT] = ("NO [PRIVACYREQUIRED] Plaintext authentication disallowed on "
                             "non-secure (SSL/TLS) connections."),
        [LOGIN_NO_MECH] = "NO Unsupported authentication mechanism.",
        [LOGIN_ABORTED] = "BAD Authentication aborted by client.",
        [LOGIN_NO_CERT] = "NO [AUTHENTICATIONFAILED] Authentication failed.",
        [LOGIN_BAD_BASE64] = "BAD Invalid base64 data in response.",
        [LOGIN_BAD_INITIAL] = "BAD Invalid base64 data in initial response.",
    };
    const char *text = replies[why];

    if (why == LOGIN_PLAINTEXT)
        conn_writes(s->conn,
                    SL("* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but "
                       "your client "
                       "did it anyway. If anyone was listening, the password was exposed.\r\n"));
    if (reason.n > 0 && why <= LOGIN_LIMIT) /* the code stays, the words are authd's */
        conn_printf(s->conn, "%s %.*s %.*s\r\n", s->tag, (int)(strchr(text, ']') + 1 - text), text,
                    SL_ARG(reason));
    else
        reply(s, text);
}

void
login_imap_welcome_back(struct sess *s, struct slice tag)
{
    struct buf b = { 0 };

    buf_addf(&b, "%.*s OK [CAPABILITY ", SL_ARG(tag));
    add_capabilities(&b, s);
    buf_addz(&b, "] Unauthenticate completed.\r\n");
    conn_writes(s->conn, buf_slice(&b));
    buf_free(&b);
}

/* ---- commands; args is what stands behind the name, with the space ---- */

static bool
ends(struct slice args)
{
    return args.n == 0;
}

static bool
run_capability(struct sess *s, struct slice args)
{
    struct buf b = { 0 };

    if (!ends(args))
        return false;
    buf_addz(&b, "* CAPABILITY ");
    add_capabilities(&b, s);
    buf_addz(&b, "\r\n");
    conn_writes(s->conn, buf_slice(&b));
    buf_free(&b);
    reply(s, "OK Pre-login capabilities listed, post-login capabilities have more.");
    return true;
}

static bool
run_noop(struct sess *s, struct slice args)
{
    if (!ends(args))
        return false;
    reply(s, "OK NOOP completed.");
    return true;
}

static bool
run_logout(struct sess *s, struct slice args)
{
    if (!ends(args))
        return false;
    conn_writes(s->conn, SL("* BYE Logging out\r\n"));
    reply(s, "OK Logout completed.");
    login_end(s, "Disconnected: Aborted login by logging out", NULL);
    return true;
}

/* True: some of it is about the client itself, and not about whose connection a trusted peer passes on. */
static bool
keep_id(struct sess *s, const struct imap_id *id)
{
    bool is_own = false;

    for (size_t i = 0; i < id->n; i++)
        if (!login_take_id_field(s, id->v[i].key, id->v[i].value))
            is_own = true;
    s->is_told_id = true;
    return is_own;
}

static void
log_id(const struct sess *s, const struct imap_id *id)
{
    struct buf text = { 0 };

    buf_addz(&text, "ID sent: ");
    imap_id_add_log(&text, id, sl_z(s->conf->imap_id_log));
    if (text.n > sizeof "ID sent: " - 1)
        login_log(s, "login.id", buf_z(&text), 0);
    buf_free(&text);
}

static bool
run_id(struct sess *s, struct slice args)
{
    struct arena mem = { .cap = LOGIN_COMMAND_MAX * 2 };
    struct slice in = args;
    struct imap_id id;
    struct buf answer = { 0 };
    bool is_right = imap_take_sp(&in, NULL) == PARSE_OK &&
                    imap_take_id(&in, &mem, &id, NULL) == PARSE_OK && ends(in);

    if (is_right && id.n > 0) {
        bool is_own = keep_id(s, &id);

        log_id(s, &id);
        buf_reset(&s->client_id);
        if (is_own && args.n <= LOGIN_CLIENT_ID_MAX)
            buf_adds(&s->client_id, sl_from(args, 1));
    }
    arena_free(&mem);
    if (!is_right)
        return false;
    buf_addz(&answer, "* ID ");
    imap_id_add_answer(&answer, sl_z(s->conf->imap_id_send));
    buf_addz(&answer, "\r\n");
    conn_writes(s->conn, buf_slice(&answer));
    buf_free(&answer);
    reply(s, "OK ID completed.");
    return true;
}

static bool
run_starttls(struct sess *s, struct slice args)
{
    if (!ends(args))
        return false;
    if (s->is_tls) {
        reply(s, "BAD TLS is already active.");
    } else if (!login_tls(s)) {
        reply(s, "BAD TLS support isn't enabled.");
    } else {
        reply(s, "OK Begin TLS negotiation now.");
        login_start_tls(s);
    }
    return true;
}

static bool
run_login(struct sess *s, struct slice args)
{
    struct arena mem = { .cap = LOGIN_COMMAND_MAX * 2 };
    struct slice user, password;
    /* With '*' and '%' in atoms, as Dovecot: Python's imaplib sends user*master without quotes. */
    bool is_right = imap_take_sp(&args, NULL) == PARSE_OK &&
                    imap_take_list_mailbox(&args, &mem, &user, NULL) == PARSE_OK &&
                    imap_take_sp(&args, NULL) == PARSE_OK &&
                    imap_take_list_mailbox(&args, &mem, &password, NULL) == PARSE_OK && ends(args);

    if (is_right)
        login_password(s, user, password);
    arena_free(&mem);
    return is_right;
}

static bool
run_authenticate(struct sess *s, struct slice args)
{
    struct slice mech, initial = { 0 };

    if (imap_take_sp(&args, NULL) != PARSE_OK || imap_take_atom(&args, &mech, NULL) != PARSE_OK)
        return false;
    if (args.n > 0) {
        if (imap_take_sp(&args, NULL) != PARSE_OK || args.n == 0)
            return false;
        initial = args;
    }
    login_authenticate(s, mech, initial);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(struct sess *s, struct slice args); /* false: the arguments are wrong */
} commands[] = {
    { "CAPABILITY", run_capability }, { "NOOP", run_noop },
    { "LOGOUT", run_logout },         { "ID", run_id },
    { "LOGIN", run_login },           { "AUTHENTICATE", run_authenticate },
    { "STARTTLS", run_starttls },
};

static void
bad(struct sess *s)
{
    reply(s, "BAD Error in IMAP command received by server.");
    login_count_bad(s);
}

static void
dispatch(struct sess *s, struct slice in)
{
    struct slice tag, name;

    free(s->tag);
    s->tag = NULL;
    if (memchr(in.p ? in.p : "", '\0', in.n) || imap_take_tag(&in, &tag, NULL) != PARSE_OK) {
        bad(s);
        return;
    }
    s->tag = sl_dupz(tag);
    if (imap_take_sp(&in, NULL) != PARSE_OK || imap_take_atom(&in, &name, NULL) != PARSE_OK) {
        bad(s);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (!sl_ieqz(name, commands[i].name))
            continue;
        if (!commands[i].run(s, in))
            bad(s);
        return;
    }
    bad(s);
}

/* ---- framing ---- */

static bool
too_long(struct sess *s)
{
    login_end(s, "Disconnected: Input buffer full", "Input buffer full, aborting.");
    return false;
}

static bool
take_literal(struct sess *s)
{
    struct slice some;

    if (conn_take_some(s->conn, s->literal_left, &some) != FRAME_OK)
        return false;
    buf_adds(&s->cmd, some);
    s->literal_left -= some.n;
    s->line_at = s->cmd.n;
    return true;
}

/* Of a line that is longer than what is buffered of input: ID may say 30 times 1024 octets (RFC 2971 §3.3). A CR stays with its
 * LF. False: too long. */
static bool
take_piece(struct sess *s)
{
    struct slice in = sl_head(conn_input(s->conn), LOGIN_LINE_MAX);

    if (s->cmd.n + in.n > LOGIN_COMMAND_MAX)
        return false;
    if (sl_ends(in, '\r'))
        in = sl_head(in, in.n - 1);
    buf_adds(&s->cmd, in);
    conn_consume(s->conn, in.n);
    return true;
}

/* A literal begins behind this line. False: it is larger than anything that is said here. */
static bool
begin_literal(struct sess *s, uint64_t octets, bool is_sync)
{
    if (!is_sync && octets > LITERAL_MINUS_OCTETS && is_literal_minus(s))
        return false;
    if (octets > LOGIN_COMMAND_MAX || s->cmd.n + octets + 2 > LOGIN_COMMAND_MAX)
        return false;
    buf_addz(&s->cmd, "\r\n");
    s->literal_left = octets;
    s->line_at = s->cmd.n;
    if (is_sync)
        conn_writes(s->conn, SL("+ OK\r\n"));
    return true;
}

static bool
step(struct sess *s)
{
    struct slice line;
    uint64_t octets;
    bool is_sync;
    size_t at;
    enum frame_rc rc;

    if (s->literal_left > 0)
        return take_literal(s);
    rc = conn_take_line(s->conn, LOGIN_LINE_MAX, LINE_LF_TOO, &line);
    if (rc == FRAME_TOO_LONG)
        return take_piece(s) || too_long(s);
    if (rc != FRAME_OK)
        return false;
    if (s->cmd.n + line.n > LOGIN_COMMAND_MAX)
        return too_long(s);
    buf_adds(&s->cmd, line);
    line = sl_from(buf_slice(&s->cmd), s->line_at);
    if (!imap_line_ends_quoted(line) && imap_line_literal(line, &octets, &is_sync, &at))
        return begin_literal(s, octets, is_sync) || too_long(s);
    s->line_at = 0;
    dispatch(s, buf_slice(&s->cmd));
    buf_wipe(&s->cmd);
    return true;
}

const struct login_proto login_imap = {
    .service = "imap",
    .greet = greet,
    .step = step,
    .challenge = challenge,
    .refuse = refuse,
    .bye = bye,
};
