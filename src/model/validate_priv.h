/* SPDX-License-Identifier: Apache-2.0
 *
 * What the rules of the kinds share. Rules add faults at the present path plus a field's name, in JSON's spelling.
 */
#ifndef MODEL_VALIDATE_PRIV_H
#define MODEL_VALIDATE_PRIV_H

#include <stdarg.h>
#include <stdio.h>

#include "model/model_priv.h"
#include "model/pb.h"
#include "proto/fields.h"

struct check {
    struct proto_reader r; /* where we are (PROTO_IN), and the faults */
    struct err_list *warnings; /* may be NULL */
    struct str ns;             /* of the object */
};
#define check_fault(c_, field_, ...) ((void)proto_fault(&(c_)->r, ERR_INVALID, field_, __VA_ARGS__))
void check_warn(struct check *c, const char *field, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* CHECK_EACH (c, i, msg->n_hosts, "hosts") { ... }: the block for each item, at its path. `continue` leaves the block. */
#define CHECK_EACH(c_, i_, n_, name_)                                                                                               \
    for (size_t i_ = 0; i_ < (n_); i_++)                                                                                            \
        PROTO_IN (&(c_)->r, name_ "[%zu]", i_)
/* The same of a map. */
#define CHECK_EACH_KEY(c_, i_, n_, name_, entries_)                                                                                 \
    for (size_t i_ = 0; i_ < (n_); i_++)                                                                                            \
        PROTO_IN (&(c_)->r, name_ "[\"%s\"]", (entries_)[i_]->key)

/* ---- names.c: what a text may look like ---- */
bool is_dns_label(struct str s);     /* RFC 1123: at most 63 of a-z, 0-9, '-' */
bool is_dns_subdomain(struct str s); /* labels with dots between, at most 253 */
bool is_label_name(struct str s);    /* a label's value, or its key behind the prefix */
bool is_label_key(struct str s);
bool is_host_label(struct str s);    /* at most 63 letters, digits, '-' */
bool is_host(struct str s);          /* a host name, in either case; a dot may end it */
bool is_wildcard_host(struct str s); /* its first label may be "*" or begin with it */
bool is_partial_wildcard(struct str s); /* "*foo.example", which Istio's matching doesn't know */
bool is_ip(struct str s);
bool is_ip_or_cidr(struct str s);

enum protocol_trait { IS_KNOWN = 1, IS_HTTP = 2, IS_TLS = 4, IS_TCP = 8 };
/* Of a port's protocol, in either case; 0: unknown. */
unsigned protocol_traits(struct str name);

/* ---- rules.c: values that several kinds have; those given by pointer may be NULL ---- */
void check_port(struct check *c, const char *field, int64_t port);
void check_duration(struct check *c, const char *field, const Google__Protobuf__Duration *d);
void check_percent(struct check *c, const char *field, int64_t percent);
void check_not_negative(struct check *c, const char *field, int64_t value);
void check_regex(struct check *c, const char *field, const char *pattern);
void check_host(struct check *c, const char *field, const char *host);          /* is_host */
void check_wildcard_host(struct check *c, const char *field, const char *host); /* is_wildcard_host */
void check_label(struct check *c, struct str key, struct str value);
void check_export_to(struct check *c, size_t n, char *const *items, bool takes_nobody, bool own_only);
void check_selector(struct check *c, const char *field, const ist_selector *s);
void check_workload_selector(struct check *c, const Istio__Networking__V1alpha3__WorkloadSelector *s);
void check_target(struct check *c, const ist_selector *s, const ist_target_ref *ref, size_t n, ist_target_ref *const *refs);
void check_unix_address(struct check *c, const char *field, const char *path); /* behind "unix://" */

/* ---- of one kind, used by others ---- */
void check_connection_pool(struct check *c, const char *field, const ist_connection_pool *pool);
void check_outlier_detection(struct check *c, const char *field, const ist_outlier_detection *o);
void check_locality_lb(struct check *c, const char *field, const ist_locality_lb *lb, bool has_outlier_detection);
void check_client_tls(struct check *c, const char *field, const ist_client_tls *tls);
void check_server_tls(struct check *c, const char *field, const ist_server_tls *tls);
void check_retry(struct check *c, const char *field, const ist_retry *r);
void check_destination(struct check *c, const char *field, const ist_destination *d);
/* "namespace/host"; of gateways the namespace may be absent. */
void check_scoped_host(struct check *c, const char *host, bool is_gateway);

/* ---- the kinds ---- */
void validate_virtual_service(struct check *c, const struct object *o);
void validate_destination_rule(struct check *c, const struct object *o);
void validate_gateway(struct check *c, const struct object *o);
void validate_service_entry(struct check *c, const struct object *o);
void validate_workload_entry(struct check *c, const struct object *o);
void validate_workload_group(struct check *c, const struct object *o);
void validate_sidecar(struct check *c, const struct object *o);
void validate_envoy_filter(struct check *c, const struct object *o);
void validate_proxy_config(struct check *c, const struct object *o);
void validate_peer_authentication(struct check *c, const struct object *o);
void validate_request_authentication(struct check *c, const struct object *o);
void validate_authorization_policy(struct check *c, const struct object *o);
void validate_telemetry(struct check *c, const struct object *o);
void validate_service(struct check *c, const struct object *o);
void validate_endpoint_slice(struct check *c, const struct object *o);
void validate_ingress(struct check *c, const struct object *o);

#endif
