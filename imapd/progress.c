/* imapd/progress.c - telling a client that waits how far its command is: RFC 9585.
 * It needs no enabling (§3): who does not know the code sees a line for people. It also finds out whether a client that has
 * closed its half of the connection without a word still listens: a line that cannot be sent ends the command. */
#include "imapd/cmd.h"

#include "base/clock.h"

enum {
    PROGRESS_TELL_MS = 10 * 1000
}; /* "SHOULD NOT send more often than every 10 to 15 seconds" */

/* inprogress-tag = quoted / nil: a tag has no quote or backslash, only the sync of an IDLE has none. */
static void
add_numbers(struct imap_cmd *c, uint64_t done, uint64_t goal)
{
    struct buf *out = &c->out;

    if (c->tag.n > 0)
        buf_addf(out, "(\"%.*s\" ", SL_ARG(c->tag));
    else
        buf_addz(out, "(NIL ");
    if (goal > 0) /* the goal is reached when the tagged reply comes, not before */
        buf_addf(out, "%llu %llu)", (unsigned long long)(done < goal ? done : goal - 1),
                 (unsigned long long)goal);
    else
        buf_addf(out, "%llu NIL)", (unsigned long long)done);
}

static void
add_text(struct imap_cmd *c, uint64_t done, uint64_t goal, uint64_t passed_ms)
{
    uint64_t left_s = done > 0 && done < goal ? passed_ms * (goal - done) / done / 1000 : 0;

    if (goal == 0) {
        buf_addf(&c->out, "Processed %llu item(s)", (unsigned long long)done);
        return;
    }
    buf_addf(&c->out, "%s %u%% of the mailbox, ETA %u:%02u", c->doing ? c->doing : "Processed",
             (unsigned)(done < goal ? done * 100 / goal : 99), (unsigned)(left_s / 60),
             (unsigned)(left_s % 60));
}

bool
imap_progress(struct imap_cmd *c, uint64_t done, uint64_t goal)
{
    uint64_t now_ms = clock_mono_ms();

    if (c->begun_ms == 0 || done < c->done_before) /* a second half is timed by itself */
        c->begun_ms = now_ms;
    c->done_before = done;
    if (c->told_ms == 0)
        c->told_ms = now_ms;
    if (now_ms < c->told_ms + PROGRESS_TELL_MS)
        return false;
    c->told_ms = now_ms;
    buf_addz(&c->out, "* OK [INPROGRESS ");
    add_numbers(c, done, goal);
    buf_addz(&c->out, "] ");
    add_text(c, done, goal, now_ms - c->begun_ms);
    buf_addz(&c->out, "\r\n");
    return true;
}
