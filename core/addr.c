/* core/addr.c - socket addresses. */
#include "core/addr.h"

#include <arpa/inet.h>
#include <stdio.h>

static void
set_in4(struct addr *a, const void *octets, uint16_t port)
{
    memset(a, 0, sizeof *a);
    a->u.in4.sin_family = AF_INET;
    a->u.in4.sin_port = htons(port);
    memcpy(&a->u.in4.sin_addr, octets, 4);
    a->len = sizeof a->u.in4;
}

/* IPv4 clients on a dual-stack socket are IPv4 to everybody above (mynetworks, logs). */
static void
unmap(struct addr *a)
{
    unsigned char octets[4];

    if (a->u.sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->u.in6.sin6_addr))
        return;
    memcpy(octets, a->u.in6.sin6_addr.s6_addr + 12, 4);
    set_in4(a, octets, ntohs(a->u.in6.sin6_port));
}

void
addr_from_octets(const unsigned char *ip, size_t n, uint16_t port, struct addr *out)
{
    if (n == 4) {
        set_in4(out, ip, port);
        return;
    }
    memset(out, 0, sizeof *out);
    out->u.in6.sin6_family = AF_INET6;
    out->u.in6.sin6_port = htons(port);
    memcpy(&out->u.in6.sin6_addr, ip, 16);
    out->len = sizeof out->u.in6;
    unmap(out);
}

int
addr_parse_ip(struct slice text, uint16_t port, struct addr *out)
{
    char z[INET6_ADDRSTRLEN];
    unsigned char octets[16];

    if (sl_starts(text, '[') && sl_ends(text, ']'))
        text = sl_n(text.p + 1, text.n - 2);
    if (text.n == 0 || text.n >= sizeof z || memchr(text.p, '\0', text.n))
        return -1;
    memcpy(z, text.p, text.n);
    z[text.n] = '\0';
    if (inet_pton(AF_INET, z, octets) == 1) {
        set_in4(out, octets, port);
        return 0;
    }
    if (inet_pton(AF_INET6, z, octets) != 1)
        return -1;
    addr_from_octets(octets, 16, port, out);
    return 0;
}

int
addr_unix(const char *path, struct addr *out, struct err *e)
{
    size_t n = strlen(path);

    memset(out, 0, sizeof *out);
    if (n == 0 || n >= sizeof out->u.un.sun_path)
        return err_set(e, ERR_CONFIG, "unix socket path has %zu octets, at most %zu fit: %s", n,
                       sizeof out->u.un.sun_path - 1, path);
    out->u.un.sun_family = AF_UNIX;
    memcpy(out->u.un.sun_path, path, n + 1);
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return 0;
}

static int
addr_of(int fd, struct addr *out, int (*get)(int, struct sockaddr *, socklen_t *))
{
    memset(out, 0, sizeof *out);
    out->len = sizeof out->u;
    if (get(fd, &out->u.sa, &out->len) != 0) {
        out->len = 0;
        return -1;
    }
    unmap(out);
    return 0;
}

int
addr_of_peer(int fd, struct addr *out)
{
    return addr_of(fd, out, getpeername);
}

int
addr_of_self(int fd, struct addr *out)
{
    return addr_of(fd, out, getsockname);
}

int
addr_family(const struct addr *a)
{
    return a->len ? a->u.sa.sa_family : AF_UNSPEC;
}

uint16_t
addr_port(const struct addr *a)
{
    switch (addr_family(a)) {
    case AF_INET:
        return ntohs(a->u.in4.sin_port);
    case AF_INET6:
        return ntohs(a->u.in6.sin6_port);
    default:
        return 0;
    }
}

/* The IP's octets in network order and how many bits there are; 0 bits: no IP. */
static unsigned
ip_bits(const struct addr *a, const unsigned char **octets)
{
    switch (addr_family(a)) {
    case AF_INET:
        *octets = (const unsigned char *)&a->u.in4.sin_addr;
        return 32;
    case AF_INET6:
        *octets = a->u.in6.sin6_addr.s6_addr;
        return 128;
    default:
        *octets = NULL;
        return 0;
    }
}

const char *
addr_ip_text(const struct addr *a, char *buf)
{
    const unsigned char *octets;

    if (ip_bits(a, &octets) == 0 || !inet_ntop(addr_family(a), octets, buf, ADDR_TEXT_OCTETS))
        snprintf(buf, ADDR_TEXT_OCTETS, "unknown");
    return buf;
}

const char *
addr_text(const struct addr *a, char *buf)
{
    char ip[ADDR_TEXT_OCTETS];
    const struct sockaddr_un *un = &a->u.un;

    switch (addr_family(a)) {
    case AF_INET:
        snprintf(buf, ADDR_TEXT_OCTETS, "%.45s:%u", addr_ip_text(a, ip), (unsigned)addr_port(a));
        break;
    case AF_INET6:
        snprintf(buf, ADDR_TEXT_OCTETS, "[%.45s]:%u", addr_ip_text(a, ip), (unsigned)addr_port(a));
        break;
    case AF_UNIX:
        if (a->len > offsetof(struct sockaddr_un, sun_path) && un->sun_path[0] != '\0')
            snprintf(buf, ADDR_TEXT_OCTETS, "%.*s", (int)sizeof un->sun_path, un->sun_path);
        else
            snprintf(buf, ADDR_TEXT_OCTETS, "unix socket");
        break;
    default:
        snprintf(buf, ADDR_TEXT_OCTETS, "unknown");
        break;
    }
    return buf;
}

bool
addr_is_loopback(const struct addr *a)
{
    switch (addr_family(a)) {
    case AF_INET:
        return ntohl(a->u.in4.sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&a->u.in6.sin6_addr);
    default:
        return addr_family(a) == AF_UNIX;
    }
}

bool
addr_same_ip(const struct addr *a, const struct addr *b)
{
    const unsigned char *octets;
    unsigned bits = ip_bits(a, &octets);

    return bits > 0 && addr_in_net(a, b, bits);
}

bool
addr_in_net(const struct addr *a, const struct addr *net, unsigned bits)
{
    const unsigned char *x, *y;
    unsigned have = ip_bits(a, &x);
    unsigned mask;

    if (have == 0 || have != ip_bits(net, &y) || bits > have)
        return false;
    if (bits >= 8 && memcmp(x, y, bits / 8) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    mask = 0xffU << (8 - bits % 8) & 0xffU;
    return (x[bits / 8] & mask) == (y[bits / 8] & mask);
}

const char *
addr_net_text(const struct addr *a, char *buf)
{
    struct addr net = *a;
    char ip[ADDR_TEXT_OCTETS];

    switch (addr_family(a)) {
    case AF_INET:
        net.u.in4.sin_addr.s_addr &= htonl(0xffffff00U);
        snprintf(buf, ADDR_TEXT_OCTETS, "%.45s/24", addr_ip_text(&net, ip));
        break;
    case AF_INET6:
        memset(net.u.in6.sin6_addr.s6_addr + 7, 0, 9);
        snprintf(buf, ADDR_TEXT_OCTETS, "%.45s/56", addr_ip_text(&net, ip));
        break;
    default:
        snprintf(buf, ADDR_TEXT_OCTETS, "local");
        break;
    }
    return buf;
}
