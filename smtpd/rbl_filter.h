/* smtpd/rbl_filter.h - the argument of reject_rbl_client and its kin: a zone, and which of its answers count. And which
 * answers are none. Layer: smtpd; reentrant. */
#ifndef POSTERN_SMTPD_RBL_FILTER_H
#define POSTERN_SMTPD_RBL_FILTER_H

#include "base/err.h"
#include "base/slice.h"

enum { RBL_ZONE_OCTETS = 200 }; /* of a zone: an IPv6 client's nibbles must fit before it */

/* Which IPv4 addresses; all where has_fields is false. */
struct rbl_filter {
    bool has_fields;
    uint8_t bits[4][32]; /* by octet of the address: which values */
};

/* "bl.example.org" or "bl.example.org=127.0.0.[2;4..11]": Postfix's patterns, each of four fields a number or, in
 * brackets, numbers and ranges. zone is a part of arg. -1 with e (ERR_CONFIG). */
int rbl_filter_parse(struct slice arg, struct slice *zone, struct rbl_filter *out, struct err *e);

/* ip: in network order. */
bool rbl_filter_match(const struct rbl_filter *f, const uint8_t ip[4]);

/* What an answer says about the list itself when it is no listing: "query refused: ...", or NULL. Lists tell of
 * themselves with 127.255.255.x, as Spamhaus does; what is not in 127.0.0.0/8 was not said by a list (RFC 5782 §2.1). */
const char *rbl_answer_error(const uint8_t ip[4]);

#endif
