"""A small certificate authority: a folder with its key, and what it has issued to a server and to clients.

Certificates are X.509 with keys on P-256, signed with SHA-256. A server's says by which names it is called, a
client's who it is; neither can stand for the other (extended key usage).
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..base.errors import BadInput

AUTHORITY, SERVER = "ca", "server"
"""Names of files, which no client has."""

RENEW_DAYS = 30
"""Before the end, from which on it is said that a certificate wants to be renewed."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Issued:
    """A certificate that lies in a file."""

    path: Path
    name: str
    until: datetime

    @staticmethod
    def read(path: Path) -> Issued:
        """The first of the file. BadInput where there is none."""
        try:
            found = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "no certificate in PEM"
            raise BadInput(f"{path}: {why}") from None
        return Issued(path, common_name(found), found.not_valid_after_utc)

    @property
    def days(self) -> int:
        """Whole days that are left; below 0 where it has expired."""
        return (self.until - datetime.now(timezone.utc)) // timedelta(days=1)

    def __str__(self) -> str:
        when = f"{self.until:%Y-%m-%d %H:%M} UTC"
        if self.days < 0:
            return f"{self.path}: {self.name}, expired on {when}"
        return f"{self.path}: {self.name}, until {when}, {self.days} days from now"

    def check(self) -> str | None:
        """What to do soon, if anything. BadInput where it is too late."""
        if self.days < 0:
            raise BadInput(f"{self}; issue it anew with ppc keygen --renew")
        return f"{self}; renew it with ppc keygen --renew" if self.days < RENEW_DAYS else None


def common_name(certificate: x509.Certificate) -> str:
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


class Authority:
    """What lies in ``folder``: ca.pem, which everybody gets, and ca.key, which nobody else gets."""

    def __init__(self, folder: Path, *, days: int = 3650) -> None:
        """Made where there is none, for ``days``. BadInput where what lies there is no authority."""
        self._folder = folder
        self.certificate_file = folder / f"{AUTHORITY}.pem"
        key_file = folder / f"{AUTHORITY}.key"
        if not key_file.exists() and not self.certificate_file.exists():
            self._make(key_file, days)
        try:
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        except (OSError, ValueError, TypeError) as error:
            why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else "damaged"
            raise BadInput(f"{folder}: no authority of ppc keygen: {why}") from None
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or key.public_key() != self._certificate.public_key()
        ):
            raise BadInput(f"{folder}: {AUTHORITY}.key is not the key of {AUTHORITY}.pem")
        self._key = key

    def __repr__(self) -> str:
        return f"Authority({self._folder}, <secret>)"

    def server(self, names: Sequence[str], *, days: int, renew: bool = False) -> Issued:
        """server.pem and server.key, for a server that is called by these host names and addresses."""
        kinds = [_called(name) for name in names]
        return self._issue(SERVER, [x509.SubjectAlternativeName(kinds)], False, days, renew)

    def client(self, name: str, *, days: int, renew: bool = False) -> Issued:
        """NAME.pem and NAME.key, for a client that is known by this name."""
        if not _NAME.fullmatch(name) or name in (AUTHORITY, SERVER):
            raise BadInput(f"a client's name is letters, digits, dots, - and _, at most 64, and not {name!r}")
        return self._issue(name, [], True, days, renew)

    def issued(self) -> list[Issued]:
        """All that lies here, the authority's own first."""
        rest = sorted(path for path in self._folder.glob("*.pem") if path != self.certificate_file)
        return [Issued.read(path) for path in (self.certificate_file, *rest)]

    def _make(self, key_file: Path, days: int) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ppc authority")])
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)]
        certificate = _signed(name, key.public_key(), name, key, days, extensions)
        _write(key_file, _private(key))
        _write(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _issue(
        self, name: str, more: Sequence[x509.ExtensionType], client: bool, days: int, renew: bool
    ) -> Issued:
        path = self._folder / f"{name}.pem"
        if path.exists() and not renew:
            raise BadInput(f"{Issued.read(path)}; give --renew to replace it and its key")
        until = self._certificate.not_valid_after_utc
        if datetime.now(timezone.utc) + timedelta(days=days) > until:
            raise BadInput(
                f"{days} days are longer than the authority's own certificate lasts, until {until:%Y-%m-%d}"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        use = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        extensions = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([use]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), False),
            *((each, False) for each in more),
        ]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = _signed(subject, key.public_key(), self._certificate.subject, self._key, days, extensions)
        _write(self._folder / f"{name}.key", _private(key))
        _write(path, made.public_bytes(serialization.Encoding.PEM), 0o644)
        return Issued.read(path)


def _signed(
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    by: ec.EllipticCurvePrivateKey,
    days: int,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(by, hashes.SHA256())


def _called(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not re.fullmatch(r"(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", name):
        raise BadInput(f"a server is called by a host name or an address, not {name!r}")
    return x509.DNSName(name)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int = 0o600) -> None:
    """In one go under its name, so that nobody reads half a file."""
    part = path.with_name(path.name + ".part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    os.replace(part, path)
