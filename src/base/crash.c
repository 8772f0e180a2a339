/* SPDX-License-Identifier: Apache-2.0
 *
 * The crash handler. Runs in whatever state the crash left, so it only formats into a stack buffer,
 * calls write(2) and backtrace(3). backtrace loads libgcc on its first call, which allocates: that
 * call is made at installation. The handler is reset on entry: a second fault inside of it kills.
 */
#include "base/crash.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/str.h"

#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define CRASH_FRAMES_MAX 64
#define CRASH_STACK_BYTES 65536

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

static const char *crash_version = "";
static __thread void *crash_stack;

struct line {
    char text[512];
    size_t n;
};

static void line_addz(struct line *l, const char *s)
{
    while (*s && l->n < sizeof(l->text))
        l->text[l->n++] = *s++;
}

static void line_addu(struct line *l, uint64_t v)
{
    char digits[21];
    digits[u64_format(v, digits)] = '\0';
    line_addz(l, digits);
}

static void line_addx(struct line *l, uint64_t v)
{
    line_addz(l, "0x");
    for (int shift = 60; shift >= 0; shift -= 4) {
        char digit[2] = {"0123456789abcdef"[v >> shift & 15], '\0'};
        if (v >> shift || shift == 0)
            line_addz(l, digit);
    }
}

static const char *signal_name(int signo)
{
    switch (signo) {
    case SIGSEGV:
        return "SIGSEGV";
    case SIGBUS:
        return "SIGBUS";
    case SIGABRT:
        return "SIGABRT";
    case SIGILL:
        return "SIGILL";
    case SIGFPE:
        return "SIGFPE";
    default:
        return "a signal";
    }
}

static void print_summary(int signo, const siginfo_t *info)
{
    struct line l = {.n = 0};
    line_addz(&l, "crash: ");
    line_addz(&l, signal_name(signo));
    if (signo != SIGABRT) {
        line_addz(&l, " at address ");
        line_addx(&l, (uint64_t)(uintptr_t)info->si_addr);
    }
    line_addz(&l, " in ");
    line_addz(&l, check_context.worker ? check_context.worker : "no worker");
    line_addz(&l, ", connection ");
    line_addu(&l, check_context.connection_id);
    line_addz(&l, ", stream ");
    line_addu(&l, check_context.stream_id);
    line_addz(&l, ", ");
    line_addz(&l, crash_version);
    line_addz(&l, "\nbacktrace:\n");
    if (write(STDERR_FILENO, l.text, l.n) < 0)
        return;
}

static void on_crash(int signo, siginfo_t *info, void *context)
{
    (void)context;
    void *frames[CRASH_FRAMES_MAX];
    print_summary(signo, info);
    backtrace_symbols_fd(frames, backtrace(frames, CRASH_FRAMES_MAX), STDERR_FILENO);
    /* SA_RESETHAND has put the default action back; it acts when this handler returns. */
    raise(signo);
}

void crash_install(const char *version)
{
    void *warm_up[1];
    backtrace(warm_up, 1);
    crash_version = version;
    struct sigaction action = {.sa_sigaction = on_crash,
                               .sa_flags = SA_SIGINFO | SA_RESETHAND | SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(crash_signals); i++)
        if (!MEM_SANITIZED || crash_signals[i] == SIGABRT)
            sigaction(crash_signals[i], &action, NULL);
}

void crash_thread_init(void)
{
    if (MEM_SANITIZED) /* the sanitizers bring their own */
        return;
    crash_stack = mem_alloc(CRASH_STACK_BYTES);
    stack_t stack = {.ss_sp = crash_stack, .ss_size = CRASH_STACK_BYTES};
    sigaltstack(&stack, NULL);
}

void crash_thread_fini(void)
{
    stack_t none = {.ss_flags = SS_DISABLE};
    if (!crash_stack)
        return;
    sigaltstack(&none, NULL);
    mem_free(crash_stack);
    crash_stack = NULL;
}
