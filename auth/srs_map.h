/* auth/srs_map.h - sender rewriting as look-ups on private/lookup, beside the tables: whose mail is rewritten and to which
 * domain, with the secret that only authd reads. Also for a real Postfix, by socketmap.
 *
 *   srs_forward  "sender", or "@domain sender" where mail for that domain of ours is being forwarded
 *                -> the address that the sender becomes; not found: it stays
 *                (sender_canonical_maps = socketmap:unix:.../private/lookup:srs_forward)
 *   srs_reverse  "address" -> what an address of srs_forward stands for, however old not over srs_lifetime
 *                (recipient_canonical_maps = socketmap:unix:.../private/lookup:srs_reverse)
 *   srs_verdict  "address" -> "valid ADDRESS", or "expired": for smtpd, which tells them apart
 *
 * The secret is in srs_secret_file, or in $data_directory/srs.secret, which is made on the first need. Read anew for each
 * question. Layer: auth; on the backend's thread. */
#ifndef POSTERN_AUTH_SRS_MAP_H
#define POSTERN_AUTH_SRS_MAP_H

#include "auth/table.h"

enum { SRS_SECRET_FILE_OCTETS = 64 * 1024 };

/* Is it one of these names? */
bool srs_map_has(struct slice name);
/* As table_set_lookup(). Answers change with the day: they are not to be kept. */
enum table_rc srs_map_lookup(struct table_set *s, struct slice name, struct slice key,
                             struct buf *value, struct err *e);

/* Where the secret is; and, for checks, whether a secret can be had from the text of such a file. */
void srs_map_path(const struct conf *c, struct buf *out);
bool srs_map_is_secret(struct slice text);

#endif
