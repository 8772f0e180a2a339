# SPDX-License-Identifier: Apache-2.0
"""A mesh's certificate authority: istio.v1.auth.IstioCertificateService over gRPC with TLS, by grpcio and a CA of the tests."""
import datetime
import threading
from concurrent import futures

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2  # noqa: F401 (struct: imported by it)

from lib.wait import wait_until

SERVICE = "istio.v1.auth.IstioCertificateService"


def make_messages():
    """Request and response, as proto/istio/certificate.proto has them."""
    file = descriptor_pb2.FileDescriptorProto(name="test/certificate.proto", package="istio.v1.auth", syntax="proto3",
                                              dependency=["google/protobuf/struct.proto"])
    field = descriptor_pb2.FieldDescriptorProto
    request = file.message_type.add(name="IstioCertificateRequest")
    request.field.add(name="csr", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    request.field.add(name="validity_duration", number=3, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    request.field.add(name="metadata", number=4, type=field.TYPE_MESSAGE, label=field.LABEL_OPTIONAL,
                      type_name=".google.protobuf.Struct")
    response = file.message_type.add(name="IstioCertificateResponse")
    response.field.add(name="cert_chain", number=1, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return [message_factory.GetMessageClass(pool.FindMessageTypeByName(f"istio.v1.auth.{name}"))
            for name in ("IstioCertificateRequest", "IstioCertificateResponse")]


REQUEST, RESPONSE = make_messages()


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


class MeshCA:
    """Signs what it is asked for by `ca`, for `life_s` seconds; `name` is the DNS name in its own certificate.

    `answer(request, context)` in place of signing: a list of PEM texts, or an exception by context.abort. `hold()` lets calls hang.
    """

    def __init__(self, ca, life_s=3600, name="istiod.istio-system.svc", tls=True, server_leaf=None):
        self.ca, self.life_s, self.roots = ca, life_s, None
        self.answer = None
        self.calls = []          # (request, metadata)
        self.issued = []         # certificates
        self.open = threading.Event()
        self.open.set()
        self.server = grpc.server(futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
            "CreateCertificate": grpc.unary_unary_rpc_method_handler(
                self.create, REQUEST.FromString, lambda m: m if isinstance(m, bytes) else m.SerializeToString())}),))
        if tls:
            leaf = server_leaf or ca.issue("istiod", [f"DNS:{name}"], file_name="istiod")
            with open(leaf.key, "rb") as key, open(leaf.cert, "rb") as cert:
                credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        else:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def create(self, request, context):
        self.calls.append((request, dict(context.invocation_metadata())))
        if not self.open.is_set():
            while context.is_active() and not self.open.wait(0.05):
                pass
        if self.answer:
            made = self.answer(request, context)
            return made if isinstance(made, bytes) else RESPONSE(cert_chain=made)
        leaf = self.sign(request)
        return RESPONSE(cert_chain=[pem(leaf), self.root_text()])

    def root_text(self):
        return self.roots or pem(self.ca.certificate)

    def sign(self, request, ca=None, life_s=None, public_key=None, backdate_s=2):
        """As istiod signs: an empty subject, the caller's identity as a critical URI."""
        ca = ca or self.ca
        csr = x509.load_pem_x509_csr(request.csr.encode())
        assert csr.is_signature_valid
        now = datetime.datetime.now(datetime.timezone.utc)
        san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        certificate = (x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(ca.subject)
                       .public_key(public_key or csr.public_key()).serial_number(x509.random_serial_number())
                       .not_valid_before(now - datetime.timedelta(seconds=backdate_s))
                       .not_valid_after(now + datetime.timedelta(seconds=self.life_s if life_s is None else life_s))
                       .add_extension(x509.BasicConstraints(False, None), True)
                       .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
                       .add_extension(san.value, True).sign(ca.key, hashes.SHA256()))
        self.issued.append(certificate)
        return certificate

    def hold(self):
        self.open.clear()

    def release(self):
        self.open.set()

    def wait_calls(self, count):
        wait_until(lambda: len(self.calls) >= count, f"{count} requests at the CA")
        return self.calls

    def close(self):
        self.release()
        self.server.stop(None).wait()
