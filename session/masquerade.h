/* session/masquerade.h - hosts below a domain are hidden behind it: masquerade_domains, masquerade_exceptions of
 * ADDRESS_REWRITING_README. Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_MASQUERADE_H
#define POSTERN_SESSION_MASQUERADE_H

#include "base/arena.h"
#include "conf/conf.h"

/* The first of the domains that is addr's own, or lies above it, decides: of one above it, which is not "!domain", the address
 * gets that domain, in lower case. addr is internal. False: it stays as it is. */
bool masquerade(struct conf_list domains, struct slice addr, struct arena *mem, struct slice *out);

#endif
