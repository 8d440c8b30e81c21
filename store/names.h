/* store/names.h - where a user's mail lies, and mailbox names as Maildir++ has them on disk.
 * Layer: store. Reentrant, no I/O. */
#ifndef POSTERN_STORE_NAMES_H
#define POSTERN_STORE_NAMES_H

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "store/store.h"

enum { LOCATION_MAX_OCTETS = 1024 };

/* A folder that is being removed. */
#define NAMES_GONE_PREFIX "..postern-gone."

enum location_layout { LAYOUT_MAILDIRPP, LAYOUT_FS };
struct
    location { /* where a user's mail lies; absolute paths without a slash at the end, all set, each malloc'ed */
    char *root;
    char *control; /* CONTROL=: subscriptions, keywords, UID lists; else root */
    char *index;   /* INDEX=: our index; else root */
    enum location_layout layout;
    bool is_utf8;   /* UTF-8: folders on disk are named in UTF-8 */
    char separator; /* of mailbox names: '.', or '/' with LAYOUT=fs */
};
/* By Dovecot's mail_location (or userdb's own `mail` when not empty): "maildir:PATH[:OPTION...]" or an absolute path;
 * %u %n %d %h, with modifiers %L and %U, %%, and "~/" for the home. out: location_free(), also after a failure.
 * ERR_PERM: a user name that could lead out of its place ('/', NUL, control octets, "", ".", ".." as %n or %d);
 * ERR_CONFIG: a location that is not understood. */
int location_resolve(const struct conf *c, struct slice user, struct slice mail,
                     struct location *out, struct err *e);
void location_free(struct location *l);
/* The part of mail_location that is the same for everybody ("/var/mail/vhosts"), malloc'ed, or NULL when there is
 * none: where the reserve file and files of unfinished large deliveries are. */
char *location_common(const struct conf *c);
bool location_user_is_safe(struct slice user);

/* A mailbox name: UTF-8, levels separated by l->separator, none empty, no '/', no control characters, INBOX in any case becomes
 * "INBOX" also as the first level. out: appended. ERR_CLIENT: not allowed, with why. */
int name_normalise(const struct location *l, struct slice name, struct buf *out, struct err *e);
bool name_is_inbox(struct slice normal);
/* Folder under root of a normal name: "" for INBOX, ".Sent", ".Entw&APw-rfe", with LAYOUT=fs "Lists/Entw&APw-rfe", with
 * UTF-8 ".Entwürfe". Appended; ERR_CLIENT when too long. */
int name_to_folder(const struct location *l, struct slice normal, struct buf *out, struct err *e);
/* And back; false for what is no folder of ours (appends nothing). */
bool name_from_folder(const struct location *l, struct slice folder, struct buf *out);
/* The normal name of the level above, or an empty slice. */
struct slice name_parent(const struct location *l, struct slice normal);
/* The name of a part of a Maildir, or of a file that an IMAP server keeps beside them. */
bool name_is_reserved(struct slice level);
/* child lies below parent. */
bool name_is_below(const struct location *l, struct slice child, struct slice parent);

/* Folders every user has: row i of auto_mailboxes, false past the last. use: STORE_MB_USE_* or 0. */
bool name_auto(const struct conf *c, size_t i, struct slice *name, unsigned *use);
/* STORE_MB_USE_* of "\Sent" (with or without the backslash), or 0. */
unsigned name_use(struct slice word);

#endif
