"""Pushes of a folder to the Hub of tests/support/hub_server, and what is then there."""

from pathlib import Path

from tests.support.hub_server import HubServer
from tests.support.hub_server.process import Call

REPO = "tester/kotlin-phi"
FOREVER = -1
CREATE, COMMIT = "POST /api/repos/create", "POST .*/commit/"


def push(folder: Path, **options: object) -> Call:
    return "push_folder", {"folder": str(folder), "repo_id": REPO, "kind": "model", "message": "A push", **options}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def titles(server: HubServer, kind: str = "model", repo_id: str = REPO) -> list[str]:
    return [commit.title for commit in server.repository(kind, repo_id).commits]
