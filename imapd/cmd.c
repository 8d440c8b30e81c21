/* imapd/cmd.c - the table of commands, and the life of one: parse, run on the pool, reply.
 * States: RFC 3501 §3 and §6; what a command's reply may say about sequence numbers: §7.4.1. */
#include "imapd/rows.h"
#include "imapd/url.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>

/* clang-format off */
enum { ANY = IMAP_ST_AUTH | IMAP_ST_SELECTED, SEL = IMAP_ST_SELECTED };
static const struct imap_row rows[] = {
    { "CAPABILITY",  "CAPABILITY",                   ANY, IF_LOOP,                         imap_parse_none,    imap_run_capability,  NULL },
    { "NOOP",        "NOOP",                         ANY, IF_SYNC,                         imap_parse_noop,    imap_run_noop,        imap_done_notify_tell },
    { "LOGOUT",      "LOGOUT",                       ANY, IF_LOOP,                         imap_parse_none,    imap_run_logout,      NULL },
    { "ID",          "ID NIL|(key value ...)",       ANY, IF_LOOP,                         imap_parse_id,      imap_run_id,          NULL },
    { "ENABLE",      "ENABLE capability ...",        ANY, IF_LOOP,                         imap_parse_enable,  imap_run_enable,      NULL },
    { "COMPRESS",    "COMPRESS DEFLATE",             ANY, IF_LOOP,                         imap_parse_compress, imap_run_compress,   imap_done_compress },
    { "UNAUTHENTICATE", "UNAUTHENTICATE",            ANY, 0,                               imap_parse_none,    imap_run_unauthenticate, imap_done_unauthenticate },
    { "NOTIFY",      "NOTIFY NONE|SET [STATUS] (mailboxes (event ...)) ...", ANY, IF_SYNC,  imap_parse_notify,  imap_run_notify,      imap_done_notify },
    { "NAMESPACE",   "NAMESPACE",                    ANY, IF_LOOP,                         imap_parse_none,    imap_run_namespace,   NULL },
    { "IDLE",        "IDLE",                         ANY, IF_LOOP,                         imap_parse_none,    imap_run_idle,        imap_done_idle },
    { "SELECT",      "SELECT mailbox [(CONDSTORE QRESYNC (...))]", ANY, IF_UNSELECTS,     imap_parse_select,  imap_run_select,      imap_done_select },
    { "EXAMINE",     "EXAMINE mailbox [(CONDSTORE QRESYNC (...))]", ANY, IF_UNSELECTS,    imap_parse_select,  imap_run_examine,     imap_done_select },
    { "CREATE",      "CREATE mailbox [(USE (use ...))]", ANY, 0,                               imap_parse_create,  imap_run_create,      NULL },
    { "DELETE",      "DELETE mailbox",               ANY, IF_UNSELECTS,                    imap_parse_mailbox, imap_run_delete,      NULL },
    { "RENAME",      "RENAME from to",               ANY, 0,                               imap_parse_rename,  imap_run_rename,      NULL },
    { "SUBSCRIBE",   "SUBSCRIBE mailbox",            ANY, 0,                               imap_parse_mailbox, imap_run_subscribe,   NULL },
    { "UNSUBSCRIBE", "UNSUBSCRIBE mailbox",          ANY, 0,                               imap_parse_mailbox, imap_run_unsubscribe, NULL },
    { "LIST",        "LIST [(option ...)] reference pattern|(pattern ...) [RETURN (option ...)]", ANY, 0, imap_parse_list, imap_run_list, imap_done_list },
    { "LSUB",        "LSUB reference pattern",       ANY, 0,                               imap_parse_lsub,    imap_run_lsub,        NULL },
    { "XLIST",       "XLIST reference pattern",      ANY, 0,                               imap_parse_lsub,    imap_run_xlist,       NULL },
    { "STATUS",      "STATUS mailbox (item ...)",    ANY, 0,                               imap_parse_status,  imap_run_status,      NULL },
    { "GETQUOTA",    "GETQUOTA root",                ANY, 0,                               imap_parse_getquota, imap_run_getquota,   NULL },
    { "GETMETADATA", "GETMETADATA [(option ...)] mailbox entry|(entry ...)", ANY, 0,       imap_parse_getmetadata, imap_run_getmetadata, NULL },
    { "SETMETADATA", "SETMETADATA mailbox (entry value ...)", ANY, IF_ANNOTATES | IF_LITERAL8, imap_parse_setmetadata, imap_run_setmetadata, NULL },
    { "SETQUOTA",    "SETQUOTA root (resource limit ...)", ANY, IF_LOOP,                   imap_parse_setquota, imap_run_setquota,   NULL },
    { "GETQUOTAROOT", "GETQUOTAROOT mailbox",        ANY, 0,                               imap_parse_mailbox, imap_run_getquotaroot, NULL },
    { "APPEND",      "APPEND mailbox {[(flag ...)] [date] literal|CATENATE (part ...)} ...", ANY, IF_SYNC | IF_STREAM | IF_SAVES, imap_parse_append, imap_run_append, imap_done_append },
    { "REPLACE",     "REPLACE number mailbox [(flag ...)] [date] literal|CATENATE (part ...)", SEL, IF_SYNC | IF_UID | IF_SEQ | IF_STREAM | IF_STREAM_2ND | IF_SAVES | IF_REMOVES, imap_parse_replace, imap_run_append, imap_done_append },
    { "CHECK",       "CHECK",                        SEL, IF_SYNC,                         imap_parse_none,    imap_run_check,       NULL },
    { "CLOSE",       "CLOSE",                        SEL, IF_UNSELECTS,                    imap_parse_none,    imap_run_close,       NULL },
    { "UNSELECT",    "UNSELECT",                     SEL, IF_UNSELECTS,                    imap_parse_none,    imap_run_unselect,    NULL },
    { "EXPUNGE",     "EXPUNGE",                      SEL, IF_SYNC | IF_REMOVES,            imap_parse_none,    imap_run_expunge,     NULL },
    { "EXPUNGE",     "UID EXPUNGE set",              SEL, IF_SYNC | IF_UID | IF_ONLY_UID | IF_REMOVES,  imap_parse_set,     imap_run_uid_expunge, NULL },
    { "FETCH",       "FETCH set items",              SEL, IF_SYNC | IF_UID | IF_KEEPS_SEQ | IF_SEQ, imap_parse_fetch,   imap_run_fetch,       imap_done_fetch },
    { "GENURLAUTH",  "GENURLAUTH url INTERNAL ...",  ANY, 0,                               imap_parse_genurlauth, imap_run_genurlauth, NULL },
    { "RESETKEY",    "RESETKEY [mailbox [INTERNAL]]", ANY, 0,                              imap_parse_resetkey, imap_run_resetkey,   NULL },
    { "URLFETCH",    "URLFETCH url|(url [BODY|BINARY] [BODYPARTSTRUCTURE]) ...", ANY, 0,   imap_parse_urlfetch, imap_run_urlfetch,   imap_done_urlfetch },
    { "STORE",       "STORE set [+-]FLAGS[.SILENT] flags", SEL, IF_SYNC | IF_UID | IF_KEEPS_SEQ | IF_SEQ, imap_parse_store, imap_run_store,   NULL },
    { "SEARCH",      "SEARCH [RETURN (option ...)] [CHARSET name] key ...", SEL, IF_SYNC | IF_UID | IF_KEEPS_SEQ | IF_SEQ, imap_parse_search, imap_run_search,      imap_done_search },
    { "SORT",        "SORT [RETURN (option ...)] (key ...) charset key ...", SEL, IF_SYNC | IF_UID | IF_KEEPS_SEQ | IF_SEQ, imap_parse_sort, imap_run_sort,      imap_done_sort },
    { "THREAD",      "THREAD algorithm charset key ...", SEL, IF_SYNC | IF_UID | IF_KEEPS_SEQ | IF_SEQ, imap_parse_thread, imap_run_thread,  imap_done_thread },
    { "ESEARCH",     "ESEARCH [IN (mailboxes)] [RETURN (option ...)] [CHARSET name] key ...", ANY, IF_SYNC | IF_KEEPS_SEQ, imap_parse_esearch, imap_run_esearch, imap_done_esearch },
    { "CANCELUPDATE", "CANCELUPDATE \"tag\" ...",  SEL, IF_SYNC,                         imap_parse_cancelupdate, imap_run_cancelupdate, NULL },
    { "COPY",        "COPY set mailbox",             SEL, IF_SYNC | IF_UID | IF_SAVES | IF_SEQ,     imap_parse_copy,    imap_run_copy,        NULL },
    { "MOVE",        "MOVE set mailbox",             SEL, IF_SYNC | IF_UID | IF_SAVES | IF_SEQ | IF_REMOVES,     imap_parse_copy,    imap_run_move,        NULL },
};
/* clang-format on */

const struct imap_row *
imap_row_find(struct slice name, bool is_uid)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        unsigned f = rows[i].flags;

        if (sl_ieqz(name, rows[i].name) && (is_uid ? f & IF_UID : !(f & IF_ONLY_UID)))
            return &rows[i];
    }
    return NULL;
}

/* ---- replies ---- */

void
imap_untagged(struct imap_cmd *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    buf_addz(&c->out, "* ");
    buf_vaddf(&c->out, fmt, ap);
    buf_addz(&c->out, "\r\n");
    va_end(ap);
}

__attribute__((format(printf, 2, 0))) static void
set_tagged(struct imap_cmd *c, const char *fmt, va_list ap)
{
    struct buf b = { 0 };

    buf_vaddf(&b, fmt, ap);
    buf_reset(&c->tagged);
    imap_add_text(&c->tagged, buf_slice(&b));
    if (sl_ends(buf_slice(&c->tagged),
                '}')) /* a mailbox called "x{3}" must not look like a literal */
        buf_addc(&c->tagged, '.');
    buf_free(&b);
}

void
imap_reply(struct imap_cmd *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_tagged(c, fmt, ap);
    va_end(ap);
    c->is_bad = false;
}

void
imap_bad(struct imap_cmd *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    set_tagged(c, fmt, ap);
    va_end(ap);
    c->is_bad = true;
}

bool
imap_is_cancelled(const struct imap_cmd *c)
{
    return atomic_load_explicit(&c->is_cancelled, memory_order_relaxed);
}

/* ---- life ---- */

struct imap_cmd *
imap_cmd_new(struct imap_sess *s, const struct imap_row *row)
{
    struct imap_cmd *c = MEM_NEW(struct imap_cmd);

    BUG_ON(s->cmd);
    c->s = s;
    c->row = row;
    c->mem.cap = IMAPD_ARENA_OCTETS;
    s->cmd = c;
    return c;
}

static void
cmd_free(struct imap_cmd *c)
{
    c->s->cmd = NULL;
    imap_urls_free(c);
    store_uids_free(&c->told);
    imap_sync_free(c);
    buf_free(&c->text);
    buf_free(&c->out);
    buf_free(&c->tagged);
    buf_free(&c->stream.piece);
    arena_free(&c->mem);
    free(c);
}

/* After run() is done: what changed meanwhile, then the tagged line. False: hand over what there is and call again. */
static bool
finish_output(struct imap_cmd *c)
{
    const struct imap_row *r = c->row;

    if ((r->flags & IF_SYNC) && c->s->view && !c->is_bad && !imap_is_cancelled(c) &&
        !imap_sync(c, !(r->flags & IF_KEEPS_SEQ) || c->is_uid))
        return false;
    if (c->tagged.n == 0)
        return true;
    imap_limit_tell(c);
    if (c->tag.n > 0)
        buf_adds(&c->out, c->tag);
    else
        buf_addc(&c->out, '*');
    buf_addc(&c->out, ' ');
    buf_adds(&c->out, buf_slice(&c->tagged));
    buf_addz(&c->out, "\r\n");
    return true;
}

static void
flush_output(struct imap_cmd *c)
{
    imap_sess_write(c->s, buf_slice(&c->out));
    buf_free(&c->out);
}

/* On the loop, when the command is over. */
static void
cmd_over(struct imap_cmd *c)
{
    struct imap_sess *s = c->s;

    flush_output(c);
    if (c->row->done)
        c->row->done(c);
    if (s->reader.mode == READER_STREAM)
        imap_reader_stream_over(s, &c->stream);
    if (c->row->parse != NULL) /* not those of our own */
        s->bad_count = c->is_bad ? s->bad_count + 1 : 0;
    if (c->must_end) {
        s->is_closing = true;
        s->why = s->why ? s->why : c->why;
    }
    cmd_free(c);
    if (s->idle && s->view && s->is_watched && !s->is_changed)
        store_view_sleep(s->view); /* the next command wakes it; no sync is due before */
    imap_sess_continue(s);
}

static enum work_rc
run_turn(struct imap_cmd *c)
{
    /* What does not look into the mailbox, as the end of a session, needs no rows; a sync wakes the view itself. */
    if (c->s->view && c->row->states == SEL)
        store_view_wake(c->s->view, NULL); /* a failure is told by the sync at the end */
    c->rc = c->is_run ? CMD_DONE : c->row->run(c);
    switch (c->rc) {
    case CMD_FLUSH:
    case CMD_INPUT:
    case CMD_ASK:
        return WORK_PARK;
    case CMD_YIELD:
        return WORK_YIELD;
    case CMD_DONE:
        break;
    }
    c->is_run = true;
    imap_urls_close(c);
    if (finish_output(c))
        return WORK_DONE;
    c->rc = CMD_FLUSH;
    return WORK_PARK;
}

static enum work_rc
job_run(struct work_job *j)
{
    struct imap_cmd *c = CONTAINER_OF(j, struct imap_cmd, job);
    enum work_rc rc;

    store_act_as(c->s->id); /* NOTIFY does not tell a client what it did itself */
    rc = run_turn(c);
    store_act_as(0); /* the thread's next job is another's */
    return rc;
}

static void
job_done(struct work_job *j)
{
    cmd_over(CONTAINER_OF(j, struct imap_cmd, job));
}

static void
job_parked(struct work_job *j)
{
    struct imap_cmd *c = CONTAINER_OF(j, struct imap_cmd, job);
    struct imap_sess *s = c->s;

    c->is_parked = true;
    c->is_input_wanted = c->rc == CMD_INPUT;
    flush_output(c);
    if (!imap_is_cancelled(c) && c->is_input_wanted)
        conn_resume_input(s->conn); /* the reader fills c->stream and resumes */
    else if (!imap_is_cancelled(c) && c->rc == CMD_ASK)
        c->ask(c);
    else if (imap_is_cancelled(c) || !conn_is_out_full(s->conn))
        imap_cmd_resume(c);
    /* else on_drain resumes */
}

void
imap_cmd_resume(struct imap_cmd *c)
{
    BUG_ON(!c->is_parked);
    c->is_parked = false;
    c->is_input_wanted = false;
    work_resume(&c->job);
}

void
imap_cmd_start(struct imap_cmd *c)
{
    if (c->row->flags & IF_LOOP) {
        if (c->row->run(c) == CMD_DONE)
            finish_output(c);
        cmd_over(c);
        return;
    }
    if (c->s->conn)
        conn_pause_input(c->s->conn);
    if (c->row->flags & IF_UNSELECTS)
        imap_sess_stop_watch(c->s);
    c->job.run = job_run;
    c->job.done = job_done;
    c->job.parked = job_parked;
    c->job.key = c->s->work_key;
    work_submit(imapd.pool, &c->job); /* the pool has no bound: there is one job a session */
}

/* ---- from text to a command ---- */

/* command = tag SP ["UID" SP] name; the row is NULL when there is none. */
static enum parse_rc
take_head(struct slice *in, struct slice *tag, struct slice *name, bool *is_uid, struct err *e)
{
    *is_uid = false;
    *name = *tag = sl_n(NULL, 0);
    if (imap_take_tag(in, tag, e) != PARSE_OK || imap_take_sp(in, e) != PARSE_OK ||
        imap_take_atom(in, name, e) != PARSE_OK)
        return PARSE_BAD;
    if (!sl_ieqz(*name, "UID"))
        return PARSE_OK;
    *is_uid = true;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_atom(in, name, e);
}

const struct imap_row *
imap_cmd_head(const struct imap_sess *s, struct slice *in, struct slice *tag, bool *is_uid,
              struct buf *why)
{
    const struct imap_row *row;
    struct slice name;
    struct err e;

    if (take_head(in, tag, &name, is_uid, &e) != PARSE_OK) {
        buf_addz(why, "BAD Error in IMAP command received by server.");
        return NULL;
    }
    row = imap_row_find(name, *is_uid);
    if (!row)
        buf_addf(why, "BAD Error in IMAP command %s%.*s: Unknown command.", *is_uid ? "UID " : "",
                 SL_ARG(sl_head(name, 80)));
    else if (!(row->states & (s->view ? IMAP_ST_SELECTED : IMAP_ST_AUTH)))
        buf_addz(why, "BAD No mailbox selected.");
    else if ((row->flags & IF_SEQ) && !*is_uid && (s->enabled & IMAP_ON_UIDONLY))
        buf_addz(why, "BAD [UIDREQUIRED] Message numbers are not allowed with UIDONLY.");
    return why->n > 0 ? NULL : row;
}

/* What follows the first arguments is the first line of the stream; the last, unless the caller knows of a literal. */
static void
stream_begin(struct imap_cmd *c, struct slice rest)
{
    struct imap_stream *st = &c->stream;

    st->is_new = st->is_line = st->is_end = true;
    st->at = c->text.n - rest.n;
    buf_adds(&st->piece, rest);
}

/* The command with its row and arguments, or NULL: answered. */
static struct imap_cmd *
cmd_make(struct imap_sess *s, struct buf *text)
{
    struct slice in = buf_slice(text), tag;
    const struct imap_row *row;
    struct imap_cmd *c;
    struct err e = { 0 };
    struct buf b = { 0 };
    bool is_uid;

    row = imap_cmd_head(s, &in, &tag, &is_uid, &b);
    if (!row) {
        imap_sess_writef(s, "%.*s %s\r\n", SL_ARG(tag.n ? tag : SL("*")), buf_z(&b));
        buf_free(&b);
        buf_free(text);
        s->bad_count++;
        return NULL;
    }
    c = imap_cmd_new(s, row);
    c->text = *text;
    c->tag = tag;
    c->is_uid = is_uid;
    *text = (struct buf){ 0 };
    if (row->parse(c, &in, &e) == PARSE_OK &&
        ((row->flags & IF_STREAM) || imap_take_end(&in, &e) == PARSE_OK)) {
        if (row->flags & IF_STREAM)
            stream_begin(c, in);
        return c;
    }
    buf_addf(&b, "BAD Error in IMAP command %s%s: %s at position %zu (syntax: %s).",
             is_uid ? "UID " : "", row->name, e.msg, (size_t)(in.p - c->text.p - c->text.off) + 1,
             row->usage);
    imap_bad(c, "%s", buf_z(&b));
    buf_free(&b);
    finish_output(c);
    return c;
}

void
imap_cmd_dispatch(struct imap_sess *s, struct buf *text)
{
    struct imap_cmd *c = cmd_make(s, text);

    if (!c) {
        imap_sess_continue(s);
        return;
    }
    if (c->is_bad) {
        cmd_over(c);
        return;
    }
    if (c->row->flags & IF_STREAM)
        s->reader.mode = READER_STREAM;
    imap_cmd_start(c);
}

void
imap_cmd_dispatch_stream(struct imap_sess *s, struct buf *text, uint64_t octets, bool is_sync,
                         bool is_binary)
{
    struct imap_cmd *c = cmd_make(s, text);

    BUG_ON(!c); /* the reader has seen the row, and APPEND is for every state */
    if (c->is_bad) {
        imap_reader_refuse(s, buf_slice(&c->out), octets, is_sync);
        buf_free(&c->out);
        cmd_free(c);
        return;
    }
    c->stream.is_end = false;
    c->stream.octets = c->stream.left = octets;
    c->stream.is_sync = is_sync;
    c->stream.is_binary = is_binary;
    s->reader.mode = READER_STREAM;
    imap_cmd_start(c);
}

/* ---- arguments that many have ---- */

enum parse_rc
imap_parse_none(struct imap_cmd *c, struct slice *in, struct err *e)
{
    (void)c;
    (void)in;
    (void)e;
    return PARSE_OK;
}

enum parse_rc
imap_parse_mailbox(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct slice *name = ARENA_NEW(&c->mem, struct slice);

    c->args = name;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_astring(in, &c->mem, name, e);
}

enum parse_rc
imap_parse_set(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct imap_set *set = ARENA_NEW(&c->mem, struct imap_set);

    c->args = set;
    if (imap_take_sp(in, e) != PARSE_OK)
        return PARSE_BAD;
    return imap_take_set(in, &c->mem, set, e);
}
