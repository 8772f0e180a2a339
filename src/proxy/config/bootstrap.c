/* SPDX-License-Identifier: Apache-2.0
 *
 * The bootstrap: file and text -> message -> rules -> specs -> what was left unread. Every step adds
 * to one list of faults; a fault in reading a document ends it, since there is nothing to go on with.
 * Messages live in an arena of their own that goes back to the system when this returns. Main thread.
 */
#include "proxy/config/bootstrap.h"

#include "base/mem.h"
#include "proto/json.h"
#include "proto/validate.h"
#include "proto/yaml.h"
#include "proxy/config/config_priv.h"
#include "proxy/config/istio_priv.h"
#include "proxy/discovery/discovery.h"
#include "proxy/log/access_log.h"
#include "proxy/stats/stats_config.h"

#include <malloc.h>
#include <stdio.h>

#define YAML_ARGUMENT "--config-yaml"
#define AGENT_JSON "bootstrap of the agent"
#define STATS_FLUSH_MS 5000u

/* ---- documents ---- */

struct sources {
    const char *file; /* what faults are attributed to */
    const struct doc_node *root; /* NULL where there is no text to point into */
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "FILE:LINE:COLUMN[: rest]" -> line and column and where the rest begins; NULL: not of that form. */
static char *skip_place(char *text, const char *file, unsigned *line, unsigned *column)
{
    size_t n = strlen(file);
    int end = 0;
    if (strncmp(text, file, n) != 0 || sscanf(text + n, ":%u:%u%n", line, column, &end) != 2)
        return NULL;
    text += n + end;
    return strncmp(text, ": ", 2) == 0 ? text + 2 : text;
}

/* "<file>: <path>: <sentence> (line 3, column 7)"; where a document could not be read the place comes first, as
 * compilers have it: "<file>:<line>:<column>: <path>: <sentence>". */
static void finish_fault(struct err *e, const char *source, bool is_reading)
{
    char rest[ERR_PATH_BYTES], place[64];
    unsigned line = 0, column = 0;
    const char *file = base_name(source);
    char *message = skip_place(e->message, source, &line, &column);
    if (message)
        memmove(e->message, message, strlen(message) + 1);
    char *path = skip_place(e->path, source, &line, &column);
    snprintf(rest, sizeof rest, "%s", path ? path : e->path);
    snprintf(place, sizeof place, is_reading ? ":%u:%u" : " (line %u, column %u)", line, column);
    int n = snprintf(e->path, sizeof e->path, "%s%s", file, is_reading && line ? place : "");
    if (rest[0] && n >= 0 && (size_t)n < sizeof e->path)
        n += snprintf(e->path + n, sizeof e->path - (size_t)n, ": %s", rest); /* cut short if need be */
    size_t used = strlen(e->message);
    if (!is_reading && line && used + strlen(place) < sizeof e->message)
        memcpy(e->message + used, place, strlen(place) + 1);
}

static void finish_faults(struct err_list *faults, size_t from, const char *source, bool is_reading)
{
    for (size_t i = from; i < faults->count; i++)
        finish_fault(&faults->items[i], source, is_reading);
}

/* With faults what comes back is what could be decoded, if anything: its rules and readers find the rest of the faults. */
static pb_bootstrap *read_documents(struct proto_arena *arena, const struct server_opts *opts, struct sources *src, struct err_list *faults)
{
    const ProtobufCMessageDescriptor *desc = &envoy__config__bootstrap__v3__bootstrap__descriptor;
    ProtobufCMessage *boot = NULL, *over = NULL;
    size_t first = faults->count;
    src->file = YAML_ARGUMENT;
    if (opts->config_json.n) {
        src->file = AGENT_JSON;
        src->root = json_read(arena, opts->config_json, AGENT_JSON, faults);
        if (src->root)
            doc_decode(arena, src->root, desc, AGENT_JSON, &boot, faults);
        finish_faults(faults, first, AGENT_JSON, true);
    } else if (!opts->config_path.n && !opts->config_yaml.n) {
        err_list_addf(faults, ERR_INVALID, NULL, "there is no configuration: give --config-path or --config-yaml");
        return NULL;
    }
    if (!opts->config_json.n && opts->config_path.n) {
        src->file = opts->config_path.p;
        proto_load_file(arena, opts->config_path.p, desc, &boot, &src->root, faults);
        finish_faults(faults, first, src->file, true);
    }
    if (opts->config_yaml.n) {
        size_t from = faults->count;
        yaml_decode(arena, opts->config_yaml, desc, YAML_ARGUMENT, &over, faults);
        finish_faults(faults, from, YAML_ARGUMENT, true);
    }
    if (faults->count > first)
        return over || opts->config_yaml.n ? NULL : (pb_bootstrap *)boot;
    if (!boot)
        return (pb_bootstrap *)over;
    if (over) {
        src->root = NULL; /* indices of lists differ from the file's */
        if (proto_merge(arena, boot, over) < 0) {
            err_list_addf(faults, ERR_LIMIT, NULL, "the merged configuration is too large");
            return NULL;
        }
    }
    return (pb_bootstrap *)boot;
}

/* ---- the message ---- */

/* The flags' names go into the message, so that the dump has them too, as Envoy's. */
static void complete_node(struct proto_arena *arena, pb_bootstrap *boot, const struct server_opts *opts)
{
    pb_node *n = boot->node ? boot->node : PROTO_NEW(arena, pb_node, envoy__config__core__v3__node__descriptor);
    boot->node = n;
    if (n && opts->service_node.n)
        n->id = proto_arena_strdup(arena, opts->service_node);
    if (n && opts->service_cluster.n)
        n->cluster = proto_arena_strdup(arena, opts->service_cluster);
    if (n && opts->service_zone.n && !n->locality)
        n->locality = PROTO_NEW(arena, pb_locality, envoy__config__core__v3__locality__descriptor);
    if (n && opts->service_zone.n && n->locality)
        n->locality->zone = proto_arena_strdup(arena, opts->service_zone);
}

static void read_node(struct config_reader *cr, const pb_node *m)
{
    struct node_info *n = &cr->out->node;
    struct arena *a = &cr->out->arena;
    struct str id = STR(""), cluster = STR(""), region = STR(""), zone = STR(""), sub_zone = STR("");
    cfg_istio_node(cr, m);
    if (m) {
        const pb_locality *l = GET(m, locality);
        id = TEXT(m, id);
        cluster = TEXT(m, cluster);
        if (l) {
            region = TEXT(l, region);
            zone = TEXT(l, zone);
            sub_zone = TEXT(l, sub_zone);
        }
        proto_read_whole(&cr->r, &m->base); /* the rest is for the management server, and shown in the dump */
    }
    n->id = arena_str(a, id);
    n->cluster = arena_str(a, cluster);
    n->region = arena_str(a, region);
    n->zone = arena_str(a, zone);
    n->sub_zone = arena_str(a, sub_zone);
}

static void read_secrets(struct config_reader *cr, const pb_static_resources *m)
{
    uint32_t n = LEN(m, secrets);
    for (uint32_t i = 0; i < n; i++)
        IN("static_resources.secrets[%u]", i) {
            pb_secret *s = m->secrets[i];
            if (map_set(cr->secrets, str_from(s->name), s))
                FAULT("name", "'%s' is the name of an earlier secret", s->name);
            cfg_check_secret(cr, s);
        }
}

static void read_clusters(struct config_reader *cr, const pb_static_resources *m)
{
    struct config_result *out = cr->out;
    uint32_t n = LEN(m, clusters);
    out->clusters = ARENA_ARRAY(&out->arena, struct cluster_spec *, n);
    for (uint32_t i = 0; i < n; i++)
        if (map_set(cr->cluster_names, str_from(m->clusters[i]->name), m->clusters[i]))
            IN("static_resources.clusters[%u]", i)
                FAULT("name", "'%s' is the name of an earlier cluster", m->clusters[i]->name);
    for (uint32_t i = 0; i < n; i++)
        IN("static_resources.clusters[%u]", i)
            cfg_cluster(cr, m->clusters[i], &out->clusters[out->cluster_count++]);
}

static void read_listeners(struct config_reader *cr, const pb_static_resources *m)
{
    struct config_result *out = cr->out;
    struct map *names = map_new();
    uint32_t n = LEN(m, listeners);
    out->listeners = ARENA_ARRAY(&out->arena, struct listener_spec *, n);
    for (uint32_t i = 0; i < n; i++)
        IN("static_resources.listeners[%u]", i) {
            struct listener_spec *l = NULL;
            cfg_listener(cr, m->listeners[i], &l);
            out->listeners[out->listener_count++] = l;
            if (map_set(names, l->name, l))
                FAULT("name", "'%.*s' is the name of an earlier listener", STR_ARG(l->name));
        }
    map_free(&names);
}

static struct str source_locator(struct config_reader *cr, const char *field, const char *locator, const pb_config_source *source)
{
    if (!locator || !*locator)
        return STR_NULL;
    if (!source)
        FAULT(field, "there is nobody to ask: the config source beside it isn't set");
    return arena_str(&cr->out->arena, str_from(locator));
}

static void read_dynamic(struct config_reader *cr, const Envoy__Config__Bootstrap__V3__Bootstrap__DynamicResources *m)
{
    struct config_result *out = cr->out;
    if (!m)
        return;
    IN("dynamic_resources") {
        IN("ads_config")
            out->ads = cfg_api_source(cr, GET(m, ads_config));
        IN("cds_config")
            out->cds = cfg_config_source(cr, GET(m, cds_config));
        IN("lds_config")
            out->lds = cfg_config_source(cr, GET(m, lds_config));
        out->lds_locator = source_locator(cr, "lds_resources_locator", GET(m, lds_resources_locator), m->lds_config);
        out->cds_locator = source_locator(cr, "cds_resources_locator", GET(m, cds_resources_locator), m->cds_config);
        if (out->ads && out->ads->kind != SOURCE_GRPC && out->ads->kind != SOURCE_DELTA_GRPC)
            FAULT("ads_config.api_type", "must be GRPC or DELTA_GRPC");
        bool wants_ads = (out->cds && out->cds->kind == SOURCE_ADS) || (out->lds && out->lds->kind == SOURCE_ADS);
        if (wants_ads && !out->ads)
            FAULT("ads_config", "must be set: cds_config or lds_config asks for ADS");
    }
}

static void keep_node(struct config_reader *cr)
{
    struct strbuf node = {0};
    cfg_packed_node(cr, &node);
    cr->out->node_packed = arena_str(&cr->out->arena, strbuf_str(&node));
    strbuf_fini(&node);
}

static void read_bootstrap(struct config_reader *cr, const pb_bootstrap *m)
{
    struct config_result *out = cr->out;
    read_node(cr, GET(m, node));
    (void)LEN(m, node_context_params);
    cfg_process(cr, m);
    cfg_runtime(cr, GET(m, layered_runtime));
    cfg_stats(cr, GET(m, stats_config));
    out->stats_flush_interval_ms = proto_ms_or(GET(m, stats_flush_interval), STATS_FLUSH_MS);
    if (m->stats_flush_case == ENVOY__CONFIG__BOOTSTRAP__V3__BOOTSTRAP__STATS_FLUSH_STATS_FLUSH_ON_ADMIN)
        out->stats_flush_on_admin = GET(m, stats_flush_on_admin);
    const pb_static_resources *s = GET(m, static_resources);
    if (s) {
        read_secrets(cr, s);
        read_clusters(cr, s);
        read_listeners(cr, s);
    }
    read_dynamic(cr, GET(m, dynamic_resources));
    cfg_rtds(cr, m->layered_runtime);
    keep_node(cr);
    cfg_stats_sinks(cr, m);
    cfg_bootstrap_tracing(cr, m);
    out->overload = cfg_overload(cr, GET(m, overload_manager));
    cfg_admin(cr, GET(m, admin));
    /* Defaults of clusters: read even where no cluster took them. */
    (void)GET(m, use_tcp_for_dns_lookups), (void)GET(m, default_socket_interface);
    __auto_type manager = GET(m, cluster_manager); /* its upstream_bind_config is clusters'; the rest stays unread */
    if (manager)
        IN("cluster_manager.load_stats_config")
            out->lrs = cfg_api_source(cr, GET(manager, load_stats_config));
    if (out->lrs && out->lrs->kind != SOURCE_GRPC)
        FAULT("cluster_manager.load_stats_config.api_type", "must be GRPC");
    struct str local = manager ? TEXT(manager, local_cluster_name) : STR_NULL;
    if (local.n && !map_get(cr->cluster_names, local))
        FAULT("cluster_manager.local_cluster_name", "unknown cluster '%.*s'", STR_ARG(local));
    out->local_cluster = arena_str(&out->arena, local);
}

/* ---- faults and what was not read ---- */

static bool is_below(const char *path, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(path, prefix, n) == 0 && (path[n] == '\0' || path[n] == '.' || path[n] == '[');
}

/* What lies below a fault may be unread only because its reader gave up. */
void cfg_add_unread(struct config_reader *cr, const ProtobufCMessage *m, struct err_list *faults)
{
    struct err_list unread = {0};
    size_t known = faults->count;
    proto_unread(&cr->r, m, "", &unread);
    for (size_t i = 0; i < unread.count; i++) {
        bool explained = false;
        for (size_t j = 0; j < known && !explained; j++)
            explained = faults->items[j].path[0] && is_below(unread.items[i].path, faults->items[j].path);
        if (!explained)
            err_list_add(faults, &unread.items[i]);
    }
    err_list_fini(&unread);
}

/* Readers find again what the API's rules have found at a place: faults from `second` on at a path that one of
 * [first, second) has. */
static void drop_repeated(struct err_list *faults, size_t first, size_t second)
{
    size_t kept = second;
    for (size_t i = second; i < faults->count; i++) {
        bool known = false;
        for (size_t j = first; j < second && !known; j++)
            known = strcmp(faults->items[i].path, faults->items[j].path) == 0;
        if (!known)
            faults->items[kept++] = faults->items[i];
    }
    faults->count = kept;
}

/* The path that a finished fault of reading tells of: what follows "FILE:LINE:COLUMN: ". */
static const char *path_of_finished(const struct err *e)
{
    const char *colon = strstr(e->path, ": ");
    return colon ? colon + 2 : "";
}

/* What could not be decoded is missing, and so are rules met and fields read around it: faults from `second` on at, above or
 * below a place that one of [first, second) names say nothing new. */
static void drop_followers(struct err_list *faults, size_t first, size_t second)
{
    size_t kept = second;
    for (size_t i = second; i < faults->count; i++) {
        bool follows = false;
        for (size_t j = first; j < second && !follows; j++) {
            const char *cause = path_of_finished(&faults->items[j]), *path = faults->items[i].path;
            follows = is_below(path, cause) || is_below(cause, path);
        }
        if (!follows)
            faults->items[kept++] = faults->items[i];
    }
    faults->count = kept;
}

/* With --allow-unsupported, faults of that kind become warnings. */
static void split_unsupported(struct err_list *faults, struct err_list *unsupported)
{
    size_t kept = 0;
    for (size_t i = 0; i < faults->count; i++) {
        if (faults->items[i].code == ERR_UNSUPPORTED)
            err_list_add(unsupported, &faults->items[i]);
        else
            faults->items[kept++] = faults->items[i];
    }
    faults->count = kept;
}

static void keep_packed(struct config_result *out, const pb_bootstrap *m)
{
    struct strbuf packed = {0};
    proto_pack(&m->base, &packed);
    size_t n = packed.n;
    out->packed = str_make(mem_realloc(strbuf_take(&packed), n + 1), n);
}

void config_frame_free(struct config_frame **frame)
{
    struct config_frame *f = *frame;
    *frame = NULL;
    if (!f)
        return;
    map_free(&f->localities);
    map_free(&f->dns_caches);
    map_free(&f->cluster_names);
    map_free(&f->secrets);
    spec_memory_unref(&f->memory);
    proto_arena_free(&f->proto);
    mem_free(f);
}

static struct config_frame *frame_new(struct config_result *out, struct proto_arena *take_arena, const pb_bootstrap *boot,
                                      const struct server_opts *opts)
{
    struct config_frame *f = NEW(config_frame);
    f->proto = take_arena;
    f->boot = boot;
    f->out = out;
    f->memory = spec_memory_new();
    f->secrets = map_new();
    f->cluster_names = map_new();
    f->dns_caches = map_new();
    f->localities = map_new();
    f->allow_unsupported = opts->allow_unsupported;
    return f;
}

void cfg_reader_init(struct config_reader *cr, struct config_frame *f, struct proto_arena *arena, struct err_list *faults)
{
    *cr = (struct config_reader){
        .proto = arena,
        .out = f->out,
        .boot = f->boot,
        .lasting = f->memory,
        .secrets = f->secrets,
        .cluster_names = f->cluster_names,
        .dns_caches = f->dns_caches,
        .localities = f->localities,
        .allow_unsupported = f->allow_unsupported,
    };
    proto_reader_init(&cr->r, arena, faults);
}

static void build(struct config_frame *f, struct err_list *faults)
{
    struct config_reader cr;
    cfg_reader_init(&cr, f, f->proto, faults);
    cr.cluster_memory = spec_memory_ref(f->memory);
    cr.slots = &f->out->slots;
    read_bootstrap(&cr, f->boot);
    cfg_add_unread(&cr, &f->boot->base, faults);
    spec_memory_unref(&cr.cluster_memory);
    proto_reader_fini(&cr.r);
}

/* Whether discovery may bring resources. */
static bool needs_frame(const struct config_result *out)
{
    return out->lds || out->cds || out->ads || out->has_sources;
}

int config_load(const struct server_opts *opts, struct config_result **result, struct err_list *faults)
{
    struct proto_arena *arena = proto_arena_new(0);
    struct config_result *out = NEW(config_result);
    struct sources src = {0};
    size_t first = faults->count;
    arena_init(&out->arena, 0);
    *result = NULL;
    pb_bootstrap *boot = read_documents(arena, opts, &src, faults);
    if (boot) {
        size_t from = faults->count;
        complete_node(arena, boot, opts);
        proto_validate(arena, &boot->base, "", faults);
        size_t rules = faults->count;
        out->frame = frame_new(out, arena, boot, opts);
        arena = NULL;
        build(out->frame, faults);
        drop_repeated(faults, from, rules);
        drop_followers(faults, first, from);
        if (src.root)
            doc_locate_faults(src.root, src.file, NULL, faults, from);
        if (opts->allow_unsupported)
            split_unsupported(faults, &out->unsupported);
        finish_faults(faults, from, src.file, false);
        finish_faults(&out->unsupported, 0, src.file, false);
        keep_packed(out, boot);
    }
    proto_arena_free(&arena);
    if (out->frame && !needs_frame(out))
        config_frame_free(&out->frame);
#ifdef __GLIBC__
    malloc_trim(0); /* the readers' books are megabytes for thousands of clusters, and nothing will need them again */
#endif
    if (!boot || faults->count > first) {
        config_result_free(&out);
        return ERR_INVALID;
    }
    *result = out;
    return 0;
}

static void admin_fini(struct config_admin *a)
{
    addr_fini(&a->addr);
    for (uint32_t i = 0; i < a->access_log_count; i++)
        access_log_free(&a->access_logs[i]);
    for (uint32_t i = 0; i < a->allow_path_count; i++)
        string_match_fini(&a->allow_paths[i]);
}

void config_result_free(struct config_result **r)
{
    struct config_result *out = *r;
    *r = NULL;
    if (!out)
        return;
    for (uint32_t i = 0; i < out->listener_count; i++)
        listener_spec_free(&out->listeners[i]);
    for (uint32_t i = 0; i < out->cluster_count; i++)
        cluster_spec_free(&out->clusters[i]);
    admin_fini(&out->admin);
    cfg_stats_sinks_fini(out->sinks, out->sink_count);
    stats_config_free(&out->stats);
    for (uint32_t i = 0; i < out->layer_count; i++)
        config_source_unref(&out->layers[i].source);
    config_source_unref(&out->lds);
    config_source_unref(&out->cds);
    config_source_unref(&out->ads);
    config_source_unref(&out->lrs);
    config_frame_free(&out->frame);
    err_list_fini(&out->unsupported);
    mem_free((char *)out->packed.p);
    cluster_slots_fini(&out->slots);
    arena_fini(&out->arena);
    mem_free(out);
}
