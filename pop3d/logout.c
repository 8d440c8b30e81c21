/* pop3d/logout.c - the line at the end of a session, as Dovecot writes it. */
#include "pop3d/pop3d.h"

#include "base/enc.h"
#include "base/log.h"
#include "base/mem.h"
#include "pop3d/formats.h"

#include <unistd.h>

static uint32_t
sum_of(const struct pop3_sess *s, size_t i)
{
    return s->uidls[i] ? enc_crc32(0, s->uidls[i], strlen(s->uidls[i])) : 0;
}

/* "12/89abcdef -> 10/01234567": how many there were and what all their UIDLs sum up to, before and after. What the client had
 * seen in an earlier session is what is before the first that it took. */
static void
add_uidl_change(const struct pop3_sess *s, struct buf *out)
{
    size_t was_n = s->lowest_retr > 0 ? s->lowest_retr - 1 : s->n, now_n = 0;
    uint32_t was = 0, now = 0;

    if (!s->uidls)
        return;
    for (size_t i = 0; i < s->n; i++) {
        if (i < was_n)
            was ^= sum_of(s, i);
        if (s->v[i].is & POP3_MSG_DELETED)
            continue;
        now ^= sum_of(s, i);
        now_n++;
    }
    buf_addf(out, "%zu/%08x", was_n, (unsigned)was);
    if (was != now || was_n != now_n)
        buf_addf(out, " -> %zu/%08x", now_n, (unsigned)now);
}

static void
add_value(void *arg, size_t i, struct buf *out)
{
    const struct pop3_sess *s = arg;
    const uint64_t numbers[] = {
        [POP3_LOG_TOP_OCTETS] = s->top_octets,   [POP3_LOG_TOPS] = s->top_n,
        [POP3_LOG_RETR_OCTETS] = s->retr_octets, [POP3_LOG_RETRS] = s->retr_n,
        [POP3_LOG_DELETED] = s->deleted,         [POP3_LOG_MESSAGES] = s->n,
        [POP3_LOG_OCTETS] = s->size_octets,      [POP3_LOG_INPUT] = s->in_octets,
        [POP3_LOG_OUTPUT] = s->out_octets,       [POP3_LOG_DELETED_OCTETS] = s->deleted_octets,
    };

    if (i == POP3_LOG_UIDL_CHANGE)
        add_uidl_change(s, out);
    else if (i == POP3_LOG_USER)
        buf_addz(out, s->user);
    else if (i == POP3_LOG_SESSION)
        buf_addz(out, s->sid);
    else if (i == POP3_LOG_REMOTE)
        buf_addz(out, s->ip);
    else
        buf_addu(out, numbers[i]);
}

void
pop3_log_end(const struct pop3_sess *s)
{
    struct buf b = { 0 };

    percent_expand(&b, sl_z(s->conf->pop3_logout_format), pop3_log_vars, POP3_LOG_VARS, add_value,
                   (void *)s);
    log_info("pop3.end",
             LOG_F(LF_Z("user", s->user), LF_Z("sid", s->sid), LF_N("retr", s->retr_n),
                   LF_N("retr_octets", s->retr_octets), LF_N("del", s->deleted)),
             "pop3(%s)<%ld><%s>: Disconnected: %s %s", s->user, (long)getpid(), s->sid,
             s->end_why ? s->end_why : "Connection closed", buf_z(&b));
    buf_free(&b);
}
