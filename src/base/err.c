/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors for people: code, sentence, path. A struct err lives on its caller's stack; only err_list
 * takes heap memory. Any thread, no shared state. Text that doesn't fit is cut and ends in "...":
 * of a path the front is kept, since it says which file and which object.
 */
#include "base/err.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *err_code_text(int code)
{
    switch (code) {
    case 0:
        return "ok";
#define X(name, value, text)                                                                       \
    case name:                                                                                     \
        return text;
        ERR_TABLE(X)
#undef X
    default:
        return "unknown error";
    }
}

static void mark_cut(char *buf, size_t cap, int wanted)
{
    if (wanted >= (int)cap)
        memcpy(buf + cap - 4, "...", 4);
}

int err_vset(struct err *err, int code, const char *fmt, va_list ap)
{
    if (!err)
        return code;
    err->code = code;
    err->path[0] = '\0';
    mark_cut(err->message, sizeof(err->message),
             vsnprintf(err->message, sizeof(err->message), fmt, ap));
    return code;
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);
    return code;
}

int err_set_errno(struct err *err, int errno_value, const char *fmt, ...)
{
    int code = errno_value == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (!err)
        return code;
    va_list ap;
    va_start(ap, fmt);
    err_vset(err, code, fmt, ap);
    va_end(ap);

    char reason[128];
    const char *text = strerror_r(errno_value, reason, sizeof(reason)); /* the GNU form */
    size_t used = strlen(err->message), room = sizeof(err->message) - used;
    mark_cut(err->message + used, room, snprintf(err->message + used, room, ": %s", text));
    return code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return 0;
    char held[ERR_PATH_BYTES];
    memcpy(held, err->path, sizeof(held));

    va_list ap;
    va_start(ap, fmt);
    int head = vsnprintf(err->path, sizeof(err->path), fmt, ap);
    va_end(ap);
    mark_cut(err->path, sizeof(err->path), head);
    if (head < 0 || head >= (int)sizeof(err->path) || held[0] == '\0')
        return err->code;

    const char *dot = held[0] == '[' || head == 0 ? "" : ".";
    size_t room = sizeof(err->path) - (size_t)head;
    int tail = snprintf(err->path + head, room, "%s%s", dot, held);
    if (tail >= (int)room)
        memcpy(err->path + sizeof(err->path) - 4, "...", 4);
    return err->code;
}

const char *err_format(const struct err *err, char *buf, size_t n)
{
    if (n == 0)
        return buf;
    if (err->path[0])
        snprintf(buf, n, "%s: %s", err->path, err->message);
    else
        snprintf(buf, n, "%s", err->message);
    return buf;
}

static struct err *list_slot(struct err_list *list)
{
    if (list->count >= ERR_LIST_MAX) {
        list->dropped++;
        return NULL;
    }
    list->items = mem_grow(list->items, &list->cap, list->count + 1, sizeof(*list->items));
    return &list->items[list->count++];
}

void err_list_add(struct err_list *list, const struct err *err)
{
    struct err *slot = list_slot(list);
    if (slot)
        *slot = *err;
}

void err_list_addf(struct err_list *list, int code, const char *path, const char *fmt, ...)
{
    struct err *slot = list_slot(list);
    if (!slot)
        return;
    va_list ap;
    va_start(ap, fmt);
    err_vset(slot, code, fmt, ap);
    va_end(ap);
    err_prefix(slot, "%s", path ? path : "");
}

void err_list_fini(struct err_list *list)
{
    mem_free(list->items);
    memset(list, 0, sizeof(*list));
}
