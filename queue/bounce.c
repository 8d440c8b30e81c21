/* queue/bounce.c - the report that tells a sender what could not be delivered: multipart/report (RFC 6522) with
 * message/delivery-status (RFC 3464) and the original or its header. Returned to the envelope's sender from <>, so that a
 * report about a report never comes to be. */
#include "mime/mime.h"
#include "queue/qmgr_int.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_COLUMNS = 76 };

bool
bounce_wants(const struct qrcpt *r)
{
    unsigned notify = r->r->notify;

    if (r->m->env.sender.n == 0)
        return false;
    return notify == 0 || (notify & NOTIFY_FAILURE) != 0; /* NEVER has no other bit beside it */
}

static const char *
date(int64_t unix_s, char out[MIME_DATE_OCTETS])
{
    return mime_format_date(unix_s, mime_local_tz_minutes(unix_s), out);
}

static bool
has_8bit(struct slice s)
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

/* Words broken into lines, each with an indent. */
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
        add_clean(b, word);
        column += word.n;
        is_first = false;
    }
    buf_addz(b, "\r\n");
}

static void
add_header(struct buf *b, const struct qmsg *m, const struct conf *c, const char *id, int64_t now_s,
           const char *boundary, bool is_8bit)
{
    char text[MIME_DATE_OCTETS];

    date(now_s, text);
    buf_addf(b, "Received: by %s (%s)\r\n\tid %s; %s\r\n", c->myhostname, c->mail_name, id, text);
    buf_addf(b, "Date: %s\r\nFrom: MAILER-DAEMON@%s (Mail Delivery System)\r\n", text,
             c->myhostname);
    buf_addz(b, "Subject: Undelivered Mail Returned to Sender\r\nTo: ");
    add_clean(b, m->env.sender);
    buf_addf(
        b,
        "\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n",
        boundary);
    if (is_8bit)
        buf_addz(b, "Content-Transfer-Encoding: 8bit\r\n");
    buf_addf(b, "Message-Id: <%s@%s>\r\n\r\nThis is a MIME-encapsulated message.\r\n\r\n", id,
             c->myhostname);
}

static void
add_notification(struct buf *b, const struct qmsg *m, const struct conf *c)
{
    buf_addf(b,
             "The mail server %s could not deliver your message\r\nto the recipients below. It "
             "will not be tried again.\r\n",
             c->myhostname);
    buf_addz(b, "\r\nThe reasons are given as they were met; a copy of your message,\r\nor of its "
                "header, is attached.\r\n");
    for (size_t i = 0; i < m->n_rcpts; i++) {
        const struct qrcpt *r = &m->rcpts[i];

        if (r->state != RS_FAILED || !bounce_wants(r))
            continue;
        buf_addz(b, "\r\n<");
        add_clean(b, r->addr);
        buf_addz(b, ">");
        if (!sl_eq(r->r->orig, r->addr)) {
            buf_addz(b, " (expanded from <");
            add_clean(b, r->r->orig);
            buf_addz(b, ">)");
        }
        buf_addz(b, ":\r\n    ");
        add_folded(b, "    ", 4, sl_z(r->why));
    }
    buf_addz(b, "\r\n");
}

/* The remote host in "host NAME[IP]:PORT said: REPLY (in reply to ...)". */
static bool
split_said(struct slice why, struct slice *host, struct slice *said)
{
    size_t at = sl_find(why, SL(" said: ")), end;

    if (!sl_has_prefix(why, SL("host ")) || at == SL_NPOS)
        return false;
    *host = sl_from(sl_head(why, at), 5);
    *host =
        sl_head(*host, sl_find_char(*host, '[') == SL_NPOS ? host->n : sl_find_char(*host, '['));
    *said = sl_from(why, at + 7);
    end = sl_find(*said, SL(" (in reply to "));
    if (end != SL_NPOS)
        *said = sl_head(*said, end);
    return true;
}

static void
add_status(struct buf *b, const struct qmsg *m, const struct conf *c)
{
    char text[MIME_DATE_OCTETS];

    buf_addf(b, "Reporting-MTA: dns; %s\r\n", c->myhostname);
    if (m->env.envid.n > 0) {
        buf_addz(b, "Original-Envelope-Id: ");
        add_clean(b, m->env.envid);
        buf_addz(b, "\r\n");
    }
    buf_addf(b, "X-%s-Queue-ID: %s\r\nX-%s-Sender: rfc822; ", c->mail_name, m->env.id,
             c->mail_name);
    add_clean(b, m->env.sender);
    buf_addf(b, "\r\nArrival-Date: %s\r\n", date(m->arrived_us / 1000000, text));
    for (size_t i = 0; i < m->n_rcpts; i++) {
        const struct qrcpt *r = &m->rcpts[i];
        struct slice host, said;

        if (r->state != RS_FAILED || !bounce_wants(r))
            continue;
        buf_addz(b, "\r\nFinal-Recipient: rfc822; ");
        add_clean(b, r->addr);
        buf_addz(b, "\r\nOriginal-Recipient: ");
        if (r->r->orcpt.n > 0) {
            add_clean(b, r->r->orcpt);
        } else {
            buf_addz(b, "rfc822;");
            add_clean(b, r->r->orig);
        }
        buf_addf(b, "\r\nAction: failed\r\nStatus: %s\r\n", r->dsn[0] == '4' ? "5.4.7" : r->dsn);
        if (split_said(sl_z(r->why), &host, &said)) {
            buf_addf(b, "Remote-MTA: dns; %.*s\r\nDiagnostic-Code: smtp; ", SL_ARG(host));
            add_folded(b, "    ", 23, said);
        } else {
            buf_addf(b, "Diagnostic-Code: X-%s; ", c->mail_name);
            add_folded(b, "    ", 30, sl_z(r->why));
        }
    }
    buf_addz(b, "\r\n");
}

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

void
bounce_build(const struct qmsg *m, const struct conf *conf, const char *id, int64_t now_s,
             struct slice original, bool is_whole, struct buf *out)
{
    char boundary[QUEUE_ID_TEXT_OCTETS + 300];
    bool is_full = is_whole && m->env.ret != RET_HDRS, is_8bit;

    if (!is_full)
        original = header_of(original);
    is_8bit = has_8bit(original);
    snprintf(boundary, sizeof boundary, "%s.%lld/%.255s", id, (long long)now_s, conf->myhostname);
    add_header(out, m, conf, id, now_s, boundary, is_8bit);
    buf_addf(out,
             "--%s\r\nContent-Description: Notification\r\nContent-Type: text/plain; "
             "charset=utf-8\r\n\r\n",
             boundary);
    add_notification(out, m, conf);
    buf_addf(out,
             "--%s\r\nContent-Description: Delivery report\r\nContent-Type: "
             "message/delivery-status\r\n\r\n",
             boundary);
    add_status(out, m, conf);
    buf_addf(out, "--%s\r\nContent-Description: Undelivered Message%s\r\nContent-Type: %s\r\n",
             boundary, is_full ? "" : " Headers",
             is_full ? "message/rfc822" : "text/rfc822-headers");
    if (is_8bit)
        buf_addz(out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_addz(out, "\r\n");
    buf_adds(out, original);
    if (!sl_has_suffix(original, SL("\n")))
        buf_addz(out, "\r\n");
    buf_addf(out, "\r\n--%s--\r\n", boundary);
}
