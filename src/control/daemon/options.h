/* SPDX-License-Identifier: Apache-2.0
 *
 * How weftd is started: flags, the same by environment (--grpc-addr is WEFTD_GRPC_ADDR), flags first. One table.
 */
#ifndef CONTROL_DAEMON_OPTIONS_H
#define CONTROL_DAEMON_OPTIONS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/str.h"

/* X(field, flag, default, help). All are texts; addresses are "IP:PORT" ("[::1]:15010"), "" is off, port 0 the kernel's choice. */
#define DAEMON_OPTIONS(X)                                                                                                           \
    X(config_dir, "config-dir", "", "folder of YAML and JSON files: the mesh's objects")                                            \
    X(kubeconfig, "kubeconfig", "", "file that says where a Kubernetes API server is; in a pod, the pod's own needs none")          \
    X(mesh_config, "mesh-config", "", "file of the MeshConfig; without one Istio's defaults")                                       \
    X(domain, "domain", "cluster.local", "DNS suffix of Kubernetes' services")                                                      \
    X(grpc_addr, "grpc-addr", "127.0.0.1:15010", "discovery in clear text: nobody is asked who he is")                              \
    X(secure_grpc_addr, "secure-grpc-addr", "127.0.0.1:15012", "discovery and certificates over TLS")                               \
    X(http_addr, "http-addr", "127.0.0.1:8080", "/ready and /debug/...")                                                            \
    X(monitoring_addr, "monitoring-addr", "127.0.0.1:15014", "/metrics and /version")                                               \
    X(ca_dir, "ca-dir", "", "folder of the authority's own root and key; without one there is no authority")                        \
    X(ca_certs, "ca-certs", "", "folder of an intermediate to sign with (as Istio's secret cacerts), in place of an own root")      \
    X(ca_hosts, "ca-hosts", "istiod.istio-system.svc,weftd.istio-system.svc,localhost", "names that weftd's own certificate is for")       \
    X(token_dir, "token-dir", "", "folder of tokens, NAMESPACE/ACCOUNT a file: who may ask for which identity")                     \
    X(jwt_rule, "jwt-rule", "", "JSON, as istiod's JWT_RULE: tokens of an issuer outside (issuer, audiences, jwks or jwksFile)")     \
    X(root_cert_file, "root-cert-file", "", "where the roots are written to, for proxies to trust")                                 \
    X(load_report_interval_ms, "load-report-interval-ms", "5000", "how often proxies that do tell of their load shall do it")         \
    X(ports_file, "ports-file", "", "where the ports are written to once weftd listens, as JSON")                                   \
    X(log_level, "log-level", "info", "trace, debug, info, warning, error, critical or off")

struct daemon_options {
#define X(field, flag, otherwise, help) const char *field;
    DAEMON_OPTIONS(X)
#undef X
    bool help, version;
};

/* Texts are borrowed from argv and the environment. ERR_INVALID names the argument. */
int daemon_options_parse(struct daemon_options *o, int argc, char **argv, struct err *err);
void daemon_options_help(struct strbuf *out);

#endif
