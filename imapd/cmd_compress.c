/* imapd/cmd_compress.c - COMPRESS (RFC 4978). With TLS it is still imapd that compresses: login encrypts what it is given. */
#include "imapd/rows.h"

struct compress_args {
    bool is_deflate;
    bool must_start; /* once the reply is written */
};

enum parse_rc
imap_parse_compress(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct compress_args *a = ARENA_NEW(&c->mem, struct compress_args);
    struct slice word;

    c->args = a;
    if (imap_take_sp(in, e) != PARSE_OK || imap_take_atom(in, &word, e) != PARSE_OK)
        return PARSE_BAD;
    a->is_deflate = sl_ieqz(word, "DEFLATE");
    return PARSE_OK;
}

enum cmd_rc
imap_run_compress(struct imap_cmd *c)
{
    struct compress_args *a = c->args;

    if (!a->is_deflate || c->s->conf->imap_compress_deflate_level == 0) {
        imap_reply(c, "NO Unknown compression mechanism.");
    } else if (conn_is_deflated(c->s->conn)) {
        imap_reply(c, "NO [COMPRESSIONACTIVE] COMPRESS=DEFLATE already enabled.");
    } else {
        a->must_start = true;
        imap_reply(c, "OK Begin compression.");
    }
    return CMD_DONE;
}

/* What the client sent behind its command is compressed already (§3). */
void
imap_done_compress(struct imap_cmd *c)
{
    const struct compress_args *a = c->args;

    if (a && a->must_start && c->s->conn)
        conn_start_deflate(c->s->conn, (int)c->s->conf->imap_compress_deflate_level);
}
