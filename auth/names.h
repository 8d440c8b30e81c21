/* auth/names.h - login names made canonical, in Dovecot's words: auth_default_realm, auth_username_translation,
 * auth_username_chars, auth_username_format. Layer: auth. Reentrant. */
#ifndef POSTERN_AUTH_NAMES_H
#define POSTERN_AUTH_NAMES_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"

/* The name as the database has it, made what everybody calls the user. format: base/percent.h, with u or user the whole name, n
 * or username what is before the first '@', d or domain what is after it, domain_first, domain_last. Appended to out; an empty
 * format leaves the name alone. */
void auth_format_name(const char *format, struct slice name, struct buf *out);
/* Can it be expanded? -1: ERR_CONFIG. */
int auth_format_check(const char *format, struct err *e);

/* What a client called itself, made canonical with all four parameters. Appended to out. False: that is nobody's name, and
 * *why (static text) says so for the log; out then has the name as the log may show it. */
bool auth_name_of_client(const struct conf *c, struct slice name, struct buf *out,
                         const char **why);

/* The same for somebody who may want to be somebody else: "user*master" (auth_master_user_separator), or authzid, which goes
 * before it; both names canonical. other: whom he wants to be, empty when that is himself. False: *why; what user has is for
 * the log. */
bool auth_names_of_client(const struct conf *c, struct slice said, struct slice authzid,
                          struct buf *user, struct buf *other, const char **why);

/* Appended: what all spellings of a name have in common that the users' database takes for the same (users_find()): the case of
 * ASCII, and what IDNA makes of the domain. For who is counted or told apart by name, found or not. */
void auth_name_key(struct slice name, struct buf *out);

#endif
