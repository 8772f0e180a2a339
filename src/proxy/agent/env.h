/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pod tells its sidecar: command line, environment, PROXY_CONFIG, files of the downward API, read into one struct, as
 * pilot-agent takes them (https://istio.io/latest/docs/reference/commands/pilot-agent/). All faults are found at once. Paths
 * are relative to the working directory, as pilot-agent's are. Main thread, before anything runs.
 */
#ifndef PROXY_AGENT_ENV_H
#define PROXY_AGENT_ENV_H

#include "base/log.h"
#include "pki/key.h"
#include "proxy/agent/proxy_config.h"

enum agent_role { AGENT_SIDECAR, AGENT_ROUTER, AGENT_WAYPOINT };

/* Files whose places are fixed. */
#define AGENT_TOKEN_PATH "./var/run/secrets/tokens/istio-token"
#define AGENT_MESH_ROOT_PATH "./var/run/secrets/istio/root-cert.pem"
#define AGENT_KUBERNETES_ROOT_PATH "./var/run/secrets/kubernetes.io/serviceaccount/ca.crt"
#define AGENT_CRL_PATH "./var/run/secrets/istio/crl/ca-crl.pem"
#define AGENT_LABELS_PATH "./etc/istio/pod/labels"
#define AGENT_ANNOTATIONS_PATH "./etc/istio/pod/annotations"
#define AGENT_SPIFFE_SOCKET_DIR "./var/run/secrets/workload-spiffe-uds"
#define AGENT_SPIFFE_FILES_DIR "./var/run/secrets/workload-spiffe-credentials"
#define AGENT_MOUNTED_CERTS_DIR "./etc/certs"

/* How the workload comes by its certificate. */
enum identity_source {
    IDENTITY_CA,     /* key and CSR of our own, IstioCertificateService */
    IDENTITY_SPIFFE, /* a socket that speaks SDS stands there already (SPIRE's agent) */
    IDENTITY_FILES,  /* FILE_MOUNTED_CERTS, or files in workload-spiffe-credentials */
    IDENTITY_NONE,   /* CA_PROVIDER=none, PILOT_CERT_PROVIDER=none with no CA_ADDR */
};

struct control_endpoint {            /* discovery, or the CA */
    struct str host;
    uint16_t port;
    bool tls;
    struct str sni;                  /* the name that its certificate must have */
    struct str root_path;            /* "" the system's roots */
};

struct agent_env {
    struct arena arena;              /* of all the text here */
    enum agent_role role;

    /* who */
    struct str pod_name, pod_namespace, service_account, trust_domain, domain, cluster_id;
    struct text_list ips;            /* INSTANCE_IP first; never empty */
    struct str host_ip;
    struct text_pairs labels, static_labels, annotations;
    struct text_pairs meta;          /* of ISTIO_META_* and proxyMetadata, without the prefix: texts */
    struct text_pairs meta_json;     /* of ISTIO_METAJSON_*: keys of the objects, values as JSON */

    /* how */
    struct proxy_config config;
    uint32_t concurrency;            /* resolved from the flag, PROXY_CONFIG and ISTIO_CPU_LIMIT; 0: one worker a core */
    enum log_level log_level;        /* --proxyLogLevel */
    enum log_level own_level;        /* --log_output_level: of what pilot-agent would log */
    struct str component_log_level;  /* --proxyComponentLogLevel; "" none */
    bool log_as_json;
    uint16_t status_port, prometheus_port; /* ENVOY_STATUS_PORT 15021, ENVOY_PROMETHEUS_PORT 15090 */
    bool is_dual_stack;              /* ISTIO_DUAL_STACK */
    struct str bootstrap_override;   /* a file merged over the bootstrap */
    struct str admin_address_path;   /* --admin-address-path, as without an agent */
    bool print_bootstrap;            /* --print-bootstrap: and nothing else */

    /* the control plane */
    struct control_endpoint discovery, ca;
    bool delta_xds;
    bool takes_proxy_config;         /* PROXY_CONFIG_XDS_AGENT: roots pushed by PCDS are trusted too */
    struct str token_path;           /* "" without a token */
    struct str client_dir;           /* PROV_CERT: cert-chain.pem and key.pem to present; "" none */
    bool reports_load;               /* WEFT_LOAD_REPORTS, ISTIO_META_WEFT_LOAD_REPORTS: to weftd's graph; istiod takes none */
    struct text_pairs xds_headers, ca_headers; /* names in lower case */
    uint64_t keepalive_ms, keepalive_timeout_ms;

    /* the workload's certificate */
    enum identity_source identity;
    bool use_rsa;
    unsigned rsa_bits;
    enum key_kind ec_kind;
    bool pkcs8_key;
    uint64_t secret_ttl_ms;
    double grace_ratio, grace_jitter;
    struct str output_dir;           /* OUTPUT_CERTS; "" nowhere */
    struct str cert_chain_path, key_path, root_path; /* IDENTITY_FILES */
    struct str spiffe_socket;        /* IDENTITY_SPIFFE */
    struct str cert_signer;          /* ISTIO_META_CERT_SIGNER; "" none */

    /* lifecycle */
    bool exit_on_zero_connections;
    uint64_t minimum_drain_ms;
    struct str app_probers;          /* ISTIO_KUBE_APP_PROBERS, JSON */
    struct str prometheus_annotations; /* ISTIO_PROMETHEUS_ANNOTATIONS, JSON */

    /* names */
    bool serves_dns;                 /* ISTIO_META_DNS_CAPTURE of a sidecar, ISTIO_META_ENABLE_DNS_SERVER */
    struct str dns_address;          /* DNS_PROXY_ADDR */
    bool dns_forward_parallel;       /* DNS_FORWARD_PARALLEL: all upstreams are asked at once */
    uint64_t dns_forward_ms;         /* DNS_FORWARD_TIMEOUT */
    struct str resolv_conf_path;     /* WEFT_RESOLV_CONF; "": the usual places */
};

/* Is argv[1] (behind "proxy", which pilot-agent's command line has) a role? */
bool agent_env_is_asked_for(int argc, char **argv);
/* `envp` as main's third argument. 0, or ERR_INVALID with every fault ("TRUST_DOMAIN: ..."). `notes` are what was given and
 * has no effect, by name. The struct is to be ended in any case. */
int agent_env_read(struct agent_env *out, int argc, char **argv, char **envp, struct err_list *faults, struct err_list *notes);
void agent_env_fini(struct agent_env *e);

/* "host:port", "[v6]:port", the port may be 0; borrows `text`, fills host and port only. */
bool control_endpoint_parse(struct str text, struct control_endpoint *out);
bool env_file_is_there(struct str path); /* a regular file; NUL-terminated */

#endif
