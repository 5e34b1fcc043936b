"""What goes over the wire: requests, answers, and answers that are errors."""

import dataclasses
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.hub_server.store import HubError


@dataclasses.dataclass(frozen=True)
class Request:
    """What came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def origin(self) -> str:
        """The address that the client knows this server by."""
        return f"http://{self.headers['host']}"

    def flag(self, name: str) -> bool:
        return parse_qs(urlsplit(self.target).query).get(name, [""])[0].lower() in {"1", "true"}

    def json(self) -> Any:
        return json.loads(self.body)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


def as_json(value: object, status: int = 200, **headers: str) -> Answer:
    """Return an answer that holds JSON."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})


def as_error(error: HubError) -> Answer:
    """Return the answer of an error, with the headers that the client reads."""
    headers = {"X-Error-Message": error.message}
    if error.code:
        headers["X-Error-Code"] = error.code
    return as_json({"error": error.message, **error.body}, error.status, **headers)
