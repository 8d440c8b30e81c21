/* smtpd/check.h - one evaluation of restriction lists under way, as the verbs see it. It lives in the
 * command's memory (s->smtp.cmd). Folder-private. */
#ifndef POSTERN_SMTPD_CHECK_H
#define POSTERN_SMTPD_CHECK_H

#include "smtpd/find.h"
#include "smtpd/restrict.h"

enum { CHECK_REPLY_OCTETS = SMTP_REPLY_OCTETS + 1, CHECK_PHASES_MAX = 8 };
enum { NEEDS_HELO = 1, NEEDS_SENDER = 2, NEEDS_RCPT = 4, NEEDS_ARG = 8 };

enum verdict {
    VERDICT_DUNNO,  /* the next step */
    VERDICT_PERMIT, /* the next list */
    VERDICT_REFUSE
};

/* Whom a refusal names. */
#define CLASS_TEXT_CLIENT    "Client host"
#define CLASS_TEXT_HELO      "Helo command"
#define CLASS_TEXT_SENDER    "Sender address"
#define CLASS_TEXT_RECIPIENT "Recipient address"

struct phase;
struct check {
    struct smtpd_sess *s;
    enum restrict_stage stage;
    struct restrict_subject about;
    void (*done)(struct smtpd_sess *s, const char *reply);
    const struct phase *phases[CHECK_PHASES_MAX];
    size_t n_phases, at_phase, at_step;
    const char *reply_class, *arg;
    bool is_running, is_answered, is_refused, tail_done;
    bool rcpt_listed, sender_listed; /* the tables of users were asked */
    enum verdict verdict;
    struct addr_info sender, rcpt; /* routes and classes, on need */
    /* Of the verb under way. */
    struct addr_info *addr;
    bool is_sender;
    int64_t code;
    const char *esc;
    char reply[CHECK_REPLY_OCTETS], deferral[CHECK_REPLY_OCTETS];
};

struct restrict_verb {
    const char *name;
    unsigned needs;
    void (*run)(struct check *c); /* ends in check_done() or one of its kin, once */
};

void check_done(struct check *c, enum verdict v);
/* Log and refuse: "CODE ESC text". The first digit of esc is made that of the code. */
void check_refuse(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Go on, but what would be permitted in the end is deferred with this. */
void check_defer_if_permit(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Go on, but what would be refused in the end is deferred with this: somebody cannot be asked just now. */
void check_defer_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void check_refuse_with(struct check *c, const char *reply); /* logs, fills c->reply; no verdict */

/* Carry out an action as access(5) has it ("REJECT text", "DEFER_IF_PERMIT", "HOLD", "PREPEND X: y", "permit_mynetworks,
 * reject", ...): the right-hand side of a table, or what a policy server said. table: for the log. name: what was looked
 * up. It ends in check_done() or one of its kin, and may first evaluate restrictions that it names. */
void check_action(struct check *c, struct slice action, const char *table, struct slice name);

/* What the current list refuses in the name of: "<x@y>", "<unknown[192.0.2.1]>". */
struct slice check_reply_name(const struct check *c);

/* verbs*.c */
void check_unlisted_recipient(struct check *c);
void check_unlisted_sender(struct check *c);
#define RESTRICT(name, needs, fn) void fn(struct check *c);
#include "smtpd/restrict.def"

#endif
