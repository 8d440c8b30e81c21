/* proto/imap_url.h - IMAP URLs: RFC 5092, with the octet ranges of RFC 5550 §3.4, the access words of RFC 5593, and
 * URLAUTH (RFC 4467). Absolute: "imap://user;AUTH=x@host:143/mailbox;UIDVALIDITY=7/;UID=2/;SECTION=1.2/;PARTIAL=0.100"
 * and then ";EXPIRE=time;URLAUTH=access:mechanism:token". Relative, to a mailbox that is the base: "/mailbox/;UID=2" and
 * ";UID=2/;SECTION=1".
 * Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_IMAP_URL_H
#define POSTERN_PROTO_IMAP_URL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"
#include "proto/imap.h"

enum {
    IMAP_URL_MAX_OCTETS = 4096,
    IMAP_URL_PORT = 143 /* where none is named */
};

/* p NULL: the URL does not say. Percent signs are decoded, in the arena; %00 is refused anywhere. */
struct imap_url {
    bool is_absolute;              /* else user, host and port are of whoever reads it */
    struct slice user, auth, host; /* host in lower case; an IPv6 address with its brackets */
    uint16_t port;
    struct slice mailbox; /* UTF-8; where absent, the base's, as are uidvalidity and uid then */
    uint32_t uidvalidity; /* 0: not said */
    uint32_t uid;         /* 0: not of a message */
    struct slice section; /* text of a section: imap_take_section() */
    bool is_partial;
    uint64_t first, count; /* count 0: to the end */
    struct slice query;    /* "?..." : a list of messages (RFC 5092 §5), not decoded */
    /* URLAUTH; access p NULL: none */
    bool has_expire;
    int64_t expire_unix_s;
    struct slice access, access_user; /* "user" and "joe"; "anonymous"; the word as written */
    struct slice rump;                /* of the URL as written, up to before ":mechanism" */
    struct slice mechanism, token;    /* token in hex, as written; both absent in a rump URL */
};

/* The whole of url. base (may be NULL): mailbox, uidvalidity and uid that relative forms begin from. e: what is wrong. */
enum parse_rc imap_url_parse(struct slice url, const struct imap_url *base, struct arena *mem,
                             struct imap_url *out, struct err *e);

/* Append with all octets percent-coded that may not stand in a mailbox or user name of a URL. */
void imap_url_add_encoded(struct buf *out, struct slice s);

#endif
