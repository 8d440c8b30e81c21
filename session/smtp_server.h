/* session/smtp_server.h - the engine under an SMTP or LMTP server: lines to commands, content to octets, replies,
 * limits and their punishments, STARTTLS, and waiting for answers from elsewhere. What a command means is the daemon's:
 * a table of verbs, and callbacks for content. RFC 5321, 2033, 2920 (pipelining), 3030 (chunks), 3207 (STARTTLS).
 *
 * A daemon embeds struct smtp_sess in its own session. Commands of one session run one after another: as long as one
 * waits, nothing more is read. When it is done the daemon calls smtp_sess_done() - at once or later, from the loop.
 * Layer: session. Belongs to the loop's thread. */
#ifndef POSTERN_SESSION_SMTP_SERVER_H
#define POSTERN_SESSION_SMTP_SERVER_H

#include "base/arena.h"
#include "core/addr.h"
#include "core/conn.h"
#include "core/loop.h"
#include "proto/smtp_data.h"
#include "proto/smtp_words.h"
#include "tls/tls.h"

enum {
    SMTP_VERBS_MAX = 20,
    SMTP_REPLY_OCTETS = 510,             /* of a reply line, without CRLF (RFC 5321 §4.5.3.1.5) */
    SMTP_CMD_ARENA_OCTETS = 1024 * 1024, /* what one command may use, its lines not counted */
    SMTP_BACKLOG_OCTETS =
        1024 * 1024, /* content that the daemon has not put away: above, the client waits */
    SMTP_SKIP_LINE_OCTETS = 1024 * 1024 /* of an endless line are skipped before the session ends */
};

struct smtp_sess;

/* Rows of a command table. */
enum {
    SMTP_V_JUNK = 1,    /* counts as junk unless mail comes of it */
    SMTP_V_PRE_TLS = 2, /* allowed where TLS is demanded and not there yet */
    SMTP_V_LAST = 4,    /* ends a pipelined group (RFC 2920 §3.1) */
    SMTP_V_SECRET = 8   /* arguments never reach a log */
};
struct smtp_verb {
    const char *verb;
    unsigned flags;
    /* Reply, then smtp_sess_done(), now or later; or start reading content or a line (below). w and what it points to
     * live in s->cmd until then. */
    void (*run)(struct smtp_sess *s, const struct smtp_words *w);
};

/* What a daemon is. One const struct each. */
struct smtp_server_def {
    const struct smtp_verb *verbs;
    size_t n_verbs; /* at most SMTP_VERBS_MAX */
    /* Before a known verb is run; v is NULL for a word that is none. False: it has been answered (with
     * smtp_sess_done()). line is the whole command. */
    bool (*gate)(struct smtp_sess *s, const struct smtp_verb *v, const struct smtp_words *w,
                 struct slice line);
    /* Canonical content; then either end. chunk_end: a BDAT chunk was read (LAST or not). */
    void (*body)(struct smtp_sess *s, struct slice octets);
    void (*body_end)(struct smtp_sess *s);
    void (*chunk_end)(struct smtp_sess *s);
    /* Octets of content not yet put away; at SMTP_BACKLOG_OCTETS and more the client is held up, and the daemon calls
     * smtp_sess_backlog_fell() when it is less. */
    size_t (*backlog)(struct smtp_sess *s);
    void (*secured)(
        struct smtp_sess *s); /* TLS is there; the daemon greets (wrapper) or waits (STARTTLS) */
    /* The connection is gone: free the session. where: the command under way or the last one, for the log. */
    void (*closed)(struct smtp_sess *s, enum conn_end end, const struct err *why);
    /* With limits.decorates: a reply line that begins with 4 or 5 is about to be sent. It (and what it grows to) is given
     * to smtp_reply_decorated(), at once or later; until then nothing that follows is sent or read. May be NULL. */
    void (*decorate)(struct smtp_sess *s, struct slice reply);
    /* A line that the client said, or one that it is told; may be NULL. What SASL says is not among them. */
    void (*overheard)(struct smtp_sess *s, bool is_client, struct slice line);
    /* Replies of the engine itself. */
    const char *bad_utf8, *bad_syntax; /* whole lines; bad_utf8 NULL: octets are not looked at */
    const char *timeout[2];            /* "421 4.4.2 ", host name, " Error: timeout exceeded" */
    const char *too_many_errors[2];
    const char *shutting_down[2];
};

/* Limits from the configuration; lives as long as the session. */
struct smtp_server_limits {
    const char *myhostname;
    size_t line_octets;
    unsigned soft_errors, hard_errors, junk_commands;
    uint64_t error_sleep_ms, timeout_ms, starttls_timeout_ms;
    /* timeout_ms is for a whole command line or message, not for each read; every min_data_rate octets of a message
     * earn it a second more. */
    bool is_per_request;
    uint64_t min_data_rate;
    uint64_t sasl_octets; /* of a response in AUTH; 0: SMTP_SASL_RESPONSE_OCTETS */
    bool decorates;       /* def->decorate is asked */
};

enum smtp_sess_end { /* why it is ending, when it is the server's doing */
                     SMTP_END_NONE,
                     SMTP_END_QUIT,
                     SMTP_END_TIMEOUT,
                     SMTP_END_ERRORS,
                     SMTP_END_FORBIDDEN, /* refused for good: 421, 521 and other closing replies */
                     SMTP_END_DRAIN
};

struct smtp_sess {
    const struct smtp_server_def *def;
    const struct smtp_server_limits *lim;
    struct conn *conn;
    uint64_t id;       /* id_add(): for questions that go out */
    const char *where; /* verb under way or the last one; "CONNECT", "DATA content", ... */
    struct arena cmd;  /* this command's memory */
    struct buf held;   /* a reply that is being delayed */
    struct buf behind; /* replies that wait for one that is being decorated */
    struct timer tarpit;
    uint64_t due_ms;       /* when the client's turn is over */
    struct smtp_data data; /* framer of the message being read */
    uint64_t left_octets;  /* of a chunk, or of a line to skip */
    /* The next line goes here rather than to the commands (SASL). The slice is empty and is_too_long set for a line
     * over the limit. The function ends as a verb's run does. */
    void (*on_line)(struct smtp_sess *s, struct slice line, bool is_too_long);
    void *line_arg; /* for whoever set on_line */
    uint32_t line_limit;
    bool line_is_bare;      /* the command's line ended in LF alone */
    struct slice long_line; /* the head of a command line whose rest is being skipped; in cmd */
    uint32_t errors, junk;
    uint32_t n_commands, n_good;
    struct {
        uint16_t all, good;
    } seen[SMTP_VERBS_MAX + 1]; /* by row; the last for unknown words */
    uint8_t mode;
    uint8_t verb; /* row under way, SMTP_VERBS_MAX for none */
    uint8_t end;  /* enum smtp_sess_end */
    bool in_pump, is_done, is_good, is_closing, is_draining;
    bool is_paused;     /* until the backlog fell */
    bool is_decorating; /* a reply is with def->decorate */
};

/* Take over fd. Nothing is read before the daemon's first smtp_sess_done() (the greeting). */
void smtp_sess_open(struct smtp_sess *s, const struct smtp_server_def *def,
                    const struct smtp_server_limits *lim, int fd);
/* Inside def->closed: give the engine's memory back. */
void smtp_sess_free(struct smtp_sess *s);

/* Queue a reply line ("250 2.1.0 Ok", without CRLF; control octets come out as blanks). Past the soft error limit it is
 * held back for a while. 421 and 521 end the session after it. */
void smtp_reply(struct smtp_sess *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The end of def->decorate: reply lines with CRLF between them, none at the end. */
void smtp_reply_decorated(struct smtp_sess *s, struct slice lines);
/* What the client has sent already though it is not its turn: the first octets of it into out. 0: nothing, or that
 * cannot be told. Never blocks, reads nothing away. */
size_t smtp_sess_peek(struct smtp_sess *s, char *out, size_t max);
/* The command is over. good: it counts as one that worked, else as an error. */
void smtp_sess_done(struct smtp_sess *s, bool good);
/* Inside a command, instead of its end: carry out this line as if the client had said it. */
void smtp_sess_run(struct smtp_sess *s, struct slice line);
/* The command under way is not shown among the commands of the session; it still counts as junk. */
void smtp_sess_uncount(struct smtp_sess *s);
/* Close after what was replied. */
void smtp_sess_end(struct smtp_sess *s, enum smtp_sess_end why);

/* Instead of smtp_sess_done(): read content. Data: def->body until the dot, then def->body_end, which ends the command.
 * Chunk: n octets, then def->chunk_end, which ends it; the framer goes on where the last chunk stopped. Call
 * smtp_sess_start_message() before the first. Skip: n octets are dropped, then def->chunk_end. */
void smtp_sess_start_message(struct smtp_sess *s, bool lf_ends);
void smtp_sess_read_data(struct smtp_sess *s);
void smtp_sess_read_chunk(struct smtp_sess *s, uint64_t octets);
void smtp_sess_skip_chunk(struct smtp_sess *s, uint64_t octets);
/* The last chunk's unfinished line is ended; its octets go to def->body. */
void smtp_sess_finish_chunks(struct smtp_sess *s);
/* The daemon's backlog has fallen. */
void smtp_sess_backlog_fell(struct smtp_sess *s);

/* Instead of smtp_sess_done(): the next line is on_line's. limit in octets. */
void smtp_sess_read_line(struct smtp_sess *s, uint32_t limit,
                         void (*on_line)(struct smtp_sess *s, struct slice line, bool is_too_long));

/* Put TLS under the session; what was sent in clear with or after the command is thrown away unread (RFC 3207 §4.2,
 * CVE-2011-0411). def->secured follows, which calls smtp_sess_done(). */
void smtp_sess_start_tls(struct smtp_sess *s, struct tls_ctx *t);
/* The same on a port that is TLS from the first octet: nothing is thrown away. */
void smtp_sess_start_wrapper(struct smtp_sess *s, struct tls_ctx *t);
bool smtp_sess_is_tls(const struct smtp_sess *s);

/* The server is going down: 421 and close, as soon as no command is being worked on. */
void smtp_sess_drain(struct smtp_sess *s);

/* What of command lines may be in a log: all up to the arguments of the first whose verb is SMTP_V_SECRET. */
struct slice smtp_shown(const struct smtp_server_def *def, struct slice lines);
/* Does the line begin with a verb of the table? */
bool smtp_is_command(const struct smtp_server_def *def, struct slice line);

/* A delivered message forgives errors and junk. */
void smtp_sess_forgive(struct smtp_sess *s);
/* "ehlo=1 mail=1 rcpt=1/2 ... commands=5/6" into out, as a disconnect line ends. */
void smtp_sess_stats(const struct smtp_sess *s, struct buf *out);

#endif
