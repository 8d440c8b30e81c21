/* core/conn_int.h - the conn's inside, shared by conn.c (life and events), conn_in.c (input and framing),
 * conn_out.c (output), conn_deflate.c (compression) and conn_dial.c (connecting). Folder-private.
 *
 * All of an owner's calls only change state and mark the conn dirty; callbacks come from on_poll() (the loop found
 * the descriptor ready), from a timer, or from conn_settle(), which the loop calls for every dirty conn at the end of
 * its turn. So an owner may close, pause, detach or hand over inside any callback: after each callback the code here
 * looks at is_ended before it goes on, and the memory stays until libuv's close callback. */
#ifndef POSTERN_CORE_CONN_INT_H
#define POSTERN_CORE_CONN_INT_H

#include "core/conn.h"
#include "core/loop.h"

#include "base/list.h"

#include <uv.h>

enum {
    CONN_SCRATCH_OCTETS =
        64 * 1024,                 /* one read; also when output is written before the turn's end */
    CONN_MUCH_OCTETS = 16 * 1024,  /* a record of TLS; so much and more is not moved for nothing */
    CONN_SPARE_OCTETS = 80 * 1024, /* CONN_SCRATCH_OCTETS, encrypted */
    CONN_SPARES_MAX = 4,
    CONN_WRITE_TIMEOUT_MS = 5 * 60 * 1000,
    CONN_LINGER_MS = 2000,
    CONN_LINGER_OCTETS = 1024 * 1024, /* who goes on beyond this is cut off */
    CONN_LINGER_MAX = 256             /* conns that linger at once */
};

struct conn_dial;

struct conn {
    uv_poll_t poll;
    const struct conn_ops *ops;
    void *arg;
    const struct transport *tr;
    void *tr_state;
    struct buf in;   /* what the owner has not consumed, decrypted */
    struct buf out;  /* what the net has not taken, encrypted */
    struct buf hold; /* with a transport: what is not encrypted yet */
    struct list dirty;
    struct timer deadline, write_timer;
    struct conn_dial *dial;
    struct err *why; /* NULL: nothing to tell */
    uint64_t write_timeout_ms;
    uint32_t in_max, out_high, out_low;
    uint32_t scanned; /* front octets of `in` known to hold no line end */
    int fd;
    enum conn_end end;
    uint8_t events;     /* what libuv polls for */
    bool is_polled : 1; /* the uv handle is open */
    bool is_paused : 1;
    bool is_eof : 1;
    bool is_connecting : 1;
    bool is_outbound : 1;
    bool is_told_ready : 1; /* on_secure was called */
    bool is_told_connect : 1;
    bool is_closing : 1; /* flush, then end */
    bool is_goodbye_said : 1;
    bool is_ended : 1;
    bool is_blocked : 1; /* the net took less than all: wait for writability */
    bool is_high : 1;    /* on_drain is owed */
    bool is_corked : 1;
    bool is_last_written : 1; /* conn_end_output() was called */
    bool is_output_over : 1;  /* ... and the peer was told */
    bool wants_input_call : 1;
    bool in_input_call : 1;
    bool is_lingering : 1;
    size_t lingered_octets; /* thrown away after the end */
    bool is_detached : 1;
    bool scanned_for_lf : 1; /* what `scanned` was about: any LF, or CRLF only */
};

/* conn.c */
struct conn *conn_make(int fd, const struct conn_ops *ops, void *arg);
void conn_start_poll(struct conn *c);
void conn_mark(struct conn *c); /* settle it at the end of the turn */
void conn_finish(struct conn *c, enum conn_end end, const struct err *why);
void conn_update_poll(struct conn *c);
/* What came on the net: through the transport into `in`, with the callbacks it brings about. */
void conn_take_raw(struct conn *c, struct slice raw);
void conn_tell_connected(struct conn *c);
extern char conn_scratch[CONN_SCRATCH_OCTETS];
/* Buffers for much that passes through within a turn: from the system each time, their pages would cost more than what is done
 * with them. borrow: for a buf that has no memory; give_back: in place of buf_free(). */
void conn_buf_borrow(struct buf *b);
void conn_buf_give_back(struct buf *b);

/* conn_in.c */
void conn_deliver_input(struct conn *c);
void conn_end_at_eof(struct conn *c);
void conn_trim_input(struct conn *c);

bool conn_holds_back(const struct conn *c); /* the transport has input that found no room */

bool conn_owes_drain(const struct conn *c); /* on_drain may be called */
/* conn_out.c: write what can be written. from_loop: callbacks may be made. */
void conn_flush(struct conn *c, bool from_loop);

/* conn_dial.c */
void conn_dial_ready(struct conn *c); /* writable while connecting */
void conn_dial_free(struct conn *c);

#endif
