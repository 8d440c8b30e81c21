/* imapd/reader.c - from octets to whole commands: lines, and literals in place (RFC 3501 §4.3, §7.5; RFC 7888).
 * A command with its literals is at most imap_max_line_length; a literal beyond that is refused before it is sent, or passed
 * over when it comes unasked. What an APPEND has after its mailbox is not collected here but goes to the command in work,
 * piece by piece. A bare LF ends a line, as with Dovecot; a bare CR or a NUL in a line makes the command bad. */
#include "imapd/cmd.h"

#include "base/mem.h"

#include <stdio.h>

static void
reader_reset(struct imap_reader *r)
{
    buf_free(&r->text);
    buf_free(&r->refusal);
    r->mode = READER_LINE;
    r->line_at = 0;
    r->left = 0;
    r->skipped = 0;
}

void
imap_reader_free(struct imap_reader *r)
{
    reader_reset(r);
}

static void
consume(struct imap_sess *s, size_t n)
{
    s->stats.in_octets += n;
    conn_consume(s->conn, n);
}

/* Move input to the reader's text up to and with the next LF. 1: a line is whole, 0: not yet, -1: beyond the limit. */
static int
gather_line(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;
    struct slice in = conn_input(s->conn);
    size_t lf = sl_find_char(in, '\n');
    size_t n = lf == SL_NPOS ? in.n : lf + 1;

    if (r->text.n + n > (size_t)s->conf->imap_max_line_length + 2)
        return -1;
    buf_adds(&r->text, sl_head(in, n));
    consume(s, n);
    return lf != SL_NPOS;
}

/* The current line of the text without its end. */
static struct slice
line_of(const struct imap_reader *r)
{
    struct slice line = sl_from(buf_slice(&r->text), r->line_at);

    line.n -= sl_ends(line, '\n');
    line.n -= sl_ends(line, '\r');
    return line;
}

/* ---- commands that are refused ---- */

static void
refusal_over(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;

    imap_sess_write(s, buf_slice(&r->refusal));
    if (r->refusal.n > 0)
        s->bad_count++;
    reader_reset(r);
    imap_sess_continue(s);
}

/* A literal of a refused command that comes unasked is read to its end, as far as one that is good might have gone. Of
 * more nothing is read: whoever sends that would do so for hours. */
static void
begin_skip(struct imap_sess *s, uint64_t octets)
{
    struct imap_reader *r = &s->reader;
    uint64_t most = (uint64_t)(s->conf->imap_max_append_size > s->conf->imap_max_line_length
                                   ? s->conf->imap_max_append_size
                                   : s->conf->imap_max_line_length);

    buf_free(&r->text);
    r->line_at = 0;
    r->mode = READER_SKIP_LITERAL;
    r->left = octets;
    if (octets > most || r->skipped > most - octets) {
        imap_sess_write(s, buf_slice(&r->refusal));
        imap_sess_bye(s, "[TOOBIG] Literal size too large.", "Literal size too large");
        return;
    }
    r->skipped += octets;
}

void
imap_reader_refuse(struct imap_sess *s, struct slice reply, uint64_t octets, bool is_sync)
{
    struct imap_reader *r = &s->reader;

    buf_free(&r->text);
    r->line_at = 0;
    buf_adds(&r->refusal, reply);
    if (is_sync)
        refusal_over(s);
    else
        begin_skip(s, octets);
}

/* The rest of a refused command; its further literals too. */
static bool
skip_line(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;
    uint64_t octets;
    bool is_sync;
    size_t at;
    int rc = gather_line(s);

    if (rc == 0)
        return false;
    if (rc > 0 && imap_line_literal(line_of(r), &octets, &is_sync, &at) && !is_sync) {
        begin_skip(s, octets);
        return true;
    }
    if (rc < 0)
        imap_sess_bye(s, "Command line too long.", "Command line too long");
    else
        refusal_over(s);
    return true;
}

static bool
skip_literal(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;
    struct slice in = conn_input(s->conn);
    size_t n = in.n < r->left ? in.n : (size_t)r->left;

    consume(s, n);
    r->left -= n;
    if (r->left > 0)
        return false;
    r->mode = READER_SKIP_LINE;
    return true;
}

/* ---- literals ---- */

static void
refuse_literal(struct imap_sess *s, struct slice tag, const char *reply, uint64_t octets,
               bool is_sync)
{
    struct buf b = { 0 };

    if (tag.n > 0)
        buf_adds(&b, tag);
    else
        buf_addc(&b, '*');
    buf_addf(&b, " %s\r\n", reply);
    imap_reader_refuse(s, buf_slice(&b), octets, is_sync);
    buf_free(&b);
}

/* Whether a literal of an IF_STREAM command comes after its first arguments; the mailbox among them may be one, too. */
static bool
is_stream_literal(const struct imap_row *row, struct slice after)
{
    struct slice first;

    if (!sl_take_char(&after, ' ') ||
        ((row->flags & IF_STREAM_2ND) && !sl_take_until(&after, ' ', &first)))
        return true; /* a wrong command, as its parse will tell */
    return after.n > 0;
}

/* A literal of a command whose row is known; after: what follows the name so far. */
static void
take_argument(struct imap_sess *s, const struct imap_row *row, struct slice tag, struct slice after,
              uint64_t octets, bool is_sync, bool is_binary)
{
    struct imap_reader *r = &s->reader;
    uint64_t most = (uint64_t)s->conf->imap_max_line_length;

    if ((row->flags & IF_STREAM) && is_stream_literal(row, after)) {
        imap_cmd_dispatch_stream(s, &r->text, octets, is_sync, is_binary);
        r->line_at = 0;
        return;
    }
    if (is_binary && !(row->flags & IF_LITERAL8)) {
        refuse_literal(s, tag, "BAD Binary literals are not allowed here.", octets, is_sync);
        return;
    }
    if ((row->flags & IF_ANNOTATES) && octets > (uint64_t)s->conf->imap_metadata_value_size) {
        char why[80];

        snprintf(why, sizeof(why), "NO [METADATA MAXSIZE %llu] Annotation too long.",
                 (unsigned long long)s->conf->imap_metadata_value_size);
        refuse_literal(s, tag, why, octets, is_sync);
        return;
    }
    if (octets > most || r->text.n + octets > most) {
        refuse_literal(s, tag, "BAD [TOOBIG] Literal size too large.", octets, is_sync);
        return;
    }
    buf_addf(&r->text, "%s{%llu}\r\n", is_binary ? "~" : "", (unsigned long long)octets);
    r->mode = READER_LITERAL;
    r->left = octets;
    if (is_sync)
        imap_sess_write(s, SL("+ OK\r\n"));
}

/* The line ends by a literal that begins at `at` of the line. */
static void
take_announced(struct imap_sess *s, uint64_t octets, bool is_sync, size_t at)
{
    struct imap_reader *r = &s->reader;
    bool is_binary = buf_slice(&r->text).p[r->line_at + at] == '~', is_uid;
    struct slice tag, after;
    const struct imap_row *row;
    struct buf why = { 0 };

    r->begun = s->stats.in_octets - r->text.n;
    buf_truncate(&r->text, r->line_at + at);
    after = buf_slice(&r->text);
    row = imap_cmd_head(s, &after, &tag, &is_uid, &why);
    if (!row)
        refuse_literal(s, tag, buf_z(&why), octets, is_sync);
    else if (!is_sync && octets > IMAPD_LITERAL_MINUS_OCTETS && s->is_literal_minus)
        refuse_literal(s, tag, "BAD [TOOBIG] Literals that come unasked may have 4096 octets.",
                       octets, is_sync);
    else
        take_argument(s, row, tag, after, octets, is_sync, is_binary);
    buf_free(&why);
}

static bool
take_literal(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;
    struct slice in = conn_input(s->conn);
    size_t n = in.n < r->left ? in.n : (size_t)r->left;

    buf_adds(&r->text, sl_head(in, n));
    consume(s, n);
    r->left -= n;
    if (r->left > 0)
        return false;
    r->mode = READER_LINE;
    r->line_at = r->text.n;
    return true;
}

/* ---- a command in work takes the stream ---- */

void
imap_reader_stream_over(struct imap_sess *s, const struct imap_stream *st)
{
    struct imap_reader *r = &s->reader;

    reader_reset(r);
    if (st->is_line && (st->is_end || st->is_sync))
        return; /* whole; or the literal was not asked for, and does not come */
    if (s->conn && !s->is_closing)
        begin_skip(s, st->left);
}

/* A line of the command is whole. */
static void
stream_line(struct imap_sess *s, struct imap_stream *st)
{
    struct imap_reader *r = &s->reader;
    struct slice line = line_of(r);
    size_t at = line.n;

    st->at = s->stats.in_octets - r->begun - r->text.n;
    st->is_line = true;
    st->is_end = !imap_line_literal(line, &st->octets, &st->is_sync, &at) ||
                 imap_line_ends_quoted(sl_head(line, at));
    st->left = st->is_end ? 0 : st->octets;
    st->is_binary = !st->is_end && line.p[at] == '~';
    buf_adds(&st->piece, st->is_end ? line : sl_head(line, at));
    buf_free(&r->text);
}

static bool
feed_stream(struct imap_sess *s)
{
    struct imap_cmd *c = s->cmd;
    struct imap_stream *st = &c->stream;
    struct slice in = conn_input(s->conn);
    size_t n;
    int rc;

    BUG_ON(!c); /* the mode ends with the command */
    if (st->left > 0) {
        n = in.n < st->left ? in.n : (size_t)st->left;
        n = n < IMAPD_PIECE_OCTETS ? n : IMAPD_PIECE_OCTETS;
        buf_reset(&st->piece);
        buf_adds(&st->piece, sl_head(in, n));
        consume(s, n);
        st->left -= n;
        st->is_line = false;
    } else {
        rc = gather_line(s);
        if (rc < 0)
            imap_sess_bye(s, "Command line too long.", "Command line too long");
        if (rc <= 0)
            return false;
        buf_reset(&st->piece);
        stream_line(s, st);
    }
    st->is_new = true;
    conn_pause_input(s->conn);
    imap_cmd_resume(c);
    return true;
}

/* ---- lines ---- */

static bool
has_bad_octet(struct slice line)
{
    return sl_find_char(line, '\r') != SL_NPOS || sl_find_char(line, '\0') != SL_NPOS;
}

static void
line_whole(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;
    struct slice line = line_of(r), tag = { 0 }, in = buf_slice(&r->text);
    struct buf text;
    uint64_t octets;
    bool is_sync;
    size_t at;

    if (has_bad_octet(line)) {
        imap_take_tag(&in, &tag, NULL);
        refuse_literal(s, tag,
                       "BAD Error in IMAP command received by server: control octet in a line.", 0,
                       true);
        return;
    }
    if (s->idle) {
        buf_truncate(&r->text, r->line_at + line.n);
        imap_idle_line(s, line);
        reader_reset(r);
        return;
    }
    if (imap_line_literal(line, &octets, &is_sync, &at) &&
        !imap_line_ends_quoted(sl_head(line, at))) {
        take_announced(s, octets, is_sync, at);
        return;
    }
    buf_truncate(&r->text, r->line_at + line.n);
    text = r->text;
    r->text = (struct buf){ 0 };
    reader_reset(r);
    imap_cmd_dispatch(s, &text);
}

static bool
take_line(struct imap_sess *s)
{
    int rc = gather_line(s);

    if (rc < 0)
        imap_sess_bye(s, "Command line too long.", "Command line too long");
    else if (rc > 0)
        line_whole(s);
    return rc != 0;
}

void
imap_reader_run(struct imap_sess *s)
{
    struct imap_reader *r = &s->reader;
    bool went_on = true;

    while (went_on && s->conn && !s->is_closing && conn_input(s->conn).n > 0) {
        if (s->cmd && !(s->cmd->is_parked && s->cmd->is_input_wanted))
            return;
        if (!s->cmd && conn_is_out_full(s->conn)) { /* no more answers to who reads none */
            conn_pause_input(s->conn);
            return; /* on_drain goes on */
        }
        switch (r->mode) {
        case READER_LINE:
            went_on = take_line(s);
            break;
        case READER_LITERAL:
            went_on = take_literal(s);
            break;
        case READER_STREAM:
            went_on = feed_stream(s);
            break;
        case READER_SKIP_LITERAL:
            went_on = skip_literal(s);
            break;
        case READER_SKIP_LINE:
            went_on = skip_line(s);
            break;
        }
    }
}
