# SPDX-License-Identifier: Apache-2.0
"""weft proxy-status, proxy-config and explain: of weftd with a real sidecar, and of peers that aren't what was asked for."""
import json
import os
import socket
import subprocess
import threading

import pytest

from lib import config, http1
from lib.ca import CA
from lib.mesh_ca import MeshCA, pem
from lib.proxy import Proxy, envoy, weft
from lib.sidecar import Sidecar, pod as pod_env
from lib.wait import wait_until
from lib.weftd import Weftd, document, pod, service, slice_of

pytestmark = pytest.mark.weft_only

NAME = "productpage-v1-0.bookinfo"
ID = f"sidecar~127.0.0.1~{NAME}~bookinfo.svc.cluster.local"
HOST = "reviews.bookinfo.svc.cluster.local"


def run(*args):
    done = subprocess.run([os.path.join(os.path.dirname(weft()), "weft"), *args], capture_output=True, text=True, timeout=60, check=False)
    assert "ERROR: " not in done.stderr, done.stderr  # of a sanitizer
    return done


def shown(*args):
    done = run(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text):
    """Lines of a table, by columns that stand three blanks apart."""
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in text.splitlines()]


def labels(version):
    return {"app": "reviews", "version": version, "security.istio.io/tlsMode": "istio"}


WORLD = [
    service("reviews", 9080), slice_of("reviews", 9080, ["10.1.0.1", "10.1.0.2"]),
    pod("reviews-v1", "10.1.0.1", labels("v1"), "reviews"), pod("reviews-v2", "10.1.0.2", labels("v2"), "reviews"),
    service("ratings", 9080, "10.96.0.7"), slice_of("ratings", 9080, ["10.1.0.5"]),
    service("productpage", 9080, "10.96.0.2"), slice_of("productpage", 9080, ["127.0.0.1"]),
    pod("productpage-v1-0", "127.0.0.1", {"app": "productpage"}, "bookinfo-productpage"),
    document("VirtualService", "reviews", {"hosts": ["reviews"], "http": [
        {"name": "jason", "match": [{"headers": {"end-user": {"exact": "jason"}}}], "timeout": "3s",
         "route": [{"destination": {"host": "reviews", "subset": "v2"}}]},
        {"name": "others", "route": [{"destination": {"host": "reviews", "subset": "v1"}}]}]}),
    document("DestinationRule", "versions", {"host": "reviews", "subsets": [
        {"name": v, "labels": {"version": v}} for v in ("v1", "v2")]}),
    document("AuthorizationPolicy", "closed", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin"]}}]}]},
             version="security.istio.io/v1"),
]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    """weftd and one sidecar that has taken all: looked at only."""
    folder = tmp_path_factory.mktemp("mesh")
    stops = []
    try:
        weftd = Weftd(folder / "weftd", WORLD)
        stops.append(weftd.stop)
        ca = CA(str(folder))
        authority = MeshCA(ca, name="localhost")
        stops.append(authority.close)
        sidecar = Sidecar(folder / "pod", pod_env(
            folder / "pod", root_pem=pem(ca.certificate), CA_ADDR=f"localhost:{authority.port}", ISTIO_META_ISTIO_VERSION="1.31.0",
            proxy_config={"discoveryAddress": f"127.0.0.1:{weftd.ports['grpc']}"}))
        stops.append(sidecar.stop)
        weftd.address = f"127.0.0.1:{weftd.ports['http']}"
        sidecar.address = "127.0.0.1:%d" % sidecar.admin_address[1]
        wait_until(lambda: shown("proxy-status", "--weftd", weftd.address).count("SYNCED") == 4 and weftd.sent(ID, "vhds"), "the proxy to be synced")
        yield weftd, sidecar
    finally:
        for stop in reversed(stops):
            stop()


class Peer:
    """Answers every connection with the same bytes."""

    def __init__(self, answer):
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with client:
                client.recv(65536)
                client.sendall(self.answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture
def peer(started):
    def make(answer):
        made = Peer(answer)
        started.add(made, made.close)
        return made.address
    return make


def http(body, status="200 OK"):
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


# ---- proxy-status ----

def test_status__of_a_proxy_that_has_all(mesh):
    weftd, _ = mesh
    table = rows(shown("proxy-status", "--weftd", weftd.address))
    assert table == [["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "VERSION"],
                     [NAME, "Kubernetes", "SYNCED", "SYNCED", "SYNCED", "SYNCED", "1.31.0"]]
    assert rows(shown("ps", "productpage-v1-0", f"--weftd={weftd.address}")) == table
    assert json.loads(shown("ps", "--weftd", weftd.address, "-o", "json")) == weftd.json("/debug/syncz")


def test_status__in_each_state__and_what_was_refused(peer):
    states = [{"proxy": "sidecar~10.0.0.2~b.ns~ns.svc", "cluster": "east", "cluster_sent": "2", "cluster_acked": "1", "cluster_nacked": "2",
               "cluster_error": "bad\x1b[31m cluster", "listener_sent": "4", "listener_acked": "3"},
              {"proxy": "sidecar~10.0.0.1~a.ns~ns.svc", "cluster": "east", "route_sent": "9", "route_acked": "9"}]
    text = shown("ps", "--weftd", peer(http(json.dumps(states).encode())))
    assert rows(text) == [["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "VERSION"],
                          ["a.ns", "east", "NOT SENT", "NOT SENT", "NOT SENT", "SYNCED", "-"],
                          ["b.ns", "east", "ERROR", "STALE", "NOT SENT", "NOT SENT", "-"], [],
                          ["NAME", "REFUSES", "BECAUSE"], ["b.ns", "cluster", "bad?[31m cluster"]]


# ---- proxy-config ----

def test_config__from_weftd_and_from_the_proxy__the_same(mesh):
    weftd, sidecar = mesh
    for kind, wanted in (("clusters", [HOST, "9080", "v1", "outbound", "EDS", "versions.bookinfo"]),
                         ("listeners", ["0.0.0.0", "9080", "Trans: raw_buffer; App: http/1.1, h2c", "Route: 9080"]),
                         ("routes", ["9080", f"9080/{HOST}:9080", f"{HOST}, {HOST}. + 4 more", "/* (+ 1 more)", "reviews.bookinfo"])):
        sent, held = rows(shown("pc", kind, NAME, "--weftd", weftd.address)), rows(shown("pc", kind, sidecar.address))
        assert wanted in sent, kind
        assert sent[0] == held[0] and all(row in held for row in sent), kind
    held = rows(shown("proxy-config", "endpoints", "--admin", sidecar.address))
    assert held[0] == ["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"]
    assert ["10.1.0.1:9080", "HEALTHY", "OK", f"outbound|9080|v1|{HOST}"] in held
    assert ["10.1.0.1:9080", "HEALTHY", "-", f"outbound|9080|v1|{HOST}"] in rows(shown("pc", "endpoint", NAME, "--weftd", weftd.address))


def test_config__all__and_as_json(mesh):
    weftd, sidecar = mesh
    heads = [row[0] for row in rows(shown("pc", "all", NAME, "--admin", sidecar.address)) if row]
    assert [head for head in heads if head in ("ADDRESSES", "NAME", "SERVICE FQDN", "ENDPOINT", "RESOURCE NAME")] == [
        "ADDRESSES", "NAME", "SERVICE FQDN", "ENDPOINT", "RESOURCE NAME"]
    whole = json.loads(shown("pc", "all", NAME, "--weftd", weftd.address, "-o", "json"))
    assert set(whole) == {"listeners", "routes", "clusters", "endpoints", "secrets"}
    assert json.loads(shown("pc", "clusters", ID, "--weftd", weftd.address, "-o", "json")) == whole["clusters"]
    assert f"9080/{HOST}:9080" in [host["name"] for host in whole["routes"][0]["virtual_hosts"]]


def test_config__secrets__of_the_proxy_alone_and_without_keys(mesh):
    weftd, sidecar = mesh
    head, *told = rows(shown("pc", "secrets", sidecar.address))
    assert head == ["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"]
    assert sorted(row[:4] for row in told) == [["ROOTCA", "CA", "ACTIVE", "true"], ["default", "Cert Chain", "ACTIVE", "true"]]
    known = [(c["serial_number"], c["expiration_time"], c["valid_from"]) for context in
             json.loads(http1.fetch(sidecar.admin_address, target="/certs").body)["certificates"]
             for c in context.get("cert_chain", []) + context.get("ca_cert", [])]
    assert all(tuple(row[4:]) in known for row in told)
    text = shown("pc", "secrets", sidecar.address, "-o", "json")
    chain = [s for s in json.loads(text) if s["name"] == "default"][0]["secret"]["tls_certificate"]
    assert "certificate_chain" in chain and chain["private_key"] == {"inline_bytes": "W3JlZGFjdGVkXQ=="}  # [redacted]
    refused = run("pc", "secrets", NAME, "--weftd", weftd.address)
    assert (refused.returncode, refused.stdout) == (1, "") and "--admin" in refused.stderr


@pytest.mark.parametrize("binary", [weft, pytest.param(envoy, marks=pytest.mark.skipif(not envoy(), reason="no ENVOY"))])
def test_config__of_a_static_proxy__weft_or_envoy(started, tmp_path, binary):
    bootstrap = config.bootstrap([config.http_listener(virtual_hosts=[config.virtual_host([config.route()], "all", ["*"])])],
                                 [config.cluster("origin", 9)])
    proxy = Proxy({**bootstrap, "node": {"id": "sidecar~10.0.0.1~a.ns~ns.svc", "cluster": "a"}}, tmp_path, binary=binary())
    started.add(proxy, proxy.stop)
    text = shown("pc", "all", "a.ns", "--admin", "127.0.0.1:%d" % proxy.admin_address[1])
    told = [row for row in rows(text) if row]
    assert not text.startswith("\n")
    assert ["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"] in told
    assert ["origin", "-", "-", "-", "STATIC", "-"] in told
    assert ["127.0.0.1:9", "HEALTHY", "OK", "origin"] in told
    assert ["127.0.0.1", "0", "ALL", "Inline Route: all"] in told and "/*" in sum(told, [])


def test_proxy__that_is_not_there__or_is_another__is_named(mesh, peer):
    weftd, sidecar = mesh
    for args, said in ((("pc", "routes", "nobody", "--weftd", weftd.address), "no proxy 'nobody' among the 1"),
                       (("ps", "nobody", "--weftd", weftd.address), "no proxy 'nobody'"),
                       (("pc", "routes", "other.bookinfo", "--admin", sidecar.address), f"isn't 'other.bookinfo' but '{ID}'"),
                       (("explain", "http://reviews:9080/", "--from", "other", "--admin", sidecar.address), "isn't 'other' but")):
        done = run(*args)
        assert (done.returncode, done.stdout) == (1, "") and said in done.stderr, (args, done.stderr)
    twins = [{"proxy": f"sidecar~10.0.0.{i}~a.{ns}~x"} for i, ns in ((1, "one"), (2, "two"))]
    done = run("pc", "routes", "a", "--weftd", peer(http(json.dumps(twins).encode())))
    assert done.returncode == 1 and "a.one" in done.stderr and "a.two" in done.stderr


# ---- explain ----

def explained(sidecar, url, *args):
    return shown("explain", url, "--from", NAME, "--admin", sidecar.address, *args)


def test_explain__names_what_decided__and_what_did_not_fit(mesh):
    _, sidecar = mesh
    text = explained(sidecar, "http://reviews:9080/x")
    assert f"GET http://reviews:9080/x from {NAME}: 200 likely from one of 1 endpoint of cluster outbound|9080|v1|{HOST}\n" in text
    assert 'VirtualService bookinfo/reviews decides by route 1 of 2, others (prefix "/").\n' in text
    assert 'Not route 0 jason: its headers[0] wants end-user exact "jason", the request has absent.\n' in text
    assert f"DestinationRule bookinfo/versions shapes the cluster outbound|9080|v1|{HOST} " in text
    assert "10.1.0.1:9080 may be chosen: healthy, over TLS\n" in text
    text = explained(sidecar, "http://reviews:9080/x", "--header", "end-user: jason", "--method", "PUT")
    assert text.startswith("PUT ") and "route 0 of 2, jason" in text and "10.1.0.2:9080 may be chosen" in text
    text = explained(sidecar, "http://ratings:9080/x")
    assert "No VirtualService decides, but route 0 of 1" in text and "No DestinationRule shapes the cluster" in text
    assert "No policy of this proxy looks at it" in text and "10.1.0.5:9080 may be chosen: healthy\n" in text


def test_explain__policy_that_denies__is_named(mesh):
    _, sidecar = mesh
    inbound = ("--listener", "virtualInbound", "--destination", "127.0.0.1:9080")
    text = explained(sidecar, "http://productpage:9080/admin", *inbound)
    assert ": 403" in text.split("\n")[0], text
    assert "AuthorizationPolicy bookinfo/closed, rule 0, denies.\n" in text
    text = explained(sidecar, "http://productpage:9080/open", *inbound)
    assert "AuthorizationPolicy bookinfo/closed, rule 0, doesn't fit: " in text and "denies" not in text


def test_explain__as_json__is_the_proxys_answer(mesh):
    _, sidecar = mesh
    report = json.loads(explained(sidecar, "http://reviews:9080/x", "-o", "json"))
    assert report["route"]["says"]["object"] == "/apis/networking.istio.io/v1/namespaces/bookinfo/virtual-service/reviews"
    assert {"name": "object", "value": "/apis/networking.istio.io/v1/namespaces/bookinfo/destination-rule/versions"} in report["cluster"]["facts"]


# ---- what isn't as it should be ----

BAD_PEERS = {
    "no HTTP": (b"\x00\x01\x02 what", "protocol error"), "no JSON": (http(b"<html>\x1b]0;x"), "something other than JSON: <html>?]0;x"),
    "nothing": (b"", "connection termination"), "cut short": (http(b"[1, 2")[:-1], "protocol error"),
    "a refusal": (http(b"go away\nplease", "503 No"), "answers 503: go away\n"),
}


@pytest.mark.parametrize("args", [("ps",), ("pc", "all", NAME)])
@pytest.mark.parametrize("case", BAD_PEERS)
def test_peer__that_answers_nonsense__is_told(peer, case, args):
    answer, said = BAD_PEERS[case]
    address = peer(answer)
    done = run(*args, "--weftd", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"http://{address}/debug/syncz: " in done.stderr and said in done.stderr


@pytest.mark.parametrize("args", [("ps", "--weftd"), ("pc", "all", "--admin"), ("explain", "http://a/", "--admin")])
def test_other_json__and_nobody__are_told(peer, args):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = "127.0.0.1:%d" % listener.getsockname()[1]
    done = run(*args, gone)
    assert (done.returncode, done.stdout) == (1, "") and f"http://{gone}/" in done.stderr and "connect failed" in done.stderr
    done = run(*args, peer(http(b'{"a": 1}')))
    assert (done.returncode, done.stdout) == (1, ""), done.stdout


@pytest.mark.parametrize("args, said", [
    (("ps", "--wefd", "x"), "there is no flag '--wefd'"), (("ps", "--weftd"), "--weftd wants a value"),
    (("ps", "a", "b"), "'b' is one argument too many"), (("ps", "-o", "yaml"), "there is no output 'yaml'"),
    (("pc", "things", "x"), "there is no 'things'"), (("pc", "routes"), "of which proxy?"),
    (("pc", "all", "x", "--weftd", "127.0.0.1:1", "--admin", "127.0.0.1:1"), "not both"), (("pc",), "usage: "),
    (("explain", "http://a/"), "from which proxy?"), (("explain", "http://a/", "--from", "x", "--header", "a"), "not 'NAME: VALUE'"),
    (("explain",), "usage: ")])
def test_arguments__not_understood__are_named(args, said):
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr


def test_question__the_proxy_does_not_take__is_told(mesh):
    _, sidecar = mesh
    for url, header, said in (("ftp://reviews/", "a: b", "answers 400: "), ("http://reviews/", b"a: \xff", "isn't UTF-8")):
        done = run("explain", url, "--admin", sidecar.address, "--header", header)
        assert (done.returncode, done.stdout) == (1, "") and said in done.stderr, done.stderr


def test_address__that_is_none__is_named():
    done = run("ps", "--weftd", "weftd:8080")
    assert done.returncode == 1 and "malformed IP address: weftd" in done.stderr
    done = run("ps", "--weftd", "127.0.0.1")
    assert done.returncode == 1 and "'127.0.0.1' is not IP:PORT" in done.stderr


def test_help__of_each():
    for command in ("proxy-status", "ps", "proxy-config", "pc", "explain"):
        assert shown(command, "--help").startswith("usage: weft ")
