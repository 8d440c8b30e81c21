/* smtpd/rewrite_clients.c - the list's words are tried in order; one that has to ask a table goes on from the answer. */
#include "smtpd/rewrite_clients.h"

#include "smtpd/find.h"

struct asking {              /* in the command's memory */
    size_t next;             /* word of the list */
    const char *fingerprint; /* to be tried after the one that is being asked for; NULL: none */
    void (*done)(struct smtpd_sess *s, bool good);
};

static void try_words(struct smtpd_sess *s, struct asking *a);

static const char *const words[] = { "permit_inet_interfaces", "permit_mynetworks",
                                     "permit_sasl_authenticated", "permit_tls_clientcerts",
                                     "permit_tls_all_clientcerts" };

int
rewrite_clients_check(const struct conf *c, struct err *e)
{
    struct conf_list l = c->local_header_rewrite_clients;

    for (size_t i = 0; i < l.n; i++) {
        bool is_known = false;

        if (!strcmp(l.v[i], "check_address_map")) {
            if (++i < l.n && domlist_is_table(l.v[i]))
                continue;
            return err_set(e, ERR_CONFIG,
                           "local_header_rewrite_clients: check_address_map needs type:table");
        }
        for (size_t k = 0; k < sizeof(words) / sizeof(*words); k++)
            is_known = is_known || !strcmp(l.v[i], words[k]);
        if (!is_known)
            return err_set(e, ERR_CONFIG,
                           "local_header_rewrite_clients: \"%s\" is none of its words", l.v[i]);
    }
    return 0;
}

static void
finish(struct smtpd_sess *s, struct asking *a, bool is_local)
{
    if (is_local)
        s->tx->rewrite = REWRITE_LOCAL;
    else
        s->tx->rewrite =
            s->cfg->conf->remote_header_rewrite_domain[0] ? REWRITE_REMOTE : REWRITE_NONE;
    a->done(s, true);
}

static void
on_found(struct smtpd_sess *s, void *arg, enum found f, struct slice value, struct slice ext)
{
    struct asking *a = arg;
    const char *fingerprint = a->fingerprint;

    (void)value;
    (void)ext;
    a->fingerprint = NULL;
    if (f == FOUND_TEMP)
        a->done(s, false);
    else if (f == FOUND_YES)
        finish(s, a, true);
    else if (fingerprint)
        find_key(s, "relay_clientcerts", sl_z(fingerprint), on_found, a);
    else
        try_words(s, a);
}

static bool
is_own(const struct smtpd_sess *s)
{
    return own_addrs_has(&s->cfg->own, &s->peer) || addr_same_ip(&s->local, &s->peer);
}

/* One word: 1 local, 0 the next word, -1 a table is being asked. */
static int
try_word(struct smtpd_sess *s, struct asking *a, const char *word)
{
    struct tls_info t;
    char ip[ADDR_TEXT_OCTETS];

    if (!strcmp(word, "permit_inet_interfaces"))
        return is_own(s);
    if (!strcmp(word, "permit_mynetworks"))
        return netlist_match(&s->cfg->mynetworks, &s->peer);
    if (!strcmp(word, "permit_sasl_authenticated"))
        return s->sasl_user != NULL;
    if (!strcmp(word, "check_address_map")) {
        const char *table = s->cfg->conf->local_header_rewrite_clients.v[a->next++];

        addr_ip_text(&s->peer, ip);
        find_key(s, table, sl_z(ip), on_found, a);
        return -1;
    }
    if (!tls_info_of(s->smtp.conn, &t) || !t.has_peer_cert)
        return 0;
    if (!strcmp(word, "permit_tls_all_clientcerts") && t.peer_verified)
        return 1;
    if (s->cfg->conf->relay_clientcerts.n == 0)
        return 0;
    a->fingerprint = t.peer_fingerprint; /* lives as long as the connection */
    find_key(s, "relay_clientcerts", sl_z(t.peer_key_fingerprint), on_found, a);
    return -1;
}

static void
try_words(struct smtpd_sess *s, struct asking *a)
{
    struct conf_list l = s->cfg->conf->local_header_rewrite_clients;
    int rc = 0;

    while (rc == 0 && a->next < l.n)
        rc = try_word(s, a, l.v[a->next++]);
    if (rc >= 0)
        finish(s, a, rc > 0);
}

void
rewrite_clients_find(struct smtpd_sess *s, void (*done)(struct smtpd_sess *s, bool good))
{
    struct asking *a = ARENA_NEW(&s->smtp.cmd, struct asking);
    bool is_local;

    if (a == NULL) {
        done(s, false);
        return;
    }
    a->done = done;
    if (s->pickup)
        finish(s, a, !s->pickup->is_gateway);
    else if (smtpd_xforward_source(s, &is_local)) /* whoever took the message first has decided */
        finish(s, a, is_local);
    else if (s->cfg->service != SMTPD_MX && s->sasl_user)
        finish(s, a, true); /* what a submission service is for */
    else
        try_words(s, a);
}
