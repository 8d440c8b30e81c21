/* cli/link_sendmail.c - sendmail(1): what the options ask for. A message always goes into maildrop/, whether the daemons run
 * or not; smtpd picks it up (smtpd/pickup.c). Exit codes are those of sysexits(3), for programs that read them. */
#include "cli/links.h"
#include "cli/sendmail.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "proto/smtp_param.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

enum { READ_OCTETS = 64 * 1024 };

/* One submission. */
struct submission {
    const struct conf *conf;
    const struct sendmail_opts *o;
    struct slice sender;
    struct buf full_name;
    struct sendmail_list rcpts, from;
    struct drop *drop;  /* NULL: the content is gathered */
    struct buf content; /* for variable envelope senders: one drop for each recipient */
};

static int fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int
fail(int code, const char *fmt, ...)
{
    va_list ap;

    fputs("sendmail: fatal: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

/* "user(uid): ", as Postfix begins what it says of a submission. */
static int
fail_for(const struct submission *s, int code, const char *why)
{
    return fail(code, "%.*s(%u): %s", SL_ARG(s->sender), getuid(), why);
}

/* ---- who ---- */

static int
find_sender(struct submission *s)
{
    const struct passwd *pw = getpwuid(getuid());
    const char *name = s->o->full_name ? s->o->full_name : getenv("NAME");
    struct slice text;

    if (s->o->sender) {
        text = sl_trim(sl_z(s->o->sender));
        sendmail_add_addresses(&s->from, text);
        s->sender = s->from.n > 0 ? s->from.v[0] : SL("");
    } else if (pw) {
        s->sender = arena_dup(&s->from.mem, sl_z(pw->pw_name));
    } else {
        return fail(EXIT_OS_ERROR, "unable to find out your login name: uid %u has none", getuid());
    }
    if (name)
        buf_addz(&s->full_name, name);
    else if (pw && !s->o->sender)
        sendmail_gecos(pw->pw_gecos, pw->pw_name, &s->full_name);
    for (size_t i = 0; i < s->full_name.n; i++)
        if ((unsigned char)s->full_name.p[i] < ' ' || s->full_name.p[i] == 127)
            s->full_name.p[i] = ' ';
    buf_truncate(&s->full_name, s->full_name.n < 200 ? s->full_name.n : 200);
    return 0;
}

/* ---- what ---- */

static void
add_notify(struct drop *d, unsigned bits)
{
    static const struct {
        unsigned bit;
        const char *word;
    } rows[] = { { SMTP_NOTIFY_NEVER, "never" },
                 { SMTP_NOTIFY_SUCCESS, "success" },
                 { SMTP_NOTIFY_FAILURE, "failure" },
                 { SMTP_NOTIFY_DELAY, "delay" } };
    struct buf b = { 0 };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (bits & rows[i].bit)
            buf_addf(&b, "%s%s", b.n ? "," : "", rows[i].word);
    drop_record(d, DROP_NOTIFY, buf_slice(&b));
    buf_free(&b);
}

static void
add_envelope(const struct submission *s, struct drop *d, struct slice sender)
{
    const struct sendmail_opts *o = s->o;
    unsigned notify = o->notify;

    if (notify == 0 && o->verbose > 0) /* -v: tell how it went */
        notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY;
    drop_record(d, DROP_SENDER, sender);
    if (s->full_name.n > 0)
        drop_record(d, DROP_FULL_NAME, buf_slice((struct buf *)(uintptr_t)&s->full_name));
    if (notify)
        add_notify(d, notify);
    if (o->ret)
        drop_record(d, DROP_RET, sl_z(o->ret));
    if (o->envid)
        drop_record(d, DROP_ENVID, sl_z(o->envid));
    if (o->is_gateway)
        drop_record(d, DROP_GATEWAY, SL(""));
}

static bool
is_utf8_wanted(const struct submission *s, struct slice sender, const struct slice *rcpts, size_t n)
{
    bool is_ascii = utf8_is_ascii(sender);

    for (size_t i = 0; i < n; i++)
        is_ascii = is_ascii && utf8_is_ascii(rcpts[i]);
    return !is_ascii && s->conf->smtputf8_enable;
}

/* What is known only when the content has been read, and the end. Exit code. */
static int
end_drop(const struct submission *s, struct drop **d, struct slice sender,
         const struct slice *rcpts, size_t n, bool is_8bit)
{
    if (s->o->body || is_8bit)
        drop_record(*d, DROP_BODY, is_8bit ? SL("8BITMIME") : sl_z(s->o->body));
    if (is_utf8_wanted(s, sender, rcpts, n))
        drop_record(*d, DROP_UTF8, SL(""));
    for (size_t i = 0; i < n; i++)
        drop_record(*d, DROP_RECIPIENT, rcpts[i]);
    return drop_end(d, NULL);
}

static void
put_content(void *arg, struct slice lines)
{
    struct submission *s = arg;

    if (s->drop)
        drop_record(s->drop, DROP_CONTENT, lines);
    else
        buf_adds(&s->content, lines);
}

/* Standard input, all of the message. Exit code. */
static int
read_message(struct submission *s, struct sendmail_reader *r)
{
    static char block[READ_OCTETS];

    for (;;) {
        ssize_t n = read(STDIN_FILENO, block, sizeof block);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_for(s, EXIT_DATA_ERROR, "error reading input");
        if (n == 0 || sendmail_read(r, sl_n(block, (size_t)n)))
            break;
    }
    sendmail_read_end(r);
    return r->is_too_big ? fail_for(s, EXIT_UNAVAILABLE, "message file too big") : 0;
}

/* ---- variable envelope senders ---- */

static int
check_verp(const struct submission *s, const char **delimiters)
{
    const char *d = s->o->verp[0] ? s->o->verp : s->conf->default_verp_delimiters;

    if (strlen(d) != 2 || !strchr(s->conf->verp_delimiter_filter, d[0]) ||
        !strchr(s->conf->verp_delimiter_filter, d[1]))
        return fail(EXIT_USAGE_ERROR,
                    "-XV requires two characters from verp_delimiter_filter (%s), not \"%s\"",
                    s->conf->verp_delimiter_filter, d);
    if (s->sender.n == 0)
        return fail(EXIT_USAGE_ERROR, "-XV requires a sender that is not empty");
    *delimiters = d;
    return 0;
}

/* A message for each recipient. One that fails leaves the rest undone: who calls again repeats what was done. */
static int
drop_each(struct submission *s, const char *delimiters, bool is_8bit)
{
    int code = 0;

    for (size_t i = 0; i < s->rcpts.n && code == 0; i++) {
        struct slice all = buf_slice(&s->content);
        struct buf sender = { 0 };
        struct err e = { 0 };

        sendmail_verp(s->sender, s->rcpts.v[i], delimiters, &sender);
        if (drop_begin(s->conf, &s->drop, &e) != 0) {
            code = fail_for(s, EXIT_TEMPFAIL, e.msg);
        } else {
            add_envelope(s, s->drop, buf_slice(&sender));
            for (; all.n > 0; all = sl_from(all, DROP_RECORD_OCTETS))
                put_content(s, sl_head(all, DROP_RECORD_OCTETS));
            code = end_drop(s, &s->drop, buf_slice(&sender), &s->rcpts.v[i], 1, is_8bit);
        }
        buf_free(&sender);
    }
    return code;
}

/* ---- the whole ---- */

/* All or nothing: whoever is told that one address is no good sends to all of them again. */
static int
check_addresses(const struct submission *s)
{
    if (s->sender.n > 0 && !drop_is_address(s->sender))
        return fail_for(s, EXIT_DATA_ERROR, "bad address syntax of the sender");
    for (size_t i = 0; i < s->rcpts.n; i++)
        if (!drop_is_address(s->rcpts.v[i]))
            return fail(EXIT_DATA_ERROR, "%.*s(%u): bad address syntax: %.*s", SL_ARG(s->sender),
                        getuid(), SL_ARG(s->rcpts.v[i]));
    return 0;
}

static void
add_list(struct sendmail_list *to, const struct sendmail_list *more)
{
    for (size_t i = 0; i < more->n; i++) {
        if (to->n == to->cap)
            to->v = mem_grow(to->v, &to->cap, to->n + 1, sizeof *to->v);
        to->v[to->n++] = more->v[i]; /* lives in the reader */
    }
}

static int
submit(struct submission *s)
{
    struct sendmail_reader r = { .extracts = s->o->extracts,
                                 .dot_is_text = s->o->dot_is_text,
                                 .fix_line_endings = s->conf->sendmail_fix_line_endings,
                                 .size_limit = (uint64_t)s->conf->message_size_limit,
                                 .put = put_content,
                                 .arg = s };
    const char *delimiters = NULL;
    struct err e = { 0 };
    int code = s->o->verp ? check_verp(s, &delimiters) : 0;

    if (code == 0 && !delimiters) {
        if (drop_begin(s->conf, &s->drop, &e) != 0)
            code = fail_for(s, EXIT_TEMPFAIL, e.msg);
        else
            add_envelope(s, s->drop, s->sender);
    }
    if (code == 0)
        code = read_message(s, &r);
    if (code == 0 && s->o->extracts)
        add_list(&s->rcpts, r.is_resent ? &r.resent_to : &r.to);
    if (code == 0 && (s->rcpts.is_full || r.to.is_full || r.resent_to.is_full))
        code = fail_for(s, EXIT_DATA_ERROR, "too many recipients");
    if (code == 0 && s->rcpts.n == 0)
        code = fail_for(s, EXIT_USAGE_ERROR, "No recipient addresses found in message header");
    if (code == 0)
        code = check_addresses(s);
    if (code == 0 && !delimiters && s->rcpts.n > DROP_RCPTS_MAX)
        code = fail_for(s, EXIT_DATA_ERROR, "too many recipients of one message");
    if (code != 0)
        drop_abort(&s->drop);
    else if (delimiters)
        code = drop_each(s, delimiters, r.is_8bit);
    else
        code = end_drop(s, &s->drop, s->sender, s->rcpts.v, s->rcpts.n, r.is_8bit);
    sendmail_reader_free(&r);
    return code;
}

static int
enqueue(const struct conf *c, const struct sendmail_opts *o)
{
    struct submission s = { .conf = c, .o = o };
    int code;

    for (size_t i = 0; i < o->n_rcpts; i++)
        sendmail_add_addresses(&s.rcpts, sl_z(o->rcpts[i]));
    if (s.rcpts.n == 0 && !o->extracts)
        return fail(EXIT_USAGE_ERROR,
                    "Recipient addresses must be specified on the command line or "
                    "via the -t option");
    code = find_sender(&s);
    if (code == 0)
        code = submit(&s);
    buf_free(&s.full_name);
    buf_free(&s.content);
    sendmail_list_free(&s.rcpts);
    sendmail_list_free(&s.from);
    return code;
}

/* ---- other things that sendmail does ---- */

static int
run_link(const char *name, const char *option, const char *value)
{
    const struct cli_link *l = links_find(name);
    char *argv[] = { (char *)(uintptr_t)name, (char *)(uintptr_t)option, (char *)(uintptr_t)value,
                     NULL };

    if (l == NULL)
        return fail(EXIT_UNAVAILABLE, "there is no %s", name);
    return l->run(value ? 3 : option ? 2 : 1, argv);
}

static int
flush_queue(const struct sendmail_opts *o)
{
    if (o->flush_id)
        return run_link("postqueue", "-i", o->flush_id);
    if (o->flush_site)
        return run_link("postqueue", "-s", o->flush_site);
    return run_link("postqueue", "-f", NULL);
}

static int
run(const char *conf_path, const struct sendmail_opts *o)
{
    struct cli_args a = { .conf_path = conf_path };
    struct conf *c = cli_load_conf(&a, false);
    int code;

    if (c == NULL)
        return EXIT_TEMPFAIL; /* the operator's error: whoever sends mail shall try again */
    if (o->mode == SENDMAIL_SMTP)
        code = sendmail_smtp(c, STDIN_FILENO, STDOUT_FILENO);
    else if (o->mode == SENDMAIL_VERIFY)
        code = fail(EXIT_UNAVAILABLE,
                    "-bv is not supported; `postern queue` and smtpd's VRFY tell of an address");
    else
        code = enqueue(c, o);
    conf_unref(&c);
    return code;
}

int
link_sendmail(int argc, char **argv)
{
    struct sendmail_opts o = { .rcpts = mem_alloc((size_t)(argc + 1) * sizeof(char *)) };
    char path[PATH_MAX];
    struct err e = { 0 };
    int code = sendmail_parse(argc, argv, &o, &e);

    if (code == 0 && e.msg[0])
        fprintf(stderr, "sendmail: warning: %s\n", e.msg);
    if (code != 0) {
        fail(code, "%s", e.msg);
    } else {
        link_conf_path(o.conf, path);
        if (o.conf) /* also for what we start */
            setenv("MAIL_CONFIG", path, 1);
        switch (o.mode) {
        case SENDMAIL_MAILQ:
            code = run_link("mailq", NULL, NULL);
            break;
        case SENDMAIL_FLUSH:
            code = flush_queue(&o);
            break;
        case SENDMAIL_ALIASES:
            code = run_link("newaliases", o.aliases, NULL);
            break;
        case SENDMAIL_DAEMON:
            code = fail(EXIT_USAGE_ERROR, "the server is started by `postern serve`, or by the "
                                          "service manager");
            break;
        case SENDMAIL_IGNORE:
            break;
        default:
            code = run(path, &o);
        }
    }
    free(o.rcpts);
    return code;
}
