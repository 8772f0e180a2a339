/* SPDX-License-Identifier: Apache-2.0
 *
 * What traffic of a network namespace is captured, and to where. Flags, environment and defaults are those of istio-iptables,
 * in one table; a value is checked when it is set, what doesn't fit together by capture_opts_check.
 */
#ifndef CAPTURE_OPTIONS_H
#define CAPTURE_OPTIONS_H

#include <net/if.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "io/addr.h"

/* A list longer than that is somebody's mistake, and would be a slow rule for every packet. */
#define CAPTURE_LIST_MAX 1024
/* Set by the proxy on what it sends to itself over loopback (TPROXY), so that this, and nothing else there, is inbound. */
#define CAPTURE_OUTBOUND_MARK 1338

enum capture_mode { CAPTURE_REDIRECT, CAPTURE_TPROXY, CAPTURE_NONE };

struct capture_numbers { /* ports, users, groups */
    bool all;            /* "*" */
    uint32_t *items;
    size_t count;
};
struct capture_ranges {
    bool all;
    struct cidr *items;
    size_t count;
};
struct capture_interfaces {
    char (*items)[IFNAMSIZ];
    size_t count;
};

struct capture_opts {
    struct arena arena; /* of the lists */
    enum capture_mode mode;
    uint64_t outbound_port, inbound_port, tunnel_port;
    struct capture_numbers uids, gids; /* the proxy's own traffic: never captured */
    struct capture_numbers inbound_ports, excluded_inbound_ports;
    struct capture_numbers outbound_ports, excluded_outbound_ports;
    struct capture_ranges outbound_ranges, excluded_outbound_ranges;
    struct capture_interfaces excluded_interfaces, virtual_interfaces;
    struct capture_numbers owner_groups, excluded_owner_groups;
    uint64_t tproxy_mark, tproxy_table;
    bool redirect_dns, capture_all_dns, drop_invalid;
    struct capture_ranges dns_servers; /* filled by capture_opts_read_resolv; single addresses */
    bool is_dry_run;
    bool is_dual_stack; /* rules are of both families always */
    struct str netns;   /* name or path; null: the own one */
};

/* Defaults, then what the environment says (NULL: nothing). Strings of argv and env are borrowed. Faults name the variable. */
int capture_opts_init(struct capture_opts *o, char *const *env, struct err *err);
void capture_opts_fini(struct capture_opts *o);
/* Flags from argv[0] on. Faults name the flag. */
int capture_opts_parse(struct capture_opts *o, int argc, char *const *argv, struct err *err);
/* "nameserver" lines of the text of a resolv.conf; needed by redirect_dns without capture_all_dns. */
int capture_opts_read_resolv(struct capture_opts *o, struct str text, struct err *err);
/* What doesn't fit together; after everything is set. */
int capture_opts_check(const struct capture_opts *o, struct err *err);
/* The flags' lines of a help text. */
void capture_opts_help(struct strbuf *out);

#endif
