/* SPDX-License-Identifier: Apache-2.0
 *
 *     spawned --output--> spawned --the process ends (pidfd)--> told, freed at the turn's end
 *             --timeout, cancel--> its group is killed, the process reaped at once (SIGKILL can't be put off for long)
 *
 * Output is one pipe, read as it comes, so that a program that writes much isn't held; what it has left to others that live on
 * isn't waited for. Main loop.
 */
#include "proxy/agent/command.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct command {
    struct loop *loop;
    struct deferred deferred;
    struct timer timer;             /* the timeout; at once where it couldn't be started */
    struct watch process, output;
    int pid_fd, out_fd;
    pid_t pid;                      /* 0: none, or reaped */
    const char *failure;
    struct strbuf text;
    command_fn fn;
    void *user;
};

static void destroy(struct deferred *d)
{
    struct command *c = CONTAINER_OF(d, command, deferred);
    strbuf_fini(&c->text);
    mem_free(c);
}

static void close_fd(struct watch *w, int *fd)
{
    watch_del(w);
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int reap(struct command *c)
{
    int status = 0;
    while (c->pid && waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {
    }
    c->pid = 0;
    return status;
}

/* Nothing is left of it but what destroy frees. */
static void end(struct command *c)
{
    if (c->pid) {
        kill(-c->pid, SIGKILL);
        reap(c);
    }
    timer_clear(&c->timer);
    close_fd(&c->process, &c->pid_fd);
    close_fd(&c->output, &c->out_fd);
    loop_defer(c->loop, &c->deferred, destroy);
}

static void tell(struct command *c, const char *failure, int status)
{
    struct command_end e = {.failure = failure, .exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                            .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0, .output = strbuf_str(&c->text)};
    command_fn fn = c->fn;
    end(c);
    fn(c->user, &e);
}

void command_cancel(struct command **p)
{
    struct command *c = *p;
    *p = NULL;
    if (c)
        end(c);
}

static void read_output(struct command *c)
{
    char piece[4096];
    ssize_t n;
    while ((n = read(c->out_fd, piece, sizeof piece)) > 0) {
        size_t room = COMMAND_OUTPUT_BYTES - c->text.n;
        strbuf_add(&c->text, piece, (size_t)n < room ? (size_t)n : room);
    }
    if (n == 0)
        close_fd(&c->output, &c->out_fd);
}

static void on_output(struct watch *w, unsigned events)
{
    (void)events;
    read_output(CONTAINER_OF(w, command, output));
}

static void on_exit_of(struct watch *w, unsigned events)
{
    (void)events;
    struct command *c = CONTAINER_OF(w, command, process);
    if (c->out_fd >= 0)
        read_output(c);
    pid_t group = c->pid;
    int status = reap(c);
    kill(-group, SIGKILL); /* what it has left behind */
    tell(c, NULL, status);
}

static void on_time(struct timer *t)
{
    struct command *c = CONTAINER_OF(t, command, timer);
    tell(c, c->failure ? c->failure : "no end in time", 0);
}

/* ---- starting ---- */

/* The proxy blocks signals and ignores SIGPIPE; a program expects neither. */
static void set_attributes(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(attr);
    posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(attr, 0);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setsigdefault(attr, &all);
}

static int spawn(struct command *c, char **argv, int out)
{
    posix_spawnattr_t attr;
    posix_spawn_file_actions_t files;
    set_attributes(&attr);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, out, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1); /* whatever a library has opened */
    int rc = posix_spawnp(&c->pid, argv[0], &files, &attr, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);
    if (rc)
        c->pid = 0;
    return rc;
}

/* What went wrong, or NULL. */
static const char *begin(struct command *c, char **argv)
{
    int ends[2];
    struct err err = {0};
    if (pipe2(ends, O_CLOEXEC) < 0)
        return "no pipe can be made";
    c->out_fd = ends[0];
    fcntl(c->out_fd, F_SETFL, O_NONBLOCK);
    int rc = spawn(c, argv, ends[1]);
    close(ends[1]);
    if (rc)
        return rc == ENOENT ? "there is no such program" : rc == EACCES ? "it may not be run" : "it can't be started";
    c->pid_fd = pidfd_open(c->pid, 0);
    if (c->pid_fd < 0)
        return "the kernel has no pidfd_open";
    if (watch_add_level(c->loop, &c->process, c->pid_fd, on_exit_of, &err) < 0 ||
        watch_add_level(c->loop, &c->output, c->out_fd, on_output, &err) < 0)
        return "the loop takes no more descriptors";
    return NULL;
}

struct command *command_start(struct loop *loop, const struct str *argv, size_t count, uint64_t timeout_ms, command_fn fn, void *user)
{
    struct command *c = NEW(command);
    char **texts = mem_zalloc((count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = (char *)(uintptr_t)argv[i].p;
    c->loop = loop;
    c->pid_fd = c->out_fd = -1;
    c->fn = fn;
    c->user = user;
    timer_init(&c->timer, loop, on_time);
    c->failure = begin(c, texts);
    timer_set_ms(&c->timer, c->failure ? 0 : timeout_ms);
    mem_free(texts);
    return c;
}
