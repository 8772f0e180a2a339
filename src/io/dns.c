/* SPDX-License-Identifier: Apache-2.0
 *
 * Name resolution: c-ares drives the protocol, the loop its sockets and one timer. c-ares calls
 * back at any moment, even within the call that asks, and must not be destroyed meanwhile; so its
 * callbacks only note the result, and users hear of it from a task at the turn's end, where they
 * may cancel, ask again or free the resolver. A cancelled query stays until c-ares lets it go.
 * Runs on its loop's thread.
 */
#include "io/dns.h"

#include <ares.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>
#include <sys/time.h>

#include "base/log.h"
#include "base/mem.h"

#define RESOLVER_MAGIC 0x646e7372u
#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_TRIES 4
#define ANSWER_ADDRS_MAX 4096 /* a response's size bounds it too; this bounds the sum over families */

struct dns_resolver {
    uint32_t magic;
    struct loop *loop;
    ares_channel channel;
    struct timer timer;
    struct list sockets, queries;
    struct deferred deferred;
};

struct dns_socket {
    struct list node;
    struct watch watch;
    struct dns_resolver *resolver;
    struct deferred deferred;
};

struct dns_query {
    struct list node;
    struct dns_resolver *resolver;
    dns_fn fn;                     /* NULL: cancelled */
    void *user;
    char *name;
    int next_family; /* asked when the first gives nothing; 0: none */
    bool with_ares;  /* c-ares holds a pointer to this */
    struct turn_task tell;
    struct deferred deferred;
    enum dns_status status;
    const char *reason;
    struct addr *addrs;
    size_t count, cap;
    uint32_t ttl_s;
};

/* ---- sockets and time ---- */

static void update_timer(struct dns_resolver *r)
{
    struct timeval tv, *left = ares_timeout(r->channel, NULL, &tv);
    if (left)
        timer_set_us(&r->timer, (uint64_t)left->tv_sec * 1000000 + (uint64_t)left->tv_usec + 1000);
    else
        timer_clear(&r->timer);
}

static void on_timer(struct timer *t)
{
    struct dns_resolver *r = CONTAINER_OF(t, dns_resolver, timer);
    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    update_timer(r);
}

static void on_socket(struct watch *w, unsigned events)
{
    struct dns_socket *s = CONTAINER_OF(w, dns_socket, watch);
    struct dns_resolver *r = s->resolver;
    bool in = events & (WATCH_IN | WATCH_RDHUP | WATCH_ERROR), out = events & (WATCH_OUT | WATCH_ERROR);
    int fd = w->fd; /* `s` may go inside */
    ares_process_fd(r->channel, in ? fd : ARES_SOCKET_BAD, out ? fd : ARES_SOCKET_BAD);
    update_timer(r);
}

static void destroy_socket(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, dns_socket, deferred));
}

static struct dns_socket *find_socket(struct dns_resolver *r, int fd)
{
    LIST_EACH(it, safe, &r->sockets) {
        struct dns_socket *s = LIST_ENTRY(it, dns_socket, node);
        if (s->watch.fd == fd)
            return s;
    }
    return NULL;
}

/* c-ares opened, turned or is about to close a socket. */
static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns_resolver *r = arg;
    struct dns_socket *s = find_socket(r, fd);
    unsigned events = (readable ? WATCH_IN : 0u) | (writable ? WATCH_OUT : 0u);
    if (!events) {
        if (!s)
            return;
        watch_del(&s->watch);
        list_remove(&s->node);
        loop_defer(r->loop, &s->deferred, destroy_socket);
        return;
    }
    struct err err = {0};
    if (!s) {
        s = NEW(dns_socket);
        s->resolver = r;
        list_push_back(&r->sockets, &s->node);
    }
    if (watch_set_level(r->loop, &s->watch, fd, events, on_socket, &err) != 0)
        LOG(DNS, WARNING, "%s", err.message); /* the query times out */
    s->watch.fd = fd;
}

/* ---- answers ---- */

static void free_addrs(struct dns_query *q)
{
    for (size_t i = 0; i < q->count; i++)
        addr_fini(&q->addrs[i]);
    mem_free(q->addrs);
    q->addrs = NULL;
    q->count = q->cap = 0;
}

static void destroy_query(struct deferred *d)
{
    struct dns_query *q = CONTAINER_OF(d, dns_query, deferred);
    free_addrs(q);
    mem_free(q->name);
    mem_free(q);
}

static void query_end(struct dns_query *q)
{
    list_remove(&q->node);
    turn_task_cancel(&q->tell);
    q->fn = NULL;
    loop_defer(q->resolver->loop, &q->deferred, destroy_query);
}

static void tell(struct turn_task *t)
{
    struct dns_query *q = CONTAINER_OF(t, dns_query, tell);
    struct dns_answer answer = {.addrs = q->addrs, .count = q->count, .ttl_s = q->ttl_s, .reason = q->reason};
    dns_fn fn = q->fn;
    void *user = q->user;
    query_end(q);
    fn(user, q->status, &answer);
}

static void finish(struct dns_query *q, enum dns_status status)
{
    q->status = status;
    if (status != DNS_OK && !q->reason) /* refused before it was asked for */
        q->reason = ares_strerror(status == DNS_NOT_FOUND ? ARES_ENODATA : ARES_EBADNAME);
    loop_at_turn_end(q->resolver->loop, &q->tell);
}

static enum dns_status status_of(int ares_status)
{
    switch (ares_status) {
    case ARES_SUCCESS:
        return DNS_OK;
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
        return DNS_NOT_FOUND;
    case ARES_ETIMEOUT:
        return DNS_TIMED_OUT;
    default:
        return DNS_FAILED;
    }
}

static void take_ttl(struct dns_query *q, int ttl_s)
{
    /* /etc/hosts has none: c-ares says 0 or INT_MAX. */
    if (ttl_s <= 0 || ttl_s == INT_MAX)
        return;
    if (q->ttl_s == 0 || (uint32_t)ttl_s < q->ttl_s)
        q->ttl_s = (uint32_t)ttl_s;
}

static void take_answer(struct dns_query *q, const struct ares_addrinfo *info)
{
    for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
        struct addr a = {.unix_path = NULL};
        addr_from_sockaddr(&a, n->ai_addr, (socklen_t)n->ai_addrlen);
        if (!addr_is_ip(&a) || q->count >= ANSWER_ADDRS_MAX)
            continue;
        q->addrs = mem_grow(q->addrs, &q->cap, q->count + 1, sizeof(*q->addrs));
        q->addrs[q->count++] = a;
        take_ttl(q, n->ai_ttl);
    }
    for (const struct ares_addrinfo_cname *c = info->cnames; c; c = c->next)
        take_ttl(q, c->ttl);
}

static void ask(struct dns_query *q, int family);

static void on_answer(void *arg, int ares_status, int timeouts, struct ares_addrinfo *info)
{
    struct dns_query *q = arg;
    (void)timeouts;
    q->with_ares = false;
    if (!q->fn) { /* cancelled, or the resolver is going */
        ares_freeaddrinfo(info);
        query_end(q);
        return;
    }
    enum dns_status status = status_of(ares_status);
    if (info) {
        take_answer(q, info);
        ares_freeaddrinfo(info);
    }
    if (status == DNS_OK && q->count == 0)
        status = DNS_NOT_FOUND;
    LOG(DNS, DEBUG, "%s: %s, %zu addresses", q->name, ares_strerror(ares_status), q->count);
    q->reason = status == DNS_OK ? NULL : ares_strerror(ares_status == ARES_SUCCESS ? ARES_ENODATA : ares_status);
    int next = q->next_family;
    q->next_family = 0;
    if (status == DNS_OK || !next)
        finish(q, status);
    else
        ask(q, next);
}

static void ask(struct dns_query *q, int family)
{
    /* NOSORT: sorting would open a socket per address, and balancing orders them anyway. */
    struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = family,
                                        .ai_socktype = SOCK_STREAM};
    q->with_ares = true;
    ares_getaddrinfo(q->resolver->channel, q->name, NULL, &hints, on_answer, q);
}

/* ---- the interface ---- */

static void choose_families(enum dns_family family, int *first, int *next)
{
    *next = 0;
    switch (family) {
    case DNS_AUTO:
        *first = AF_INET6;
        *next = AF_INET;
        return;
    case DNS_V4_PREFERRED:
        *first = AF_INET;
        *next = AF_INET6;
        return;
    case DNS_V4_ONLY:
        *first = AF_INET;
        return;
    case DNS_V6_ONLY:
        *first = AF_INET6;
        return;
    case DNS_ALL:
        *first = AF_UNSPEC;
        return;
    }
}

static bool answer_literal(struct dns_query *q, enum dns_family family)
{
    struct addr a = {.unix_path = NULL};
    if (addr_from_ip(&a, str_from(q->name), 0, NULL) != 0)
        return false;
    bool v4 = a.sa.sa_family == AF_INET;
    if ((family == DNS_V4_ONLY && !v4) || (family == DNS_V6_ONLY && v4)) {
        finish(q, DNS_NOT_FOUND);
        return true;
    }
    q->addrs = mem_grow(NULL, &q->cap, 1, sizeof(*q->addrs));
    q->addrs[q->count++] = a;
    finish(q, DNS_OK);
    return true;
}

struct dns_query *dns_resolve(struct dns_resolver *r, struct str name, enum dns_family family,
                              dns_fn fn, void *user)
{
    DCHECK(r->magic == RESOLVER_MAGIC);
    struct dns_query *q = NEW(dns_query);
    int first = AF_UNSPEC;
    *q = (struct dns_query){.resolver = r, .fn = fn, .user = user, .tell.run = tell};
    q->name = mem_strndup(name.n ? name.p : "", name.n);
    list_push_back(&r->queries, &q->node);
    if (name.n == 0 || strlen(q->name) != name.n) {
        finish(q, DNS_FAILED);
        return q;
    }
    if (answer_literal(q, family))
        return q;
    choose_families(family, &first, &q->next_family);
    ask(q, first);
    update_timer(r);
    return q;
}

void dns_cancel(struct dns_query *q)
{
    if (!q)
        return;
    q->fn = NULL;
    turn_task_cancel(&q->tell);
    if (!q->with_ares)
        query_end(q);
}

/* ---- making and freeing ---- */

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_status;

static void library_init(void)
{
    library_status = ares_library_init(ARES_LIB_INIT_ALL);
}

static int set_servers(struct dns_resolver *r, const struct dns_opts *o)
{
    struct ares_addr_port_node *nodes = mem_zalloc(sizeof(*nodes) * (o->server_count + 1));
    size_t count = 0;
    for (size_t i = 0; i < o->server_count; i++) {
        const struct addr *a = &o->servers[i];
        struct ares_addr_port_node *n = &nodes[count];
        if (!addr_is_ip(a))
            continue;
        n->family = a->sa.sa_family;
        n->udp_port = n->tcp_port = addr_port(a) ? addr_port(a) : 53;
        if (n->family == AF_INET)
            memcpy(&n->addr.addr4, &a->in4.sin_addr, sizeof(n->addr.addr4));
        else
            memcpy(&n->addr.addr6, &a->in6.sin6_addr, sizeof(n->addr.addr6));
        if (count > 0)
            nodes[count - 1].next = n;
        count++;
    }
    int rc = count ? ares_set_servers_ports(r->channel, nodes) : ARES_SUCCESS;
    mem_free(nodes);
    return rc;
}

static int open_channel(struct dns_resolver *r, const struct dns_opts *o)
{
    char lookups[] = "fb"; /* /etc/hosts, then DNS */
    struct ares_options ao = {
        .flags = (o->tcp_only ? ARES_FLAG_USEVC : 0) | (o->no_search_domains ? ARES_FLAG_NOSEARCH : 0),
        .timeout = (int)(o->query_timeout_ms ? o->query_timeout_ms : DEFAULT_TIMEOUT_MS),
        .tries = (int)(o->tries ? o->tries : DEFAULT_TRIES),
        .lookups = lookups,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = r,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
               ARES_OPT_SOCK_STATE_CB | (o->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);
    return ares_init_options(&r->channel, &ao, mask);
}

struct dns_resolver *dns_resolver_new(struct loop *loop, const struct dns_opts *opts, struct err *err)
{
    static const struct dns_opts none;
    struct dns_resolver *r = NEW(dns_resolver);
    r->magic = RESOLVER_MAGIC;
    r->loop = loop;
    list_init(&r->sockets);
    list_init(&r->queries);
    timer_init(&r->timer, loop, on_timer);
    if (!opts)
        opts = &none;
    pthread_once(&library_once, library_init);
    int rc = library_status;
    if (rc == ARES_SUCCESS)
        rc = open_channel(r, opts);
    if (rc == ARES_SUCCESS)
        rc = set_servers(r, opts);
    if (rc != ARES_SUCCESS) {
        err_set(err, ERR_IO, "cannot set up name resolution: %s", ares_strerror(rc));
        dns_resolver_free(&r);
    }
    return r;
}

static void destroy_resolver(struct deferred *d)
{
    mem_free(CONTAINER_OF(d, dns_resolver, deferred));
}

void dns_resolver_free(struct dns_resolver **resolver)
{
    struct dns_resolver *r = *resolver;
    if (!r)
        return;
    *resolver = NULL;
    LIST_EACH(it, safe, &r->queries)
        dns_cancel(LIST_ENTRY(it, dns_query, node));
    if (r->channel)
        ares_destroy(r->channel); /* gives back the queries it holds, closes its sockets */
    DCHECK(list_is_empty(&r->queries) && list_is_empty(&r->sockets));
    timer_clear(&r->timer);
    r->magic = 0;
    loop_defer(r->loop, &r->deferred, destroy_resolver);
}
