"""bleu.py as a user calls it: numbers, errors, exit codes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bleu
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.records import Prediction, write_jsonl

EXAMPLE = ROOT / "data" / "example"
GOOD = '{"id": "1", "prompt": "", "prediction": "a", "reference": "b"}\n'


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    bleu.main([str(word) for word in words])
    return json.loads(capsys.readouterr().out)


def script(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "bleu.py"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_two_text_files_give_codexglues_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    files = ("-a", EXAMPLE / "answers.txt", "-p", EXAMPLE / "predictions.txt")
    result = run(capsys, *files)
    signatures = result.pop("signatures")
    assert result == {"edit_similarity": 61.25, "bleu": 29.38, "n": 20}
    assert signatures["edit_similarity"].startswith("edit_similarity|sim:indel|item:integer-half-even|pp:codexglue|")
    assert signatures["bleu"].startswith("bleu|tok:whitespace|order:4|smooth:add-1-all|pp:none|round:2|n:20|")


def test_a_predictions_file_gives_both_profiles(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, "--input", EXAMPLE / "predictions.jsonl")
    lines = run(capsys, "-a", EXAMPLE / "answers.txt", "-p", EXAMPLE / "predictions.txt")
    assert result["compat"] == lines
    honest = result["honest"]
    assert (honest["exact_match"], honest["next_line"], honest["n"]) == (15.0, 20.0, 20)
    assert honest["edit_similarity"] == pytest.approx(58.30386808984512)
    assert set(honest["signatures"]) == {"bleu", "chrf", "edit_similarity", "exact_match", "next_line"}


@pytest.mark.skipif("CODEXGLUE_SAMPLES" not in os.environ, reason="CODEXGLUE_SAMPLES names no folder")
def test_codexglues_sample_files(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.environ["CODEXGLUE_SAMPLES"])
    result = run(capsys, f"-a={folder / 'answers.txt'}", f"-p={folder / 'predictions.txt'}")
    assert (result["edit_similarity"], result["bleu"], result["n"]) == (37.53, 1.97, 100)


@pytest.mark.parametrize(
    ("answers", "predictions", "n"),
    [
        ("a b\n", "a b\n", 1),
        ("a b\n", "a b", 1),
        ("a b\r\n\r\n", "a b\n\n", 2),
        ("\n", "\n", 1),
        ("a\n\n", "a\n\n", 2),
        ("a\u2028b\x0c\n", "a\u2028b\x0c\n", 1),
        ("\ufeffa b\r\nc\r\n", "a b\nc\n", 2),
        ("a\rb\nc\n", "a\rb\nc\n", 2),
    ],
)
def test_a_line_is_an_item_and_an_empty_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: str, predictions: str, n: int
) -> None:
    (tmp_path / "a").write_text(answers, encoding="utf-8", newline="")
    (tmp_path / "p").write_text(predictions, encoding="utf-8", newline="")
    result = run(capsys, "-a", tmp_path / "a", "-p", tmp_path / "p")
    assert (result["n"], result["edit_similarity"]) == (n, 100.0)


@pytest.mark.parametrize(
    ("answers", "predictions", "sentence"),
    [
        (None, b"a\n", r"cannot read .*answers.txt: No such file or directory; check the path"),
        (b"a\n", None, r"cannot read .*predictions.txt: No such file or directory; check the path"),
        (b"", b"a\n", r"answers.txt is empty; give a file with one item per line"),
        (b"a\n", b"", r"predictions.txt is empty; give a file with one item per line"),
        (
            b"a\nb\n",
            b"a\n\n\n",
            r"answers.txt has 2 lines and .*predictions.txt has 3; give one prediction per reference",
        ),
        (b"a\n", b"\xff\xfe\n", r"predictions.txt is not UTF-8 text; save it as UTF-8"),
    ],
)
def test_text_files_that_cannot_be_scored(
    tmp_path: Path, answers: bytes | None, predictions: bytes | None, sentence: str
) -> None:
    for name, content in (("answers.txt", answers), ("predictions.txt", predictions)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        bleu.main(["-a", str(tmp_path / "answers.txt"), "-p", str(tmp_path / "predictions.txt")])


def test_a_carriage_return_in_a_prediction_costs_only_its_item(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_bytes(b"return a + b\nx = 1\n")
    (tmp_path / "p").write_bytes(b"return a + b\rfoo\nx = 1\n")
    result = run(capsys, "-a", tmp_path / "a", "-p", tmp_path / "p")
    assert result["n"] == 2
    assert 50 < result["edit_similarity"] < 100


def test_a_folder_is_not_a_text_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory; check the path"):
        bleu.main(["-a", str(tmp_path), "-p", str(tmp_path)])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read .*items.jsonl: No such file or directory"),
        (b"", "items.jsonl holds no predictions"),
        (b"\n\n", "items.jsonl holds no predictions"),
        (GOOD.encode() + b"{broken\n", r"items.jsonl:2: not valid JSON"),
        (b"[1]\n", "items.jsonl:1: not a JSON object but of type list"),
        (b'{"id": "1", "prompt": "", "prediction": "a"}\n', 'items.jsonl:1: the field "reference" of a Prediction'),
        (b'{"id": "1", "prompt": "", "prediction": 3, "reference": "b"}\n', '"prediction" must be text, not int'),
        (b"\xff\n", "items.jsonl is not UTF-8 text"),
    ],
)
def test_predictions_files_that_cannot_be_scored(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "items.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        bleu.main(["--input", str(path)])


@pytest.mark.parametrize(
    "words",
    [[], ["-a", "x"], ["-p", "x"], ["-a", "x", "-p", "y", "--input", "z"], ["-a", "x", "--input", "z"]],
)
def test_both_kinds_of_input_or_neither_are_wrong_arguments(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        bleu.main(words)
    assert stop.value.code == 2
    assert "give either --answers and --predictions, or --input" in capsys.readouterr().err


def test_an_error_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    done = script("-a", tmp_path / "none", "-p", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: cannot read ")
    assert done.stderr.count("\n") == 1


def test_records_of_a_benchmark_can_be_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    items = [Prediction("1", "p", "x = 1\n", "x = 1", scores={"nats": 2.0}), Prediction("2", "p", "", "y")]
    write_jsonl(tmp_path / "predictions-base.jsonl", items)
    result = run(capsys, "--input", tmp_path / "predictions-base.jsonl")
    assert result["compat"]["edit_similarity"] == result["honest"]["exact_match"] == 50.0


def test_scoring_never_imports_torch_and_help_not_even_numpy() -> None:
    files = [str(EXAMPLE / name) for name in ("answers.txt", "predictions.txt")]
    code = (
        "import sys, bleu\n"
        "bleu.build_parser().format_help()\n"
        "assert 'numpy' not in sys.modules\n"
        f"bleu.main(['-a', {files[0]!r}, '-p', {files[1]!r}])\n"
        f"bleu.main(['--input', {str(EXAMPLE / 'predictions.jsonl')!r}])\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_scoring_two_text_files_never_imports_a_parser_or_a_task() -> None:
    files = [str(EXAMPLE / name) for name in ("answers.txt", "predictions.txt")]
    code = (
        "import sys, bleu\n"
        f"bleu.main(['-a', {files[0]!r}, '-p', {files[1]!r}])\n"
        "found = [name for name in sys.modules if name.startswith(('tree_sitter', 'codefit.tasks', 'codefit.code'))]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
