/* imapd/cmd_urlfetch.c - URLFETCH (RFC 4467 §7), also of decoded parts and of structures (RFC 5524). A URL that leads nowhere,
 * or that this user may not follow, is NIL. */
#include "imapd/rows.h"
#include "imapd/url.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdlib.h>

enum { URLS_MAX = 1000, URLFETCH_TURN_MS = 20 };
enum { WANT_BODY = 1, WANT_BINARY = 2, WANT_STRUCTURE = 4 };

struct urlfetch_args {
    struct urlfetch_url {
        struct slice url;
        unsigned wants; /* 0: the form of RFC 4467 */
    } * v;              /* in c->mem */
    size_t n;
};

struct urlfetch {
    size_t at;
    bool is_sending, is_binary;
    struct section_source src;
    struct section section;
};

/* ---- arguments ---- */

static enum parse_rc
take_params(struct slice *in, unsigned *wants, struct err *e)
{
    while (sl_take_char(in, ' ')) {
        if (imap_take_keyword(in, "BODYPARTSTRUCTURE"))
            *wants |= WANT_STRUCTURE;
        else if (!(*wants & (WANT_BODY | WANT_BINARY)) && imap_take_keyword(in, "BODY"))
            *wants |= WANT_BODY;
        else if (!(*wants & (WANT_BODY | WANT_BINARY)) && imap_take_keyword(in, "BINARY"))
            *wants |= WANT_BINARY;
        else
            return err_parse(e, "expected BODYPARTSTRUCTURE, and one of BODY and BINARY");
    }
    if (*wants == 0)
        *wants = WANT_BODY;
    return sl_take_char(in, ')') ? PARSE_OK : err_parse(e, "expected ')'");
}

enum parse_rc
imap_parse_urlfetch(struct imap_cmd *c, struct slice *in, struct err *e)
{
    struct urlfetch_args *a = ARENA_NEW(&c->mem, struct urlfetch_args);
    struct urlfetch_url *u;
    bool is_list;

    c->args = a;
    a->v = arena_alloc(&c->mem, URLS_MAX * sizeof(*a->v));
    do {
        if (a->n == URLS_MAX)
            return err_parse(e, "too many URLs");
        u = &a->v[a->n++];
        if (imap_take_sp(in, e) != PARSE_OK)
            return PARSE_BAD;
        is_list = sl_take_char(in, '(');
        if (imap_take_astring(in, &c->mem, &u->url, e) != PARSE_OK ||
            (is_list && take_params(in, &u->wants, e) != PARSE_OK))
            return PARSE_BAD;
    } while (in->n > 0);
    return PARSE_OK;
}

/* ---- one URL ---- */

static bool
is_8bit(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return true;
    return false;
}

/* As it is sent: when that is decoded, its structure is that of what comes out (RFC 5524 §3.2). */
static void
add_structure(struct imap_cmd *c, struct urlfetch *f, const struct imap_fetch_item *it,
              bool is_decoded)
{
    const struct mime_part *p = section_part(&f->src, it);
    struct mime_part as_sent;

    buf_addz(&c->out, " (BODYPARTSTRUCTURE ");
    if (p == NULL || it->text != IMAP_SECTION_ALL) {
        buf_addz(&c->out, "NIL)");
        return;
    }
    as_sent = *p;
    if (is_decoded &&
        (sl_ieqz(p->encoding, "base64") || sl_ieqz(p->encoding, "quoted-printable"))) {
        as_sent.encoding = f->section.has_nul                                 ? SL("binary")
                           : f->section.is_stream || is_8bit(f->section.left) ? SL("8bit")
                                                                              : SL("7bit");
        as_sent.body.n = (size_t)f->section.octets;
        as_sent.lines = 0; /* not counted, as with Dovecot */
    }
    mime_bodystructure(&as_sent, true, &c->out);
    buf_addc(&c->out, ')');
}

static void
count(struct imap_cmd *c, uint64_t octets)
{
    c->s->stats.body_count++;
    c->s->stats.body_octets += octets;
}

static void
begin_octets(struct imap_cmd *c, struct urlfetch *f, unsigned wants)
{
    if (wants & (WANT_BODY | WANT_BINARY))
        buf_addf(&c->out, " (%s", wants & WANT_BODY ? "BODY" : "BINARY");
    f->is_binary = (wants & WANT_BINARY) && f->section.has_nul;
    buf_addf(&c->out, " %s{%llu}\r\n", f->is_binary ? "~" : "",
             (unsigned long long)f->section.octets);
    count(c, f->section.octets);
    f->is_sending = true;
}

static void
end_url(struct urlfetch *f)
{
    section_close(&f->section);
    section_source_close(&f->src);
    f->is_sending = false;
    f->at++;
}

/* What the URL leads to; all of it but the octets. -1: it leads nowhere (e). */
static int
begin_url(struct imap_cmd *c, struct urlfetch *f, const struct urlfetch_url *u,
          const struct imap_url_place *at, struct err *e)
{
    struct imap_fetch_item it = at->item;
    unsigned wants = u->wants;
    bool is_decoded = false;

    if (store_file_open(at->view, at->seq, &f->src.file, e))
        return -1;
    if (it.n_part > 0 && section_part(&f->src, &it) == NULL)
        return err_set(e, ERR_NOTFOUND, "there is no such part");
    if ((wants & WANT_BINARY) && it.text == IMAP_SECTION_ALL)
        it.kind = IMAP_FETCH_BINARY; /* else headers: nothing is encoded in them */
    if (wants != WANT_STRUCTURE) {
        is_decoded = section_open(&f->section, &f->src, &it) == 0;
        if (!is_decoded)
            section_close(&f->section);
    }
    buf_addz(&c->out, "* URLFETCH ");
    imap_add_astring(&c->out, u->url);
    if (wants & WANT_STRUCTURE)
        add_structure(c, f, &it, is_decoded && it.kind == IMAP_FETCH_BINARY);
    if (is_decoded)
        begin_octets(c, f, wants);
    else if (wants & WANT_BINARY)
        buf_addz(&c->out, " (BINARY NIL)"); /* encoded in a way that nobody knows */
    if (!f->is_sending) {
        buf_addz(&c->out, "\r\n");
        end_url(f);
    }
    return 0;
}

/* ---- all of them ---- */

void
imap_done_urlfetch(struct imap_cmd *c)
{
    struct urlfetch *f = c->run_state;

    if (f == NULL)
        return;
    end_url(f);
    free(f);
}

static void
send_octets(struct imap_cmd *c, struct urlfetch *f, unsigned wants)
{
    if (section_send(&f->section, &c->out, !f->is_binary))
        return;
    buf_addz(&c->out, wants ? ")\r\n" : "\r\n");
    end_url(f);
}

enum cmd_rc
imap_run_urlfetch(struct imap_cmd *c)
{
    const struct urlfetch_args *a = c->args;
    struct urlfetch *f = c->run_state;
    uint64_t until_ms = clock_mono_ms() + URLFETCH_TURN_MS;

    if (!imap_has_urlauth(c->s)) {
        imap_bad(c, "BAD URLAUTH disabled.");
        return CMD_DONE;
    }
    if (f == NULL)
        f = c->run_state = MEM_NEW(struct urlfetch);
    while (f->at < a->n && !imap_is_cancelled(c)) {
        const struct urlfetch_url *u = &a->v[f->at];
        struct imap_url_place at;
        struct err e = { 0 };
        int rc;

        if (c->out.n >= IMAPD_OUT_MARK)
            return CMD_FLUSH;
        if (f->is_sending) {
            send_octets(c, f, u->wants);
            continue;
        }
        if (clock_mono_ms() >= until_ms)
            return c->out.n > 0 ? CMD_FLUSH : CMD_YIELD;
        rc = imap_url_find(c, u->url, true, &at, &e);
        if (rc == 1)
            return CMD_ASK;
        if (rc == 0)
            rc = begin_url(c, f, u, &at, &e);
        if (rc == 0)
            continue;
        if (e.kind != ERR_CLIENT && e.kind != ERR_NOTFOUND) {
            imap_fail(c, &e, SL(""), "NONEXISTENT");
            return CMD_DONE;
        }
        buf_addz(&c->out, "* URLFETCH ");
        imap_add_astring(&c->out, u->url);
        buf_addz(&c->out, " NIL\r\n");
        end_url(f);
    }
    imap_reply(c, "OK URLFETCH completed.");
    return CMD_DONE;
}
