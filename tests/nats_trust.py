"""What a NATS server that lets in only its own needs: certificates, and users with credentials."""

from __future__ import annotations

import base64
import json
import os
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

import nkeys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path


class Pair(NamedTuple):
    """A certificate and its key, as files in PEM."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; ``cert`` is what those trust who trust it."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self._pair(name, self._name, self._key, x509.BasicConstraints(True, None)).cert

    def pair(self, name: str, *extensions: x509.ExtensionType) -> Pair:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._pair(name, subject, ec.generate_private_key(ec.SECP256R1()), *extensions)

    def _pair(
        self,
        name: str,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
    ) -> Pair:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )
        for one in extensions:
            builder = builder.add_extension(one, critical=False)
        cert, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Pair(cert, private)


def here() -> x509.SubjectAlternativeName:
    """Of a server on this machine."""
    return x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])


class _Signer:
    """Whoever signs tokens: an operator, an account, a user."""

    def __init__(self, prefix: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def token(self, subject: str, name: str, kind: str, **claims: Any) -> str:
        body = {
            "jti": name,
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject,
            "nats": {**claims, "type": kind, "version": 2},
        }
        parts = [_coded({"typ": "JWT", "alg": "ed25519-nkey"}), _coded(body)]
        signed = self._pair.sign(".".join(parts).encode())
        return ".".join([*parts, _plain(signed)])


def _coded(value: Any) -> str:
    return _plain(json.dumps(value).encode())


def _plain(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


_UNLIMITED = {
    **dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1),
    **dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1),
    "wildcards": True,
}


class Operator:
    """Has one account with JetStream, and gives its users ``.creds`` files."""

    def __init__(self) -> None:
        self._operator = _Signer(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = _Signer(nkeys.PREFIX_BYTE_ACCOUNT)
        self._system = _Signer(nkeys.PREFIX_BYTE_ACCOUNT)

    @property
    def config(self) -> str:
        """The server's settings."""
        mine, system = self._account.public, self._system.public
        plain = {**_UNLIMITED, "mem_storage": 0, "disk_storage": 0, "streams": 0, "consumer": 0}
        operator = self._operator.token(self._operator.public, "operator", "operator")
        accounts = {
            mine: self._operator.token(mine, "agents", "account", limits=_UNLIMITED),
            system: self._operator.token(system, "system", "account", limits=plain),
        }
        preload = "\n".join(f"{key}: {token}" for key, token in accounts.items())
        return (
            f"operator: {operator}\nsystem_account: {system}\n"
            f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
        )

    def credentials(self, path: Path) -> Path:
        user = _Signer(nkeys.PREFIX_BYTE_USER)
        token = self._account.token(user.public, "agent", "user", subs=-1, data=-1, payload=-1)
        told = []
        for what, value in (("NATS USER JWT", token), ("USER NKEY SEED", user.seed.decode())):
            told += [f"-----BEGIN {what}-----", value, f"------END {what}------", ""]
        path.write_text("\n".join(told))
        return path
