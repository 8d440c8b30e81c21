/* session/smtp_client_body.c - content on its way out: made fit for the wire and for the peer, then by DATA, by one BDAT as it
 * is (our own daemons), or by as many BDAT as it takes (RFC 3030). See smtp_client.h. */
#include "session/smtp_client_int.h"

enum {
    CHUNK_OCTETS = 64 * 1024,
    CHUNKS_OUT_MAX = 8 /* that wait for a reply; one where nothing may be pipelined */
};

void
client_body_begin(struct smtp_client *c, const struct smtp_tx *tx)
{
    bool is_8bit = tx->is_8bit || tx->maybe_8bit;

    c->framing = !(c->exts & SMTP_EXT_CHUNKING) ? BY_DATA
                 : c->o.wants_bdat              ? BY_BDAT
                 : c->o.wants_chunks            ? BY_CHUNKS
                                                : BY_DATA;
    c->body =
        (struct smtp_body){ .line_max = c->o.line_max, .is_chunked = c->framing == BY_CHUNKS };
    c->is_last_due = false;
    c->chunks_out = 0;
    if (c->o.wants_downgrade && is_8bit && c->framing != BY_BDAT && !(c->exts & SMTP_EXT_8BITMIME))
        c->downgrade = mime_downgrade_new();
}

void
client_body_free(struct smtp_client *c)
{
    buf_free(&c->chunk);
    mime_downgrade_free(&c->downgrade);
}

/* ---- pieces ---- */

static bool
may_send_chunk(const struct smtp_client *c)
{
    return c->chunks_out < ((c->exts & SMTP_EXT_PIPELINING) ? CHUNKS_OUT_MAX : 1);
}

static void
send_chunk(struct smtp_client *c, size_t n, bool is_last)
{
    conn_printf(c->conn, "BDAT %zu%s\r\n", n, is_last ? " LAST" : "");
    conn_writes(c->conn, sl_head(buf_slice(&c->chunk), n));
    buf_consume(&c->chunk, n);
    c->chunks_out++;
    client_expect(c, is_last ? STAGE_DOT : STAGE_CHUNK, FIRST_RCPT);
}

static void
body_is_out(struct smtp_client *c)
{
    c->is_body_on = false;
    c->is_body_out = true;
    client_set_stage(c, client_awaited(c) > 0 ? c->expects[c->expect_at].stage : STAGE_IDLE);
    conn_uncork(c->conn);
}

static void
send_chunks(struct smtp_client *c)
{
    while (c->chunk.n > CHUNK_OCTETS && may_send_chunk(c))
        send_chunk(c, CHUNK_OCTETS, false);
    if (c->is_last_due && c->chunk.n <= CHUNK_OCTETS && may_send_chunk(c)) {
        c->is_last_due = false;
        send_chunk(c, c->chunk.n, true);
        body_is_out(c);
    }
}

void
client_body_chunk_taken(struct smtp_client *c)
{
    bool was_full = smtp_client_is_full(c);

    c->chunks_out--;
    send_chunks(c);
    if (c->is_body_on && client_awaited(c) == 0)
        client_set_stage(c, STAGE_BODY);
    if (was_full && c->is_body_on && !c->is_last_due && !smtp_client_is_full(c) && c->ops->on_drain)
        c->ops->on_drain(c, c->arg);
}

/* ---- content ---- */

static void
add_fit(struct smtp_client *c, struct slice s)
{
    struct buf out = { 0 };

    if (c->framing == BY_CHUNKS) {
        smtp_body_add(&c->body, s, &c->chunk);
        send_chunks(c);
        return;
    }
    smtp_body_add(&c->body, s, &out);
    conn_writes(c->conn, buf_slice(&out));
    buf_free(&out);
}

void
smtp_client_body(struct smtp_client *c, struct slice s)
{
    struct buf out = { 0 };

    if (c->is_closing || !c->is_body_on || c->is_last_due)
        return;
    if (c->framing == BY_BDAT) {
        conn_writes(c->conn, s);
    } else if (c->downgrade) {
        mime_downgrade_add(c->downgrade, s, &out);
        add_fit(c, buf_slice(&out));
        buf_free(&out);
    } else {
        add_fit(c, s);
    }
}

static void
end_fit(struct smtp_client *c)
{
    struct buf out = { 0 };

    if (c->downgrade) {
        mime_downgrade_end(c->downgrade, &out);
        add_fit(c, buf_slice(&out));
        buf_reset(&out);
    }
    smtp_body_end(&c->body, &out);
    if (c->framing == BY_CHUNKS)
        buf_adds(&c->chunk, buf_slice(&out));
    else
        conn_writes(c->conn, buf_slice(&out));
    buf_free(&out);
}

void
smtp_client_body_end(struct smtp_client *c)
{
    if (c->is_closing || !c->is_body_on || c->is_last_due)
        return;
    if (c->framing != BY_BDAT)
        end_fit(c);
    if (c->framing == BY_CHUNKS) {
        c->is_last_due = true;
        send_chunks(c);
        return;
    }
    if (c->framing == BY_DATA)
        client_expect(c, STAGE_DOT, FIRST_RCPT);
    body_is_out(c);
}

bool
smtp_client_is_full(const struct smtp_client *c)
{
    return !c->is_closing &&
           (conn_is_out_full(c->conn) ||
            (c->framing == BY_CHUNKS && c->is_body_on && c->chunk.n > CHUNK_OCTETS));
}

void
smtp_client_body_fail(struct smtp_client *c, const char *why)
{
    if (!c->is_closing)
        client_fail(c, "4.3.0", "%s", why);
}
