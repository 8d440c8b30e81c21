/* relay/generic.h - smtp_generic_maps and lmtp_generic_maps: our addresses as the other side is to see them, in the envelope and the
 * header (generic(5)). authd is asked on private/content. Only what goes over the wire is mapped: results, logs and
 * bounces are about the addresses that qmgr has. Layer: relay, private. */
#ifndef POSTERN_RELAY_GENERIC_H
#define POSTERN_RELAY_GENERIC_H

#include "relay/relay_int.h"
#include "session/header.h"

bool generic_is_wanted(const struct session *s);
/* Map s->tx.sender and the recipients. done once, at once or later from the loop, with the session, which is there until
 * then, even when qmgr is gone. !good: a table could not be asked. */
void generic_envelope(struct session *s, void (*done)(struct session *s, bool good));
/* A stage of session/header.h. */
void generic_header(struct session *s, struct header *h, struct header_run *r);
void generic_free(struct session *s); /* with the transaction */

#endif
