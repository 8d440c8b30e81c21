/* imapd/url.h - messages and parts of them by IMAP URL (RFC 5092): for CATENATE (RFC 4469) and URLFETCH (RFC 4467).
 *
 * A URL without URLAUTH reaches this user's own mailboxes alone. With it, it reaches the mailbox of the user it names, when
 * the token is the one that this user's GENURLAUTH gave for exactly that URL, it is not expired, and the session's
 * user is among those whom its access word admits; no mailbox of another user is opened before. Folder-private. */
#ifndef POSTERN_IMAPD_URL_H
#define POSTERN_IMAPD_URL_H

#include "imapd/cmd.h"
#include "imapd/section.h"
#include "proto/imap_url.h"

struct imap_url_part {
    struct slice octets; /* what the URL names, with CRLF line ends */
    struct section_source src;
    struct section section;
};

/* In a run(), as often as wanted: mailboxes that were opened for it are kept until the command ends.
 *   0   *out is filled; imap_url_part_close() frees it
 *   1   authd must be asked whose mail it is: return CMD_ASK from run(), and when it runs again, call again with
 *       the same URL. Never for a URL without URLAUTH
 *   -1  e says why: ERR_CLIENT (no URL, or none for this session), ERR_NOTFOUND (no such mailbox or message, or
 *       UIDVALIDITY differs): "NO [BADURL \"url\"] text"; else as any error of the store */
int imap_url_open(struct imap_cmd *c, struct slice url, struct imap_url_part *out, struct err *e);
/* Twice does no harm, nor does one that is all zero. */
void imap_url_part_close(struct imap_url_part *p);

/* Where a URL leads; good until the next one is looked for in the same command. */
struct imap_url_place {
    struct store_view *view;
    uint32_t seq;
    struct imap_fetch_item item; /* the section, a BODY[] of it */
};
/* The same without reading the message. must_auth: a URL without a token leads nowhere (URLFETCH). */
int imap_url_find(struct imap_cmd *c, struct slice url, bool must_auth, struct imap_url_place *out,
                  struct err *e);
/* Make a rump URL one that URLFETCH takes, onto out. -1: ERR_CLIENT what is wrong with it; others as above. */
int imap_url_authorise(struct imap_cmd *c, struct slice rump, struct buf *out, struct err *e);
/* Is there URLAUTH here (imap_urlauth_host)? */
bool imap_has_urlauth(const struct imap_sess *s);

/* For cmd.c: at the end of the command's last run (J), and with the command (loop). */
void imap_urls_close(struct imap_cmd *c);
void imap_urls_free(struct imap_cmd *c);

#endif
