/* smtpd/policy_arg.c - see policy_arg.h. */
#include "smtpd/policy_arg.h"

#include "auth/table.h"
#include "base/mem.h"

#include <sys/un.h>

enum { POLICY_ARG_OCTETS = 64 * 1024 };

static int
out_of_room(struct err *e)
{
    return err_set(e, ERR_TEMP, "too little memory for the argument of check_policy_service");
}

/* ---- the server ---- */

static bool
take_port(struct slice text, uint16_t *out)
{
    uint64_t n;

    if (!sl_to_u64(text, &n) || n == 0 || n > UINT16_MAX)
        return false;
    *out = (uint16_t)n;
    return true;
}

static int
set_inet(struct policy_server *s, struct slice place, struct arena *mem, struct err *e)
{
    size_t colon = sl_rfind_char(place, ':');
    struct slice host = colon == SL_NPOS ? SL("") : sl_head(place, colon);
    struct slice port = colon == SL_NPOS ? place : sl_from(place, colon + 1);

    if (!take_port(port, &s->port))
        return err_set(e, ERR_CONFIG, "\"inet:%.*s\": a port is a number from 1 to 65535",
                       SL_ARG(place));
    if (sl_starts(host, '[') && sl_ends(host, ']') && host.n > 2)
        host = sl_n(host.p + 1, host.n - 2);
    else if (sl_find_char(host, ':') != SL_NPOS)
        return err_set(e, ERR_CONFIG, "\"inet:%.*s\": an IPv6 address is written [::1]:port",
                       SL_ARG(place));
    for (size_t i = 0; i < host.n; i++)
        if (!sl_is_alnum_char(host.p[i]) && strchr(".-_:", host.p[i]) == NULL)
            return err_set(e, ERR_CONFIG, "\"inet:%.*s\": bad host", SL_ARG(place));
    s->host = arena_dupz(mem, host.n > 0 ? host : SL("localhost"));
    return s->host ? 0 : out_of_room(e);
}

static int
set_server(struct policy_server *s, struct slice text, const struct conf *c, struct arena *mem,
           struct err *e)
{
    struct slice place = text, kind;
    struct sockaddr_un un;

    if (!sl_take_until(&place, ':', &kind) || place.n == 0)
        return err_set(e, ERR_CONFIG,
                       "\"%.*s\": a policy server is written unix:path or inet:host:port",
                       SL_ARG(text));
    s->name = arena_dupz(mem, place);
    if (s->name == NULL)
        return out_of_room(e);
    if (sl_eqz(kind, "inet"))
        return set_inet(s, place, mem, e);
    if (!sl_eqz(kind, "unix") && !sl_eqz(kind, "local"))
        return err_set(e, ERR_CONFIG, "\"%.*s\": \"%.*s\" is neither unix nor inet", SL_ARG(text),
                       SL_ARG(kind));
    s->path = sl_starts(place, '/') || c == NULL
                  ? arena_dupz(mem, place)
                  : arena_printf(mem, "%s/%.*s", c->queue_directory, SL_ARG(place));
    if (s->path == NULL)
        return out_of_room(e);
    if (strlen(s->path) >= sizeof(un.sun_path))
        return err_set(e, ERR_CONFIG, "\"%.*s\": the path is too long for a unix socket",
                       SL_ARG(text));
    return 0;
}

/* ---- options ---- */

static int
set_time(uint64_t *out, struct slice value, struct err *e)
{
    int64_t ms;

    if (conf_parse_time(value, 's', &ms, e))
        return -1;
    if (ms <= 0)
        return err_set(e, ERR_CONFIG, "a time above 0 is wanted");
    *out = (uint64_t)ms;
    return 0;
}

static int
set_count(unsigned *out, struct slice value, unsigned least, struct err *e)
{
    uint32_t n;

    if (!sl_to_u32(value, &n) || n < least)
        return err_set(e, ERR_CONFIG, "bad number \"%.*s\"", SL_ARG(value));
    *out = n;
    return 0;
}

static int
set_option(struct policy_arg *a, struct slice name, struct slice value, struct err *e)
{
    struct policy_server *s = &a->server;

    if (sl_eqz(name, "timeout"))
        return set_time(&s->timeout_ms, value, e);
    if (sl_eqz(name, "max_idle"))
        return set_time(&s->max_idle_ms, value, e);
    if (sl_eqz(name, "max_ttl"))
        return set_time(&s->max_ttl_ms, value, e);
    if (sl_eqz(name, "retry_delay"))
        return set_time(&s->retry_delay_ms, value, e);
    if (sl_eqz(name, "request_limit"))
        return set_count(&s->request_limit, value, 0, e);
    if (sl_eqz(name, "try_limit"))
        return set_count(&s->try_limit, value, 1, e);
    if (sl_eqz(name, "default_action"))
        a->default_action = value;
    else if (sl_eqz(name, "policy_context"))
        a->context = value;
    else
        return err_set(e, ERR_CONFIG, "unknown option");
    return 0;
}

static bool
strip_braces(struct slice *s)
{
    if (s->n < 2 || !sl_starts(*s, '{') || !sl_ends(*s, '}'))
        return false;
    *s = sl_trim(sl_n(s->p + 1, s->n - 2));
    return true;
}

static int
take_option(struct policy_arg *a, struct slice text, struct err *e)
{
    struct slice value = text, name;

    if (sl_starts(text, '{') && !strip_braces(&value))
        return err_set(e, ERR_CONFIG, "\"%.*s\": braces do not match", SL_ARG(text));
    if (!sl_take_until(&value, '=', &name))
        return err_set(e, ERR_CONFIG, "\"%.*s\": an option is written name=value", SL_ARG(text));
    if (set_option(a, sl_trim(name), sl_trim(value), e))
        return err_prefix(e, "\"%.*s\"", SL_ARG(text));
    return 0;
}

/* ---- all of it ---- */

static void
set_defaults(struct policy_arg *a, const struct conf *c)
{
    a->server.timeout_ms = (uint64_t)c->smtpd_policy_service_timeout;
    a->server.max_idle_ms = (uint64_t)c->smtpd_policy_service_max_idle;
    a->server.max_ttl_ms = (uint64_t)c->smtpd_policy_service_max_ttl;
    a->server.retry_delay_ms = (uint64_t)c->smtpd_policy_service_retry_delay;
    a->server.request_limit = (unsigned)c->smtpd_policy_service_request_limit;
    a->server.try_limit = (unsigned)c->smtpd_policy_service_try_limit;
    a->default_action = sl_z(c->smtpd_policy_service_default_action);
    a->context = sl_z(c->smtpd_policy_service_policy_context);
}

int
policy_arg_parse(const char *arg, const struct conf *c, struct arena *mem, struct policy_arg *out,
                 struct err *e)
{
    struct slice text = arena_dup(mem, sl_z(arg)), item;

    *out = (struct policy_arg){ 0 };
    if (c)
        set_defaults(out, c);
    if (text.p == NULL)
        return out_of_room(e);
    if (!sl_starts(text, '{'))
        return set_server(&out->server, text, c, mem, e);
    if (!strip_braces(&text))
        return err_set(e, ERR_CONFIG, "\"%s\": braces do not match", arg);
    if (!table_take_item(&text, &item))
        return err_set(e, ERR_CONFIG, "\"%s\": names no policy server", arg);
    if (set_server(&out->server, item, c, mem, e))
        return -1;
    while (table_take_item(&text, &item))
        if (take_option(out, item, e))
            return -1;
    return 0;
}

int
policy_arg_check(const char *arg, struct err *e)
{
    struct arena mem = { .cap = POLICY_ARG_OCTETS };
    struct policy_arg out;
    int rc = policy_arg_parse(arg, NULL, &mem, &out, e);

    arena_free(&mem);
    return rc;
}
