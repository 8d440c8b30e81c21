/* smtpd/restrict_reply.c - what restrictions say: replies, warnings, deferrals, and their log lines. */
#include "smtpd/check.h"

#include "base/log.h"
#include "smtpd/access.h"

#include <stdarg.h>
#include <stdio.h>

void
check_log(struct check *c, const char *what, const char *text)
{
    smtpd_log_what(c->s, what, text, c->about.sender, c->about.recipient);
}

static bool
is_listed(struct conf_list l, const char *action)
{
    for (size_t i = 0; i < l.n; i++)
        if (sl_ieqz(sl_z(l.v[i]), action) || sl_has_prefix(sl_z(l.v[i]), SL("static:")))
            return true;
    return false;
}

void
check_log_permit(struct check *c, const char *action, const char *reply_class, struct slice name,
                 const char *from)
{
    char text[CHECK_REPLY_OCTETS];

    if (c->if_permit[0] ||
        !is_listed(c->s->cfg->conf->smtpd_log_access_permit_actions, action)) /* overruled */
        return;
    snprintf(text, sizeof(text), "action=%s for %s=%.*s %s", action, reply_class, SL_ARG(name),
             from);
    check_log(c, "permit", text);
}

/* A code and an enhanced code that an operator wrote may be no codes at all. */
static void
make_valid(struct check *c)
{
    const char *p = c->reply;
    struct slice esc = sl_z(p + 4);
    size_t n = 0;

    if (p[0] == '4' || p[0] == '5')
        while (n < esc.n && esc.p[n] != ' ')
            n++;
    if (n == 0 || access_dsn_length(esc) != n) {
        log_event(LOG_LV_WARN, c->s->cfg->ident, "restrict.code", LOG_NONE,
                  "SMTP reply code configuration error: %s", c->reply);
        snprintf(c->reply, sizeof(c->reply), "450 4.7.1 Service unavailable");
    }
    for (char *q = c->reply; *q; q++)
        if ((unsigned char)*q < ' ' || *q == 127)
            *q = ' ';
    c->reply[4] = c->reply[0]; /* the enhanced code's class follows the code */
}

void
check_refuse_with(struct check *c, const char *reply)
{
    if (reply != c->reply)
        snprintf(c->reply, sizeof(c->reply), "%s", reply);
    make_valid(c);
    check_log(c, "reject", c->reply);
}

/* c->reply is what is to be said. */
static void
refuse(struct check *c, bool is_ours)
{
    make_valid(c);
    if (c->warn_depth && !is_ours) {
        check_log(c, "reject_warning", c->reply);
        check_done(c, VERDICT_DUNNO);
        return;
    }
    if (c->reply[0] == '5' && c->if_reject[0]) {
        snprintf(c->reply, sizeof(c->reply), "%s", c->if_reject);
        c->if_reject[0] = '\0';
    }
    check_refuse_with(c, c->reply);
    check_done(c, VERDICT_REFUSE);
}

static void format_reply(char *out, int64_t code, const char *esc, const char *fmt, va_list ap)
    __attribute__((format(printf, 4, 0)));
static void
format_reply(char *out, int64_t code, const char *esc, const char *fmt, va_list ap)
{
    int n = snprintf(out, CHECK_REPLY_OCTETS, "%03d %s ", (int)code, esc);

    if (n < CHECK_REPLY_OCTETS)
        vsnprintf(out + n, (size_t)(CHECK_REPLY_OCTETS - n), fmt, ap);
}

void
check_refuse(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_reply(c->reply, code, esc, fmt, ap);
    va_end(ap);
    refuse(c, false);
}

void
check_fail(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    format_reply(c->reply, code, esc, fmt, ap);
    va_end(ap);
    refuse(c, true);
}

void
check_server_error(struct check *c)
{
    check_fail(c, 451, "4.3.5", "Server configuration error");
}

void
check_defer_if_permit(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    /* Only to be warned about: it is logged as what it would have come to. */
    if (c->warn_depth)
        format_reply(c->reply, code, esc, fmt, ap);
    else if (c->if_permit[0] == '\0') /* the first reason is the one that is told */
        format_reply(c->if_permit, code, esc, fmt, ap);
    va_end(ap);
    if (c->warn_depth)
        refuse(c, false);
    else
        check_done(c, VERDICT_DUNNO);
}

static void note_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt,
                           va_list ap) __attribute__((format(printf, 4, 0)));
static void
note_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt, va_list ap)
{
    if (c->if_reject[0] == '\0')
        format_reply(c->if_reject, code, esc, fmt, ap);
}

void
check_note_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note_if_reject(c, code, esc, fmt, ap);
    va_end(ap);
}

void
check_defer_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    note_if_reject(c, code, esc, fmt, ap);
    va_end(ap);
    check_done(c, VERDICT_DUNNO);
}
