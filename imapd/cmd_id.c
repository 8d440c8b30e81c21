/* imapd/cmd_id.c - ID (RFC 2971). */
#include "imapd/rows.h"

#include "base/log.h"

#include <unistd.h>

enum parse_rc
imap_parse_id(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct imap_id *id = ARENA_NEW(&c->mem, struct imap_id);

    c->args = id;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_id(in, &c->mem, id, e);
}

static void
log_id(const struct imap_sess *s, const struct imap_id *id)
{
    struct buf text = { 0 };

    imap_id_add_log(&text, id, sl_z(s->conf->imap_id_log));
    if (text.n > 0)
        log_info("imap.id",
                 LOG_F(LF_Z("user", s->user), LF_Z("sid", s->name), LF_S("id", buf_slice(&text))),
                 "imap(%s)<%d><%s>: ID sent: %s", s->user, (int)getpid(), s->name, buf_z(&text));
    buf_free(&text);
}

enum cmd_rc
imap_run_id(struct imap_cmd *c)
{
    const struct imap_id *id = c->args;

    if (id->n > 0) { /* NIL says nothing, and takes back nothing */
        log_id(c->s, id);
        imap_note_id(c->s, id);
    }
    buf_addz(&c->out, "* ID ");
    imap_id_add_answer(&c->out, sl_z(c->s->conf->imap_id_send));
    buf_addz(&c->out, "\r\n");
    imap_reply(c, "OK ID completed.");
    return CMD_DONE;
}
