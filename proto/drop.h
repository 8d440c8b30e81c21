/* proto/drop.h - a message on its way from sendmail(1) to the queue: what postdrop is given, what lies in maildrop/, what
 * pickup reads. One line DROP_MAGIC, then records "K12:octets\n" of a kind, a length and that many octets: sender first,
 * then content in pieces, recipients anywhere, DROP_END last. A file without an end is a wreck.
 * The sender of a record is nobody to be trusted: every record is checked on both sides.
 * Layer: proto (base only). Reentrant, no I/O. */
#ifndef POSTERN_PROTO_DROP_H
#define POSTERN_PROTO_DROP_H

#include "base/buf.h"
#include "base/err.h"

#define DROP_MAGIC "postern-drop 1\n"

enum {
    DROP_RECORD_OCTETS = 64 * 1024, /* of one record */
    DROP_RCPTS_MAX = 9000,          /* a message in the queue has at most 10000, copies included */
    DROP_HEAD_OCTETS = 16,          /* kind, length, colon, line end */
    DROP_ENVELOPE_OCTETS =
        2 * 1024 * 1024 /* of all that is not content: smtpd keeps it in memory */
};

enum drop_kind {
    DROP_SENDER = 'S',    /* internal form (proto/smtp_addr.h), "" for <>; always the first */
    DROP_RECIPIENT = 'R', /* internal form */
    DROP_FULL_NAME = 'F', /* for a From field, where there is none */
    DROP_NOTIFY = 'N',    /* "never", or of "success,failure,delay" some: SMTP's word */
    DROP_RET = 'T',       /* "FULL" or "HDRS" */
    DROP_ENVID = 'E',     /* decoded */
    DROP_BODY = 'B',      /* "7BIT" or "8BITMIME" */
    DROP_UTF8 = 'U',      /* addresses or header have octets beyond ASCII */
    DROP_GATEWAY =
        'G', /* not a user's first submission: addresses in the header stay as they are */
    DROP_CONTENT = 'C', /* lines that end CRLF; pieces of any size */
    DROP_END = 'X'
};

void drop_add(struct buf *out, enum drop_kind kind, struct slice octets);

/* The next record of what has come so far. PARSE_MORE: it is not whole; *in is left alone. */
enum parse_rc drop_take(struct slice *in, enum drop_kind *kind, struct slice *octets,
                        struct err *e);
/* The magic line in front. */
enum parse_rc drop_take_magic(struct slice *in, struct err *e);

/* Can this internal form stand in SMTP's MAIL or RCPT, and mean there what it does here? Not "": that is not an address. */
bool drop_is_address(struct slice internal);

/* What was seen of one message. Zeroed at its start. */
struct drop_seen {
    unsigned kinds; /* 1 << (kind - 'A') */
    size_t n_rcpts, envelope_octets;
    uint64_t content_octets;
    bool is_over;
};
/* May this record stand here, and is it one? PARSE_BAD with e in an operator's words. */
enum parse_rc drop_check(struct drop_seen *s, enum drop_kind kind, struct slice octets,
                         struct err *e);
/* SMTP's NOTIFY bits of a DROP_NOTIFY or of sendmail's -N: -1 when it is none. */
int drop_notify_bits(struct slice words);

#endif
