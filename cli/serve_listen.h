/* cli/serve_listen.h - which sockets a configuration asks for, and binding them. Layer: cli. */
#ifndef POSTERN_CLI_SERVE_LISTEN_H
#define POSTERN_CLI_SERVE_LISTEN_H

#include "conf/conf.h"
#include "core/addr.h"

/* One socket. key (its address as text) tells it from others of the service. */
struct serve_socket {
    char service[32];
    const char *program; /* static */
    const char *param;   /* main.cf's, or NULL for the stack's own */
    const char *caller;  /* static: only this program's user may connect; NULL: all daemons */
    int worker;          /* the one worker that gets it; -1: all */
    int type;            /* SOCK_STREAM or SOCK_SEQPACKET */
    bool may_be_absent;  /* IPv6 of a bare port, on a host that has none */
    struct addr addr;
    char key[ADDR_TEXT_OCTETS];
    int fd; /* -1: not bound */
};
struct serve_sockets {
    struct serve_socket *v;
    size_t n, cap;
};

/* How many workers of a program the configuration asks for; once fixed (a stack was started), how many there are. */
unsigned serve_workers(const struct conf *c, const char *program);
void serve_fix_workers(const struct conf *c);
/* A warning for each number that c has otherwise than the running stack. */
void serve_tell_fixed(const struct conf *c, struct conf_problems *ps);
/* Does main.cf allow aliases to name commands or files? */
bool serve_wants_locald(const struct conf *c);
/* Every socket, none bound. Problems (bad port, unknown address, one address twice) go to ps with file and line. */
void serve_wanted_sockets(const struct conf *c, struct serve_sockets *out,
                          struct conf_problems *ps);
/* Bind those that are not. All failures are told in ps; then 0 are left bound that were not before, and -1. */
int serve_bind(const struct conf *c, struct serve_sockets *s, struct conf_problems *ps);
/* Take over the descriptors of the same sockets (service, key) that `old` has bound. */
void serve_inherit(struct serve_sockets *s, struct serve_sockets *old);
/* Close what is bound; unix sockets' files go too. */
void serve_sockets_free(struct serve_sockets *s);

/* For `postern check`: the same problems as serve_wanted_sockets(). */
void check_listeners(const struct conf *c, struct conf_problems *ps);

#endif
