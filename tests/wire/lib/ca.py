# SPDX-License-Identifier: Apache-2.0
"""Certificates made for one test: a CA in a folder, leaves by name. Files are PEM."""
import datetime
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def make_key(kind):
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def general_name(san):
    kind, _, value = san.partition(":")
    return {"DNS": x509.DNSName, "URI": x509.UniformResourceIdentifier, "EMAIL": x509.RFC822Name,
            "IP": lambda v: x509.IPAddress(ipaddress.ip_address(v))}[kind](value)


class Leaf:
    """Paths of a certificate and its key, and the certificate itself."""

    def __init__(self, cert_path, key_path, certificate):
        self.cert, self.key, self.certificate = cert_path, key_path, certificate

    @property
    def der(self):
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


class CA:
    def __init__(self, directory, name="test CA"):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.key = make_key("ec")
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self.subject, self.key.public_key(), DAY * 30).add_extension(
            x509.BasicConstraints(True, None), True).add_extension(
            x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
        self.certificate = builder.sign(self.key, hashes.SHA256())
        self.cert = os.path.join(self.directory, name.replace(" ", "_") + ".pem")
        self._write(self.cert, self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject, public_key, validity, starts_in=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        start = now - DAY * 2 if validity < DAY * 0 else now - datetime.timedelta(hours=1)
        if starts_in:
            start = now + starts_in
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(self.subject)
                .public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(start).not_valid_after(now + validity)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    self.key.public_key()), False))

    @staticmethod
    def _write(path, data):
        """Whole or not at all, as whoever renews certificates has to."""
        with open(path + ".new", "wb") as out:
            out.write(data)
        os.replace(path + ".new", path)

    def issue(self, name, sans=(), key="ec", days=10, usages=("server", "client"), file_name=None,
              svid=False, starts_in=None):
        """A leaf with common name `name`; `days` below 0: expired already. `svid`: with the keyUsage that SPIFFE asks for;
        `starts_in`: not yet valid for so long."""
        private = make_key(key)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "weft test"),
                             x509.NameAttribute(NameOID.COMMON_NAME, name)])
        oids = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
        builder = self._builder(subject, private.public_key(), DAY * days, starts_in).add_extension(
            x509.BasicConstraints(False, None), True).add_extension(
            x509.ExtendedKeyUsage([oids[u] for u in usages]), False)
        if svid:
            builder = builder.add_extension(x509.KeyUsage(True, *[False] * 8), True)
        if sans:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([general_name(s) for s in sans]), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        base = os.path.join(self.directory, file_name or name.replace("/", "_"))
        self._write(base + ".key", private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))
        self._write(base + ".pem", certificate.public_bytes(serialization.Encoding.PEM))
        return Leaf(base + ".pem", base + ".key", certificate)

    def crl(self, leaves, file_name="crl"):
        """The path of a list that revokes `leaves`."""
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (x509.CertificateRevocationListBuilder().issuer_name(self.subject)
                   .last_update(now - DAY).next_update(now + DAY * 10))
        for leaf in leaves:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(leaf.certificate.serial_number)
                .revocation_date(now - DAY).build())
        path = os.path.join(self.directory, file_name + ".pem")
        self._write(path, builder.sign(self.key, hashes.SHA256()).public_bytes(
            serialization.Encoding.PEM))
        return path

    def client_context(self, leaf=None, alpn=(), check_names=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.cert)
        context.check_hostname = check_names
        if leaf:
            context.load_cert_chain(leaf.cert, leaf.key)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def server_context(self, leaf, alpn=(), require_client=False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(leaf.cert, leaf.key)
        if require_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.cert)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context
