"""Documents on the Hub: pushed by stage 1, read by stage 2, with the scripts and the real client over the loopback."""

import json
import subprocess
import sys

import pytest

from codefit.records import Document, to_line
from tests.support.corpus import kotlin_file
from tests.support.hub_server import Fault, card_rules
from tests.support.hub_server.process import ROOT, environment, error_of

REPO = "tester/kotlin-raw"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for number in range(40):
        (folder / f"File{number}.kt").write_text(kotlin_file(number))
    (folder / "Empty.kt").write_text("")
    (folder / "LICENSE").write_text((ROOT / "LICENSE").read_text())
    return folder


def stage(server, tmp_path, script, *words):
    command = [sys.executable, str(ROOT / script), *map(str, words)]
    env = environment(server, tmp_path)
    return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)


def parse(server, tmp_path, project, output, *flags):
    words = ["--repository", project, "--language", "kotlin", "--output", output, "--hf_repository", REPO, *flags]
    return stage(server, tmp_path, "parse_data.py", *words)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_pairs_from_the_hub_are_those_from_the_file(server, tmp_path, project, vocabulary, suffix):
    raw = tmp_path / f"raw{suffix}"
    done = parse(server, tmp_path, project, raw, "--private")
    assert done.returncode == 0, done.stderr
    assert f"pushed to {server.endpoint}/datasets/{REPO}/commit/" in done.stdout

    repository = server.repository("dataset", REPO)
    files = server.files("dataset", REPO)
    assert repository.private
    assert set(files) == {f"documents{suffix}", "rejected.jsonl", "manifest.json", "README.md"}
    assert files[f"documents{suffix}"] == raw.read_bytes()
    card = files["README.md"].decode()
    assert card_rules.problems(card, "dataset") == []
    assert card_rules.metadata(card)["license"] == ["apache-2.0"]
    assert "| too small | 1 |" in card
    assert f"preprocess_data.py --input {REPO}" in card

    rules = ["--model_name_or_path", vocabulary, "--max_prompt_tokens", "64", "--test_share", "0.2"]
    for name, documents in (("hub", REPO), ("local", raw)):
        done = stage(server, tmp_path, "preprocess_data.py", "--input", documents, "--output", name, *rules)
        assert done.returncode == 0, done.stderr
    for split in ("train", "validation", "test"):
        pairs = (tmp_path / "local" / f"{split}.jsonl").read_bytes()
        assert pairs == (tmp_path / "hub" / f"{split}.jsonl").read_bytes()
        assert pairs


def test_after_a_failed_push_the_same_command_only_pushes(server, tmp_path, project):
    raw = tmp_path / "raw.jsonl"
    server.faults.append(Fault("POST .*/commit/", times=1, status=403))
    error = error_of(parse(server, tmp_path, project, raw))
    assert error.startswith(f"error: {raw} was not pushed to {REPO}: the token may not write to {REPO} (403")
    assert error.endswith("it is saved; run the same command again, and only the push is repeated.")
    before = raw.stat().st_mtime_ns

    again = parse(server, tmp_path, project, raw)
    assert again.returncode == 0, again.stderr
    assert "is complete" in again.stdout
    assert raw.stat().st_mtime_ns == before
    assert [commit.title for commit in server.repository("dataset", REPO).commits][1:] == [
        "Documents parsed with codefit"
    ]

    (project / "More.kt").write_text(kotlin_file(99))
    as_parquet = parse(server, tmp_path, project, tmp_path / "raw.parquet")
    assert as_parquet.returncode == 0, as_parquet.stderr
    assert "documents.jsonl" not in server.files("dataset", REPO)  # else both would be read


def test_documents_with_a_secret_are_not_pushed(server, tmp_path, project):
    secret = "ghp_" + "0aB1cD2eF3" * 3 + "gH4iJ5"
    (project / "Key.kt").write_text(f'val token = "{secret}"\n')
    raw = tmp_path / "raw.jsonl"
    error = error_of(parse(server, tmp_path, project, raw))
    assert "project/Key.kt contains what looks like a GitHub token, so nothing was pushed" in error
    assert secret not in error
    assert raw.is_file()
    assert server.files("dataset", REPO) == {}


def test_a_public_repository_is_refused_before_any_work(server, tmp_path, project):
    server.add_repository("dataset", REPO, private=False)
    error = error_of(parse(server, tmp_path, project, tmp_path / "raw.jsonl", "--private"))
    assert "the repository is public, but private was requested" in error
    assert not (tmp_path / "raw.jsonl").exists()


def test_where_to_push_is_no_part_of_the_record(server, tmp_path, project):
    """A finished output can be pushed later without being made again."""
    words = ["--repository", project, "--language", "kotlin", "--output", tmp_path / "raw.jsonl"]
    assert stage(server, tmp_path, "parse_data.py", *words).returncode == 0
    done = stage(server, tmp_path, "parse_data.py", *words, "--hf_repository", REPO)
    assert done.returncode == 0, done.stderr
    assert "is complete" in done.stdout
    assert json.loads(server.files("dataset", REPO)["manifest.json"])["documents"] == 40


# ---------------------------------------------------------------------------------------------- the Hub as input

PAIRS = "tester/kotlin-pairs"


@pytest.fixture
def prepare_from_hub(server, tmp_path, vocabulary):
    """A function that runs stage 2 on the data set on the Hub, and returns the finished process."""

    def run(*flags, output="pairs"):
        words = ["--input", REPO, "--output", output, "--model_name_or_path", vocabulary, "--max_prompt_tokens", "64"]
        return stage(server, tmp_path, "preprocess_data.py", *words, "--test_share", "0.2", *flags)

    return run


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def rows(*numbers, **facts):
    """Return a file of documents as somebody else would write it."""
    made = (Document(kotlin_file(number), f"File{number}.kt", "o/r", language="kotlin", **facts) for number in numbers)
    return "".join(map(to_line, made)).encode()


def test_one_commit_of_a_data_set_is_read_and_recorded(server, tmp_path, project, prepare_from_hub):
    assert parse(server, tmp_path, project, tmp_path / "raw.jsonl").returncode == 0
    done = prepare_from_hub()
    assert done.returncode == 0, done.stderr
    read = server.repository("dataset", REPO).head.oid
    manifest = manifest_of(tmp_path / "pairs")
    assert manifest["hub"][REPO]["commit"] == read
    assert manifest["documents_of"] == {REPO: 40}
    before = (tmp_path / "pairs" / "train.jsonl").read_bytes()
    again = prepare_from_hub()
    assert again.returncode == 0, again.stderr
    assert "is complete" in again.stdout

    (project / "File0.kt").write_text(kotlin_file(77))
    assert parse(server, tmp_path, project, tmp_path / "raw.jsonl", "--overwrite").returncode == 0
    assert server.repository("dataset", REPO).head.oid != read
    checked = stage(server, tmp_path, "preprocess_data.py", "--output", "pairs", "--verify")
    assert checked.returncode == 0, checked.stderr  # the documents are read from the recorded commit
    assert "no leak" in checked.stdout
    assert error_of(prepare_from_hub()).endswith("already exists and is complete; add --overwrite to replace it.")
    done = prepare_from_hub("--overwrite")
    assert done.returncode == 0, done.stderr
    assert manifest_of(tmp_path / "pairs")["hub"][REPO]["commit"] == server.repository("dataset", REPO).head.oid
    assert (tmp_path / "pairs" / "train.jsonl").read_bytes() != before


def test_a_finished_output_needs_no_hub(server, tmp_path, project, prepare_from_hub):
    assert parse(server, tmp_path, project, tmp_path / "raw.jsonl").returncode == 0
    assert prepare_from_hub().returncode == 0
    server.faults.append(Fault("GET /api/datasets/.*", times=-1, status=404))
    again = prepare_from_hub()
    assert again.returncode == 0, again.stderr
    assert "is complete" in again.stdout
    error = error_of(prepare_from_hub(output="other"))
    assert error.startswith(f"error: cannot read the data set {REPO} from the Hub (")
    assert error.endswith("give a local file instead.")


def test_pairs_from_the_hub_keep_sources_and_licences(server, tmp_path, project, prepare_from_hub):
    assert parse(server, tmp_path, project, tmp_path / "raw.jsonl").returncode == 0
    done = prepare_from_hub("--hf_repository", PAIRS)
    assert done.returncode == 0, done.stderr
    card = server.files("dataset", PAIRS)["README.md"].decode()
    assert card_rules.problems(card, "dataset") == []
    assert card_rules.metadata(card)["license"] == ["apache-2.0"]
    assert "| project | directory |" in card
    assert "| files, parse_data.py | too small | 1 |" in card
    assert "python parse_data.py --repository" in card


@pytest.mark.parametrize("licences", [["apache-2.0", "mit"], None])
def test_the_licences_of_somebody_elses_data_set_are_those_of_its_card(licences, server, tmp_path, prepare_from_hub):
    configs = [{"config_name": "default", "data_files": [{"split": "train", "path": "data.jsonl"}]}]
    facts = {"configs": configs, **({"license": licences} if licences else {})}
    card = f"---\n{json.dumps(facts)}\n---\n"
    files = {"README.md": card.encode(), "data.jsonl": rows(*range(40)), "manifest.json": b"[1]"}
    server.add_repository("dataset", REPO, private=False, files=files)
    done = prepare_from_hub("--hf_repository", PAIRS)
    assert done.returncode == 0, done.stderr
    card = server.files("dataset", PAIRS)["README.md"].decode()
    assert card_rules.problems(card, "dataset") == []
    assert card_rules.metadata(card).get("license") == licences
    commit = server.repository("dataset", REPO).head.oid
    shown = " AND ".join(licences or ["unknown"])
    assert f"| {REPO} | data set on the Hub | {commit[:12]} | {shown} | 40 |" in card


def test_finished_pairs_are_pushed_without_being_made_again(server, tmp_path, project, prepare_from_hub):
    assert parse(server, tmp_path, project, tmp_path / "raw.jsonl").returncode == 0
    assert prepare_from_hub().returncode == 0
    made = (tmp_path / "pairs" / "train.jsonl").stat().st_mtime_ns
    done = prepare_from_hub("--hf_repository", PAIRS, "--private")
    assert done.returncode == 0, done.stderr
    assert "is complete" in done.stdout
    assert f"pushed to {server.endpoint}/datasets/{PAIRS}/commit/" in done.stdout
    assert server.repository("dataset", PAIRS).private
    assert (tmp_path / "pairs" / "train.jsonl").stat().st_mtime_ns == made
    assert manifest_of(tmp_path / "pairs")["arguments"]["hf_repository"] == PAIRS  # for the card of what it trains
    assert server.files("dataset", PAIRS)["train.jsonl"] == (tmp_path / "pairs" / "train.jsonl").read_bytes()
    again = prepare_from_hub("--hf_repository", PAIRS, "--private")
    assert again.returncode == 0, again.stderr
    assert len(server.repository("dataset", PAIRS).commits) == 2
