/* SPDX-License-Identifier: Apache-2.0
 *
 * Channels by key: few, made and freed with configurations, so a list will do. Entries make a batch by their bytes. Main
 * thread for channels, any for entries.
 */
#include "proxy/service/log_channel.h"

#include "base/mem.h"

enum { LOG_CHANNEL_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {LOG_CHANNEL_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};
static const uint8_t counts[BATCH_COUNTS] = {
    [BATCH_TAKEN] = STAT_LOG_CHANNEL_WRITTEN + 1, [BATCH_DROPPED] = STAT_LOG_CHANNEL_DROPPED + 1};

struct log_channel {
    struct log_channel *next;
    uint32_t refs;
    struct strbuf key, head;
    uint32_t buffer_bytes;
    struct batch *batch;
    struct cluster_slots slots;
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

struct log_channel *log_channel_new(struct str key, const struct log_channel_opts *o, struct str head)
{
    struct batch_opts opts = o->batch;
    struct log_channel *c = NEW(log_channel);
    c->refs = 1;
    strbuf_adds(&c->key, key);
    strbuf_adds(&c->head, head);
    c->buffer_bytes = o->buffer_bytes;
    c->slots = o->take_slots;
    opts.what = "log";
    opts.stats = &table;
    opts.rows = counts;
    c->batch = batch_new(&opts, c);
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
    batch_free(&c->batch);
    cluster_slots_fini(&c->slots);
    strbuf_fini(&c->key);
    strbuf_fini(&c->head);
    mem_free(c);
}

struct str log_channel_head(const struct log_channel *c)
{
    return strbuf_str(&c->head);
}

/* ---- entries ---- */

static bool has_room(const struct log_channel *c)
{
    return batch_held(c->batch).bytes < (c->buffer_bytes ? c->buffer_bytes : 1);
}

struct strbuf *log_channel_begin(struct log_channel *c)
{
    if (!has_room(c))
        batch_flush(c->batch);
    return batch_begin(c->batch, has_room(c));
}

void log_channel_end(struct log_channel *c)
{
    if (!has_room(c))
        batch_flush(c->batch);
    batch_end(c->batch);
}
