/* smtpd/expand_int.h - the files of alias expansion among themselves: expand.c goes through a list of items,
 * expand_virtual.c knows virtual(5), expand_local.c aliases(5),
 * expand_end.c whether anybody is there. Folder-private. */
#ifndef POSTERN_SMTPD_EXPAND_INT_H
#define POSTERN_SMTPD_EXPAND_INT_H

#include "smtpd/expand.h"

enum item_kind {
    ITEM_ADDRESS, /* internal, complete */
    ITEM_NAME, /* out of aliases(5), or the local part of a local address: an alias, a user, or an address
                   * without its domain; with its extension */
    ITEM_INCLUDE /* a file of addresses: the way to it, as authd wants it (LOOKUP_INCLUDE) */
};
struct item {
    struct item *next;
    const struct item *from; /* NULL: RCPT's own */
    enum item_kind kind;
    struct slice addr;
    const struct slice
        *owner; /* who hears of failures, if not the sender: the closest owner-list (aliases(5)) */
    unsigned depth;
    bool is_final; /* no virtual alias any more */
    bool no_alias; /* a name that is its own alias, or "\name" */
    bool is_again; /* a name that it came from */
    bool is_alias; /* aliases(5) has it */
    bool maps_to_itself;
    bool is_unknown; /* an alias led to it, and it is no mailbox of ours */
};

struct expansion {
    struct smtpd_rcpt *rcpt; /* being worked on */
    struct slice rcpt_addr;  /* its address, complete */
    struct item *first, **end, *at;
    size_t n_of_rcpt;                /* results of this recipient, repeated ones as well */
    bool is_local;                   /* one of its aliases was of aliases(5) */
    size_t *own;                     /* its results, places in out */
    size_t n_own, cap_own, n_before; /* n_before: out's length before it */
    struct addr_info info;           /* of `at` */
    struct map *seen;                /* final addresses; which of out they are, from 1 */
    struct queue_rcpt *out;
    size_t n_out, cap_out;
    size_t n_good; /* of out: those that are not returned for certain, copies not counted */
    const char *refusal;
    const char *unknown; /* what to say of the first that is_unknown */
    void (*done)(struct smtpd_sess *s, enum expand_rc rc, const struct queue_rcpt *rcpts, size_t n);
    enum expand_rc rc;
    bool is_running, is_over, must_go_on;
    /* expand_local.c */
    struct slice alias, value, ext; /* whose owner is asked for; in the command's memory */
};

/* ---- expand.c ---- */
/* `at` has been dealt with; the next one from the runner's loop. */
void expand_next(struct smtpd_sess *s, struct expansion *x);
/* Another item, out of `from`. NULL: memory is full. */
struct item *expand_add(struct smtpd_sess *s, struct expansion *x, struct item *from,
                        struct slice addr, enum item_kind kind);
/* A result; addr and target are copied. False: too many, and the end has been told. */
bool expand_result(struct smtpd_sess *s, struct expansion *x, enum queue_rcpt_kind kind,
                   struct slice addr, struct slice target);
/* An address is the last result of `at`. */
void expand_emit(struct smtpd_sess *s, struct expansion *x, struct slice addr);
/* Ends, with a line in the log. */
void expand_give_up(struct smtpd_sess *s, struct expansion *x, enum expand_rc rc, const char *why);
void expand_lookup_failed(struct smtpd_sess *s, struct expansion *x);
/* An alias that names nobody would take the mail away, and nobody would be told. */
void expand_leads_nowhere(struct smtpd_sess *s, struct expansion *x);
/* The operator does not want this: the message is refused for good. what: "mail to command is restricted". */
void expand_refuse(struct smtpd_sess *s, struct expansion *x, const char *what);

/* ---- expand_end.c ---- */
/* `at` is an end, and addr its result, in the command's memory. Where an alias led to it, find out first whether it will be
 * returned for certain. */
void expand_end(struct smtpd_sess *s, struct expansion *x, struct slice addr);

/* ---- expand_virtual.c: find_fn for virtual_alias_maps, arg is the expansion ---- */
void expand_on_virtual(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                       struct slice ext);

/* ---- expand_local.c ---- */
void expand_name(struct smtpd_sess *s, struct expansion *x);    /* `at` is a name */
void expand_include(struct smtpd_sess *s, struct expansion *x); /* `at` is a file */
/* The address whose alias of aliases(5) led to this item, the first of them, in lower case, as local(8) names it; empty: none
 * did. */
struct slice expand_led_by(const struct item *i, struct arena *mem);
/* No virtual alias any more, x->info is known: aliases(5), or the end. */
void expand_local(struct smtpd_sess *s, struct expansion *x);

#endif
