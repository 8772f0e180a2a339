# SPDX-License-Identifier: Apache-2.0
"""TLS as peers see it: who is let in and what the others are counted as, certificates that change under
living connections, the choice among several, resumption, names towards upstreams, x-forwarded-client-cert."""
import base64
import hashlib
import os
import shutil
import ssl
import subprocess
import urllib.parse

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from lib import config, http1
from lib.ca import CA, DAY
from lib.http1 import read_response, request_bytes
from lib.streams import connect
from lib.wait import wait_until

SSL = "listener.tls.ssl."
OK = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]


def listener(tls, routes=None, **fields):
    return config.listener("tls", config.hcm(routes=routes or OK, **fields), tls=tls, stat_prefix="tls")


@pytest.fixture
def leaf(ca):
    return ca.issue("server", sans=["DNS:server.test"])


@pytest.fixture
def start_tls(start_proxy, leaf):
    """start_tls(more of a DownstreamTlsContext) -> a proxy that answers `ok` over TLS."""
    def start(tls=None, **fields):
        return start_proxy(config.bootstrap([listener(tls or config.server_tls(leaf, **fields))]))
    return start


def get(proxy, context, server_name="server.test", headers=()):
    return http1.fetch(proxy.address("tls"), "GET", "/", headers, tls=context, server_name=server_name)


def refused(proxy, context, server_name="server.test"):
    """True where no byte of an answer comes; with TLS 1.3 a client learns that only when it reads."""
    try:
        with connect(proxy.address("tls"), context, server_name) as stream:
            stream.send(request_bytes())
            return not stream.fill()
    except OSError:
        return True


def at_version(context, version):
    context.minimum_version = context.maximum_version = version
    return context


# ---- who is let in ----

def test_mtls__good_certificate_let_in(start_tls, ca):
    proxy = start_tls(ca=ca)
    assert get(proxy, ca.client_context(ca.issue("client"))).body == b"ok"
    stats = proxy.stats()
    assert stats[SSL + "handshake"] == 1 and stats[SSL + "no_certificate"] == 0
    assert stats[SSL + "versions.TLSv1.3"] == 1


def strange_ca(tmp_path, ca):
    return CA(tmp_path / "strange", "strange CA").issue("client", sans=["URI:spiffe://td/ns/a/sa/good"])


GOOD_URI = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://td/ns/a/sa/good"}}]}
REFUSALS = {
    "no-certificate": ({}, lambda ca, tmp: None, "fail_verify_no_cert"),
    "strange-ca": ({}, lambda ca, tmp: strange_ca(tmp, ca), "fail_verify_error"),
    "expired": ({}, lambda ca, tmp: ca.issue("client", days=-1), "fail_verify_error"),
    "for-servers-only": ({}, lambda ca, tmp: ca.issue("client", usages=("server",)), "fail_verify_error"),
    "other-uri": (GOOD_URI, lambda ca, tmp: ca.issue("client", sans=["URI:spiffe://td/ns/a/sa/bad"]), "fail_verify_san"),
    "no-name": (GOOD_URI, lambda ca, tmp: ca.issue("client"), "fail_verify_san"),
    "uri-as-dns": (GOOD_URI, lambda ca, tmp: ca.issue("client", sans=["DNS:good"]), "fail_verify_san"),
    "hash": ({"verify_certificate_hash": ["00" * 32]}, lambda ca, tmp: ca.issue("client"), "fail_verify_cert_hash"),
    "spki": ({"verify_certificate_spki": [base64.b64encode(b"0" * 32).decode()]},
             lambda ca, tmp: ca.issue("client"), "fail_verify_cert_hash"),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", REFUSALS)
def test_mtls__refused_and_counted_by_cause(start_tls, ca, tmp_path, name, version):
    validation, make_leaf, counter = REFUSALS[name]
    proxy = start_tls(ca=ca, validation=validation)
    bad = make_leaf(ca, tmp_path)
    assert refused(proxy, at_version(ca.client_context(bad), version))
    proxy.wait_stat(SSL + counter, 1)
    others = {n: v for n, v in proxy.stats("ssl").items() if v and ("fail" in n or n.endswith("connection_error"))}
    assert others == {SSL + counter: 1}
    assert proxy.stat(SSL + "handshake") == 0
    proxy.wait_stat("listener.tls.downstream_cx_active", 0)


def test_mtls__revoked__refused_others_let_in(start_tls, ca):
    good, bad = ca.issue("good"), ca.issue("bad")
    proxy = start_tls(ca=ca, validation={"crl": {"filename": ca.crl([bad])}})
    assert refused(proxy, ca.client_context(bad))
    proxy.wait_stat(SSL + "fail_verify_error", 1)
    assert get(proxy, ca.client_context(good)).body == b"ok"


def fingerprint(leaf):
    return hashlib.sha256(leaf.der).hexdigest()


def spki(leaf):
    der = leaf.certificate.public_key().public_bytes(serialization.Encoding.DER,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.mark.parametrize("pin", ["hash", "hash-colons", "spki"])
def test_pins__the_pinned_one_let_in(start_tls, ca, pin):
    pinned, other = ca.issue("pinned"), ca.issue("other")
    colons = ":".join(fingerprint(pinned)[i:i + 2].upper() for i in range(0, 64, 2))
    fields = {"hash": {"verify_certificate_hash": [fingerprint(pinned)]},
              "hash-colons": {"verify_certificate_hash": [colons]},
              "spki": {"verify_certificate_spki": [spki(pinned)]}}[pin]
    proxy = start_tls(ca=ca, validation=fields)
    assert get(proxy, ca.client_context(pinned)).body == b"ok"
    assert refused(proxy, ca.client_context(other))
    proxy.wait_stat(SSL + "fail_verify_cert_hash", 1)


SAN_CASES = [
    ("URI", {"prefix": "spiffe://td/"}, "URI:spiffe://td/a", "URI:spiffe://other/a"),
    ("URI", {"suffix": "/sa/x"}, "URI:spiffe://td/sa/x", "URI:spiffe://td/sa/y"),
    ("URI", {"contains": "/ns/a/"}, "URI:spiffe://td/ns/a/sa/x", "URI:spiffe://td/ns/b/sa/x"),
    ("URI", {"safe_regex": {"regex": "spiffe://td/ns/[ab]/sa/.*"}}, "URI:spiffe://td/ns/a/sa/x", "URI:xspiffe://td/ns/a/sa/x"),
    ("DNS", {"exact": "a.test"}, "DNS:a.test", "DNS:b.test"),
    ("DNS", {"exact": "a.b.test"}, "DNS:*.b.test", "DNS:*.test"),
    ("EMAIL", {"exact": "a@b.test"}, "EMAIL:a@b.test", "DNS:b.test"),
    ("IP_ADDRESS", {"exact": "10.0.0.1"}, "IP:10.0.0.1", "IP:10.0.0.2"),
]


@pytest.mark.parametrize("kind, matcher, good, bad", SAN_CASES, ids=[f"{c[0]}-{list(c[1])[0]}-{i}" for i, c in enumerate(SAN_CASES)])
def test_subject_alt_names__each_kind(start_tls, ca, kind, matcher, good, bad):
    proxy = start_tls(ca=ca, validation={"match_typed_subject_alt_names": [{"san_type": kind, "matcher": matcher}]})
    assert get(proxy, ca.client_context(ca.issue("good", sans=[good]))).body == b"ok"
    assert refused(proxy, ca.client_context(ca.issue("bad", sans=[bad])))
    proxy.wait_stat(SSL + "fail_verify_san", 1)


def test_client_certificate_not_required__none_is_fine_a_bad_one_is_not(start_tls, ca, tmp_path):
    proxy = start_tls(ca=ca, require_client_certificate=False)
    assert get(proxy, ca.client_context()).body == b"ok"
    proxy.wait_stat(SSL + "no_certificate", 1)
    assert get(proxy, ca.client_context(ca.issue("good"))).body == b"ok"
    assert refused(proxy, ca.client_context(strange_ca(tmp_path, ca)))
    proxy.wait_stat(SSL + "fail_verify_error", 1)


# ---- certificates that change (Envoy watches files for SDS only) ----

def serial_of(proxy, context, **how):
    with connect(proxy.address("tls"), context, how.get("server_name", "server.test")) as stream:
        return x509.load_der_x509_certificate(stream.sock.getpeercert(binary_form=True)).serial_number


def assert_serves(stream):
    stream.send(request_bytes())
    assert read_response(stream).body == b"ok"


@pytest.mark.weft_only
def test_reload__files_replaced_by_rename__no_connection_dropped(start_tls, ca, leaf):
    proxy = start_tls()
    context = ca.client_context()
    with connect(proxy.address("tls"), context, "server.test") as old:
        assert_serves(old)
        for _ in range(3):
            renewed = ca.issue("server", sans=["DNS:server.test"])  # the same files
            assert renewed.cert == leaf.cert
            wait_until(lambda: serial_of(proxy, context) == renewed.certificate.serial_number, "the renewed certificate")
            assert_serves(old)
    assert proxy.stat(SSL + "connection_error") == 0


@pytest.mark.weft_only
def test_reload__half_written__old_one_serves_on(start_tls, ca, leaf):
    proxy = start_tls()
    context = ca.client_context()
    serial = leaf.certificate.serial_number
    with open(leaf.cert + ".new", "wb") as out:
        out.write(b"-----BEGIN CERTIFICATE-----\nrubbish")
    os.replace(leaf.cert + ".new", leaf.cert)
    wait_until(lambda: leaf.cert in proxy.stderr(), "the fault in the log")
    assert serial_of(proxy, context) == serial
    renewed = ca.issue("server", sans=["DNS:server.test"])
    wait_until(lambda: serial_of(proxy, context) == renewed.certificate.serial_number, "the renewed certificate")


class Mounted:
    """A Secret as Kubernetes mounts it: files are links through ..data, which is swapped."""

    def __init__(self, directory):
        self.directory, self.count = str(directory), 0
        os.makedirs(self.directory)
        self.cert, self.key = (os.path.join(self.directory, name) for name in ("tls.crt", "tls.key"))
        os.symlink("..data/tls.crt", self.cert)
        os.symlink("..data/tls.key", self.key)

    def put(self, leaf):
        self.count += 1
        version = f"..version{self.count}"
        path = os.path.join(self.directory, version)
        os.makedirs(path)
        shutil.copy(leaf.cert, os.path.join(path, "tls.crt"))
        shutil.copy(leaf.key, os.path.join(path, "tls.key"))
        link = os.path.join(self.directory, "..data")
        os.symlink(version, link + "_tmp")
        os.replace(link + "_tmp", link)
        if self.count > 1:
            shutil.rmtree(os.path.join(self.directory, f"..version{self.count - 1}"))


@pytest.mark.weft_only
def test_reload__kubernetes_secret_swapped__no_connection_dropped(start_tls, ca, leaf, tmp_path):
    mounted = Mounted(tmp_path / "secret")
    mounted.put(leaf)
    proxy = start_tls(config.server_tls(mounted))
    context = ca.client_context()
    with connect(proxy.address("tls"), context, "server.test") as old:
        assert_serves(old)
        for i in range(3):
            renewed = ca.issue(f"server{i}", sans=["DNS:server.test"])
            mounted.put(renewed)
            wait_until(lambda: serial_of(proxy, context) == renewed.certificate.serial_number, "the swapped certificate")
            assert_serves(old)


@pytest.mark.weft_only
def test_reload__trusted_ca_replaced__new_clients_judged_by_it(start_tls, ca, tmp_path):
    other = CA(tmp_path / "other", "other CA")
    bundle = tmp_path / "bundle.pem"
    shutil.copy(ca.cert, bundle)
    proxy = start_tls(validation={"trusted_ca": {"filename": str(bundle)}}, require_client_certificate=True)
    client = other.issue("client")
    context = ca.client_context(client)
    assert refused(proxy, context)
    shutil.copy(other.cert, tmp_path / "bundle.new")
    os.replace(tmp_path / "bundle.new", bundle)
    wait_until(lambda: not refused(proxy, ca.client_context(client)), "the new CA to be trusted")
    assert refused(proxy, ca.client_context(ca.issue("old")))


def inline(path):
    with open(path, encoding="ascii") as text:
        return {"inline_string": text.read()}


def test_static_secrets__certificate_and_trust_by_name(start_proxy, ca, leaf):
    tls = {"require_client_certificate": True, "common_tls_context": {
        "tls_certificate_sds_secret_configs": [{"name": "mine"}],
        "validation_context_sds_secret_config": {"name": "trust"}}}
    boot = config.bootstrap([listener(tls)])
    boot["static_resources"]["secrets"] = [
        {"name": "mine", "tls_certificate": {"certificate_chain": inline(leaf.cert), "private_key": inline(leaf.key)}},
        {"name": "trust", "validation_context": {"trusted_ca": inline(ca.cert)}}]
    proxy = start_proxy(boot)
    assert get(proxy, ca.client_context(ca.issue("client"))).body == b"ok"
    assert refused(proxy, ca.client_context())
    dump = proxy.admin("/config_dump").body
    assert b"PRIVATE KEY" not in dump and base64.b64encode(b"-----BEGIN PRIV")[:-4] not in dump


def test_combined_validation_context__default_and_secret_both_hold(start_proxy, ca, leaf):
    tls = {"require_client_certificate": True, "common_tls_context": {
        **config.certificates(leaf), "combined_validation_context": {
            "default_validation_context": GOOD_URI, "validation_context_sds_secret_config": {"name": "trust"}}}}
    boot = config.bootstrap([listener(tls)])
    boot["static_resources"]["secrets"] = [{"name": "trust", "validation_context": {"trusted_ca": inline(ca.cert)}}]
    proxy = start_proxy(boot)
    assert get(proxy, ca.client_context(ca.issue("good", sans=["URI:spiffe://td/ns/a/sa/good"]))).body == b"ok"
    assert refused(proxy, ca.client_context(ca.issue("bad", sans=["URI:spiffe://td/ns/a/sa/bad"])))
    proxy.wait_stat(SSL + "fail_verify_san", 1)


# ---- several certificates, versions, ciphers, curves ----

@pytest.mark.parametrize("algorithms, kind", [("ECDHE-ECDSA-AES128-GCM-SHA256", "ec"), ("ECDHE-RSA-AES128-GCM-SHA256", "rsa")])
def test_several_certificates__by_the_clients_algorithms(start_tls, ca, algorithms, kind):
    leaves = {key: ca.issue(f"s-{key}", sans=["DNS:server.test"], key=key) for key in ("rsa", "ec")}
    proxy = start_tls(config.server_tls(*leaves.values()))
    context = at_version(ca.client_context(), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(algorithms)
    assert serial_of(proxy, context) == leaves[kind].certificate.serial_number
    proxy.wait_stat(SSL + "ciphers." + algorithms, 1)


def test_several_certificates__by_server_name(start_tls, ca):
    a, b = ca.issue("a", sans=["DNS:a.test"]), ca.issue("b", sans=["DNS:*.b.test"])
    proxy = start_tls(config.server_tls(a, b))
    for name, expected in (("a.test", a), ("x.b.test", b), ("unknown.test", a)):
        assert serial_of(proxy, ca.client_context(), server_name=name) == expected.certificate.serial_number


@pytest.mark.parametrize("limit, version, is_let_in", [
    ({"tls_minimum_protocol_version": "TLSv1_3"}, ssl.TLSVersion.TLSv1_2, False),
    ({"tls_minimum_protocol_version": "TLSv1_3"}, ssl.TLSVersion.TLSv1_3, True),
    ({"tls_maximum_protocol_version": "TLSv1_2"}, ssl.TLSVersion.TLSv1_3, False),
    ({"tls_maximum_protocol_version": "TLSv1_2"}, ssl.TLSVersion.TLSv1_2, True),
], ids=["min-below", "min", "max-above", "max"])
def test_versions__held(start_tls, ca, leaf, limit, version, is_let_in):
    tls = config.server_tls(leaf)
    tls["common_tls_context"]["tls_params"] = limit
    proxy = start_tls(tls)
    assert refused(proxy, at_version(ca.client_context(), version)) != is_let_in
    proxy.wait_stat(SSL + ("handshake" if is_let_in else "connection_error"), 1)


def test_cipher_suites__only_those_configured(start_tls, ca, leaf):
    tls = config.server_tls(leaf)
    tls["common_tls_context"]["tls_params"] = {"cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384"],
                                               "ecdh_curves": ["P-384"], "tls_maximum_protocol_version": "TLSv1_2"}
    proxy = start_tls(tls)
    context = at_version(ca.client_context(), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert refused(proxy, context)
    assert get(proxy, at_version(ca.client_context(), ssl.TLSVersion.TLSv1_2)).body == b"ok"
    stats = proxy.stats("ssl")
    assert stats[SSL + "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384"] == 1 and stats[SSL + "curves.P-384"] == 1


def test_alpn__the_listeners_order_decides(start_tls, ca):
    proxy = start_tls(alpn=["h2", "http/1.1"])
    for offered, chosen in ((["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), (["other"], None)):
        with connect(proxy.address("tls"), ca.client_context(alpn=offered), "server.test") as stream:
            assert stream.sock.selected_alpn_protocol() == chosen


def staple(ca, leaf, days=5):
    now = leaf.certificate.not_valid_before_utc
    return ocsp.OCSPResponseBuilder().add_response(
        leaf.certificate, ca.certificate, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, now, now + DAY * days, None, None
    ).responder_id(ocsp.OCSPResponderEncoding.HASH, ca.certificate).sign(ca.key, hashes.SHA256()).public_bytes(
        serialization.Encoding.DER)


def test_ocsp_staple__sent_to_who_asks(start_tls, ca, leaf, tmp_path, openssl_client):
    path = tmp_path / "staple.der"
    path.write_bytes(staple(ca, leaf))
    tls = config.server_tls(leaf)
    tls["common_tls_context"]["tls_certificates"][0]["ocsp_staple"] = {"filename": str(path)}
    proxy = start_tls(tls)
    output = openssl_client(proxy.address("tls"), "-status", "-CAfile", ca.cert)
    assert "OCSP Response Status: successful" in output and "Cert Status: good" in output
    proxy.wait_stat(SSL + "ocsp_staple_responses", 1)
    assert proxy.stat(SSL + "ocsp_staple_requests") == 1


def test_ocsp_staple__none_and_who_does_not_ask(start_tls, ca, openssl_client):
    proxy = start_tls()
    assert "no response sent" in openssl_client(proxy.address("tls"), "-status", "-CAfile", ca.cert)
    proxy.wait_stat(SSL + "ocsp_staple_omitted", 1)
    assert get(proxy, ca.client_context()).body == b"ok"
    assert proxy.stat(SSL + "ocsp_staple_requests") == 1


@pytest.fixture
def openssl_client():
    if not shutil.which("openssl"):
        pytest.skip("no openssl command")

    def run(address, *args):
        done = subprocess.run(["openssl", "s_client", "-connect", "%s:%d" % address, "-servername", "server.test", *args],
                              input="", capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr
    return run


# ---- resumption ----

def resume_twice(proxy, context):
    """Whether a second connection resumed the first one's session."""
    with connect(proxy.address("tls"), context, "server.test") as first:
        assert_serves(first)
        session = first.sock.session
    with connect(proxy.address("tls"), context, "server.test", session=session) as second:
        assert_serves(second)
        return second.sock.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("fields, resumes", [
    ({}, True),
    ({"disable_stateless_session_resumption": True}, True),
    ({"disable_stateless_session_resumption": True, "disable_stateful_session_resumption": True}, False),
], ids=["tickets", "ids", "none"])
def test_resumption__downstream(start_tls, ca, version, fields, resumes):
    proxy = start_tls(**fields)
    assert resume_twice(proxy, at_version(ca.client_context(), version)) == resumes
    assert proxy.stat(SSL + "session_reused") == int(resumes)


def test_resumption__client_certificate_still_known(start_tls, ca):
    proxy = start_tls(ca=ca)
    assert resume_twice(proxy, ca.client_context(ca.issue("client")))
    assert proxy.stat(SSL + "no_certificate") == 0


def to_tls_origin(port, tls, options=None, **fields):
    """A clear listener in front of a TLS cluster."""
    return config.bootstrap([config.http_listener(**fields)],
                            [config.cluster("origin", port, tls=tls, http_options=options)])


@pytest.fixture
def origin_leaf(ca):
    return ca.issue("origin", sans=["DNS:origin.test", "URI:spiffe://td/origin"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("keys, reused", [(None, 2), (0, 0)])
def test_resumption__upstream_cache(start_proxy, make_origin, ca, origin_leaf, version, keys, reused):
    origin = make_origin(tls=at_version(ca.server_context(origin_leaf), version),
                         default=http1.response_bytes(200, [("Connection", "close")], b"hello"))
    tls = config.client_tls(ca, **({} if keys is None else {"max_session_keys": keys}))
    tls["common_tls_context"]["tls_params"] = {"tls_maximum_protocol_version": "TLSv1_3"}
    proxy = start_proxy(to_tls_origin(origin.port, tls))
    for _ in range(3):
        assert http1.fetch(proxy.address()).body == b"hello"
    assert proxy.stat("cluster.origin.ssl.handshake") == 3
    assert proxy.stat("cluster.origin.ssl.session_reused") == reused


# ---- towards upstreams ----

def noting_names(context):
    context.names = []
    context.sni_callback = lambda sock, name, ctx: context.names.append(name)
    return context


def test_sni__configured_and_auto(start_proxy, make_origin, ca, origin_leaf):
    context = noting_names(ca.server_context(origin_leaf))
    origin = make_origin(tls=context)
    fixed = start_proxy(to_tls_origin(origin.port, config.client_tls(ca, sni="fixed.test")))
    auto = start_proxy(to_tls_origin(origin.port, config.client_tls(ca), {"upstream_http_protocol_options": {"auto_sni": True}}))
    none = start_proxy(to_tls_origin(origin.port, config.client_tls(ca)))
    assert http1.fetch(fixed.address()).status == 200
    assert http1.fetch(auto.address(), host="Origin.test:8080").status == 200
    assert http1.fetch(auto.address(), host="127.0.0.1").status == 200
    assert http1.fetch(none.address()).status == 200
    assert [name and name.lower() for name in context.names] == ["fixed.test", "origin.test", None, None]


def test_auto_san_validation__an_address_must_be_in_it_too(start_proxy, make_origin, ca):
    origin = make_origin(tls=ca.server_context(ca.issue("ip", sans=["IP:10.0.0.1"])))
    proxy = start_proxy(to_tls_origin(origin.port, config.client_tls(ca), {
        "upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}))
    assert http1.fetch(proxy.address(), host="10.0.0.1:80").status == 200
    assert http1.fetch(proxy.address(), host="10.0.0.2:80").status == 503


def test_auto_san_validation__the_host_must_be_in_the_certificate(start_proxy, make_origin, ca, origin_leaf):
    origin = make_origin(tls=ca.server_context(origin_leaf))
    proxy = start_proxy(to_tls_origin(origin.port, config.client_tls(ca), {
        "upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}))
    assert http1.fetch(proxy.address(), host="origin.test").status == 200
    assert http1.fetch(proxy.address(), host="evil.test").status == 503
    proxy.wait_stat("cluster.origin.ssl.fail_verify_san", 1)
    assert http1.fetch(proxy.address(), host="origin.test").status == 200


@pytest.mark.weft_only
def test_auto_sni__names_that_clients_choose_are_not_kept(start_proxy, make_origin):
    """A pool a name, gone with its last connection: or any client could fill the proxy with names."""
    origin = make_origin(default=http1.response_bytes(200, [("Connection", "close")], b"hello"))
    proxy = start_proxy(config.bootstrap([config.http_listener()], [config.cluster(
        "origin", origin.port, http_options={"upstream_http_protocol_options": {"auto_sni": True}})]),
        env={"ASAN_OPTIONS": "quarantine_size_mb=1"})
    with connect(proxy.address()) as stream:
        before = None
        for i in range(1100):
            stream.send(request_bytes(host=f"{i}." + "a" * 16000))
            assert read_response(stream).status == 200
            if i == 100:
                before = proxy.memory_kib()
    assert proxy.memory_kib() - before < 8 << 10


def test_upstream__strange_or_misnamed_origin_refused(start_proxy, make_origin, ca, origin_leaf, tmp_path):
    stranger = CA(tmp_path / "strange", "strange CA")
    strange = make_origin(tls=stranger.server_context(stranger.issue("o", sans=["DNS:origin.test"])))
    good = make_origin(tls=ca.server_context(origin_leaf))
    names = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": "spiffe://td/other"}}]}
    proxy = start_proxy(config.bootstrap(
        [config.http_listener(routes=[config.route("strange", "/strange"), config.route("misnamed")])],
        [config.cluster("strange", strange.port, tls=config.client_tls(ca)),
         config.cluster("misnamed", good.port, tls=config.client_tls(ca, validation=names))]))
    assert http1.fetch(proxy.address(), target="/strange").status == 503
    assert http1.fetch(proxy.address(), target="/misnamed").status == 503
    proxy.wait_stat("cluster.strange.ssl.fail_verify_error", 1)
    proxy.wait_stat("cluster.misnamed.ssl.fail_verify_san", 1)
    assert not strange.requests and not good.requests


def test_upstream__client_certificate_shown(start_proxy, make_origin, ca, origin_leaf):
    origin = make_origin(tls=ca.server_context(origin_leaf, require_client=True))
    mine = ca.issue("mine", sans=["URI:spiffe://td/mine"])
    with_it = start_proxy(to_tls_origin(origin.port, config.client_tls(ca, mine)))
    without = start_proxy(to_tls_origin(origin.port, config.client_tls(ca)))
    assert http1.fetch(with_it.address()).status == 200
    assert http1.fetch(without.address()).status == 503


# ---- x-forwarded-client-cert ----

SUBJECT = 'Subject="CN=client,O=weft test"'
ALL_DETAILS = {"subject": True, "cert": True, "chain": True, "dns": True, "uri": True}


def xfcc_of(start_proxy, origin, ca, mode, client, sent=None, details=None):
    server = ca.issue("server", sans=["URI:spiffe://td/server"])
    fields = {"forward_client_cert_details": mode}
    if details:
        fields["set_current_client_cert_details"] = details
    tls = config.server_tls(server, ca=ca, require_client_certificate=False)
    proxy = start_proxy(config.bootstrap([listener(tls, [config.route()], **fields)], [config.cluster("origin", origin.port)]))
    headers = [("x-forwarded-client-cert", sent)] if sent else []
    assert get(proxy, ca.client_context(client), headers=headers).status == 200
    return origin.last().get("x-forwarded-client-cert")


@pytest.mark.parametrize("mode, sent, expected", [
    ("SANITIZE", "Hash=old", None),
    ("FORWARD_ONLY", "Hash=old", "Hash=old"),
    ("FORWARD_ONLY", None, None),
    ("APPEND_FORWARD", "Hash=old", "Hash=old,{own}"),
    ("APPEND_FORWARD", None, "{own}"),
    ("SANITIZE_SET", "Hash=old", "{own}"),
    ("ALWAYS_FORWARD_ONLY", "Hash=old", "Hash=old"),
])
def test_xfcc__modes(start_proxy, origin, ca, mode, sent, expected):
    client = ca.issue("client", sans=["URI:spiffe://td/client", "DNS:client.test"])
    own = f"By=spiffe://td/server;Hash={fingerprint(client)};URI=spiffe://td/client"
    found = xfcc_of(start_proxy, origin, ca, mode, client, sent, {"uri": True})
    assert found == (expected and expected.format(own=own))


@pytest.mark.parametrize("mode, expected", [("FORWARD_ONLY", None), ("APPEND_FORWARD", None), ("SANITIZE_SET", None),
                                            ("ALWAYS_FORWARD_ONLY", "Hash=old")])
def test_xfcc__without_a_client_certificate(start_proxy, origin, ca, mode, expected):
    assert xfcc_of(start_proxy, origin, ca, mode, None, "Hash=old", {"uri": True}) == expected


def test_xfcc__every_detail_in_order(start_proxy, origin, ca):
    client = ca.issue("client", sans=["URI:spiffe://td/client", "URI:spiffe://td/second", "DNS:a.test", "DNS:b.test"])
    pem = urllib.parse.quote(client.pem, safe="")
    with open(ca.cert, encoding="ascii") as text:  # OpenSSL's clients send what leads to the CA
        chain = pem + urllib.parse.quote(text.read(), safe="")
    found = xfcc_of(start_proxy, origin, ca, "SANITIZE_SET", client, details=ALL_DETAILS)
    assert found == (f'By=spiffe://td/server;Hash={fingerprint(client)};Cert="{pem}";Chain="{chain}";{SUBJECT};'
                     "URI=spiffe://td/client;URI=spiffe://td/second;DNS=a.test;DNS=b.test")


def test_xfcc__no_names__empty_uri(start_proxy, origin, ca):
    client = ca.issue("client")
    found = xfcc_of(start_proxy, origin, ca, "SANITIZE_SET", client, details={"uri": True, "dns": True, "subject": True})
    assert found == f"By=spiffe://td/server;Hash={fingerprint(client)};{SUBJECT};URI="
