/* cli/serve_int.h - the supervisor's files among themselves.
 *   serve.c          the command: start, signals, reload, stop
 *   serve_child.c    processes: start, control channel, restart, drain
 *   serve_listen.c   sockets (serve_listen.h)
 *   serve_tls.c      certificates and keys, read and handed down
 *   serve_dirs.c     folders, the lock that one supervisor holds
 *   serve_control.c  the socket of `postern reload|status|stop`
 * Folder-private. */
#ifndef POSTERN_CLI_SERVE_INT_H
#define POSTERN_CLI_SERVE_INT_H

#include "cli/serve_listen.h"

#include "base/buf.h"
#include "conf/conf.h"

enum { SERVE_DRAIN_FRONT_MS = 10 * 1000, SERVE_DRAIN_BACK_MS = 5 * 1000 };

enum serve_state { SERVE_STARTING, SERVE_READY, SERVE_STOPPING };

/* The one supervisor of this process. */
struct serve {
    const char *conf_path;
    struct conf *conf;
    struct buf conf_text; /* what the daemons are given */
    struct serve_sockets sockets;
    enum serve_state state;
    int exit_code;
    uint64_t started_ms;
};
extern struct serve sv;

/* ---- serve.c ---- */
/* Everything again from the file; a bad one changes nothing and is told in ps (and in the log). */
int serve_reload(struct conf_problems *ps);
void serve_stop(int exit_code);  /* drain, then end; called again: end now */
void serve_children_ready(void); /* all of them, for the first time or again */
void serve_children_gone(void);  /* the last one has ended */

/* ---- serve_child.c ---- */
/* Find the programs; -1 with e. */
int serve_programs_find(const struct conf *c, struct err *e);
void serve_children_start(void);
bool serve_are_children_ready(void);
void serve_children_reload(void);  /* conf to all */
void serve_children_tls(void);     /* certificates to those that speak TLS */
void serve_children_tickets(void); /* keys of session tickets to the same */
/* Sockets of `now` that are not in `before` are listened on, the others no more. */
void serve_children_sockets(const struct serve_sockets *now, const struct serve_sockets *before);
void serve_children_drain(void);
void serve_children_kill(void);
void serve_children_log(void); /* where the log goes now, to all */
void serve_on_sigchld(int signo, void *arg);
/* Ask each for its number of sessions; fn is called when all have answered or 500 ms are over, with the lines of a
 * status report ("daemon smtpd 0 PID ready SESSIONS RESTARTS"). */
void serve_children_status(void (*fn)(struct slice lines, void *arg), void *arg);

/* ---- serve_tls.c ---- */
/* Read and check every certificate, key and authority that the configuration names. Errors go to ps; -1: nothing was changed. */
int serve_tls_load(const struct conf *c, struct conf_problems *ps);
/* Read again what has changed since: true when the daemons are to hear of it. Tells the log what is no good, once. */
bool serve_tls_look(const struct conf *c);
void serve_tls_tell_expiry(void); /* to the log, what is due: once a day for each */
void serve_tls_bundle(const char *program, struct buf *out); /* for that program: tls/tls_store.h */
bool serve_tls_turn_tickets(void);                           /* a new key when it is time: true */
struct slice serve_tls_tickets(void);                        /* the keys, borrowed */
void serve_tls_status(struct buf *out); /* lines "cert ..." of a status report: cli/control.c */
void serve_tls_free(void);

/* ---- serve_dirs.c ---- */
int serve_make_dirs(const struct conf *c, struct err *e);
/* The pid file, locked as long as this process lives. ERR_EXISTS: another supervisor runs. */
int serve_lock(const struct conf *c, struct err *e);
void serve_unlock(const struct conf *c);
void serve_warn_users(const struct conf *c);

/* ---- serve_control.c ---- */
int serve_control_open(const struct conf *c, struct err *e);
void serve_control_close(const struct conf *c);
void serve_control_path(const struct conf *c, char *out, size_t out_octets);

#endif
