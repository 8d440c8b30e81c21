/* cli/sendmail.h - sendmail(1), as Postfix's: the options, the message on standard input, SMTP on standard input.
 * Layer: cli. */
#ifndef POSTERN_CLI_SENDMAIL_H
#define POSTERN_CLI_SENDMAIL_H

#include "cli/drop_helper.h"
#include "cli/cli.h"

#include "base/arena.h"

#include <stdio.h>

enum { EXIT_NO_PERMISSION = 77, SENDMAIL_TOKENS_MAX = 1024 * 1024 };

enum sendmail_mode {
    SENDMAIL_ENQUEUE, /* -bm */
    SENDMAIL_VERIFY,  /* -bv */
    SENDMAIL_SMTP,    /* -bs */
    SENDMAIL_MAILQ,   /* -bp */
    SENDMAIL_ALIASES, /* -bi, -I, -oA */
    SENDMAIL_DAEMON,  /* -bd, -bl */
    SENDMAIL_FLUSH,   /* -q, -qI, -qR */
    SENDMAIL_IGNORE   /* -bh, -bH */
};

/* What the command line says. Strings are argv's; NULL: not given. */
struct sendmail_opts {
    enum sendmail_mode mode;
    const char *sender, *full_name, *conf, *envid, *aliases, *body, *ret;
    const char *flush_id, *flush_site;
    const char *verp; /* delimiters, "" for the default ones */
    unsigned notify;  /* bits of RFC 3461, 0: not given */
    bool extracts, dot_is_text, is_gateway;
    unsigned verbose;
    const char **rcpts; /* arguments */
    size_t n_rcpts;
};
/* argv without argv[0]'s meaning; rcpts must have room for argc. 0, or the exit code with e; with 0 e->msg may be a
 * warning. */
int sendmail_parse(int argc, char **argv, struct sendmail_opts *o, struct err *e);

/* ---- what is to be dropped ---- */
struct sendmail_list { /* of addresses, in internal form; in mem */
    struct arena mem;
    struct slice *v;
    size_t n, cap;
    bool is_full;
};
/* Append all addresses of a text: a field's value, an argument. */
void sendmail_add_addresses(struct sendmail_list *l, struct slice text);
void sendmail_add_address(struct sendmail_list *l, struct slice internal);
void sendmail_list_free(struct sendmail_list *l);

/* The message on its way from a stream of bytes with LF or CRLF to content records. */
struct sendmail_reader {
    /* set by the caller */
    bool extracts, dot_is_text;
    const char *fix_line_endings; /* main.cf's */
    uint64_t size_limit;          /* 0: none */
    void (*put)(void *arg, struct slice lines);
    void *arg;
    /* found out */
    struct sendmail_list to, resent_to;
    bool is_resent, is_8bit, is_over, is_too_big;
    uint64_t octets;
    /* its own */
    struct buf line, field, out;
    bool in_body, is_begun, is_mid, strips_cr;
};
/* Input of any piece; true: no more is wanted (a lone dot, or too big). */
bool sendmail_read(struct sendmail_reader *r, struct slice in);
void sendmail_read_end(struct sendmail_reader *r);
void sendmail_reader_free(struct sendmail_reader *r);

/* "owner+user=example.org@example.com", of owner@example.com for user@example.org. */
void sendmail_verp(struct slice sender, struct slice rcpt, const char *delimiters, struct buf *out);

/* The full name in a passwd entry: up to the first comma, "&" being the login with a capital. */
void sendmail_gecos(const char *gecos, const char *login, struct buf *out);

/* sendmail_smtp.c: -bs. Exit code. */
int sendmail_smtp(const struct conf *c, int in, int out);

#endif
