/* smtpd/rbl.h - asking DNS lists (RFC 5782), and the reply to who is on one. What was asked is kept with the session, so
 * that forty recipients do not ask, wait and log forty times. Layer: smtpd. */
#ifndef POSTERN_SMTPD_RBL_H
#define POSTERN_SMTPD_RBL_H

#include "smtpd/access.h"
#include "smtpd/check.h"
#include "smtpd/rbl_filter.h"

enum {
    RBL_CACHE_ENTRIES = 64,  /* of one session; the oldest goes first */
    RBL_AHEAD_MAX = 10,      /* lists that are asked at once */
    RBL_TROUBLE_S = 60,      /* a list that does not answer is left alone so long */
    RBL_REASON_OCTETS = 500, /* of TXT records that are passed on */
    RBL_WHAT_OCTETS = 1100   /* an address with what is put around it */
};

enum rbl_found {
    RBL_NOT_LISTED,
    RBL_LISTED,
    RBL_TROUBLE /* nothing is known; the log says why */
};

/* A question to one list. The asker keeps it until it is answered. */
struct rbl_ask {
    char name[DNS_NAME_OCTETS]; /* "2.0.0.127.bl.example.org" */
    struct rbl_filter filter;
    bool want_reason;
    void (*done)(struct check *c, enum rbl_found f, struct slice reason); /* reason: the TXT */
};
/* done once, at once or later, while c is still under way. */
void rbl_ask(struct check *c, struct rbl_ask *a);

/* Ask a list that will be asked soon; the answer is kept for then. Lists in a row wait for the slowest, not for each. */
void rbl_ask_ahead(struct smtpd_sess *s, const char *name);

/* The name that is asked for: an address in reverse, or a domain, under the zone. False: there is nothing to ask. */
bool rbl_name_of_addr(const struct addr *a, struct slice zone, char out[DNS_NAME_OCTETS]);
bool rbl_name_of_domain(struct slice what, struct slice zone, char out[DNS_NAME_OCTETS]);

/* Refuse with the list's reply. arg: the verb's argument, filter and all. what: whom the list knows. */
void rbl_refuse(struct check *c, struct slice arg, struct slice what, const char *reply_class,
                struct slice reason);

struct rbl_cache; /* hangs on the session, which frees it */
void rbl_cache_free(struct rbl_cache **c);

/* A reply as a template made it: "554 5.7.1 text". Its code and text; esc is the one it has or 4.7.1, made to fit what is
 * refused as Postfix does. -1: it does not begin with a reply code. */
int rbl_split_reply(struct slice reply, const char *reply_class, int64_t *code,
                    char esc[ACCESS_ESC_OCTETS], struct slice *text);

#endif
