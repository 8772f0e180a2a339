/* SPDX-License-Identifier: Apache-2.0
 *
 * The process log. A line is built whole, then written with one write(2), so that lines of several
 * threads never mix and no lock is needed. Levels are single bytes read relaxed. Control bytes of a
 * message are escaped: what a peer sent can't forge a line. Reopening replaces the file behind the
 * same descriptor (dup3), so that a thread in the middle of a line never meets a closed one.
 */
#include "base/log.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char default_format[] = "[%Y-%m-%d %T.%e][%t][%l][%n] [%s:%#] %v";

uint8_t log_levels[LOG_COMPONENT_COUNT] = {
#define X(name, text) LOG_INFO,
    LOG_COMPONENTS(X)
#undef X
};

static const char *const level_texts[] = {
#define X(name, text) text,
    LOG_LEVELS(X)
#undef X
};

static const char *const component_texts[] = {
#define X(name, text) text,
    LOG_COMPONENTS(X)
#undef X
};

static int log_fd = STDERR_FILENO;
static char *log_path; /* owned; NULL: stderr */
static const char *log_format = default_format;

struct record {
    enum log_component component;
    enum log_level level;
    const char *file;
    int line;
    struct str message;
    uint64_t wall_us;
    struct tm tm;
};

const char *log_level_text(enum log_level l)
{
    return level_texts[l];
}

const char *log_component_text(enum log_component c)
{
    return component_texts[c];
}

bool log_pace_take(struct log_pace *p, uint64_t *left_out)
{
    uint64_t now = clock_mono_us(), next = __atomic_load_n(&p->next_us, __ATOMIC_RELAXED);
    if (now < next || !__atomic_compare_exchange_n(&p->next_us, &next, now + LOG_SELDOM_S * 1000000ull, false, __ATOMIC_RELAXED,
                                                   __ATOMIC_RELAXED)) {
        __atomic_fetch_add(&p->left_out, 1, __ATOMIC_RELAXED);
        return false;
    }
    *left_out = __atomic_exchange_n(&p->left_out, 0, __ATOMIC_RELAXED);
    return true;
}

bool log_level_parse(const char *text, enum log_level *out)
{
    static const struct {
        const char *text;
        enum log_level level;
    } aliases[] = {{"warn", LOG_WARNING}, {"err", LOG_ERROR}};

    for (size_t i = 0; i < ARRAY_LEN(level_texts); i++) {
        if (strcmp(text, level_texts[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        if (strcmp(text, aliases[i].text) == 0) {
            *out = aliases[i].level;
            return true;
        }
    }
    return false;
}

void log_set_level_all(enum log_level l)
{
    for (size_t i = 0; i < LOG_COMPONENT_COUNT; i++)
        __atomic_store_n(&log_levels[i], (uint8_t)l, __ATOMIC_RELAXED);
}

bool log_set_level(const char *component, enum log_level l)
{
    for (size_t i = 0; i < LOG_COMPONENT_COUNT; i++) {
        if (strcmp(component, component_texts[i]) == 0) {
            __atomic_store_n(&log_levels[i], (uint8_t)l, __ATOMIC_RELAXED);
            return true;
        }
    }
    return false;
}

static int open_append(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

int log_open(const char *path, struct err *err)
{
    int fd = path ? open_append(path) : STDERR_FILENO;
    if (fd < 0)
        return err_set_errno(err, errno, "cannot open the log file %s", path);
    int old = __atomic_exchange_n(&log_fd, fd, __ATOMIC_ACQ_REL);
    if (old != STDERR_FILENO && old != fd)
        close(old);
    mem_free(log_path);
    log_path = path ? mem_strdup(path) : NULL;
    return 0;
}

void log_reopen(void)
{
    if (!log_path)
        return;
    int fd = open_append(log_path);
    if (fd < 0) {
        LOG(MAIN, ERROR, "cannot reopen the log file %s: %s", log_path, strerror(errno));
        return;
    }
    dup3(fd, log_fd, O_CLOEXEC);
    close(fd);
}

/* The operators that strftime answers; spdlog gives them the same letters. */
static const char time_operators[] = "aAbBcCYDxmdHIMSprRTXyz";
static const char own_operators[] = "vnlLtPefFs#g@E%_j";

int log_check_format(const char *format, struct err *err)
{
    for (const char *p = format; *p; p++) {
        if (*p != '%')
            continue;
        p++;
        if (!*p || (!strchr(time_operators, *p) && !strchr(own_operators, *p)))
            return err_set(err, ERR_INVALID, "log format '%s' has the unknown operator '%%%.1s'",
                           format, p);
    }
    return 0;
}

int log_set_format(const char *format, struct err *err)
{
    int rc = log_check_format(format, err);
    if (rc == 0)
        log_format = format;
    return rc;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static void add_message(struct strbuf *out, struct str m)
{
    while (m.n) {
        size_t n = 0;
        while (n < m.n && !is_control(m.p[n]))
            n++;
        strbuf_add(out, m.p, n);
        if (n == m.n)
            return;
        if (m.p[n] == '\n')
            strbuf_addz(out, "\\n");
        else if (m.p[n] == '\r')
            strbuf_addz(out, "\\r");
        else
            strbuf_addf(out, "\\x%02x", (unsigned char)m.p[n]);
        m = str_make(m.p + n + 1, m.n - n - 1);
    }
}

static void add_time(struct strbuf *out, const struct record *r, char op)
{
    char format[3] = {'%', op, '\0'}, text[64];
    strbuf_add(out, text, strftime(text, sizeof(text), format, &r->tm));
}

static void add_operator(struct strbuf *out, const struct record *r, char op)
{
    switch (op) {
    case 'v':
    case '_':
        add_message(out, r->message);
        break;
    case 'j':
        strbuf_add_json(out, r->message);
        break;
    case 'n':
        strbuf_addz(out, component_texts[r->component]);
        break;
    case 'l':
        strbuf_addz(out, level_texts[r->level]);
        break;
    case 'L':
        strbuf_addc(out, (char)(level_texts[r->level][0] - 'a' + 'A'));
        break;
    case 't':
        strbuf_addu(out, (uint64_t)syscall(SYS_gettid));
        break;
    case 'P':
        strbuf_addu(out, (uint64_t)getpid());
        break;
    case 'e':
        strbuf_addf(out, "%03u", (unsigned)(r->wall_us / 1000 % 1000));
        break;
    case 'f':
        strbuf_addf(out, "%06u", (unsigned)(r->wall_us % 1000000));
        break;
    case 'F':
        strbuf_addf(out, "%09u", (unsigned)(r->wall_us % 1000000 * 1000));
        break;
    case 'E':
        strbuf_addu(out, r->wall_us / 1000000);
        break;
    case 's':
        strbuf_addz(out, base_name(r->file));
        break;
    case 'g':
        strbuf_addz(out, r->file);
        break;
    case '#':
        strbuf_addu(out, (uint64_t)r->line);
        break;
    case '@':
        strbuf_addf(out, "%s:%d", base_name(r->file), r->line);
        break;
    case '%':
        strbuf_addc(out, '%');
        break;
    default:
        add_time(out, r, op);
    }
}

static void add_line(struct strbuf *out, const struct record *r, const char *format)
{
    for (const char *p = format; *p; p++) {
        if (*p == '%' && p[1])
            add_operator(out, r, *++p);
        else
            strbuf_addc(out, *p);
    }
    strbuf_addc(out, '\n');
}

void log_write(enum log_component c, enum log_level l, const char *file, int line, const char *fmt,
               ...)
{
    int saved_errno = errno; /* callers log, then look at errno */
    struct strbuf message = {0}, out = {0};
    va_list ap;
    va_start(ap, fmt);
    strbuf_vaddf(&message, fmt, ap);
    va_end(ap);

    struct record r = {c, l, file, line, strbuf_str(&message), clock_wall_us(), {0}};
    time_t seconds = (time_t)(r.wall_us / 1000000);
    localtime_r(&seconds, &r.tm);
    add_line(&out, &r, log_format);

    ssize_t done;
    do {
        done = write(__atomic_load_n(&log_fd, __ATOMIC_ACQUIRE), out.p, out.n);
    } while (done < 0 && errno == EINTR);
    strbuf_fini(&out);
    strbuf_fini(&message);
    errno = saved_errno;
}
