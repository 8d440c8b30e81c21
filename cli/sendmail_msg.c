/* cli/sendmail_msg.c - the message that sendmail(1) is given: lines become CRLF lines, a lone dot may end it, and the header
 * may say for whom it is. What else a header lacks or has too much (Bcc, Date, From) is smtpd's business, for all mail. */
#include "cli/sendmail.h"

#include "base/mem.h"
#include "base/utf8.h"
#include "proto/smtp_header.h"

#include <stdlib.h>

enum {
    LINE_HELD_OCTETS =
        256 * 1024,            /* of one line, before it is known whether it is a dot or a field */
    FIELD_OCTETS = 1024 * 1024 /* of To or Cc */
};

/* ---- addresses ---- */

void
sendmail_add_address(struct sendmail_list *l, struct slice internal)
{
    if (l->n == l->cap)
        l->v = mem_grow(l->v, &l->cap, l->n + 1, sizeof *l->v);
    l->v[l->n] = arena_dup(&l->mem, internal);
    if (l->v[l->n].p)
        l->n++;
    else
        l->is_full = true;
}

static void
add_address(void *arg, struct slice internal)
{
    sendmail_add_address(arg, internal);
}

void
sendmail_add_addresses(struct sendmail_list *l, struct slice text)
{
    if (!smtp_header_addresses(text, SENDMAIL_TOKENS_MAX, &l->mem, add_address, l))
        l->is_full = true;
}

void
sendmail_list_free(struct sendmail_list *l)
{
    arena_free(&l->mem);
    free(l->v);
    *l = (struct sendmail_list){ 0 };
}

void
sendmail_verp(struct slice sender, struct slice rcpt, const char *delimiters, struct buf *out)
{
    size_t at = sl_rfind_char(sender, '@'), to = sl_rfind_char(rcpt, '@');

    buf_adds(out, sl_head(sender, at));
    buf_addc(out, delimiters[0]);
    buf_adds(out, sl_head(rcpt, to));
    if (to != SL_NPOS) {
        buf_addc(out, delimiters[1]);
        buf_adds(out, sl_from(rcpt, to + 1));
    }
    if (at != SL_NPOS)
        buf_adds(out, sl_from(sender, at));
}

void
sendmail_gecos(const char *gecos, const char *login, struct buf *out)
{
    for (; *gecos && *gecos != ',' && *gecos != ';' && *gecos != '%'; gecos++) {
        if (*gecos != '&') {
            buf_addc(out, *gecos);
        } else if (*login) {
            buf_addc(out, *login >= 'a' && *login <= 'z' ? (char)(*login - 32) : *login);
            buf_addz(out, login + 1);
        }
    }
}

/* ---- the header ---- */

/* A whole field: does it name recipients? */
static void
end_field(struct sendmail_reader *r)
{
    static const char *const names[] = { "To", "Cc", "Bcc" };
    struct slice field = buf_slice(&r->field), name;
    bool is_resent;

    if (!sl_take_until(&field, ':', &name)) {
        buf_reset(&r->field);
        return;
    }
    name = sl_trim(name);
    is_resent = sl_take_iprefix(&name, SL("Resent-"));
    r->is_resent |= is_resent;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (sl_ieqz(name, names[i]))
            sendmail_add_addresses(is_resent ? &r->resent_to : &r->to, field);
    buf_reset(&r->field);
}

/* A field's name, a colon? */
static bool
is_field_start(struct slice line)
{
    size_t colon = sl_find_char(line, ':');
    struct slice name = sl_trim(sl_head(line, colon));

    if (colon == SL_NPOS || name.n == 0)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] == 127 || (unsigned char)name.p[i] > 127)
            return false;
    return true;
}

static void
header_line(struct sendmail_reader *r, struct slice line)
{
    if (r->field.n > 0 && (sl_starts(line, ' ') || sl_starts(line, '\t'))) {
        buf_addc(&r->field, '\n');
        buf_adds(&r->field, line);
        return;
    }
    end_field(r);
    if (!is_field_start(line))
        r->in_body = true;
    else
        buf_adds(&r->field, line);
}

/* ---- lines ---- */

static void
flush(struct sendmail_reader *r)
{
    struct slice s = buf_slice(&r->out);

    for (; s.n > 0; s = sl_from(s, DROP_RECORD_OCTETS))
        r->put(r->arg, sl_head(s, DROP_RECORD_OCTETS));
    buf_reset(&r->out);
}

static void
put(struct sendmail_reader *r, struct slice s)
{
    r->octets += s.n;
    if (r->size_limit && r->octets > r->size_limit) {
        r->is_too_big = r->is_over = true;
        return;
    }
    r->is_8bit = r->is_8bit || !utf8_is_ascii(s);
    buf_adds(&r->out, s);
    if (r->out.n >= DROP_RECORD_OCTETS / 2)
        flush(r);
}

/* The start of a line, mostly all of it: what it is shows here. False: it is no part of the message. */
static bool
look_at(struct sendmail_reader *r, struct slice line, bool is_whole)
{
    struct slice quoted = line;

    if (!r->is_begun) {
        /* "From user date" in front, once or more, with ">" or without: a mailbox's, not the message's */
        while (sl_take_char(&quoted, '>'))
            continue;
        if (is_whole && sl_has_prefix(quoted, SL("From ")))
            return false;
        r->is_begun = true;
        r->strips_cr = strcmp(r->fix_line_endings, "always") == 0 ||
                       (strcmp(r->fix_line_endings, "strict") == 0 && sl_ends(line, '\r'));
    }
    if (is_whole && r->strips_cr && sl_ends(line, '\r'))
        line.n--;
    if (is_whole && !r->dot_is_text && sl_eqz(line, ".")) {
        r->is_over = true;
        return false;
    }
    if (!r->in_body && r->extracts)
        header_line(r, line);
    return true;
}

static void
end_line(struct sendmail_reader *r, struct slice line)
{
    if (!r->is_mid && !look_at(r, line, true))
        return;
    r->is_mid = false;
    if (r->strips_cr && sl_ends(line, '\r'))
        line.n--;
    put(r, line);
    put(r, SL("\r\n"));
}

/* A line that is long enough to be put out before its end has come; the last octet may be half of its end. */
static void
put_head(struct sendmail_reader *r)
{
    struct slice head = buf_slice(&r->line);

    head.n--;
    if (!r->is_mid)
        look_at(r, head, false);
    r->is_mid = true;
    put(r, head);
    buf_consume(&r->line, head.n);
}

bool
sendmail_read(struct sendmail_reader *r, struct slice in)
{
    struct slice line;

    r->field.max = FIELD_OCTETS;
    while (in.n > 0 && !r->is_over) {
        if (!sl_take_until(&in, '\n', &line)) {
            buf_adds(&r->line, in);
            in.n = 0;
            if (r->line.n > LINE_HELD_OCTETS)
                put_head(r);
        } else if (r->line.n > 0) {
            buf_adds(&r->line, line);
            end_line(r, buf_slice(&r->line));
            buf_reset(&r->line);
        } else {
            end_line(r, line);
        }
    }
    return r->is_over;
}

void
sendmail_read_end(struct sendmail_reader *r)
{
    if (r->line.n > 0 && !r->is_over)
        end_line(r, buf_slice(&r->line)); /* a last line without an end gets one */
    if (r->extracts)
        end_field(r);
    flush(r);
}

void
sendmail_reader_free(struct sendmail_reader *r)
{
    sendmail_list_free(&r->to);
    sendmail_list_free(&r->resent_to);
    buf_free(&r->line);
    buf_free(&r->field);
    buf_free(&r->out);
}
