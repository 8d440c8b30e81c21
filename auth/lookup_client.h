/* auth/lookup_client.h - table look-ups by authd on private/lookup, in Postfix's socketmap protocol
 * (socketmap_table(5)): "name key". A name is a parameter whose value is a list of maps ("virtual_mailbox_maps": each
 * map in order, first hit wins) or one map as main.cf writes it ("hash:/etc/aliases"). Only what main.cf names is
 * served. Asynchronous, on the loop, pipelined over one connection. Layer: auth. */
#ifndef POSTERN_AUTH_LOOKUP_CLIENT_H
#define POSTERN_AUTH_LOOKUP_CLIENT_H

#include "base/slice.h"

#include <stdint.h>

/* What goes before the name on the wire when the key is a part of an address (lookup_ask_part()). */
#define LOOKUP_PART_PREFIX "part:"

/* Longest question, name and key: what is longer is not asked. No table has a key of over TABLE_KEY_OCTETS: "not found". */
enum { LOOKUP_QUERY_OCTETS = 10000 };

struct lookup_client;
struct lookup_client *lookup_client_new(const char *socket_path);
void lookup_client_free(struct lookup_client **l);

enum lookup_rc {
    LOOKUP_FOUND,
    LOOKUP_NOTFOUND,
    LOOKUP_TEMP /* any failure: a 4xx, never "no such user" */
};
/* cb comes from the loop exactly once, never from inside the call; value is valid during it. */
void lookup_ask(struct lookup_client *l, const char *name, struct slice key,
                void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id);
/* The same for a key that is a part of what is looked for ("@domain", "user", a parent domain, "192.0.2"): tables of
 * patterns (regexp, cidr) are passed over, as they match whole addresses (regexp_table(5), cidr_table(5)). */
void lookup_ask_part(struct lookup_client *l, const char *name, struct slice key,
                     void (*cb)(uint64_t id, enum lookup_rc rc, struct slice value), uint64_t id);

#endif
