/* SPDX-License-Identifier: Apache-2.0
 *
 * `weft-proxy wait`: what a container's postStart hook runs, so that the application starts once the proxy is ready
 * (holdApplicationUntilProxyStarts). A process of its own: plain blocking calls with deadlines, no loop. It asks for a page
 * again and again until it says 200 or the time is up.
 */
#include "proxy/agent/agent.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct waiting {
    char host[256], port[8], path[1024];
    uint64_t timeout_ms, request_ms, period_ms;
    char why[256]; /* the last attempt failed */
};

/* "http://host[:port][/path]" */
static bool parse_url(struct waiting *w, const char *url)
{
    struct str rest = str_from(url), authority, port, path = STR("/");
    if (!str_has_prefix(rest, STR("http://")))
        return false;
    rest = str_make(rest.p + 7, rest.n - 7);
    const char *slash = memchr(rest.p, '/', rest.n);
    authority = slash ? str_make(rest.p, (size_t)(slash - rest.p)) : rest;
    if (slash)
        path = str_make(slash, rest.n - authority.n);
    const char *bracket = memchr(authority.p, ']', authority.n);
    const char *colon = memchr(bracket ? bracket : authority.p, ':', authority.n - (size_t)(bracket ? bracket - authority.p : 0));
    port = colon ? str_make(colon + 1, authority.n - (size_t)(colon + 1 - authority.p)) : STR("80");
    struct str host = colon ? str_make(authority.p, (size_t)(colon - authority.p)) : authority;
    if (bracket && host.n > 2)
        host = str_make(host.p + 1, host.n - 2);
    if (!host.n || host.n >= sizeof w->host || !port.n || port.n >= sizeof w->port || path.n >= sizeof w->path)
        return false;
    snprintf(w->host, sizeof w->host, "%.*s", STR_ARG(host));
    snprintf(w->port, sizeof w->port, "%.*s", STR_ARG(port));
    snprintf(w->path, sizeof w->path, "%.*s", STR_ARG(path));
    return true;
}

static int parse_arguments(struct waiting *w, int argc, char **argv)
{
    struct { const char *name; uint64_t *out; uint64_t unit_ms; } numbers[] = {
        {"--timeoutSeconds", &w->timeout_ms, 1000}, {"--requestTimeoutMillis", &w->request_ms, 1}, {"--periodMillis", &w->period_ms, 1},
    };
    for (int i = 2; i < argc; i++) {
        struct str value, name = str_split(str_from(argv[i]), '=', &value);
        bool ok = false;
        if (!value.p && i + 1 < argc)
            value = str_from(argv[++i]);
        if (str_eq(name, STR("--url")) && value.p)
            ok = parse_url(w, value.p);
        for (size_t k = 0; k < ARRAY_LEN(numbers); k++)
            if (value.p && str_eq(name, str_from(numbers[k].name)) && str_to_u64(value, numbers[k].out)) {
                *numbers[k].out *= numbers[k].unit_ms;
                ok = true;
            }
        if (!ok) {
            fprintf(stderr, "weft-proxy wait: '%.*s' is not --url URL, --timeoutSeconds, --requestTimeoutMillis or --periodMillis NUMBER\n",
                    STR_ARG(name));
            return -1;
        }
    }
    return 0;
}

static int left_ms(uint64_t deadline_us)
{
    uint64_t now = clock_mono_us();
    return now >= deadline_us ? 0 : (int)((deadline_us - now) / 1000 + 1);
}

static bool is_ready(int fd, short events, uint64_t deadline_us)
{
    struct pollfd p = {fd, events, 0};
    int rc;
    while ((rc = poll(&p, 1, left_ms(deadline_us))) < 0 && errno == EINTR)
        ;
    return rc > 0;
}

static int dial(const struct addrinfo *to, uint64_t deadline_us)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t n = sizeof error;
    if (fd < 0)
        return -1;
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS)
        error = errno;
    else if (!is_ready(fd, POLLOUT, deadline_us))
        error = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* The status line is all that is read. */
static bool ask(struct waiting *w, int fd, uint64_t deadline_us)
{
    char text[1536], answer[32] = "";
    size_t got = 0;
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\n\r\n", w->path, w->host, w->port);
    if (n < 0 || send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
        snprintf(w->why, sizeof w->why, "%s", strerror(errno));
        return false;
    }
    while (got < 12 && is_ready(fd, POLLIN, deadline_us)) {
        ssize_t more = read(fd, answer + got, 12 - got);
        if (more <= 0 && !(more < 0 && errno == EINTR))
            break;
        got += more > 0 ? (size_t)more : 0;
    }
    snprintf(w->why, sizeof w->why, got == 12 ? "it said %s" : "no answer%s", got == 12 ? answer + 9 : "");
    return got == 12 && memcmp(answer, "HTTP/1.", 7) == 0 && memcmp(answer + 8, " 200", 4) == 0;
}

static bool try_once(struct waiting *w)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
    uint64_t deadline_us = clock_mono_us() + w->request_ms * 1000;
    int rc = getaddrinfo(w->host, w->port, &hints, &all);
    bool ready = false;
    if (rc != 0)
        snprintf(w->why, sizeof w->why, "%s", gai_strerror(rc));
    for (const struct addrinfo *i = all; i && !ready; i = i->ai_next) {
        int fd = dial(i, deadline_us);
        if (fd < 0) {
            snprintf(w->why, sizeof w->why, "%s", strerror(errno));
            continue;
        }
        ready = ask(w, fd, deadline_us);
        close(fd);
    }
    if (all)
        freeaddrinfo(all);
    return ready;
}

int agent_wait_main(int argc, char **argv)
{
    struct waiting w = {.timeout_ms = 60000, .request_ms = 500, .period_ms = 500};
    parse_url(&w, "http://localhost:15021/healthz/ready");
    if (parse_arguments(&w, argc, argv) < 0)
        return EXIT_FAILURE;
    uint64_t end_us = clock_mono_us() + w.timeout_ms * 1000;
    while (!try_once(&w)) {
        uint64_t now = clock_mono_us();
        if (now >= end_us) {
            fprintf(stderr, "weft-proxy wait: not ready within %llu s: %s\n", (unsigned long long)(w.timeout_ms / 1000), w.why);
            return EXIT_FAILURE;
        }
        uint64_t ms = (end_us - now) / 1000 < w.period_ms ? (end_us - now) / 1000 : w.period_ms;
        struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
    }
    return EXIT_SUCCESS;
}
