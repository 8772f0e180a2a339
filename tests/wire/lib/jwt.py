# SPDX-License-Identifier: Apache-2.0
"""JSON Web Tokens and key sets for tests: signers of each kind, and an origin that hands out keys."""
import base64
import json

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def b64(data):
    if not isinstance(data, bytes):
        data = json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"256": (ec.SECP256R1(), "P-256", 32), "384": (ec.SECP384R1(), "P-384", 48), "512": (ec.SECP521R1(), "P-521", 66)}


class Signer:
    """One key for one algorithm."""

    def __init__(self, alg="RS256", kid=None):
        self.alg, self.kid = alg, kid
        if alg == "EdDSA":
            self.key = ed25519.Ed25519PrivateKey.generate()
        elif alg.startswith("ES"):
            self.key = ec.generate_private_key(CURVES[alg[2:]][0])
        else:
            self.key = rsa.generate_private_key(65537, 2048)

    def jwk(self):
        public, named = self.key.public_key(), {"kid": self.kid} if self.kid else {}
        if self.alg == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": b64(public.public_bytes_raw()), **named}
        n = public.public_numbers()
        if self.alg.startswith("ES"):
            _, name, size = CURVES[self.alg[2:]]
            return {"kty": "EC", "crv": name, "alg": self.alg, "x": number(n.x, size), "y": number(n.y, size), **named}
        return {"kty": "RSA", "alg": self.alg, "n": number(n.n), "e": number(n.e), **named}

    def signature(self, text):
        if self.alg == "EdDSA":
            return self.key.sign(text)
        digest = HASHES[self.alg[2:]]
        if self.alg.startswith("ES"):
            size = CURVES[self.alg[2:]][2]
            r, s = decode_dss_signature(self.key.sign(text, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if self.alg.startswith("PS"):
            return self.key.sign(text, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        return self.key.sign(text, padding.PKCS1v15(), digest)

    def token(self, claims, **header):
        head = {"alg": self.alg, **({"kid": self.kid} if self.kid else {}), **header}
        text = f"{b64(head)}.{b64(claims)}"
        return f"{text}.{b64(self.signature(text.encode()))}"


def key_set(*signers):
    return json.dumps({"keys": [s.jwk() for s in signers]})
