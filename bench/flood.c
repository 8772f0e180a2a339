/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More than a proxy can bear: an open loop of HTTP/1.1 requests, as pace.c's, that takes refusals for
 * answers, and the proxy's upstream in the same process, so that one CPU does for both. The upstream
 * answers 1 KiB (or BYTES, which the proxy compresses) after 5 ms. Each time counts from when the request fell due. Answers are served (200), shed
 * (another status) or cut (the connection ends, then another is made). A request that finds all
 * connections busy waits its turn; where those are more than a second's worth the run says so
 * ("late") and leaves them out.
 *
 * With KEPT each connection is a client with a rate of its own (RATE / CONNECTIONS): KEPT of them are there from the
 * beginning, the others come after WARM seconds, and another WARM seconds later the counting begins. A client without a
 * connection asks for one when its next request is due: refused, that request is shed, and it tries again with the next. A
 * client that still waits for an answer leaves its request out ("busy"). `lag` is how late the generator itself was.
 *
 * usage: flood PROXY_PORT UPSTREAM_PORT RATE SECONDS CONNECTIONS [KEPT WARM BYTES]   prints one JSON object
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 4096
#define EVENTS_MAX 512
#define DELAY_NS INT64_C(5000000)
#define SECOND_NS INT64_C(1000000000)
#define WAITING_MAX 65536u /* upstream answers that are due later; a power of two */

enum kind { CLIENT, UPSTREAM, LISTENER };
struct peer {
    enum kind kind;
    int fd;
    bool is_busy, is_connecting, is_apart;
    int64_t due_ns;
    struct peer *next; /* in the list of idle clients */
    size_t got, want;
    int status;
    char head[HEAD_MAX];
};
struct times { uint32_t *us; size_t n, cap; };

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nAccept-Encoding: gzip\r\n\r\n";
static char answer[65536 + 256];
static size_t answer_bytes;
static struct peer *idle, listener = {.kind = LISTENER};
static struct { int64_t at_ns; struct peer *to; } waiting[WAITING_MAX];
static size_t first_waiting, last_waiting;
static struct times served, shed, cut, refused, lag;
static struct peer *clients;
static size_t client_count, kept;
static bool own; /* each client has its own requests */
static size_t n_busy;
static int64_t come_ns, count_ns;
static int epoll;
static struct sockaddr_in proxy = {.sin_family = AF_INET};
static int64_t start_ns, gap_ns;
static size_t n_total, n_sent, n_late;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "flood: %s (%s)\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND_NS + t.tv_nsec;
}

static void watch(struct peer *p, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = p};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, p->fd, &ev))
        fail("epoll_ctl");
}

static void note(struct times *t, int64_t due_ns)
{
    int64_t us = (now_ns() - due_ns) / 1000;
    if (due_ns < count_ns)
        return;
    if (t->n == t->cap) {
        t->cap = t->cap ? 2 * t->cap : 65536;
        if (!(t->us = realloc(t->us, t->cap * sizeof *t->us)))
            fail("memory");
    }
    t->us[t->n++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/* ---- upstream ---- */

static void accept_all(void)
{
    int fd, one = 1;
    while ((fd = accept4(listener.fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        if (!p)
            fail("memory");
        *p = (struct peer){.kind = UPSTREAM, .fd = fd};
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(p, EPOLLIN);
    }
}

/* One request at a time comes on a connection. One that is left is not freed: an answer may be due. */
static void upstream_read(struct peer *p)
{
    ssize_t n = recv(p->fd, p->head + p->got, HEAD_MAX - p->got, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            close(p->fd);
            p->fd = -1;
        }
        return;
    }
    p->got += (size_t)n;
    if (p->got < 4 || memcmp(p->head + p->got - 4, "\r\n\r\n", 4) != 0)
        return;
    p->got = 0;
    if (last_waiting - first_waiting == WAITING_MAX)
        fail("too many requests at the upstream");
    waiting[last_waiting % WAITING_MAX].at_ns = now_ns() + DELAY_NS;
    waiting[last_waiting++ % WAITING_MAX].to = p;
}

static void answer_due(int64_t now)
{
    for (; first_waiting != last_waiting && waiting[first_waiting % WAITING_MAX].at_ns <= now; first_waiting++) {
        struct peer *p = waiting[first_waiting % WAITING_MAX].to;
        if (p->fd >= 0)
            send(p->fd, answer, answer_bytes, MSG_NOSIGNAL);
    }
}

/* ---- clients ---- */

static void put_idle(struct peer *c)
{
    c->is_busy = false;
    c->next = idle;
    idle = c;
}

/* In own mode it stays apart until its next request is due. */
static void client_leave(struct peer *c)
{
    close(c->fd);
    c->is_busy = c->is_connecting = false;
    c->is_apart = true;
}

static void client_send(struct peer *c);

static void client_connect(struct peer *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        fail("cannot make a socket");
    if (connect(c->fd, (struct sockaddr *)&proxy, sizeof proxy) && errno != EINPROGRESS) {
        if (!own || errno != ECONNREFUSED)
            fail("cannot connect");
        note(&refused, c->due_ns);
        client_leave(c);
        return;
    }
    c->is_apart = false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->is_connecting = true;
    watch(c, EPOLLIN | EPOLLOUT | EPOLLET);
}

static void client_lost(struct peer *c)
{
    bool was_busy = c->is_busy, was_idle = !c->is_busy && !c->is_connecting;
    if (own) {
        if (c->is_connecting || was_busy)
            note(c->is_connecting ? &refused : &cut, c->due_ns);
        client_leave(c);
        return;
    }
    close(c->fd);
    if (was_busy)
        note(&cut, c->due_ns);
    c->is_busy = false;
    for (struct peer **at = &idle; was_idle && *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    client_connect(c);
}

static void client_done(struct peer *c)
{
    note(c->status == 200 ? &served : &shed, c->due_ns);
    bool ends = strcasestr(c->head, "\r\nconnection: close") != NULL;
    if (own) {
        if (ends)
            client_leave(c);
        c->is_busy = false;
        return;
    }
    if (ends) {
        close(c->fd);
        client_connect(c);
        c->is_busy = false;
        return;
    }
    put_idle(c);
}

static void read_head(struct peer *c)
{
    c->head[c->got] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    c->status = atoi(c->head + 9);
    if (length && length < end)
        c->want = (size_t)(end - c->head) + 4 + strtoul(length + 17, NULL, 10);
    else if (c->got >= 5 && !memcmp(c->head + c->got - 5, "0\r\n\r\n", 5)) /* chunked, and small */
        c->want = c->got;
}

static void client_read(struct peer *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, c->head + c->got, HEAD_MAX - 1 - c->got, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            client_lost(c);
            return;
        }
        c->got += (size_t)n;
        if (!c->want)
            read_head(c);
        if (c->want && c->got >= c->want) {
            client_done(c);
            return;
        }
        if (c->got >= HEAD_MAX - 1)
            fail("an answer that is too long");
    }
}

static void client_event(struct peer *c, uint32_t events)
{
    if (c->is_connecting && events & (EPOLLERR | EPOLLHUP)) {
        client_lost(c);
        return;
    }
    if (c->is_connecting && events & EPOLLOUT) {
        c->is_connecting = false;
        if (!own)
            put_idle(c);
        else if (c->is_busy)
            client_send(c);
    }
    if (events & EPOLLIN && !c->is_connecting)
        client_read(c);
}

static void client_send(struct peer *c)
{
    c->got = c->want = 0;
    if (send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
        client_lost(c);
}

static void send_own(int64_t now)
{
    int64_t due;
    while (n_sent < n_total && (due = start_ns + (int64_t)n_sent * gap_ns) <= now) {
        struct peer *c = &clients[n_sent++ % client_count];
        if (due < come_ns && (size_t)(c - clients) >= kept)
            continue;
        note(&lag, due);
        if (c->is_busy || c->is_connecting) {
            n_busy += due >= count_ns;
            continue;
        }
        c->due_ns = due;
        c->is_busy = true;
        if (c->is_apart)
            client_connect(c);
        else
            client_send(c);
    }
}

static void send_due(int64_t now)
{
    while (n_sent < n_total && start_ns + (int64_t)n_sent * gap_ns < now - SECOND_NS) {
        n_sent++;
        n_late++;
    }
    while (idle && n_sent < n_total && start_ns + (int64_t)n_sent * gap_ns <= now) {
        struct peer *c = idle;
        idle = c->next;
        c->due_ns = start_ns + (int64_t)n_sent++ * gap_ns;
        c->is_busy = true;
        client_send(c);
    }
}

/* ---- the run ---- */

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *name, struct times *t, double seconds)
{
    qsort(t->us, t->n, sizeof *t->us, by_size);
    printf("\"%s\": {\"rps\": %.0f, \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u}, ", name, (double)t->n / seconds,
           t->n ? t->us[t->n / 2] : 0, t->n ? t->us[t->n * 99 / 100] : 0, t->n ? t->us[t->n - 1] : 0);
}

static void run(int64_t end_ns)
{
    struct epoll_event got[EVENTS_MAX];
    for (int64_t now = now_ns(); now < end_ns; now = now_ns()) {
        int n = epoll_wait(epoll, got, EVENTS_MAX, own || idle || first_waiting != last_waiting ? 0 : 1);
        for (int i = 0; i < n; i++) {
            struct peer *p = got[i].data.ptr;
            if (p->kind == LISTENER)
                accept_all();
            else if (p->kind == UPSTREAM)
                upstream_read(p);
            else
                client_event(p, got[i].events);
        }
        now = now_ns();
        answer_due(now);
        if (own)
            send_own(now);
        else
            send_due(now);
    }
}

static void listen_at(uint16_t port)
{
    int one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener.fd, (struct sockaddr *)&at, sizeof at) || listen(listener.fd, 4096))
        fail("cannot listen");
    watch(&listener, EPOLLIN);
}

int main(int argc, char **argv)
{
    if (argc != 6 && argc != 9) {
        fprintf(stderr, "usage: flood PROXY_PORT UPSTREAM_PORT RATE SECONDS CONNECTIONS [KEPT WARM BYTES]\n");
        return 2;
    }
    double rate = atof(argv[3]), seconds = atof(argv[4]), warm = argc == 9 ? atof(argv[7]) : 0, all = seconds + 2 * warm;
    client_count = strtoul(argv[5], NULL, 10);
    own = argc == 9;
    kept = own ? strtoul(argv[6], NULL, 10) : client_count;
    size_t body = own ? strtoul(argv[8], NULL, 10) : 1024;
    if (body > 65536)
        fail("at most 65536 bytes");
    clients = calloc(client_count, sizeof *clients);
    gap_ns = (int64_t)(1e9 / rate);
    n_total = (size_t)(rate * all);
    answer_bytes = (size_t)sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", body);
    for (size_t i = 0; i < body; i++) /* something to compress */
        answer[answer_bytes++] = (char)('a' + (i * i / 7 + i) % 26);
    epoll = epoll_create1(0);
    proxy.sin_port = htons((uint16_t)atoi(argv[1]));
    proxy.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!clients || epoll < 0)
        fail("cannot start");
    listen_at((uint16_t)atoi(argv[2]));
    for (size_t i = 0; i < client_count; i++) {
        clients[i].is_apart = true;
        if (i < kept)
            client_connect(&clients[i]);
    }
    start_ns = now_ns();
    come_ns = start_ns + (int64_t)(warm * 1e9);
    count_ns = start_ns + (int64_t)(2 * warm * 1e9);
    run(start_ns + (int64_t)(all * 1e9));
    printf("{");
    report("served", &served, seconds);
    report("shed", &shed, seconds);
    report("cut", &cut, seconds);
    report("refused", &refused, seconds);
    report("lag", &lag, seconds);
    printf("\"offered\": %.0f, \"late\": %zu, \"busy\": %zu}\n", (double)(own ? lag.n : n_sent - n_late) / seconds, n_late, n_busy);
    return 0;
}
