/* auth/request_admit.c - what failures cost (auth/penalty.h), for whatever mechanism: before anything is looked up a request
 * may have to wait, and what is wrong is told late. */
#include "auth/auth_request.h"

#include "auth/names.h"
#include "base/log.h"

#include <stdlib.h>

enum { BUSY_LOG_MS = 10 * 1000 };

void
auth_service_set(struct auth_service *a)
{
    const struct conf *c = a->conf;
    struct err e = { 0 };

    auth_cache_set(hash_cache(a->hashes), (uint64_t)c->auth_cache_size, (uint64_t)c->auth_cache_ttl,
                   (uint64_t)c->auth_cache_negative_ttl);
    if (a->penalty)
        penalty_set_delay(a->penalty, (uint64_t)c->auth_failure_delay);
    netlist_free(&a->trusted);
    if (netlist_init(&a->trusted, "login_trusted_networks", c->login_trusted_networks, &e))
        log_error("auth.networks", LOG_F(LF_Z("why", e.msg)), "%s: no network is trusted", e.msg);
}

static bool
is_everybodys(const struct auth_service *a, const struct addr *remote)
{
    int family = addr_family(remote);

    return (family != AF_INET && family != AF_INET6) || addr_is_loopback(remote) ||
           netlist_match(&a->trusted, remote);
}

/* The name that is counted is the one that came in, made canonical, and the same by all its spellings: what the database has
 * for it would be another name for who exists only. It is kept, because r->user changes. So is how it is counted, because who
 * waits is counted off as he was counted, whatever networks a reload has made trusted meanwhile. */
static struct penalty_who
who(struct auth_request *r)
{
    struct slice said =
        r->sasl.mech == &sasl_external ? sl_z(r->cert_username) : buf_slice(&r->sasl.authcid);

    if (r->counted_as.n == 0 && said.n) {
        (void)auth_request_set_names(r, said); /* "user*master" is the master's try */
        auth_name_key(buf_slice(&r->user), &r->counted_as);
    }
    if (!r->is_counting) {
        r->is_counting = true;
        r->is_by_user = is_everybodys(r->auth, &r->remote);
    }
    return (struct penalty_who){ .remote = &r->remote,
                                 .is_by_user = r->is_by_user,
                                 .user = buf_slice(&r->counted_as) };
}

void
auth_request_add_source(struct auth_request *r, struct buf *out)
{
    struct penalty_who w = who(r);
    char net[ADDR_TEXT_OCTETS];

    if (w.is_by_user) {
        buf_addz(out, "user ");
        buf_adds(out, w.user);
    } else {
        buf_addz(out, addr_net_text(w.remote, net));
    }
}

static void
stop_waiting(struct auth_request *r)
{
    struct penalty_who w = who(r);

    if (r->is_waiting)
        penalty_waits(r->auth->penalty, &w, -1);
    r->is_waiting = false;
}

static void
on_waited(void *arg)
{
    struct auth_request *r = arg;

    stop_waiting(r);
    auth_request_go_on(r, r->waits_with);
}

bool
auth_request_admit(struct auth_request *r, enum sasl_rc rc)
{
    struct penalty_who w;
    struct penalty_verdict v;

    if (r->is_admitted || r->auth->penalty == NULL)
        return true;
    w = who(r);
    v = penalty_ask(r->auth->penalty, &w, loop_now_ms());
    r->is_admitted = true;
    r->rank = v.rank;
    if (v.is_refused) {
        auth_request_fail_busy(r);
        return false;
    }
    if (v.wait_ms == 0)
        return true;
    penalty_waits(r->auth->penalty, &w, 1);
    r->is_waiting = true;
    r->waits_with = rc;
    timer_start(&r->timer, v.wait_ms, on_waited, r);
    return false;
}

uint64_t
auth_request_count_failure(struct auth_request *r)
{
    struct penalty_who w = who(r);
    struct slice what = buf_slice(r->sasl.password.n ? &r->sasl.password : &r->sasl.token);

    r->is_counted = true;
    /* Neither a name nor a secret: no exchange at all, and nobody's password was guessed. */
    if (r->auth->penalty == NULL || (w.user.n == 0 && what.n == 0))
        return (uint64_t)r->conf->auth_failure_delay;
    return penalty_failed(r->auth->penalty, &w, what, loop_now_ms());
}

void
auth_request_count_success(struct auth_request *r)
{
    struct penalty_who w = who(r);

    r->is_counted = true;
    if (r->auth->penalty)
        penalty_succeeded(r->auth->penalty, &w, loop_now_ms());
}

/* A flood must not fill the log as well. */
void
auth_request_fail_busy(struct auth_request *r)
{
    static uint64_t said_ms, n;
    char ip[ADDR_TEXT_OCTETS];

    n++;
    if (said_ms == 0 || loop_now_ms() - said_ms >= BUSY_LOG_MS) {
        log_warn("auth.busy", LOG_F(LF_N("refused", n), LF_Z("rip", addr_ip_text(&r->remote, ip))),
                 "auth: too many logins at once, %llu were told to try again later; the last one "
                 "came from %s",
                 (unsigned long long)n, ip);
        said_ms = loop_now_ms();
        n = 0;
    }
    auth_request_send_fail(r, "\ttemp\tcode=temp_fail");
}

/* Who goes before the answer is there has perhaps seen enough: right would have been told by now. So has who was told why its
 * token is not good (sasl.why). */
void
auth_request_give_up(struct auth_request *r)
{
    if ((r->is_checking || r->sasl.why) && r->is_admitted && !r->is_waiting && !r->is_counted)
        (void)auth_request_count_failure(r);
}

void
auth_request_leave(struct auth_request *r)
{
    stop_waiting(r);
    buf_free(&r->counted_as);
}
