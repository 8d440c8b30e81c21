/* smtpd/tls_contexts.c - the TLS contexts of the listeners: made of what the supervisor sent and of main.cf, anew when either
 * changes. A session keeps the one it began with. */
#include "smtpd/smtpd.h"
#include "smtpd/tls_setup.h"

#include "base/mem.h"
#include "core/daemon.h"
#include "session/legacy.h"

enum { CALM, LEGACY, KINDS };

static struct tls_ctx *contexts[SMTPD_SERVICES][KINDS]; /* NULL: no TLS, or nobody's */
static struct tls_bundle certificates;

static int
make(const struct conf *main_conf, enum smtpd_service service, const struct tls_bundle *from,
     struct tls_ctx *out[KINDS], struct err *e)
{
    const char *name = smtpd_service_name(service);
    struct tls_store *store = tls_bundle_store(from, service == SMTPD_MX ? "smtp" : name);
    struct conf *c;
    struct buf excluded = { 0 };
    struct tls_server_opts o;
    int rc;

    if (!tls_store_is_usable(store))
        return 0;
    c = service == SMTPD_MX ? conf_ref(main_conf) : conf_for_service(main_conf, name);
    smtpd_tls_opts(c, service == SMTPD_MX, service == SMTPD_SUBMISSIONS, &excluded, &o);
    rc = tls_server_of(store, &o, &out[CALM], e);
    o.is_legacy = true;
    if (rc == 0 && legacy_has_service(c->legacy_listeners, service == SMTPD_MX ? "smtp" : name))
        rc = tls_server_of(store, &o, &out[LEGACY], e);
    buf_free(&excluded);
    conf_unref(&c);
    return rc;
}

static int
make_all(const struct conf *c, const struct tls_bundle *from, struct err *e)
{
    struct tls_ctx *fresh[SMTPD_SERVICES][KINDS] = { { NULL } };
    int rc = 0;

    for (int i = 0; i < SMTPD_PICKUP && rc == 0; i++) /* which has none */
        rc = make(c, (enum smtpd_service)i, from, fresh[i], e);
    for (int i = 0; i < SMTPD_SERVICES; i++)
        for (int k = 0; k < KINDS; k++) {
            if (rc == 0) {
                struct tls_ctx *old = contexts[i][k];

                contexts[i][k] = fresh[i][k];
                fresh[i][k] = old;
            }
            tls_unref(&fresh[i][k]);
        }
    return rc;
}

int
smtpd_set_tls(struct slice name, struct slice text, struct err *e)
{
    struct tls_bundle fresh;

    if (sl_eqz(name, "tickets"))
        return tls_set_ticket_keys(text, e);
    if (tls_bundle_read(text, &fresh, e))
        return -1;
    if (make_all(daemon_conf(), &fresh, e)) {
        tls_bundle_free(&fresh);
        return -1;
    }
    tls_bundle_free(&certificates);
    certificates = fresh;
    return 0;
}

int
smtpd_tls_configure(const struct conf *c, struct err *e)
{
    return make_all(c, &certificates, e);
}

struct tls_ctx *
smtpd_tls_ctx(const struct smtpd_sess *s)
{
    enum smtpd_service service = s->cfg->service;

    if (contexts[service][LEGACY] && s->smtp.conn &&
        legacy_is_listener(s->cfg->conf->legacy_listeners,
                           service == SMTPD_MX ? "smtp" : smtpd_service_name(service),
                           conn_fd(s->smtp.conn)))
        return contexts[service][LEGACY];
    return contexts[service][CALM];
}
