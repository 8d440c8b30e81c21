/* core/daemon.h - the skeleton every daemon's main() is a table for.
 *
 * Life: the supervisor starts the program with a control channel on descriptor 3. Over it come the configuration
 * (text of main.cf in a memfd, already checked), TLS material, the listening sockets, then "go". The skeleton parses
 * the configuration, drops rights (before any thread), calls init, starts accepting, answers "ready". "reload" brings
 * a new configuration: def->reload swaps it in; sessions keep the one they began with. "drain" stops accepting
 * and ends the process when def->is_idle says so or the limit is over. When the channel closes the daemon exits.
 *
 * Control messages are lines "verb arg..." with descriptors, see core/daemon_proto.h. Layer: core (over conf/). */
#ifndef POSTERN_CORE_DAEMON_H
#define POSTERN_CORE_DAEMON_H

#include "base/err.h"
#include "base/slice.h"
#include "conf/conf.h"
#include "core/addr.h"

/* A listener handed down. `service` names it: "smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s",
 * "lmtp", "auth", "auth-master", "lookup", "anvil", "queue", "relay", "imapd-0", "pop3d", ... */
struct daemon_def {
    const char *name;       /* "smtpd": program, and log's daemon field */
    const char *log_ident;  /* "postfix/smtpd", or "dovecot" */
    const char *log_prefix; /* "imap-login: " or NULL */
    /* After rights were dropped; the configuration is daemon_conf(). -1 with e: log and exit 78. */
    int (*init)(struct err *e);
    /* A connection on a stream listener; fd is the callee's. */
    void (*accept)(struct slice service, int fd, const struct addr *peer);
    /* A new configuration is in daemon_conf(); the old one lives while sessions hold a reference. May be NULL. */
    void (*reload)(void);
    /* TLS material arrived: "certificates", a bundle as tls/tls_store.h has it, or "tickets", keys of session tickets.
     * Called before init and again when files were renewed or keys changed. May be NULL for daemons without TLS. -1 with
     * e: the old stays. */
    int (*tls)(struct slice name, struct slice text, struct err *e);
    /* For drain: true when no session is left. NULL: at once. */
    bool (*is_idle)(void);
    /* Stop was asked for: end sessions politely (421, BYE). May be NULL. */
    void (*drain)(void);
};

/* main() is `return daemon_main(argc, argv, &def);` */
int daemon_main(int argc, char **argv, const struct daemon_def *def);

const struct conf *daemon_conf(void);         /* current; conf_ref() it to keep it */
unsigned daemon_worker(void);                 /* number of this worker among its equals, from 0 */
unsigned daemon_workers(const char *program); /* how many of that program run, e.g. "imapd" */
/* Path of a socket under $queue_directory, e.g. "private/auth" (an absolute one as it is), into out; returns out. */
const char *daemon_socket_path(const struct conf *c, const char *relative, char *out,
                               size_t out_octets);
/* Log output as the configuration says. An ident "postfix/..." gets $syslog_name in front. Also for the supervisor. */
void daemon_set_log(const struct conf *c, const char *name, const char *ident, const char *prefix);
/* The user of main.cf that a program runs as when started by root; "" for none. */
const char *daemon_user_of(const struct conf *c, const char *program);
/* Is default_privs somebody that others' commands may be run as: a user, not root, none of the daemons' and not
 * of their group? -1 with e. */
int daemon_default_privs(const struct conf *c, struct err *e);
/* Does this process run as that user, or was it not started by root? False with e. */
bool daemon_has_default_privs(const struct conf *c, struct err *e);
/* Number of live sessions changed; shown in `postern status`. */
void daemon_session_count(int delta);

#endif
