/* proto/smtp_param.h - parameters of MAIL and RCPT: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531 §3.4),
 * AUTH (RFC 4954 §5), RET, ENVID, NOTIFY, ORCPT (RFC 3461 §4). Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_SMTP_PARAM_H
#define POSTERN_PROTO_SMTP_PARAM_H

#include "base/arena.h"
#include "proto/smtp_words.h"

enum { /* what a listener offers; a parameter that is not offered is unknown (555) */
       SMTP_OFFER_UTF8 = 1,
       SMTP_OFFER_DSN = 2,
       SMTP_OFFER_AUTH = 4
};
enum { SMTP_BODY_NOT_GIVEN, SMTP_BODY_7BIT, SMTP_BODY_8BITMIME };
enum { SMTP_RET_NOT_GIVEN, SMTP_RET_FULL, SMTP_RET_HDRS };
enum {
    SMTP_NOTIFY_NEVER = 1,
    SMTP_NOTIFY_SUCCESS = 2,
    SMTP_NOTIFY_FAILURE = 4,
    SMTP_NOTIFY_DELAY = 8
};

struct smtp_mail_params {
    uint64_t size_octets; /* 0: not given */
    unsigned body, ret;
    bool is_utf8;
    struct slice envid; /* decoded */
    struct slice auth;  /* as given; "" for <> and when not given */
};
struct smtp_rcpt_params {
    unsigned notify;    /* SMTP_NOTIFY_* bits, 0: not given */
    struct slice orcpt; /* "type;address", the address decoded; empty: not given */
};

/* Words from `from` on. NULL, or the whole reply line to refuse with; what is decoded is put into the arena, the rest
 * is borrowed from the words. The reply is in the arena too. */
const char *smtp_mail_params(const struct smtp_words *w, size_t from, unsigned offers,
                             struct arena *a, struct smtp_mail_params *out);
const char *smtp_rcpt_params(const struct smtp_words *w, size_t from, unsigned offers,
                             struct arena *a, struct smtp_rcpt_params *out);

/* RFC 6533 §3 unitext: "\x{E4}" stands for a character. -1: bad; out is left as it was. */
struct buf;
int smtp_unitext_decode(struct buf *out, struct slice in);

#endif
