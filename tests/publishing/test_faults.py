"""Every call to the Hub fails in every way that a Hub can fail, with the real client over HTTP, with xet and without.

One process makes all calls, one after the other, and logs all that the client tells in its most talkative mode.
"""

import contextlib
import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import WRITE_TOKEN, XET_TOKEN, Fault, HubServer
from tests.support.hub_server.process import Client, error_of, run
from tests.support.pushing import COMMIT, CREATE, FOREVER, contents, push, titles

# Every call that a push makes, as the client words it: to the Hub, and with large files without xet and with it.
HUB = {
    "whoami": "GET /api/whoami",
    "create": CREATE,
    "repository": "GET /api/models/[^/]+/[^/]+$",
    "card": "POST /api/validate-yaml",
    "preupload": "POST .*/preupload/",
    "commit": COMMIT,
}
PLAIN = {
    "batch": "POST .*/lfs/objects/batch",
    "file": "PUT /large",
    "verify": "POST /large/.*/verify",
}
XET = {
    "xet token": "GET .*/xet-write-token/",
    "chunk": "GET /xet/v1/chunks/",
    "grant": "POST /xet/v1/xorb-grants/",
    "block": "PUT /granted/|POST /xet/v1/xorbs/",  # the second is tried when the first fails
    "confirm": "POST /xet/v1/xorb-commits/",
    "table": "POST /xet/v./shards",
}
STORED = [call for call in XET if call != "xet token"]  # what goes to the storage, not to the Hub
CALLS = {**HUB, **PLAIN, **XET}
# What goes wrong, and what the sentence then says.
WRONG = {
    "401": ({"status": 401}, "does not accept the token (401", "`hf auth login`"),
    "403": ({"status": 403}, "the token may not write to {repo} (403", "the role write"),
    "404": ({"status": 404}, "{repo} does not exist or the token may not see it (404", "check the name"),
    "409": ({"status": 409}, "another operation on {repo} is in progress (409", "wait a minute"),
    "413": ({"status": 413}, "a file is too large for the Hub (413", "smaller pieces"),
    "429": ({"status": 429, "headers": {"Retry-After": "9"}}, "too many requests (429", "wait 9 s"),
    "500": ({"status": 500}, "the Hub has a problem (500", "status.huggingface.co"),
    "502": ({"status": 502, "body": "<html>bad gateway</html>"}, "the Hub has a problem (502)", "and wait"),
    "web page": (
        {"status": 200, "body": "<html>log in</html>"},
        "answers with a web page instead of data",
        "the proxy",
    ),
    "no answer": ({"action": "drop"}, "the connection to http://127.0.0.1", "check the network"),
    "cut": ({"action": "cut"}, "the connection to http://127.0.0.1", "check the network"),
}
STORAGE = "the storage of the Hub does not accept the files"
CELLS = [
    (xet, call, wrong)
    for xet, calls in (("without xet", HUB | PLAIN), ("with xet", HUB | XET))
    for call in calls
    for wrong in WRONG
    if wrong != "cut" or call in {"file", "block"}
]
# A storage that answers an upload with a web page took nothing: the next question finds no file, or no block of it.
OTHER_WORDS = {
    **{
        (call, wrong): STORAGE
        for call in ("file", *XET)
        for wrong in ("401", "403", "404", "409")
        if call != "xet token"
    },
    **{(call, "429"): "too many requests (429); wait a few minutes" for call in XET},
    **{(call, wrong): "the connection to http://localhost" for call in STORED for wrong in ("no answer", "cut")},
    ("file", "web page"): f"{STORAGE} (404)",
    ("grant", "web page"): f"{STORAGE} (400)",
    ("confirm", "web page"): f"{STORAGE} (400)",
    ("card", "502"): "a web page instead of data",
}
# The file is there, and the next attempt needs no word on it. Xet sends a chunk whether or not the storage may have it,
# and a block in another way where there are no grants.
MADE_GOOD = {
    *(("verify", wrong) for wrong in ("401", "403", "404", "409", "429", "web page")),
    *(("chunk", wrong) for wrong in WRONG if wrong != "web page"),
    *(("grant", "404"), ("confirm", "404")),
}


@pytest.fixture(scope="module")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[HubServer, Client]]]:
    """A Hub and its client, without xet and with it."""
    places = {name: tmp_path_factory.mktemp("talker") for name in ("without xet", "with xet")}
    with contextlib.ExitStack() as both:
        yield {name: both.enter_context(talking(place, name)) for name, place in places.items()}


@contextlib.contextmanager
def talking(place: Path, xet: str) -> Iterator[tuple[HubServer, Client]]:
    """Nothing that a client logs or leaves behind holds a token, tracebacks included."""
    no_xet = "1" if xet == "without xet" else "0"
    with HubServer() as server:
        client = Client(server, place, HF_DEBUG="1", HF_HUB_VERBOSITY="debug", HF_HUB_DISABLE_XET=no_xet)
        yield server, client
        log = client.close()
        if client.errors:  # none where pytest gave all cells of this client to other processes
            assert "Traceback" in log
        written = [path for path in place.rglob("*") if path.is_file()]
        for token in (WRITE_TOKEN, XET_TOKEN):
            assert not [path for path in written if token.encode() in path.read_bytes()]
        assert server.api.unknown == []


@pytest.mark.parametrize(("xet", "call", "wrong"), CELLS)
def test_every_call_that_fails_in_every_way(
    talkers: dict[str, tuple[HubServer, Client]], folder: Path, xet: str, call: str, wrong: str
) -> None:
    server, client = talkers[xet]
    fault, happened, to_do = WRONG[wrong]
    repo = f"tester/{call}-{wrong}".replace(" ", "-")
    (folder / "model.safetensors").write_bytes(random.Random(repo).randbytes(100_000))  # nothing that was sent before
    server.faults[:] = [Fault(CALLS[call], times=FOREVER, **fault)]  # type: ignore[arg-type]
    before, asked = contents(folder), server.count(CALLS[call])

    early = call == "whoami"
    error = client.ask(
        ("check_repository", {"repo_id": repo, "kind": "model"}) if early else push(folder, repo_id=repo)
    )

    assert server.count(CALLS[call]) > asked, "the call was not made"
    assert contents(folder) == before
    if (call, wrong) in MADE_GOOD:
        assert not error
        assert titles(server, "model", repo) == ["initial commit", "A push"]
        assert server.files("model", repo)["model.safetensors"] == before["model.safetensors"]
        return
    assert error.startswith(f"cannot push to {repo}: " if early else f"{folder} was not pushed to {repo}: ")
    said = OTHER_WORDS.get((call, wrong), happened)
    assert said.format(repo=repo) in error
    assert to_do in error or said != happened
    assert ("nothing was started" if early else f"continue with: hf upload {repo} ") in error
    assert "\n" not in error
    assert "<html" not in error
    if ("model", repo) in server.api.repositories:
        assert titles(server, "model", repo) == ["initial commit"]


ODD_ANSWERS = {
    **{"list": "[]", "null": "null", "text": '"x"', "number": "7", "true": "true", "empty": "{}", "deep": "[" * 99_999},
    "types": json.dumps(
        dict.fromkeys(
            ("name", "auth", "url", "id", "sha", "private", "files", "errors", "warnings", "commitUrl", "commitOid"), 7
        )
    ),
    "lists": json.dumps(
        {name: [[]] for name in ("name", "auth", "url", "id", "sha", "private", "files", "errors", "warnings")}
    ),
    "nested": json.dumps(
        {"auth": {"accessToken": []}, "files": [None], "id": None, "siblings": [7], "lastModified": 7}
    ),
}


@pytest.mark.parametrize("odd", ODD_ANSWERS)
@pytest.mark.parametrize("call", HUB)
def test_an_answer_of_other_types_is_a_sentence_or_does_no_harm(
    talkers: dict[str, tuple[HubServer, Client]], folder: Path, call: str, odd: str
) -> None:
    server, client = talkers["without xet"]
    repo = f"tester/odd-{call}-{odd}"
    server.faults[:] = [Fault(CALLS[call], times=FOREVER, status=200, body=ODD_ANSWERS[odd])]
    before = contents(folder)
    asked = ("check_repository", {"repo_id": repo, "kind": "model"}) if call == "whoami" else push(folder, repo_id=repo)
    error = client.ask(asked)
    server.faults.clear()
    assert contents(folder) == before
    assert "\n" not in error
    assert len(error) < 1000
    if error:
        assert repo in error
        assert "check HF_ENDPOINT" in error or "; correct it" in error or "check the network" in error


def no_storage(server: HubServer) -> Fault:
    return Fault(
        "xet-write-token", body=json.dumps({**server.api.xet.token(""), "casUrl": "http://127.0.0.1:9"}), status=200
    )


def silence(server: HubServer) -> Fault:
    return Fault("POST .*/xorb-grants/", action="stall", seconds=0.5)


@pytest.mark.parametrize(("fault", "address"), [(no_storage, "http://127.0.0.1:9 "), (silence, "http://localhost:")])
def test_an_unreachable_or_silent_storage_is_one_sentence(
    tmp_path: Path, folder: Path, fault: Callable[[HubServer], Fault], address: str
) -> None:
    with HubServer() as server:
        server.faults.append(dataclasses.replace(fault(server), times=FOREVER))
        short = {"HF_HUB_DISABLE_XET": "0", "HF_XET_CLIENT_READ_TIMEOUT": "200ms"}
        error = error_of(run(server, tmp_path, push(folder), **short))
    assert f"the connection to {address}" in error
    assert "failed; check the network; all files are saved in that folder; continue with: hf upload" in error
    assert titles(server) == ["initial commit"]
