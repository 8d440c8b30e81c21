/* imapd/idle.c - IDLE (RFC 2177): changes are told as they come. What a session holds meanwhile: this struct, the watch
 * on its view, and a timer. */
#include "imapd/rows.h"

#include "base/mem.h"

#include <stdlib.h>

struct imap_idle {
    struct timer still_here;
    char *tag;
};

void
imap_idle_free(struct imap_sess *s)
{
    if (!s->idle)
        return;
    timer_stop(&s->idle->still_here);
    free(s->idle->tag);
    free(s->idle);
    s->idle = NULL;
}

/* Keeps NAT boxes from forgetting the connection, and finds out that a client is gone. */
static void
say_still_here(void *arg)
{
    struct imap_sess *s = arg;

    if (!s->cmd) /* else there is news, and this might end up inside a literal of it */
        imap_sess_write(s, SL("* OK Still here\r\n"));
    timer_start(&s->idle->still_here, (uint64_t)s->conf->imap_idle_notify_interval, say_still_here,
                s);
    if (!s->cmd && s->is_sync_failed) { /* nobody will call again for what was not told */
        s->is_changed = true;
        imap_idle_poke(s);
    }
}

/* ---- telling changes ---- */

static enum cmd_rc
run_idle_sync(struct imap_cmd *c)
{
    (void)c;
    return CMD_DONE; /* IF_SYNC does the work */
}

const struct imap_row imap_row_idle_sync = { "IDLE", "", 0, IF_SYNC, NULL, run_idle_sync, NULL };
static const struct imap_row row_delayed = { "NOTIFY",      "",  0, IF_SYNC | IF_KEEPS_SEQ, NULL,
                                             run_idle_sync, NULL };

static void
on_change(void *arg)
{
    struct imap_sess *s = arg;

    s->is_changed = true;
    imap_idle_poke(s);
}

/* The watch is on before the sync that begins an IDLE: what comes between is not missed. True: a command was started. */
static bool
poke_selected(struct imap_sess *s)
{
    if (!s->is_watched) {
        s->is_watched = true;
        store_view_watch(s->view, on_change, s);
        s->is_changed = true; /* what happened before the IDLE is told at once */
    }
    if (!s->is_changed)
        return false;
    s->is_changed = false;
    imap_cmd_start(imap_cmd_new(s, imap_notify_keeps_seq(s) ? &row_delayed : &imap_row_idle_sync));
    return true;
}

void
imap_idle_poke(struct imap_sess *s)
{
    if (s->cmd || s->is_closing || !s->conn || conn_is_out_full(s->conn))
        return;
    if (s->view && imap_notify_hears(s) && poke_selected(s))
        return;
    imap_notify_poke(s);
}

/* ---- the command ---- */

enum cmd_rc
imap_run_idle(struct imap_cmd *c)
{
    struct imap_sess *s = c->s;

    s->idle = MEM_NEW(struct imap_idle);
    s->idle->tag = sl_dupz(c->tag);
    s->is_changed = true; /* it may be told what was not told before */
    imap_sess_write(s, SL("+ idling\r\n"));
    return CMD_DONE;
}

void
imap_done_idle(struct imap_cmd *c)
{
    struct imap_sess *s = c->s;

    if (!s->idle) /* it was not of the form */
        return;
    timer_start(&s->idle->still_here, (uint64_t)s->conf->imap_idle_notify_interval, say_still_here,
                s);
}

void
imap_idle_line(struct imap_sess *s, struct slice line)
{
    bool is_done = sl_ieqz(line, "DONE");

    if (!s->notify)
        imap_sess_stop_watch(s);
    imap_sess_writef(s, "%s %s\r\n", s->idle->tag,
                     is_done ? "OK Idle completed." : "BAD Expected DONE.");
    s->bad_count = is_done ? 0 : s->bad_count + 1;
    imap_idle_free(s);
    if (s->bad_count >= IMAPD_BAD_MAX)
        imap_sess_continue(s);
}
