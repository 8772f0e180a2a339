/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a connection manager's route table comes from: its own configuration, or discovery (RDS). One
 * source for each (config source, name), shared by all who name it. What it shows is an immutable
 * snapshot; requests keep the one that they were decided with (snapshot.h).
 */
#ifndef PROXY_ROUTE_ROUTE_SOURCE_H
#define PROXY_ROUTE_ROUTE_SOURCE_H

#include "proxy/route/route.h"
#include "proxy/snapshot.h"

struct config_frame; /* config/resources.h */
struct config_source; /* proxy/discovery/discovery.h */
struct vhds; /* route/vhds.h */
struct warm_source;

struct route_snapshot {
    struct snapshot base;
    struct route_config_spec *spec;
    struct route_table *table;
};
struct route_source {
    struct snapshot_place place;
    bool is_dynamic;
};

/* Any thread; NULL: nothing has come yet. As snapshot_now says. */
static inline struct route_snapshot *route_source_now(const struct route_source *s)
{
    struct snapshot *now = s ? snapshot_now(&s->place) : NULL;
    return now ? CONTAINER_OF(now, route_snapshot, base) : NULL;
}

/* All main thread. */
/* Of a spec that is part of a configuration, whose memory it is; what the spec owns besides goes with the source, or now
 * when there is a fault (NULL). */
struct route_source *route_source_inline(struct route_config_spec *take_spec, struct err *err);
/* `manager`: whose statistics it is counted among ("http.<manager>.rds.<name>."); the first user's stand. */
struct route_source *route_source_get(const struct config_source *source, struct str name, struct str manager,
                                      struct config_frame *keep_frame);
void route_source_unref(struct route_source **s); /* NULL is fine */
struct warm_source *route_source_warm(struct route_source *s); /* NULL: nothing to wait for */

struct vhds *route_source_vhds(struct route_source *s); /* NULL: none */

/* Those that discovery feeds, for dumps; `packed` is null where nothing has come. */
struct route_source_state { struct str name, version, packed; const struct vhds *vhds; uint64_t updated_wall_us; };
void route_sources_each(void (*fn)(const struct route_source_state *s, void *arg), void *arg);

#endif
