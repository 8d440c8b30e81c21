/* local/text.c - see locald.h. */
#include "local/locald.h"

#include "proto/smtp_addr.h"

#include <time.h>

static const char from[] = "From ";

/* "From " may come in pieces: what fits so far is held back. */
static void
put(struct text *t, char c, struct buf *out)
{
    if (!t->in_line && t->quotes_from) {
        if (c == from[t->matched]) {
            if (from[++t->matched] != '\0')
                return;
            buf_addz(out, ">From ");
            t->matched = 0;
            t->in_line = true;
            return;
        }
        buf_add(out, from, t->matched);
        t->matched = 0;
    }
    buf_addc(out, c);
    t->in_line = c != '\n';
}

void
text_add(struct text *t, struct slice in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        if (t->has_cr && in.p[i] != '\n')
            put(t, '\r', out);
        t->has_cr = in.p[i] == '\r';
        if (!t->has_cr)
            put(t, in.p[i], out);
    }
}

void
text_end(struct text *t, struct buf *out)
{
    bool is_open = t->in_line || t->matched > 0;

    if (t->has_cr)
        put(t, '\r', out);
    buf_add(out, from, t->matched);
    if (is_open || t->has_cr)
        buf_addc(out, '\n');
    if (t->quotes_from)
        buf_addc(out, '\n');
    *t = (struct text){ .quotes_from = t->quotes_from };
}

void
text_head(const struct delivery *d, int64_t now, struct buf *out)
{
    struct arena mem = { .cap = LOCAL_ARENA_OCTETS };
    struct slice sender = smtp_addr_quote(d->sender, &mem);
    time_t t = (time_t)now;
    char date[64];
    struct tm tm;

    if (d->kind != LOCAL_MAILDIR) {
        localtime_r(&t, &tm);
        if (strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm) == 0)
            date[0] = '\0';
        buf_addf(out, "From %.*s  %s\n", SL_ARG(sender.n > 0 ? sender : SL("MAILER-DAEMON")), date);
    }
    buf_addf(out, "Return-Path: <%.*s>\n", SL_ARG(sender));
    buf_addf(out, "X-Original-To: %.*s\n", SL_ARG(smtp_addr_quote(d->orig, &mem)));
    if (conf_list_has(d->conf->prepend_delivered_header,
                      d->kind == LOCAL_COMMAND ? "command" : "file"))
        buf_addf(out, "Delivered-To: %.*s\n", SL_ARG(smtp_addr_quote(d->recipient, &mem)));
    arena_free(&mem);
}
