"""A web service on this machine: answers as it is told, and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class WebService:
    """with WebService() as service: service.body = b"…"; …; service.requests"""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.answer: Callable[[dict[str, Any]], object] | None = None
        """Makes the body from what a POST brought, in place of `body`."""
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[dict[str, str], Any]] = []
        """Headers and JSON of each request."""
        self.changed = threading.Condition()
        self.held = threading.Event()
        """Cleared: no answer is given until it is set."""
        self.held.set()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                asked = json.loads(self.rfile.read(length)) if length else None
                with service.changed:
                    service.requests.append((dict(self.headers), asked))
                    service.changed.notify_all()
                service.held.wait(60)
                body = service.body if service.answer is None else json.dumps(service.answer(asked)).encode()
                self.send_response(service.status)
                for name, value in service.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """Who asks may give up waiting."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/access"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for_requests(self, count: int) -> None:
        """Until so many have come."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, 60)

    def stop(self) -> None:
        """Nobody is there any more. A second time does nothing."""
        self.held.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
