/* store/metadata.h - annotations of mailboxes and of the account (RFC 5464), and secrets of mailboxes (RFC 4467).
 * A mailbox's are one file in its control folder ("postern-metadata", beside dovecot-uidlist), so that they outlive the index,
 * go along with RENAME and go with DELETE; those of no mailbox ("") are one in the user's root. Everything here blocks.
 * Layer: store. */
#ifndef POSTERN_STORE_METADATA_H
#define POSTERN_STORE_METADATA_H

#include "store/store.h"

enum {
    STORE_META_NAME_MAX_OCTETS = 255,
    STORE_META_FILE_MAX_OCTETS = 4 * 1024 * 1024, /* of one mailbox, all together */
    STORE_META_SECRET_OCTETS = 32                 /* hexadecimal digits */
};

struct store_meta_entry {
    struct slice name;  /* "/private/comment": lower case, as store_meta_name() leaves it */
    struct slice value; /* any octets; p NULL: none, or to be removed */
};
struct store_meta { /* sorted by name; "/private/..." and "/shared/..." alone */
    struct store_meta_entry *v;
    size_t n;
    struct buf text; /* what v points into */
};
/* mailbox empty: the account's. ERR_NOTFOUND: no such mailbox. Of a mailbox with a special use "/private/specialuse" is
 * there whether it was set, or holds by the name. Free out in either case. */
int store_meta_read(struct store_user *u, struct slice mailbox, struct store_meta *out,
                    struct err *e);
void store_meta_free(struct store_meta *m);
/* The entry of that name, or NULL. */
const struct store_meta_entry *store_meta_find(const struct store_meta *m, struct slice name);

struct store_meta_limits {
    size_t entries, value_octets;
};
/* All of the changes or none; on disk when it returns 0. ERR_NOTFOUND; ERR_LIMIT: too many entries (sys ENOSPC) or too long a
 * value (sys EMSGSIZE); ERR_CLIENT: what "/private/specialuse" shall be is no special use, or none that a mailbox can be
 * given. */
int store_meta_change(struct store_user *u, struct slice mailbox, const struct store_meta_entry *v,
                      size_t n, const struct store_meta_limits *limits, struct err *e);

/* Take a name to lower case, in place. ERR_CLIENT: none that RFC 5464 §5 allows, with why. is_tree: "/private" and "/shared"
 * alone are good, too. */
int store_meta_name(char *name, size_t n, bool is_tree, struct err *e);

/* What nobody but this mailbox has: made when absent, or anew; on disk when it returns. out: NUL-terminated. For
 * GENURLAUTH and RESETKEY; the mailbox's annotations do not show it. */
int store_meta_secret(struct store_user *u, struct slice mailbox, bool is_new,
                      char out[STORE_META_SECRET_OCTETS + 1], struct err *e);
/* The one that there is. ERR_NOTFOUND: none, or no such mailbox. Nothing is made or changed, whatever is asked for. */
int store_meta_known_secret(struct store_user *u, struct slice mailbox,
                            char out[STORE_META_SECRET_OCTETS + 1], struct err *e);
/* The same of a user whose store is not open, and need not be there: he gets no Maildir by it. */
int store_meta_strangers_secret(struct store *s, struct slice user, const struct store_userdb *db,
                                struct slice mailbox, char out[STORE_META_SECRET_OCTETS + 1],
                                struct err *e);

#endif
