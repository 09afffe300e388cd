"""Certificates for tests of TLS: an authority, and the files of a server that it vouches for."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ppc.runtime.net.tls import ServerTls

Key = ec.EllipticCurvePrivateKey
NOW = datetime.datetime.now(datetime.timezone.utc)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A key that signs certificates, and its own certificate."""

    key: Key
    certificate: x509.Certificate

    @staticmethod
    def new(name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return Authority(
            key, signed(name, key, name, key, [x509.BasicConstraints(ca=True, path_length=None)])
        )

    def issue(self, folder: Path, names: list[x509.GeneralName], expired: bool = False) -> ServerTls:
        """Files of a server that is called by ``names``."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.rfc4514_string().removeprefix("CN=")
        more = [x509.SubjectAlternativeName(names)]
        certificate = signed("server", key, issuer, self.key, more, NOW - DAY if expired else NOW + DAY)
        folder.mkdir()
        (folder / "cert.pem").write_bytes(pem(certificate))
        (folder / "key.pem").write_bytes(private(key))
        return ServerTls(folder / "cert.pem", folder / "key.pem")


def signed(
    subject: str,
    key: Key,
    issuer: str,
    by: Key,
    extensions: Sequence[x509.ExtensionType],
    until: datetime.datetime = NOW + DAY,
) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    builder = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 3 * DAY)
        .not_valid_after(until)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(by, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def private(key: Key, secret: bytes | None = None) -> bytes:
    how = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)


LOOPBACK: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
