/* smtpd/access_action.c - carry out what an access table or a policy server says: access(5). */
#include "smtpd/access.h"
#include "smtpd/check.h"

#include "base/log.h"
#include "proto/smtp_words.h"

#include <stdio.h>

struct doing {
    struct check *c;
    struct access_action a;
    const char *table;
    struct slice value, name;
};

static void warn(const struct doing *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void
warn(const struct doing *d, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    log_event(LOG_LV_WARN, d->c->s->cfg->ident, "access.config", LOG_F(LF_Z("table", d->table)),
              "access table %s%s", d->table, text);
}

/* "<name>: Class WORDS" */
static void
log_named(const struct doing *d, const char *what, const char *words, struct slice text)
{
    char line[CHECK_REPLY_OCTETS];

    snprintf(line, sizeof(line), "<%.*s>: %s %s%.*s", SL_ARG(check_reply_name(d->c)),
             d->c->reply_class, words, SL_ARG(text));
    check_log(d->c, what, line);
}

/* ---- what is wished for the message ---- */

/* Is there a message that this could be about? */
static bool
has_message(const struct doing *d)
{
    const struct check *c = d->c;

    if (c->about.sender.p && c->s->tx)
        return true;
    warn(d, ": with smtpd_delay_reject=no, action %s is always skipped in %s or %s restrictions",
         d->a.word, CLASS_TEXT_CLIENT, CLASS_TEXT_HELO);
    return false;
}

static bool
can_delegate(const struct doing *d)
{
    if (d->c->stage != STAGE_ETRN)
        return has_message(d);
    warn(d, ": action %s is unavailable in smtpd_etrn_restrictions", d->a.word);
    return false;
}

static bool
has_target(const struct doing *d)
{
    if (sl_find_char(d->a.text, '@') != SL_NPOS)
        return true;
    warn(d, " entry \"%.*s\" requires user@domain target", SL_ARG(d->name));
    return false;
}

/* Into the transaction; an empty slice with p NULL when that is full. */
static struct slice
keep(const struct doing *d)
{
    return arena_dup(&d->c->s->tx->mem, d->a.text);
}

static void
no_room(struct check *c)
{
    check_fail(c, 451, "4.3.0", "Error: too much memory wanted");
}

static bool
add_line(const struct doing *d, struct tx_line **end)
{
    struct tx_line *l = ARENA_NEW(&d->c->s->tx->mem, struct tx_line);

    if (l)
        l->text = keep(d);
    if (l == NULL || l->text.p == NULL)
        return false;
    while (*end)
        end = &(*end)->next;
    *end = l;
    return true;
}

static bool
has_line(const struct tx_line *l, struct slice text)
{
    while (l && !sl_eq(l->text, text))
        l = l->next;
    return l != NULL;
}

static void
do_hold(const struct doing *d)
{
    struct check *c = d->c;

    if (can_delegate(d) && c->s->tx->wishes.hold == NULL) {
        log_named(d, "hold", d->a.text.n ? "" : "triggers HOLD action", d->a.text);
        c->s->tx->wishes.hold = d->a.text.n ? keep(d).p : "access table";
        if (c->s->tx->wishes.hold == NULL) {
            no_room(c);
            return;
        }
    }
    check_done(c, VERDICT_DUNNO);
}

static void
permit(const struct doing *d)
{
    char word[64], from[256];
    size_t n = sl_find_char(d->value, ' '), tab = sl_find_char(d->value, '\t');

    snprintf(word, sizeof(word), "%.*s", SL_ARG(sl_head(d->value, n < tab ? n : tab)));
    snprintf(from, sizeof(from), "from %s", d->table);
    check_log_permit(d->c, word, d->c->reply_class, check_reply_name(d->c), from);
    check_done(d->c, VERDICT_PERMIT);
}

static void
do_discard(const struct doing *d)
{
    if (!can_delegate(d)) {
        check_done(d->c, VERDICT_DUNNO);
        return;
    }
    log_named(d, "discard", d->a.text.n ? "" : "triggers DISCARD action", d->a.text);
    d->c->s->tx->wishes.discard = true;
    permit(d);
}

static void
do_redirect(const struct doing *d)
{
    struct check *c = d->c;

    if (can_delegate(d) && has_target(d)) {
        log_named(d, "redirect", "triggers REDIRECT ", d->a.text);
        c->s->tx->wishes.redirect = keep(d);
        if (c->s->tx->wishes.redirect.n == 0) {
            no_room(c);
            return;
        }
    }
    check_done(c, VERDICT_DUNNO);
}

/* The lists are evaluated for each recipient, the message wants its copy once. */
static void
do_bcc(const struct doing *d)
{
    struct check *c = d->c;

    if (can_delegate(d) && has_target(d)) {
        struct tx_wishes *w = &c->s->tx->wishes;

        log_named(d, "bcc", "triggers BCC ", d->a.text);
        if (!has_line(w->bcc, d->a.text) && !add_line(d, &w->bcc)) {
            no_room(c);
            return;
        }
    }
    check_done(c, VERDICT_DUNNO);
}

static void
do_prepend(const struct doing *d)
{
    struct check *c = d->c;

    if (has_message(d)) {
        struct tx_wishes *w = &c->s->tx->wishes;

        if (c->stage == STAGE_END_OF_DATA) {
            warn(d, ": action PREPEND must be used before smtpd_end_of_data_restrictions");
        } else if (!smtp_word_is_header(d->a.text)) {
            warn(d, " entry \"%.*s\" requires header: text", SL_ARG(d->name));
        } else if (!add_line(d, &w->prepend)) {
            no_room(c);
            return;
        }
    }
    check_done(c, VERDICT_DUNNO);
}

/* There are no transports that a message could be sent through before delivery: who configured one as a filter must not
 * find its mail unfiltered. */
static void
do_filter(const struct doing *d)
{
    if (!can_delegate(d)) {
        check_done(d->c, VERDICT_DUNNO);
    } else if (d->a.text.n == 0) {
        warn(d, " entry \"%.*s\" has FILTER entry without value", SL_ARG(d->name));
        check_done(d->c, VERDICT_DUNNO);
    } else if (sl_find_char(d->a.text, ':') == SL_NPOS) {
        warn(d, " entry \"%.*s\" requires transport:destination", SL_ARG(d->name));
        check_done(d->c, VERDICT_DUNNO);
    } else {
        log_named(d, "filter", "triggers FILTER ", d->a.text);
        warn(d, " entry \"%.*s\": content filters are not supported: %.*s", SL_ARG(d->name),
             SL_ARG(d->a.text));
        check_server_error(d->c);
    }
}

/* ---- refusals ---- */

static const char *
fixed_dsn(struct doing *d)
{
    char was[ACCESS_ESC_OCTETS];

    memcpy(was, d->a.esc, sizeof(was));
    if (access_dsn_fix(d->a.esc, d->c->reply_class))
        log_event(LOG_LV_INFO, d->c->s->cfg->ident, "access.dsn", LOG_NONE,
                  "mapping DSN status %s into %s status %s", was, d->c->reply_class, d->a.esc);
    return d->a.esc;
}

static void
do_refuse(struct doing *d, int64_t code)
{
    struct slice text = d->a.text.n ? d->a.text : SL("Access denied");

    check_refuse(d->c, code, fixed_dsn(d), "<%.*s>: %s rejected: %.*s",
                 SL_ARG(check_reply_name(d->c)), d->c->reply_class, SL_ARG(text));
}

static void
do_defer_if(struct doing *d, int64_t code)
{
    struct slice text = d->a.text.n ? d->a.text : SL("Service unavailable");
    struct slice name = check_reply_name(d->c);
    const char *esc = fixed_dsn(d), *cls = d->c->reply_class;

    if (d->a.kind == ACCESS_DEFER_IF_PERMIT)
        check_defer_if_permit(d->c, code, esc, "<%.*s>: %s rejected: %.*s", SL_ARG(name), cls,
                              SL_ARG(text));
    else
        check_defer_if_reject(d->c, code, esc, "<%.*s>: %s rejected: %.*s", SL_ARG(name), cls,
                              SL_ARG(text));
}

/* ---- restrictions ---- */

static void
do_restrictions(const struct doing *d)
{
    struct check *c = d->c;
    struct restrict_list *l;
    struct slice value;
    struct err e = { 0 };

    if (sl_find_char(d->value, ':') != SL_NPOS) {
        warn(d, " has entry with lookup table: %.*s", SL_ARG(d->value));
        warn(d, ": do not specify lookup tables inside SMTPD access maps; define a restriction "
                "class and specify its name instead");
        check_server_error(c);
        return;
    }
    l = ARENA_NEW(&c->s->smtp.cmd, struct restrict_list);
    value = arena_dup(&c->s->smtp.cmd, d->value); /* steps lie in it */
    if (l == NULL || value.p == NULL) {
        no_room(c);
        return;
    }
    if (restrict_parse(&c->s->cfg->restrictions, value, &c->s->smtp.cmd, l, &e)) {
        warn(d, " entry \"%.*s\": %s", SL_ARG(d->name), e.msg);
        check_server_error(c);
    } else if (l->n == 0) {
        warn(d, " entry %.*s has empty value", SL_ARG(d->name));
        check_done(c, VERDICT_PERMIT);
    } else {
        char what[256];

        snprintf(what, sizeof(what), "access table %s entry %.*s", d->table, SL_ARG(value));
        check_enter(c, l, what);
    }
}

void
check_action(struct check *c, struct slice action, const char *table, struct slice name)
{
    struct doing d = { .c = c, .table = table, .value = action, .name = name };
    const struct conf *conf = c->s->cfg->conf;

    access_action_parse(action, &d.a);
    switch (d.a.kind) {
    case ACCESS_OK:
        permit(&d);
        break;
    case ACCESS_REJECT:
        do_refuse(&d, conf->access_map_reject_code);
        break;
    case ACCESS_DEFER:
        do_refuse(&d, conf->access_map_defer_code);
        break;
    case ACCESS_CODE:
        do_refuse(&d, d.a.code);
        break;
    case ACCESS_DEFER_IF_PERMIT:
    case ACCESS_DEFER_IF_REJECT:
        do_defer_if(&d, conf->access_map_defer_code);
        break;
    case ACCESS_FILTER:
        do_filter(&d);
        break;
    case ACCESS_HOLD:
        do_hold(&d);
        break;
    case ACCESS_DISCARD:
        do_discard(&d);
        break;
    case ACCESS_REDIRECT:
        do_redirect(&d);
        break;
    case ACCESS_BCC:
        do_bcc(&d);
        break;
    case ACCESS_PREPEND:
        do_prepend(&d);
        break;
    case ACCESS_RESTRICTIONS:
        do_restrictions(&d);
        break;
    case ACCESS_INFO:
    case ACCESS_WARN: {
        char *text = arena_dupz(&c->s->smtp.cmd, d.a.text);

        check_log(c, d.a.kind == ACCESS_INFO ? "info" : "warn", text ? text : "");
        check_done(c, VERDICT_DUNNO);
        break;
    }
    case ACCESS_DUNNO:
        check_done(c, VERDICT_DUNNO);
    }
}
