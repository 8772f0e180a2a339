/* SPDX-License-Identifier: Apache-2.0
 *
 * What a stream counts of its server (Envoy: "Management Server", statistics). Main thread.
 */
#include "base/mem.h"
#include "proxy/discovery/discovery_priv.h"

#define CONTROL_STATS(X)                                                                           \
    X(CONTROL_CONNECTED, GAUGE, NONE, "connected_state", "1 while there is a stream")              \
    X(CONTROL_PENDING, GAUGE, NONE, "pending_requests", "Requests that a limit of their rate holds back") \
    X(CONTROL_LIMITED, COUNTER, NONE, "rate_limit_enforced", "How often it did")                   \
    X(CONTROL_IDENTIFIER, TEXT, NONE, "identifier", "What the server calls itself")
enum { CONTROL_STATS(STAT_ENUM_ROW) };
static const struct stat_desc rows[] = {CONTROL_STATS(STAT_DESC_ROW)};
static const struct stat_table table = {rows, ARRAY_LEN(rows)};

struct control_stats {
    struct stat_scope *scope;
    struct strbuf identifier;
};

struct control_stats *control_stats_new(struct str prefix)
{
    struct control_stats *s = NEW(control_stats);
    struct strbuf whole = {0};
    strbuf_adds(&whole, prefix);
    strbuf_addz(&whole, "control_plane.");
    s->scope = stat_scope_get(strbuf_str(&whole), &table, strbuf_str(&whole), NULL, 0);
    strbuf_fini(&whole);
    stat_set(s->scope, STAT_CONTROL_CONNECTED, 0);
    stat_set(s->scope, STAT_CONTROL_PENDING, 0);
    return s;
}

void control_stats_free(struct control_stats **stats)
{
    struct control_stats *s = *stats;
    *stats = NULL;
    if (!s)
        return;
    stat_scope_unref(&s->scope);
    strbuf_fini(&s->identifier);
    mem_free(s);
}

void control_stats_connected(struct control_stats *s, bool is_connected)
{
    stat_set(s->scope, STAT_CONTROL_CONNECTED, is_connected);
}

void control_stats_pending(struct control_stats *s, uint32_t count)
{
    stat_set(s->scope, STAT_CONTROL_PENDING, count);
}

void control_stats_limited(struct control_stats *s)
{
    stat_inc(s->scope, STAT_CONTROL_LIMITED);
}

void control_stats_identifier(struct control_stats *s, struct str identifier)
{
    if (!identifier.n || str_eq(identifier, strbuf_str(&s->identifier)))
        return;
    strbuf_reset(&s->identifier);
    strbuf_adds(&s->identifier, identifier);
    stat_set_text(s->scope, STAT_CONTROL_IDENTIFIER, identifier);
}
