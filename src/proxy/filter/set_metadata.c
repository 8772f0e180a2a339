/* SPDX-License-Identifier: Apache-2.0
 *
 * Sets dynamic metadata of every request. A namespace that is there already is left alone, or merged
 * into where the configuration allows it. On the exchange's worker.
 */
#include "proxy/filter/set_metadata.h"

#include "base/check.h"
#include "proxy/filter/filter_scope.h"

#define SET_METADATA_STATS(X)                                                                      \
    X(SET_METADATA_OVERWRITE_DENIED, COUNTER, NONE, "overwrite_denied", "Namespaces that were there and stayed as they were")
enum { SET_METADATA_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {SET_METADATA_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

static enum filter_headers on_request_headers(struct http_filter *f, struct headers *h, bool end)
{
    (void)h, (void)end;
    const struct set_metadata_config *c = f->config;
    struct metadata *m = &exchange_info(f->x)->metadata;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct set_metadata_entry *e = &c->entries[i];
        if (metadata_find(m, e->space, NULL, 0) && !e->allow_overwrite)
            stat_inc(c->stats, STAT_SET_METADATA_OVERWRITE_DENIED);
        else
            metadata_merge(m, exchange_arena(f->x), e->space, &e->value);
    }
    return FILTER_HEADERS_CONTINUE;
}

static void link(void *config, struct stat_scope *stats)
{
    struct set_metadata_config *c = config;
    if (!c->stats)
        c->stats = filter_scope(stats, STR("set_metadata."), &table);
}

const struct http_filter_def set_metadata_filter = {
    .name = "envoy.filters.http.set_metadata",
    .on_request_headers = on_request_headers,
    .link = link,
};
