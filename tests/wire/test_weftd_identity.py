# SPDX-License-Identifier: Apache-2.0
"""weftd's certificate authority and secure port: who gets a certificate, whose it is, and what becomes of it when things die."""
import datetime
import os
import re
import signal

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from lib.ca import CA
from lib.mesh_ca import REQUEST, RESPONSE, SERVICE
from lib.sidecar import Sidecar, pod as pod_env, write
from lib.wait import wait_until
from lib.weftd import Weftd, pod, service, slice_of

pytestmark = pytest.mark.weft_only

TOKENS = {"bookinfo/bookinfo-productpage": "the-token-of-productpage", "bookinfo/reviews": "the-token-of-reviews"}
IDENTITY = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage"


def world():
    return [service("productpage", 9080), slice_of("productpage", 9080, ["127.0.0.1"]),
            pod("productpage-v1-0", "127.0.0.1", {"app": "productpage"}, "bookinfo-productpage")]


class Authority(Weftd):
    """With an authority of its own, a token for each account, and its roots in root.pem."""

    def __init__(self, directory, args=("--ca-dir", "ca")):
        for account, token in TOKENS.items():
            os.chmod(write(directory, "tokens/" + account, token + "\n"), 0o600)
        super().__init__(directory, world(), args=("--token-dir", "tokens", "--root-cert-file", "root.pem", *args))
        try:
            wait_until(lambda: self.page("/ready").status == 200, "weftd to be ready")
        except BaseException:
            self.kill()
            raise

    def root(self):
        with open(os.path.join(self.directory, "root.pem"), encoding="ascii") as text:
            return text.read()

    def metric(self, name):
        return int(re.search(rf"^{re.escape(name)} (\d+)", self.page("/metrics").body.decode(), re.M)[1])

    def signer(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as text:
            return int(text.read().split()[0])

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def make(started, tmp_path):
    def make(**options):
        made = Authority(tmp_path / "weftd", **options)
        return started.add(made, lambda: made.stop() if made.process.returncode != -signal.SIGKILL else None)
    return make


@pytest.fixture
def sidecar(started, tmp_path):
    def start(weftd, token="bookinfo/bookinfo-productpage", name="pod", **env):
        directory = tmp_path / name
        os.makedirs(directory / "certs", exist_ok=True)
        made = Sidecar(directory, pod_env(
            directory, root_pem=weftd.root(), token=TOKENS.get(token, token), OUTPUT_CERTS="./certs", ISTIO_META_ISTIO_VERSION="1.31.0",
            proxy_config={"discoveryAddress": f"localhost:{weftd.ports['secure']}", "controlPlaneAuthPolicy": "MUTUAL_TLS"}, **env))
        return started.add(made, made.stop)
    return start


# ---- by hand ----

def request(key=None, claimed="spiffe://cluster.local/ns/kube-system/sa/admin"):
    key = key or ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier(claimed)]), critical=True).sign(key, hashes.SHA256())
    return csr.public_bytes(serialization.Encoding.PEM).decode(), key


def call(weftd, message, token=None, chain=None, key=None, wait=True):
    pem = key and key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    credentials = grpc.ssl_channel_credentials(weftd.root().encode(), pem, chain and chain.encode())
    with grpc.secure_channel(f"localhost:{weftd.ports['secure']}", credentials) as channel:
        create = channel.unary_unary(f"/{SERVICE}/CreateCertificate", lambda m: m.SerializeToString(), RESPONSE.FromString)
        metadata = [("authorization", "Bearer " + token)] if token else []
        return create(message, metadata=metadata, timeout=30, wait_for_ready=wait).cert_chain


def refusal(*args, **options):
    with pytest.raises(grpc.RpcError) as error:
        call(*args, **options)
    return error.value.code(), error.value.details()


def uris(certificate):
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)


def test_certificate__claims_another__is_the_callers(make):
    weftd = make()
    csr, key = request()
    chain = call(weftd, REQUEST(csr=csr, validity_duration=7200), TOKENS["bookinfo/reviews"])
    assert len(chain) == 2 and chain[1] == weftd.root()
    leaf, root = [x509.load_pem_x509_certificate(text.encode()) for text in chain]
    leaf.verify_directly_issued_by(root)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical and uris(leaf) == ["spiffe://cluster.local/ns/bookinfo/sa/reviews"]
    assert len(leaf.subject) == 0 and leaf.public_key() == key.public_key()
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == datetime.timedelta(seconds=7200 + 120)
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    wait_until(lambda: f"issued: certificate {leaf.serial_number:x} for spiffe://cluster.local/ns/bookinfo/sa/reviews" in weftd.log(), "a line")


def test_certificate__renewed_by_itself__without_a_token(make):
    weftd = make()
    csr, key = request()
    chain = call(weftd, REQUEST(csr=csr), TOKENS["bookinfo/reviews"])
    again = call(weftd, REQUEST(csr=request()[0]), chain=chain[0], key=key)
    assert uris(x509.load_pem_x509_certificate(again[0].encode())) == ["spiffe://cluster.local/ns/bookinfo/sa/reviews"]
    assert weftd.metric("citadel_server_success_cert_issuance_count") == 2


def test_requests__that_are_no_good__refused_by_name(make):
    weftd = make()
    token, good = TOKENS["bookinfo/reviews"], request()[0]
    code, why = refusal(weftd, REQUEST(csr=good), "a-token-that-nobody-has")
    assert code == grpc.StatusCode.UNAUTHENTICATED and "BootstrapTokenAuthenticator: the token is no workload's" in why
    assert "a-token-that-nobody-has" not in why
    assert refusal(weftd, REQUEST(csr=good))[0] == grpc.StatusCode.UNAUTHENTICATED
    assert refusal(weftd, REQUEST(csr="nothing"), token)[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal(weftd, REQUEST(), token)[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert "1024 bits" in refusal(weftd, REQUEST(csr=request(rsa.generate_private_key(65537, 1024))[0]), token)[1]
    assert "greater than the max allowed TTL" in refusal(weftd, REQUEST(csr=good, validity_duration=91 * 86400), token)[1]
    assert "too long" in refusal(weftd, REQUEST(csr="x" * 100000), token)[1]
    asked = REQUEST(csr=good)
    asked.metadata["CertSigner"] = "signers.example/mesh"
    assert "no signer 'signers.example/mesh'" in refusal(weftd, asked, token)[1]
    asked = REQUEST(csr=good)
    asked.metadata["ImpersonatedIdentity"] = IDENTITY
    assert refusal(weftd, asked, token) == (grpc.StatusCode.UNAUTHENTICATED, "request impersonation authentication failure")
    asked = REQUEST(csr=good)
    asked.metadata["Vendor"] = "whatever"
    assert len(call(weftd, asked, token)) == 2
    assert TOKENS["bookinfo/reviews"] not in weftd.log()


def test_rotation__announced__in_the_bundle_but_the_old_one_signs(make):
    weftd = make()
    old = weftd.root()
    weftd.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: weftd.root().count("BEGIN CERTIFICATE") == 2, "two roots")
    chain = call(weftd, REQUEST(csr=request()[0]), TOKENS["bookinfo/reviews"])
    assert chain[1] == weftd.root() and chain[1].startswith(old)
    x509.load_pem_x509_certificate(chain[0].encode()).verify_directly_issued_by(x509.load_pem_x509_certificate(old.encode()))


def test_certificate__of_another_authority__ends_in_the_handshake(make, ca):
    weftd = make()
    leaf = ca.issue("stranger", ["URI:" + IDENTITY])
    with open(leaf.cert, encoding="ascii") as chain, open(leaf.key, "rb") as key:
        key = serialization.load_pem_private_key(key.read(), None)
        with pytest.raises(grpc.RpcError) as error:
            call(weftd, REQUEST(csr=request()[0]), chain=chain.read(), key=key, wait=False)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    assert weftd.metric("citadel_server_csr_count") == 0


def test_plugged_in__chain_root_and_reload(make, ca, tmp_path):
    def plug(name, ca=ca):
        """A root and an intermediate of it, as Istio's secret has them; replaced file by file."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, name)])
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(ca.subject).public_key(key.public_key()).serial_number(
            x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=1)).add_extension(x509.BasicConstraints(True, 0), True).sign(ca.key, hashes.SHA256())
        text = made.public_bytes(serialization.Encoding.PEM).decode()
        with open(ca.cert, encoding="ascii") as root:
            root = root.read()
        for file, content in (("ca-key.pem", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                                                 serialization.NoEncryption()).decode()),
                              ("ca-cert.pem", text), ("cert-chain.pem", text + root), ("root-cert.pem", root)):
            write(tmp_path, "cacerts/" + file, content)
        return text, root
    between, root = plug("one")
    weftd = make(args=("--ca-certs", str(tmp_path / "cacerts")))
    chain = call(weftd, REQUEST(csr=request()[0]), TOKENS["bookinfo/reviews"])
    assert chain[1:] == [between, root]
    x509.load_pem_x509_certificate(chain[0].encode()).verify_directly_issued_by(x509.load_pem_x509_certificate(between.encode()))
    other, _ = plug("two")
    wait_until(lambda: call(weftd, REQUEST(csr=request()[0]), TOKENS["bookinfo/reviews"])[1] == other, "the other one to sign")
    assert "proxies hadn't been told of" not in weftd.log()
    stranger, _ = plug("three", CA(tmp_path / "other", "other CA"))
    wait_until(lambda: call(weftd, REQUEST(csr=request()[0]), TOKENS["bookinfo/reviews"])[1] == stranger, "the third one to sign")
    wait_until(lambda: "proxies hadn't been told of" in weftd.log(), "the warning")
    assert call(weftd, REQUEST(csr=request()[0]), TOKENS["bookinfo/reviews"])[2].count("BEGIN CERTIFICATE") == 2


# ---- with a real sidecar ----

def certificate(sidecar):
    with open(os.path.join(sidecar.directory, "certs", "cert-chain.pem"), "rb") as text:
        return x509.load_pem_x509_certificate(text.read())


def test_sidecar__over_the_secure_port__certificate_and_configuration(make, sidecar):
    weftd = make()
    made = sidecar(weftd)
    made.wait_stat("agent.ca.issued", 1)
    wait_until(lambda: made.stat("listener_manager.lds.update_success"), "listeners")
    assert uris(certificate(made)) == [IDENTITY]
    assert weftd.metric("citadel_server_success_cert_issuance_count") == 1
    for secret in (TOKENS["bookinfo/bookinfo-productpage"], "PRIVATE KEY"):
        assert secret not in weftd.log()


def test_sidecar__lies_about_itself__no_configuration(make, sidecar):
    """The token is another account's: it gets that one's certificate, and discovery doesn't believe its node."""
    weftd = make()
    made = sidecar(weftd, token="bookinfo/reviews")
    made.wait_stat("agent.ca.issued", 1)
    wait_until(lambda: "authorization failed: no identities ([spiffe://cluster.local/ns/bookinfo/sa/reviews]) matched "
                       "bookinfo/bookinfo-productpage" in weftd.log(), "the refusal in the log")
    assert uris(certificate(made)) == ["spiffe://cluster.local/ns/bookinfo/sa/reviews"]
    assert made.stat("listener_manager.lds.update_success") == 0


def test_sidecar__unknown_token__nothing_at_all(make, sidecar):
    weftd = make()
    made = sidecar(weftd, token="a-token-that-nobody-has")
    made.wait_stat("agent.ca.failed", 1, exactly=False)
    wait_until(lambda: weftd.metric("citadel_server_authentication_failure_count") > 0, "the failure counted")
    assert made.stat("agent.ca.issued") == 0 and made.stat("listener_manager.lds.update_success") == 0


def test_signer__killed_again_and_again__renewals_go_on(make, sidecar):
    weftd = make()
    root = weftd.root()
    made = sidecar(weftd, SECRET_TTL="10s", SECRET_GRACE_PERIOD_RATIO="0.9")
    for count in range(1, 4):
        made.wait_stat("agent.ca.issued", count, exactly=False)
        os.kill(weftd.signer(), signal.SIGKILL)
    made.wait_stat("agent.ca.issued", 5, exactly=False)
    assert weftd.root() == root and made.stat("agent.ca.root_changes") == 0
    assert weftd.log().count("was killed by signal 9") + weftd.log().count("signer doesn't serve") >= 3


def test_trust_domain__changed_while_it_runs__is_said(make):
    weftd = make()
    write(weftd.directory, "mesh.yaml", "trustDomain: other.domain\n")
    wait_until(lambda: "certificates are of the trust domain cluster.local until weftd is started again" in weftd.log(), "the warning")
    leaf = x509.load_pem_x509_certificate(call(weftd, REQUEST(csr=request()[0]), TOKENS["bookinfo/reviews"])[0].encode())
    assert uris(leaf) == ["spiffe://cluster.local/ns/bookinfo/sa/reviews"]


def test_token__of_a_workload_that_comes_later__known_at_once(make):
    weftd = make()
    os.chmod(write(weftd.directory, "tokens/late/comer", "the-token-of-the-late-comer\n"), 0o600)

    def identity():
        try:
            chain = call(weftd, REQUEST(csr=request()[0]), "the-token-of-the-late-comer")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
            return None
        return uris(x509.load_pem_x509_certificate(chain[0].encode()))
    assert wait_until(identity, "the token to be known") == ["spiffe://cluster.local/ns/late/sa/comer"]


def test_weftd__killed_and_started_again__same_root(make, sidecar):
    weftd = make()
    root = weftd.root()
    csr, key = request()
    chain = call(weftd, REQUEST(csr=csr), TOKENS["bookinfo/reviews"])
    weftd.kill()
    again = make()
    assert again.root() == root
    assert len(call(again, REQUEST(csr=request()[0]), chain=chain[0], key=key)) == 2


def test_key_file__readable_by_others__not_ready_and_says_why(started, make):
    weftd = make()
    path = os.path.join(weftd.directory, "ca", "weftd-ca.pem")
    weftd.stop()
    os.chmod(path, 0o644)
    other = Weftd(weftd.directory, world(), args=("--ca-dir", "ca"))
    started.add(other, other.stop)
    wait_until(lambda: b"mode 0644" in other.page("/ready").body, "the reason")
    assert other.page("/ready").status == 503
    os.chmod(path, 0o600)
    wait_until(lambda: other.page("/ready").status == 200, "weftd to be ready")
