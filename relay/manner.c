/* relay/manner.c - how another host is spoken to: what main.cf and qmgr say, as options of the client engine. */
#include "relay/relay_int.h"

#include "base/log.h"
#include "base/mem.h"

/* Words of smtp_discard_ehlo_keywords that mean something to this client. */
static const struct {
    const char *word;
    unsigned bit;
} keywords[] = {
    { "8BITMIME", SMTP_EXT_8BITMIME },     { "AUTH", SMTP_EXT_AUTH },
    { "CHUNKING", SMTP_EXT_CHUNKING },     { "DSN", SMTP_EXT_DSN },
    { "PIPELINING", SMTP_EXT_PIPELINING }, { "SIZE", SMTP_EXT_SIZE },
    { "SMTPUTF8", SMTP_EXT_SMTPUTF8 },     { "STARTTLS", SMTP_EXT_STARTTLS },
    { "XFORWARD", SMTP_EXT_XFORWARD },
};

static unsigned
discarded(const struct conf_list *l)
{
    unsigned bits = 0;

    for (size_t i = 0; i < l->n; i++)
        for (size_t k = 0; k < COUNT_OF(keywords); k++)
            if (sl_ieqz(sl_z(l->v[i]), keywords[k].word))
                bits |= keywords[k].bit;
    return bits;
}

void
manner_log_discarded(const struct conf *c)
{
    const struct conf_list *l = &c->smtp_discard_ehlo_keywords;
    unsigned bits = discarded(l);
    struct buf words = { 0 };

    for (size_t i = 0; i < l->n; i++)
        if (sl_ieqz(sl_z(l->v[i]), "silent-discard"))
            return;
    if (bits == 0)
        return;
    for (size_t k = 0; k < COUNT_OF(keywords); k++)
        if (bits & keywords[k].bit)
            buf_addf(&words, " %s", keywords[k].word);
    log_info("relay.discard", LOG_NONE, "discarding EHLO keywords:%s", buf_z(&words));
    buf_free(&words);
}

static unsigned
options(const struct conf_list *l)
{
    unsigned all = 0, bits;
    struct slice bad;

    for (size_t i = 0; i < l->n; i++)
        if (sasl_client_options(sl_z(l->v[i]), &bits, &bad) ==
            0) /* `postern check` refuses others */
            all |= bits;
    return all;
}

static void
fill_times(const struct conf *c, struct smtp_times *t)
{
    *t = (struct smtp_times){
        .connect = (uint64_t)c->smtp_connect_timeout,
        .greeting = (uint64_t)c->smtp_helo_timeout,
        .helo = (uint64_t)c->smtp_helo_timeout,
        .starttls = (uint64_t)c->smtp_starttls_timeout,
        .xforward = (uint64_t)c->smtp_xforward_timeout,
        .mail = (uint64_t)c->smtp_mail_timeout,
        .rcpt = (uint64_t)c->smtp_rcpt_timeout,
        .data_init = (uint64_t)c->smtp_data_init_timeout,
        .data_xfer = (uint64_t)c->smtp_data_xfer_timeout,
        .data_done = (uint64_t)c->smtp_data_done_timeout,
        .rset = (uint64_t)c->smtp_rset_timeout,
        .quit = (uint64_t)c->smtp_quit_timeout,
    };
}

static void
fill_sasl(const struct conf *c, struct smtp_client_sasl *o)
{
    *o = (struct smtp_client_sasl){
        .plain_options = options(&c->smtp_sasl_security_options),
        .tls_options = options(&c->smtp_sasl_tls_security_options),
        .verified_options = options(&c->smtp_sasl_tls_verified_security_options),
        .filter = c->smtp_sasl_mechanism_filter.v,
        .n_filter = c->smtp_sasl_mechanism_filter.n,
        .is_soft = c->smtp_sasl_auth_soft_bounce,
        .dummy_param = c->smtp_send_dummy_mail_auth,
    };
}

void
manner_opts(struct session *s, const struct target *t, struct smtp_client_opts *o)
{
    const struct conf *c = s->conf;

    *o = (struct smtp_client_opts){ .is_lmtp = s->is_lmtp,
                                    .always_ehlo = c->smtp_always_send_ehlo,
                                    .wants_chunks = true,
                                    .helo_name = c->smtp_helo_name,
                                    .peer = s->peer,
                                    .line_max = (size_t)c->smtp_line_length_limit,
                                    .must_tls = s->level >= LEVEL_ENCRYPT,
                                    .is_wrapper = s->manner.is_wrapper,
                                    .expect = &s->expect,
                                    .discard = discarded(&c->smtp_discard_ehlo_keywords),
                                    .wants_downgrade = !c->disable_mime_output_conversion,
                                    .skip_5xx_greeting = c->smtp_skip_5xx_greeting,
                                    .skip_quit_reply = c->smtp_skip_quit_response,
                                    .auth = s->manner.auth,
                                    .sasl = &s->sasl };
    /* Where TLS comes first there is no going on without, also where DANE has become may. */
    if ((!s->no_tls || s->manner.is_wrapper) && s->level > LEVEL_NONE)
        o->tls = s->policy.ctx;
    /* Only on the port where this host itself listens for other hosts' mail. */
    if (!s->is_lmtp && addr_port(&t->addr) == c->smtp_tcp_port) {
        o->loop_name = c->myhostname;
        o->loop_nexthop = s->domain;
        o->loop_is_final = t->pref == s->targets[0].pref;
    }
    fill_times(c, &o->times);
    fill_sasl(c, &s->sasl);
}
