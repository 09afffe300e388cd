"""TLS 1.3 around a connected socket, for the two threads of a transport: one sends, one receives.

Python's own SSLSocket shares one OpenSSL object between its readers and writers without a lock. Here the
object works on memory alone, under a lock, and the socket is read and written outside of it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from ..base.errors import BadInput, NetworkFault
from ..base.wire import Buffer
from .authority import Issued, common_name
from .deadline import OPENING_SECONDS, Deadline
from .stream import SocketStream
from .tls_faults import NO_TLS, reason

log = logging.getLogger(__name__)

PIECE = 1 << 18


@dataclass(frozen=True)
class ServerTls:
    """Files of the server, PEM: its certificate chain, private key, and whom it trusts to name its clients.

    Without ``clients`` it does not ask who they are.
    """

    certificate: str | Path
    key: str | Path
    clients: str | Path | None = None

    def context(self) -> ssl.SSLContext:
        """BadInput where a file is missing, not PEM, the key another's or locked, the certificate expired."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        _show(context, self.certificate, self.key)
        if self.clients is not None:
            _trust(context, self.clients)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True)
class ClientTls:
    """Whom the client trusts to name its server, PEM. Certificate and host name are checked.

    ``certificate`` and ``key`` say who it is, where the server asks for it.
    """

    authorities: str | Path
    certificate: str | Path | None = None
    key: str | Path | None = None

    def context(self) -> ssl.SSLContext:
        """BadInput as of `ServerTls.context`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _trust(context, self.authorities)
        if self.certificate is not None and self.key is not None:
            _show(context, self.certificate, self.key)
        return context


def _trust(context: ssl.SSLContext, authorities: str | Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except (OSError, ValueError) as error:
        raise BadInput(f"{authorities}: {reason(error)}; want certificates in PEM") from None


def _show(context: ssl.SSLContext, certificate: str | Path, key: str | Path) -> None:
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{certificate}, {key}: {reason(error)}; want a certificate chain and its key, PEM"
        ) from None
    if soon := Issued.read(Path(certificate)).check():
        log.warning("%s", soon)


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
            why = reason(error, self._tls)
            sock.close()
            raise NetworkFault(f"no TLS with the peer: {why}") from None

    @property
    def peer(self) -> str | None:
        """The name in the peer's certificate, which an authority vouches for; None where it showed none."""
        shown = self._tls.getpeercert(binary_form=True)
        return common_name(x509.load_der_x509_certificate(shown)) if shown else None

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
                except ssl.SSLError as error:  # in TLS 1.3 a server refuses a client after its handshake
                    raise OSError(reason(error)) from None
            self._more(deadline)

    @property
    def connected(self) -> bool:
        return self._raw.connected

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
            said = self._outgoing.read() or (REFUSAL if error.reason in NO_TLS else b"")
            with contextlib.suppress(OSError):  # the alert that tells the peer why
                self._send(said, due)
            raise
        self._send(self._outgoing.read(), due)
        return done

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
