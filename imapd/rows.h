/* imapd/rows.h - the functions that the table of commands (cmd.c) names; each is in a cmd_*.c, or idle.c.
 * Folder-private. */
#ifndef POSTERN_IMAPD_ROWS_H
#define POSTERN_IMAPD_ROWS_H

#include "imapd/cmd.h"

extern const struct imap_row imap_row_idle_sync;
enum parse_rc imap_parse_none(struct imap_cmd *c, struct slice *in, struct err *e);
enum parse_rc imap_parse_mailbox(struct imap_cmd *c, struct slice *in,
                                 struct err *e); /* args: struct slice */
enum parse_rc imap_parse_set(struct imap_cmd *c, struct slice *in,
                             struct err *e); /* args: struct imap_set */
#define IMAP_CMD(name)                                                                             \
    enum parse_rc imap_parse_##name(struct imap_cmd *c, struct slice *in, struct err *e);          \
    enum cmd_rc imap_run_##name(struct imap_cmd *c);
#define IMAP_RUN(name) enum cmd_rc imap_run_##name(struct imap_cmd *c);
IMAP_RUN(capability)
IMAP_RUN(noop)
IMAP_RUN(check)
IMAP_RUN(logout)
IMAP_CMD(id)
IMAP_CMD(enable)
IMAP_CMD(compress)
IMAP_RUN(unauthenticate)
IMAP_RUN(namespace)
IMAP_RUN(idle)
IMAP_CMD(select)
IMAP_RUN(examine)
IMAP_RUN(close)
IMAP_RUN(unselect)
IMAP_RUN(expunge)
IMAP_RUN(uid_expunge)
IMAP_CMD(create)
IMAP_RUN(delete)
IMAP_CMD(rename)
IMAP_RUN(subscribe)
IMAP_RUN(unsubscribe)
IMAP_CMD(list)
IMAP_CMD(lsub)
IMAP_RUN(xlist)
IMAP_CMD(getmetadata)
IMAP_CMD(setmetadata)
IMAP_CMD(setquota)
IMAP_CMD(status)
IMAP_CMD(append)
enum parse_rc imap_parse_replace(struct imap_cmd *c, struct slice *in, struct err *e);
IMAP_CMD(fetch)
IMAP_CMD(store)
IMAP_CMD(copy)
IMAP_RUN(move)
IMAP_CMD(search)
IMAP_CMD(sort)
IMAP_CMD(thread)
IMAP_CMD(esearch)
IMAP_CMD(cancelupdate)
IMAP_CMD(getquota)
IMAP_CMD(genurlauth)
IMAP_CMD(resetkey)
IMAP_CMD(urlfetch)
IMAP_RUN(getquotaroot)
void imap_done_select(struct imap_cmd *c);
/* Expunge of uids (NULL: all) what has \Deleted. -1: replied. */
int imap_expunge(struct imap_cmd *c, const struct store_uids *uids);
void imap_done_unauthenticate(struct imap_cmd *c);
void imap_done_compress(struct imap_cmd *c);
void imap_done_list(struct imap_cmd *c);
void imap_done_idle(struct imap_cmd *c);
void imap_done_append(struct imap_cmd *c);
void imap_done_urlfetch(struct imap_cmd *c);
void imap_done_fetch(struct imap_cmd *c);
IMAP_CMD(notify)
void imap_done_notify(struct imap_cmd *c);
enum parse_rc imap_parse_noop(struct imap_cmd *c, struct slice *in, struct err *e);
void imap_done_search(struct imap_cmd *c);
void imap_done_sort(struct imap_cmd *c);
void imap_done_thread(struct imap_cmd *c);
void imap_done_esearch(struct imap_cmd *c);

#endif
