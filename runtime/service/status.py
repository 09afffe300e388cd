"""A server's health over HTTP, for those who run it: whether it lives, is ready, and its numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..base.errors import NetworkFault

TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class Status:
    """Answers GET of /healthz, /readyz and /metrics at ``address``; the port taken is in ``address`` then.

    ``metrics`` is asked for the text, ``ready`` whether a client that comes now is heard. NetworkFault where
    nobody can listen there.
    """

    def __init__(
        self, address: tuple[str, int], metrics: Callable[[], str], ready: Callable[[], bool]
    ) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # seconds for whoever asks and says nothing

            def do_GET(self) -> None:
                match self.path:
                    case "/healthz":
                        self._say(200, "alive\n")
                    case "/readyz":
                        self._say(*(200, "ready\n") if ready() else (503, "not ready\n"))
                    case "/metrics":
                        self._say(200, metrics(), EXPOSITION)
                    case _:
                        self._say(404, "there is /healthz, /readyz and /metrics\n")

            def _say(self, status: int, text: str, kind: str = TEXT) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Who scrapes every few seconds is not worth a line."""

        try:
            self._server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise NetworkFault(f"cannot listen on {where}: {error.strerror or error}") from None
        self._server.daemon_threads = True
        host, port = self._server.server_address[:2]
        self.address = str(host), int(port)

    def __enter__(self) -> Status:
        threading.Thread(target=self._server.serve_forever, name="ppc-status", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
