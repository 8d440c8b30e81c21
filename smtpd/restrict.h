/* smtpd/restrict.h - access restrictions: which verbs there are, lists of them compiled from main.cf, and their
 * evaluation, which may wait for DNS and tables at any step. A new verb is a row in smtpd/restrict.def and a function.
 * Layer: smtpd. */
#ifndef POSTERN_SMTPD_RESTRICT_H
#define POSTERN_SMTPD_RESTRICT_H

#include "conf/conf.h"

/* The lists, in Postfix's order of stages. */
enum restrict_list_id {
    RESTRICT_CLIENT,
    RESTRICT_HELO,
    RESTRICT_SENDER,
    RESTRICT_RELAY,
    RESTRICT_RECIPIENT,
    RESTRICT_DATA,
    RESTRICT_END_OF_DATA,
    RESTRICT_ETRN,
    RESTRICT_LISTS
};

struct restrict_verb;
struct restrict_step {
    const struct restrict_verb *verb;
    const char *arg; /* borrowed from the configuration, or NULL */
};
struct restrict_list {
    struct restrict_step *v;
    size_t n;
};

/* Problems of all restriction lists of this configuration (a listener's view or the file itself): verbs that are not
 * known, arguments that are missing, and no verb at all that stops strangers from relaying. For `postern check`. */
void restrict_check_conf(const struct conf *c, const char *service, struct conf_problems *ps);

/* The list's value, NULL-safe default at low compatibility levels included. */
struct conf_list restrict_conf_list(const struct conf *c, enum restrict_list_id id);
const char *restrict_list_name(enum restrict_list_id id);

/* ERR_CONFIG as restrict_check_conf() would tell. */
int restrict_compile(const struct conf *c, enum restrict_list_id id, struct restrict_list *out,
                     struct err *e);
void restrict_list_free(struct restrict_list *l);

/* ---- evaluation ---- */

struct smtpd_sess;
/* At these moments of a session the lists are evaluated; which ones smtpd_delay_reject says. */
enum restrict_stage {
    STAGE_CLIENT,
    STAGE_HELO,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_END_OF_DATA,
    STAGE_ETRN
};

struct restrict_subject { /* what it is about; p NULL: not there (yet) */
    const char *helo;
    struct slice sender, recipient, etrn;
};
/* done once, from here or later: reply NULL: go on; else the refusal, logged already, valid during the call. */
void restrict_run(struct smtpd_sess *s, enum restrict_stage stage,
                  const struct restrict_subject *about,
                  void (*done)(struct smtpd_sess *s, const char *reply));

#endif
