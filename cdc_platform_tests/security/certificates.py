"""Certificates that tests make for themselves: an authority, and what it signs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "localhost"
"""The only name that the servers' certificates hold: by its address the same server is a stranger."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Paths of a certificate and of its private key, both PEM."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates into `folder`; `cert` is what its clients trust."""

    folder: Path
    cert: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir()
        key, subject = ec.generate_private_key(ec.SECP256R1()), _name(f"authority {folder.name}")
        built = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        file = folder / "authority.pem"
        file.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return cls(folder, file, subject, key)

    def sign(self, name: str, password: bytes | None = None) -> Pair:
        """A certificate for a host or a user of this name; with a password its key is encrypted."""
        key = ec.generate_private_key(ec.SECP256R1())
        built = _builder(_name(name), self.name, key).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), False
        )
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        pair.cert.write_bytes(built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        pair.key.touch(0o600)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
            )
        )
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
    )
