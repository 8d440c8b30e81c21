/* core/conn.h - a stream connection: buffered input with framing, output with back-pressure, one deadline,
 * and a transport (TLS) that can be put under it. Descriptors are non-blocking; TCP, unix and socketpairs alike.
 *
 * Input is pulled: on_input says that there is more (or that the peer has closed); the owner takes lines,
 * literals or bodies from the front with the functions below until they say FRAME_MORE, and is called again
 * when there is more. An owner that cannot go on (a question is out) calls conn_pause_input(): then at most
 * in_max octets are buffered and the peer is pushed back by TCP. After conn_resume_input() on_input is called
 * (from the loop, never from inside resume) if anything is buffered.
 *
 * Output is queued and written as the peer takes it. conn_out_pending() above the high mark means: stop
 * producing until on_drain. Nothing blocks and nothing fails at the call: errors come by on_close.
 *
 * An idle conn holds no buffers (bar an unfinished line). Layer: core. */
#ifndef POSTERN_CORE_CONN_H
#define POSTERN_CORE_CONN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <sys/socket.h>

struct conn;

enum conn_end {
    CONN_END_PEER,    /* the peer closed (EOF) and all input was consumed, or a reset */
    CONN_END_ERROR,   /* read, write or TLS error: err has it */
    CONN_END_TIMEOUT, /* the peer took no output for write_timeout_ms */
    CONN_END_OWN      /* conn_close() has flushed; conn_abort() */
};

/* The owner's callbacks; on_input and on_close are required. Set once; arg is passed back. */
struct conn_ops {
    void (*on_input)(struct conn *c, void *arg);
    void (*on_drain)(struct conn *c,
                     void *arg); /* output fell to the low mark after being above high */
    void (*on_deadline)(struct conn *c,
                        void *arg); /* conn_set_deadline() ran out; the owner decides */
    void (*on_connect)(struct conn *c,
                       void *arg); /* outbound: connected (and TLS done where started) */
    void (*on_secure)(struct conn *c, void *arg); /* the transport's handshake is done */
    /* Exactly once, last of all, never from inside a conn_ call of the owner: after it returns the conn
     * is freed. Also after conn_abort() and conn_close(). */
    void (*on_close)(struct conn *c, void *arg, enum conn_end end, const struct err *why);
};

enum { CONN_IN_MAX = 64 * 1024, CONN_OUT_HIGH = 256 * 1024, CONN_OUT_LOW = 64 * 1024 };

/* Take over fd (made non-blocking, closed with the conn). Reading starts at once. Never NULL. */
struct conn *conn_new(int fd, const struct conn_ops *ops, void *arg);
/* Connect; on_connect or on_close follows later. The result is never NULL. bind_to may be NULL. */
struct conn *conn_connect(const struct sockaddr *to, socklen_t len, const struct sockaddr *bind_to,
                          socklen_t bind_len, const struct conn_ops *ops, void *arg);
struct conn *conn_connect_unix(const char *path, const struct conn_ops *ops, void *arg);

void conn_set_ops(struct conn *c, const struct conn_ops *ops, void *arg); /* a new owner */
void *conn_arg(const struct conn *c);
int conn_fd(const struct conn *c);
/* Most input octets buffered before the peer is pushed back; at least the longest line or literal piece wanted. */
void conn_set_in_max(struct conn *c, size_t octets);
void conn_set_out_marks(struct conn *c, size_t high, size_t low);

/* One deadline: on_deadline in ms from now unless set anew; 0: none. Output that nobody takes is a second,
 * separate limit (on_close with CONN_END_TIMEOUT); default 5 minutes, 0: none. */
void conn_set_deadline(struct conn *c, uint64_t in_ms);
void conn_set_write_timeout(struct conn *c, uint64_t ms);

/* ---- input ---- */
struct slice
conn_input(const struct conn *c); /* all that is buffered; valid until the next conn_ call */
bool conn_has_input(const struct conn *c); /* decrypted or raw octets beyond what was consumed */
bool conn_is_eof(const struct conn *c);    /* the peer sent its last octet */
void conn_consume(struct conn *c, size_t octets);
/* Octets put back in front, e.g. unread input handed over with the descriptor. */
void conn_unread(struct conn *c, struct slice s);
void conn_pause_input(struct conn *c);
void conn_resume_input(struct conn *c);

/* TCP: acknowledge now. A peer that writes its answers one by one sends the next only then, 40 ms later by default. */
void conn_ack_now(struct conn *c);

enum frame_rc {
    FRAME_OK,
    FRAME_MORE,     /* not whole yet */
    FRAME_TOO_LONG, /* over max; the octets stay: use conn_skip_line() */
    FRAME_END       /* EOF before the whole frame */
};
enum line_ends {
    LINE_CRLF,
    LINE_LF_TOO
}; /* bare LF ends a line too; its slice tells (no CR was cut) */
/* The next line, without its end, consumed. The slice is valid until the next conn_ call that reads or consumes,
 * and at most until the current callback returns to the loop. line->p[line->n] is the CR or the bare LF that ended it.
 * max counts octets before the line end. */
enum frame_rc conn_take_line(struct conn *c, size_t max, enum line_ends ends, struct slice *line);
/* Drop input up to and with the next LF; FRAME_MORE until it was seen. */
enum frame_rc conn_skip_line(struct conn *c);
/* Up to `left` octets of a counted literal or chunk, whatever is there; consumed. FRAME_MORE when none. */
enum frame_rc conn_take_some(struct conn *c, uint64_t left, struct slice *some);

/* ---- output ---- */
void conn_write(struct conn *c, const void *p, size_t n);
void conn_writes(struct conn *c, struct slice s);
void conn_printf(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes are gathered until the end of the loop's turn, so the replies to a pipelined group leave in one segment; only
 * above 64 KiB they leave at once, which cork prevents. uncork writes now. The end of the turn uncorks. */
void conn_cork(struct conn *c);
void conn_uncork(struct conn *c);
/* Nothing more will be written: once the net has taken what was, the peer sees the end. Input goes on. Not with a transport. */
void conn_end_output(struct conn *c);
size_t conn_out_pending(const struct conn *c);
bool conn_is_out_full(const struct conn *c); /* above the high mark: wait for on_drain */

/* ---- end ---- */
void conn_close(
    struct conn
        *c); /* flush, say goodbye (TLS close_notify), close; input is no longer read. Idempotent */
void conn_abort(struct conn *c); /* now */
/* The same for an owner who goes: no callback comes any more. *c becomes NULL; it may be that already. */
void conn_abandon(struct conn **c);
/* Give the descriptor away (BUG when a transport is set). Unread input is appended to *unread. The conn is freed without
 * on_close. Returns the descriptor, blocking state unchanged; or -1, nothing changed: the conn has ended (on_close
 * follows), or the peer has not taken all output. */
int conn_detach(struct conn *c, struct buf *unread);

/* ---- transport under the conn (tls/ supplies one) ---- */
enum transport_rc { TRANSPORT_OK, TRANSPORT_WANT_MORE, TRANSPORT_CLOSED, TRANSPORT_FAILED };
struct transport {
    /* Octets from the net in raw (consume what is used); decrypted ones are appended to plain, octets to send
     * to raw_out. OK also while the handshake goes on. */
    enum transport_rc (*feed)(void *state, struct slice *raw, struct buf *plain,
                              struct buf *raw_out, struct err *e);
    enum transport_rc (*send)(void *state, struct slice plain, struct buf *raw_out, struct err *e);
    bool (*is_ready)(void *state);                         /* handshake done */
    void (*say_goodbye)(void *state, struct buf *raw_out); /* close_notify */
    size_t (*buffered)(void *state);                       /* decrypted octets inside, 0 mostly */
    /* May be NULL. What is buffered inside because plain had the conn's in_max octets: append more of it. Called when there is
     * room again; nothing is read from the net meanwhile. */
    enum transport_rc (*pull)(void *state, struct buf *plain, struct err *e);
    void (*free)(void *state);
};
/* From here on octets go through t. Input that is already buffered must be none (STARTTLS: no injected
 * plaintext; the caller checks conn_has_input() first) unless it is a raw handshake put back by conn_unread
 * before any input callback. first: what the transport wants sent before anything comes (client hello). */
void conn_set_transport(struct conn *c, const struct transport *t, void *state, struct slice first);
void *conn_transport_state(const struct conn *c); /* NULL: plain */

/* ---- compression (conn_deflate.c): a transport of raw DEFLATE both ways (RFC 4978), flushed at the end of each turn ---- */
enum { CONN_DEFLATE_REST_MS = 2000 }; /* after that long without a word its memory shrinks */
/* From here on. Input that is buffered is of the compressed stream already. level: 1..9. What is no DEFLATE ends the conn
 * with ERR_CLIENT. Not over TLS (which would be the transport). */
void conn_start_deflate(struct conn *c, int level);
bool conn_is_deflated(const struct conn *c);
/* End it both ways: last is what is said last, compressed and with the stream's end appended to *raw (for whom the descriptor
 * goes to; it is not written here). Input beyond the stream's end is in clear again. -1: there is compressed input that was
 * not consumed, or its last block has not come to its end, or output was not taken; nothing changed. */
int conn_end_deflate(struct conn *c, struct slice last, struct buf *raw);
size_t conn_deflate_octets(const struct conn *c); /* of memory that compression takes now */

#endif
