/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: a relay that parses nothing. Each accepted connection gets one upstream connection of
 * its own and bytes are copied between the two, so what a proxy costs above this is its own work
 * and not the kernel's. One thread, edge-triggered epoll, one read and one write a message in the
 * common case. It serves the benchmark on loopback only and gives up on anything unusual.
 *
 * usage: floor LISTEN_PORT UPSTREAM_PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK_BYTES 65536
#define EVENTS_MAX 256

/* Half of a relayed pair; `held` is what the socket would not take yet. */
struct end {
    int fd;
    struct end *peer;
    char *held;
    size_t held_at, held_len;
};

static const uint32_t ended = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
static char chunk[CHUNK_BYTES];
static struct end *dead[2 * EVENTS_MAX]; /* freed when the turn ends: events may still name them */
static size_t n_dead;

static struct sockaddr_in loopback(const char *port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)atoi(port)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void drop(struct end *e)
{
    if (e->fd < 0)
        return;
    close(e->fd);
    close(e->peer->fd);
    e->fd = e->peer->fd = -1;
    dead[n_dead++] = e;
    dead[n_dead++] = e->peer;
}

static void bury(void)
{
    for (size_t i = 0; i < n_dead; i++) {
        free(dead[i]->held);
        free(dead[i]);
    }
    n_dead = 0;
}

/* Returns how much went out, or -1 when the socket is broken. */
static ssize_t put(int fd, const char *p, size_t n)
{
    ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
    return w >= 0 ? w : errno == EAGAIN ? 0 : -1;
}

static bool hold(struct end *to, const char *p, size_t n)
{
    to->held = malloc(n);
    if (!to->held)
        return false;
    memcpy(to->held, p, n);
    to->held_at = 0;
    to->held_len = n;
    return true;
}

/* Reads `from` until it is dry or its peer is full; `has_ended`: its end is in sight, read up to
 * it. */
static void relay(struct end *from, bool has_ended)
{
    struct end *to = from->peer;
    while (from->fd >= 0 && !to->held) {
        ssize_t n = recv(from->fd, chunk, sizeof(chunk), 0);
        if (n < 0 && errno == EAGAIN)
            return;
        ssize_t w = n > 0 ? put(to->fd, chunk, (size_t)n) : -1;
        if (w < 0 || (w < n && !hold(to, chunk + w, (size_t)(n - w)))) {
            drop(from);
            return;
        }
        if (n < (ssize_t)sizeof(chunk) && !has_ended)
            return; /* a short read emptied it; the next arrival is a new edge */
    }
}

static void flush(struct end *e)
{
    ssize_t w = put(e->fd, e->held + e->held_at, e->held_len - e->held_at);
    if (w < 0) {
        drop(e);
        return;
    }
    e->held_at += (size_t)w;
    if (e->held_at < e->held_len)
        return;
    free(e->held);
    e->held = NULL;
    relay(e->peer, true);
}

static void watch(int epoll, struct end *e)
{
    int one = 1;
    setsockopt(e->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = e};
    epoll_ctl(epoll, EPOLL_CTL_ADD, e->fd, &ev);
}

static void pair(int epoll, int client, const struct sockaddr_in *upstream)
{
    int server = socket(AF_INET, SOCK_STREAM, 0);
    struct end *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
    if (!a || !b || connect(server, (const struct sockaddr *)upstream, sizeof(*upstream))) {
        perror("floor: upstream");
        exit(1);
    }
    fcntl(server, F_SETFL, O_NONBLOCK);
    a->fd = client;
    b->fd = server;
    a->peer = b;
    b->peer = a;
    watch(epoll, a);
    watch(epoll, b);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: floor LISTEN_PORT UPSTREAM_PORT\n");
        return 2;
    }
    struct sockaddr_in here = loopback(argv[1]), upstream = loopback(argv[2]);
    int one = 1, epoll = epoll_create1(0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(listener, (struct sockaddr *)&here, sizeof(here)) || listen(listener, 4096)) {
        perror("floor: listen");
        return 1;
    }
    struct epoll_event ev = {.events = EPOLLIN}, got[EVENTS_MAX];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int n = epoll_wait(epoll, got, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = got[i].data.ptr;
            for (int fd; !e && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
                pair(epoll, fd, &upstream);
            if (e && e->fd >= 0 && e->held && (got[i].events & EPOLLOUT))
                flush(e);
            if (e && e->fd >= 0 && (got[i].events & (EPOLLIN | ended)))
                relay(e, got[i].events & ended);
        }
        bury();
    }
}
