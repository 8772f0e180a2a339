/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of this folder share. A reader turns one message into one part of a spec: it
 * takes every member through GET (so that what it leaves out is found), reports faults at the
 * present path and goes on with a default: all faults of a file come out in one go. Nothing that a
 * reader returns may point into a message. Main thread only.
 */
#ifndef PROXY_CONFIG_PRIV_H
#define PROXY_CONFIG_PRIV_H

#include "base/map.h"
#include "proto/fields.h"
#include "proxy/cluster/cluster.h"
#include "proxy/config/bootstrap.h"
#include "proxy/config/pb.h"
#include "proxy/config/spec_memory.h"
#include "proxy/filter/filter_source.h"
#include "proxy/match/header_match.h"
#include "proxy/metadata.h"
#include "proxy/route/route.h"

struct http_client_opts;
struct http_server_opts;
struct hcm_config;
struct ip_detection;
struct route_config_spec;
struct format;

/* What readers need of the bootstrap: for its own resources, and for those that discovery brings later. */
struct config_frame {
    struct proto_arena *proto;       /* of boot */
    const pb_bootstrap *boot;
    struct config_result *out;
    struct spec_memory *memory;      /* of what stays as long as the process */
    struct map *secrets, *cluster_names, *dns_caches, *localities; /* as in the reader */
    bool allow_unsupported;
};
void config_frame_free(struct config_frame **f);

struct config_reader {
    struct proto_reader r;
    struct proto_arena *proto;       /* messages; gone when loading ends */
    struct config_result *out;
    struct spec_memory *cluster_memory;
    struct spec_memory *lasting;     /* the frame's: localities, which members of clusters are told apart by */
    bool is_dynamic;                 /* a resource that discovery brought: clusters that it names may come later */
    struct map *secrets;             /* name -> pb_secret */
    struct map *cluster_names;       /* name -> anything */
    struct map *dns_caches;          /* name -> struct dns_cache_spec (borrowed) */
    struct map *localities;          /* key -> struct locality, in cluster_memory */
    const pb_bootstrap *boot;
    struct cluster_slots *slots;     /* of what is being read: it holds the names of clusters that it refers to */
    bool allow_unsupported;
    uint32_t listener_index;
    bool is_inbound;                 /* the listener that is being read takes what comes from outside */
};

/* bootstrap.c: a reader over the frame; cluster_memory and slots are for the caller to set. */
void cfg_reader_init(struct config_reader *cr, struct config_frame *f, struct proto_arena *arena, struct err_list *faults);
/* What wasn't read, but for what lies below a fault. */
void cfg_add_unread(struct config_reader *cr, const ProtobufCMessage *m, struct err_list *faults);

#define GET(msg_, field_) PROTO_GET(&cr->r, msg_, field_)
#define LEN(msg_, field_) ((uint32_t)PROTO_LEN(&cr->r, msg_, field_))
#define TEXT(msg_, field_) PROTO_STR(&cr->r, msg_, field_)
#define IN(...) PROTO_IN (&cr->r, __VA_ARGS__)
#define FAULT(field_, ...) proto_fault(&cr->r, ERR_INVALID, field_, __VA_ARGS__)
#define UNSUPPORTED(field_, what_) proto_unsupported(&cr->r, field_, what_)

/* An array of n zeroed items in an arena; NULL for 0. */
#define ARENA_ARRAY(arena_, type_, n_) ((n_) ? (type_ *)arena_zalloc(arena_, (n_) * sizeof(type_)) : NULL)

/* ---- common.c: small things that many messages hold ---- */
struct str cfg_lower(struct arena *a, struct str s);
/* `err`'s sentence as a fault at the present path plus its own path under `field`. */
int cfg_fault_err(struct config_reader *cr, const char *field, const struct err *err);
/* IP and port, or a Unix socket. The address may own heap text (addr_fini). */
int cfg_address(struct config_reader *cr, const pb_address *m, struct addr *out, uint32_t *unix_mode, bool *ipv4_compat);
int cfg_socket_address(struct config_reader *cr, const pb_socket_address *m, struct addr *out, bool *ipv4_compat);
int cfg_cidr(struct config_reader *cr, const pb_cidr_range *m, struct cidr *out);
struct cidr *cfg_xds_cidrs(struct config_reader *cr, struct arena *a, const char *field, pb_xds_cidr_range *const *items, uint32_t n);
struct cidr *cfg_cidrs(struct config_reader *cr, struct arena *a, const char *field, pb_cidr_range *const *items, uint32_t n);
/* Options of one state; `first` takes PREBIND and BOUND, which are the same to a socket that isn't listening. */
enum cfg_sock_state { CFG_SOCK_BEFORE_LISTEN, CFG_SOCK_LISTENING };
struct sock_opt *cfg_sock_opts(struct config_reader *cr, struct arena *a, const char *field, pb_socket_option *const *items,
                               uint32_t n, enum cfg_sock_state state, uint32_t *count);
void cfg_keepalive(struct config_reader *cr, const pb_tcp_keepalive *m, bool *on, int *probes, int *time_s, int *interval_s);
/* Text or bytes now (a file is read). limit_bytes 0 = 16 MiB. */
int cfg_data_source(struct config_reader *cr, struct arena *a, const pb_data_source *m, size_t limit_bytes, struct str *out);
/* `base`, or base.prefix: a filter's part of statistics' names. Statistics keep the text itself and live longer than any
 * configuration, so there is one copy of each for ever. Main thread. */
const char *cfg_stat_family(const char *base, struct str prefix);
int cfg_string_match(struct config_reader *cr, const pb_string_matcher *m, struct string_match *out);
struct regex *cfg_regex(struct config_reader *cr, const char *field, const pb_regex_matcher *m);
int cfg_header_matcher(struct config_reader *cr, const pb_header_matcher *m, struct header_matcher *out);
struct header_matcher *cfg_header_matchers(struct config_reader *cr, const char *field, pb_header_matcher *const *items, uint32_t n,
                                           struct arena *a);
/* RuntimeFractionalPercent and FractionalPercent. NULL gives `percent` of 100 without a key. */
struct runtime_fraction cfg_runtime_fraction(struct config_reader *cr, struct arena *a, const pb_runtime_fraction *m, uint32_t percent);
struct runtime_fraction cfg_fraction(struct config_reader *cr, const pb_fractional_percent *m);
/* metadata.c: configured metadata and Structs, copied; typed metadata is refused by name where it is set. NULL for NULL. */
struct metadata *cfg_metadata(struct config_reader *cr, const pb_metadata *m, struct arena *a);
struct meta_value cfg_struct(struct config_reader *cr, const pb_struct *m, struct arena *a);
struct meta_value cfg_value(struct config_reader *cr, const pb_value *m, struct arena *a);
void cfg_header_option(struct config_reader *cr, const pb_header_option *m, struct arena *a, struct header_mutation *out);
/* header_rules.c: HeaderValueOption and removal lists of routes; HeaderMutation lists of header_mutation and early mutation. */
void cfg_header_rules(struct config_reader *cr, const char *add_field, pb_header_option *const *adds, uint32_t add_count,
                      const char *remove_field, char *const *removes, uint32_t remove_count, struct arena *a, struct header_rules *out);
void cfg_header_mutations(struct config_reader *cr, const char *field, pb_header_mutation *const *items, uint32_t n, struct arena *a,
                          struct header_rules *out);
/* grpc_service.c */
struct grpc_service;
int cfg_grpc_service(struct config_reader *cr, const pb_grpc_service *m, struct arena *a, struct grpc_service *out);
/* config_source.c: a reference to the shared source (config_source_unref); NULL for NULL */
struct config_source;
const struct config_source *cfg_config_source(struct config_reader *cr, const pb_config_source *m);
/* filter_source.c: never NULL; in the arena, with parts of its own (filter_source_fini) */
struct filter_source *cfg_filter_source(struct config_reader *cr, enum filter_place kind, struct str name,
                                        const pb_extension_config_source *m, bool is_last, struct arena *a);
const struct config_source *cfg_api_source(struct config_reader *cr, const pb_api_config_source *m);
/* rate_limits.c: NULL for none; heap parts freed by rate_limit_rules_fini. */
struct rate_limit_rules;
const struct rate_limit_rules *cfg_rate_limits(struct config_reader *cr, const char *field, pb_rate_limit *const *items, uint32_t n,
                                               struct arena *a);
/* The same for a filter's own list, which has neither stages nor keys to turn rules off. */
const struct rate_limit_rules *cfg_filter_rate_limits(struct config_reader *cr, const char *field, pb_rate_limit *const *items,
                                                      uint32_t n, struct arena *a);
/* A pack of bytes for shared_get keys. */
void cfg_key_str(struct strbuf *key, struct str s);
int cfg_read_file(const char *path, struct arena *a, size_t limit_bytes, struct str *out, struct err *err);

/* ---- extensions.c ---- */
enum extension_kind {
    EXT_NETWORK_FILTER, EXT_HTTP_FILTER, EXT_LISTENER_FILTER, EXT_DOWNSTREAM_SOCKET, EXT_UPSTREAM_SOCKET, EXT_ACCESS_LOGGER,
    EXT_CLUSTER, EXT_LB_POLICY, EXT_DNS_RESOLVER, EXT_IP_DETECTION, EXT_REQUEST_ID,
    EXT_LOG_FILTER, EXT_RESOURCE_MONITOR, EXT_STATS_SINK,
    EXT_TRACER,                  /* struct tracer */
    EXT_TRACE_SAMPLER,           /* struct cfg_sampler */
    EXT_RESOURCE_DETECTOR,       /* attributes of this process for OpenTelemetry: struct cfg_resource */
    EXT_ROUTE_FILTER,            /* per-route settings of an HTTP filter */
    EXT_CERT_VALIDATOR,          /* of peers, in place of the usual one: struct secret_spec (secret.h) */
    EXT_SESSION_STATE,           /* where a session stands: struct cfg_session */
    EXT_COMPRESSION, EXT_DECOMPRESSION, /* libraries of compressor and decompressor */
    EXT_RETRY_HOST, EXT_RETRY_PRIORITY, EXT_PATH_MATCH, EXT_PATH_REWRITE, EXT_REDIRECT_PREDICATE, /* of routes */
    EXT_EARLY_MUTATION,
    EXT_HEALTH_SINK,             /* event logs of health checks */
    EXT_FORMATTER,               /* operators of formats: nothing */
    EXT_UPSTREAM_FILTER,         /* of a cluster's connections: struct cfg_upstream_filter */
    EXT_MATCH_INPUT,             /* of matcher trees (matcher_priv.h) */
    EXT_RBAC_PERMISSION, EXT_RBAC_PRINCIPAL, /* struct rbac_rule (rbac/rbac.h) */
};
struct extension {
    const char *type;            /* full type name of its configuration */
    enum extension_kind kind;
    const char *name;            /* the extension's well-known name */
    /* Reads `msg` into `out`, whose type the kind defines (table in extensions.c). */
    int (*read)(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
    const void *def;             /* the filter's or policy's descriptor, where it has one */
};
/* The extension for `any` and its message; NULL after a fault at `field` (".typed_config" of the present path). */
bool cfg_extension_is_named(enum extension_kind kind, struct str type);
bool cfg_extension_is_known(struct config_reader *cr, enum extension_kind kind, const pb_any *any);
const struct extension *cfg_extension(struct config_reader *cr, enum extension_kind kind, const char *field, struct str name,
                                      const pb_any *any, ProtobufCMessage **msg);

/* ---- one file a concept ---- */
struct cfg_network_filter { /* EXT_NETWORK_FILTER */
    struct network_filter_spec *spec;
    const struct listener_spec *listener; /* this generation's; the chain may outlive it */
    struct filter_chain *chain;
    struct arena *arena;                  /* the chain's */
};
struct cfg_listener_filter { /* EXT_LISTENER_FILTER */
    struct listener_filter_spec *spec;
    struct arena *arena;
};
struct cfg_upstream_filter { struct cluster_spec *spec; struct arena *arena; }; /* EXT_UPSTREAM_FILTER */
struct cfg_socket { /* EXT_DOWNSTREAM_SOCKET, EXT_UPSTREAM_SOCKET */
    struct tls_source *tls;               /* new reference; NULL: raw */
    struct transport_socket_spec *up;     /* upstream only */
    struct arena *arena;                  /* upstream only */
};

int cfg_listener(struct config_reader *cr, const pb_listener *m, struct listener_spec **out);
/* Reads a static secret for its faults alone; users read it again. */
int cfg_spiffe_validator(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* EXT_CERT_VALIDATOR */
void cfg_check_secret(struct config_reader *cr, const pb_secret *m);
int cfg_raw_socket(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_downstream_tls(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_upstream_tls(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_upstream_proxy_protocol(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
void cfg_pass_tlvs(struct config_reader *cr, const pb_pass_through_tlvs *m, struct arena *a, bool *all, uint8_t **types,
                   uint32_t *count);
int cfg_tls_inspector(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_http_inspector(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_proxy_protocol(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_original_dst(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_original_src(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_hcm(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_tcp_proxy(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
struct cfg_http_filter { struct http_filter_spec *spec; struct arena *arena; }; /* EXT_HTTP_FILTER */
struct cfg_route_filter { struct filter_override *override; struct arena *arena; }; /* EXT_ROUTE_FILTER: fill config, free_config */
int cfg_fault(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_fault_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_cors(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_cors_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_csrf(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_jwt_authn(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_jwt_authn_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_csrf_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_buffer(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_buffer_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_header_mutation(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_header_mutation_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_header_to_metadata(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_header_to_metadata_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_on_demand(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_set_metadata(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
/* set_filter_state.c: rules for HTTP and network filters; freed by the second. */
struct set_filter_state_config *cfg_filter_state_rules(struct config_reader *cr, const char *field,
                                                       pb_filter_state_value *const *items, uint32_t n, struct arena *a);
void cfg_filter_state_rules_free(void *config);
int cfg_set_filter_state(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_set_filter_state_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
struct cfg_session { struct session_config *config; struct arena *arena; }; /* EXT_SESSION_STATE */
int cfg_session_cookie(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_session_header(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_stateful_session(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_stateful_session_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_admission_control(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_bandwidth_limit(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_bandwidth_limit_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_ext_authz(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* ext_authz.c */
int cfg_ext_authz_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_network_ext_authz(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_rbac(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* rbac.c */
int cfg_rbac_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_network_rbac(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_mtls_authenticated(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* rbac_rules.c */
int cfg_router(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_grpc_stats(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_grpc_web(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_grpc_http1_bridge(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_local_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_local_ratelimit_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_network_local_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_connection_limit(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_echo(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_direct_response(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_sni_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_network_set_filter_state(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_compressor_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
/* EXT_COMPRESSION, EXT_DECOMPRESSION; out: compression.c's */
int cfg_gzip_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_brotli_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_zstd_compressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_gzip_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_brotli_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_zstd_decompressor(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
struct cfg_ip_detection { struct ip_detection *out; struct arena *arena; };     /* EXT_IP_DETECTION */
int cfg_xff_detection(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_custom_header_detection(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_early_header_mutation(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* out: struct hcm_config */
int cfg_uuid_request_id(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* out: struct hcm_config */

const struct outlier_spec *cfg_outlier(struct config_reader *cr, const pb_outlier *m, struct arena *a); /* outlier.c */
const struct cluster_breakers_spec *cfg_breakers(struct config_reader *cr, const pb_circuit_breakers *m); /* breakers.c; shared */
/* health.c */
const struct health_spec *cfg_health_checks(struct config_reader *cr, const pb_cluster *m, struct arena *a); /* NULL: none */
void cfg_endpoint_check(struct config_reader *cr, const pb_endpoint_check *m, struct arena *a, struct endpoint_spec *e);
struct cfg_health_sink { struct str *path; struct arena *arena; }; /* EXT_HEALTH_SINK */
int cfg_health_filter(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* health_check.c */
int cfg_health_file_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_cluster(struct config_reader *cr, const pb_cluster *m, struct cluster_spec **out);
struct cfg_dns; /* dns.c */
int cfg_dns_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out);    /* EXT_CLUSTER */
int cfg_aggregate_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_forward_proxy_cluster(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* forward_proxy.c */
int cfg_forward_proxy(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_forward_proxy_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_sni_forward_proxy(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_cares(struct config_reader *cr, const ProtobufCMessage *msg, void *out);          /* EXT_DNS_RESOLVER */
int cfg_lb_round_robin(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* EXT_LB_POLICY: config/lb.h, struct cfg_lb */
int cfg_lb_ring_hash(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_maglev(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_client_side_weighted(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_subset(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_override_host(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_wrr_locality(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_least_request(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_random(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_lb_cluster_provided(struct config_reader *cr, const ProtobufCMessage *msg, void *out);

int cfg_http_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out);           /* ratelimit.c */
int cfg_http_ratelimit_per_route(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* EXT_ROUTE_FILTER */
int cfg_network_ratelimit(struct config_reader *cr, const ProtobufCMessage *msg, void *out);

/* http_options.c */
void cfg_http1_server(struct config_reader *cr, const pb_http1_options *m, struct http_server_opts *o, struct arena *a);
void cfg_http1_client(struct config_reader *cr, const pb_http1_options *m, struct http_client_opts *o);
void cfg_http2_server(struct config_reader *cr, const pb_http2_options *m, struct http_server_opts *o);
void cfg_http2_client(struct config_reader *cr, const pb_http2_options *m, struct http_client_opts *o);
/* The cluster's HTTP part, shared. `to_any_name`: its peers are named by requests, and checked by that name unless it says
 * otherwise. */
const struct cluster_http_spec *cfg_cluster_http(struct config_reader *cr, const pb_cluster *m, bool to_any_name);

/* Parts of routes (route_retry.c, route_match.c, route_rewrite.c, route_policies.c; what `out` is: route_priv.h). */
int cfg_retry_previous_hosts(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_retry_omit_canary(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_retry_omit_metadata(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_retry_previous_priorities(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_input_header(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_input_query(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_input_filter_state(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_input_connection(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_path_template_match(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_path_template_rewrite(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_redirect_previous_routes(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_redirect_safe_cross_scheme(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_redirect_allow_listed(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
void cfg_value_matcher(struct config_reader *cr, const pb_value_matcher *m, struct arena *a, struct value_matcher *out);
void cfg_metadata_matcher(struct config_reader *cr, const pb_metadata_matcher *m, struct arena *a, struct metadata_matcher *out);
void cfg_filter_state_matcher(struct config_reader *cr, const pb_filter_state_matcher *m, struct arena *a,
                              struct filter_state_matcher *out);

/* route.c: into `a`; references to clusters go to cr->out->refs. */
int cfg_route_config(struct config_reader *cr, const pb_route_config *m, struct arena *a, struct route_config_spec **out);
/* One that came by itself, into r's own memory; r is freed by its owner also after faults. */
int cfg_vhost_resource(struct config_reader *cr, const pb_virtual_host *m, const struct route_config_spec *config, struct vhost_resource *r);
struct route_scopes;
struct route_scopes *cfg_scoped_routes(struct config_reader *cr, const pb_scoped_routes *m, struct arena *a); /* scoped_routes.c */
void cfg_cluster_ref(struct config_reader *cr, const char *field, struct str name, struct cluster_slot **slot, bool must_exist);

/* access_log.c */
struct access_log **cfg_access_logs(struct config_reader *cr, const char *field, pb_access_log *const *items, uint32_t n,
                                    struct arena *a, uint32_t *count);
int cfg_file_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out);   /* EXT_ACCESS_LOGGER: struct access_log */
int cfg_stdout_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_stderr_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_http_grpc_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* als.c */
int cfg_tcp_grpc_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_otel_logger(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* otel_log.c */
struct log_channel_opts;
void cfg_log_channel_opts(struct config_reader *cr, const pb_grpc_log_common *m, struct log_channel_opts *o);
void cfg_packed_node(struct config_reader *cr, struct strbuf *out);
/* custom_tag.c; formats are freed by custom_tags_fini */
struct custom_tag;
struct custom_tag *cfg_custom_tags(struct config_reader *cr, const char *field, pb_custom_tag *const *items, uint32_t n, struct arena *a,
                                   uint32_t *count);
int cfg_cel_filter(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* EXT_LOG_FILTER: struct log_filter */
struct log_filter *cfg_log_filter(struct config_reader *cr, const pb_log_filter *m); /* heap; NULL for NULL */
int cfg_formatter(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* formatters.c */
void cfg_formatters(struct config_reader *cr, pb_extension *const *items, uint32_t n);
struct format *cfg_format(struct config_reader *cr, const pb_format_string *m, struct arena *a, struct str *content_type);

/* stats_sinks.c */
struct stats_sink_spec;
struct cfg_stats_sink { struct stats_sink_spec *spec; struct arena *arena; }; /* EXT_STATS_SINK */
int cfg_statsd_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_dog_statsd_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_graphite_statsd_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
/* metric_sinks.c */
int cfg_metrics_service_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_open_telemetry_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_hystrix_sink(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
void cfg_stats_sinks_fini(struct stats_sink_spec *specs, uint32_t n);
/* resource_detectors.c: attributes of an OpenTelemetry resource, built-in ones first; a later one of a name stands for the
 * earlier. EXT_RESOURCE_DETECTOR reads into struct cfg_resource. */
struct metric_attribute;
struct cfg_resource { struct metric_attribute *items; uint32_t count, cap; struct arena *arena; };
void cfg_resource_attributes(struct config_reader *cr, const char *field, pb_extension *const *detectors, uint32_t n,
                             struct cfg_resource *out);
int cfg_static_resource(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_environment_resource(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
void cfg_stats_sinks(struct config_reader *cr, const pb_bootstrap *m);

/* tracing.c; a tracer is a new reference, NULL after a fault */
struct tracer;
struct tracing_config *cfg_tracing(struct config_reader *cr, const pb_hcm_tracing *m, struct hcm_config *hcm); /* NULL for NULL */
struct tracing_override *cfg_route_tracing(struct config_reader *cr, const pb_route_tracing *m, struct arena *a);
void cfg_bootstrap_tracing(struct config_reader *cr, const pb_bootstrap *m);
struct tracer *cfg_tracer(struct config_reader *cr, const pb_tracer *m);
struct format *cfg_operation(struct config_reader *cr, const char *field, struct str text); /* NULL for "" */
/* tracers.c */
struct otel_sampler;
struct cfg_sampler { struct otel_sampler *out; struct arena *arena; }; /* EXT_TRACE_SAMPLER */
int cfg_otel_tracer(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_zipkin_tracer(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_sampler_always_on(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_sampler_parent(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_sampler_ratio(struct config_reader *cr, const ProtobufCMessage *msg, void *out);

/* overload.c */
struct resource_monitor_spec;
struct cfg_monitor { struct resource_monitor_spec *spec; struct arena *arena; }; /* EXT_RESOURCE_MONITOR */
int cfg_fixed_heap(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_cgroup_memory(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_cpu_utilization(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_injected_resource(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_worker_utilization(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_downstream_connections(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
struct overload_spec *cfg_overload(struct config_reader *cr, const pb_overload_manager *m); /* NULL for NULL */

/* runtime.c, stats.c, admin.c */
void cfg_process(struct config_reader *cr, const pb_bootstrap *m); /* log, statistics, extensions at start-up */
void cfg_runtime(struct config_reader *cr, const pb_layered_runtime *m);
void cfg_rtds(struct config_reader *cr, const pb_layered_runtime *m); /* its sources, once the clusters they name are read */
void cfg_stats(struct config_reader *cr, const pb_stats_config *m);
void cfg_admin(struct config_reader *cr, const pb_admin *m);

#endif
