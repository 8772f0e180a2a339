/* SPDX-License-Identifier: Apache-2.0
 *
 * Socket addresses: IPv4, IPv6, Unix (path and abstract). Text form is Envoy's: "1.2.3.4:80",
 * "[::1]:80", "/path", "@abstract".
 */
#ifndef IO_ADDR_H
#define IO_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/str.h"

/* Small: most addresses are IP ones and there are many (hosts, connections). */
struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    };
    char *unix_path; /* owned heap text, AF_UNIX only; '@' first for abstract ones */
};

/* All that fill an address take one that is empty ({0}) or filled: what it held is freed. */
void addr_fini(struct addr *a);
void addr_copy(struct addr *dst, const struct addr *src);
/* A literal IP (v6 with or without brackets, with zone). ERR_INVALID otherwise. */
int addr_from_ip(struct addr *a, struct str ip, uint16_t port, struct err *err);
/* "1.2.3.4:80", "[::1]:80". */
int addr_from_ip_port(struct addr *a, struct str text, struct err *err);
int addr_from_unix(struct addr *a, struct str path, struct err *err);
void addr_from_sockaddr(struct addr *a, const struct sockaddr *sa, socklen_t len);
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
uint16_t addr_port(const struct addr *a); /* 0 for Unix */
void addr_set_port(struct addr *a, uint16_t port);
bool addr_is_ip(const struct addr *a);
bool addr_is_loopback(const struct addr *a);
bool addr_eq(const struct addr *a, const struct addr *b);
#define ADDR_TEXT_BYTES 128
/* With port / IP only, NUL-terminated. Returns out. */
const char *addr_text(const struct addr *a, char out[ADDR_TEXT_BYTES]);
const char *addr_ip_text(const struct addr *a, char out[ADDR_TEXT_BYTES]);

/* CIDR ranges; IPv4-mapped IPv6 addresses compare as IPv4. */
struct cidr {
    uint8_t family; /* AF_INET, AF_INET6 */
    uint8_t prefix_bits;
    uint8_t bytes[16]; /* host bits cleared */
};
int cidr_parse(struct cidr *c, struct str ip, unsigned prefix_bits, struct err *err);
bool cidr_has(const struct cidr *c, const struct addr *a);
/* The range of that length that an address is in: cidr_has of one says yes exactly where the two are the same. False: another
 * family. */
bool cidr_of(struct cidr *c, const struct addr *a, int family, unsigned prefix_bits);

#endif
