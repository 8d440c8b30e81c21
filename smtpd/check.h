/* smtpd/check.h - one evaluation of restriction lists under way, as the verbs see it. It lives in the
 * command's memory (s->smtp.cmd). Folder-private. */
#ifndef POSTERN_SMTPD_CHECK_H
#define POSTERN_SMTPD_CHECK_H

#include "smtpd/find.h"
#include "smtpd/restrict.h"

enum { CHECK_REPLY_OCTETS = SMTP_REPLY_OCTETS + 1, CHECK_PHASES_MAX = 8 };

enum verdict {
    VERDICT_DUNNO,  /* the next step */
    VERDICT_PERMIT, /* the next list */
    VERDICT_REFUSE
};

/* Whom a refusal names. */
#define CLASS_TEXT_CLIENT    "Client host"
#define CLASS_TEXT_REVERSE   "Unverified Client host"
#define CLASS_TEXT_CCERT     "Client certificate"
#define CLASS_TEXT_SASL      "SASL login name"
#define CLASS_TEXT_HELO      "Helo command"
#define CLASS_TEXT_SENDER    "Sender address"
#define CLASS_TEXT_RECIPIENT "Recipient address"
#define CLASS_TEXT_ETRN      "Etrn command"
#define CLASS_TEXT_DATA      "Data command"
#define CLASS_TEXT_EOD       "End-of-data"

struct phase;
struct frame;
struct check;
typedef void check_after_fn(struct check *c, enum verdict v);

struct check {
    struct smtpd_sess *s;
    enum restrict_stage stage;
    struct restrict_subject about;
    void (*done)(struct smtpd_sess *s, const char *reply);
    const struct phase *phases[CHECK_PHASES_MAX];
    size_t n_phases, at_phase;
    struct frame *frame, *spare; /* the innermost list under way; frames to use again */
    unsigned n_steps, depth,
        warn_depth; /* warn_depth: where warn_if_reject was said; 0: it was not */
    enum check_state { CHECK_READY, CHECK_WAITING, CHECK_ANSWERED, CHECK_LIST_OVER } state;
    bool is_running, is_refused, in_tail;
    bool in_policy_default;                  /* policy.c: default_action is being carried out */
    bool sender_tail, rcpt_tail, quota_tail; /* what comes after lists has been done */
    bool rcpt_listed, sender_listed;         /* the tables of users were asked */
    enum verdict verdict;
    struct addr_info sender, rcpt; /* routes and classes, on need */
    char reply[CHECK_REPLY_OCTETS];
    char if_permit[CHECK_REPLY_OCTETS], if_reject[CHECK_REPLY_OCTETS]; /* "": no deferral */

    /* Of the step under way; a list inside it keeps them for it (struct frame). */
    const struct restrict_step *step;
    const char *arg;         /* the step's argument */
    const char *reply_class; /* in whose name it refuses */
    struct slice reply_name; /* see check_reply_name() */
    check_after_fn *after;   /* see check_after() */
    struct addr_info *addr;
    bool is_sender, had_trouble;
    int64_t code;
    const char *esc;
    void *own; /* the verb's */
};

struct restrict_verb {
    const char *name;
    void (*run)(struct check *c); /* ends in check_done() or one of its kin, once */
};

void check_done(struct check *c, enum verdict v);
/* Log and refuse: "CODE ESC text". The first digit of esc is made that of the code. After warn_if_reject it is only
 * logged; where something that might have permitted failed for a while, 5xx becomes what that left. */
void check_refuse(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same for a failure of ours (tables, configuration): no warn_if_reject makes it less. */
void check_fail(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* "451 4.3.5 Server configuration error". The log says why before it. */
void check_server_error(struct check *c);
/* Go on, but what would be permitted in the end is deferred with this. */
void check_defer_if_permit(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Go on, but what would be refused in the end is deferred with this: somebody cannot be asked just now. */
void check_defer_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same without going on: the verb has more to say. */
void check_note_if_reject(struct check *c, int64_t code, const char *esc, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void check_refuse_with(struct check *c, const char *reply); /* logs, fills c->reply; no verdict */
/* Is what this step refuses only to be logged (warn_if_reject)? */
static inline bool
check_is_warning(const struct check *c)
{
    return c->warn_depth != 0;
}

/* Carry out an action as access(5) has it ("REJECT text", "DEFER_IF_PERMIT", "HOLD", "PREPEND X: y", "permit_mynetworks,
 * reject", ...): the right-hand side of a table, or what a policy server said. table: for the log. name: what was looked
 * up. It refuses in the name of c->reply_name and c->reply_class. It ends in check_done() or one of its kin, and may
 * first evaluate restrictions that it names. */
void check_action(struct check *c, struct slice action, const char *table, struct slice name);

/* The next verdict of this step (of what check_action() names, too) goes to fn, which ends in check_done() or one of its
 * kin, or asks on. */
static inline void
check_after(struct check *c, check_after_fn *fn)
{
    c->after = fn;
}

/* What the session of this id is evaluating, for who gets an answer: NULL when it is gone. An evaluation ends by its verbs
 * only, so what waits for the answer is the verb that asked. */
static inline struct check *
check_of_session(uint64_t id)
{
    struct smtp_sess *s = id_get(id);

    return s ? smtpd_of(s)->check : NULL;
}

/* Evaluate the list, which lives as long as the evaluation; its verdict is this step's. */
void check_enter(struct check *c, const struct restrict_list *l, const char *what);

/* The step of the list that comes `ahead` after the next one, or NULL past its end. */
const struct restrict_step *check_step_ahead(const struct check *c, size_t ahead);

/* What the current list refuses in the name of: "<x@y>", "<unknown[192.0.2.1]>"; without the brackets. */
struct slice check_reply_name(const struct check *c);

/* "permit: RCPT from ...: action=permit_mynetworks for Client host=..." where smtpd_log_access_permit_actions names the
 * action. from: "" or "from TABLE". check_done() does it for verbs of their own. */
void check_log_permit(struct check *c, const char *action, const char *reply_class,
                      struct slice name, const char *from);
/* "NOQUEUE: hold: RCPT from name[addr]: text; from=..." */
void check_log(struct check *c, const char *what, const char *text);

/* What a *_tempfail_action parameter says to do where something cannot be found out now: "defer" refuses at once,
 * "defer_if_permit" goes on. */
void check_tempfail(struct check *c, const char *action, int64_t code, const char *esc,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Work out route and class of the sender or the recipient into c->addr, then go on with *then, a static pointer. What
 * fails is answered. */
void check_with_class(struct check *c, bool is_sender, void (*const *then)(struct check *));
/* After that: where the recipient leads is here, and no way further on is hidden in its local part. */
bool check_is_auth_destination(const struct check *c);

/* verbs*.c, access*.c */
void check_unlisted_recipient(struct check *c);
void check_unlisted_sender(struct check *c);
/* Has the recipient's mailbox room (verbs_quota.c)? Only where wanted. */
bool check_wants_room(const struct check *c);
void check_room(struct check *c);
#define RESTRICT(name, needs, fn) void fn(struct check *c);
#include "smtpd/restrict.def"

#endif
