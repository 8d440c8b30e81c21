/* store/quota.h - quota: limits by Dovecot's rules, usage in quota.db, one engine for whatever backend `quota` names.
 *
 * Usage is what the user's indexes say (all mailboxes but ignored ones) and the deliveries that no index knows yet; it
 * equals the sum of the files once a scan has seen every foreign change. Everything here blocks (SQLite, and counting a
 * user who was never counted opens his store): call it on a work pool. Thread-safe. Layer: store.
 *
 * Parameters (main.cf), with any number behind the name as in Dovecot, quota_rule, quota_rule2, ...:
 *   quota                    "count:User quota": empty is off; the backend's name says nothing, the rest names the root
 *   quota_rule[N]            MAILBOX:LIMIT[:LIMIT...]; "*" (or "?") is the user's limit, other mailboxes add to it
 *   quota_grace              what the last mail delivered may exceed the limit by, "10%" or "50M"
 *   quota_max_mail_size      of one message, "0": none
 *   quota_exceeded_message   the words for the client
 *   quota_warning[N]         [+|-]LIMIT[:LIMIT...] COMMAND
 *   quota_domain_rule[N]     DOMAIN:LIMIT[:LIMIT...]: what all users of a domain have together; "*" is each domain
 * LIMIT: storage=1G (bare number: KiB), bytes=, messages=; of a mailbox "+100M", "-5%" or "ignore". A percent sign may be
 * written "%%" as in dovecot.conf. Users' own fields of userdb go before the file's of the same name. */
#ifndef POSTERN_STORE_QUOTA_H
#define POSTERN_STORE_QUOTA_H

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "store/store.h"

/* ---- rules ---- */
struct quota_limit {
    int64_t octets, messages; /* 0: no limit */
};

struct quota_rules; /* parsed, immutable: those of the file with a user's own over them */
bool quota_is_on(const struct conf *c);
/* userdb: struct store_userdb.quota, or empty. ERR_CONFIG with the field's name and what is wrong. A user's own rules that
 * are wrong are his operator's error: quota_usage() and delivery answer ERR_TEMP then, never "no limit". */
int quota_rules_new(const struct conf *c, struct slice userdb, struct quota_rules **out,
                    struct err *e);
void quota_rules_free(struct quota_rules **r);
/* What holds for saving into a mailbox (normal name; separator of its levels). False: the mailbox is ignored. */
bool quota_rules_limit(const struct quota_rules *r, struct slice mailbox, char separator,
                       struct quota_limit *out);
struct quota_limit quota_rules_user(const struct quota_rules *r);
struct quota_limit quota_rules_domain(const struct quota_rules *r, struct slice domain);
int64_t quota_rules_max_mail(const struct quota_rules *r); /* octets; 0: any */
const char *quota_rules_root(const struct quota_rules *r); /* "User quota" */
const char *quota_rules_exceeded_message(const struct quota_rules *r);
/* Problems of all quota parameters of a file, each with its line. For `postern check` and every daemon's start. */
void quota_conf_check(const struct conf *c, struct conf_problems *ps);

struct quota_warning {
    struct quota_limit at; /* of the user's limit; one of the two, the other 0 */
    bool is_below;         /* "-": when usage falls under it */
    const char *command;   /* all that follows the limits */
};
/* Warning i in the order of the file, or NULL. */
const struct quota_warning *quota_rules_warning(const struct quota_rules *r, size_t i);

/* ---- usage ---- */
struct quota_usage {
    int64_t octets, messages;               /* the user's */
    struct quota_limit limit;               /* by "*" */
    int64_t domain_octets, domain_messages; /* of all users of the domain that were counted */
    struct quota_limit domain_limit;
};
/* The warning that a change from was to now calls for: the first of the file that matches, as in Dovecot; or NULL. */
const struct quota_warning *quota_warning_due(const struct quota_rules *r,
                                              const struct quota_usage *was,
                                              const struct quota_usage *now);

/* user "u@d". db as for store_user_open(). A user who was never counted is counted first. Off: all zero, no limit. */
int quota_usage(struct store *s, struct slice user, const struct store_userdb *db,
                struct quota_usage *out, struct err *e);

enum {                  /* who asks */
       QUOTA_GRACE = 1, /* delivery: the last mail may exceed by quota_grace */
       QUOTA_NOW =
           2 /* is there room at all (RCPT without a size): octets 0 are refused too when it is full */
};
/* May n messages of together so many octets go into the mailbox (any valid name; empty: INBOX)? 0; -1 with ERR_LIMIT and
 * quota_exceeded_message (sys EMSGSIZE: one message is too large, whatever room there is); ERR_TEMP: not known now. Nothing is
 * reserved by asking. max_octets: the largest of them, for quota_max_mail_size, 0: not known. */
struct quota_ask {
    struct slice user;
    const struct store_userdb *db;
    struct slice mailbox;
    int64_t octets, messages, max_octets;
    unsigned flags;
};
int quota_check(struct store *s, const struct quota_ask *ask, struct err *e);

/* Count a user by his mailboxes, each brought in line with the disk, and write the sums anew. progress (may be NULL) is
 * called before each mailbox. */
int quota_recount(struct store *s, struct slice user, const struct store_userdb *db,
                  void (*progress)(void *arg, struct slice mailbox), void *arg,
                  struct quota_usage *out, struct err *e);
/* Every user (of the domain, when that is not empty) in quota.db, by name: fn until it returns false. Nobody is counted;
 * is_counted false: the numbers are not all. Limits are not filled in. */
int quota_each(struct store *s, struct slice domain,
               bool (*fn)(void *arg, struct slice user, const struct quota_usage *usage,
                          bool is_counted),
               void *arg, struct err *e);
/* A user who is no more: forget him. */
int quota_forget(struct store *s, struct slice user, struct err *e);

/* ---- changes ---- */
struct quota_change {
    struct slice user;
    const struct quota_rules *rules;
    struct quota_usage was, now; /* the user's numbers; the domain's are not filled in */
};
/* fn hears of every change of usage that this process charges (deliveries, APPEND, COPY, EXPUNGE, scans), right after it,
 * from the thread that did it, which may hold the user's lock and serve everybody: it must neither block nor call the store. Set once, before
 * users are opened; lmtpd: by deliverer_store(). */
void quota_on_change(struct store *s, void (*fn)(void *arg, const struct quota_change *c),
                     void *arg);

#endif
