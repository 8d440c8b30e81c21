/* pop3d/adopt.c - a session that login offers: believed is the cookie alone, which authd turns into a user. */
#include "pop3d/pop3d.h"

#include "auth/auth_client.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/daemon.h"
#include "session/handoff.h"
#include "session/userip.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct candidate {
    uint64_t key, id;
    int fd;
    struct buf input, user, mail, quota; /* the last three as authd gave them */
    struct addr remote;
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
    buf_free(&c->user);
    buf_free(&c->mail);
    buf_free(&c->quota);
    free(c->sid);
    free(c);
}

static void
send_away(int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return; /* the client is gone: nobody to tell */
}

static void
refuse_over_limit(struct candidate *c)
{
    char text[200];

    snprintf(text, sizeof text,
             "-ERR [IN-USE] Maximum number of connections from user+IP exceeded "
             "(mail_max_userip_connections=%lld)",
             (long long)daemon_conf()->mail_max_userip_connections);
    log_info("pop3.userip", LOG_NONE, "pop3(%s)<%ld><%s>: %s", buf_z(&c->user), (long)getpid(),
             c->sid, text + 14);
    snprintf(text + strlen(text), sizeof text - strlen(text), "\r\n");
    send_away(c->fd, text);
}

static void
on_counted(uint64_t id, char *userip)
{
    struct candidate *c = id_get(id);

    if (!handoff_adopted(c->key, true)) {
        userip_leave(pop3d.userips, userip);
    } else if (!userip) {
        refuse_over_limit(c);
    } else {
        pop3_new(&(struct pop3_adopted){
            .fd = c->fd,
            .user = buf_slice(&c->user),
            .db = { .mail = buf_slice(&c->mail), .quota = buf_slice(&c->quota) },
            .sid = sl_z(c->sid),
            .input = buf_slice(&c->input),
            .ip = c->ip,
            .conf = daemon_conf(),
            .is_utf8 = c->is_utf8,
            .userip = userip });
        c->fd = -1;
    }
    candidate_free(c);
}

static void
on_user(uint64_t id, const struct auth_user *u)
{
    struct candidate *c = id_get(id);

    if (!c)
        return;
    if (u->found != 1) {
        log_error("pop3.cookie", LOG_F(LF_Z("sid", c->sid)),
                  "pop3: session <%s> from %s is not taken over: %s", c->sid, c->ip,
                  u->found == 0 ? "authd does not know the cookie" : "authd did not answer");
        (void)handoff_adopted(c->key, false);
        candidate_free(c);
        return;
    }
    buf_adds(&c->user, u->user);
    buf_adds(&c->mail, u->mail);
    buf_adds(&c->quota, u->quota);
    userip_join(pop3d.userips, u->user, &c->remote,
                (uint64_t)daemon_conf()->mail_max_userip_connections, on_counted, c->id);
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
    c->remote = h->remote;
    addr_ip_text(&h->remote, c->ip);
    auth_master_request(pop3d.auth, h->cookie, "pop3", h->session, on_user, c->id);
}
