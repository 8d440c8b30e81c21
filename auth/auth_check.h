/* auth/auth_check.h - what is wrong with the tables and users that a configuration names; for `postern check` and
 * before serving. Layer: auth. Blocking. */
#ifndef POSTERN_AUTH_AUTH_CHECK_H
#define POSTERN_AUTH_AUTH_CHECK_H

#include "conf/conf.h"

/* Adds to ps: tables of unknown type or that do not open; mysql: tables that would refuse all mail because nobody has
 * imported the users (an error, with both ways out); postmaster and root without a mailbox (a warning).
 * Returns the number of errors added. */
int auth_check(const struct conf *c, struct conf_problems *ps);

#endif
