"""The server of the page: loopback only, one page and one question to the models, each under a random path.

Other web pages, which a browser also lets send requests to this machine, cannot use it: they do not know the path, and
a request is refused unless it names this server as its host and comes from its own page.
"""

import dataclasses
import http.server
import json
import secrets
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from codefit import console
from codefit.errors import UserError
from codefit.page.rendering import render

ADDRESS = "127.0.0.1"
MOST_BYTES = 1 << 20  # of a question
MOST_NEW_TOKENS = 512
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Ask = Callable[[str, str | None, int], Sequence[Any]]  # prompt, suffix and new tokens to answers, which are dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What the page asks."""

    prompt: str
    suffix: str | None
    new_tokens: int

    @classmethod
    def of(cls, body: bytes) -> "Question":
        """Return a question.

        Raises:
            ValueError: the body is no JSON, or a field is missing or invalid.
        """
        found = json.loads(body)
        if not isinstance(found, dict):
            raise ValueError("a question is an object")
        prompt, suffix, new_tokens = found.get("prompt"), found.get("suffix"), found.get("new_tokens")
        if not isinstance(prompt, str) or not (suffix is None or isinstance(suffix, str)):
            raise ValueError("prompt and suffix are texts")
        if type(new_tokens) is not int or not 1 <= new_tokens <= MOST_NEW_TOKENS:
            raise ValueError(f"new_tokens is a number from 1 to {MOST_NEW_TOKENS}")
        return cls(prompt, suffix, new_tokens)


class Server(http.server.ThreadingHTTPServer):
    """Answers questions one after the other.

    Attributes:
        page: the HTML page.
        url: where it is; only who knows it can ask.
    """

    daemon_threads = True

    def __init__(self, ask: Ask, page: str, port: int = 0) -> None:
        try:
            super().__init__((ADDRESS, port), Handler)
        except OSError as error:
            raise UserError(f"cannot listen on port {port} ({error.strerror}); give another one with --web.") from None
        self.ask = ask
        self.page = page
        self.path = f"/{secrets.token_urlsafe(24)}/"
        self.hosts = {f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"}
        self.url = f"http://{ADDRESS}:{self.server_port}{self.path}"
        self.one_at_a_time = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    """Handles one request."""

    server: Server
    server_version, sys_version = "codefit", ""
    timeout = 60

    def do_GET(self) -> None:
        if self._is_ours(self.server.path):
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)

    def do_POST(self) -> None:
        if not self._is_ours(f"{self.server.path}complete"):
            return
        length = self.headers.get("Content-Length", "")
        if self.headers.get_content_type() != "application/json" or not length.isascii() or not length.isdigit():
            self._refuse(HTTPStatus.BAD_REQUEST, "a question is JSON with its length")
        elif int(length) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a question has at most {MOST_BYTES} bytes")
        else:
            self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        try:
            question = Question.of(body)
            with self.server.one_at_a_time:
                found = self.server.ask(question.prompt, question.suffix, question.new_tokens)
        except (ValueError, UserError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        content = json.dumps({"answers": [dataclasses.asdict(each) for each in found]})
        self._send(HTTPStatus.OK, "application/json", content)

    def _is_ours(self, path: str) -> bool:
        """Return whether a request names this path and comes from our page; refuse it otherwise."""
        origin = self.headers.get("Origin")
        own = {f"http://{host}" for host in self.server.hosts}
        site = self.headers.get("Sec-Fetch-Site", "none")
        is_ours = (
            self.headers.get("Host") in self.server.hosts
            and (origin is None or origin in own)
            and site in ("none", "same-origin")
            and secrets.compare_digest(self.path.encode(), path.encode())
        )
        if not is_ours:
            self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        return is_ours

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # the rest of a refused request is not read
        self._send(status, "application/json", json.dumps({"error": reason}))

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: a request holds the user's code, and its path is secret."""


def page(names: Sequence[str], has_infill: bool, new_tokens: int) -> str:
    """Return the page for models with these names."""
    folder = Path(__file__).parent
    new_tokens = min(new_tokens, MOST_NEW_TOKENS)
    return render(
        folder,
        "playground.html",
        title=f"{names[-1]} – codefit",
        names=names,
        has_infill=has_infill,
        new_tokens=new_tokens,
        most_new_tokens=MOST_NEW_TOKENS,
    )


def serve(ask: Ask, names: Sequence[str], has_infill: bool, new_tokens: int, port: int) -> None:
    """Serve the page until Ctrl-C."""
    with Server(ask, page(names, has_infill, new_tokens), port) as server:
        console.show(f"open {server.url} in a browser on this machine; Ctrl-C ends it")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.show("stopped")
