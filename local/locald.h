/* local/locald.h - locald: commands and files that aliases(5) names, carried out as default_privs and never as root. It is
 * started when qmgr first asks for it, and ends when it has had nothing to do for a while.
 *
 *   session.c  the LMTP that qmgr speaks to us
 *   text.c     the message as a command or file gets it
 *   command.c  environment, running, what an exit status means
 *   file.c     appending to a file; maildir.c: a file in a Maildir
 *
 * One delivery at a time on a connection, one recipient in each:
 *   XFORWARD TARGET=command:LINE ORIG=u@d NAME=... ADDR=... PROTO=... HELO=... LOGIN=... IDENT=...
 *   MAIL FROM:<sender>
 *   RCPT TO:<alias@d>
 *   BDAT n LAST
 * TARGET is "command:" and the command line or "file:" and the path; values are xtext; ORIG is the address that RCPT gave to
 * smtpd, the rest is about the client, as XFORWARD has it. The reply to BDAT has two lines, the first for qmgr's log, as
 * relayd's (relay/relay_int.h):
 *   250-2.0.0 relay=local conn=0 xfer=MICROSECONDS host=0
 *   250 2.0.0 delivered to command: LINE
 * Layer: local. */
#ifndef POSTERN_LOCAL_LOCALD_H
#define POSTERN_LOCAL_LOCALD_H

#include "base/arena.h"
#include "base/buf.h"
#include "conf/conf.h"

enum {
    LOCAL_TEXT_OCTETS = 1000,                     /* of an outcome's words */
    LOCAL_OUTPUT_OCTETS = 4096,                   /* of a command's output that are looked at */
    LOCAL_CONTENT_OCTETS_MAX = 256 * 1024 * 1024, /* of a message, which is in memory */
    LOCAL_ATTR_OCTETS_MAX = 5000,                 /* of one attribute of XFORWARD */
    LOCAL_ARENA_OCTETS = 128 * 1024,
    LOCAL_JOBS_MAX = 16, /* at once; qmgr has no more connections */
    LOCAL_IDLE_MS = 60 * 1000,
    LOCAL_LEAVE_MS = 100
};

enum local_kind { LOCAL_COMMAND, LOCAL_MBOX, LOCAL_MAILDIR };

struct outcome {
    unsigned code; /* 250, 450, 550 */
    char dsn[12];
    char text[LOCAL_TEXT_OCTETS + 1];
};

/* One delivery. Strings live in mem. */
struct delivery {
    struct arena mem;
    struct conf *conf;
    enum local_kind kind;
    struct slice target; /* the command line, or the path */
    struct slice sender, recipient, orig;
    struct slice client_name, client_ip, helo, protocol, login;
    int content; /* memfd: the text as it is to be written, complete */
    uint64_t size;
    struct outcome out;
    void (*done)(struct delivery *d); /* on the loop */
    uint64_t session;
    uint64_t begun_ms;
};

/* ---- session.c ---- */
void session_accept(int fd);
size_t session_count(void);
size_t session_jobs(void); /* deliveries under way, those of lost connections as well */
void session_drain_all(void);
void session_reload(void);
/* Not NULL: why nothing is delivered, told to whoever asks. */
void session_set_trouble(const char *why);
bool session_has_trouble(void);

/* ---- text.c ---- */
/* Lines from CRLF to LF, and for a mailbox file "From " at a line's beginning to ">From ". Running: any pieces. */
struct text {
    bool quotes_from;
    bool has_cr;      /* the last octet was CR and is not yet out */
    bool in_line;     /* not at a line's beginning */
    unsigned matched; /* octets of "From " at the beginning of this line, not yet out */
};
void text_add(struct text *t, struct slice in, struct buf *out);
void
text_end(struct text *t,
         struct buf *out); /* the last line has its end, too; for a mailbox an empty one follows */
/* What goes in front: "From sender date" but for Maildirs, Return-Path, X-Original-To, Delivered-To. now: unix seconds. */
void text_head(const struct delivery *d, int64_t now, struct buf *out);

/* ---- command.c ---- */
/* Run it; d->done later, from the loop. */
void command_run(struct delivery *d);
/* "NAME=value" strings of what a command is told, NULL-terminated, in d->mem. NULL: memory is full. */
const char *const *command_environment(struct delivery *d);
/* Can it be run without a shell? */
bool command_is_plain(struct slice line);
/* What wait status and output (its beginning) mean. Texts as Postfix has them. */
void command_outcome(struct slice line, int status, bool is_timeout, struct slice output,
                     struct outcome *o);
/* The folder it runs in. -1 with e: command_execution_directory is no good. */
int command_folder(struct delivery *d, struct buf *out, struct err *e);

/* ---- file.c, maildir.c: on a pool's thread; they fill d->out ---- */
void file_deliver(struct delivery *d);
void maildir_deliver(struct delivery *d);
/* fd is at its end, or at where the text is to be; 0, or -1 with e. Also for maildir.c. */
int file_copy(const struct delivery *d, int fd, struct err *e);
/* Names in this folder are on disk; fd: a file that lies there. Whoever may make names in it but not read them, as in a drop
 * box, has the whole file system synced instead. */
int file_sync_names(const char *dir, int fd, struct err *e);
/* A failure: deferred, or for good where trying again does not help. */
void file_failed(struct delivery *d, const char *doing, const struct err *e);

void outcome_set(struct outcome *o, unsigned code, const char *dsn, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
