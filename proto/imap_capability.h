/* proto/imap_capability.h - lists of capability names and what changes them: the settings of main.cf, of a user, of a client.
 * Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_IMAP_CAPABILITY_H
#define POSTERN_PROTO_IMAP_CAPABILITY_H

#include "base/buf.h"
#include "base/slice.h"

/* Dovecot's imap_capability: names, with spaces between, in place of the list; "+NAME" adds one and "-NAME" takes one away. In
 * one setting names without a sign come first, or there are none and the list as it is gets changed. Case does not count. */
void imap_capability_apply(struct buf *list, struct slice setting);
/* Whether all names of a setting are some (RFC 3501 §9: atoms, here without ']', for the list stands in a response code too); else
 * *bad is one that is not, which imap_capability_apply() passes over. */
bool imap_capability_ok(struct slice setting, struct slice *bad);
bool imap_capability_has(struct slice list, const char *name);

/* ---- by client: RULE; RULE; ... with RULE = field=pattern ... +NAME -NAME ... ---- */
struct imap_id;
/* The changes of all rules that fit a client's ID (RFC 2971), in their order, onto *setting. A pattern has '*' and '?', "in
 * quotes" where it has spaces; all patterns of a rule must fit; case does not count. */
void imap_capability_by_id(struct slice rules, const struct imap_id *id, struct buf *setting);
/* Where a rule is none: false, with *bad the first word that is wrong. */
bool imap_capability_rules_ok(struct slice rules, struct slice *bad);

#endif
