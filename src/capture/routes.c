/* SPDX-License-Identifier: Apache-2.0
 *
 * A few rtnetlink requests, one after the other on a socket of their own; each waits for its answer. The caller's thread, which
 * may block. Rules and routes bear PROTOCOL; the address is recognized by being ::6 on lo.
 */
#include "capture/routes.h"

#include "base/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

#define PROTOCOL 133 /* of nobody's in /etc/iproute2/rt_protos */
#define LOOPBACK_INDEX 1
#define REQUEST_BYTES 256
#define ANSWER_BYTES 32768

struct request {
    _Alignas(struct nlmsghdr) char bytes[REQUEST_BYTES];
};

static const struct in6_addr six = {.s6_addr = {[15] = 6}};

static struct nlmsghdr *head(struct request *r)
{
    return (struct nlmsghdr *)r->bytes;
}

static void *begin(struct request *r, uint16_t type, uint16_t flags, size_t body_bytes)
{
    *r = (struct request){0};
    *head(r) = (struct nlmsghdr){
        .nlmsg_len = (uint32_t)NLMSG_LENGTH(body_bytes), .nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)};
    return NLMSG_DATA(head(r));
}

static void attribute(struct request *r, uint16_t type, const void *value, size_t n)
{
    size_t at = NLMSG_ALIGN(head(r)->nlmsg_len);
    CHECK(at + RTA_SPACE(n) <= sizeof r->bytes);
    struct rtattr *a = (struct rtattr *)(r->bytes + at);
    *a = (struct rtattr){.rta_len = (unsigned short)RTA_LENGTH(n), .rta_type = type};
    memcpy(RTA_DATA(a), value, n);
    head(r)->nlmsg_len = (uint32_t)(at + RTA_SPACE(n));
}

static int open_socket(struct err *err)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd >= 0 ? fd : err_set_errno(err, errno, "rtnetlink");
}

/* The kernel's errno, 0 when it did what it was asked. */
static int ask(int fd, struct request *r)
{
    _Alignas(struct nlmsghdr) char answer[4096];
    head(r)->nlmsg_flags |= NLM_F_ACK;
    if (send(fd, r->bytes, head(r)->nlmsg_len, 0) < 0)
        return errno;
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    if (n < 0)
        return errno;
    const struct nlmsghdr *h = (const struct nlmsghdr *)answer;
    if (!NLMSG_OK(h, (size_t)n) || h->nlmsg_type != NLMSG_ERROR)
        return EPROTO;
    return -((const struct nlmsgerr *)NLMSG_DATA(h))->error;
}

/* Adding what is there, and deleting what isn't, is as good; so is a kernel that has no IPv6 at all. */
static int settle(int fd, struct request *r, int family, const char *what, struct err *err)
{
    int code = ask(fd, r);
    bool is_add = head(r)->nlmsg_flags & NLM_F_CREATE;
    bool is_gone = code == ENOENT || code == ESRCH || code == EADDRNOTAVAIL || code == ENODEV;
    bool is_no_family = family == AF_INET6 && (code == EAFNOSUPPORT || code == EOPNOTSUPP || code == EACCES);
    if (code == 0 || (is_add && code == EEXIST) || (!is_add && is_gone) || is_no_family)
        return 0;
    return err_set_errno(err, code, "%s (IPv%d)", what, family == AF_INET ? 4 : 6);
}

static int change_rule(int fd, bool is_add, const struct capture_rule *rule, struct err *err)
{
    struct request r;
    struct fib_rule_hdr *body =
        begin(&r, is_add ? RTM_NEWRULE : RTM_DELRULE, is_add ? NLM_F_CREATE | NLM_F_EXCL : 0, sizeof *body);
    *body = (struct fib_rule_hdr){.family = (uint8_t)rule->family, .action = FR_ACT_TO_TBL};
    uint8_t protocol = PROTOCOL;
    attribute(&r, FRA_FWMARK, &rule->mark, sizeof rule->mark);
    attribute(&r, FRA_TABLE, &rule->table, sizeof rule->table);
    attribute(&r, FRA_PROTOCOL, &protocol, sizeof protocol);
    return settle(fd, &r, rule->family, is_add ? "adding the rule for marked packets" : "deleting the rule for marked packets",
                  err);
}

/* local default dev lo */
static int change_route(int fd, bool is_add, const struct capture_rule *rule, struct err *err)
{
    struct request r;
    struct rtmsg *body = begin(&r, is_add ? RTM_NEWROUTE : RTM_DELROUTE, is_add ? NLM_F_CREATE | NLM_F_EXCL : 0, sizeof *body);
    *body = (struct rtmsg){
        .rtm_family = (uint8_t)rule->family, .rtm_type = RTN_LOCAL, .rtm_scope = RT_SCOPE_HOST, .rtm_protocol = PROTOCOL};
    int lo = LOOPBACK_INDEX;
    attribute(&r, RTA_OIF, &lo, sizeof lo);
    attribute(&r, RTA_TABLE, &rule->table, sizeof rule->table);
    return settle(fd, &r, rule->family, is_add ? "adding the route of marked packets" : "deleting the route of marked packets",
                  err);
}

static int change_address(int fd, bool is_add, struct err *err)
{
    struct request r;
    struct ifaddrmsg *body = begin(&r, is_add ? RTM_NEWADDR : RTM_DELADDR, is_add ? NLM_F_CREATE | NLM_F_EXCL : 0, sizeof *body);
    *body =
        (struct ifaddrmsg){.ifa_family = AF_INET6, .ifa_prefixlen = 128, .ifa_index = LOOPBACK_INDEX, .ifa_flags = IFA_F_NODAD};
    attribute(&r, IFA_LOCAL, &six, sizeof six);
    return settle(fd, &r, AF_INET6, is_add ? "adding ::6 to lo" : "deleting ::6 from lo", err);
}

void capture_routes_wanted(const struct capture_opts *o, struct capture_routes *out)
{
    static const int families[] = {AF_INET, AF_INET6};
    *out = (struct capture_routes){.has_address = o->mode != CAPTURE_NONE};
    for (size_t i = 0; o->mode == CAPTURE_TPROXY && i < ARRAY_LEN(families); i++)
        out->rules[out->count++] = (struct capture_rule){families[i], (uint32_t)o->tproxy_mark, (uint32_t)o->tproxy_table};
}

static bool has_rule(const struct capture_routes *routes, const struct capture_rule *rule)
{
    for (size_t i = 0; i < routes->count; i++) {
        const struct capture_rule *r = &routes->rules[i];
        if (r->family == rule->family && r->mark == rule->mark && r->table == rule->table)
            return true;
    }
    return false;
}

int capture_routes_add(const struct capture_routes *routes, const struct capture_routes *there, struct err *err)
{
    int fd = open_socket(err);
    if (fd < 0)
        return fd;
    int rc = routes->has_address && !there->has_address ? change_address(fd, true, err) : 0;
    for (size_t i = 0; rc == 0 && i < routes->count; i++) {
        /* The kernel takes a rule twice, with another priority. */
        rc = has_rule(there, &routes->rules[i]) ? 0 : change_rule(fd, true, &routes->rules[i], err);
        if (rc == 0)
            rc = change_route(fd, true, &routes->rules[i], err);
    }
    close(fd);
    return rc;
}

static void read_rule(const struct nlmsghdr *h, struct capture_routes *out)
{
    const struct fib_rule_hdr *body = NLMSG_DATA(h);
    struct capture_rule rule = {.family = body->family, .table = body->table};
    int protocol = 0, rest = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof *body);
    for (const struct rtattr *a = (const void *)((const char *)body + NLMSG_ALIGN(sizeof *body)); RTA_OK(a, rest);
         a = RTA_NEXT(a, rest)) {
        if (a->rta_type == FRA_PROTOCOL)
            protocol = *(const uint8_t *)RTA_DATA(a);
        else if (a->rta_type == FRA_FWMARK)
            memcpy(&rule.mark, RTA_DATA(a), sizeof rule.mark);
        else if (a->rta_type == FRA_TABLE)
            memcpy(&rule.table, RTA_DATA(a), sizeof rule.table);
    }
    if (protocol == PROTOCOL && out->count < CAPTURE_RULES_MAX)
        out->rules[out->count++] = rule;
}

static void read_address(const struct nlmsghdr *h, struct capture_routes *out)
{
    const struct ifaddrmsg *body = NLMSG_DATA(h);
    int rest = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof *body);
    for (const struct rtattr *a = IFA_RTA(body); RTA_OK(a, rest); a = RTA_NEXT(a, rest))
        if (body->ifa_index == LOOPBACK_INDEX && a->rta_type == IFA_ADDRESS && RTA_PAYLOAD(a) == sizeof six &&
            memcmp(RTA_DATA(a), &six, sizeof six) == 0)
            out->has_address = true;
}

/* The list that the request asks for, each of its messages handed to `read`. */
static int list(int fd, struct request *r, void (*read)(const struct nlmsghdr *h, struct capture_routes *out),
                struct capture_routes *out, struct err *err)
{
    static _Alignas(struct nlmsghdr) char answer[ANSWER_BYTES];
    if (send(fd, r->bytes, head(r)->nlmsg_len, 0) < 0)
        return err_set_errno(err, errno, "listing routes");
    for (;;) {
        ssize_t n = recv(fd, answer, sizeof answer, 0);
        if (n <= 0)
            return err_set_errno(err, n < 0 ? errno : EPROTO, "listing routes");
        size_t rest = (size_t)n;
        for (const struct nlmsghdr *h = (const void *)answer; NLMSG_OK(h, rest); h = NLMSG_NEXT(h, rest)) {
            if (h->nlmsg_type == NLMSG_DONE)
                return 0;
            if (h->nlmsg_type == NLMSG_ERROR)
                return err_set_errno(err, -((const struct nlmsgerr *)NLMSG_DATA(h))->error, "listing routes");
            read(h, out);
        }
    }
}

int capture_routes_read(struct capture_routes *out, struct err *err)
{
    struct request r;
    *out = (struct capture_routes){0};
    int fd = open_socket(err);
    if (fd < 0)
        return fd;
    begin(&r, RTM_GETRULE, NLM_F_DUMP, sizeof(struct fib_rule_hdr));
    int rc = list(fd, &r, read_rule, out, err);
    if (rc == 0) {
        struct ifaddrmsg *body = begin(&r, RTM_GETADDR, NLM_F_DUMP, sizeof *body);
        body->ifa_family = AF_INET6;
        rc = list(fd, &r, read_address, out, err);
    }
    close(fd);
    return rc;
}

int capture_routes_keep(const struct capture_routes *routes, struct err *err)
{
    struct capture_routes there;
    int rc = capture_routes_read(&there, err);
    int fd = rc < 0 ? rc : open_socket(err);
    if (fd < 0)
        return fd;
    for (size_t i = 0; rc == 0 && i < there.count; i++)
        if (!has_rule(routes, &there.rules[i])) {
            rc = change_route(fd, false, &there.rules[i], err);
            if (rc == 0)
                rc = change_rule(fd, false, &there.rules[i], err);
        }
    if (rc == 0 && there.has_address && !routes->has_address)
        rc = change_address(fd, false, err);
    close(fd);
    return rc;
}

void capture_routes_text(const struct capture_routes *routes, struct strbuf *out)
{
    for (size_t i = 0; i < routes->count; i++) {
        const struct capture_rule *rule = &routes->rules[i];
        int version = rule->family == AF_INET ? 4 : 6;
        strbuf_addf(out, "ip -%d rule add fwmark %u lookup %u\n", version, rule->mark, rule->table);
        strbuf_addf(out, "ip -%d route add local default dev lo table %u\n", version, rule->table);
    }
    if (routes->has_address)
        strbuf_addz(out, "ip -6 addr add ::6/128 dev lo\n");
}
