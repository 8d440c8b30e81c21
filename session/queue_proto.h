/* session/queue_proto.h - what is said on private/queue: whole messages (core/chan.h), each an octet for the kind, then
 * numbers (little-endian) and strings (32-bit length, octets).
 *
 * Client to qmgr:
 *   'G' u32 want                              grant me ids
 *   'P' u64 req, put                          commit this message (struct queue_wire_put below)
 *   'V' u64 req, str addr, str orig           can this address be delivered to?
 *   'F' str domain                            try deferred mail for it now (ETRN); no answer
 *   'A' u64 req, str verb, str arg, u64 after, u32 limit      a tool's question, see below
 * qmgr to client:
 *   'g' u64 first, u32 count, u32 db_bits     counters first..first+count-1 are yours (session/queue_id.h)
 *   'p' (u64 req, u32 kind, u32 sys, str msg)...   one or more puts: kind 0: on disk; else an err
 *   'v' u64 req, u8 known, u8 status, str text   known 0: cannot tell; status: enum verify_status
 *   'a' u64 req, u8 more, u64 after, str text a page; `more`: ask again with that `after`. verb unknown: text "?..."
 * A put that is longer than one message travels in a sealed memfd passed with a 'P' that has only req: the memfd's
 * content is what would have followed.
 *
 * The envelope is one string in a put; the same octets are the message's `env` in queue.db, so that each row alone can be
 * salvaged. Layer: session. Reentrant. */
#ifndef POSTERN_SESSION_QUEUE_PROTO_H
#define POSTERN_SESSION_QUEUE_PROTO_H

#include "base/arena.h"
#include "base/buf.h"
#include "session/queue_client.h"

enum {
    QUEUE_WIRE_VERSION = 1,
    QUEUE_RCPTS_MAX = 10000, /* of one message */
    QUEUE_ENV_OCTETS_MAX = 8 * 1024 * 1024,
    QUEUE_GRANT_COUNT = 1024,     /* ids a grant */
    QUEUE_PAGE_OCTETS = 24 * 1024 /* text of one 'a' */
};

/* ---- packing ---- */
void wire_add_u8(struct buf *b, unsigned v);
void wire_add_u32(struct buf *b, uint32_t v);
void wire_add_u64(struct buf *b, uint64_t v);
void wire_add_str(struct buf *b, struct slice s);
/* Takers: on success *in steps past; on failure it is left alone. Strings are borrowed from *in. */
bool wire_take_u8(struct slice *in, unsigned *v);
bool wire_take_u32(struct slice *in, uint32_t *v);
bool wire_take_u64(struct slice *in, uint64_t *v);
bool wire_take_str(struct slice *in, struct slice *s);

/* ---- envelope ---- */
void queue_env_pack(struct buf *b, const struct queue_env *env, int64_t arrived_us);
/* rcpts come from the arena, strings are borrowed from `in`. -1 with e (ERR_CLIENT): not an envelope. */
int queue_env_unpack(struct slice in, struct arena *a, struct queue_env *env, int64_t *arrived_us,
                     struct err *e);

/* ---- put: the content inline, or in a file of the incoming directory ---- */
struct queue_wire_put {
    struct slice env;  /* packed */
    struct slice body; /* when file is empty */
    struct slice file; /* name in incoming/, synced; "" for inline */
    uint64_t size;     /* octets of content */
    uint32_t crc;      /* CRC-32 of content */
};
void queue_put_pack(struct buf *b, const struct queue_wire_put *p);
int queue_put_unpack(struct slice in, struct queue_wire_put *p, struct err *e);

#endif
