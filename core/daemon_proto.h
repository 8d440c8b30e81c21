/* core/daemon_proto.h - the control channel between `postern serve` and its daemons: SEQPACKET messages, each a
 * line "verb arg..." without a line end, on descriptor DAEMON_CONTROL_FD of the daemon.
 *
 * supervisor to daemon                  descriptors
 *   worker N                            -         number of this worker among its equals, from 0
 *   workers PROGRAM N                   -         how many of each program there are
 *   log                                 1         where the log goes from now on (it was opened, or opened anew)
 *   conf FILE                           1 memfd   text of main.cf; FILE is its name for messages
 *   tls NAME                            1 memfd   "certificates" or "tickets": tls/tls_store.h
 *   listen SERVICE KEY                  1         listening socket; KEY (its address) tells it from others
 *   unlisten SERVICE KEY                -
 *   go                                  -         start-up is complete: drop rights, serve
 *   reload                              -         the conf sent before is in force from now on
 *   drain MS                            -         take no more, end when idle or after MS
 *   status                              -
 *
 * daemon to supervisor
 *   ready                               -         accepting
 *   failed TEXT                         -         cannot start; exits with 78
 *   status sessions=N                   -
 *
 * Layer: core. */
#ifndef POSTERN_CORE_DAEMON_PROTO_H
#define POSTERN_CORE_DAEMON_PROTO_H

enum {
    DAEMON_CONTROL_FD = 3,
    DAEMON_EXIT_CONFIG = 78,
    DAEMON_CONF_MAX_OCTETS = 4 * 1024 * 1024,
    DAEMON_TLS_MAX_OCTETS = 64 * 1024 * 1024
};

#endif
