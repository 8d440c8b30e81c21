/* smtpd/verbs_mx_backup.c - permit_mx_backup, out of old configurations: mail for domains that name this host as an exchanger, but not as the best.
 * What DNS cannot say for a while defers instead of refusing. */
#include "smtpd/check.h"

struct mxb { /* in the command's memory */
    struct slice *hosts;
    size_t n, n_primary;
    size_t at, end; /* of those being looked at */
    size_t first;   /* where they began */
    void (*yes)(struct check *c);
    void (*no)(struct check *c);
};

static void
dunno(struct check *c)
{
    check_done(c, VERDICT_DUNNO);
}

static void
permit(struct check *c)
{
    check_done(c, VERDICT_PERMIT);
}

static const char *
why(const struct dns_answer *a)
{
    return a->why[0] ? a->why : "Host not found";
}

/* ---- is one of these hosts this one? By its name, then by its addresses. ---- */

static void ask_own_addr(struct check *c);

static void
on_own_addr(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);
    struct mxb *m;

    if (c == NULL)
        return;
    m = c->own;
    if (a->rc != DNS_OK)
        check_note_if_reject(c, 450, "4.4.4",
                             "<%.*s>: %s rejected: Unable to look up mail exchanger host %s: %s",
                             SL_ARG(c->about.recipient), CLASS_TEXT_RECIPIENT, a->name, why(a));
    for (size_t i = 0; a->rc == DNS_OK && i < a->n; i++)
        if (own_addrs_has(&c->s->cfg->own, &a->rrs[i].addr)) {
            m->yes(c);
            return;
        }
    ask_own_addr(c);
}

static void
ask_own_addr(struct check *c)
{
    struct mxb *m = c->own;

    if (m->at >= m->end)
        m->no(c);
    else
        dns_addr(smtpd_env.dns, m->hosts[m->at++], DNS_WANT_A | DNS_WANT_AAAA | DNS_WANT_HOSTS,
                 on_own_addr, c->s->smtp.id);
}

static void
on_own_name(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct check *c = s->check;
    struct mxb *m = c->own;

    (void)arg;
    (void)value;
    (void)ext;
    if (f == FOUND_YES) {
        m->yes(c);
    } else if (m->at < m->end) {
        find_domain(s, &s->cfg->mydestination, m->hosts[m->at++], on_own_name, NULL);
    } else { /* a table that does not answer: addresses will tell */
        m->at = m->first;
        ask_own_addr(c);
    }
}

static void
am_i_among(struct check *c, size_t from, size_t to, void (*yes)(struct check *),
           void (*no)(struct check *))
{
    struct mxb *m = c->own;

    m->at = m->first = from;
    m->end = to;
    m->yes = yes;
    m->no = no;
    on_own_name(c->s, NULL, FOUND_NO, SL(""), SL(""));
}

/* ---- are the best exchangers in permit_mx_backup_networks? ---- */

static void
on_primary_addr(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);
    struct mxb *m;

    if (c == NULL)
        return;
    m = c->own;
    if (a->rc != DNS_OK) {
        check_defer_if_reject(
            c, 450, "4.4.4", "<%.*s>: %s rejected: Unable to look up host %s as mail exchanger: %s",
            SL_ARG(c->about.recipient), CLASS_TEXT_RECIPIENT, a->name, why(a));
        return;
    }
    for (size_t i = 0; i < a->n; i++)
        if (!hostlist_match(&c->s->cfg->mx_backup_networks, a->name, &a->rrs[i].addr)) {
            dunno(c);
            return;
        }
    if (m->at >= m->n_primary)
        permit(c);
    else
        dns_addr(smtpd_env.dns, m->hosts[m->at++], DNS_WANT_A | DNS_WANT_AAAA, on_primary_addr, id);
}

static void
am_backup(struct check *c)
{
    struct mxb *m = c->own;

    if (c->s->cfg->conf->permit_mx_backup_networks.n == 0) {
        permit(c);
        return;
    }
    m->at = 1;
    dns_addr(smtpd_env.dns, m->hosts[0], DNS_WANT_A | DNS_WANT_AAAA, on_primary_addr,
             c->s->smtp.id);
}

static void
not_primary(struct check *c)
{
    struct mxb *m = c->own;

    am_i_among(c, m->n_primary, m->n, am_backup, dunno);
}

/* ---- */

static void
on_mx(uint64_t id, const struct dns_answer *a)
{
    struct check *c = check_of_session(id);
    struct mxb *m;

    if (c == NULL)
        return;
    if (a->rc == DNS_TEMP) {
        check_defer_if_reject(
            c, 450, "4.4.4",
            "<%.*s>: %s rejected: Unable to look up mail exchanger information: %s",
            SL_ARG(c->about.recipient), CLASS_TEXT_RECIPIENT, why(a));
        return;
    }
    if (a->rc != DNS_OK || a->rrs[0].text.n == 0) {
        dunno(c);
        return;
    }
    m = ARENA_NEW(&c->s->smtp.cmd, struct mxb);
    if (m)
        m->hosts = arena_alloc(&c->s->smtp.cmd, a->n * sizeof(*m->hosts));
    if (m == NULL || m->hosts == NULL) {
        check_fail(c, 451, "4.3.0", "Error: too much memory wanted");
        return;
    }
    c->own = m;
    for (; m->n < a->n; m->n++) {
        m->hosts[m->n] = arena_dup(&c->s->smtp.cmd, a->rrs[m->n].text);
        m->n_primary += a->rrs[m->n].pref == a->rrs[0].pref;
    }
    am_i_among(c, 0, m->n_primary, dunno, not_primary);
}

static void
mx_backup(struct check *c)
{
    const struct smtp_resolved *to = &c->addr->to;

    if (check_is_auth_destination(c))
        permit(c);
    else if (to->addr.n == 0 || sl_starts(to->domain, '[') ||
             (to->is_routed && !c->s->cfg->conf->allow_untrusted_routing))
        dunno(c);
    else
        dns_mx(smtpd_env.dns, to->domain, on_mx, c->s->smtp.id);
}
static void (*const then_mx_backup)(struct check *) = mx_backup;

void
verb_permit_mx_backup(struct check *c)
{
    check_with_class(c, false, &then_mx_backup);
}
