/* session/legacy.c - see legacy.h. */
#include "session/legacy.h"

#include "base/mem.h"
#include "core/addr.h"

static const char *const services[] = { "smtp",  "submission", "submissions", "imap",
                                        "imaps", "pop3",       "pop3s" };

/* "imaps:1993" in its two parts; no number: any_port. */
static bool
split(struct slice word, struct slice *service, uint32_t *port, bool *any_port)
{
    *any_port = !sl_take_until(&word, ':', service);
    *port = 0;
    if (*any_port)
        *service = word;
    return *any_port || (sl_to_u32(word, port) && *port > 0 && *port <= 65535);
}

static bool
has(struct conf_list l, const char *service, bool is_port_known, unsigned its_port)
{
    struct slice name;
    uint32_t port;
    bool any_port;

    for (size_t i = 0; i < l.n; i++)
        if (split(sl_z(l.v[i]), &name, &port, &any_port) && sl_ieqz(name, service) &&
            (any_port || !is_port_known || port == its_port))
            return true;
    return false;
}

bool
legacy_has_service(struct conf_list l, const char *service)
{
    return has(l, service, false, 0);
}

bool
legacy_is_listener(struct conf_list l, const char *service, int fd)
{
    struct addr a;

    if (l.n == 0)
        return false;
    return has(l, service, true, addr_of_self(fd, &a) == 0 ? addr_port(&a) : 0);
}

bool
legacy_names(struct conf_list l, const char *service, unsigned port)
{
    return has(l, service, true, port);
}

int
legacy_check(struct conf_list l, struct err *e)
{
    struct slice name;
    uint32_t port;
    bool any_port, is_known = false;

    for (size_t i = 0; i < l.n; i++) {
        is_known = split(sl_z(l.v[i]), &name, &port, &any_port);
        for (size_t k = 0; is_known && k < COUNT_OF(services) && !sl_ieqz(name, services[k]); k++)
            is_known = k + 1 < COUNT_OF(services);
        if (!is_known)
            return err_set(
                e, ERR_CONFIG,
                "\"%s\" is no listener: smtp, submission, submissions, imap, imaps, pop3 "
                "or pop3s, with :port or without, is wanted",
                l.v[i]);
    }
    return 0;
}
