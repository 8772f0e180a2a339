# SPDX-License-Identifier: Apache-2.0
"""The workload's certificate: asked of a real gRPC CA, renewed at half of its life, kept through whatever the CA does."""
import base64
import json
import os
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from lib.ca import CA
from lib.mesh_ca import MeshCA, pem
from lib.sidecar import Sidecar, pod, write
from lib.wait import wait_until

pytestmark = pytest.mark.weft_only

SOON = {"SECRET_GRACE_PERIOD_RATIO": "0.9"}  # a tenth of the life has gone: tests wait less, and slow machines miss nothing
IDENTITY = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage"


@pytest.fixture
def make_ca(started, ca):
    def make(**options):
        made = MeshCA(ca, name=options.pop("name", "localhost"), **options)
        return started.add(made, made.close)
    return make


@pytest.fixture
def start(started, tmp_path, ca):
    """start(mesh_ca, **environment) -> Sidecar, its certificates written to certs/."""
    def start(mesh_ca, override=None, root=None, **env):
        os.makedirs(tmp_path / "certs", exist_ok=True)
        env = {"OUTPUT_CERTS": "./certs", **env}
        known = pod(tmp_path, root_pem=root or pem(ca.certificate), **env)
        if mesh_ca:
            known.setdefault("CA_ADDR", f"localhost:{mesh_ca.port}")
        made = Sidecar(tmp_path, known, override=override)
        return started.add(made, made.stop)
    return start


def certificate(sidecar, name="cert-chain.pem"):
    with open(os.path.join(sidecar.directory, "certs", name), "rb") as text:
        return x509.load_pem_x509_certificate(text.read())


def private_key(sidecar):
    with open(os.path.join(sidecar.directory, "certs", "key.pem"), "rb") as text:
        raw = text.read()
    return raw, serialization.load_pem_private_key(raw, None)


def serial(sidecar):
    return certificate(sidecar).serial_number


def test_certificate__from_the_ca__in_force(start, make_ca):
    mesh_ca = make_ca()
    sidecar = start(mesh_ca, ISTIO_META_CLUSTER_ID="east", CA_HEADER_X_PROJECT="p1", SECRET_TTL="2h", ISTIO_META_CERT_SIGNER="signers/a")
    sidecar.wait_stat("agent.ca.issued", 1)
    request, metadata = mesh_ca.calls[0]
    csr = x509.load_pem_x509_csr(request.csr.encode())
    san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert san.critical and san.value.get_values_for_type(x509.UniformResourceIdentifier) == [IDENTITY]
    assert len(csr.subject) == 0
    assert isinstance(csr.public_key(), ec.EllipticCurvePublicKey) and csr.public_key().curve.name == "secp256r1"
    assert request.validity_duration == 7200
    assert dict(request.metadata) == {"CertSigner": "signers/a"}
    assert metadata["authorization"] == "Bearer a.token.here"
    assert metadata["clusterid"] == "east" and metadata["x-project"] == "p1"
    assert certificate(sidecar) == mesh_ca.issued[0]
    raw, key = private_key(sidecar)
    assert key.public_key() == csr.public_key()
    assert os.stat(os.path.join(sidecar.directory, "certs", "key.pem")).st_mode & 0o777 == 0o600
    assert sidecar.stat("agent.ca.not_after_s") == int(mesh_ca.issued[0].not_valid_after_utc.timestamp())


@pytest.mark.parametrize("env, kind, size, head", [
    ({"WORKLOAD_RSA_KEY_SIZE": "2048"}, rsa.RSAPublicKey, 2048, b"-----BEGIN RSA PRIVATE KEY-----"),
    ({"ECC_SIGNATURE_ALGORITHM": "ECDSA", "ECC_CURVE": "P384"}, ec.EllipticCurvePublicKey, 384, b"-----BEGIN EC PRIVATE KEY-----"),
    ({"PKCS8_KEY": "true"}, ec.EllipticCurvePublicKey, 256, b"-----BEGIN PRIVATE KEY-----"),
], ids=["rsa", "p384", "pkcs8"])
def test_key__as_the_environment_says(start, make_ca, env, kind, size, head):
    mesh_ca = make_ca()
    sidecar = start(mesh_ca, **env)
    sidecar.wait_stat("agent.ca.issued", 1)
    assert isinstance(mesh_ca.issued[0].public_key(), kind) and mesh_ca.issued[0].public_key().key_size == size
    assert private_key(sidecar)[0].startswith(head)


def test_key__nowhere_but_where_it_was_asked_for(start, make_ca):
    """Neither in a dump nor in the log; without OUTPUT_CERTS not on disk either."""
    mesh_ca = make_ca()
    sidecar = start(mesh_ca, OUTPUT_CERTS="")
    sidecar.wait_stat("agent.ca.issued", 1)
    pages = [sidecar.admin(p).body for p in ("/config_dump", "/certs", "/stats", "/clusters", "/server_info", "/listeners")]
    pages.append(sidecar.stderr().encode())
    for page in pages:
        assert b"PRIVATE KEY" not in page and b"a.token.here" not in page
    assert not os.listdir(os.path.join(sidecar.directory, "certs"))


def test_rotation__before_the_end__new_key_each_time(start, make_ca):
    mesh_ca = make_ca(life_s=10)
    sidecar = start(mesh_ca, **SOON)
    sidecar.wait_stat("agent.ca.issued", 3, exactly=False)
    assert len({c.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
                for c in mesh_ca.issued}) == len(mesh_ca.issued)
    for old, new in zip(mesh_ca.issued, mesh_ca.issued[1:]):
        left = (old.not_valid_after_utc - new.not_valid_before_utc).total_seconds() - 2
        assert 4 <= left <= 9.5, "renewed when about nine tenths of its life were left"
    assert sidecar.stat("agent.ca.failed") == 0


def test_token__renewed_in_its_file__shown_at_the_next_call(start, make_ca):
    mesh_ca = make_ca(life_s=10)
    sidecar = start(mesh_ca, **SOON)
    sidecar.wait_stat("agent.ca.issued", 1, exactly=False)
    write(sidecar.directory, "var/run/secrets/tokens/istio-token", "another.one")
    wait_until(lambda: mesh_ca.calls[-1][1]["authorization"] == "Bearer another.one", "the new token at the CA")


def test_token__expired__shown_and_said(start, make_ca):
    def part(fields):
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")
    token = f'{part({"alg": "RS256"})}.{part({"exp": int(time.time()) - 100, "iss": "kubernetes/serviceaccount"})}.c2ln'
    mesh_ca = make_ca()
    mesh_ca.answer = refuse(grpc.StatusCode.UNAUTHENTICATED)
    sidecar = start(mesh_ca, token=token)
    mesh_ca.wait_calls(1)
    assert mesh_ca.calls[0][1]["authorization"] == "Bearer " + token
    wait_until(lambda: "istio-token expired 1" in sidecar.stderr(), "the reason in the log")
    assert token not in sidecar.stderr()


def test_token__isnt_there__asked_without(start, make_ca):
    mesh_ca = make_ca()
    sidecar = start(mesh_ca, token=None)
    sidecar.wait_stat("agent.ca.issued", 1)
    assert "authorization" not in mesh_ca.calls[0][1]
    assert "there is no token" in sidecar.stderr()


def refuse(code):
    def answer(_, context):
        context.abort(code, "not you")
    return answer


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INVALID_ARGUMENT])
def test_ca_refuses__said_and_tried_again(start, make_ca, code):
    mesh_ca = make_ca()
    mesh_ca.answer = refuse(code)
    sidecar = start(mesh_ca)
    mesh_ca.wait_calls(3)
    assert "not you" in sidecar.stderr()
    mesh_ca.answer = None
    sidecar.wait_stat("agent.ca.issued", 1)
    assert sidecar.stat("agent.ca.failed") >= 2


def garbage(mesh_ca, tmp_path):
    """Answers that must not be taken, by name."""
    stranger = CA(tmp_path / "stranger", name="stranger")
    root = pem(mesh_ca.ca.certificate)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {
        "bytes": lambda r, c: b"\xff\xfe no message",
        "nothing": lambda r, c: [],
        "no_root": lambda r, c: [pem(mesh_ca.sign(r))],
        "text": lambda r, c: ["hello", "world"],
        "cut_short": lambda r, c: [pem(mesh_ca.sign(r))[:400], root],
        "anothers_key": lambda r, c: [pem(mesh_ca.sign(r, public_key=other)), root],
        "another_root": lambda r, c: [pem(mesh_ca.sign(r, ca=stranger)), root],
        "ended": lambda r, c: [pem(mesh_ca.sign(r, life_s=-10, backdate_s=100)), root],
        "not_yet": lambda r, c: [pem(mesh_ca.sign(r, backdate_s=-1000, life_s=5000)), root],
        "huge": lambda r, c: ["x" * (2 << 20), root],
    }


@pytest.mark.parametrize("name", ["bytes", "nothing", "no_root", "text", "cut_short", "anothers_key", "another_root", "ended", "not_yet",
                                  "huge"])
def test_ca_answers_garbage__not_taken_last_good_stays(start, make_ca, tmp_path, name):
    mesh_ca = make_ca(life_s=10)
    sidecar = start(mesh_ca, **SOON)
    sidecar.wait_stat("agent.ca.issued", 1)
    good = serial(sidecar)
    mesh_ca.answer = garbage(mesh_ca, tmp_path)[name]
    calls = len(mesh_ca.calls)
    mesh_ca.wait_calls(calls + 2)
    assert serial(sidecar) == good
    assert sidecar.stat("agent.ca.issued") == 1
    assert sidecar.stat("agent.ca.rejected") + sidecar.stat("agent.ca.failed") >= 1
    mesh_ca.answer = None
    sidecar.wait_stat("agent.ca.issued", 2, exactly=False)


def test_ca_hangs__given_up_and_asked_again(start, make_ca):
    mesh_ca = make_ca(life_s=10)
    sidecar = start(mesh_ca, **SOON)
    sidecar.wait_stat("agent.ca.issued", 1)
    mesh_ca.hold()
    sidecar.wait_stat("agent.ca.failed", 1, exactly=False)
    assert sidecar.stat("agent.ca.issued") == 1
    mesh_ca.release()
    sidecar.wait_stat("agent.ca.issued", 2, exactly=False)


@pytest.mark.parametrize("wrong", ["root", "name"])
def test_ca_is_not_the_meshs__no_token_for_it(start, make_ca, tmp_path, wrong):
    """The handshake fails, and nothing was shown."""
    stranger = CA(tmp_path / "stranger", name="stranger")
    mesh_ca = make_ca(server_leaf=stranger.issue("istiod", ["DNS:localhost"])) if wrong == "root" else make_ca(name="elsewhere.svc")
    sidecar = start(mesh_ca)
    sidecar.wait_stat("agent.ca.failed", 2, exactly=False)
    assert not mesh_ca.calls


def test_root_rotation__both_trusted_counted(start, make_ca, tmp_path):
    mesh_ca = make_ca(life_s=10)
    sidecar = start(mesh_ca, **SOON)
    sidecar.wait_stat("agent.ca.issued", 1)
    new = CA(tmp_path / "new", name="new")
    mesh_ca.roots = pem(mesh_ca.ca.certificate) + pem(new.certificate)
    sidecar.wait_stat("agent.ca.root_changes", 1)

    def roots():
        with open(os.path.join(sidecar.directory, "certs", "root-cert.pem"), encoding="ascii") as text:
            return text.read().count("BEGIN CERTIFICATE")
    wait_until(lambda: roots() == 2, "both roots")


def test_mounted_files__taken_watched_mismatch_refused(start, tmp_path, ca):
    first, second = (ca.issue(name, [f"URI:{IDENTITY}"]) for name in ("first", "second"))
    mounted = tmp_path / "etc" / "certs"
    os.makedirs(mounted)

    def mount(name, source):
        with open(source, encoding="ascii") as text:
            write(mounted, name, text.read())
    mount("cert-chain.pem", first.cert), mount("key.pem", first.key), mount("root-cert.pem", ca.cert)
    sidecar = start(None, FILE_MOUNTED_CERTS="true")
    sidecar.wait_stat("agent.files.taken", 2, exactly=False)
    mount("key.pem", second.key)
    sidecar.wait_stat("agent.files.refused", 1)
    taken = sidecar.stat("agent.files.taken")
    mount("cert-chain.pem", second.cert)
    sidecar.wait_stat("agent.files.taken", taken + 1)
    assert "the key is not the certificate's" in sidecar.stderr()


def test_ca_by_plain_port__no_tls(start, make_ca):
    """controlPlaneAuthPolicy says nothing of the CA; only port 15010 is plain, so this one is spoken TLS to and refused."""
    mesh_ca = make_ca(tls=False)
    sidecar = start(mesh_ca)
    sidecar.wait_stat("agent.ca.failed", 2, exactly=False)
    assert not mesh_ca.calls
