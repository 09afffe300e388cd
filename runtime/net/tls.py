"""TLS 1.3 around a connected socket, for the two threads of a transport: one sends, one receives.

Python's own SSLSocket shares one OpenSSL object between its readers and writers without a lock. Here the
object works on memory alone, under a lock, and the socket is read and written outside of it.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import re
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ..base.errors import BadInput, NetworkFault
from ..base.wire import Buffer
from .deadline import OPENING_SECONDS, Deadline
from .stream import SocketStream

log = logging.getLogger(__name__)

PIECE = 1 << 18


@dataclass(frozen=True)
class ServerTls:
    """Files of the server: its certificate chain and private key, PEM."""

    certificate: str | Path
    key: str | Path

    def context(self) -> ssl.SSLContext:
        """BadInput where a file is missing, not PEM, or the key is another's or asks for a passphrase."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            files = f"{self.certificate}, {self.key}"
            raise BadInput(f"{files}: {_reason(error)}; want a certificate chain and its key, PEM") from None
        own = x509.load_pem_x509_certificates(Path(self.certificate).read_bytes())[0]
        if own.not_valid_after_utc < datetime.datetime.now(datetime.timezone.utc):
            log.warning("%s: expired %s, clients refuse it", self.certificate, _when(own))
        return context


@dataclass(frozen=True)
class ClientTls:
    """Whom the client trusts to name its server, PEM. Certificate and host name are checked."""

    authorities: str | Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.authorities)
        except (OSError, ValueError) as error:
            raise BadInput(f"{self.authorities}: {_reason(error)}; want certificates in PEM") from None
        return context


class TlsStream:
    """A handshaken connection with the face of a socket's. NetworkFault where the handshake fails."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        hostname: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        """``hostname`` is the server's, at the client; None at the server. Closes the socket on failure.

        The handshake is over in `OPENING_SECONDS`, or ``timeout`` where that is less. A client may first wait
        ``timeout`` for the server, which answers one at a time.
        """
        self._raw = SocketStream(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=hostname is None, server_hostname=hostname
        )
        self._state = threading.Lock()
        self._into = bytearray(PIECE)
        try:
            self._shake(timeout, min(timeout, OPENING_SECONDS))
        except OSError as error:
            why = self._why(error)
            sock.close()
            raise NetworkFault(f"no TLS with the peer: {why}") from None

    def sendall(self, data: Buffer, deadline: Deadline, /) -> None:
        view, at = memoryview(data).cast("B"), 0
        while at < len(view):
            with self._state:
                taken = self._tls.write(view[at : at + PIECE])
                records = self._outgoing.read()
            self._send(records, deadline)
            deadline.passed += taken
            at += taken

    def recv_into(self, view: memoryview, deadline: Deadline, /) -> int:
        while True:
            with self._state:
                try:
                    got = int(self._tls.read(len(view), view))
                    deadline.passed += got
                    return got
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLEOFError:
                    return 0
            self._more(deadline)

    def hang_up(self) -> None:
        self._raw.hang_up()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            with self._state:
                with contextlib.suppress(ssl.SSLWantReadError):
                    self._tls.unwrap()
                farewell = self._outgoing.read()
            self._raw.sock.send(farewell)
        self._raw.close()

    def _shake(self, timeout: float, opening: float) -> None:
        due = Deadline(0, opening if self._tls.server_side else timeout)
        try:
            while not self._shaken(due):
                self._more(due)
                if due.timeout != opening:  # the client's turn has come
                    due = Deadline(0, opening)
        except TimeoutError:
            raise TimeoutError(f"no handshake within {due.timeout:g} seconds; does it use TLS?") from None

    def _shaken(self, due: Deadline) -> bool:
        """Say what is to be said by now; whether that is all."""
        done = False
        try:
            self._tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            said = self._outgoing.read() or (REFUSAL if error.reason in _NO_TLS else b"")
            with contextlib.suppress(OSError):  # the alert that tells the peer why
                self._send(said, due)
            raise
        self._send(self._outgoing.read(), due)
        return done

    def _why(self, error: OSError) -> str:
        """What ended the handshake, and where it is that one side has TLS alone, what to do."""
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            if self._tls.server_side:
                return "the client does not speak TLS; give it --tls-ca, or no --tls-cert here"
            return "the server does not speak TLS; give it --tls-cert and --tls-key, or no --tls-ca here"
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code == _EXPIRED:
            return f"{_reason(error)}, {_when(self._theirs())}"
        if isinstance(error, (ssl.SSLEOFError, ConnectionResetError)) and not self._tls.server_side:
            return "the server closed the connection; does it use TLS, --tls-cert and --tls-key?"
        return _reason(error)

    def _theirs(self) -> x509.Certificate:
        """The peer's certificate, which Python tells of an accepted one alone in public."""
        inner = self._tls._sslobj  # type: ignore[attr-defined]
        return x509.load_pem_x509_certificate(inner.get_unverified_chain()[0].public_bytes().encode())

    def _send(self, records: bytes, deadline: Deadline) -> None:
        view, at = memoryview(records), 0
        while at < len(view):
            at += self._raw.send_some(view[at:], deadline)

    def _more(self, deadline: Deadline) -> None:
        """Read what has arrived; the end of the stream too."""
        with memoryview(self._into) as into:
            got = self._raw.recv_some(into, deadline)
            with self._state:
                if got:
                    self._incoming.write(into[:got])
                else:
                    self._incoming.write_eof()


REFUSAL = bytes((21, 3, 3, 0, 2, 2, 70))
"""A fatal alert for the protocol's version, in the clear: what a client without TLS hears (RFC 8446, 6.2)."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
"""OpenSSL's reasons where what came was no TLS at all."""

_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED"""


def _when(certificate: x509.Certificate) -> str:
    return f"on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"


def _reason(error: Exception) -> str:
    """OpenSSL's reason in words, without its source lines."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not accepted: {error.verify_message}"
        case ssl.SSLEOFError():
            return "the peer closed the connection; does it use TLS?"
        case ssl.SSLError():
            said = (error.reason or str(error).partition(" (_ssl.c")[0]).replace("_", " ").lower()
            return re.sub(r"^(ssl|tls)v[\d.]+ alert ", "the peer says: ", said)
        case OSError():
            return error.strerror or str(error)
    return str(error)
