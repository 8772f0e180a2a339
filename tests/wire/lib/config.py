# SPDX-License-Identifier: Apache-2.0
"""Bootstraps as plain dictionaries: the few words that most tests share. Ports are 0 unless said."""

TYPE = "type.googleapis.com/envoy."
HCM = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = TYPE + "extensions.filters.http.router.v3.Router"
TCP_PROXY = TYPE + "extensions.filters.network.tcp_proxy.v3.TcpProxy"
FILE_LOG = TYPE + "extensions.access_loggers.file.v3.FileAccessLog"
DOWNSTREAM_TLS = TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
UPSTREAM_TLS = TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
HTTP_OPTIONS = TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"
HTTP_OPTIONS_KEY = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def socket_address(host="127.0.0.1", port=0):
    return {"socket_address": {"address": host, "port_value": port}}


def bootstrap(listeners, clusters=(), **more):
    """An admin port is always there: tests see the proxy through it."""
    return {"admin": {"address": socket_address()},
            "static_resources": {"listeners": list(listeners), "clusters": list(clusters)}, **more}


def cluster(name, *ports, http2=False, tls=None, http_options=None, host="127.0.0.1", **more):
    """A STATIC cluster of loopback ports. `tls`: an UpstreamTlsContext without its @type."""
    made = {
        "name": name, "type": "STATIC", "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": socket_address(host, port)}} for port in ports]}]},
    }
    if http2 or http_options:
        options = dict(http_options or {})
        if not any(key in options for key in ("explicit_http_config", "auto_config",
                                              "use_downstream_protocol_config")):
            options["explicit_http_config"] = (
                {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}})
        made["typed_extension_protocol_options"] = {
            HTTP_OPTIONS_KEY: {"@type": HTTP_OPTIONS, **options}}
    if tls is not None:
        made["transport_socket"] = {"name": "envoy.transport_sockets.tls",
                                    "typed_config": {"@type": UPSTREAM_TLS, **tls}}
    made.update(more)
    return made


def route(target="origin", prefix="/", **action):
    """A prefix route to cluster `target`; `action` goes into the RouteAction."""
    return {"match": {"prefix": prefix}, "route": {"cluster": target, **action}}


def virtual_host(routes, name="all", domains=("*",), **more):
    return {"name": name, "domains": list(domains), "routes": list(routes), **more}


def file_log(path, json_format=None, text_format=None, **more):
    config = {"@type": FILE_LOG, "path": str(path)}
    if json_format:
        config["log_format"] = {"json_format": json_format}
    elif text_format:
        config["log_format"] = {"text_format_source": {"inline_string": text_format}}
    return {"name": "envoy.access_loggers.file", "typed_config": config, **more}


def hcm(routes=None, virtual_hosts=None, stat_prefix="in", route_config=None, **more):
    """The HTTP connection manager as a network filter; `more` are its other fields."""
    hosts = virtual_hosts or [virtual_host(routes or [route()])]
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "@type": HCM, "stat_prefix": stat_prefix,
        "route_config": {"name": "local", "virtual_hosts": hosts, **(route_config or {})},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}}],
        **more}}


def tcp_proxy(target="origin", stat_prefix="tcp", **more):
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
        "@type": TCP_PROXY, "stat_prefix": stat_prefix, "cluster": target, **more}}


def listener(name, *filters, tls=None, address=None, chain=None, **more):
    """A listener with one filter chain. `tls`: a DownstreamTlsContext without its @type."""
    one = {"filters": list(filters), **(chain or {})}
    if tls is not None:
        one["transport_socket"] = downstream_tls(tls)
    return {"name": name, "address": address or socket_address(), "filter_chains": [one], **more}


def http_listener(name="http", tls=None, listener_fields=None, **hcm_fields):
    return listener(name, hcm(**hcm_fields), tls=tls, **(listener_fields or {}))


def downstream_tls(fields):
    return {"name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": DOWNSTREAM_TLS, **fields}}


def certificates(*leaves):
    return {"tls_certificates": [{"certificate_chain": {"filename": leaf.cert},
                                  "private_key": {"filename": leaf.key}} for leaf in leaves]}


def server_tls(*leaves, ca=None, alpn=(), validation=None, **more):
    """Fields of a DownstreamTlsContext; with `ca` a client certificate is required."""
    common = certificates(*leaves)
    if ca is not None or validation:
        common["validation_context"] = dict(validation or {})
        if ca is not None:
            common["validation_context"]["trusted_ca"] = {"filename": ca.cert}
    if alpn:
        common["alpn_protocols"] = list(alpn)
    made = {"common_tls_context": common, **more}
    if ca is not None:
        made.setdefault("require_client_certificate", True)
    return made


def client_tls(ca=None, leaf=None, alpn=(), validation=None, **more):
    """Fields of an UpstreamTlsContext."""
    common = certificates(leaf) if leaf else {}
    if ca is not None or validation:
        common["validation_context"] = dict(validation or {})
        if ca is not None:
            common["validation_context"]["trusted_ca"] = {"filename": ca.cert}
    if alpn:
        common["alpn_protocols"] = list(alpn)
    return {"common_tls_context": common, **more}
