/* smtpd/received.h - the trace line that we put in front of a message: RFC 5321 §4.4, RFC 3848. Layer: smtpd. */
#ifndef POSTERN_SMTPD_RECEIVED_H
#define POSTERN_SMTPD_RECEIVED_H

#include "smtpd/smtpd.h"

enum { RECEIVED_DATE_OCTETS = 64 };

/* "Sun, 22 Nov 2026 15:20:46 +0000 (UTC)". */
void received_date(int64_t unix_s, char out[RECEIVED_DATE_OCTETS]);

/* Append the field of s->tx, with its last CRLF. The queue id and the recipients are known. */
void received_line(struct smtpd_sess *s, struct buf *out);

#endif
