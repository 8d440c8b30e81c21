/* smtpd/rbl_conf.h - are DNS lists asked in a way that they answer? For `postern check`. Layer: smtpd. Reads files. */
#ifndef POSTERN_SMTPD_RBL_CONF_H
#define POSTERN_SMTPD_RBL_CONF_H

#include "smtpd/restrict.h"

/* What maps_rbl_domains has for no zones: errors. Lists that are asked through public resolvers refuse the question, or answer as if nobody were listed: a warning with
 * the file and line of the restrictions that ask. The same is told once for all views of the file. */
void rbl_check_conf(const struct conf *c, const struct restrict_set *set, struct conf_problems *ps);

/* The first public resolver of a resolv.conf(5), as text; false: it names none. */
bool rbl_public_resolver(struct slice resolv_conf, struct slice *out);

#endif
