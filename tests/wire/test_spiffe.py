# SPDX-License-Identifier: Apache-2.0
"""Peers of several SPIFFE trust domains, and TLS parameters by policy; as Envoy decides them."""
import base64
import json
import os
import ssl

import pytest

from lib import config, http1
from lib.ca import CA
from lib.pairs import Two
from lib.proxy import envoy, run_to_end, weft
from lib.wait import wait_until

OK = [{"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}]
SPIFFE = config.TYPE + "extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


@pytest.fixture
def start_two(start_proxy, ca):
    def start(validation=None, **common):
        tls = config.server_tls(ca.issue("server"), validation=validation, **common)
        if validation:
            tls["require_client_certificate"] = True
        return Two(start_proxy, config.bootstrap([config.listener("tls", config.hcm(routes=OK), tls=tls, stat_prefix="tls")]))
    return start


def verdict(context):
    def ask(proxy):
        try:
            return http1.fetch(proxy.address("tls"), "GET", "/", tls=context, server_name="server.test").body
        except (OSError, EOFError):
            return b"refused"
    return ask


def domains(**cas):
    return {"custom_validator_config": {"name": "envoy.tls.cert_validator.spiffe", "typed_config": {
        "@type": SPIFFE, "trust_domains": [{"name": name.replace("_", "."), "trust_bundle": {"filename": ca.cert}}
                                           for name, ca in cas.items()]}}}


PEERS = {
    "own-domain": (lambda a, b: a.issue("c", sans=["URI:spiffe://a.test/w"], svid=True), b"ok"),
    "other-domain": (lambda a, b: b.issue("c", sans=["URI:spiffe://b.test/w"], svid=True), b"ok"),
    "domain-of-another-ca": (lambda a, b: b.issue("c", sans=["URI:spiffe://a.test/w"], svid=True), b"refused"),
    "domain-not-known": (lambda a, b: a.issue("c", sans=["URI:spiffe://c.test/w"], svid=True), b"refused"),
    "no-uri": (lambda a, b: a.issue("c", sans=["DNS:a.test"], svid=True), b"refused"),
    "other-scheme": (lambda a, b: a.issue("c", sans=["URI:https://a.test/w"], svid=True), b"refused"),
    "not-said-to-be-a-leaf": (lambda a, b: a.issue("c", sans=["URI:spiffe://a.test/w"]), b"refused"),
    "expired": (lambda a, b: a.issue("c", sans=["URI:spiffe://a.test/w"], days=-1, svid=True), b"refused"),
}


@pytest.mark.parametrize("who", PEERS)
def test_trust_domains__each_by_its_own_roots(start_two, ca, tmp_path, who):
    other = CA(tmp_path / "other", "other CA")
    make, expected = PEERS[who]
    two = start_two(domains(a_test=ca, b_test=other))
    assert two.same(verdict(ca.client_context(make(ca, other)))) == expected
    two.same_stats(r"listener\.tls\.ssl\.(fail_verify_error|fail_verify_san|handshake)$")


def write_bundles(path, **cas):
    """The bundles of these trust domains, as one file that is replaced whole."""
    der = {name: base64.b64encode(ssl.PEM_cert_to_DER_cert(open(ca.cert).read())).decode() for name, ca in cas.items()}
    with open(str(path) + ".new", "w") as out:
        json.dump({"trust_domains": {name.replace("_", "."): {"spiffe_sequence": 1, "keys": [
            {"kty": "EC", "use": "x509-svid", "x5c": [x5c]}]} for name, x5c in der.items()}}, out)
    os.replace(str(path) + ".new", path)


def bundles(source):
    return {"custom_validator_config": {"name": "envoy.tls.cert_validator.spiffe",
                                        "typed_config": {"@type": SPIFFE, "trust_bundles": source}}}


@pytest.mark.parametrize("who", PEERS)
def test_trust_bundles__each_by_its_own_roots(start_two, ca, tmp_path, who):
    other = CA(tmp_path / "other", "other CA")
    make, expected = PEERS[who]
    write_bundles(tmp_path / "bundles.json", a_test=ca, b_test=other)
    two = start_two(bundles({"filename": str(tmp_path / "bundles.json")}))
    assert two.same(verdict(ca.client_context(make(ca, other)))) == expected
    two.same_stats(r"listener\.tls\.ssl\.(fail_verify_error|fail_verify_san|handshake)$")


def test_trust_bundles__file_changes__new_roots_in_force(start_two, ca, tmp_path):
    other, path = CA(tmp_path / "other", "other CA"), tmp_path / "bundles" / "map.json"
    path.parent.mkdir()
    write_bundles(path, a_test=ca)
    two = start_two(bundles({"filename": str(path), "watched_directory": {"path": str(path.parent)}}))
    old = ca.client_context(ca.issue("c", sans=["URI:spiffe://a.test/w"], svid=True))
    new = ca.client_context(other.issue("d", sans=["URI:spiffe://a.test/w"], svid=True))
    assert two.same(verdict(old)) == b"ok"
    assert two.same(verdict(new)) == b"refused"
    write_bundles(path, a_test=other)
    for proxy in (two.envoy, two.weft):
        wait_until(lambda proxy=proxy: verdict(new)(proxy) == b"ok", "the new roots")
        wait_until(lambda proxy=proxy: verdict(old)(proxy) == b"refused", "the old ones to be gone")
    path.with_suffix(".new").write_text("{")
    os.replace(path.with_suffix(".new"), path)
    assert two.same(verdict(new)) == b"ok"


@pytest.mark.parametrize("text", ["", "{}", "{", '{"trust_domains": {"a.test": {"keys": [{"use": "jwt-svid"}]}}}'])
def test_trust_bundles__broken__refused(ca, tmp_path, text):
    tls = config.server_tls(ca.issue("server"), validation=bundles({"inline_string": text}))
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(config.bootstrap([config.listener("tls", config.hcm(routes=OK), tls=tls)])))
    for binary in (envoy(), weft()):
        if binary:
            code, output = run_to_end(["-c", str(path), "--mode", "validate"], binary=binary)
            assert code != 0, output
    assert "trust_bundles" in output


def test_trust_domains__names_are_matched_too(start_two, ca):
    names = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"prefix": "spiffe://a.test/good"}}]}
    two = start_two({**domains(a_test=ca), **names})
    for path, expected in (("good", b"ok"), ("bad", b"refused")):
        assert two.same(verdict(ca.client_context(ca.issue(path, sans=["URI:spiffe://a.test/" + path], svid=True)))) == expected
    two.same_stats(r"listener\.tls\.ssl\.fail_verify_san$")


def test_trust_domains__expired_allowed(start_two, ca):
    two = start_two({**domains(a_test=ca), "allow_expired_certificate": True})
    assert two.same(verdict(ca.client_context(ca.issue("c", sans=["URI:spiffe://a.test/w"], days=-1, svid=True)))) == b"ok"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_policy__fips_202205__no_other_groups_and_ciphers(start_proxy, ca, version):
    tls = config.server_tls(ca.issue("server"))
    tls["common_tls_context"]["tls_params"] = {"compliance_policies": ["FIPS_202205"], "ecdh_curves": ["X25519"]}
    two = Two(start_proxy, config.bootstrap([config.listener("tls", config.hcm(routes=OK), tls=tls, stat_prefix="tls")]))
    context = ca.client_context()
    context.minimum_version = context.maximum_version = version
    assert two.same(verdict(context)) == b"ok"
    assert two.same(lambda proxy: proxy.stats()["listener.tls.ssl.curves.P-256"]) == 1
    two.same_stats(r"listener\.tls\.ssl\.(ciphers|curves|versions)")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    assert two.same(verdict(context)) == b"refused"
