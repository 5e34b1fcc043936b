"""A file is known by its repository and its path, and not by the two joined, which different files can share."""

import json
from pathlib import Path
from typing import Any

import pytest

import preprocess_data
from codefit.curation.curate import CurationOptions, curate
from codefit.records import Document, Rejection, read_rows
from codefit.tasks.cutting import name_of

PLACES = [
    *[("a", "b/c.py"), ("a/b", "c.py"), ("a/b/c", "d.py"), ("a", "b/c/d.py"), ("a%2Fb", "c.py")],
    *[("a/", "b/c.py"), ("/a", "c.py"), ("", "a/b/c.py"), ("b", "c.py"), ("a%252Fb", "c.py")],
]


def test_no_two_files_share_an_id() -> None:
    names = [name_of(Document("", path, repository)) for repository, path in PLACES]
    assert len(set(names)) == len(PLACES)
    assert name_of(Document("", "src/a.py", "owner/name")) == "owner/name/src/a.py"


def source(number: int) -> str:
    """Return a function that no rule rejects and that resembles no other one."""
    lines = [f"    value_{number}_{line} = argument_{number} * {line} + offset_{number}_{line}" for line in range(12)]
    return f"def work_{number}(argument_{number}):\n" + "\n".join(lines) + f"\n    return value_{number}_0\n"


def test_files_of_the_same_joined_name_are_all_kept_and_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"content": source(n), "path": path, "repository": name} for n, (name, path) in enumerate(PLACES)]
    (tmp_path / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = tmp_path / "out"
    command = ["--task", "document", "--num_workers", "1", "--input", str(tmp_path / "raw.jsonl")]
    preprocess_data.main([*command, "--output", str(output)])
    files = [
        path for name in ("train", "validation", "test", "test_overlap") if (path := output / f"{name}.jsonl").exists()
    ]
    pairs: list[dict[str, Any]] = [row for path in files for _, row in read_rows(path)]
    assert sorted((pair["repository"], pair["path"]) for pair in pairs) == sorted(PLACES)
    assert len({pair["id"] for pair in pairs}) == len(PLACES)
    capsys.readouterr()
    preprocess_data.main(["--output", str(output), "--verify"])
    assert capsys.readouterr().out


@pytest.mark.parametrize(
    ("licence", "rejected"),
    [
        *[("MIT", None), ("mit", None), ("apache-2.0 AND MIT", None), ("GPL-3.0", "GPL-3.0")],
        *[("MIT AND GPL-3.0", "MIT AND GPL-3.0"), ("", "unknown")],
    ],
)
def test_every_licence_of_a_file_must_be_allowed(licence: str, rejected: str | None) -> None:
    options = CurationOptions(rule=("licence=MIT,Apache-2.0",))
    outcome = curate(Document(source(0), "a.py", "o/r", license=licence), options).outcome
    assert (outcome == Rejection("licence", rejected)) if rejected else isinstance(outcome, Document)
