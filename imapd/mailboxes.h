/* imapd/mailboxes.h - what the commands on mailboxes as a whole share: LIST, LSUB, XLIST, STATUS, METADATA. Folder-private. */
#ifndef POSTERN_IMAPD_MAILBOXES_H
#define POSTERN_IMAPD_MAILBOXES_H

#include "imapd/rows.h"

#include "store/metadata.h"

/* ---- cmd_status.c ---- */
/* "(MESSAGES UNSEEN)" into a set of bits. In IMAP4rev2 there is no RECENT. */
enum parse_rc imap_take_status_items(struct imap_cmd *c, struct slice *in, unsigned *items,
                                     struct err *e);
/* "* STATUS wire-name (...)"; name: the same, decoded; known (may be NULL): what the store has just said of it. A question for
 * HIGHESTMODSEQ enables CONDSTORE. -1: nothing was told. */
int imap_tell_status(struct imap_cmd *c, struct slice wire_name, struct slice name, unsigned items,
                     const struct store_status *known, struct err *e);

/* ---- cmd_list.c ---- */
/* Reference and pattern put together; the reference is a plain prefix, as with one namespace in Dovecot. NULL, which matches
 * nothing: the arena is full. */
struct list_pattern *imap_list_pattern(struct imap_cmd *c, struct slice reference,
                                       struct slice pattern);
/* One attribute of a line, with a space before each but the first. */
void imap_add_list_attr(struct imap_cmd *c, bool *is_first, const char *name);
/* \Noselect or \NonExistent, \HasChildren and the like, \Marked: those whose bits are in which. */
void imap_add_list_attrs(struct imap_cmd *c, bool *is_first, unsigned attrs, unsigned which);
/* `) "." name` */
void imap_add_list_name(struct imap_cmd *c, struct slice wire_name);
struct imap_lsub_args { /* LSUB's and XLIST's */
    struct slice reference, pattern;
};
enum {
    LIST_USES = STORE_MB_USE_ALL | STORE_MB_USE_ARCHIVE | STORE_MB_USE_DRAFTS |
                STORE_MB_USE_FLAGGED | STORE_MB_USE_JUNK | STORE_MB_USE_SENT | STORE_MB_USE_TRASH
};
/* `* LIST () "." new ("OLDNAME" (old))`, for IMAP4rev2 (RFC 9051 §6.3.9.7); both on the wire. */
void imap_tell_oldname(struct imap_cmd *c, struct slice wire_new, struct slice wire_old);

/* ---- cmd_getmetadata.c ---- */
/* entry / "(" entry *(SP entry) ")", RFC 5464 §5; names in lower case, in the arena, asked as the client wrote them. */
struct imap_meta_ask {
    struct slice name, asked;
};
struct imap_meta_asks {
    struct imap_meta_ask *v;
    size_t n;
};
enum parse_rc imap_take_meta_entries(struct imap_cmd *c, struct slice *in, bool is_tree,
                                     struct imap_meta_asks *out, struct err *e);
/* One "/private/x", lower case and as written. */
enum parse_rc imap_take_meta_name(struct imap_cmd *c, struct slice *in, bool is_tree,
                                  struct imap_meta_ask *out, struct err *e);
/* "* METADATA wire-name (...)" with NIL for what is not there. -1: nothing was told. */
int imap_tell_metadata(struct imap_cmd *c, struct slice wire_name, struct slice name,
                       const struct imap_meta_asks *asks, struct err *e);
/* Of the mailbox, or the account's when name is empty, with those that the configuration gives it. */
int imap_read_metadata(struct imap_cmd *c, struct slice name, struct store_meta *out,
                       struct err *e);

#endif
