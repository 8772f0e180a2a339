# SPDX-License-Identifier: Apache-2.0
"""The sidecar's status server: readiness, merged metrics, the application's probes, /drain and /quitquitquit."""
import json
import socket

import pytest

from lib.grpc_services import HealthService
from lib.pod import Application, Pod
from lib.wait import wait_until
from test_original_dst import can_divert, run_inside
from test_rds import rds_listener, routes

pytestmark = pytest.mark.weft_only


@pytest.fixture
def application(started):
    server = Application()
    return started.add(server, server.close)


def silent_port():
    """Nobody listens there: bound, not listening."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    return held


@pytest.fixture
def mesh(started, tmp_path):
    return Pod(started, tmp_path)


def test_readiness_waits_for_clusters_listeners_and_the_certificate(mesh):
    mesh.start()
    assert mesh.ask("/healthz/ready").status == 503
    assert mesh.ask("/healthz/ready").body == b"no clusters were accepted yet"
    mesh.push()
    wait_until(lambda: mesh.ask("/healthz/ready").status == 200)


def test_readiness_names_what_is_missing(mesh):
    """One gate after another, each the only one in the way of the next. A listener whose routes haven't come keeps the workers
    from starting."""
    mesh.authority.hold()
    mesh.start()
    mesh.ads.hold("rds")
    assert mesh.why_unready() == "no clusters were accepted yet"
    mesh.ads.set_resources("cds", {"c": {"name": "c", "type": "STATIC", "connect_timeout": "1s"}})
    mesh.ads.release("cds")
    wait_until(lambda: mesh.why_unready() == "no listeners were accepted yet")
    mesh.ads.wait_request("lds")
    assert mesh.why_unready() == "no listeners were accepted yet"
    mesh.ads.set_resources("lds", {"r": rds_listener(route="late")})
    mesh.ads.release("lds")
    wait_until(lambda: mesh.why_unready() == "there is no certificate yet")
    mesh.ads.wait_request("rds")
    assert mesh.why_unready() == "there is no certificate yet"
    mesh.authority.release()
    wait_until(lambda: mesh.why_unready() == "the workers don't run yet")
    assert mesh.sidecar.admin("/ready").status == 503
    mesh.ads.set_resources("rds", {"late": routes("here", "late")})
    mesh.ads.release("rds")
    wait_until(lambda: mesh.why_unready() == "")


def test_metrics_are_the_agents_the_proxys_and_the_applications(mesh, application):
    mesh.start(ISTIO_PROMETHEUS_ANNOTATIONS=json.dumps({"scrape": "true", "path": "/app", "port": str(application.port)}))
    page = mesh.ask("/stats/prometheus", headers=[("accept", "text/plain")])
    text = page.body.decode()
    assert page.status == 200
    assert text.index("istio_agent_scrapes_total 1") < text.index("envoy_server_uptime") < text.index("shop_orders 7")
    assert application.seen[-1][1]["accept"] == "text/plain"
    application.pages["/app"] = application.pages["/open"]
    page = mesh.ask("/metrics")
    assert page.get("content-type").startswith("application/openmetrics-text")
    assert page.body.endswith(b"# EOF\n")


def test_an_application_that_is_down_leaves_the_rest(mesh):
    held = silent_port()
    mesh.start(ISTIO_PROMETHEUS_ANNOTATIONS=json.dumps({"scrape": "true", "port": str(held.getsockname()[1])}))
    first, second = mesh.ask("/stats/prometheus"), mesh.ask("/stats/prometheus")
    held.close()
    assert first.status == 200 and b"envoy_server_uptime" in first.body
    assert b'istio_agent_scrape_failures_total{type="application"} 1' in second.body


def test_probes_ask_the_application(mesh, application):
    held = silent_port()
    port, closed = application.port, held.getsockname()[1]

    def http(path, at=port):
        return {"httpGet": {"path": path, "port": at, "scheme": "HTTP",
                            "httpHeaders": [{"name": "X-Probe", "value": "yes"}, {"name": "Host", "value": "shop"}]},
                "timeoutSeconds": 5}
    mesh.start(ISTIO_KUBE_APP_PROBERS=json.dumps({
        "/app-health/a/livez": http("/live"), "/app-health/a/readyz": http("/sick"), "/app-health/a/startupz": http("/moved"),
        "/app-health/b/livez": http("/live", closed), "/app-lifecycle/a/poststartz": http("/live"),
        "/app-health/c/livez": {"tcpSocket": {"port": port}}, "/app-health/c/readyz": {"tcpSocket": {"port": closed}}}))
    answer = mesh.ask("/app-health/a/livez", headers=[("user-agent", "kube-probe/1.34")])
    assert answer.status == 200 and answer.body == b"x" * 10240
    path, headers, source = application.seen[-1]
    known = {k.lower(): v for k, v in headers.items()}
    assert (path, known["x-probe"], known["host"], known["user-agent"]) == ("/live", "yes", "shop", "kube-probe/1.34")
    assert source == "127.0.0.6"
    assert [mesh.ask(f"/app-health/{p}").status for p in ("a/readyz", "a/startupz", "b/livez", "c/livez", "c/readyz", "z/livez")] == [
        503, 200, 500, 200, 500, 400]
    assert mesh.ask("/app-lifecycle/a/poststartz").status == 200
    held.close()


def test_probes_by_grpc(mesh, started):
    service = HealthService()
    started.add(service, service.close)
    held = silent_port()
    mesh.start(ISTIO_KUBE_APP_PROBERS=json.dumps({
        "/app-health/a/livez": {"grpc": {"port": service.port}},
        "/app-health/a/readyz": {"grpc": {"port": service.port, "service": "shop.Cart"}, "timeoutSeconds": 5},
        "/app-health/b/livez": {"grpc": {"port": held.getsockname()[1]}}}))
    assert mesh.ask("/app-health/a/livez").status == 200
    assert mesh.ask("/app-health/a/readyz").status == 200
    assert service.asked == ["", "shop.Cart"]
    service.is_serving = False
    assert mesh.ask("/app-health/a/readyz").status == 500
    assert mesh.ask("/app-health/b/livez").status == 500
    held.close()


def test_probes_by_https_take_any_certificate(mesh, started):
    """The kubelet verifies none either."""
    leaf = mesh.ca.issue("application", ["DNS:elsewhere.example"])
    server = Application(tls=mesh.ca.server_context(leaf))
    started.add(server, server.close)

    def https(path, port=server.port):
        return {"httpGet": {"path": path, "port": port, "scheme": "HTTPS"}, "timeoutSeconds": 5}
    plain = Application()
    started.add(plain, plain.close)
    mesh.start(ISTIO_KUBE_APP_PROBERS=json.dumps({"/app-health/a/livez": https("/live"), "/app-health/a/readyz": https("/sick"),
                                                  "/app-health/b/livez": https("/live", plain.port)}))
    assert [mesh.ask(f"/app-health/{p}").status for p in ("a/livez", "a/readyz", "b/livez")] == [200, 503, 500]
    assert [path for path, _, _ in server.seen] == ["/live", "/sick"] and not plain.seen


@pytest.mark.skipif(not can_divert(), reason="no network namespace of our own here")
def test_probes_of_an_ipv6_pod_come_from_its_own_source(tmp_path):
    run_inside("sidecar_probes.py", tmp_path)


@pytest.mark.parametrize("name, value, text", [
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"httpGet": {"path": "/"}}}, "./app-health/a/livez: its port is no number"),
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"httpGet": {"path": "/", "port": 1, "host": "b"}}},
     "./app-health/a/livez: 'host' is not supported"),
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"tcpSocket": {"port": 1}, "exec": {}}},
     "./app-health/a/livez: 'exec' is not supported"),
    ("ISTIO_KUBE_APP_PROBERS", {"/app-health/a/livez": {"grpc": {"port": 1, "service": "s" * 101}}}, "name is longer than 100 bytes"),
    ("ISTIO_PROMETHEUS_ANNOTATIONS", {"scrape": "true", "path": "/m", "port": "1", "targets": [{"port": "2"}]},
     ": targets is not supported"),
])
def test_what_is_not_heeded_is_refused_by_name(mesh, tmp_path, name, value, text):
    with pytest.raises(Exception):
        mesh.start(**{name: json.dumps(value)})
    with open(tmp_path / "stderr", encoding="utf-8") as log:
        said = log.read()
    assert name in said and text in said


def test_quitquitquit_takes_post_and_ends_the_proxy(mesh):
    mesh.start()
    mesh.wait_ready()
    assert mesh.ask("/quitquitquit").status == 405
    assert mesh.ask("/nothing").status == 404
    assert mesh.ask("/drain", "POST").status == 200
    assert mesh.ask("/quitquitquit", "POST").status == 200
    mesh.sidecar.process.wait(30)
