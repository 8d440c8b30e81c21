/* pop3d/adopt.c - a session that login offers: believed is the cookie alone, which authd turns into a user. */
#include "pop3d/pop3d.h"

#include "auth/auth_client.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/handoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct candidate {
    uint64_t key, id;
    int fd;
    struct buf input;
    char *sid;
    char ip[ADDR_TEXT_OCTETS];
    bool is_utf8;
};

static void
candidate_free(struct candidate *c)
{
    id_del(c->id);
    if (c->fd >= 0)
        close(c->fd);
    buf_free(&c->input);
    free(c->sid);
    free(c);
}

static size_t
count_userip(struct slice user, const char *ip)
{
    size_t n = 0;

    LIST_EACH(it, nxt, &pop3d.sessions)
    {
        const struct pop3_sess *s = CONTAINER_OF(it, struct pop3_sess, link);

        n += sl_eqz(user, s->user) && strcmp(ip, s->ip) == 0;
    }
    return n;
}

static void
send_away(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* the client is gone: nobody to tell */
}

static void
on_user(uint64_t id, const struct auth_user *u)
{
    struct candidate *c = id_get(id);
    const struct conf *conf = daemon_conf();
    int64_t most = conf->mail_max_userip_connections;

    if (!c)
        return;
    if (u->found != 1)
        log_error("pop3.cookie", LOG_F(LF_Z("sid", c->sid)),
                  "pop3: session <%s> from %s is not taken over: %s", c->sid, c->ip,
                  u->found == 0 ? "authd does not know the cookie" : "authd did not answer");
    if (!handoff_adopted(c->key, u->found == 1)) {
        candidate_free(c);
        return;
    }
    if (most > 0 && count_userip(u->user, c->ip) >= (size_t)most) {
        char text[200];

        snprintf(text, sizeof text,
                 "-ERR [IN-USE] Maximum number of connections from user+IP exceeded "
                 "(mail_max_userip_connections=%lld)",
                 (long long)most);
        log_info("pop3.userip", LOG_NONE, "pop3(%.*s)<%ld><%s>: %s", SL_ARG(u->user),
                 (long)getpid(), c->sid, text + 14);
        snprintf(text + strlen(text), sizeof text - strlen(text), "\r\n");
        send_away(c->fd, text);
    } else {
        pop3_new(&(struct pop3_adopted){ .fd = c->fd,
                                         .user = u->user,
                                         .db = { .mail = u->mail, .quota = u->quota },
                                         .sid = sl_z(c->sid),
                                         .input = buf_slice(&c->input),
                                         .ip = c->ip,
                                         .conf = conf,
                                         .is_utf8 = c->is_utf8 });
        c->fd = -1;
    }
    candidate_free(c);
}

void
pop3_adopt(uint64_t key, const struct handoff *h, int fd)
{
    struct candidate *c = MEM_NEW(struct candidate);

    c->key = key;
    c->fd = fd;
    c->id = id_add(c);
    c->sid = sl_dupz(h->session);
    c->is_utf8 = h->is_utf8;
    buf_adds(&c->input, h->input);
    addr_ip_text(&h->remote, c->ip);
    auth_master_request(pop3d.auth, h->cookie, "pop3", h->session, on_user, c->id);
}
