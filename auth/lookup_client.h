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

/* What goes before the name when many lines are asked about at once (lookup_ask_lines()): "lines:NAME " and the lines as
 * netstrings. The answer is "OK SEEN " and then for each of the first SEEN lines that matched its number, a blank and its
 * value as a netstring. */
#define LOOKUP_LINES_PREFIX "lines:"

/* The name under which the files are asked for that aliases include; the key is the way there (auth/table_include.h). */
#define LOOKUP_INCLUDE ":include:"
/* Longest answer of that sort; of tables, Postfix's limit holds (100,000 octets). */
enum { LOOKUP_LONG_OCTETS = 512 * 1024 };

/* Longest question, name and key: what is longer is not asked. No table has a key of over TABLE_KEY_OCTETS: "not found". */
enum {
    LOOKUP_QUERY_OCTETS = 10000,
    /* The same with lines, and the answer to it: what header_size_limit may be at most, and something more. */
    LOOKUP_LINES_OCTETS = 65 * 1024 * 1024,
    LOOKUP_LENGTH_DIGITS = 8
};

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

/* Which of many lines patterns match, and what the table says of each: a message's content in few questions rather than
 * one for each line. Postfix has no such request. Lines are copied; all of them together should be some 64 KiB, unless
 * one is longer; over LOOKUP_LINES_OCTETS it is LOOKUP_TEMP. An empty line is never found. Any length, any octets, and
 * only as they are: no other spelling is tried. Patterns may be slow: such questions do not wait for the users'
 * database, nor that for them, but they and others on one connection are answered in order: use one for these. */
struct lookup_hit {
    size_t i; /* line, from 0 */
    struct slice value;
};
/* LOOKUP_FOUND, LOOKUP_NOTFOUND: n_seen lines were looked at, at least one; of the rest somebody must ask again.
 * hits are in order; NOTFOUND: n is 0, and all were seen. */
typedef void lookup_lines_fn(uint64_t id, enum lookup_rc rc, size_t n_seen,
                             const struct lookup_hit *hits, size_t n);
void lookup_ask_lines(struct lookup_client *l, const char *name, const struct slice *lines,
                      size_t n, lookup_lines_fn *cb, uint64_t id);

#endif
