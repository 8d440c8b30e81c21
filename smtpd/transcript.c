/* smtpd/transcript.c - see transcript.h. The class of a failure is that of its reply: there is one place where replies go
 * out, and hundreds where they are made. */
#include "smtpd/transcript.h"

#include "base/log.h"
#include "base/mem.h"
#include "smtpd/account.h"

enum {
    OCTETS_MAX = 16 * 1024, /* of a session; the rest is left out */
    NOTICES_MAX = 20,       /* of one worker in */
    PERIOD_MS = 60 * 60 * 1000
};

static const struct {
    const char *name;
    unsigned bits;
} classes[] = {
    { "bounce", TRANSCRIPT_BOUNCE },     { "data", TRANSCRIPT_DATA },
    { "policy", TRANSCRIPT_POLICY },     { "protocol", TRANSCRIPT_PROTOCOL },
    { "resource", TRANSCRIPT_RESOURCE }, { "software", TRANSCRIPT_SOFTWARE },
};

/* The first that fits. code: of which '0' stands for any digit. */
static const struct {
    const char *code, *dsn, *word;
    unsigned class;
} kinds[] = {
    { "452", "4.3.1", "", TRANSCRIPT_RESOURCE },
    { "552", "", "", TRANSCRIPT_POLICY },
    { "400", "4.3.5", "configuration error", TRANSCRIPT_SOFTWARE },
    { "500", "5.3.5", "configuration error", TRANSCRIPT_SOFTWARE },
    { "451", "4.3.0", "queue file", TRANSCRIPT_SOFTWARE },
    { "400", "4.3.0", "", TRANSCRIPT_DATA },
    { "421", "", "", 0 },                    /* the client's time is over, or ours */
    { "454", "4.7.0", "", TRANSCRIPT_DATA }, /* nobody can say whether a password is right */
    { "400", "", "", TRANSCRIPT_POLICY },
    { "535", "", "", 0 }, /* a wrong password */
    { "530", "", "", TRANSCRIPT_POLICY },
    { "500", "5.1.1", "", TRANSCRIPT_BOUNCE },
    { "500", "5.1.0", "", TRANSCRIPT_BOUNCE },
    { "550", "", "", TRANSCRIPT_POLICY },
    { "554", "5.7.", "", TRANSCRIPT_POLICY },
    { "553", "5.7.", "", TRANSCRIPT_POLICY },
    { "500", "", "", TRANSCRIPT_PROTOCOL },
};

unsigned
transcript_classes(const struct conf *c)
{
    unsigned bits = 0;

    for (size_t i = 0; i < COUNT_OF(classes); i++)
        if (conf_list_has(c->notify_classes, classes[i].name))
            bits |= classes[i].bits;
    return bits;
}

static bool
has_code(struct slice reply, const char *code)
{
    for (size_t i = 0; i < 3; i++)
        if (reply.p[i] != code[i] && (i == 0 || code[1] != '0' || code[2] != '0'))
            return false;
    return true;
}

unsigned
transcript_class_of(struct slice reply)
{
    if (reply.n < 4 || (reply.p[0] != '4' && reply.p[0] != '5'))
        return 0;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (has_code(reply, kinds[i].code) &&
            sl_has_prefix(sl_from(reply, 4), sl_z(kinds[i].dsn)) &&
            sl_ifind(reply, sl_z(kinds[i].word)) != SL_NPOS)
            return kinds[i].class;
    return 0;
}

void
transcript_overheard(struct smtp_sess *smtp, bool is_client, struct slice line)
{
    struct smtpd_sess *s = smtpd_of(smtp);

    if (s->cfg->transcript_classes == 0 || s->pickup)
        return;
    if (!is_client)
        s->transcript_class |= transcript_class_of(line) & s->cfg->transcript_classes;
    if (s->transcript.n + line.n > OCTETS_MAX) {
        if (!s->is_transcript_cut)
            buf_addz(&s->transcript, " ...\n");
        s->is_transcript_cut = true;
        return;
    }
    if (is_client && s->hides_words && !smtp_is_command(smtp->def, line)) {
        line = SL("(not shown)");
    } else if (is_client) {
        struct slice shown = smtp_shown(smtp->def, line);

        s->hides_words = s->hides_words || shown.n < line.n;
        line = shown;
    }
    buf_addf(&s->transcript, is_client ? " In:  %.*s\n" : " Out: %.*s\n", SL_ARG(line));
}

void
transcript_over(struct smtpd_sess *s)
{
    if (s->transcript_class)
        return;
    buf_free(&s->transcript);
    s->is_transcript_cut = false;
}

/* A table that is away is so for every client: postmaster hears of some of them, and the log has all. */
static bool
may_send(const struct smtpd_sess *s)
{
    static uint64_t since_ms;
    static unsigned n;
    uint64_t now = loop_now_ms();

    if (since_ms == 0 || now - since_ms > PERIOD_MS) {
        since_ms = now;
        n = 0;
    }
    if (n++ < NOTICES_MAX)
        return true;
    if (n == NOTICES_MAX + 1)
        log_event(LOG_LV_WARN, s->cfg->ident, "notice.many", LOG_NONE,
                  "postmaster was told of %d sessions in an hour, and is not told of more",
                  NOTICES_MAX);
    return false;
}

static void
tell_postmaster(struct smtpd_sess *s)
{
    const struct conf *c = s->cfg->conf;
    struct buf subject = { 0 }, text = { 0 };

    buf_addf(&subject, "%s SMTP server: errors from %s", c->mail_name, s->namaddr);
    buf_addz(&text, "Transcript of session follows.\n\n");
    buf_adds(&text, buf_slice(&s->transcript));
    buf_addz(&text, "\n\nFor other details, see the local mail logfile\n");
    notice_send_to(s->cfg,
                   s->transcript_class & TRANSCRIPT_BOUNCE ? c->bounce_notice_recipient
                                                           : c->error_notice_recipient,
                   buf_z(&subject), buf_slice(&text));
    buf_free(&subject);
    buf_free(&text);
}

void
transcript_end(struct smtpd_sess *s)
{
    if (s->transcript_class && s->namaddr && may_send(s))
        tell_postmaster(s);
    buf_free(&s->transcript);
}
