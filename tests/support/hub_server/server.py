"""The loopback Hub over HTTP: sockets, a log of requests, and faults on demand."""

import contextlib
import dataclasses
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.hub_server.api import Api
from tests.support.hub_server.store import File, Repository
from tests.support.hub_server.wire import Answer, Request


@dataclasses.dataclass
class Fault:
    """What goes wrong, and how often.

    `match` is a regular expression that is searched in "METHOD /path"; `times` counts down, -1 is for ever.
    `action`: "answer" (status, headers and body instead of the real answer), "drop" (the connection ends without an
    answer), "cut" (it ends in the middle of the upload), "lose" (the request is carried out and its answer is lost),
    "stall" (nothing comes for `seconds`, then the connection ends).
    """

    match: str
    times: int = 1
    action: str = "answer"
    status: int = 500
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: str = '{"error": "a fault on demand"}'
    seconds: float = 0


class HubServer:
    """A Hub on a free port of this machine, for the length of a `with` block."""

    def __init__(self) -> None:
        self.api = Api()
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self.http = _Http(("127.0.0.1", 0), _Handler)
        self.http.hub = self
        self.endpoint = self.api.endpoint = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def add_repository(self, kind: str, repo_id: str, *, private: bool, files: dict[str, bytes] | None = None) -> None:
        """Make a repository that is there before the test begins, whoever owns it."""
        made = self.api.repositories[kind, repo_id] = Repository(kind, repo_id, private)
        if files:
            made.add("files", {path: File.regular(data) for path, data in files.items()})

    def repository(self, kind: str, repo_id: str) -> Repository:
        return self.api.repositories[kind, repo_id]

    def files(self, kind: str, repo_id: str) -> dict[str, bytes]:
        """Return the files at the head of a repository, without .gitattributes."""
        files = self.repository(kind, repo_id).head.files
        return {path: self.api.read(file) for path, file in files.items() if path != ".gitattributes"}

    def count(self, pattern: str) -> int:
        """Return how many requests "METHOD /path" a regular expression is found in."""
        return sum(bool(re.search(pattern, line)) for line in self.requests)

    def take_fault(self, line: str) -> Fault | None:
        """Note a request and return the fault that is due for it."""
        with self.lock:
            self.requests.append(line)
            for fault in self.faults:
                if fault.times and re.search(fault.match, line):
                    fault.times -= 1
                    return fault
        return None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    hub: HubServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that went away: that is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which would hold back every answer for 40 ms
    server: _Http

    def handle_any(self) -> None:
        """Read a request, let a fault have it or answer it."""
        fault = self.server.hub.take_fault(f"{self.command} {self.path}")
        action = fault.action if fault else ""
        if fault and action in {"drop", "cut", "stall"}:
            self.rfile.read(1000 if action == "cut" else 0)
            time.sleep(fault.seconds)
            return self.hang_up()
        request = Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, self.read_body())
        if fault and action == "answer":
            return self.send(Answer(fault.status, fault.body.encode(), fault.headers))
        with self.server.hub.lock:
            answer = self.server.hub.api.answer(request)
        return self.hang_up() if action == "lose" else self.send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal free."""
