/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of subscriptions. Main thread.
 */
#include "proxy/discovery/discovery.h"

#include "base/list.h"
#include "base/mem.h"

static const char *const type_names[] = {
#define X(id, type, text) type,
    RESOURCE_TYPE_TABLE(X)
#undef X
};

struct subscription {
    struct list node;
    const struct config_source *source;
    enum resource_type type;
    const struct subscription_ops *ops;
    void *user;
};

static struct list all = {&all, &all};

const char *resource_type_name(enum resource_type t)
{
    return type_names[t];
}

struct subscription *discovery_subscribe(const struct config_source *source, enum resource_type type, struct str name,
                                         struct str stat_prefix, const struct subscription_ops *ops, void *user)
{
    struct subscription *s = NEW(subscription);
    (void)name, (void)stat_prefix;
    s->source = source;
    s->type = type;
    s->ops = ops;
    s->user = user;
    list_push_back(&all, &s->node);
    return s;
}

void discovery_unsubscribe(struct subscription **s)
{
    if (*s) {
        list_remove(&(*s)->node);
        mem_free(*s);
    }
    *s = NULL;
}

void discovery_hold(enum resource_type type)
{
    (void)type;
}

void discovery_resume(enum resource_type type)
{
    (void)type;
}

void discovery_start(struct server *s, const struct discovery_opts *keep_opts)
{
    (void)s, (void)keep_opts;
}

void discovery_stop(void)
{
}

bool discovery_is_connected(void)
{
    return false;
}
