/* smtpd/restrict.h - access restrictions: which verbs there are, lists of them read from main.cf, and their evaluation,
 * which may wait for DNS and tables at any step. A new verb is a row in smtpd/restrict.def and a function.
 * Layer: smtpd. */
#ifndef POSTERN_SMTPD_RESTRICT_H
#define POSTERN_SMTPD_RESTRICT_H

#include "base/arena.h"
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

/* What a row of restrict.def may say. NEEDS_HELO, _SENDER, _RCPT: without it the verb says nothing. ARG_*: the next word
 * is its argument, of this form. */
enum {
    NEEDS_HELO = 1,
    NEEDS_SENDER = 2, /* one that is not the null sender */
    NEEDS_RCPT = 4,
    NEEDS_ARG = 8,
    ARG_TABLE = 16 | NEEDS_ARG,  /* "type:table", "{ type:table }" */
    ARG_COLON = 32 | NEEDS_ARG,  /* "transport:place", "{ transport:place, options }" */
    ARG_NUMBER = 64 | NEEDS_ARG, /* digits */
    ARG_ZONE = 256 | NEEDS_ARG,  /* a DNS list: "zone", "zone=127.0.0.[2;4..11]" */
    ARG_CCERT = 128              /* with ARG_TABLE: "{ type:table, search = cert_fingerprint }" */
};
enum {
    RESTRICT_DEPTH_MAX = 100,   /* lists in lists: classes, and what tables name. As Postfix */
    RESTRICT_WORDS_MAX = 10000, /* of one list */
    RESTRICT_STEPS_MAX = 100000 /* of one evaluation: classes that name each other multiply */
};

/* A table as an argument. */
struct restrict_table {
    const char *name; /* what authd is asked for: "hash:/etc/postern/access" */
    char search[3];   /* ARG_CCERT: 'c'ertificate and 'k'ey fingerprints, in order */
};

enum restrict_kind {
    RESTRICT_VERB,
    RESTRICT_CLASS,
    RESTRICT_WARN, /* warn_if_reject */
    RESTRICT_BARE  /* a table alone: the stage says which verb it is meant for */
};
struct restrict_class;
struct restrict_step {
    enum restrict_kind kind;
    unsigned needs;
    int verb;                         /* row of restrict.def */
    const char *name;                 /* the verb's or the class's */
    const char *arg;                  /* the word as it stands, braces and all; or NULL */
    struct restrict_table table;      /* of arg, when it is one */
    const struct restrict_class *cls; /* RESTRICT_CLASS */
};
struct restrict_list {
    struct restrict_step *v;
    size_t n;
};
struct restrict_class {
    const char *name;
    struct restrict_list list;
};

/* All lists and classes of a configuration. */
struct restrict_set {
    struct arena mem;
    struct restrict_list lists[RESTRICT_LISTS];
    struct restrict_class *classes; /* smtpd_restriction_classes */
    size_t n_classes;
};

/* Problems of all restriction lists of this configuration (a listener's view or the file itself): verbs that are not
 * known, arguments that are missing or no good, classes that are not there or contain themselves, what stands where it
 * is never reached, and no verb at all that stops strangers from relaying. For `postern check`. */
void restrict_check_conf(const struct conf *c, const char *service, struct conf_problems *ps);

/* The list's value, NULL-safe default at low compatibility levels included. */
struct conf_list restrict_conf_list(const struct conf *c, enum restrict_list_id id);
const char *restrict_list_name(enum restrict_list_id id);

/* Read all lists; c must outlive the set. ERR_CONFIG as restrict_check_conf() would tell. */
int restrict_set_init(struct restrict_set *s, const struct conf *c, struct err *e);
void restrict_set_free(struct restrict_set *s);

/* As main.cf's lists are split: at commas and white space, { groups } whole. False at the end. */
bool restrict_take_word(struct slice *in, struct slice *word);
/* The next step of a list in text (as in main.cf, or as a table says it): 1, 0 at the end, -1 for one that is no good,
 * with e; *text has gone past it then, too. What the step has is in mem. */
int restrict_take_step(const struct restrict_set *s, struct slice *text, struct arena *mem,
                       struct restrict_step *out, struct err *e);
/* The whole list; -1 at the first bad step. */
int restrict_parse(const struct restrict_set *s, struct slice text, struct arena *mem,
                   struct restrict_list *out, struct err *e);
/* The row of a verb, or -1. */
int restrict_verb_of(struct slice name);
unsigned restrict_verb_needs(int verb);

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
