"""Every call to the Hub fails in every way that a Hub can fail, with the real client over HTTP.

One process makes all calls, one after the other, and logs all that the client tells in its most talkative mode.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import WRITE_TOKEN, Fault, HubServer
from hub_server.process import Client
from test_hub import COMMIT, CREATE, FOREVER, contents, folder, push, titles  # noqa: F401

# Every call that we make, as the client words it.
CALLS = {
    "whoami": "GET /api/whoami",
    "create": CREATE,
    "repository": "GET /api/models/",
    "card": "POST /api/validate-yaml",
    "preupload": "POST .*/preupload/",
    "batch": "POST .*/lfs/objects/batch",
    "file": "PUT /large",
    "verify": "POST /large/.*/verify",
    "commit": COMMIT,
}
# What goes wrong, and what the sentence then says.
WRONG = {
    "401": ({"status": 401}, "does not accept the token (401", "`hf auth login`"),
    "403": ({"status": 403}, "the token may not write to {repo} (403", "the role write"),
    "404": ({"status": 404}, "{repo} does not exist or the token may not see it (404", "check the name"),
    "409": ({"status": 409}, "another operation on {repo} is in progress (409", "wait a minute"),
    "413": ({"status": 413}, "a file is too large for the Hub (413", "smaller pieces"),
    "429": ({"status": 429, "headers": {"Retry-After": "9"}}, "too many requests (429", "wait 9 s"),
    "500": ({"status": 500}, "the Hub itself has trouble (500", "status.huggingface.co"),
    "502": ({"status": 502, "body": "<html>bad gateway</html>"}, "the Hub itself has trouble (502)", "and wait"),
    "web page": (
        {"status": 200, "body": "<html>log in</html>"},
        "answers with a web page instead of data",
        "the proxy",
    ),
    "no answer": ({"action": "drop"}, "the connection to http://127.0.0.1", "check the network"),
    "cut": ({"action": "cut"}, "the connection to http://127.0.0.1", "check the network"),
}
STORAGE = "the storage of the Hub does not take the files"
CELLS = [(call, wrong) for call in CALLS for wrong in WRONG if wrong != "cut" or call == "file"]
# A storage that answers an upload with a web page took nothing: the next question finds no file.
OTHER_WORDS = {
    **{("file", wrong): STORAGE for wrong in ("401", "403", "404", "409")},
    ("file", "web page"): f"{STORAGE} (404)",
    ("card", "502"): "a web page instead of data",
}
# The file is there, and the next attempt needs no word on it.
MADE_GOOD = {("verify", wrong) for wrong in ("401", "403", "404", "409", "429", "web page")}


@pytest.fixture(scope="module")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubServer, Client]]:
    """A Hub and its client. Nothing that is logged holds the token, tracebacks included."""
    place = tmp_path_factory.mktemp("talker")
    with HubServer(place / "xet") as server:
        client = Client(server, place, HF_DEBUG="1", HF_HUB_VERBOSITY="debug")
        yield server, client
        log = client.close()
        assert "Traceback" in log
        assert "/api/" in log
        assert WRITE_TOKEN not in log
        assert server.api.unknown == []


@pytest.mark.parametrize(("call", "wrong"), CELLS)
def test_every_call_that_fails_in_every_way(
    talker: tuple[HubServer, Client], folder: Path, call: str, wrong: str
) -> None:
    server, client = talker
    fault, happened, to_do = WRONG[wrong]
    repo = f"tester/{call}-{CELLS.index((call, wrong))}"
    server.api.large.clear()
    server.faults[:] = [Fault(CALLS[call], times=FOREVER, **fault)]  # type: ignore[arg-type]
    before, asked = contents(folder), server.count(CALLS[call])

    early = call == "whoami"
    error = client.ask(("preflight", {"repo_id": repo, "kind": "model"}) if early else push(folder, repo_id=repo))

    assert server.count(CALLS[call]) > asked, "the call was not made"
    assert contents(folder) == before
    if (call, wrong) in MADE_GOOD:
        assert not error
        assert titles(server, "model", repo) == ["initial commit", "A push"]
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
