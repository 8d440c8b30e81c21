/* imapd/adopt.c - taking a session over from login: the cookie is redeemed at authd, which alone says who the user
 * is (docs/architecture.md), and the sessions of a user from one address are counted. */
#include "imapd/imapd.h"

#include "auth/auth_client.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/userip.h"

#include <stdlib.h>
#include <unistd.h>

struct auth_master *imap_auth;
struct userips *imap_userips;

/* ---- adoption ---- */

struct adoption { /* while authd is asked */
    uint64_t id, key;
    int fd;
    struct addr remote, local;
    bool is_tls;
    struct buf tag, input, name, client_id;
    struct buf user, mail, quota, capability; /* as authd gave them */
};

static void
adoption_free(struct adoption *a)
{
    id_del(a->id);
    if (a->fd >= 0)
        close(a->fd);
    buf_free(&a->tag);
    buf_free(&a->input);
    buf_free(&a->name);
    buf_free(&a->client_id);
    buf_free(&a->user);
    buf_free(&a->mail);
    buf_free(&a->quota);
    buf_free(&a->capability);
    free(a);
}

/* The client is ours, but over the limit: say so and go. */
static void
refuse_over_limit(struct adoption *a, int64_t most)
{
    struct slice user = buf_slice(&a->user);
    char ip[ADDR_TEXT_OCTETS];
    struct buf b = { 0 };

    log_info("imap.limit", LOG_F(LF_S("user", user), LF_N("limit", most)),
             "imap(%.*s)<%s>: Maximum number of connections from user+IP exceeded "
             "(mail_max_userip_connections=%lld): "
             "rip=%s",
             SL_ARG(user), buf_z(&a->name), (long long)most, addr_ip_text(&a->remote, ip));
    buf_addf(&b,
             "%.*s NO [LIMIT] Maximum number of connections from user+IP exceeded "
             "(mail_max_userip_connections=%lld)\r\n",
             SL_ARG(buf_slice(&a->tag)), (long long)most);
    if (send(a->fd, b.p + b.off, b.n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        log_debug("imap.limit", LOG_NONE, "imap: the refusal could not be sent");
    buf_free(&b);
}

static void
on_counted(uint64_t id, char *userip)
{
    struct adoption *a = id_get(id);
    struct imap_adopted ad;

    if (!handoff_adopted(a->key, true)) {
        userip_leave(imap_userips, userip);
        adoption_free(a);
        return;
    }
    if (!userip) {
        refuse_over_limit(a, daemon_conf()->mail_max_userip_connections);
        adoption_free(a);
        return;
    }
    ad =
        (struct imap_adopted){ .fd = a->fd,
                               .conf = daemon_conf(),
                               .user = buf_slice(&a->user),
                               .db = { .mail = buf_slice(&a->mail), .quota = buf_slice(&a->quota) },
                               .remote = &a->remote,
                               .local = &a->local,
                               .is_tls = a->is_tls,
                               .capability = buf_slice(&a->capability),
                               .client_id = buf_slice(&a->client_id),
                               .tag = buf_slice(&a->tag),
                               .input = buf_slice(&a->input),
                               .name = buf_slice(&a->name),
                               .userip = userip };
    imap_sess_new(&ad);
    a->fd = -1;
    adoption_free(a);
}

static void
on_user(uint64_t id, const struct auth_user *u)
{
    struct adoption *a = id_get(id);

    if (!a)
        return;
    if (u->found != 1) {
        log_warn("imap.cookie", LOG_F(LF_S("sid", buf_slice(&a->name))),
                 "imap(<%s>): login's cookie names no user%s", buf_z(&a->name),
                 u->found < 0 ? ": auth server is away" : "");
        (void)handoff_adopted(a->key, false);
        adoption_free(a);
        return;
    }
    buf_adds(&a->user, u->user);
    buf_adds(&a->mail, u->mail);
    buf_adds(&a->quota, u->quota);
    buf_adds(&a->capability, u->imap_capability);
    userip_join(imap_userips, u->user, &a->remote,
                (uint64_t)daemon_conf()->mail_max_userip_connections, on_counted, a->id);
}

void
imap_adopt(uint64_t key, const struct handoff *h, int fd)
{
    struct adoption *a = MEM_NEW(struct adoption);

    a->id = id_add(a);
    a->key = key;
    a->fd = fd;
    a->remote = h->remote;
    a->local = h->local;
    a->is_tls = h->is_tls;
    buf_adds(&a->tag, h->tag);
    buf_adds(&a->input, h->input);
    buf_adds(&a->name, h->session);
    buf_adds(&a->client_id, h->client_id);
    auth_master_request(imap_auth, h->cookie, "imap", h->session, on_user, a->id);
}
