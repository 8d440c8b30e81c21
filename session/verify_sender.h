/* session/verify_sender.h - the envelope sender of address probes: qmgr sends with it, smtpd does not turn it away, or two
 * hosts that probe each other's probes would both be refused. ADDRESS_VERIFICATION_README, address_verify_sender(5).
 * Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_VERIFY_SENDER_H
#define POSTERN_SESSION_VERIFY_SENDER_H

#include "base/buf.h"
#include "conf/conf.h"

/* Append the address at this second: "double-bounce@example.com", "" for the null sender; with address_verify_sender_ttl
 * the local part ends in a number that changes as often. */
void verify_sender_make(const struct conf *c, int64_t unix_s, struct buf *out);

/* Is it that address, now or one period before or after? The null sender is, where it is the one in use. */
bool verify_sender_is(const struct conf *c, struct slice addr, int64_t unix_s);

/* Append it without its number: what is known of one such address is known of all. */
void verify_sender_plain(const struct conf *c, struct buf *out);

#endif
