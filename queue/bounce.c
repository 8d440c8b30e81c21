/* queue/bounce.c - see bounce.h. */
#include "queue/bounce.h"

#include "mime/mime.h"
#include "proto/smtp_addr.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_COLUMNS = 79, ORIGINAL_LINE_OCTETS = 998 };

static const char *
date(int64_t unix_s, char out[MIME_DATE_OCTETS])
{
    return mime_format_date(unix_s, mime_local_tz_minutes(unix_s), out);
}

bool
bounce_is_8bit(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= 0x80)
            return true;
    return false;
}

/* What a remote host said goes into header fields and text: no control octets. */
static void
add_clean(struct buf *b, struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        buf_addc(b, (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f ? ' ' : s.p[i]);
}

static void
add_address(struct buf *b, struct slice internal)
{
    struct arena mem = { 0 };

    add_clean(b, smtp_addr_quote(internal, &mem));
    arena_free(&mem);
}

/* Words broken into lines, each with an indent; a word that is longer than any line may be is broken, too. */
static void
add_folded(struct buf *b, const char *indent, size_t column, struct slice s)
{
    struct slice word;
    bool is_first = true;

    while (sl_take_word(&s, " \t\r\n", &word)) {
        if (!is_first && column + 1 + word.n > TEXT_COLUMNS) {
            buf_addf(b, "\r\n%s", indent);
            column = strlen(indent);
        } else if (!is_first) {
            buf_addc(b, ' ');
            column++;
        }
        while (word.n > ORIGINAL_LINE_OCTETS / 2) {
            add_clean(b, sl_head(word, ORIGINAL_LINE_OCTETS / 2));
            word = sl_from(word, ORIGINAL_LINE_OCTETS / 2);
            buf_addf(b, "\r\n%s", indent);
            column = strlen(indent);
        }
        add_clean(b, word);
        column += word.n;
        is_first = false;
    }
    buf_addz(b, "\r\n");
}

/* ---- header ---- */

/* "MAILER-DAEMON (Mail Delivery System)", "Mail Delivery System <MAILER-DAEMON>": an address without a domain gets one. */
static void
add_from(struct buf *b, struct slice from, const char *myorigin)
{
    size_t end = sl_find_char(from, '>');

    if (sl_find_char(from, '@') != SL_NPOS) {
        add_clean(b, from);
        return;
    }
    if (end == SL_NPOS) {
        end = 0;
        while (end < from.n && from.p[end] != ' ' && from.p[end] != '\t')
            end++;
    }
    add_clean(b, sl_head(from, end));
    buf_addf(b, "@%s", myorigin);
    add_clean(b, sl_from(from, end));
}

static void
add_header(struct buf *b, const struct bounce_report *r, const char *boundary, bool is_8bit)
{
    const struct bounce_template *t = &r->templates->v[r->kind];
    char text[MIME_DATE_OCTETS];

    date(r->now_s, text);
    buf_addf(b, "Received: by %s (%s)\r\n\tid %s; %s\r\n", r->myhostname, r->mail_name, r->id,
             text);
    buf_addf(b, "Date: %s\r\nFrom: ", text);
    add_from(b, t->from, r->myorigin);
    buf_addz(b, "\r\nSubject: ");
    add_clean(b, r->is_copy && t->postmaster_subject.n > 0 ? t->postmaster_subject : t->subject);
    buf_addz(b, "\r\nTo: ");
    add_address(b, r->to);
    buf_addf(
        b,
        "\r\nAuto-Submitted: auto-%s\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n",
        r->is_copy ? "generated" : "replied", boundary);
    if (is_8bit)
        buf_addz(b, "Content-Transfer-Encoding: 8bit\r\n");
    buf_addf(b, "Message-Id: <%s@%s>\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n", r->id,
             r->myhostname);
}

/* ---- for people ---- */

static void
add_template_text(struct buf *b, struct slice text)
{
    struct slice line;

    while (text.n > 0) {
        if (!sl_take_until(&text, '\n', &line)) {
            line = text;
            text = SL("");
        }
        if (sl_ends(line, '\r'))
            line.n--;
        buf_adds(b, line);
        buf_addz(b, "\r\n");
    }
}

static void
add_notification(struct buf *b, const struct bounce_report *r, const char *boundary)
{
    const struct bounce_template *t = &r->templates->v[r->kind];
    struct buf text = { 0 };

    if (!r->is_copy)
        add_template_text(&text, t->text);
    for (size_t i = 0; i < r->n_rcpts; i++) {
        const struct bounce_rcpt *v = &r->rcpts[i];
        size_t before = text.n + 2;

        buf_addz(&text, "\r\n<");
        add_address(&text, v->addr);
        buf_addz(&text, ">");
        if (v->orig.n > 0 && !sl_eq(v->orig, v->addr)) {
            buf_addz(&text, " (expanded from <");
            add_address(&text, v->orig);
            buf_addz(&text, ">)");
        }
        buf_addz(&text, ": ");
        add_folded(&text, "    ", text.n - before, v->why);
    }
    buf_addz(&text, "\r\n");
    buf_addf(b, "--%s\r\nContent-Description: Notification\r\nContent-Type: text/plain; charset=",
             boundary);
    if (bounce_is_8bit(buf_slice(&text)))
        buf_addf(b, "%.*s\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
                 SL_ARG(sl_ieqz(t->charset, "us-ascii") ? SL("utf-8") : t->charset));
    else
        buf_addf(b, "%.*s\r\n\r\n", SL_ARG(t->charset));
    buf_adds(b, buf_slice(&text));
    buf_free(&text);
}

/* ---- for programs ---- */

bool
bounce_split_said(struct slice why, struct slice *host, struct slice *said)
{
    struct slice in = why;
    size_t at, end;

    if (sl_take_prefix(&in, SL("host ")) && (at = sl_find(in, SL(" said: "))) != SL_NPOS) {
        *host = sl_head(in, at);
        *said = sl_from(in, at + 7);
        end = sl_find(*said, SL(" (in reply to "));
        if (end != SL_NPOS)
            *said = sl_head(*said, end);
    } else if (sl_take_prefix(&in, SL("delivery via ")) &&
               (at = sl_find(in, SL(": "))) != SL_NPOS) {
        *host = sl_head(in, at);
        *said = sl_from(in, at + 2);
        if (sl_eqz(*host, "none"))
            return false;
    } else {
        return false;
    }
    end = sl_find_char(*host, '[');
    if (end != SL_NPOS && end > 0)
        *host = sl_head(*host, end);
    return host->n > 0;
}

/* Octets beyond ASCII as RFC 6533 §3 wants them where only ASCII may be: \x{C5}. One that is no UTF-8 becomes '?'. */
static void
add_xtext_utf8(struct buf *b, struct slice s)
{
    static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };

    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
        unsigned long code = n > 1 ? c & ~lead[n] : c;
        bool is_good = n > 0 && i + n <= s.n;

        for (size_t k = 1; is_good && k < n; k++) {
            is_good = ((unsigned char)s.p[i + k] & 0xc0) == 0x80;
            code = code << 6 | ((unsigned char)s.p[i + k] & 0x3f);
        }
        if (!is_good) {
            buf_addc(b, '?');
            i++;
        } else if (n == 1 && c != '\\') {
            add_clean(b, sl_n(s.p + i, 1));
            i++;
        } else {
            buf_addf(b, "\\x{%lX}", code);
            i += n;
        }
    }
}

/* "rfc822; u@d", "utf-8; ü@d". */
static void
add_typed(struct buf *b, const struct bounce_report *r, const char *sep, struct slice internal)
{
    struct arena mem = { 0 };
    struct slice addr = smtp_addr_quote(internal, &mem);

    if (!bounce_is_8bit(addr)) {
        buf_addf(b, "rfc822;%s", sep);
        add_clean(b, addr);
    } else {
        buf_addf(b, "utf-8;%s", sep);
        if (r->is_utf8)
            add_clean(b, addr);
        else
            add_xtext_utf8(b, addr);
    }
    arena_free(&mem);
}

/* "type;address" as ORCPT had it; what is beyond ASCII is no rfc822 address whoever says so. */
static void
add_orcpt(struct buf *b, const struct bounce_report *r, struct slice orcpt)
{
    if (!bounce_is_8bit(orcpt)) {
        add_clean(b, orcpt);
        return;
    }
    if (sl_take_iprefix(&orcpt, SL("rfc822;")))
        buf_addz(b, "utf-8;");
    if (r->is_utf8)
        add_clean(b, orcpt);
    else
        add_xtext_utf8(b, orcpt);
}

static void
add_recipient(struct buf *b, const struct bounce_report *r, const struct bounce_rcpt *v)
{
    char text[MIME_DATE_OCTETS];
    struct slice host, said;

    buf_addz(b, "\r\nFinal-Recipient: ");
    add_typed(b, r, " ", v->addr);
    if (v->orcpt.n > 0) {
        buf_addz(b, "\r\nOriginal-Recipient: ");
        add_orcpt(b, r, v->orcpt);
    } else if (v->orig.n > 0) {
        buf_addz(b, "\r\nOriginal-Recipient: ");
        add_typed(b, r, "", v->orig);
    }
    buf_addf(b, "\r\nAction: %s\r\nStatus: ", v->action);
    add_clean(b, v->status); /* a table's, a policy service's */
    buf_addz(b, "\r\n");
    if (bounce_split_said(v->why, &host, &said)) {
        buf_addz(b, "Remote-MTA: dns; ");
        add_clean(b, host);
        buf_addz(b, "\r\nDiagnostic-Code: smtp; ");
        add_folded(b, "    ", 23, said);
    } else {
        buf_addf(b, "Diagnostic-Code: X-%s; ", r->mail_name);
        add_folded(b, "    ", 30, v->why);
    }
    if (v->attempt_s > 0)
        buf_addf(b, "Last-Attempt-Date: %s\r\n", date(v->attempt_s, text));
    if (r->kind == BOUNCE_DELAY)
        buf_addf(b, "Will-Retry-Until: %s\r\n", date(r->expires_s, text));
}

/* <> has a name in reports. */
static struct slice
sender_of(const struct bounce_report *r, struct arena *mem)
{
    return r->sender.n > 0 ? r->sender : sl_z(arena_printf(mem, "MAILER-DAEMON@%s", r->myorigin));
}

static void
add_status(struct buf *b, const struct bounce_report *r, const char *boundary)
{
    char text[MIME_DATE_OCTETS];
    struct arena mem = { 0 };
    struct slice sender = sender_of(r, &mem);
    struct buf status = { 0 };

    buf_addf(&status, "Reporting-MTA: dns; %s\r\n", r->myhostname);
    if (r->envid.n > 0) {
        buf_addz(&status, "Original-Envelope-Id: ");
        add_clean(&status, r->envid);
        buf_addz(&status, "\r\n");
    }
    buf_addf(&status, "X-%s-Queue-ID: %s\r\nX-%s-Sender: ", r->mail_name, r->of, r->mail_name);
    add_typed(&status, r, " ", sender);
    arena_free(&mem);
    buf_addf(&status, "\r\nArrival-Date: %s\r\n", date(r->arrived_s, text));
    for (size_t i = 0; i < r->n_rcpts; i++)
        add_recipient(&status, r, &r->rcpts[i]);
    buf_addz(&status, "\r\n");
    buf_addf(b,
             "--%s\r\nContent-Description: Delivery report\r\nContent-Type: "
             "message/%sdelivery-status\r\n%s\r\n",
             boundary, r->is_utf8 ? "global-" : "",
             bounce_is_8bit(buf_slice(&status)) ? "Content-Transfer-Encoding: 8bit\r\n" : "");
    buf_adds(b, buf_slice(&status));
    buf_free(&status);
}

/* ---- the original ---- */

/* The header of a message, with its last line's end. */
static struct slice
header_of(struct slice original)
{
    size_t at = sl_find(original, SL("\r\n\r\n")), lf = sl_find(original, SL("\n\n"));

    if (sl_has_prefix(original, SL("\r\n")))
        return sl_head(original, 0);
    if (at == SL_NPOS && lf == SL_NPOS)
        return original;
    return at < lf ? sl_head(original, at + 2) : sl_head(original, lf + 1);
}

static void
add_original(struct buf *b, const struct bounce_report *r, struct slice original, bool is_full,
             const char *boundary)
{
    const char *type = is_full      ? r->is_utf8 ? "message/global" : "message/rfc822"
                       : r->is_utf8 ? "message/global-headers"
                                    : "text/rfc822-headers";
    struct arena mem = { 0 };
    struct buf path = { 0 };

    buf_addz(&path, "Return-Path: <");
    add_address(&path, sender_of(r, &mem));
    buf_addz(&path, ">\r\n");
    buf_addf(b, "--%s\r\nContent-Description: %sMessage%s\r\nContent-Type: %s\r\n%s\r\n", boundary,
             r->kind == BOUNCE_FAILURE || r->kind == BOUNCE_DELAY ? "Undelivered " : "",
             is_full ? "" : " Headers", type,
             bounce_is_8bit(original) || bounce_is_8bit(buf_slice(&path))
                 ? "Content-Transfer-Encoding: 8bit\r\n"
                 : "");
    buf_adds(b, buf_slice(&path));
    buf_free(&path);
    arena_free(&mem);
    buf_adds(b, original);
    if (original.n > 0 && !sl_has_suffix(original, SL("\n")))
        buf_addz(b, "\r\n");
    buf_addf(b, "\r\n--%s--\r\n", boundary);
}

void
bounce_build(const struct bounce_report *r, struct buf *out)
{
    char boundary[400];
    bool is_full = r->is_whole && !r->wants_header_only && r->kind == BOUNCE_FAILURE;
    struct slice original = is_full ? r->original : header_of(r->original);
    struct buf parts = { 0 };

    snprintf(boundary, sizeof boundary, "%.64s.%lld/%.255s", r->id, (long long)r->now_s,
             r->myhostname);
    add_notification(&parts, r, boundary);
    add_status(&parts, r, boundary);
    add_original(&parts, r, original, is_full, boundary);
    add_header(out, r, boundary, bounce_is_8bit(buf_slice(&parts)));
    buf_adds(out, buf_slice(&parts));
    buf_free(&parts);
}
