/* session/quota_tell.c - see quota_tell.h. */
#include "session/quota_tell.h"

#include "base/mem.h"
#include "core/daemon.h"
#include "core/loop.h"
#include "proto/policy.h"
#include "session/policy_client.h"

#include <stdlib.h>

enum { TELL_MS = 30 * 1000, TELL_RETRY_MS = 1000, TELL_IDLE_MS = 60 * 1000, TELL_TRIES = 2 };

static struct policy_client *client;
static char path[256];

void
quota_tell_init(const struct conf *c)
{
    daemon_socket_path(c, QUOTA_SERVICE, path, sizeof path);
    client = policy_client_new(NULL);
    quota_tell(SL(""));
}

static void
on_answer(uint64_t id, bool ok, struct slice action)
{
    (void)id;
    (void)ok; /* if not, the client has logged it */
    (void)action;
}

static void
tell(void *arg)
{
    static const struct policy_server server = { .name = QUOTA_SERVICE,
                                                 .path = path,
                                                 .timeout_ms = TELL_MS,
                                                 .max_idle_ms = TELL_IDLE_MS,
                                                 .max_ttl_ms = TELL_IDLE_MS,
                                                 .retry_delay_ms = TELL_RETRY_MS,
                                                 .try_limit = TELL_TRIES };
    char *user = arg;
    struct buf request = { 0 };

    policy_add(&request, "request", SL(QUOTA_TELL_REQUEST));
    policy_add(&request, "recipient", sl_z(user));
    policy_end(&request);
    policy_ask(client, &server, NULL, buf_slice(&request), on_answer, 0);
    buf_free(&request);
    free(user);
}

void
quota_tell(struct slice user)
{
    loop_call_from_thread(tell, sl_dupz(user));
}
