"""The way to the Hub, driven with the real client over HTTP against a Hub on the loopback interface.

Every push runs in a process of its own, as a script does, and with time.sleep shortened.
"""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.publishing import hub_client
from codefit.publishing import push as publishing_push
from tests.support.hub_server import READ_TOKEN, WRITE_TOKEN, Fault, HubServer
from tests.support.hub_server.process import Call, environment, error_of, run
from tests.support.pushing import COMMIT, CREATE, FOREVER, REPO, contents, push, titles


def preflight(repo_id: str = REPO, **options: object) -> Call:
    return "check_repository", {"repo_id": repo_id, "kind": "model", **options}


# ---------------------------------------------------------------------------------------------- it works


@pytest.mark.parametrize("no_xet", ["1", "0"])
def test_a_push_is_one_commit_and_a_second_push_is_none(
    server: HubServer, folder: Path, tmp_path: Path, no_xet: str
) -> None:
    calls = (preflight(private=True), push(folder, private=True), push(folder, private=True))
    done = run(server, tmp_path, *calls, HF_HUB_DISABLE_XET=no_xet)

    assert done.returncode == 0, done.stderr
    _, first, second = done.stdout.splitlines()
    head = server.repository("model", REPO).head
    assert first == second == f"{server.endpoint}/{REPO}/commit/{head.oid}"
    assert titles(server) == ["initial commit", "A push"]
    assert server.repository("model", REPO).private
    pushed = {name: (folder / name).read_bytes() for name in ("model.safetensors", "config.json", "README.md")}
    assert server.files("model", REPO) == pushed
    assert "left out of the push: checkpoint-5/model.safetensors, optimizer.pt, training_args.bin" in done.stderr
    assert bool(server.count("xet-write-token")) == (no_xet == "0")


def test_a_fresh_download_has_the_same_bytes(server: HubServer, folder: Path, tmp_path: Path) -> None:
    assert run(server, tmp_path, push(folder, path_in_repo="merged")).returncode == 0
    fetch = "import sys, huggingface_hub; huggingface_hub.snapshot_download(sys.argv[1], local_dir=sys.argv[2])"
    elsewhere = environment(server, tmp_path, HF_HOME=str(tmp_path / "another home"))
    subprocess.run([sys.executable, "-c", fetch, REPO, str(tmp_path / "fetched")], env=elsewhere, check=True)

    for name in ("model.safetensors", "config.json", "README.md"):
        assert (tmp_path / "fetched" / "merged" / name).read_bytes() == (folder / name).read_bytes()


# ---------------------------------------------------------------------------------------------- what passes

PASSING_FAULTS = {
    "create fails once": (Fault("POST /api/repos/create", status=503), "1", "the Hub: 503; trying again in 2 s"),
    "the card check is down once": (Fault("validate-yaml", status=502, body="<html>"), "1", "JSONDecodeError"),
    "a Retry-After is kept": (
        Fault("POST .*/commit/", status=429, headers={"Retry-After": "7"}),
        "1",
        "the Hub: 429; trying again in 7 s (1 of 3)",
    ),
    "a rate limit's reset is kept": (
        Fault("POST /api/repos/create", status=429, headers={"RateLimit": '"api";r=0;t=55'}),
        "1",
        "the Hub: 429; trying again in 55 s (1 of 3)",
    ),
    "creating is busy elsewhere": (
        Fault(
            "POST /api/repos/create",
            status=409,
            body="Cannot create repo: another conflicting operation is in progress",
        ),
        "1",
        "the Hub: 409",
    ),
    "the connection is cut in an upload": (Fault("PUT /large", action="cut"), "1", "Retrying in 1s"),
    "the right to upload ran out": (Fault("PUT /large", status=403), "1", "the Hub: 403"),
    "the right to upload ran out, with xet": (Fault("POST .*/xorb-grants/", status=401), "0", "the Hub: 401"),
    "a storage is busy, with xet": (Fault("POST .*/shards", status=409), "0", "the Hub: 409"),
    "somebody else commits in between": (Fault("POST .*/commit/", status=412), "0", "the Hub: 412"),
    "the answer of a creation is lost": (Fault("POST /api/repos/create", action="lose"), "1", "RemoteProtocolError"),
    "the answer of a commit is lost": (Fault("POST .*/commit/", action="lose"), "1", "RemoteProtocolError"),
    "the answer of a commit is lost, with xet": (Fault("POST .*/commit/", action="lose"), "0", "the Hub: 412"),
}


@pytest.mark.parametrize("name", PASSING_FAULTS)
def test_a_temporary_failure_is_announced_and_retried(
    server: HubServer, folder: Path, tmp_path: Path, name: str
) -> None:
    fault, no_xet, note = PASSING_FAULTS[name]
    server.faults.append(Fault(**vars(fault)))

    done = run(server, tmp_path, push(folder), HF_HUB_DISABLE_XET=no_xet)

    assert done.returncode == 0, done.stderr
    assert note in done.stderr
    assert titles(server) == ["initial commit", "A push"]
    assert server.files("model", REPO)["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_silent_hub_times_out_and_is_retried(server: HubServer, folder: Path, tmp_path: Path) -> None:
    server.faults.append(Fault("POST /api/repos/create", action="stall", seconds=1.5))
    done = run(server, tmp_path, push(folder), SHORT_TIMEOUT="0.5")
    assert done.returncode == 0, done.stderr
    assert "the Hub: ReadTimeout; trying again" in done.stderr


# ---------------------------------------------------------------------------------------------- what does not pass

FAILURES = {
    "no room": (Fault(COMMIT, status=402), "1", "no storage left (402", "free some"),
    "busy for ever": (
        Fault(CREATE, status=409, body="another conflicting operation is in progress"),
        "1",
        "another operation on tester/kotlin-phi is in progress (409",
        "wait a minute",
    ),
    "others never stop": (
        Fault(COMMIT, status=412),
        "1",
        "changed by somebody else in the meantime (412",
        "wait until",
    ),
    "limited for long": (Fault(COMMIT, status=429, headers={"Retry-After": "3600"}), "1", "(429", "wait 3600 s"),
    "down, with xet": (Fault(COMMIT, status=503), "0", "the Hub has a problem (503", "status.huggingface.co"),
    "no right, with xet": (
        Fault("xet-write-token", status=403),
        "0",
        "may not write to tester/kotlin-phi (403",
        "role",
    ),
    "token in an answer": (
        Fault(COMMIT, status=400, headers={"X-Error-Message": f"Bad\nrequest of {WRITE_TOKEN}"}),
        "1",
        "refuses the request (400, Bad request of ***",
        "",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_sentence_and_loses_nothing(
    server: HubServer, folder: Path, tmp_path: Path, name: str
) -> None:
    fault, no_xet, happened, to_do = FAILURES[name]
    header = {key: value.replace("\n", " ") for key, value in fault.headers.items()}
    server.faults.append(Fault(**{**vars(fault), "times": FOREVER, "headers": header}))
    before = contents(folder)

    done = run(server, tmp_path, push(folder), HF_HUB_DISABLE_XET=no_xet)

    error = error_of(done)
    assert error.startswith(f"error: {folder} was not pushed to {REPO}: ")
    assert happened in error
    assert to_do in error
    assert "all files are saved in that folder; continue with: hf upload" in error
    assert contents(folder) == before
    assert all(titles(server, *repository) == ["initial commit"] for repository in server.api.repositories)
    assert server.count("repos/create") <= 1 + len(hub_client.WAITS)


def test_a_hub_that_stays_silent_is_one_sentence(server: HubServer, folder: Path, tmp_path: Path) -> None:
    server.faults.append(Fault(COMMIT, times=FOREVER, action="stall", seconds=0.5))
    error = error_of(run(server, tmp_path, push(folder), SHORT_TIMEOUT="0.2"))
    assert f"{server.endpoint} did not answer for 0.2 s; check the network" in error


def test_an_unreachable_hub_is_one_sentence(server: HubServer, folder: Path, tmp_path: Path) -> None:
    done = run(server, tmp_path, push(folder), HF_ENDPOINT="http://127.0.0.1:9")
    assert "the connection to http://127.0.0.1:9 failed; check the network" in error_of(done)


def test_a_card_that_the_hub_refuses(server: HubServer, folder: Path, tmp_path: Path) -> None:
    (folder / "README.md").write_text("---\nbase_model: /home/me/base\n---\n")
    error = error_of(run(server, tmp_path, push(folder)))
    assert "Invalid metadata in README.md" in error
    assert "'/home/me/base' is not valid" in error


@pytest.mark.parametrize("no_xet", ["1", "0"])
def test_the_command_in_the_error_finishes_the_push(
    server: HubServer, folder: Path, tmp_path: Path, no_xet: str
) -> None:
    server.faults.append(Fault(COMMIT, status=403))
    done = run(
        server,
        tmp_path,
        push(folder, private=True, replaced=publishing_push.ROOT_OF_A_MODEL),
        HF_HUB_DISABLE_XET=no_xet,
    )
    command = shlex.split(error_of(done).split("continue with: ")[1])

    command[0] = str(Path(sys.executable).with_name("hf"))
    changes = {"HF_HUB_DISABLE_XET": no_xet}
    subprocess.run(command, env=environment(server, tmp_path, **changes), check=True, capture_output=True)

    assert titles(server) == ["initial commit", "A push"]
    assert sorted(server.files("model", REPO)) == ["README.md", "config.json", "model.safetensors"]


# ---------------------------------------------------------------------------------------------- before long work


def refuse(match: str, **options: object) -> Fault:
    return Fault(match, times=FOREVER, **options)  # type: ignore[arg-type]


PREFLIGHTS = {
    "no token": (preflight(), {"HF_TOKEN": ""}, None, "there is no token; run `hf auth login`, or set HF_TOKEN"),
    "unknown token": (preflight(), {"HF_TOKEN": "hf_no"}, None, "does not accept the token (401"),
    "reader": (preflight(), {"HF_TOKEN": READ_TOKEN}, None, "may not write to tester/kotlin-phi (its role is read)"),
    "foreign namespace": (preflight("google/x"), {}, None, "may not write to google/x (403"),
    "offline": (preflight(), {"HF_HUB_OFFLINE": "1"}, None, "HF_HUB_OFFLINE is set; unset it"),
    "whoami limited": (preflight(), {}, refuse("whoami", status=429), "too many requests (429"),
    "whoami down": (preflight(), {}, refuse("whoami", status=503), "the Hub has a problem (503"),
    "login page": (preflight(), {}, refuse("whoami", status=200, body="<html>"), "a web page instead of data"),
}


@pytest.mark.parametrize("name", PREFLIGHTS)
def test_preflight_stops_before_anything_starts(server: HubServer, tmp_path: Path, name: str) -> None:
    call, changes, fault, happened = PREFLIGHTS[name]
    server.faults += [fault] if fault else []
    error = error_of(run(server, tmp_path, call, **changes))
    assert happened in error
    assert error.endswith("; nothing was started.")
    assert not server.api.repositories


def test_preflight_fails_for_a_public_repository_of_somebody_else(server: HubServer, tmp_path: Path) -> None:
    server.add_repository("model", "google/gemma", private=False)
    error = error_of(run(server, tmp_path, preflight("google/gemma")))
    assert "may not write to google/gemma (403" in error
    assert server.count("preupload") == 1


def test_a_dry_preflight_changes_nothing(server: HubServer, tmp_path: Path) -> None:
    assert run(server, tmp_path, preflight(create=False)).returncode == 0
    assert not server.api.repositories
    server.add_repository("model", REPO, private=False)
    server.add_repository("model", "google/gemma", private=False)
    assert run(server, tmp_path, preflight(create=False)).returncode == 0
    refused = {
        "the repository is public, but private was requested": preflight(create=False, private=True),
        "may not write to google/gemma (403": preflight("google/gemma", create=False),
    }
    for reason, call in refused.items():
        assert reason in error_of(run(server, tmp_path, call))
    assert titles(server) == ["initial commit"]


@pytest.mark.parametrize(("there", "asked"), [(False, True), (True, False)])
def test_a_repository_must_be_as_private_as_asked(
    server: HubServer, folder: Path, tmp_path: Path, there: bool, asked: bool
) -> None:
    server.add_repository("model", REPO, private=there)
    found, wanted = ("private", "public") if there else ("public", "private")
    for call in (preflight(private=asked), push(folder, private=asked)):
        assert f"the repository is {found}, but {wanted} was requested" in error_of(run(server, tmp_path, call))
    assert titles(server) == ["initial commit"]
    assert run(server, tmp_path, push(folder, private=None)).returncode == 0


@pytest.mark.parametrize("name", ["phi", "a/b/c", "me/-x", "me/a--b", "me/x.git", "me/a b", "", "/", "me/", "../x/y"])
def test_an_invalid_id_is_refused(name: str, folder: Path) -> None:
    for call in (
        lambda: publishing_push.check_repository(name, "model"),
        lambda: publishing_push.push_folder(folder, name, "model", message="x"),
    ):
        with pytest.raises(UserError, match="is not a valid Hub id; write it as owner/name"):
            call()


# ---------------------------------------------------------------------------------------------- the artefacts


def test_nothing_to_push(tmp_path: Path) -> None:
    (tmp_path / "optimizer.pt").write_bytes(b"x")
    with pytest.raises(UserError, match="has nothing to push; give the output folder of a stage"):
        publishing_push.push_folder(tmp_path, REPO, "model", message="x")


def test_folders_that_no_stage_wrote_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no adapter_config.json; give the folder that train.py wrote"):
        publishing_push.push_adapter(tmp_path, REPO)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(UserError, match=r"has no model\*.safetensors; give the folder that merge_lora.py wrote"):
        publishing_push.push_merged(tmp_path, REPO)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    made = tmp_path / "adapter"
    made.mkdir()
    (made / "adapter_config.json").write_text('{"base_model_name_or_path": "acme/base", "revision": null}')
    (made / "adapter_model.safetensors").write_bytes(b"adapter" * 100)
    (made / "README.md").write_text("---\nbase_model: /tmp/base\n---\nwhat a library wrote\n")
    return made


def test_a_repository_holds_the_adapter_or_the_whole_model(
    server: HubServer, folder: Path, adapter: Path, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "data" / "base" / "tokenizer.json", folder)
    server.add_repository("model", "acme/base", private=False, files={"README.md": b"---\nlicense: apache-2.0\n---\n"})
    whole = ("push_merged", {"folder": str(folder), "repo_id": REPO, "adapter": str(adapter)})
    alone = ("push_adapter", {"folder": str(adapter), "repo_id": REPO})

    assert run(server, tmp_path, alone).returncode == 0
    assert set(server.files("model", REPO)) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    card = server.files("model", REPO)["README.md"].decode()
    assert "base_model: acme/base\n" in card
    assert "base_model_relation: adapter\n" in card
    assert "license: apache-2.0" in card

    assert run(server, tmp_path, whole, whole).returncode == 0
    names = {"README.md", "config.json", "model.safetensors", "tokenizer.json"}
    moved = {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert set(server.files("model", REPO)) == names | moved
    assert len(titles(server)) == 4  # initial, adapter, adapter/ and the model; pushed again: nothing

    assert run(server, tmp_path, alone).returncode == 0
    assert "config.json" not in server.files("model", REPO)
    assert "model.safetensors" not in server.files("model", REPO)


def test_when_the_first_of_two_pushes_fails_both_commands_are_given(
    server: HubServer, folder: Path, adapter: Path, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "data" / "base" / "tokenizer.json", folder)
    server.faults.append(Fault(COMMIT, status=403))
    error = error_of(
        run(server, tmp_path, ("push_merged", {"folder": str(folder), "repo_id": REPO, "adapter": str(adapter)}))
    )
    first, second = error.split("continue with: ")[1].split(" && ")
    assert shlex.split(first)[:5] == ["hf", "upload", REPO, str(adapter), "adapter"]
    assert shlex.split(second)[:5] == ["hf", "upload", REPO, str(folder), "."]


def write_dataset(folder: Path, prompt: str = "fun main() {\n") -> Path:
    folder.mkdir()
    row = {"id": "1", "task": "completion", "prompt": prompt, "completion": "    println(1)"}
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "rejected.jsonl").write_text(json.dumps({"path": "a.kt", "rule": "binary", "value": 3}) + "\n")
    return folder


def test_a_data_set_can_be_loaded_from_the_hub(server: HubServer, tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "prepared")
    done = run(server, tmp_path, ("push_dataset", {"folder": str(made), "repo_id": REPO, "private": True}))
    assert done.returncode == 0, done.stderr

    load = "import datasets; d = datasets.load_dataset('tester/kotlin-phi'); print({k: d[k][0]['prompt'] for k in d})"
    command = [sys.executable, "-c", load]
    loaded = subprocess.run(command, env=environment(server, tmp_path), capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == str(dict.fromkeys(("train", "validation", "test"), "fun main() {\n"))


def test_a_data_set_with_a_secret_is_not_pushed(server: HubServer, tmp_path: Path) -> None:
    secret = "ghp_" + "0aB1cD2eF3" * 3 + "gH4iJ5"
    made = write_dataset(tmp_path / "prepared", prompt=f"val token = \n{secret}\n")
    error = error_of(run(server, tmp_path, ("push_dataset", {"folder": str(made), "repo_id": REPO})))
    assert f"{made}/test.jsonl:1 contains what looks like a GitHub token (and 2 more lines with secrets)" in error
    assert "nothing was pushed" in error
    assert secret not in error
    assert not server.requests
