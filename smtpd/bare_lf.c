/* smtpd/bare_lf.c */
#include "smtpd/bare_lf.h"

static bool
is_set_to(const struct smtpd_sess *s, const char *word)
{
    return sl_ieqz(sl_z(word), s->cfg->conf->smtpd_forbid_bare_newline);
}

bool
bare_lf_ends(const struct smtpd_sess *s)
{
    return s->pickup || is_set_to(s, "no") || netlist_match(&s->cfg->lf_exclusions, &s->peer);
}

bool
bare_lf_is_good(struct smtpd_sess *s)
{
    if (bare_lf_ends(s))
        return true;
    s->notes_bare_lf = s->notes_bare_lf || is_set_to(s, "note");
    return !is_set_to(s, "reject");
}

void
bare_lf_refuse(struct smtpd_sess *s)
{
    smtpd_log_reject(s, "bare <LF> received", s->tx ? s->tx->sender.given : sl_n(NULL, 0),
                     s->tx ? smtpd_only_rcpt(s->tx) : sl_n(NULL, 0));
    smtp_reply(&s->smtp, "%d 5.5.2 %s Error: bare <LF> received",
               (int)s->cfg->conf->smtpd_forbid_bare_newline_reject_code, s->cfg->conf->myhostname);
}

bool
bare_lf_take_command(struct smtpd_sess *s)
{
    if (bare_lf_is_good(s))
        return true;
    bare_lf_refuse(s);
    smtp_sess_end(&s->smtp, SMTP_END_FORBIDDEN);
    smtp_sess_done(&s->smtp, false);
    return false;
}
