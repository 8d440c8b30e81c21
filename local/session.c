/* local/session.c - the LMTP that qmgr speaks to locald (locald.h). Nobody else gets at the socket, so this is strict and
 * small. A delivery outlives its connection: what was begun is not broken off. */
#include "local/locald.h"

#include "base/clock.h"
#include "base/enc.h"
#include "base/fs.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "core/work.h"
#include "proto/smtp_addr.h"
#include "session/smtp_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINE_OCTETS = 64 * 1024, SESSION_IDLE_MS = 10 * 60 * 1000, HARD_ERRORS = 20 };

struct sess {
    struct smtp_sess smtp; /* first */
    struct smtp_server_limits limits;
    struct conf *conf;
    struct list link;
    struct delivery *d; /* from XFORWARD to the end of the content */
    struct text text;
    bool has_mail, has_rcpt, is_failed; /* failed: no room for the content */
    const char *failure;
};

struct file_job {
    struct work_job job;
    struct delivery *d;
};

static struct list sessions = { &sessions, &sessions };
static size_t n_sessions, n_jobs;
static const char *trouble;
static struct work_pool *files;

static struct sess *
sess_of(struct smtp_sess *s)
{
    return (struct sess *)s;
}

void
outcome_set(struct outcome *o, unsigned code, const char *dsn, const char *fmt, ...)
{
    va_list ap;

    o->code = code;
    snprintf(o->dsn, sizeof o->dsn, "%s", dsn);
    va_start(ap, fmt);
    vsnprintf(o->text, sizeof o->text, fmt, ap);
    va_end(ap);
    for (char *p = o->text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = *p == '\n' || *p == '\t' ? ' ' : '?';
}

/* ---- deliveries ---- */

static void
delivery_free(struct delivery *d)
{
    if (d == NULL)
        return;
    if (d->content >= 0)
        close(d->content);
    conf_unref(&d->conf);
    arena_free(&d->mem);
    free(d);
}

static void
reset(struct sess *s)
{
    delivery_free(s->d);
    s->d = NULL;
    s->has_mail = s->has_rcpt = s->is_failed = false;
    s->text = (struct text){ 0 };
}

static void
on_delivered(struct delivery *d)
{
    struct smtp_sess *smtp = id_get(d->session);

    n_jobs--;
    if (smtp) {
        /* Longer than a reply line may be elsewhere: this is between us and qmgr. */
        conn_printf(smtp->conn, "%u-%s relay=local conn=0 xfer=%llu host=0\r\n%u %s %s\r\n",
                    d->out.code, d->out.dsn,
                    (unsigned long long)(clock_mono_ms() - d->begun_ms) * 1000, d->out.code,
                    d->out.dsn, d->out.text);
        smtp_sess_forgive(smtp);
        smtp_sess_done(smtp, true);
    }
    delivery_free(d);
}

static enum work_rc
run_file(struct work_job *j)
{
    struct delivery *d = CONTAINER_OF(j, struct file_job, job)->d;

    if (d->kind == LOCAL_MAILDIR)
        maildir_deliver(d);
    else
        file_deliver(d);
    return WORK_DONE;
}

static void
file_done(struct work_job *j)
{
    struct file_job *f = CONTAINER_OF(j, struct file_job, job);
    struct delivery *d = f->d;

    free(f);
    on_delivered(d);
}

static void
start(struct sess *s)
{
    struct delivery *d = s->d;
    struct file_job *f;

    s->d = NULL;
    n_jobs++;
    d->begun_ms = clock_mono_ms();
    d->done = on_delivered;
    d->session = s->smtp.id;
    if (s->is_failed) {
        outcome_set(&d->out, 450, "4.3.0", "no room for the message: %s", s->failure);
        reset(s);
        on_delivered(d);
        return;
    }
    reset(s);
    if (d->kind == LOCAL_COMMAND) {
        command_run(d);
        return;
    }
    if (files == NULL)
        files = work_pool_new("files", LOCAL_JOBS_MAX, 0);
    f = MEM_NEW(struct file_job);
    f->job = (struct work_job){ .run = run_file, .done = file_done };
    f->d = d;
    work_submit(files, &f->job);
}

/* ---- content ---- */

static void
put(struct sess *s, struct buf *b)
{
    struct err e = { 0 };

    if (s->d->size + b->n > LOCAL_CONTENT_OCTETS_MAX) {
        s->is_failed = true;
        s->failure = "it is too long";
    } else if (!s->is_failed && fs_write_all(s->d->content, buf_slice(b), &e) != 0) {
        s->is_failed = true;
        s->failure = "out of memory";
    }
    s->d->size += b->n;
    buf_free(b);
}

static void
on_body(struct smtp_sess *smtp, struct slice octets)
{
    struct sess *s = sess_of(smtp);
    struct buf b = { 0 };

    if (s->is_failed)
        return;
    text_add(&s->text, octets, &b);
    put(s, &b);
}

static void
begin_content(struct sess *s)
{
    struct buf b = { 0 };

    s->d->content = memfd_create("message", MFD_CLOEXEC);
    s->is_failed = s->d->content < 0;
    s->failure = "out of memory";
    s->text.quotes_from = s->d->kind == LOCAL_MBOX;
    text_head(s->d, clock_unix_s(), &b);
    put(s, &b);
}

static void
on_body_end(struct smtp_sess *smtp)
{
    struct sess *s = sess_of(smtp);
    struct buf b = { 0 };

    text_end(&s->text, &b);
    put(s, &b);
    smtp->where = "END-OF-MESSAGE";
    start(s);
}

static size_t
backlog(struct smtp_sess *smtp)
{
    (void)smtp;
    return 0;
}

static void
on_chunk_end(struct smtp_sess *smtp)
{
    smtp_sess_finish_chunks(smtp);
    on_body_end(smtp);
}

/* ---- commands ---- */

static void
answer(struct smtp_sess *smtp, bool is_good, const char *reply)
{
    smtp_reply(smtp, "%s", reply);
    smtp_sess_done(smtp, is_good);
}

static void
cmd_lhlo(struct smtp_sess *smtp, const struct smtp_words *w)
{
    static const char *const words[] = { "PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING",
                                         "XFORWARD IDENT NAME ADDR PROTO HELO LOGIN ORIG TARGET" };
    struct sess *s = sess_of(smtp);

    (void)w;
    reset(s);
    smtp_reply(smtp, "250-%s", s->limits.myhostname);
    for (size_t i = 0; i < COUNT_OF(words); i++)
        smtp_reply(smtp, "250%c%s", i + 1 < COUNT_OF(words) ? '-' : ' ', words[i]);
    smtp_sess_done(smtp, true);
}

static bool
take_target(struct delivery *d, struct slice v)
{
    if (sl_take_prefix(&v, SL("command:"))) {
        d->kind = LOCAL_COMMAND;
    } else if (sl_take_prefix(&v, SL("file:")) && sl_starts(v, '/')) {
        d->kind = sl_ends(v, '/') ? LOCAL_MAILDIR : LOCAL_MBOX;
    } else {
        return false;
    }
    d->target = v;
    return v.n > 0 && memchr(v.p, '\0', v.n) == NULL;
}

/* One NAME=value. False: it is no good. */
static bool
take_attribute(struct delivery *d, struct slice word)
{
    struct {
        const char *name;
        struct slice *to;
    } const attributes[] = {
        { "ORIG=", &d->orig }, { "NAME=", &d->client_name }, { "ADDR=", &d->client_ip },
        { "HELO=", &d->helo }, { "PROTO=", &d->protocol },   { "LOGIN=", &d->login },
    };
    struct buf b = { .max = LOCAL_ATTR_OCTETS_MAX };
    struct slice v, name;
    size_t at = sl_find_char(word, '=');
    bool is_good;

    if (at == SL_NPOS)
        return true;
    is_good = enc_xtext_decode(&b, sl_from(word, at + 1)) == 0;
    v = is_good ? arena_dup(&d->mem, buf_slice(&b)) : sl_n(NULL, 0);
    buf_free(&b);
    if (v.p == NULL)
        return false;
    name = sl_head(word, at + 1);
    if (sl_ieqz(name, "TARGET="))
        return take_target(d, v);
    for (size_t i = 0; i < COUNT_OF(attributes); i++)
        if (sl_ieqz(name, attributes[i].name))
            *attributes[i].to = v;
    return true;
}

static void
cmd_xforward(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct sess *s = sess_of(smtp);
    bool is_good = !s->has_mail;

    if (is_good) {
        reset(s);
        s->d = MEM_NEW(struct delivery);
        s->d->content = -1;
        s->d->mem.cap = LOCAL_ARENA_OCTETS;
        s->d->conf = conf_ref(s->conf);
    }
    for (size_t i = 1; is_good && i < w->n; i++)
        is_good = take_attribute(s->d, w->w[i].s);
    answer(smtp, is_good, is_good ? "250 2.0.0 Ok" : "501 5.5.4 Bad attribute");
}

static void
cmd_mail(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct sess *s = sess_of(smtp);
    struct slice sender;

    if (s->d == NULL || s->d->target.n == 0 || s->has_mail || w->n < 3 ||
        !sl_ieq(w->w[1].s, SL("from:")) ||
        smtp_path_parse(w->w[2].s, false, &smtp->cmd, &sender, NULL) != PARSE_OK) {
        answer(smtp, false, "503 5.5.1 XFORWARD with a target, then MAIL FROM:<sender>");
        return;
    }
    s->d->sender = arena_dup(&s->d->mem, sender);
    s->has_mail = true;
    answer(smtp, true, "250 2.1.0 Ok");
}

static void
cmd_rcpt(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct sess *s = sess_of(smtp);
    struct slice addr;

    if (!s->has_mail || s->has_rcpt || w->n < 3 || !sl_ieq(w->w[1].s, SL("to:")) ||
        smtp_path_parse(w->w[2].s, false, &smtp->cmd, &addr, NULL) != PARSE_OK || addr.n == 0) {
        answer(smtp, false, "503 5.5.1 MAIL, then one RCPT TO:<recipient>");
        return;
    }
    if (trouble) {
        smtp_reply(smtp, "450 4.3.5 %s", trouble);
        smtp_sess_done(smtp, true); /* not the client's error */
        return;
    }
    s->d->recipient = arena_dup(&s->d->mem, addr);
    if (s->d->orig.n == 0)
        s->d->orig = s->d->recipient;
    s->has_rcpt = true;
    answer(smtp, true, "250 2.1.5 Ok");
}

static void
cmd_bdat(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct sess *s = sess_of(smtp);
    uint64_t n = 0;

    if (w->n != 3 || !sl_to_u64(w->w[1].s, &n) || n > INT64_MAX || !sl_ieq(w->w[2].s, SL("LAST"))) {
        answer(smtp, false, "521 5.5.4 BDAT in one piece");
    } else if (!s->has_rcpt) {
        reset(s);
        smtp_sess_skip_chunk(smtp, n);
    } else {
        begin_content(s);
        smtp_sess_start_message(smtp, false);
        smtp_sess_read_chunk(smtp, n);
    }
}

static void
chunk_end(struct smtp_sess *smtp)
{
    if (sess_of(smtp)->has_rcpt)
        on_chunk_end(smtp);
    else /* qmgr did not wait for the reply to RCPT */
        answer(smtp, true, "503 5.5.1 No recipient");
}

static void
cmd_rset(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    reset(sess_of(smtp));
    answer(smtp, true, "250 2.0.0 Ok");
}

static void
cmd_noop(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    answer(smtp, true, "250 2.0.0 Ok");
}

static void
cmd_quit(struct smtp_sess *smtp, const struct smtp_words *w)
{
    (void)w;
    smtp_reply(smtp, "221 2.0.0 Bye");
    smtp_sess_end(smtp, SMTP_END_QUIT);
    smtp_sess_done(smtp, true);
}

/* clang-format off */
static const struct smtp_verb verbs[] = {
    { "LHLO",     SMTP_V_LAST, cmd_lhlo },
    { "XFORWARD", 0,           cmd_xforward },
    { "MAIL",     0,           cmd_mail },
    { "RCPT",     0,           cmd_rcpt },
    { "BDAT",     0,           cmd_bdat },
    { "RSET",     0,           cmd_rset },
    { "NOOP",     SMTP_V_LAST, cmd_noop },
    { "QUIT",     SMTP_V_LAST, cmd_quit },
};
/* clang-format on */

static bool
gate(struct smtp_sess *smtp, const struct smtp_verb *v, const struct smtp_words *w,
     struct slice line)
{
    (void)w;
    (void)line;
    if (v)
        return true;
    answer(smtp, false, "500 5.5.1 Unknown command");
    return false;
}

static void
secured(struct smtp_sess *smtp)
{
    smtp_sess_done(smtp, true); /* cannot come: STARTTLS is not offered */
}

static void
closed(struct smtp_sess *smtp, enum conn_end end, const struct err *why)
{
    struct sess *s = sess_of(smtp);

    (void)end;
    (void)why;
    reset(s);
    smtp_sess_free(smtp);
    list_remove(&s->link);
    n_sessions--;
    daemon_session_count(-1);
    conf_unref(&s->conf);
    free(s);
}

static const struct smtp_server_def def = {
    .verbs = verbs,
    .n_verbs = COUNT_OF(verbs),
    .gate = gate,
    .body = on_body,
    .body_end = on_body_end,
    .chunk_end = chunk_end,
    .backlog = backlog,
    .secured = secured,
    .closed = closed,
    .bad_syntax = "500 5.5.2 Bad syntax",
    .timeout = { "421 4.4.2 ", " Disconnected for inactivity" },
    .too_many_errors = { "421 4.7.0 ", " Too many invalid commands." },
    .shutting_down = { "421 4.3.2 ", " Shutting down" },
};

/* ---- sessions ---- */

void
session_accept(int fd)
{
    struct sess *s = MEM_NEW(struct sess);

    s->conf = conf_ref(daemon_conf());
    s->limits = (struct smtp_server_limits){
        .myhostname = s->conf->myhostname,
        .line_octets = LINE_OCTETS,
        .soft_errors = UINT32_MAX,
        .hard_errors = HARD_ERRORS,
        .junk_commands = UINT32_MAX,
        .timeout_ms = SESSION_IDLE_MS,
    };
    list_push_back(&sessions, &s->link);
    n_sessions++;
    daemon_session_count(1);
    smtp_sess_open(&s->smtp, &def, &s->limits, fd);
    smtp_reply(&s->smtp, "220 %s local", s->limits.myhostname);
    smtp_sess_done(&s->smtp, true);
}

size_t
session_count(void)
{
    return n_sessions;
}

size_t
session_jobs(void)
{
    return n_jobs;
}

/* Connections that qmgr keeps see the newest configuration with their next delivery. */
void
session_reload(void)
{
    LIST_EACH(it, nxt, &sessions)
    {
        struct sess *s = CONTAINER_OF(it, struct sess, link);

        struct conf *old = s->conf;

        s->conf = conf_ref(daemon_conf());
        s->limits.myhostname = s->conf->myhostname; /* a part of it */
        conf_unref(&old);
    }
}

void
session_drain_all(void)
{
    LIST_EACH(it, nxt, &sessions)
    smtp_sess_drain(&CONTAINER_OF(it, struct sess, link)->smtp);
}

void
session_set_trouble(const char *why)
{
    trouble = why;
}

bool
session_has_trouble(void)
{
    return trouble != NULL;
}
