/* smtpd/access_int.h - look-ups in access tables, as the verbs share them. Folder-private. */
#ifndef POSTERN_SMTPD_ACCESS_INT_H
#define POSTERN_SMTPD_ACCESS_INT_H

#include "smtpd/access.h"
#include "smtpd/check.h"

/* Ask the table of this step for one key after the other; the first that is found decides by check_action(), a table
 * that cannot answer defers. None: missed(c) goes on. keys live in the command's memory. */
void access_ask(struct check *c, const struct access_keys *keys, void (*missed)(struct check *c));

/* Build the keys and ask; where there is no memory left, that is answered. */
void access_ask_domain(struct check *c, struct slice name, void (*missed)(struct check *c));
void access_ask_ip(struct check *c, struct slice ip, void (*missed)(struct check *c));

/* The verb has nothing (more) to say. */
void access_missed(struct check *c);

/* In whose name the step refuses. */
void access_name(struct check *c, const char *reply_class, struct slice name);

/* OK from tables of things that anybody can make up (a server's address) would let strangers in: it is a
 * configuration error, as in Postfix. what: for the log. Call before access_ask(). */
void access_forbid_permit(struct check *c);

#endif
