/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the control plane is and how it is trusted, and where the workload's certificate comes from. The order in which
 * sources are preferred is pilot-agent's: mounted files when asked for, files or a socket of SPIFFE when they are there,
 * then the CA. Main thread; looks which files exist, reads none.
 */
#include "proxy/agent/env_priv.h"

#include "base/check.h"

#include <sys/stat.h>

#define PLAIN_PORT 15010 /* istiod's port without TLS */

/* ---- addresses ---- */

bool control_endpoint_parse(struct str text, struct control_endpoint *out)
{
    uint64_t port;
    ptrdiff_t colon = -1;
    for (size_t i = 0; i < text.n; i++)
        colon = text.p[i] == ':' ? (ptrdiff_t)i : colon;
    if (colon <= 0 || !str_to_u64(str_make(text.p + colon + 1, text.n - (size_t)colon - 1), &port) || port > UINT16_MAX)
        return false;
    out->host = str_make(text.p, (size_t)colon);
    if (out->host.p[0] == '[' && out->host.n > 2 && out->host.p[out->host.n - 1] == ']')
        out->host = str_make(out->host.p + 1, out->host.n - 2);
    else if (memchr(out->host.p, ':', out->host.n))
        return false; /* IPv6 without brackets */
    out->port = (uint16_t)port;
    return true;
}

static void read_endpoint(struct env_reading *r, const char *name, struct str text, struct control_endpoint *out)
{
    text = arena_str(&r->out->arena, text);
    if (!control_endpoint_parse(text, out) || out->port == 0) {
        env_fault(r, name, "'%.*s' is not host:port", STR_ARG(text));
        return;
    }
    out->tls = out->port != PLAIN_PORT;
    out->sni = out->host;
}

/* ---- trust ---- */

static struct str mounted(struct env_reading *r, const char *meta, const char *file)
{
    struct str path = text_pairs_get(&r->out->meta, str_from(meta));
    return path.n ? path : arena_printf(&r->out->arena, AGENT_MOUNTED_CERTS_DIR "/%s", file);
}

static bool is_file_mounted(struct env_reading *r)
{
    struct str text = env_get(r, "FILE_MOUNTED_CERTS");
    bool on = false;
    if (text.n && !text_bool(text, &on))
        env_fault(r, "FILE_MOUNTED_CERTS", "'%.*s' is not true or false", STR_ARG(text));
    return on;
}

/* PILOT_CERT_PROVIDER says who signed the control plane's certificate. */
static struct str default_root(struct env_reading *r)
{
    struct str provider = env_get(r, "PILOT_CERT_PROVIDER");
    if (is_file_mounted(r))
        return mounted(r, "TLS_CLIENT_ROOT_CERT", "root-cert.pem");
    if (r->out->client_dir.n)
        return arena_printf(&r->out->arena, "%.*s/root-cert.pem", STR_ARG(r->out->client_dir));
    if (!provider.n || str_eq(provider, STR("istiod")) || str_has_prefix(provider, STR("k8s.io/")))
        return STR(AGENT_MESH_ROOT_PATH);
    if (str_eq(provider, STR("kubernetes")))
        return STR(AGENT_KUBERNETES_ROOT_PATH);
    if (str_eq(provider, STR("custom")))
        return STR(AGENT_MOUNTED_CERTS_DIR "/root-cert.pem");
    if (!str_eq(provider, STR("none")))
        env_fault(r, "PILOT_CERT_PROVIDER", "'%.*s' is not istiod, kubernetes, k8s.io/..., custom or none", STR_ARG(provider));
    return STR("");
}

static struct str root_for(struct env_reading *r, const char *name, struct str otherwise)
{
    struct str path = env_get(r, name);
    if (str_eq(path, STR("SYSTEM")))
        return STR("");
    return path.n ? arena_str(&r->out->arena, path) : otherwise;
}

static void read_endpoints(struct env_reading *r)
{
    struct agent_env *e = r->out;
    struct str ca = env_get(r, "CA_ADDR"), name = env_get(r, "ISTIOD_SAN"), root = default_root(r);
    read_endpoint(r, "PROXY_CONFIG.discoveryAddress", e->config.discovery_address, &e->discovery);
    read_endpoint(r, ca.n ? "CA_ADDR" : "PROXY_CONFIG.discoveryAddress", ca.n ? ca : e->config.discovery_address, &e->ca);
    if (str_eq(e->config.control_plane_auth_policy, STR("NONE")))
        e->discovery.tls = false;
    if (name.n) /* of discovery only, in pilot-agent too */
        e->discovery.sni = arena_str(&e->arena, name);
    e->discovery.root_path = root_for(r, "XDS_ROOT_CA", root);
    e->ca.root_path = root_for(r, "CA_ROOT_CA", root);
}

/* ---- credentials and headers ---- */

static void read_token(struct env_reading *r)
{
    struct str policy = env_get(r, "JWT_POLICY"), fetcher = env_get(r, "CREDENTIAL_FETCHER_TYPE");
    if (policy.n && !str_eq(policy, STR("third-party-jwt")) && !str_eq(policy, STR("none")))
        env_fault(r, "JWT_POLICY", "'%.*s' is not third-party-jwt or none", STR_ARG(policy));
    if (fetcher.n && !str_eq(fetcher, STR("JWT")))
        env_fault(r, "CREDENTIAL_FETCHER_TYPE", "'%.*s' is not supported, only JWT is", STR_ARG(fetcher));
    r->out->token_path = str_eq(policy, STR("none")) ? STR("") : STR(AGENT_TOKEN_PATH);
}

/* XDS_HEADER_X_FOO=bar is sent as "x-foo: bar"; names of variables have no '-'. */
static void read_headers(struct env_reading *r, struct str prefix, struct text_pairs *out)
{
    for (char **v = r->envp; *v; v++) {
        struct str value, name = str_split(str_from(*v), '=', &value);
        if (!str_has_prefix(name, prefix) || name.n == prefix.n)
            continue;
        char *text = arena_bytes(&r->out->arena, name.n);
        size_t n = 0;
        for (size_t i = prefix.n; i < name.n; i++)
            text[n++] = name.p[i] == '_' ? '-' : ascii_lower(name.p[i]);
        for (size_t i = 0; i < n; i++)
            if (!((text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9') || strchr("-.", text[i]))) {
                env_fault(r, "environment", "%.*s makes no name of a header", STR_ARG(name));
                break;
            }
        text_pairs_set(out, &r->out->arena, str_make(text, n), value);
    }
}

/* ---- the workload's certificate ---- */

static void read_key_kind(struct env_reading *r)
{
    struct agent_env *e = r->out;
    struct str algorithm = env_get(r, "ECC_SIGNATURE_ALGORITHM"), curve = env_get(r, "ECC_CURVE");
    struct str size = env_get(r, "WORKLOAD_RSA_KEY_SIZE");
    uint64_t bits = KEY_RSA_MIN_BITS;
    e->ec_kind = str_eq(curve, STR("P384")) ? KEY_EC_P384 : KEY_EC_P256;
    e->use_rsa = size.n && !algorithm.n;
    if (algorithm.n && !str_eq(algorithm, STR("ECDSA")))
        env_fault(r, "ECC_SIGNATURE_ALGORITHM", "'%.*s' is not ECDSA", STR_ARG(algorithm));
    if (curve.n && !str_eq(curve, STR("P256")) && !str_eq(curve, STR("P384")))
        env_fault(r, "ECC_CURVE", "'%.*s' is not P256 or P384", STR_ARG(curve));
    if (size.n && (!str_to_u64(size, &bits) || bits < KEY_RSA_MIN_BITS || bits > KEY_RSA_MAX_BITS))
        env_fault(r, "WORKLOAD_RSA_KEY_SIZE", "'%.*s' is not a number from %d to %d", STR_ARG(size), KEY_RSA_MIN_BITS, KEY_RSA_MAX_BITS);
    e->rsa_bits = (unsigned)bits;
}

static bool spiffe_files(struct env_reading *r)
{
    struct agent_env *e = r->out;
    e->cert_chain_path = STR(AGENT_SPIFFE_FILES_DIR "/cert-chain.pem");
    e->key_path = STR(AGENT_SPIFFE_FILES_DIR "/key.pem");
    e->root_path = STR(AGENT_SPIFFE_FILES_DIR "/root-cert.pem");
    return env_file_is_there(e->cert_chain_path) && env_file_is_there(e->key_path) && env_file_is_there(e->root_path);
}

static bool spiffe_socket(struct env_reading *r)
{
    struct str file = env_get(r, "WORKLOAD_IDENTITY_SOCKET_FILE");
    struct stat st;
    if (file.n && memchr(file.p, '/', file.n))
        env_fault(r, "WORKLOAD_IDENTITY_SOCKET_FILE", "'%.*s' is a path; it is the name of a file", STR_ARG(file));
    r->out->spiffe_socket = arena_printf(&r->out->arena, AGENT_SPIFFE_SOCKET_DIR "/%.*s", STR_ARG(file.n ? file : STR("socket")));
    return stat(r->out->spiffe_socket.p, &st) == 0 && S_ISSOCK(st.st_mode);
}

static void choose_identity(struct env_reading *r)
{
    struct agent_env *e = r->out;
    struct str provider = env_get(r, "CA_PROVIDER");
    e->identity = IDENTITY_CA;
    if (is_file_mounted(r)) {
        e->identity = IDENTITY_FILES;
        e->cert_chain_path = mounted(r, "TLS_CLIENT_CERT_CHAIN", "cert-chain.pem");
        e->key_path = mounted(r, "TLS_CLIENT_KEY", "key.pem");
        e->root_path = mounted(r, "TLS_CLIENT_ROOT_CERT", "root-cert.pem");
    } else if (spiffe_files(r)) {
        e->identity = IDENTITY_FILES;
    } else if (spiffe_socket(r)) {
        e->identity = IDENTITY_SPIFFE;
    } else if (str_eq(provider, STR("none"))) {
        e->identity = IDENTITY_NONE;
    } else if (provider.n && !str_eq(provider, STR("Citadel"))) {
        env_fault(r, "CA_PROVIDER", "'%.*s' is not supported, only Citadel (an IstioCertificateService) and none are", STR_ARG(provider));
    }
}

void env_read_control(struct env_reading *r)
{
    read_endpoints(r);
    read_token(r);
    read_headers(r, STR("XDS_HEADER_"), &r->out->xds_headers);
    read_headers(r, STR("CA_HEADER_"), &r->out->ca_headers);
    read_key_kind(r);
    choose_identity(r);
    r->out->cert_signer = text_pairs_get(&r->out->meta, STR("CERT_SIGNER"));
    if (r->out->secret_ttl_ms < 1000)
        env_fault(r, "SECRET_TTL", "is at least a second");
}
