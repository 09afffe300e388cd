"""TLS 1.3 around a connected socket, for the two threads of a transport: one sends, one receives.

Python's own SSLSocket shares one OpenSSL object between its readers and writers without a lock. Here the
object works on memory alone, under a lock, and the socket is read and written outside of it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import BadInput, NetworkFault
from ..base.wire import Buffer

PIECE = 1 << 18
HANDSHAKE_SECONDS = 30.0


@dataclass(frozen=True)
class ServerTls:
    """Files of the server: its certificate chain and private key, PEM."""

    certificate: Path
    key: Path

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
        return context


@dataclass(frozen=True)
class ClientTls:
    """Whom the client trusts to name its server, PEM. Certificate and host name are checked."""

    authorities: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(self.authorities)
        except (OSError, ValueError) as error:
            raise BadInput(f"{self.authorities}: {_reason(error)}; want certificates in PEM") from None
        return context


class TlsStream:
    """A handshaken connection with the face of a socket. NetworkFault where the handshake fails."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, hostname: str | None = None) -> None:
        """``hostname`` is the server's, at the client; None at the server. Closes the socket on failure."""
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=hostname is None, server_hostname=hostname
        )
        self._state = threading.Lock()
        sock.settimeout(HANDSHAKE_SECONDS)
        try:
            self._shake()
        except OSError as error:
            sock.close()
            raise NetworkFault(f"no TLS with the peer: {_reason(error)}") from None

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        self._sock.setsockopt(level, name, value)

    def settimeout(self, seconds: float | None, /) -> None:
        self._sock.settimeout(seconds)

    def sendall(self, data: Buffer, /) -> None:
        view, at = memoryview(data).cast("B"), 0
        while at < len(view):
            with self._state:
                at += self._tls.write(view[at : at + PIECE])
                records = self._outgoing.read()
            self._sock.sendall(records)

    def recv_into(self, view: memoryview, /) -> int:
        while True:
            with self._state:
                try:
                    return int(self._tls.read(len(view), view))
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLEOFError:
                    return 0
            self._more()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            with self._state:
                with contextlib.suppress(ssl.SSLWantReadError):
                    self._tls.unwrap()
                farewell = self._outgoing.read()
            self._sock.setblocking(False)
            self._sock.send(farewell)
        self._sock.close()

    def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._sock.sendall(self._outgoing.read())
                self._more()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert that tells the peer why
                    self._sock.sendall(self._outgoing.read())
                raise
        self._sock.sendall(self._outgoing.read())

    def _more(self) -> None:
        """Read what has arrived; the end of the stream too."""
        data = self._sock.recv(PIECE)
        with self._state:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()


def _reason(error: Exception) -> str:
    """OpenSSL's reason in words, without its source lines."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"the server's certificate is not accepted: {error.verify_message}"
        case ssl.SSLEOFError():
            return "the peer closed the connection; does it use TLS?"
        case ssl.SSLError():
            return (error.reason or str(error).partition(" (_ssl.c")[0]).replace("_", " ").lower()
        case TimeoutError():
            return "the peer is silent; does it use TLS?"
        case OSError():
            return error.strerror or str(error)
    return str(error)
