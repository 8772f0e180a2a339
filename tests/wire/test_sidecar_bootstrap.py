# SPDX-License-Identifier: Apache-2.0
"""What `weft-proxy sidecar` makes of a pod's environment: the bootstrap beside the one that pilot-agent wrote for the same pod
(tests/fixtures/istio/sidecar_bootstrap.json), faults by name, `wait`, `--version`."""
import http.server
import json
import os
import subprocess
import threading

import pytest

from lib import config
from lib.proxy import ROOT, run_to_end, weft
from lib.sidecar import print_bootstrap, write

pytestmark = pytest.mark.weft_only

RECORDED = os.path.join(ROOT, "tests", "fixtures", "istio", "sidecar_bootstrap.json")

ENVIRONMENT = {
    "POD_NAME": "productpage-v1-0", "POD_NAMESPACE": "bookinfo", "INSTANCE_IP": "10.244.1.1", "HOST_IP": "10.0.0.1",
    "SERVICE_ACCOUNT": "bookinfo-productpage", "TRUST_DOMAIN": "cluster.local", "PILOT_CERT_PROVIDER": "istiod",
    "JWT_POLICY": "third-party-jwt", "ISTIO_META_CLUSTER_ID": "Kubernetes", "ISTIO_META_NODE_NAME": "n1",
    "ISTIO_META_INTERCEPTION_MODE": "REDIRECT", "ISTIO_META_APP_CONTAINERS": "app",
    "ISTIO_META_WORKLOAD_NAME": "productpage-v1", "ISTIO_META_MESH_ID": "cluster.local",
    "ISTIO_META_OWNER": "kubernetes://apis/apps/v1/namespaces/bookinfo/deployments/productpage-v1",
    "ISTIO_META_POD_PORTS": '[{"containerPort":9080,"protocol":"TCP"}]',
    "PROXY_CONFIG": '{"discoveryAddress": "istiod.istio-system.svc:15012", "binaryPath": "$ENVOY", "concurrency": 1}',
}
LABELS = {"app": "productpage", "security.istio.io/tlsMode": "istio", "service.istio.io/canonical-name": "productpage",
          "service.istio.io/canonical-revision": "v1", "version": "v1"}

# Where the two are meant to differ (at or below a path), and why.
INTENDED = {
    "application_log_config": "the log's format is the process's own",
    "bootstrap_extensions": "internal listeners come with HBONE",
    "deferred_stat_options": "statistics are made when they first move in any case",
    "node.metadata.ENVOY_SKIP_DEPRECATED_LOGS": "a flag of pilot-agent's for Envoy",
    "node.metadata.WEFT_VHDS": "virtual hosts may come one by one",
    "node.metadata.ISTIO_VERSION": "weft's own; istiod takes what is no number for its newest",
    "layered_runtime.layers[0].static_layer.envoy.deprecated_features:envoy.config.listener.v3.Listener."
    "hidden_envoy_deprecated_use_original_dst": "there is no feature to switch on: use_original_dst works",
    "layered_runtime.layers[0].static_layer.envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": "Envoy's inner works",
    "layered_runtime.layers[0].static_layer.envoy.reloadable_features.fixed_heap_use_allocated": "Envoy's inner works",
    "overload_manager.resource_monitors[0].typed_config.max_active_downstream_connections": "the same number as text",
    "static_resources.clusters{ca-grpc}": "the CA is asked by the proxy itself",
    "static_resources.clusters{sds-grpc}": "secrets come from inside the process",
    "static_resources.clusters{xds-grpc}.type": "istiod itself in place of the agent's socket",
    "static_resources.clusters{xds-grpc}.load_assignment": "likewise",
    "static_resources.clusters{xds-grpc}.transport_socket": "likewise: TLS",
    "static_resources.clusters{xds-grpc}.respect_dns_ttl": "likewise: a name",
    "static_resources.clusters{xds-grpc}.dns_lookup_family": "likewise: a name",
    "static_resources.clusters{xds-grpc}.dns_failure_refresh_rate": "likewise: a name",
    "static_resources.clusters{xds-grpc}.typed_extension_protocol_options": "likewise: pings, as the agent sends to istiod",
    "stats_config.stats_matcher.inclusion_list.patterns": "a superset: the agent's own statistics, and connections for draining",
}


def named(items):
    """Lists of things with names are compared by name."""
    return {f"{{{i['name']}}}": i for i in items} if items and all(isinstance(i, dict) and "name" in i for i in items) else None


def differences(old, new, path=""):
    if isinstance(old, list) and isinstance(new, list):
        by_name = named(old), named(new)
        if all(by_name) and path == "static_resources.clusters":
            old, new = by_name
        elif len(old) == len(new):
            for i, (a, b) in enumerate(zip(old, new)):
                yield from differences(a, b, f"{path}[{i}]")
            return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            inner = f"{path}{key}" if key.startswith("{") else f"{path}.{key}" if path else key
            yield from differences(old.get(key), new.get(key), inner)
    elif old != new:
        yield path, old, new


def recorded_pod(directory):
    write(directory, "etc/istio/pod/labels", "".join(f'{k}="{v}"\n' for k, v in LABELS.items()))
    write(directory, "etc/istio/pod/annotations", 'sidecar.istio.io/status="{}"\n')
    return ENVIRONMENT


def test_bootstrap__the_recorded_pod__only_intended_differences(tmp_path):
    ours = print_bootstrap(tmp_path, recorded_pod(tmp_path), args=["--domain", "bookinfo.svc.cluster.local"])
    with open(RECORDED, encoding="utf-8") as text:
        theirs = json.load(text)
    found = {path: (old, new) for path, old, new in differences(theirs, ours)}
    surprises = {path: pair for path, pair in found.items() if not path.startswith(tuple(INTENDED))}
    assert not surprises
    assert not [path for path in INTENDED if not any(f.startswith(path) for f in found)]
    patterns = found["stats_config.stats_matcher.inclusion_list.patterns"]
    assert all(pattern in patterns[1] for pattern in patterns[0])


def test_bootstrap__the_recorded_pod__discovery_by_tls(tmp_path):
    ours = print_bootstrap(tmp_path, recorded_pod(tmp_path))
    clusters = {c["name"]: c for c in ours["static_resources"]["clusters"]}
    tls = clusters["xds-grpc"]["transport_socket"]["typed_config"]
    assert tls["sni"] == "istiod.istio-system.svc"
    assert tls["common_tls_context"]["alpn_protocols"] == ["h2"]
    assert tls["common_tls_context"]["validation_context"] == {
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "istiod.istio-system.svc"}}],
        "trusted_ca": {"filename": "./var/run/secrets/istio/root-cert.pem"}}


@pytest.mark.parametrize("role", ["sidecar", "router", "waypoint"])
def test_roles__first_part_of_the_node(tmp_path, role):
    for command in ([role], ["proxy", role]):
        made = subprocess.run([weft(), *command, "--print-bootstrap"], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True,
                              timeout=60, check=True)
        assert json.loads(made.stdout)["node"]["id"].startswith(f"{role}~10.244.1.1~productpage-v1-0.bookinfo~")


def test_environment__faults__all_named_at_once(tmp_path):
    environment = {"INSTANCE_IP": "ten", "SECRET_TTL": "x", "PROXY_CONFIG": '{"drainDuration": "y"}', "CA_PROVIDER": "z"}
    made = subprocess.run([weft(), "sidecar"], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode != 0
    for name in ("INSTANCE_IP: 'ten'", "SECRET_TTL: 'x'", "PROXY_CONFIG.drainDuration: ", "CA_PROVIDER: 'z'", "POD_NAMESPACE: "):
        assert name in made.stderr


def test_mesh_root_is_missing__refused_by_name(tmp_path):
    made = subprocess.run([weft(), "sidecar"], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode != 0
    assert "./var/run/secrets/istio/root-cert.pem" in made.stderr


AGENTS_FLAGS = ["--drain-time-s", "45", "--drain-strategy", "immediate", "--local-address-ip-version", "v4",
                "--file-flush-interval-msec", "1000", "--disable-hot-restart", "--allow-unknown-static-fields", "-l", "warning",
                "--skip-deprecated-logs", "--concurrency", "1"]


def test_pilot_agents_own_bootstrap__taken_with_its_flags():
    code, output = run_to_end(["-c", RECORDED, *AGENTS_FLAGS, "--mode", "validate"])
    assert code == 0, output


def test_application_log_config__format_of_the_log(start_proxy):
    for form, want in (({"text_format": "<%l> %v"}, "<warning> caught SIGTERM"),
                       ({"json_format": {"level": "%l", "message": "%j"}}, '"message":"caught SIGTERM"')):
        proxy = start_proxy(config.bootstrap([], application_log_config={"log_format": form}))
        proxy.stop()
        assert want in proxy.stderr()


def test_application_log_config__unknown_operator__named(tmp_path):
    path = write(tmp_path, "b.json", json.dumps(config.bootstrap([], application_log_config={"log_format": {"text_format": "%Q"}})))
    code, output = run_to_end(["-c", path, "--mode", "validate"])
    assert code == 1 and "application_log_config.log_format.text_format" in output


def test_version__build_libraries_features():
    code, output = run_to_end(["--version"])
    assert code == 0
    assert "libraries: openssl 3." in output and "sidecar" in output.split("features: ")[1]


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200 if len(self.server.asked) > 2 and self.path == "/healthz/ready" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def readiness():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_wait__ready_after_a_while__ends_well(readiness):
    code, _ = run_to_end(["wait", "--url", f"http://127.0.0.1:{readiness.server_port}/healthz/ready", "--periodMillis", "10"])
    assert code == 0
    assert readiness.asked == ["/healthz/ready"] * 3


def test_wait__never_ready__says_why(readiness):
    code, output = run_to_end(["wait", f"--url=http://127.0.0.1:{readiness.server_port}/other", "--periodMillis=10",
                               "--timeoutSeconds=1"])
    assert code == 1
    assert "it said 503" in output


def test_wait__nobody_there__says_why():
    code, output = run_to_end(["wait", "--url", "http://127.0.0.1:1/", "--timeoutSeconds", "0"])
    assert code == 1
    assert "refused" in output.lower()
