/* pop3d/update.c - the UPDATE state: RFC 1939 §6. Messages leave in transactions of some hundreds, each whole: a process that is
 * killed in between has removed some and left the others as they were. After each, other users have their turn. Without QUIT
 * nothing leaves. */
#include "pop3d/pop3d.h"

#include "base/mem.h"

#include <unistd.h>

enum { UPDATE_A_TURN = 500 };

static bool
is_newly_seen(const struct pop3_msg *m)
{
    return (m->is & (POP3_MSG_SEEN | POP3_MSG_WAS_SEEN)) == POP3_MSG_SEEN;
}

bool
pop3_has_seen(const struct pop3_sess *s)
{
    for (size_t i = s->touched_at; i < s->touched_end; i++)
        if (is_newly_seen(&s->v[i]))
            return true;
    return false;
}

static int
change(struct pop3_sess *s, enum store_op op, const struct store_uids *uids,
       struct store_flags flags)
{
    struct store_flag_change ch = { .op = op, .flags = flags, .is_silent = true };

    return uids->n == 0 ? 0 : store_change_flags(s->view, uids, &ch, NULL, &s->err);
}

static bool
is_kept_as_flag(const struct conf *c)
{
    return c->pop3_deleted_flag[0] != '\0' && strcmp(c->pop3_delete_type, "expunge") != 0;
}

static int
hide(struct pop3_sess *s, const struct store_uids *gone)
{
    int i = store_keyword(s->view, sl_z(s->conf->pop3_deleted_flag), true, &s->err);

    return i < 0 ? -1 : change(s, STORE_ADD, gone, (struct store_flags){ .kw = (uint64_t)1 << i });
}

/* The next messages that leave. */
static void
gather_gone(struct pop3_sess *s, struct store_uids *out)
{
    for (size_t n = 0; s->list_at < s->touched_end && n < UPDATE_A_TURN; s->list_at++) {
        const struct pop3_msg *m = &s->v[s->list_at];

        if (!(m->is & POP3_MSG_DELETED))
            continue;
        store_uids_add(out, m->uid, m->uid);
        s->deleted++;
        s->deleted_octets += pop3_size(m);
        n++;
    }
}

/* The next ones that were read. What leaves needs no \Seen. */
static void
gather_seen(struct pop3_sess *s, struct store_uids *out)
{
    for (size_t n = 0; s->list_at < s->touched_end && n < UPDATE_A_TURN; s->list_at++) {
        const struct pop3_msg *m = &s->v[s->list_at];

        if (!is_newly_seen(m) || (s->with_deletes && (m->is & POP3_MSG_DELETED)))
            continue;
        store_uids_add(out, m->uid, m->uid);
        n++;
    }
}

static int
remove_some(struct pop3_sess *s, const struct store_uids *gone)
{
    return is_kept_as_flag(s->conf) ? hide(s, gone) : store_remove(s->view, gone, &s->err);
}

/* All that leave first, which makes room on a full disk. */
static enum work_rc
run_update(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);
    struct store_uids uids = { 0 };
    int rc;

    (s->is_removing ? gather_gone : gather_seen)(s, &uids);
    rc = uids.n > 0 ? pop3_view_wake(s) : 0;
    if (rc == 0 && uids.n > 0)
        rc = s->is_removing
                 ? remove_some(s, &uids)
                 : change(s, STORE_ADD, &uids, (struct store_flags){ .sys = STORE_SEEN });
    store_uids_free(&uids);
    if (rc)
        return WORK_DONE;
    s->err.kind = ERR_NONE;
    if (s->list_at == s->touched_end && s->is_removing) {
        s->is_removing = false;
        s->list_at = s->touched_at;
    }
    return s->list_at < s->touched_end ? WORK_YIELD : WORK_DONE;
}

static void
done_update(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);
    bool had_deleted = s->deleted > 0;

    s->was_updated = true;
    if (s->err.kind != ERR_NONE) {
        s->deleted = s->deleted_octets = 0;
        pop3_log_err(s, "updating INBOX");
    }
    if (!pop3_job_back(s))
        return;
    if (s->err.kind != ERR_NONE)
        pop3_say_err(s, "The mailbox could not be updated");
    else if (had_deleted)
        pop3_say(s, SL("+OK Logging out, messages deleted.\r\n"));
    else
        pop3_say(s, SL("+OK Logging out.\r\n"));
    pop3_end(s, s->err.kind != ERR_NONE ? "Storage error during logout." : "Logged out");
}

void
pop3_box_update(struct pop3_sess *s, bool with_deletes)
{
    s->with_deletes = s->is_removing = with_deletes;
    s->list_at = s->touched_at;
    pop3_job(s, POP3_UPDATE, run_update, done_update, NULL);
}

/* ---- RSET with LAST ---- */

static enum work_rc
run_unsee(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);
    struct store_uids all = { 0 };

    for (size_t i = 0; i < s->n; i++)
        store_uids_add(&all, s->v[i].uid, s->v[i].uid);
    if (pop3_view_wake(s) == 0 &&
        change(s, STORE_REMOVE, &all, (struct store_flags){ .sys = STORE_SEEN }) == 0)
        s->err.kind = ERR_NONE;
    store_uids_free(&all);
    return WORK_DONE;
}

static void
done_unsee(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    if (s->err.kind != ERR_NONE)
        pop3_log_err(s, "RSET");
    if (!pop3_job_back(s))
        return;
    for (size_t i = 0; i < s->n; i++)
        s->v[i].is &= (uint16_t)~POP3_MSG_WAS_SEEN;
    pop3_say(s, SL("+OK\r\n"));
    pop3_go_on(s);
}

void
pop3_box_unsee(struct pop3_sess *s)
{
    pop3_job(s, POP3_SENDING, run_unsee, done_unsee, NULL);
}

/* ---- the end ---- */

static enum work_rc
run_close(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    store_file_close(&s->file);
    store_unselect(&s->view);
    store_user_close(&s->store);
    return WORK_DONE;
}

static void
done_close(struct work_job *j)
{
    struct pop3_sess *s = pop3_of_job(j);

    s->is_job_out = false;
    pop3_free(s);
}

void
pop3_box_close(struct pop3_sess *s)
{
    pop3_job(s, POP3_ENDING, run_close, done_close, NULL);
}
