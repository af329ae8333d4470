"""A web server in a thread, and the ways in which it may misbehave."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

WEIGHTS = np.random.default_rng(0).bytes(700_000)  # more than one chunk
OTHER = np.random.default_rng(1).bytes(700_000)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site(ThreadingHTTPServer):
    """Answers each path with what ``answers`` says, one after the other; the last one again and again."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers = site.answers[self.path]
                answers[min(site.hits[self.path], len(answers) - 1)](self)
                self.close_connection = True

            def log_message(self, *rest: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.hits: Counter[str] = Counter()
        self.over = threading.Event()

    def url(self, *answers: Answer, path: str = "/weights") -> str:
        def counted(answer: Answer) -> Answer:
            def answering(request: BaseHTTPRequestHandler) -> None:
                self.hits[path] += 1
                answer(request)

            return answering

        self.answers[path] = [counted(answer) for answer in answers]
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, *rest: Any) -> None:
        """Clients that hang up are part of the tests."""


def reply(code: int, body: bytes = b"", **headers: Any) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in {"Content-Length": len(body), **headers}.items():
            if value is not None:
                request.send_header(name.replace("_", "-"), str(value))
        request.end_headers()
        request.wfile.write(body)

    return answer


def sends(body: bytes, **headers: Any) -> Answer:
    return reply(200, body, **headers)


def truncated(request: BaseHTTPRequestHandler) -> None:
    sends(WEIGHTS[:400_000], **{"Content-Length": len(WEIGHTS)})(request)


def stalled(request: BaseHTTPRequestHandler) -> None:
    truncated(request)
    request.wfile.flush()
    request.server.over.wait(20)  # type: ignore[attr-defined]


def silent(request: BaseHTTPRequestHandler) -> None:
    request.server.over.wait(20)  # type: ignore[attr-defined]


def hangs_up(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


def endless(request: BaseHTTPRequestHandler) -> None:
    reply(200, **{"Content-Length": None})(request)
    for _ in range(40):
        request.wfile.write(OTHER)
