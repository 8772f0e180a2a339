/* SPDX-License-Identifier: Apache-2.0
 *
 * What the readers of Istio's extensions share, and their declarations.
 */
#ifndef PROXY_CONFIG_ISTIO_PRIV_H
#define PROXY_CONFIG_ISTIO_PRIV_H

#include "proxy/config/config_priv.h"

void cfg_istio_node(struct config_reader *cr, const pb_node *m); /* when the bootstrap is read; NULL: none */
const struct meta_value *cfg_istio_node_metadata(void); /* a META_STRUCT */
struct str cfg_istio_node_id(void);
/* What we tell peers: a packed Struct, in `a`. */
struct str cfg_istio_own_struct(struct config_reader *cr, char **labels, uint32_t label_count, struct arena *a);

void cfg_cluster_filters(struct config_reader *cr, const pb_cluster *m, struct cluster_spec *out);
int cfg_istio_tcp_mx(struct config_reader *cr, const ProtobufCMessage *msg, void *out);      /* EXT_NETWORK_FILTER */
int cfg_istio_upstream_mx(struct config_reader *cr, const ProtobufCMessage *msg, void *out); /* EXT_UPSTREAM_FILTER */
int cfg_istio_alpn(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_istio_http_stats(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_istio_tcp_stats(struct config_reader *cr, const ProtobufCMessage *msg, void *out);
int cfg_istio_http_mx(struct config_reader *cr, const ProtobufCMessage *msg, void *out);

#endif
