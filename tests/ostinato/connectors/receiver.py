"""A receiver of webhooks: a real HTTP server that answers as it is told, and verifies what it is sent by itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"

Answer: TypeAlias = tuple[int, dict[str, str]]


@dataclass
class Post:
    """What came: the message's id, and its body."""

    id: str
    body: dict[str, Any]
    path: str


@dataclass
class WebhookReceiver:
    """What came, in its order; ``answer`` says what is told to the n-th post."""

    answer: Callable[[int, Post], Answer]
    port: int = 0
    posts: list[Post] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/very-secret-path?token=hidden"

    def take(self, path: str, headers: Any, content: bytes) -> Answer:
        """Note a post, and what is wrong with it."""
        own_id, at = headers["webhook-id"], headers["webhook-timestamp"]
        expected = hmac.new(KEY, f"{own_id}.{at}.{content.decode()}".encode(), hashlib.sha256)
        given = [base64.b64decode(each.removeprefix("v1,")) for each in headers["webhook-signature"].split()]
        post = Post(own_id, json.loads(content), path)
        with self.lock:
            if expected.digest() not in given:
                self.faults.append(f"the signature of {own_id} is wrong")
            if "." in own_id or headers["content-type"] != "application/json":
                self.faults.append(f"{own_id}: {dict(headers)}")
            self.posts.append(post)
            return self.answer(len(self.posts), post)


def take_all(number: int, post: Post) -> Answer:
    """Take whatever comes."""
    del number, post
    return 204, {}


@contextmanager
def webhook_receiver(answer: Callable[[int, Post], Answer] = take_all, port: int = 0) -> Iterator[WebhookReceiver]:
    """A receiver on a port of its own."""
    receiver = WebhookReceiver(answer)

    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            status, headers = receiver.take(self.path, self.headers, content)
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
