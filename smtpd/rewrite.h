/* smtpd/rewrite.h - addresses as they go into the queue: canonical maps, masquerading, and the copies that always_bcc and its kin ask
 * for. ADDRESS_REWRITING_README, canonical(5). What clients, logs of smtpd, restrictions and policy servers see are
 * the addresses as they were given. Layer: smtpd. */
#ifndef POSTERN_SMTPD_REWRITE_H
#define POSTERN_SMTPD_REWRITE_H

#include "session/addr_header.h"
#include "smtpd/smtpd.h"

/* Of a listener's configuration, which lives longer. ERR_CONFIG with the parameter's name. */
struct rewrite_plans;
int rewrite_plans_new(const struct conf *c, struct rewrite_plans **out, struct err *e);
void rewrite_plans_free(struct rewrite_plans **p);

/* Before content: how far the client's headers are ours (rewrite_clients.h), and tx->from, the envelope's sender as it goes into
 * the queue. done once, now or later; !good: a table could not be asked who the client is. A sender that could not be
 * mapped is told at the end of the message, by rewrite_recipients(). */
void rewrite_begin(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, bool good));

/* What becomes of an address as a recipient, for who only wants to know. done comes once, now or later, unless the session ends
 * before; addr is in the command's memory. */
void rewrite_recipient(struct smtpd_sess *s, struct slice addr,
                       void (*done)(struct smtpd_sess *s, bool good, struct slice addr));

/* Are there maps for the addresses of this message's header? Then they are mapped, and completed as tx->rewrite says, with a
 * stage of session/header.h. */
bool rewrite_has_headers(const struct smtpd_sess *s);
void rewrite_header(struct smtpd_sess *s, struct header *h, struct header_run *r);
/* How addresses of this message's header are completed. False: not at all. */
bool rewrite_header_rules(const struct smtpd_sess *s, struct smtp_addr_rules *out);

/* A recipient more, of whose fate nobody is told; none where there is such a one already. is_mapped: nothing maps it any more.
 * False: memory is full. */
bool rewrite_add_copy(struct smtpd_tx *tx, struct slice addr, bool is_mapped);

/* After content: fills every recipient's `mapped` and adds those who get copies. done once, now or later: refusal NULL,
 * or the reply to the client. */
void rewrite_recipients(struct smtpd_sess *s,
                        void (*done)(struct smtpd_sess *s, const char *refusal));

#endif
