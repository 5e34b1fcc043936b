"""The endpoints of the loopback Hub: from a request to an answer, without sockets."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote

from tests.support.hub_server import card_rules
from tests.support.hub_server.store import USERS, File, HubError, Repository, git_blob, is_large
from tests.support.hub_server.wire import Answer, Request, as_error, as_json
from tests.support.hub_server.xet import XetStore


class Api:
    """The state of the Hub and its endpoints; `endpoint` is its address, known once the server listens."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.xet = XetStore()
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.large: dict[str, bytes] = {}
        self.unknown: list[str] = []  # requests that no endpoint takes
        repo = r"/api/(models|datasets)/([^/]+/[^/]+)"
        self.routes: list[tuple[str, str, Callable[..., Answer]]] = [
            ("GET", "/api/agent-harnesses", lambda request: as_json({})),  # the hf command asks for these names
            ("GET", "/api/whoami-v2", self.whoami),
            ("POST", "/api/repos/create", self.create),
            ("POST", "/api/validate-yaml", self.validate_yaml),
            ("GET", repo, self.info),
            ("GET", repo + "/revision/([^/]+)", self.info),
            ("GET", repo + "/tree/([^/]+)(?:/(.*))?", self.tree),
            ("POST", repo + "/paths-info/([^/]+)", self.paths_info),
            ("POST", repo + "/preupload/([^/]+)", self.preupload),
            ("POST", repo + "/commit/([^/]+)", self.commit),
            ("GET", repo + "/xet-write-token/([^/]+)", self.xet_token),
            ("POST", r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.large_batch),
            ("PUT", "/large/([0-9a-f]{64})", self.put_large),
            ("POST", "/large/([0-9a-f]{64})/verify", self.verify_large),
            *self.xet.routes,
            ("HEAD|GET", "/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.resolve),
        ]

    def answer(self, request: Request) -> Answer:
        """Route a request to its endpoint."""
        try:
            for method, pattern, endpoint in self.routes:
                match = re.fullmatch(pattern, request.path)
                if match and request.method in method.split("|"):
                    return endpoint(request, *match.groups())
            self.unknown.append(f"{request.method} {request.path}")
            raise HubError(404, "no such endpoint")
        except HubError as error:
            return as_error(error)

    # ------------------------------------------------------------------------------------------ users

    def user(self, request: Request) -> dict[str, Any] | None:
        if request.token and request.token not in USERS:
            raise HubError(401, "Invalid credentials in Authorization header")
        return USERS.get(request.token)

    def writer(self, request: Request, repo_id: str) -> None:
        user = self.user(request)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        if user["role"] != "write" or repo_id.split("/")[0] not in {user["name"], *user["orgs"]}:
            raise HubError(403, f"You don't have the rights to write to {repo_id}")

    def repository(self, request: Request, kind: str | None, repo_id: str) -> Repository:
        user = self.user(request)
        found = self.repositories.get(("dataset" if kind and kind.startswith("datasets") else "model", repo_id))
        if found is None or (found.private and user is None):
            raise HubError(404 if user else 401, "Repository not found", "RepoNotFound")
        return found

    def whoami(self, request: Request) -> Answer:
        user = self.user(request)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        auth = {"type": "access_token", "accessToken": {"displayName": "test", "role": user["role"]}}
        return as_json({"name": user["name"], "orgs": [{"name": org} for org in user["orgs"]], "auth": auth})

    # ------------------------------------------------------------------------------------------ reading

    def create(self, request: Request) -> Answer:
        asked = request.json()
        user = self.user(request) or {"name": "nobody"}
        kind, repo_id = asked.get("type", "model"), f"{asked.get('organization') or user['name']}/{asked['name']}"
        self.writer(request, repo_id)
        url = f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
        if (kind, repo_id) in self.repositories:
            raise HubError(409, "You already created this repo", url=url)
        self.repositories[kind, repo_id] = Repository(kind, repo_id, asked.get("visibility") == "private")
        return as_json({"url": url})

    def validate_yaml(self, request: Request) -> Answer:
        asked = request.json()
        errors = [{"message": text} for text in card_rules.problems(asked["content"], asked["repoType"])]
        return as_json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def info(self, request: Request, kind: str, repo_id: str, revision: str = "main") -> Answer:
        repository = self.repository(request, kind, repo_id)
        commit = repository.at(unquote(revision))
        card = commit.files.get("README.md")
        data = card_rules.metadata((card.data or b"").decode()) if card else {}
        siblings = [{"rfilename": path} for path in sorted(commit.files)]
        facts = {"id": repo_id, "sha": commit.oid, "private": repository.private, "tags": data.get("tags", [])}
        return as_json({**facts, "siblings": siblings, "cardData": data, "gated": False, "disabled": False})

    def tree(self, request: Request, kind: str, repo_id: str, revision: str, folder: str | None = None) -> Answer:
        files = self.repository(request, kind, repo_id).at(unquote(revision)).files
        prefix = f"{unquote(folder).rstrip('/')}/" if folder else ""
        entries: dict[str, dict[str, Any]] = {}
        for path in sorted(path for path in files if path.startswith(prefix)):
            inner = path[len(prefix) :].split("/")
            for depth in range(1, len(inner)) if request.flag("recursive") else range(1, min(len(inner), 2)):
                name = prefix + "/".join(inner[:depth])
                entries[name] = {"type": "directory", "oid": git_blob(name.encode()), "size": 0, "path": name}
            if len(inner) == 1 or request.flag("recursive"):
                entries[path] = entry(path, files[path])
        if prefix and not entries:
            raise HubError(404, f"{folder} does not exist", "EntryNotFound")
        return as_json(list(entries.values()))

    def paths_info(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        files = self.repository(request, kind, repo_id).at(unquote(revision)).files
        asked = parse_qs(request.body.decode()).get("paths", [])
        return as_json([entry(path, files[path]) for path in asked if path in files])

    def resolve(self, request: Request, kind: str | None, repo_id: str, revision: str, path: str) -> Answer:
        commit = self.repository(request, kind, repo_id).at(unquote(revision))
        headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        file = commit.files.get(unquote(path))
        if file is None:
            missing = as_error(HubError(404, "Entry not found", "EntryNotFound"))
            return Answer(404, missing.body, missing.headers | headers)
        headers["ETag"] = f'"{file.sha256 or file.blob}"'
        if file.sha256:
            headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": headers["ETag"]}
        data = self.read(file)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not wanted:
            return Answer(200, data, headers)
        start, end = int(wanted[1]), min(int(wanted[2] or file.size), file.size - 1)
        if start >= file.size:
            return Answer(416, b"", {"Content-Range": f"bytes */{file.size}"})
        return Answer(206, data[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{file.size}"})

    def read(self, file: File) -> bytes:
        """Return the bytes of a file, wherever they came in."""
        if file.sha256 and file.sha256 not in self.large:
            self.large[file.sha256] = self.xet.read(file.sha256)
        return self.large[file.sha256] if file.sha256 else file.data or b""

    # ------------------------------------------------------------------------------------------ writing

    def preupload(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        self.writer(request, repo_id)
        known = self.repository(request, kind, repo_id).at(unquote(revision)).files
        modes = []
        for asked in request.json()["files"]:
            large = is_large(asked["path"], asked["size"])
            there = known.get(asked["path"])
            oid = (there.sha256 if large else there.blob) if there else None  # by which the client skips what is there
            mode = "lfs" if large else "regular"
            modes.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return as_json({"files": modes})

    def xet_token(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        self.writer(request, repo_id)
        return as_json(self.xet.token(self.endpoint))

    def large_batch(self, request: Request, kind: str | None, repo_id: str) -> Answer:
        self.writer(request, repo_id)
        objects = []
        for asked in request.json()["objects"]:
            url = f"{self.endpoint}/large/{asked['oid']}"
            actions = {"upload": {"href": url}, "verify": {"href": url + "/verify"}}
            there = asked["oid"] in self.large or self.xet.size(asked["oid"])
            objects.append({**asked, "authenticated": True, **({} if there else {"actions": actions})})
        return as_json({"transfer": "basic", "objects": objects})

    def put_large(self, request: Request, sha256: str) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != sha256:
            raise HubError(400, "the content does not have its sha256")
        self.large[sha256] = request.body
        return Answer()

    def verify_large(self, request: Request, sha256: str) -> Answer:
        if len(self.large.get(sha256, b"")) != request.json()["size"]:
            raise HubError(404, "no such object of that size")
        return as_json({})

    def commit(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        self.writer(request, repo_id)
        repository = self.repository(request, kind, repo_id)
        steps = [json.loads(line) for line in request.body.splitlines()]
        header = steps[0]["value"]
        if header.get("parentCommit") not in {None, repository.head.oid}:
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.head.files)
        for step in steps[1:]:
            self._apply(files, step["key"], step["value"])
        made = repository.add(header["summary"], files)
        prefix = "datasets/" if kind == "datasets" else ""
        return as_json({"commitOid": made.oid, "commitUrl": f"{self.endpoint}/{prefix}{repo_id}/commit/{made.oid}"})

    def _apply(self, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
        path = value["path"]
        if key == "file":
            files[path] = File.regular(base64.b64decode(value["content"]))
        elif key == "deletedFile":
            del files[path]
        elif value["oid"] in self.large:
            files[path] = File.large(value["oid"], len(self.large[value["oid"]]))
        elif found := self.xet.size(value["oid"]):
            files[path] = File.large(value["oid"], found)
        else:
            raise HubError(400, f"the content of {path} was never uploaded")


def entry(path: str, file: File) -> dict[str, Any]:
    """Return how listings show a file."""
    large = {"lfs": {"oid": file.sha256, "size": file.size, "pointerSize": 134}} if file.sha256 else {}
    return {"type": "file", "oid": file.blob, "size": file.size, "path": path, **large}
