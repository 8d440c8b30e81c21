/* proto/lookup_keys.h - the keys under which a table is asked for a mail address or a domain, in Postfix's order
 * (virtual(5), transport(5), generic(5)). Layer: proto. Reentrant; keys are borrowed or in the caller's arena. */
#ifndef POSTERN_PROTO_LOOKUP_KEYS_H
#define POSTERN_PROTO_LOOKUP_KEYS_H

#include "base/arena.h"

enum {
    LOOKUP_MAIL_KEYS_MAX = 9,
    LOOKUP_TRANSPORT_KEYS_MAX = 140 /* a domain has at most 127 labels */
};

struct lookup_key {
    struct slice key;
    bool is_part; /* a part of the whole: no business of pattern tables */
    bool is_bare; /* the address without its extension */
};
struct lookup_keys {
    struct lookup_key *v; /* the caller's, room for max */
    size_t max, n;
    bool is_full; /* memory ran out: some are missing */
};

/* "+detail" of a local part, from the first octet of `delimiters` on (not at the front); empty when there is none. Names
 * that every system has (postmaster, mailer-daemon, and double_bounce) have no extension, nor have, where '-' is a
 * delimiter, owner-x and x-request (owner_request_special). */
struct slice lookup_extension(struct slice local, const char *delimiters,
                              const char *double_bounce);

/* user+ext@domain, user@domain; with_local (the domain is one of ours that has names without a domain): user+ext, user;
 * then @domain. A key whose local part is written with quotes ("a b"@d) comes so first, then without.
 * ext: what lookup_extension() found. */
void lookup_keys_mail(struct lookup_keys *k, struct slice addr, struct slice ext, bool with_local,
                      struct arena *mem);
/* transport(5): user+ext@domain, user@domain, domain, .parents of it from the longest on, "*". */
void lookup_keys_transport(struct lookup_keys *k, struct slice addr, struct slice ext,
                           struct arena *mem);

/* The next address of a table's value: commas and white space between, quotes kept whole. False at the end. */
bool lookup_take_listed(struct slice *value, struct slice *out);

#endif
