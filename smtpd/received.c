/* smtpd/received.c */
#include "smtpd/received.h"

#include <time.h>

void
received_date(int64_t unix_s, char out[RECEIVED_DATE_OCTETS])
{
    time_t t = (time_t)unix_s;
    struct tm tm;

    localtime_r(&t, &tm);
    if (strftime(out, RECEIVED_DATE_OCTETS, "%a, %e %b %Y %H:%M:%S %z (%Z)", &tm) == 0)
        out[0] = '\0';
}

/* A stranger's text inside a comment must not end it. */
static void
add_comment_text(struct buf *out, const char *s)
{
    for (; *s; s++)
        buf_addc(out, *s < ' ' || *s > '~' || strchr("()\\", *s) != NULL ? '?' : *s);
}

static void
add_tls(const struct smtpd_sess *s, struct buf *out)
{
    const struct conf *conf = s->cfg->conf;
    struct tls_info t;

    if (!conf->smtpd_tls_received_header || !tls_info_of(s->smtp.conn, &t))
        return;
    buf_addf(out, "\t(using %s with cipher %s (%d/%d bits)", t.protocol, t.cipher, t.bits,
             t.algbits);
    if (!strcmp(t.protocol, "TLSv1.3") && t.key_exchange[0])
        buf_addf(out, "\r\n\t key-exchange %s%s%s", t.key_exchange,
                 t.server_signature[0] ? " server-signature " : "", t.server_signature);
    if (t.client_signature[0])
        buf_addf(out, "\r\n\t client-signature %s", t.client_signature);
    buf_adds(out, SL(")\r\n\t("));
    if (t.has_peer_cert) {
        buf_adds(out, SL("Client CN \""));
        add_comment_text(out, t.peer_cn);
        buf_adds(out, SL("\", Issuer \""));
        add_comment_text(out, t.issuer_cn);
        buf_addf(out, "\" (%s)", t.peer_verified ? "verified OK" : "not verified");
    } else if (conf->smtpd_tls_ask_ccert || conf->smtpd_tls_req_ccert) {
        buf_adds(out, SL("Client did not present a certificate"));
    } else {
        buf_adds(out, SL("No client certificate requested"));
    }
    buf_adds(out, SL(")\r\n"));
}

/* RFC 3848: ESMTP, with S for TLS and A for AUTH; RFC 6531 §4.3. */
static const char *
protocol_text(const struct smtpd_sess *s)
{
    bool tls = smtp_sess_is_tls(&s->smtp), auth = s->sasl_user != NULL;

    if (s->tx->params.is_utf8)
        return tls ? (auth ? "UTF8SMTPSA" : "UTF8SMTPS") : auth ? "UTF8SMTPA" : "UTF8SMTP";
    if (!s->is_esmtp)
        return "SMTP";
    return tls ? (auth ? "ESMTPSA" : "ESMTPS") : auth ? "ESMTPA" : "ESMTP";
}

static void
add_client(const struct smtpd_sess *s, struct buf *out)
{
    char ip[ADDR_TEXT_OCTETS];

    addr_ip_text(&s->peer, ip);
    buf_addf(out, "Received: from %s (%s [%s%s])\r\n", s->helo ? s->helo : s->name, s->name,
             addr_family(&s->peer) == AF_INET6 ? "IPv6:" : "", ip);
    add_tls(s, out);
    if (s->cfg->conf->smtpd_sasl_authenticated_header && s->sasl_user) {
        buf_adds(out, SL("\t(Authenticated sender: "));
        add_comment_text(out, s->sasl_user);
        buf_adds(out, SL(")\r\n"));
    }
}

/* Hidden, the line does not say how the message came: then it needs no "from" (RFC 5321 §4.4). */
void
received_line(struct smtpd_sess *s, struct buf *out)
{
    const struct conf *conf = s->cfg->conf;
    char date[RECEIVED_DATE_OCTETS];

    if (s->pickup) {
        pickup_received(s, out);
        return;
    }
    received_date(s->tx->began_unix_s, date);
    if (conf->smtpd_hide_client_session) {
        buf_addf(out, "Received: by %s (%s) id %s", s->cfg->limits.myhostname, conf->mail_name,
                 s->tx->id);
    } else {
        add_client(s, out);
        buf_addf(out, "\tby %s (%s) with %s id %s", s->cfg->limits.myhostname, conf->mail_name,
                 protocol_text(s), s->tx->id);
    }
    if (s->tx->n_rcpts == 1) {
        struct slice to = smtp_addr_quote(s->tx->first->addr, &s->smtp.cmd);

        buf_addf(out, "\r\n\tfor <%.*s>; %s\r\n", SL_ARG(to), date);
    } else {
        buf_addf(out, ";\r\n\t%s\r\n", date);
    }
}
