/* core/addr.h - socket addresses: parse, print, compare, mask. Layer: core. Reentrant. */
#ifndef POSTERN_CORE_ADDR_H
#define POSTERN_CORE_ADDR_H

#include "base/err.h"
#include "base/slice.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
    socklen_t len; /* 0: none */
};

enum { ADDR_TEXT_OCTETS = 120 };

/* "192.0.2.1", "2001:db8::1" or "[2001:db8::1]"; IPv4-mapped IPv6 becomes IPv4. */
int addr_parse_ip(struct slice text, uint16_t port, struct addr *out);
/* n octets of an IP in network order: 4 or 16. The same about mapped ones. */
void addr_from_octets(const unsigned char *ip, size_t n, uint16_t port, struct addr *out);
int addr_unix(const char *path, struct addr *out, struct err *e); /* ERR_CONFIG when too long */
int addr_of_peer(int fd, struct addr *out);
int addr_of_self(int fd, struct addr *out);
/* The IP alone ("2001:db8::1", no brackets), "unknown" for anything else. buf of ADDR_TEXT_OCTETS. */
const char *addr_ip_text(const struct addr *a, char *buf);
/* "192.0.2.1:25", "[2001:db8::1]:25" or the unix path. */
const char *addr_text(const struct addr *a, char *buf);
uint16_t addr_port(const struct addr *a);
int addr_family(const struct addr *a); /* AF_INET, AF_INET6, AF_UNIX, AF_UNSPEC */
bool addr_is_loopback(const struct addr *a);
bool addr_same_ip(const struct addr *a, const struct addr *b);
/* First `bits` bits equal and families equal. */
bool addr_in_net(const struct addr *a, const struct addr *net, unsigned bits);
/* The network an address counts under: /24 for IPv4, /56 for IPv6, as text. */
const char *addr_net_text(const struct addr *a, char *buf);

#endif
