/* base/log.c - see log.h. A line is made in one bounded buffer and goes out in one write(2).
 * What does not fit is left out; a JSON object is closed all the same. */
#include "base/log.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum {
    LOG_LINE_OCTETS = 8192,     /* the longest line, with its newline */
    LOG_SENTENCE_OCTETS = 4096, /* the longest sentence, before escapes */
    LOG_VALUE_OCTETS = 1024,    /* the longest field value, after escapes */
    LOG_FIELDS_OCTETS = 6144,   /* where fields end, so that the sentence has room */
    LOG_TAIL_OCTETS = 8,        /* kept for what closes a line */
    LOG_NAME_OCTETS = 64,
    LOG_PATH_OCTETS = 1024
};

static const char *const level_names[] = { "debug", "info", "warn", "error" };
static const int level_priorities[] = { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int least_level = LOG_LV_INFO;

/* Under the lock. */
static struct {
    char daemon[LOG_NAME_OCTETS], ident[LOG_NAME_OCTETS], prefix[LOG_NAME_OCTETS];
    char syslog_ident[LOG_NAME_OCTETS]; /* openlog(3) keeps the pointer */
    char host[LOG_NAME_OCTETS];
    enum log_sink sink;
    enum log_format fmt;
    char path[LOG_PATH_OCTETS];
    int fd;
} out = { .daemon = "postern", .ident = "postern", .fd = STDERR_FILENO };

struct line {
    char b[LOG_LINE_OCTETS];
    size_t n, limit;
    bool is_full; /* something did not fit: nothing more goes in until the limit is set again */
};

/* All of it or nothing. */
static void
line_add(struct line *l, const char *p, size_t n)
{
    if (l->is_full || l->n > l->limit || n > l->limit - l->n) {
        l->is_full = true;
        return;
    }
    memcpy(l->b + l->n, p, n);
    l->n += n;
}

static void
line_addz(struct line *l, const char *z)
{
    line_add(l, z, strlen(z));
}

__attribute__((format(printf, 2, 3))) static void
line_addf(struct line *l, const char *fmt, ...)
{
    char part[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(part, sizeof(part), fmt, ap);
    va_end(ap);
    line_addz(l, part);
}

static void
line_set_limit(struct line *l, size_t limit)
{
    l->limit = limit;
    l->is_full = false;
}

/* What closes: there is always room, LOG_TAIL_OCTETS beyond the highest limit. */
static void
line_close(struct line *l, const char *z)
{
    size_t n = strlen(z);

    BUG_ON(n > LOG_LINE_OCTETS - l->n);
    memcpy(l->b + l->n, z, n);
    l->n += n;
}

static bool
is_print(unsigned char c)
{
    return c >= ' ' && c <= '~';
}

/* What an operator reads: one '?' for each octet that could move a terminal or a parser. */
static void
line_add_plain(struct line *l, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = is_print((unsigned char)s.p[i]) ? s.p[i] : '?';

        line_add(l, &c, 1);
    }
}

/* The escapes that kv and JSON share; false: not one of them. */
static bool
line_add_escape(struct line *l, unsigned char c)
{
    switch (c) {
    case '"':
        line_addz(l, "\\\"");
        return true;
    case '\\':
        line_addz(l, "\\\\");
        return true;
    case '\n':
        line_addz(l, "\\n");
        return true;
    case '\r':
        line_addz(l, "\\r");
        return true;
    case '\t':
        line_addz(l, "\\t");
        return true;
    default:
        return false;
    }
}

static void
line_add_kv(struct line *l, struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (line_add_escape(l, c))
            continue;
        if (is_print(c))
            line_add(l, s.p + i, 1);
        else
            line_addf(l, "\\x%02x", c);
    }
}

/* RFC 8259 §7. ASCII only: a character beyond is \u, an octet of none is the text \x80. */
static void
line_add_json(struct line *l, struct slice s)
{
    while (s.n > 0) {
        unsigned char c = (unsigned char)s.p[0];
        int32_t cp = utf8_take(&s);

        if (cp < 0) {
            line_addf(l, "\\\\x%02x", c);
            s = sl_from(s, 1);
        } else if (cp > 0xffff) {
            line_addf(l, "\\u%04x\\u%04x", 0xd800 + (unsigned)((cp - 0x10000) >> 10),
                      0xdc00 + (unsigned)((cp - 0x10000) & 0x3ff));
        } else if (!line_add_escape(l, c)) {
            if (cp < 0x80 && is_print(c))
                line_add(l, (const char *)&c, 1);
            else
                line_addf(l, "\\u%04x", (unsigned)cp);
        }
    }
}

/* A kv value that needs no quotes. */
static bool
is_bare(struct slice v)
{
    for (size_t i = 0; i < v.n; i++) {
        if (!is_print((unsigned char)v.p[i]) || strchr(" \"\\", v.p[i]) != NULL)
            return false;
    }
    return v.n > 0;
}

/* Space, key and value for kv; comma, key and value for JSON. The sentence is quoted always, and
 * cut by the line only; a field at LOG_VALUE_OCTETS. */
static void
line_add_text(struct line *l, enum log_format fmt, const char *key, struct slice v, bool is_field)
{
    bool has_quotes = fmt == LOG_FMT_JSON || !is_field || !is_bare(v);
    size_t limit = l->limit;

    line_addf(l, fmt == LOG_FMT_JSON ? ",\"%s\":\"" : has_quotes ? " %s=\"" : " %s=", key);
    if (l->is_full)
        return;
    if (is_field && LOG_VALUE_OCTETS < limit - l->n)
        line_set_limit(l, l->n + LOG_VALUE_OCTETS);
    if (fmt == LOG_FMT_JSON)
        line_add_json(l, v);
    else
        line_add_kv(l, v);
    line_set_limit(l, limit);
    if (has_quotes)
        line_close(l, "\"");
}

static void
line_add_number(struct line *l, enum log_format fmt, const char *key, int64_t num)
{
    if (fmt == LOG_FMT_JSON)
        line_addf(l, ",\"%s\":%lld", key, (long long)num);
    else
        line_addf(l, " %s=%lld", key, (long long)num);
}

/* RFC 3339, UTC. */
static void
line_add_time(struct line *l)
{
    int64_t us = clock_unix_us();
    time_t s = (time_t)(us / 1000000);
    struct tm tm = { 0 };

    gmtime_r(&s, &tm);
    line_addf(l, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1,
              tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(us % 1000000 / 1000));
}

/* "Mon DD HH:MM:SS", local time as syslog's files have it. */
static void
line_add_local_time(struct line *l)
{
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t s = (time_t)clock_unix_s();
    struct tm tm = { 0 };

    localtime_r(&s, &tm);
    line_addf(l, "%s %2d %02d:%02d:%02d", months[tm.tm_mon], tm.tm_mday, tm.tm_hour, tm.tm_min,
              tm.tm_sec);
}

struct event {
    enum log_level lv;
    const char *ident; /* or NULL */
    const char *ev;
    const struct log_field *f;
    size_t nf;
    struct slice sentence;
};

static bool
is_dovecot(const char *ident)
{
    return strcmp(ident, "dovecot") == 0;
}

/* Dovecot's words stand between prefix and sentence; Postfix has none for debug and info. */
static const char *
level_word(enum log_level lv, bool for_dovecot)
{
    static const char *const postfix[] = { "", "", "warning: ", "error: " };
    static const char *const dovecot[] = { "Debug: ", "", "Warning: ", "Error: " };

    return for_dovecot ? dovecot[lv] : postfix[lv];
}

/* Octets of "imap-login: " or "imap(user)<pid><session>: " at the front of a sentence: where Dovecot's word goes. */
static size_t
own_prefix(struct slice s)
{
    static const char *const services[] = { "imap-login", "pop3-login", "imap", "pop3", "lmtp" };
    struct slice in = s, part;
    size_t i = 0;

    while (i < COUNT_OF(services) && !sl_take_prefix(&in, sl_z(services[i])))
        i++;
    if (i == COUNT_OF(services))
        return 0;
    if (sl_take_char(&in, '(') && !sl_take_until(&in, ')', &part))
        return 0;
    while (sl_take_char(&in, '<'))
        if (!sl_take_until(&in, '>', &part))
            return 0;
    return sl_take_prefix(&in, SL(": ")) ? s.n - in.n : 0;
}

/* The sentence with the level's word, unless it says that word itself. */
static void
add_sentence(struct line *l, const struct event *e, const char *word, size_t prefix)
{
    struct slice rest = sl_from(e->sentence, prefix);

    line_add_plain(l, sl_head(e->sentence, prefix));
    if (!sl_has_prefix(rest, sl_z(word)))
        line_addz(l, word);
    line_add_plain(l, rest);
}

static void
make_text(struct line *l, const struct event *e)
{
    const char *ident = e->ident == NULL ? out.ident : e->ident;
    size_t prefix = 0;

    if (out.sink != LOG_TO_SYSLOG) { /* which adds all this itself */
        line_add_local_time(l);
        if (out.host[0] == '\0' && gethostname(out.host, sizeof(out.host) - 1) == 0)
            out.host[strcspn(out.host, ".")] = '\0';
        line_addf(l, " %s %s", out.host, ident);
        if (!is_dovecot(ident))
            line_addf(l, "[%d]", (int)getpid());
        line_addz(l, ": ");
    }
    if (strcmp(ident, out.ident) == 0 && out.prefix[0] != '\0')
        line_addz(l, out.prefix);
    else if (is_dovecot(ident))
        prefix = own_prefix(e->sentence);
    add_sentence(l, e, level_word(e->lv, is_dovecot(ident)), prefix);
}

static void
make_fields(struct line *l, const struct event *e)
{
    for (size_t i = 0; i < e->nf; i++) {
        if (e->f[i].is_num)
            line_add_number(l, out.fmt, e->f[i].key, e->f[i].num);
        else
            line_add_text(l, out.fmt, e->f[i].key, e->f[i].s, true);
    }
    line_set_limit(l, LOG_LINE_OCTETS - LOG_TAIL_OCTETS);
    line_add_text(l, out.fmt, "msg", e->sentence, false);
}

static void
make_line(struct line *l, const struct event *e)
{
    line_set_limit(l,
                   out.fmt == LOG_FMT_TEXT ? LOG_LINE_OCTETS - LOG_TAIL_OCTETS : LOG_FIELDS_OCTETS);
    switch (out.fmt) {
    case LOG_FMT_TEXT:
        make_text(l, e);
        break;
    case LOG_FMT_KV:
        if (out.sink != LOG_TO_SYSLOG) {
            line_add_time(l);
            line_addz(l, " ");
        }
        line_addf(l, "%s %s ev=%s", level_names[e->lv], out.daemon, e->ev);
        make_fields(l, e);
        break;
    case LOG_FMT_JSON:
        line_addz(l, "{\"time\":\"");
        line_add_time(l);
        line_addf(l, "\",\"level\":\"%s\",\"daemon\":\"%s\",\"ev\":\"%s\"", level_names[e->lv],
                  out.daemon, e->ev);
        make_fields(l, e);
        line_close(l, "}");
        break;
    }
}

static void
write_line(struct line *l)
{
    ssize_t put;

    line_close(l, "\n");
    do
        put = write(out.fd, l->b, l->n);
    while (put < 0 && errno == EINTR);
    if (put < 0 && out.fd != STDERR_FILENO) /* a full disk, say: the supervisor may still hear it */
        put = write(STDERR_FILENO, l->b, l->n);
    (void)put;
}

static void
send_syslog(const struct line *l, const struct event *e)
{
    const char *ident = e->ident == NULL ? out.ident : e->ident;

    if (strcmp(out.syslog_ident, ident) != 0) {
        snprintf(out.syslog_ident, sizeof(out.syslog_ident), "%s", ident);
        openlog(out.syslog_ident, is_dovecot(ident) ? LOG_NDELAY : LOG_NDELAY | LOG_PID, LOG_MAIL);
    }
    syslog(level_priorities[e->lv], "%.*s", (int)l->n, l->b);
}

/* Under the lock. */
static void
emit(const struct event *e)
{
    struct line l;

    l.n = 0;
    make_line(&l, e);
    if (out.sink == LOG_TO_SYSLOG)
        send_syslog(&l, e);
    else
        write_line(&l);
}

void
log_event(enum log_level lv, const char *ident, const char *ev, const struct log_field *f,
          size_t nf, const char *sentence, ...)
{
    int sys = errno; /* for %m, and the caller's to keep */
    char text[LOG_SENTENCE_OCTETS];
    struct event e = { .lv = lv, .ident = ident, .ev = ev, .f = f, .nf = nf };
    va_list ap;

    if (!log_is_on(lv))
        return;
    va_start(ap, sentence);
    if (vsnprintf(text, sizeof(text), sentence, ap) < 0)
        text[0] = '\0';
    va_end(ap);
    e.sentence = sl_z(text);
    pthread_mutex_lock(&lock);
    emit(&e);
    pthread_mutex_unlock(&lock);
    errno = sys;
}

bool
log_is_on(enum log_level lv)
{
    return (int)lv >= least_level;
}

void
log_set_program(const char *daemon, const char *ident, const char *prefix)
{
    pthread_mutex_lock(&lock);
    snprintf(out.daemon, sizeof(out.daemon), "%s", daemon);
    snprintf(out.ident, sizeof(out.ident), "%s", ident);
    snprintf(out.prefix, sizeof(out.prefix), "%s", prefix == NULL ? "" : prefix);
    pthread_mutex_unlock(&lock);
}

/* Under the lock. When the file cannot be opened (a daemon that dropped its rights, say) the log
 * goes on where it went before, and says so there. */
static void
open_file(void)
{
    int fd = open(out.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
    char text[LOG_SENTENCE_OCTETS];
    struct event e = { .lv = LOG_LV_ERROR, .ev = "log.open" };

    if (fd < 0) {
        snprintf(text, sizeof(text), "cannot open log %s: %m", out.path);
        e.sentence = sl_z(text);
        emit(&e);
        return;
    }
    if (out.fd != STDERR_FILENO)
        close(out.fd);
    out.fd = fd;
}

void
log_set_output(enum log_sink sink, const char *path, enum log_format fmt, enum log_level least)
{
    pthread_mutex_lock(&lock);
    least_level = (int)least;
    out.sink = sink;
    out.fmt = fmt;
    if (sink != LOG_TO_FILE && out.fd != STDERR_FILENO) {
        close(out.fd);
        out.fd = STDERR_FILENO;
    }
    if (sink == LOG_TO_FILE) {
        snprintf(out.path, sizeof(out.path), "%s", path);
        open_file();
    }
    if (sink == LOG_TO_SYSLOG && out.syslog_ident[0] == '\0')
        openlog("postern", LOG_NDELAY | LOG_PID, LOG_MAIL); /* now, while /dev/log can be seen */
    pthread_mutex_unlock(&lock);
}

int
log_dup(void)
{
    int fd;

    pthread_mutex_lock(&lock);
    fd = out.sink == LOG_TO_SYSLOG ? -1 : fcntl(out.fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    pthread_mutex_unlock(&lock);
    return fd;
}

void
log_take_fd(int fd)
{
    pthread_mutex_lock(&lock);
    if (out.fd != STDERR_FILENO)
        close(out.fd);
    out.sink = LOG_TO_STDERR; /* no path: log_reopen() is for who opened it */
    out.fd = fd;
    pthread_mutex_unlock(&lock);
}

void
log_set_format(enum log_format fmt, enum log_level least)
{
    pthread_mutex_lock(&lock);
    least_level = (int)least;
    out.fmt = fmt;
    pthread_mutex_unlock(&lock);
}

void
log_reopen(void)
{
    pthread_mutex_lock(&lock);
    if (out.sink == LOG_TO_FILE)
        open_file();
    pthread_mutex_unlock(&lock);
}
