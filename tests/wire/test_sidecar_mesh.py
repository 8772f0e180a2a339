# SPDX-License-Identifier: Apache-2.0
"""A sidecar in its mesh: discovery over ADS with its token, a listener whose certificate and roots are the sidecar's own, and
what clients see of them while the CA renews, hangs, refuses, or changes its root; SPIRE's socket in the CA's place."""
import json
import os
import ssl
import tempfile
import threading

import grpc
import pytest
from cryptography import x509

from lib import config, http1
from lib.ads_server import AdsServer
from lib.ca import CA
from lib.http1 import read_response, request_bytes
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod, write
from lib.streams import connect
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only

IDENTITY = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage"
OK = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]


def sds(name):
    """As istiod writes it."""
    return {"name": name, "sds_config": {
        "api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
                              "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}]},
        "initial_fetch_timeout": "0s", "resource_api_version": "V3"}}


def mesh_listener(certificate="default", roots="ROOTCA"):
    return config.listener("inbound", config.hcm(routes=OK), stat_prefix="inbound", tls={
        "require_client_certificate": True, "common_tls_context": {
            "tls_certificate_sds_secret_configs": [sds(certificate)],
            "validation_context_sds_secret_config": sds(roots)}})


class Mesh:
    """The control plane of one sidecar."""

    def __init__(self, started, directory, ca):
        self.started, self.directory, self.ca = started, directory, ca
        self.peer = ca.issue("peer", ["URI:spiffe://cluster.local/ns/x/sa/peer"])

    def discovery(self, **options):
        made = AdsServer(**options)
        made.set_resources("cds", {})
        made.set_resources("lds", {"inbound": mesh_listener()})
        self.started.add(made, made.close)
        return made

    def authority(self, **options):
        made = MeshCA(self.ca, name="localhost", **options)
        self.started.add(made, made.close)
        return made

    def sidecar(self, discovery, authority=None, proxy_config=None, **env):
        given = {"discoveryAddress": f"localhost:{discovery.port}", **(proxy_config or {})}
        known = pod(self.directory, root_pem=pem(self.ca.certificate), proxy_config=given, **env)
        if authority:
            known["CA_ADDR"] = f"localhost:{authority.port}"
        made = Sidecar(self.directory, known)
        return self.started.add(made, made.stop)

    def context(self, leaf=None):
        return self.ca.client_context(leaf or self.peer)

    def get(self, sidecar, leaf=None):
        return http1.fetch(sidecar.address("inbound"), "GET", "/", tls=self.context(leaf), server_name="x")

    def serial(self, sidecar):
        with connect(sidecar.address("inbound"), self.context(), "x") as stream:
            stream.send(request_bytes())
            assert read_response(stream).status == 200
            return x509.load_der_x509_certificate(stream.sock.getpeercert(True)).serial_number

    def is_refused(self, sidecar, context):
        try:
            with connect(sidecar.address("inbound"), context, "x") as stream:
                stream.send(request_bytes())
                return not stream.fill()
        except OSError:
            return True


@pytest.fixture
def mesh(started, tmp_path, ca):
    return Mesh(started, tmp_path, ca)


def test_sidecar__certificate_and_discovery__serves_its_mesh(mesh, ca):
    discovery, authority = mesh.discovery(), mesh.authority()
    sidecar = mesh.sidecar(discovery, authority)
    sidecar.wait_ready()
    assert mesh.get(sidecar).body == b"ok"
    assert mesh.serial(sidecar) == authority.issued[0].serial_number
    assert mesh.is_refused(sidecar, ca.client_context())
    node = discovery.streams[0].node
    assert node.id == "sidecar~127.0.0.1~productpage-v1-0.bookinfo~bookinfo.svc.cluster.local"
    assert node.metadata["NAMESPACE"] == "bookinfo"
    for page in ("/config_dump", "/certs", "/stats"):
        assert b"PRIVATE KEY" not in sidecar.admin(page).body


def test_discovery__over_tls__token_and_headers_in_the_stream(mesh, ca):
    leaf = ca.issue("istiod", ["DNS:localhost"], file_name="discovery")
    with open(leaf.key, "rb") as key, open(leaf.cert, "rb") as cert:
        discovery = mesh.discovery(credentials=grpc.ssl_server_credentials([(key.read(), cert.read())]))
    sidecar = mesh.sidecar(discovery, mesh.authority(), {"controlPlaneAuthPolicy": "MUTUAL_TLS"}, XDS_HEADER_X_TENANT="t",
                           ISTIO_META_CLUSTER_ID="east")
    sidecar.wait_ready()
    metadata = discovery.streams[0].metadata
    assert metadata["authorization"] == "Bearer a.token.here"
    assert metadata["clusterid"] == "east" and metadata["x-tenant"] == "t"
    assert discovery.streams[0].is_delta
    assert b"a.token.here" not in sidecar.admin("/config_dump").body


def test_certificate_comes_late__listener_waits_for_it(mesh):
    discovery, authority = mesh.discovery(), mesh.authority()
    authority.hold()
    sidecar = mesh.sidecar(discovery, authority)
    authority.wait_calls(1)
    discovery.wait_request("lds")
    assert sidecar.admin("/ready").status != 200
    authority.release()
    sidecar.wait_ready()
    assert mesh.get(sidecar).body == b"ok"


class Load:
    """New connections one after the other, and one that stays; what fails is kept."""

    def __init__(self, mesh, sidecar):
        self.mesh, self.sidecar = mesh, sidecar
        self.failures, self.serials, self.done = [], [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with connect(self.sidecar.address("inbound"), self.mesh.context(), "x") as kept:
            while not self.done.is_set():
                try:
                    self.serials.append(self.mesh.serial(self.sidecar))
                    kept.send(request_bytes())
                    assert read_response(kept).status == 200
                except (OSError, AssertionError, ssl.SSLError) as error:
                    self.failures.append(error)
                    return

    def stop(self):
        self.done.set()
        self.thread.join()


def test_rotation__under_connections__not_one_fails(mesh):
    authority = mesh.authority(life_s=10)
    sidecar = mesh.sidecar(mesh.discovery(), authority, SECRET_GRACE_PERIOD_RATIO="0.8")
    sidecar.wait_ready()
    load = Load(mesh, sidecar)
    try:
        wait_until(lambda: load.failures or len(set(load.serials)) >= 3, "three certificates")
    finally:
        load.stop()
    assert not load.failures
    assert sidecar.stat("listener.inbound.ssl.connection_error") == 0


@pytest.mark.parametrize("how", ["hangs", "refuses", "answers garbage", "is gone"])
def test_ca_fails__last_certificate_serves_on(mesh, how):
    authority = mesh.authority(life_s=20)
    sidecar = mesh.sidecar(mesh.discovery(), authority, SECRET_GRACE_PERIOD_RATIO="0.95")
    sidecar.wait_ready()
    sidecar.wait_stat("agent.ca.issued", 1)
    if how == "hangs":
        authority.hold()
    elif how == "refuses":
        authority.answer = lambda _, context: context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
    elif how == "answers garbage":
        authority.answer = lambda *_: b"\xff\xff\xff"
    else:
        authority.close()
    wait_until(lambda: sidecar.stat("agent.ca.failed") + sidecar.stat("agent.ca.no_host") > 0, "the CA's failure")
    assert mesh.serial(sidecar) == authority.issued[0].serial_number
    assert mesh.get(sidecar).body == b"ok"


def test_root_changes__peers_of_the_new_one_are_let_in(mesh, tmp_path):
    authority = mesh.authority(life_s=10)
    sidecar = mesh.sidecar(mesh.discovery(), authority, SECRET_GRACE_PERIOD_RATIO="0.9")
    sidecar.wait_ready()
    new = CA(tmp_path / "new", name="new")
    stranger = mesh.context(new.issue("stranger", ["URI:spiffe://cluster.local/ns/x/sa/new"]))
    assert mesh.is_refused(sidecar, stranger)
    authority.roots = pem(mesh.ca.certificate) + pem(new.certificate)
    sidecar.wait_stat("agent.ca.root_changes", 1)
    assert http1.fetch(sidecar.address("inbound"), "GET", "/", tls=stranger, server_name="x").body == b"ok"
    assert mesh.get(sidecar).body == b"ok"


def test_ca_certificates_of_proxy_config__trusted_besides(mesh, tmp_path):
    other = CA(tmp_path / "other", name="other")
    sidecar = mesh.sidecar(mesh.discovery(), mesh.authority(), {"caCertificatesPem": [pem(other.certificate)]})
    sidecar.wait_ready()
    for leaf in (other.issue("stranger", ["URI:spiffe://other/ns/x/sa/y"]), mesh.peer):
        assert mesh.get(sidecar, leaf).body == b"ok"


def test_revocation_list__file_comes_and_goes__peer_refused_and_let_in(mesh, ca):
    sidecar = mesh.sidecar(mesh.discovery(), mesh.authority())
    sidecar.wait_ready()
    revoked = mesh.context(ca.issue("revoked", ["URI:spiffe://cluster.local/ns/x/sa/revoked"]))
    assert not mesh.is_refused(sidecar, revoked)
    with open(ca.crl([ca.issue("revoked", ["URI:spiffe://cluster.local/ns/x/sa/revoked"])]), encoding="ascii") as text:
        unrelated = text.read()
    leaf = ca.issue("another", ["URI:spiffe://cluster.local/ns/x/sa/another"])
    context = mesh.context(leaf)
    with open(ca.crl([leaf]), encoding="ascii") as text:
        listed = text.read()
    write(mesh.directory, "var/run/secrets/istio/crl/ca-crl.pem", listed)
    wait_until(lambda: mesh.is_refused(sidecar, context), "the revoked peer to be refused")
    assert mesh.get(sidecar).body == b"ok"
    write(mesh.directory, "var/run/secrets/istio/crl/ca-crl.pem", unrelated)
    wait_until(lambda: not mesh.is_refused(sidecar, context), "the peer that isn't listed any more to be let in")


def test_file_secrets__named_by_discovery__followed(mesh, ca):
    leaf = ca.issue("filed", [f"URI:{IDENTITY}"])
    discovery = mesh.discovery()
    discovery.set_resources("lds", {"inbound": mesh_listener(f"file-cert:{leaf.cert}~{leaf.key}", f"file-root:{ca.cert}")})
    sidecar = mesh.sidecar(discovery, mesh.authority())
    sidecar.wait_ready()
    assert mesh.serial(sidecar) == leaf.certificate.serial_number
    renewed = ca.issue("filed", [f"URI:{IDENTITY}"])  # the same files
    wait_until(lambda: mesh.serial(sidecar) == renewed.certificate.serial_number, "the renewed certificate")


def test_bootstrap_override__merged_what_is_unknown_warned_of(mesh):
    override = {"static_resources": {"listeners": [config.listener("own", config.hcm(routes=OK))]}, "watchdogs": {}}
    path = write(mesh.directory, "override.json", json.dumps(override))
    sidecar = mesh.sidecar(mesh.discovery(), mesh.authority(), ISTIO_BOOTSTRAP_OVERRIDE=path)
    sidecar.wait_ready()
    assert http1.fetch(sidecar.address("own")).body == b"ok"
    assert mesh.get(sidecar).body == b"ok"
    assert "warning: " in sidecar.stderr() and "watchdogs" in sidecar.stderr()


def proxy_config_of(*roots):
    """istio.mesh.v1alpha1.ProxyConfig with ca_certificates_pem (field 34), packed by hand."""
    def varint(n):
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)
    return b"".join(varint(34 << 3 | 2) + varint(len(r)) + r.encode() for r in roots)


def test_pushed_roots__trusted_besides__bad_ones_refused(mesh, tmp_path):
    discovery = mesh.discovery()
    sidecar = mesh.sidecar(discovery, mesh.authority(), PROXY_CONFIG_XDS_AGENT="true")
    sidecar.wait_ready()
    other = CA(tmp_path / "other", name="other")
    stranger = mesh.context(other.issue("stranger", ["URI:spiffe://other/ns/x/sa/y"]))
    assert mesh.is_refused(sidecar, stranger)
    discovery.set_resources("pcds", {"config": proxy_config_of(pem(other.certificate))})
    discovery.wait_ack("pcds")
    assert http1.fetch(sidecar.address("inbound"), "GET", "/", tls=stranger, server_name="x").body == b"ok"
    assert mesh.get(sidecar).body == b"ok"
    discovery.set_resources("pcds", {"config": proxy_config_of("rubbish")})
    assert "ca_certificates_pem" in discovery.wait_nack("pcds")
    assert not mesh.is_refused(sidecar, stranger)


def secrets_of(leaf, ca):
    with open(leaf.key, encoding="ascii") as key:
        return {"default": {"name": "default", "tls_certificate": {"certificate_chain": {"inline_string": leaf.pem},
                                                                   "private_key": {"inline_string": key.read()}}},
                "ROOTCA": {"name": "ROOTCA", "validation_context": {"trusted_ca": {"inline_string": pem(ca.certificate)}}}}


def test_spire__its_socket_is_there__secrets_from_it(mesh, ca, started):
    folder = os.path.join(str(mesh.directory), "var/run/secrets/workload-spiffe-uds")
    os.makedirs(folder)
    short = tempfile.TemporaryDirectory()  # a socket's path has at most 107 bytes
    started.add(short, short.cleanup)
    spire = AdsServer(unix_path=os.path.join(short.name, "socket"))  # speaks SDS, as SPIRE's agent does
    started.add(spire, spire.close)
    os.symlink(spire.unix_path, os.path.join(folder, "socket"))
    first, second = (ca.issue(name, [f"URI:{IDENTITY}"]) for name in ("first", "second"))
    spire.set_resources("sds", secrets_of(first, ca))
    sidecar = mesh.sidecar(mesh.discovery())
    sidecar.wait_ready()
    assert mesh.serial(sidecar) == first.certificate.serial_number
    spire.set_resources("sds", secrets_of(second, ca))
    wait_until(lambda: mesh.serial(sidecar) == second.certificate.serial_number, "the renewed certificate")
