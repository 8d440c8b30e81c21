/* smtpd/policy_arg.h - the argument of check_policy_service: "unix:private/policy", "inet:host:port", "inet:[::1]:port",
 * or a group "{ inet:host:port, timeout = 10s, { default_action = 450 4.7.1 Later } }". Apart from the client, so that
 * `postern check` can read it. Layer: smtpd. */
#ifndef POSTERN_SMTPD_POLICY_ARG_H
#define POSTERN_SMTPD_POLICY_ARG_H

#include "base/arena.h"
#include "conf/conf.h"
#include "session/policy_client.h"

struct policy_arg {
    struct policy_server server; /* its strings are in the arena */
    struct slice default_action, context;
};
/* What the argument does not say comes from smtpd_policy_service_*. ERR_CONFIG says what is wrong with it. c NULL: it is only
 * looked at, unix paths stay as they are. */
int policy_arg_parse(const char *arg, const struct conf *c, struct arena *mem,
                     struct policy_arg *out, struct err *e);
/* The same for who only wants to know whether it is good. */
int policy_arg_check(const char *arg, struct err *e);

#endif
