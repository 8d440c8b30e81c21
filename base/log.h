/* base/log.h - the structured log: an event is a name, fields, and the sentence an operator knows.
 * Default output is the sentence under the program name that Postfix or Dovecot would use, so that
 * fail2ban, pflogsumm and habits work; log_format = kv or json gives the fields. Octets from the wire
 * may be passed as they are: control and non-ASCII octets come out as '?' (sentence) or escaped (kv, json).
 * Never pass a secret. Layer: base. Thread-safe.
 *
 *   log_info("conn.open", LOG_F(LF_S("rip", ip)), "connect from %s[%.*s]", name, SL_ARG(ip));
 *   log_warn("db.locked", LOG_NONE, "database %s is locked", path);
 */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include "base/slice.h"

enum log_level { LOG_LV_DEBUG, LOG_LV_INFO, LOG_LV_WARN, LOG_LV_ERROR };
enum log_format { LOG_FMT_TEXT, LOG_FMT_KV, LOG_FMT_JSON };
enum log_sink { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_FILE };

struct log_field {
    const char *key;
    struct slice s; /* used when is_num is false */
    int64_t num;
    bool is_num;
};
/* clang-format off */
#define LF_S(key_, slice_) { .key = (key_), .s = (slice_) }
#define LF_Z(key_, z_) { .key = (key_), .s = sl_z(z_) }
#define LF_N(key_, num_) { .key = (key_), .num = (int64_t)(num_), .is_num = true }
#define LOG_F(...) \
    (const struct log_field[]){ __VA_ARGS__ }, \
        sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field)
/* clang-format on */
#define LOG_NONE NULL, 0

/* Program name in each line: "postfix/smtpd" gives `postfix/smtpd[PID]: ...`; ident "dovecot" with
 * prefix "imap-login: " gives `dovecot: imap-login: ...` (Dovecot puts no pid there). prefix may be NULL; a sentence of
 * ident "dovecot" may bring its own ("imap(user)<pid><session>: ..."): "Warning: " and "Error: " go behind it.
 * Copied. daemon is the `kv` program field ("smtpd"). */
void log_set_program(const char *daemon, const char *ident, const char *prefix);
/* path only for LOG_TO_FILE. log_reopen() after rotation (the skeleton calls it on SIGUSR1). */
void log_set_output(enum log_sink sink, const char *path, enum log_format fmt,
                    enum log_level least);
void log_reopen(void);
/* For who may not open the file (a daemon that dropped its rights): another process opens it and hands it down. A new
 * close-on-exec descriptor of where the log goes now, or -1 (syslog, or none left); and writing to such a one from here
 * on, which is taken over. Then log_set_format() instead of log_set_output(). */
int log_dup(void);
void log_take_fd(int fd);
void log_set_format(enum log_format fmt, enum log_level least);
bool log_is_on(enum log_level lv);

/* One event. ident NULL: the program's; else for this line (e.g. "postfix/submission/smtpd"). */
void log_event(enum log_level lv, const char *ident, const char *ev, const struct log_field *f,
               size_t nf, const char *sentence, ...) __attribute__((format(printf, 6, 7)));

/* LOG_F/LOG_NONE expand to two arguments, so these are variadic. */
#define log_debug(ev, ...)                                                                         \
    (log_is_on(LOG_LV_DEBUG) ? log_event(LOG_LV_DEBUG, NULL, ev, __VA_ARGS__) : (void)0)
#define log_info(ev, ...)  log_event(LOG_LV_INFO, NULL, ev, __VA_ARGS__)
#define log_warn(ev, ...)  log_event(LOG_LV_WARN, NULL, ev, __VA_ARGS__)
#define log_error(ev, ...) log_event(LOG_LV_ERROR, NULL, ev, __VA_ARGS__)

#endif
