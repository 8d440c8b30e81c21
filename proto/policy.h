/* proto/policy.h - Postfix's policy delegation protocol (SMTPD_POLICY_README), both sides: a request is lines "name=value", ended by
 * an empty line; the reply is the same with "action=...", where other names are skipped and the first action counts.
 * Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_POLICY_H
#define POSTERN_PROTO_POLICY_H

#include "base/buf.h"
#include "base/err.h"

enum {
    POLICY_REPLY_OCTETS = 16 * 1024,  /* of a whole reply, with its empty line */
    POLICY_REQUEST_OCTETS = 32 * 1024 /* of a whole request, with its empty line */
};

/* Add a line to a request. What would end the line inside the value becomes '?'. */
void policy_add(struct buf *request, const char *name, struct slice value);
void policy_add_number(struct buf *request, const char *name, uint64_t value);
void policy_end(struct buf *request);

/* One whole reply from the front of *in, stepped past on PARSE_OK. A line ends LF or CRLF.
 *   action  slice into *in; may be empty
 *   e       set on PARSE_BAD: no action in the reply, or it is longer than POLICY_REPLY_OCTETS
 * PARSE_MORE: *in is the beginning of a reply. */
enum parse_rc policy_take_reply(struct slice *in, struct slice *action, struct err *e);

/* The server's side: one whole request from the front of *in, stepped past on PARSE_OK.
 *   request  its lines, a slice into *in; policy_attr() reads it
 *   e        set on PARSE_BAD: longer than POLICY_REQUEST_OCTETS, a line without '=', or no line */
enum parse_rc policy_take_request(struct slice *in, struct slice *request, struct err *e);
/* The value of an attribute (the first, if it is there twice); empty when it is not there. */
struct slice policy_attr(struct slice request, const char *name);

#endif
