# SPDX-License-Identifier: Apache-2.0
"""Peers of several SPIFFE trust domains, and TLS parameters by policy; as Envoy decides them."""
import ssl

import pytest

from lib import config, http1
from lib.ca import CA
from lib.pairs import Two

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
