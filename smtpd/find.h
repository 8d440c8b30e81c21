/* smtpd/find.h - questions about addresses and domains that tables answer: which class is it, is it listed, what does an
 * alias say. Every question is answered once, at once or later from the loop; when the session is gone by then, the
 * answer is dropped. Layer: smtpd. */
#ifndef POSTERN_SMTPD_FIND_H
#define POSTERN_SMTPD_FIND_H

#include "smtpd/smtpd.h"

enum found { FOUND_NO, FOUND_YES, FOUND_TEMP };

/* value and ext live during the call. ext: the extension ("+detail", with its delimiter) that the address had and the
 * entry found had not; empty otherwise. */
typedef void find_fn(struct smtpd_sess *s, void *arg, enum found f, struct slice value,
                     struct slice ext);

void find_domain(struct smtpd_sess *s, const struct domlist *l, struct slice domain, find_fn *cb,
                 void *arg);

/* In the tables of a parameter ("virtual_alias_maps"): user+ext@domain, user@domain; where the domain is myorigin or
 * local user+ext, user; then @domain. addr is internal and resolved. */
void find_addr(struct smtpd_sess *s, const char *param, struct slice addr, bool is_local,
               find_fn *cb, void *arg);

/* One key in one table or parameter. */
void find_key(struct smtpd_sess *s, const char *table, struct slice key, find_fn *cb, void *arg);
/* The same for a key that is a part of what is looked for (a parent domain, "user@"): pattern tables are passed over. */
void find_part(struct smtpd_sess *s, const char *table, struct slice key, find_fn *cb, void *arg);

/* A local part, in lower case: with its extension, and where is_bare_too without it (aliases(5)). */
void find_name(struct smtpd_sess *s, const char *param, struct slice local, bool is_bare_too,
               find_fn *cb, void *arg);

/* Fill a->to. FOUND_NO: the address is no good; memory from mem. */
void find_route(struct smtpd_sess *s, struct addr_info *a, struct arena *mem, find_fn *cb,
                void *arg);
/* Fill a->cls too. The route must be known. */
void find_class(struct smtpd_sess *s, struct addr_info *a, find_fn *cb, void *arg);

/* "+detail" of a local part, by the characters of recipient_delimiter; empty when there is none. */
struct slice find_extension(const struct smtpd_cfg *c, struct slice local);

#endif
