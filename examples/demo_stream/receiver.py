"""A receiver of webhooks, as one writes it: verifies the signature, drops what comes twice, and answers 204."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLERANCE_SECONDS = 300


class AlertReceiver:
    """A receiver on a port of this machine. A context manager.

    Attributes:
        events: id -> the body of what came.
        num_repeated, num_refused: came again; with a wrong signature or an old one.
    """

    def __init__(self, secret: str) -> None:
        self._key = base64.b64decode(secret.removeprefix("whsec_"))
        self._lock = threading.Lock()
        self.events: dict[str, dict[str, Any]] = {}
        self.num_repeated = self.num_refused = 0
        receiver = self

        class _Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(receiver.take(self.headers, body))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def take(self, headers: Any, body: bytes) -> int:
        """The status to answer a message with."""
        own_id, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "0")
        signed = f"{own_id}.{at}.".encode() + body
        expected = base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
        given = headers.get("webhook-signature", "").split()
        is_ours = any(hmac.compare_digest(f"v1,{expected}", each) for each in given)
        with self._lock:
            if not is_ours or abs(time.time() - int(at)) > TOLERANCE_SECONDS:
                self.num_refused += 1
                return 401
            self.num_repeated += own_id in self.events
            self.events[own_id] = json.loads(body)
            return 204

    def __enter__(self) -> AlertReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
