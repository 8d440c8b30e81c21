/* smtpd/smtpd_body.c - DATA and BDAT: RFC 5321 §4.1.1.4, RFC 3030. What follows the end of data is in finish.c. */
#include "smtpd/bare_lf.h"
#include "smtpd/content.h"
#include "smtpd/finish.h"
#include "smtpd/rewrite.h"
#include "smtpd/smtpd.h"

#include "base/log.h"

#define TEMP_LOOKUP "451 4.3.0 Temporary lookup error" /* who the client is */

static void
refuse(struct smtpd_sess *s, const char *reply)
{
    smtp_reply(&s->smtp, "%s", reply);
    smtp_sess_done(&s->smtp, false);
}

/* The transaction is over, one way or the other. */
void
finish_over(struct smtpd_sess *s, bool good)
{
    bool is_partial = s->tx && s->tx->in_bdat && !s->tx->bdat_last;

    s->n_over++;
    smtpd_tx_free(s);
    s->bdat_failed = is_partial && !good;
    smtp_sess_done(&s->smtp, good);
}

/* ---- content ---- */

void
smtpd_body(struct smtp_sess *smtp, struct slice octets)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    struct smtpd_tx *tx = s->tx;

    tx->size_octets += octets.n;
    if (tx->too_big)
        return;
    if (s->cfg->conf->message_size_limit && !pickup_is_return(s->pickup) &&
        tx->size_octets > (uint64_t)s->cfg->conf->message_size_limit) {
        tx->too_big = true;
        log_event(LOG_LV_WARN, s->cfg->ident, "msg.too_big", LOG_F(LF_Z("qid", tx->id)),
                  "%s: queue file size limit exceeded", tx->id);
        content_free(&tx->content);
        return;
    }
    content_write(tx->content, octets);
}

size_t
smtpd_backlog(struct smtp_sess *smtp)
{
    const struct smtpd_tx *tx = smtpd_of(smtp)->tx;

    return tx && tx->content ? content_backlog(tx->content) : 0;
}

/* ---- the end of data ---- */

void
smtpd_body_end(struct smtp_sess *smtp)
{
    finish_run(smtpd_of(smtp));
}

/* ---- DATA ---- */

static void
start_content(struct smtpd_sess *s)
{
    s->tx->content = content_new(s);
    smtp_sess_start_message(&s->smtp, bare_lf_ends(s));
}

static void
read_data(struct smtpd_sess *s, bool good)
{
    if (!good) {
        refuse(s, TEMP_LOOKUP);
        return;
    }
    start_content(s);
    smtp_reply(&s->smtp, "354 End data with <CR><LF>.<CR><LF>");
    s->smtp.where = "DATA content";
    smtp_sess_read_data(&s->smtp);
}

static void
data_restricted(struct smtpd_sess *s, const char *reply)
{
    if (reply)
        refuse(s, reply);
    else
        rewrite_begin(s, read_data);
}

static void
check_data(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, const char *reply))
{
    struct restrict_subject about = { .helo = s->helo,
                                      .sender = s->tx->sender.given,
                                      .recipient = smtpd_only_rcpt(s->tx) };

    restrict_run(s, STAGE_DATA, &about, done);
}

void
smtpd_cmd_data(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    if (s->bdat_failed || (s->tx && s->tx->in_bdat))
        refuse(s, "503 5.5.1 Error: DATA after BDAT");
    else if (s->tx == NULL)
        refuse(s, "503 5.5.1 Error: need RCPT command");
    else if (s->tx->n_rcpts == 0)
        refuse(s, "554 5.5.1 Error: no valid recipients");
    else if (w->n != 1)
        refuse(s, "501 5.5.4 Syntax: DATA");
    else
        check_data(s, data_restricted);
}

/* ---- BDAT ---- */

/* A chunk whose octets are dropped; then the reply. Past one and a half times the limit the client is not worth it. */
static void
skip_chunk(struct smtpd_sess *s, uint64_t octets, bool is_last, const char *reply)
{
    uint64_t limit = (uint64_t)s->cfg->conf->message_size_limit;
    uint64_t had = s->tx ? s->tx->size_octets : 0;

    s->skip_reply = reply;
    s->skip_last = is_last;
    if (limit && (octets > limit + limit / 2 || had + octets > limit + limit / 2)) {
        smtp_reply(&s->smtp, "%s", reply);
        smtp_sess_end(&s->smtp, SMTP_END_FORBIDDEN);
        smtp_sess_done(&s->smtp, false);
        return;
    }
    if (s->tx)
        s->tx->size_octets += octets;
    smtp_sess_skip_chunk(&s->smtp, octets);
}

static void
chunk_skipped(struct smtpd_sess *s)
{
    const char *reply = s->skip_reply;

    s->skip_reply = NULL;
    if (reply[0])
        smtp_reply(&s->smtp, "%s", reply);
    else
        smtp_reply(&s->smtp, "551 5.0.0 Discarded %llu bytes after earlier error",
                   (unsigned long long)s->chunk_octets);
    s->bdat_failed = !s->skip_last;
    if (s->skip_last)
        smtpd_tx_free(s);
    smtp_sess_done(&s->smtp, false);
}

void
smtpd_chunk_end(struct smtp_sess *smtp)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    if (s->skip_reply) {
        chunk_skipped(s);
        return;
    }
    if (s->tx->bdat_last) {
        smtp_sess_finish_chunks(smtp);
        finish_run(s);
    } else if (s->tx->too_big) {
        finish_refuse(s, "552 5.3.4 Error: message file too big");
    } else {
        smtp_reply(smtp, "250 2.0.0 Ok: %llu bytes", (unsigned long long)s->chunk_octets);
        smtp_sess_done(smtp, true);
    }
}

static void
read_chunk(struct smtpd_sess *s)
{
    uint64_t limit = (uint64_t)s->cfg->conf->message_size_limit;

    if (limit && !pickup_is_return(s->pickup) &&
        (s->chunk_octets > limit || s->tx->size_octets > limit - s->chunk_octets)) {
        log_event(LOG_LV_WARN, s->cfg->ident, "msg.too_big", LOG_F(LF_Z("qid", s->tx->id)),
                  "%s: BDAT request from %s exceeds message size limit", smtpd_queue_id(s),
                  s->namaddr);
        skip_chunk(s, s->chunk_octets, s->tx->bdat_last,
                   "552 5.3.4 Chunk exceeds message size limit");
        return;
    }
    if (!s->tx->in_bdat) {
        s->tx->in_bdat = true;
        start_content(s);
    }
    s->smtp.where = "BDAT content";
    smtp_sess_read_chunk(&s->smtp, s->chunk_octets);
}

static void
bdat_asked(struct smtpd_sess *s, bool good)
{
    if (good)
        read_chunk(s);
    else
        skip_chunk(s, s->chunk_octets, s->tx->bdat_last, TEMP_LOOKUP);
}

static void
bdat_restricted(struct smtpd_sess *s, const char *reply)
{
    if (reply) { /* it must outlive the evaluation */
        reply = arena_dupz(&s->tx->mem, sl_z(reply));
        skip_chunk(s, s->chunk_octets, s->tx->bdat_last,
                   reply ? reply : "451 4.3.0 Error: out of room");
    } else {
        rewrite_begin(s, bdat_asked);
    }
}

bool
smtpd_skip_bdat(struct smtpd_sess *s, const struct smtp_words *w, const char *reply)
{
    uint64_t n;

    if (w->n < 2 || !sl_to_u64(w->w[1].s, &n) || n > INT64_MAX)
        return false;
    skip_chunk(s, n, true, reply);
    return true;
}

void
smtpd_cmd_bdat(struct smtp_sess *smtp, const struct smtp_words *w)
{
    struct smtpd_sess *s = smtpd_of(smtp);
    bool is_last = w->n == 3;
    uint64_t n = 0;

    if (s->discard & DISCARD_CHUNKING) {
        refuse(
            s,
            "521 5.5.1 Error: command not implemented"); /* and hang up, as what follows is content */
        return;
    }
    if (w->n < 2 || w->n > 3 || !sl_to_u64(w->w[1].s, &n) || n > INT64_MAX ||
        (is_last && !sl_ieq(w->w[2].s, SL("LAST")))) {
        log_event(LOG_LV_WARN, s->cfg->ident, "bdat.bad", LOG_NONE,
                  "%s: malformed BDAT command syntax from %s: %.*s", smtpd_queue_id(s), s->namaddr,
                  SL_ARG(sl_head(smtp_words_rest(w, 0), 100)));
        refuse(s, "521 5.5.4 Syntax: BDAT count [LAST]"); /* what follows is content: hang up */
        return;
    }
    s->chunk_octets = n;
    if (n == 0 && !is_last) {
        log_event(LOG_LV_WARN, s->cfg->ident, "bdat.null", LOG_NONE,
                  "%s: null BDAT request from %s", smtpd_queue_id(s), s->namaddr);
        skip_chunk(s, 0, false, "551 5.7.1 Null BDAT request");
    } else if (s->bdat_failed)
        skip_chunk(s, n, is_last, "");
    else if (s->tx == NULL)
        skip_chunk(s, n, is_last, "503 5.5.1 Error: need RCPT command");
    else if (s->tx->n_rcpts == 0)
        skip_chunk(s, n, is_last, "554 5.5.1 Error: no valid recipients");
    else {
        s->tx->bdat_last = is_last;
        if (s->tx->in_bdat)
            read_chunk(s);
        else
            check_data(s, bdat_restricted);
    }
}
