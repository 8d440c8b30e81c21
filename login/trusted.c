/* login/trusted.c - login_trusted_networks: peers, such as webmail, that may send passwords in clear and say whose connection
 * it is, as Dovecot: IMAP by fields of ID, POP3 by XCLIENT. What they say is what is logged and what authd counts failures
 * by; whom to trust the connection alone tells. */
#include "login/login_int.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/netlist.h"

#include <stdlib.h>

static struct netlist trusted;

void
login_forget_trusted(void)
{
    netlist_free(&trusted);
}

void
login_set_trusted(const struct conf *c)
{
    struct err e = { 0 };

    login_forget_trusted();
    if (netlist_init(&trusted, "login_trusted_networks", c->login_trusted_networks, &e))
        log_error("login.trusted", LOG_F(LF_Z("why", e.msg)), "%s: nobody is trusted", e.msg);
}

bool
login_is_trusted(const struct addr *a)
{
    return netlist_match(&trusted, a);
}

/* ---- what they say ---- */

static bool
take_ip(struct addr *a, struct slice v)
{
    struct addr told;

    if (addr_parse_ip(v, addr_port(a), &told) != 0)
        return false;
    *a = told;
    return true;
}

static bool
take_port(struct addr *a, struct slice v)
{
    char text[ADDR_TEXT_OCTETS];
    uint32_t port;

    if (!sl_to_u32(v, &port) || port > UINT16_MAX)
        return false;
    return addr_parse_ip(sl_z(addr_ip_text(a, text)), (uint16_t)port, a) == 0;
}

/* It names the session in every log from here on: one word, and nothing that ends it there. */
static bool
take_session(struct sess *s, struct slice v)
{
    if (v.n == 0 || v.n >= sizeof s->sid)
        return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] <= ' ' || v.p[i] > '~' || strchr("<>\",", v.p[i]))
            return false;
    memcpy(s->sid, v.p, v.n);
    s->sid[v.n] = '\0';
    return true;
}

bool
login_take_id_field(struct sess *s, struct slice name, struct slice value)
{
    static const char *const names[] = { "x-originating-ip", "x-originating-port",
                                         "x-connected-ip",   "x-connected-port",
                                         "x-session-id",     "x-session-ext-id",
                                         "x-proxy-ttl" };
    bool may = s->is_trusted && !s->is_told_id && value.p != NULL;
    size_t i = 0;

    if (sl_has_iprefix(name, SL("x-forward-")))
        return true;
    while (i < COUNT_OF(names) && !sl_ieqz(name, names[i]))
        i++;
    if (i == COUNT_OF(names))
        return false;
    if (may && i < 4) /* what is none is passed over, as Dovecot does */
        (void)(i % 2 ? take_port(i < 2 ? &s->remote : &s->local, value)
                     : take_ip(i < 2 ? &s->remote : &s->local, value));
    else if (may && i < 6)
        take_session(s, value);
    return true;
}

void
login_pop3_xclient(struct sess *s, struct slice args)
{
    struct slice word;
    bool is_right = true;

    if (!s->is_trusted) {
        conn_writes(s->conn, SL("+OK You are not from trusted IP - ignoring\r\n"));
        return;
    }
    while (sl_take_word(&args, " ", &word)) {
        if (sl_take_iprefix(&word, SL("ADDR=")))
            is_right = take_ip(&s->remote, word) && is_right;
        else if (sl_take_iprefix(&word, SL("PORT=")))
            is_right = take_port(&s->remote, word) && is_right;
        else if (sl_take_iprefix(&word, SL("SESSION=")))
            take_session(s, word);
    }
    conn_writes(s->conn, is_right ? SL("+OK Updated\r\n") : SL("-ERR Invalid parameters\r\n"));
}
