/* proto/imap_id.h - ID (RFC 2971): what a client says of itself, what a server says. Layer: proto (base only). Reentrant. */
#ifndef POSTERN_PROTO_IMAP_ID_H
#define POSTERN_PROTO_IMAP_ID_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

enum { IMAP_ID_PAIRS_MAX = 30, IMAP_ID_KEY_MAX = 30, IMAP_ID_VALUE_MAX = 1024 }; /* RFC 2971 §3.3 */
struct imap_id {
    struct {
        struct slice key, value; /* value.p NULL: NIL */
    } v[IMAP_ID_PAIRS_MAX];
    size_t n;
};
/* "NIL" or "(" string SP nstring ... ")"; slices into the input, or mem. */
enum parse_rc imap_take_id(struct slice *in, struct arena *mem, struct imap_id *out, struct err *e);

/* Append what the server says: setting is Dovecot's imap_id_send, "name * version * field value ...", "*" for what is known
 * (name, version, os, os-version). Empty: NIL. */
void imap_id_add_answer(struct buf *out, struct slice setting);

/* Append "name=x, version=y" of the fields that setting (Dovecot's imap_id_log: names, "*" for all) wants; nothing when there
 * are none. For the log: control octets are '?', values are cut where they are long. */
void imap_id_add_log(struct buf *out, const struct imap_id *id, struct slice setting);

#endif
