/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels by key: few, made and freed with configurations, so a list will do. Main thread.
 */
#include "proxy/service/log_channel.h"

#include "base/mem.h"

struct log_channel {
    struct log_channel *next;
    uint32_t refs;
    struct strbuf key, head;
    struct log_batch *batch;
};
static struct log_channel *channels;

struct log_channel *log_channel_find(struct str key)
{
    for (struct log_channel *c = channels; c; c = c->next)
        if (str_eq(strbuf_str(&c->key), key)) {
            c->refs++;
            return c;
        }
    return NULL;
}

struct log_channel *log_channel_new(struct str key, const struct log_batch_opts *o, struct str head)
{
    struct log_channel *c = NEW(log_channel);
    c->refs = 1;
    strbuf_adds(&c->key, key);
    strbuf_adds(&c->head, head);
    c->batch = log_batch_new(o, c);
    c->next = channels;
    channels = c;
    return c;
}

void log_channel_unref(struct log_channel **channel)
{
    struct log_channel *c = *channel;
    *channel = NULL;
    if (!c || --c->refs)
        return;
    for (struct log_channel **at = &channels; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    log_batch_free(&c->batch);
    strbuf_fini(&c->key);
    strbuf_fini(&c->head);
    mem_free(c);
}

struct log_batch *log_channel_batch(const struct log_channel *c)
{
    return c->batch;
}

struct str log_channel_head(const struct log_channel *c)
{
    return strbuf_str(&c->head);
}
