/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open-loop HTTP/1.1 load generator: requests fall due at a fixed rate whatever the answers do,
 * and each latency counts from the moment its request fell due, so that a stalled proxy can't slow
 * the clock that judges it ("coordinated omission"). One thread, a timerfd for the due times, N
 * keep-alive connections; a request that finds all of them busy waits its turn, and the wait
 * counts. Anything but a 200 with a content-length ends the run with an error.
 *
 * usage: pace PORT RATE SECONDS CONNECTIONS    prints one JSON object, times in microseconds
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
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define EVENTS_MAX 256

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

struct client {
    int fd;
    int64_t due_ns;
    struct client *next; /* in the list of idle ones */
    size_t got, want;    /* bytes of this answer: seen, and in all (0: head not whole yet) */
    char head[HEAD_MAX];
};

static struct client *idle;
static int64_t start_ns, gap_ns;
static uint32_t *latency_us;
static size_t n_total, n_sent, n_done;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "pace: %s (%s) after %zu answers\n", what, strerror(errno), n_done);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static void send_due(int64_t now)
{
    while (idle && n_sent < n_total && start_ns + (int64_t)n_sent * gap_ns <= now) {
        struct client *c = idle;
        idle = c->next;
        c->due_ns = start_ns + (int64_t)n_sent++ * gap_ns;
        c->got = c->want = 0;
        if (send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != sizeof(request) - 1)
            fail("cannot send");
    }
}

static void finish(struct client *c)
{
    int64_t us = (now_ns() - c->due_ns) / 1000;
    latency_us[n_done++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    c->next = idle;
    idle = c;
}

static void read_head(struct client *c)
{
    char *end = memmem(c->head, c->got, "\r\n\r\n", 4);
    if (!end)
        return;
    *end = '\0';
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200", 12) != 0 || !length)
        fail("not a 200 with a content-length");
    c->want = (size_t)(end - c->head) + 4 + strtoul(length + 17, NULL, 10);
}

static void receive(struct client *c)
{
    static char rest[65536];
    for (;;) {
        bool in_head = c->want == 0;
        char *to = in_head ? c->head + c->got : rest;
        size_t room = in_head ? HEAD_MAX - 1 - c->got : sizeof(rest);
        ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            fail("connection lost");
        c->got += (size_t)n;
        if (in_head)
            read_head(c);
        if (c->want > 0 && c->got >= c->want) {
            finish(c);
            return;
        }
        if (c->got >= HEAD_MAX - 1 && c->want == 0)
            fail("the head does not end");
    }
}

static void connect_all(int epoll, uint16_t port, size_t n)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client *clients = calloc(n, sizeof(*clients));
    for (size_t i = 0; clients && i < n; i++) {
        struct client *c = &clients[i];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&to, sizeof(to)))
            fail("cannot connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &ev);
        c->next = idle;
        idle = c;
    }
}

static void arm(int timer)
{
    int64_t due = start_ns + (int64_t)n_sent * gap_ns;
    struct itimerspec t = {.it_value = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(double seconds)
{
    qsort(latency_us, n_done, sizeof(*latency_us), by_size);
    printf("{\"done\": %zu, \"rps\": %.0f, \"p50_us\": %u, \"p99_us\": %u, \"p999_us\": %u, "
           "\"max_us\": %u}\n",
           n_done, (double)n_done / seconds, latency_us[n_done / 2], latency_us[n_done * 99 / 100],
           latency_us[n_done * 999 / 1000], latency_us[n_done - 1]);
}

static void run(int epoll, int timer)
{
    struct epoll_event got[EVENTS_MAX];
    start_ns = now_ns();
    while (n_done < n_total) {
        if (idle && n_sent < n_total)
            arm(timer);
        int n = epoll_wait(epoll, got, EVENTS_MAX, 5000);
        if (n == 0)
            fail("no answer in 5 s");
        for (int i = 0; i < n; i++) {
            uint64_t ticks;
            if (got[i].data.ptr)
                receive(got[i].data.ptr);
            else if (read(timer, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
                fail("timer");
        }
        send_due(now_ns());
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: pace PORT RATE SECONDS CONNECTIONS\n");
        return 2;
    }
    double rate = atof(argv[2]), seconds = atof(argv[3]);
    gap_ns = (int64_t)(1e9 / rate);
    n_total = (size_t)(rate * seconds);
    latency_us = malloc((n_total + 1) * sizeof(*latency_us));
    int epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event ev = {.events = EPOLLIN};
    if (!latency_us || n_total == 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &ev))
        fail("cannot start");
    connect_all(epoll, (uint16_t)atoi(argv[1]), strtoul(argv[4], NULL, 10));
    run(epoll, timer);
    report((double)(now_ns() - start_ns) / 1e9);
    return 0;
}
