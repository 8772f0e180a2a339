/* SPDX-License-Identifier: Apache-2.0
 *
 * overload_manager: monitors, triggers, actions, load-shed points. Main thread.
 */
#include "proxy/overload/monitor.h"

#include "proxy/config/config_priv.h"

#include <stdio.h>

#define TRIGGER(x) ENVOY__CONFIG__OVERLOAD__V3__TRIGGER__TRIGGER_ONEOF_##x
#define ADJUST(x) ENVOY__CONFIG__OVERLOAD__V3__SCALE_TIMERS_OVERLOAD_ACTION_CONFIG__SCALE_TIMER__OVERLOAD_ADJUST_##x
#define MODE(x) ENVOY__EXTENSIONS__RESOURCE_MONITORS__CPU_UTILIZATION__V3__CPU_UTILIZATION_CONFIG__UTILIZATION_COMPUTE_STRATEGY__##x

/* ---- monitors: struct resource_monitor_spec ---- */

int cfg_fixed_heap(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_monitor *o = out;
    o->spec->limit = GET((const pb_fixed_heap *)msg, max_heap_size_bytes);
    return 0;
}

int cfg_cgroup_memory(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_monitor *o = out;
    o->spec->limit = GET((const pb_cgroup_memory *)msg, max_memory_bytes);
    return 0;
}

int cfg_cpu_utilization(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_monitor *o = out;
    o->spec->of_container = GET((const pb_cpu_utilization *)msg, mode) == MODE(CONTAINER);
    return 0;
}

int cfg_worker_utilization(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_monitor *o = out;
    o->spec->window_ms = proto_ms_or(GET((const pb_worker_utilization *)msg, window), 0);
    return 0;
}

int cfg_injected_resource(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_monitor *o = out;
    o->spec->path = arena_str(o->arena, TEXT((const pb_injected_resource *)msg, filename));
    return 0;
}

int cfg_downstream_connections(struct config_reader *cr, const ProtobufCMessage *msg, void *out)
{
    struct cfg_monitor *o = out;
    o->spec->limit = (uint64_t)GET((const pb_downstream_connections *)msg, max_active_downstream_connections);
    return 0;
}

static void read_monitors(struct config_reader *cr, const pb_overload_manager *m, struct overload_spec *o, struct arena *a)
{
    uint32_t n = LEN(m, resource_monitors);
    o->monitors = ARENA_ARRAY(a, struct resource_monitor_spec, n);
    for (uint32_t i = 0; i < n; i++)
        IN("resource_monitors[%u]", i) {
            const pb_resource_monitor *r = m->resource_monitors[i];
            struct resource_monitor_spec *spec = &o->monitors[o->monitor_count++];
            ProtobufCMessage *msg = NULL;
            struct cfg_monitor out = {spec, a};
            spec->name = arena_str(a, TEXT(r, name));
            for (uint32_t j = 0; j + 1 < o->monitor_count; j++)
                if (str_eq(o->monitors[j].name, spec->name))
                    FAULT("name", "'%.*s' is the name of an earlier monitor", STR_ARG(spec->name));
            const pb_any *any = r->config_type_case ? GET(r, typed_config) : NULL;
            const struct extension *ext = cfg_extension(cr, EXT_RESOURCE_MONITOR, "typed_config", spec->name, any, &msg);
            if (!ext)
                continue;
            spec->def = ext->def;
            IN("typed_config")
                ext->read(cr, msg, &out);
            if (spec->def == &monitor_connections)
                o->max_connections = spec->limit;
        }
}

/* ---- triggers ---- */

static bool find_monitor(const struct overload_spec *o, struct str name, uint32_t *index)
{
    for (uint32_t i = 0; i < o->monitor_count; i++) {
        if (str_eq(o->monitors[i].name, name)) {
            *index = i;
            return true;
        }
    }
    return false;
}

static void read_trigger(struct config_reader *cr, const pb_overload_trigger *m, const struct overload_spec *o, struct overload_trigger *t)
{
    if (!find_monitor(o, TEXT(m, name), &t->monitor))
        FAULT("name", "there is no resource monitor '%s'", m->name);
    if (m->trigger_oneof_case == TRIGGER(SCALED)) {
        const Envoy__Config__Overload__V3__ScaledTrigger *s = GET(m, scaled);
        t->is_scaled = true;
        t->from = GET(s, scaling_threshold);
        t->to = GET(s, saturation_threshold);
        if (t->from >= t->to)
            FAULT("scaled", "scaling_threshold must be below saturation_threshold");
    } else if (m->trigger_oneof_case == TRIGGER(THRESHOLD)) {
        t->from = GET(GET(m, threshold), value);
    } else {
        FAULT("", "one of threshold and scaled must be set");
    }
}

static struct overload_lever_spec *add_lever(struct config_reader *cr, struct overload_spec *o, struct str name, bool is_point,
                                             const pb_overload_trigger *const *triggers, uint32_t n, struct arena *a)
{
    static const char *const names[] = {
#define X(id, text) text,
        OVERLOAD_ACTION_TABLE(X) OVERLOAD_POINT_TABLE(X)
#undef X
    };
    uint32_t lever = is_point ? OVERLOAD_FIRST_POINT : 0, end = is_point ? OVERLOAD_LEVER_COUNT : OVERLOAD_FIRST_POINT;
    while (lever < end && !str_eq(name, str_from(names[lever])))
        lever++;
    if (lever == end) {
        char what[128];
        snprintf(what, sizeof what, "%.*s", STR_ARG(name));
        UNSUPPORTED("name", what);
        return NULL;
    }
    struct overload_lever_spec *l = &o->levers[o->lever_count++];
    l->lever = (enum overload_lever)lever;
    l->trigger_count = n;
    l->triggers = ARENA_ARRAY(a, struct overload_trigger, n);
    for (uint32_t i = 0; i < n; i++)
        IN("triggers[%u]", i)
            read_trigger(cr, triggers[i], o, &l->triggers[i]);
    for (uint32_t i = 0; i + 1 < o->lever_count; i++)
        if (o->levers[i].lever == l->lever)
            FAULT("name", "'%.*s' is there already", STR_ARG(name));
    return l;
}

/* ---- actions ---- */

static void read_timers(struct config_reader *cr, const pb_scale_timers *m, struct overload_spec *o)
{
    uint32_t n = LEN(m, timer_scale_factors);
    for (uint32_t i = 0; i < n; i++)
        IN("timer_scale_factors[%u]", i) {
            const Envoy__Config__Overload__V3__ScaleTimersOverloadActionConfig__ScaleTimer *t = m->timer_scale_factors[i];
            int timer = GET(t, timer); /* the API's numbers begin with 1 for ours' 0; rules refuse 0 */
            if (timer < 1 || timer > OVERLOAD_TIMER_COUNT)
                continue;
            struct overload_timer_spec *out = &o->timers[timer - 1];
            out->on = true;
            if (t->overload_adjust_case == ADJUST(MIN_TIMEOUT)) {
                out->has_floor = true;
                out->floor_ms = proto_ms_or(GET(t, min_timeout), 0);
            } else if (t->overload_adjust_case == ADJUST(MIN_SCALE)) {
                out->floor_share = GET(GET(t, min_scale), value) / 100;
            } else {
                FAULT("", "one of min_timeout and min_scale must be set");
            }
        }
}

static void read_actions(struct config_reader *cr, const pb_overload_manager *m, struct overload_spec *o, struct arena *a)
{
    uint32_t actions = LEN(m, actions), points = LEN(m, loadshed_points);
    o->levers = ARENA_ARRAY(a, struct overload_lever_spec, actions + points);
    for (uint32_t i = 0; i < actions; i++)
        IN("actions[%u]", i) {
            const pb_overload_action *act = m->actions[i];
            struct overload_lever_spec *l = add_lever(cr, o, TEXT(act, name), false, (const pb_overload_trigger *const *)act->triggers,
                                                      LEN(act, triggers), a);
            bool reduces = l && l->lever == OVERLOAD_REDUCE_TIMEOUTS;
            if (reduces && !act->typed_config)
                FAULT("typed_config", "must say which timeouts are reduced (ScaleTimersOverloadActionConfig)");
            if (!reduces || !GET(act, typed_config))
                continue;
            IN("typed_config") {
                ProtobufCMessage *msg = NULL;
                if (str_eq(proto_any_type(act->typed_config), STR("envoy.config.overload.v3.ScaleTimersOverloadActionConfig")))
                    msg = proto_any_read(&cr->r, "", act->typed_config);
                if (msg)
                    read_timers(cr, (const pb_scale_timers *)msg, o);
                else
                    FAULT("", "must be an envoy.config.overload.v3.ScaleTimersOverloadActionConfig");
            }
        }
    for (uint32_t i = 0; i < points; i++)
        IN("loadshed_points[%u]", i)
            add_lever(cr, o, TEXT(m->loadshed_points[i], name), true, (const pb_overload_trigger *const *)m->loadshed_points[i]->triggers,
                      LEN(m->loadshed_points[i], triggers), a);
}

struct overload_spec *cfg_overload(struct config_reader *cr, const pb_overload_manager *m)
{
    struct arena *a = &cr->out->arena;
    if (!m)
        return NULL;
    struct overload_spec *o = arena_zalloc(a, sizeof *o);
    IN("overload_manager") {
        o->refresh_ms = proto_ms_or(GET(m, refresh_interval), 1000);
        if (!o->refresh_ms)
            o->refresh_ms = 1;
        read_monitors(cr, m, o, a);
        read_actions(cr, m, o, a);
        if (GET(m, buffer_factory_config))
            o->account_power_of_two = (uint8_t)GET(m->buffer_factory_config, minimum_account_to_track_power_of_two);
    }
    return o;
}
