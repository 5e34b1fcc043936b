"""CodeXGLUE's pairs and scores, and the held-out pairs of a prepared data set."""

import importlib.metadata
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from codefit.errors import UserError
from codefit.evaluation import questions
from codefit.evaluation.benchmarks import codexglue, formats, heldout, installed_methods
from codefit.evaluation.questions import Questions
from codefit.evaluation.settings import QuestionSettings
from codefit.manifest import ROOT, Manifest, sha256
from codefit.records import Pair, write_jsonl
from tests.support.metrics import common_subsequence, independent_bleu, random_pairs

EXAMPLE = ROOT / "data" / "example"
ROW = {
    "signature": "def scale(self, factor=<NUM_LIT:2>, sep='<STR_LIT:U+002CU+0020>'):",
    "body": "if not self.on:<EOL><INDENT>return '<STR_LIT:off>'<EOL><DEDENT>self.x *= <NUM_LIT><EOL>",
    "docstring": "Scale it.\n\n        :param factor: by how much",
    "id": "f19:c4:m1",
}


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------ pairs


def test_a_row_is_turned_into_source_code(tmp_path: Path) -> None:
    (pair,) = codexglue.load(write_rows(tmp_path / "test.jsonl", [ROW]))
    assert pair == Pair(
        id="f19:c4:m1",
        task="method",
        prompt='def scale(self, factor=2, sep=\', \'):\n    """Scale it.\n\n    :param factor: by how much"""\n',
        completion="    if not self.on:\n        return 'off'\n    self.x *= 0",
        path="f19",
        language="python",
    )
    compile(pair.prompt + pair.completion, pair.id, "exec")


@pytest.mark.parametrize(
    ("code", "source"),
    [
        ("", ""),
        ("pass", "pass"),
        ("a<EOL>b", "a\nb"),
        ("if a:<EOL><INDENT>if b:<EOL><INDENT>c<EOL><DEDENT><DEDENT>d", "if a:\n    if b:\n        c\nd"),
        ("x = <NUM_LIT><EOL>y = '<STR_LIT>'", "x = 0\ny = ''"),
        ("'<STR_LIT:<br>>'", "'<br>'"),
        ("a<EOL><DEDENT><DEDENT>b", "a\nb"),
        ("f(a,<EOL>b)", "f(a,\nb)"),
    ],
)
def test_normalised_code_is_restored(code: str, source: str) -> None:
    assert codexglue.restore(code) == source


@pytest.mark.parametrize("docstring", ["", "One line.", "\n    Two\n    lines.\n", "  Hanging\n      more\n  end"])
def test_a_prompt_is_source_that_ends_at_a_line_end(docstring: str) -> None:
    prompt = codexglue.prompt("def f(a,<EOL>b):", docstring)
    assert prompt.endswith('"""\n')
    assert not any(line != line.rstrip() for line in prompt.split("\n"))
    compile(prompt + "    pass\n", "prompt", "exec")


def test_scores_are_the_same_for_a_masked_body_and_its_source() -> None:
    draw = random.Random(0)
    parts = ["<EOL>", "<INDENT>", "<DEDENT>", "<NUM_LIT>", "<NUM_LIT:7>", "'<STR_LIT>'", "'<STR_LIT:a  b>'", "x", " "]
    for _ in range(500):
        body = "".join(draw.choices(parts, k=12))
        assert codexglue.post_process(codexglue.restore(body, depth=1).rstrip()) == codexglue.post_process(body)


def test_a_local_file_is_preferred_to_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = write_rows(tmp_path / "test_codexglue.jsonl", [ROW, {**ROW, "id": "f2"}])
    monkeypatch.setattr(codexglue, "LOCAL", local)
    assert codexglue.test_file() == local
    assert [pair.id for pair in codexglue.load(local)] == ["f19:c4:m1", "f2"]


def test_without_a_file_a_fixed_revision_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def hf_hub_download(*words: str, **options: str) -> str:
        asked.append((words, options))
        return str(write_rows(tmp_path / "downloaded.jsonl", [ROW]))

    monkeypatch.setattr(codexglue, "LOCAL", tmp_path / "absent.jsonl")
    monkeypatch.setattr(codexglue.hub_names, "reach_for", lambda name: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    assert codexglue.test_file() == tmp_path / "downloaded.jsonl"
    revision = "2d6d185183689dd19e0116dd8e3c11a9fed0ba42"
    words = ("microsoft/codexglue_method_generation", "test.jsonl")
    assert asked == [(words, {"repo_type": "dataset", "revision": revision})]


def without_the_hub(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Make CodeXGLUE's test set unavailable: there is no file of it, and no Hub."""

    def hf_hub_download(*words: str, **options: str) -> str:
        raise ConnectionError("Couldn't reach the Hub\nlong traceback")

    patch.setattr(codexglue, "LOCAL", folder / "test_codexglue.jsonl")
    patch.setattr(codexglue.hub_names, "reach_for", lambda name: None)
    patch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)


def test_with_neither_file_nor_hub_the_error_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_hub(tmp_path, monkeypatch)
    with pytest.raises(UserError) as error:
        codexglue.test_file()
    sentence = str(error.value)
    assert "test_codexglue.jsonl is missing" in sentence
    assert "microsoft/codexglue_method_generation from the Hub failed (Couldn't reach the Hub); save" in sentence


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "has no rows; put CodeXGLUE's test.jsonl there"),
        ([ROW, {**ROW, "body": None}], 'test.jsonl:2: the field "body" must be text'),
        ([{"signature": "def f():"}], 'test.jsonl:1: the field "body" must be text'),
        ([{**ROW, "id": 7}], 'test.jsonl:1: the field "id" must be text'),
        ([["a"]], "test.jsonl:1: not a JSON object but of type list"),
    ],
)
def test_broken_rows_are_refused(tmp_path: Path, rows: list[Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        codexglue.load(write_rows(tmp_path / "test.jsonl", rows))


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        codexglue.load(tmp_path / "absent.jsonl")


# ------------------------------------------------------------------------------------------------ installed packages


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Questions], Manifest]]:
    """Return a function that loads benchmarks without CodeXGLUE's test set, of one small package."""
    without_the_hub(tmp_path, monkeypatch)
    monkeypatch.setattr(installed_methods, "PACKAGES", ("nonesuch", "tabulate"))
    monkeypatch.setenv("CODEFIT_CACHE", str(tmp_path / "cache"))

    def load(*names: str, trained_on: Sequence[Path] = ()) -> tuple[list[Questions], Manifest]:
        manifest = Manifest({})
        folders = tuple(map(str, trained_on))
        asked = QuestionSettings(names, str(tmp_path / "absent"), "test", None, 0, 0, 64, trained_on=folders)
        return questions.load(asked, manifest), manifest

    return load


def test_functions_of_installed_packages_are_asked_where_codexglue_is_not_to_be_had(
    ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    [found], manifest = ask("codexglue", "installed_methods")
    [(path, digest)] = manifest.content["inputs"].items()
    assert (found.name, found.format, found.new_tokens) == ("installed_methods", "installed_methods", 256)
    assert found.title == f"functions of installed packages (sha256 {digest[:12]})"
    assert digest[:12] in path
    assert sha256(Path(path)) == digest
    said = capsys.readouterr().out
    assert "note: the CodeXGLUE test set is not available" in said
    assert f"installed_methods: {path}, sha256 {digest}" in said
    assert "absent/train.jsonl is not on this machine" in said
    assert formats.format_of(Path(path)) == "codexglue"  # any tool that reads its rows reads these
    version = importlib.metadata.version("tabulate")
    assert {pair.path for pair in found.pairs} == {f"tabulate/{version}/tabulate/__init__.py"}
    assert all(pair.prompt.startswith("def ") and pair.prompt.endswith('"""\n') for pair in found.pairs)
    before = Path(path).read_bytes()
    assert ask("installed_methods")[1].content["inputs"] == {path: digest}
    assert Path(path).read_bytes() == before


def test_functions_that_occur_in_any_training_data_are_left_out(ask: Any, tmp_path: Path) -> None:
    [found], manifest = ask("installed_methods")
    seen, other = found.pairs[0], found.pairs[-1]
    (tmp_path / "replayed").mkdir()
    half = len(seen.completion) // 2
    trained = Pair("1", "completion", f"import os\n\n{seen.prompt}{seen.completion[:half]}", seen.completion[half:])
    write_jsonl(tmp_path / "replayed" / "train.jsonl", [trained])
    [left], again = ask("installed_methods", trained_on=[tmp_path / "replayed"])
    ids = {pair.id for pair in left.pairs}
    assert seen.id not in ids
    assert other.id in ids
    assert again.content["inputs"] != manifest.content["inputs"]


def test_a_set_without_functions_is_refused(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [found], _ = ask("installed_methods")
    write_jsonl(tmp_path / "train.jsonl", found.pairs)
    with pytest.raises(UserError, match="the training data contain all functions of installed packages; name"):
        ask("installed_methods", trained_on=[tmp_path])
    monkeypatch.setattr(installed_methods, "PACKAGES", ("nonesuch",))
    with pytest.raises(UserError, match=r"none of nonesuch is installed with its source; install requirements\.txt"):
        ask("installed_methods")


# ------------------------------------------------------------------------------------------------ scores


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("", ""),
        ("  a \t b\n\nc ", "a b c"),
        ("a<EOL><INDENT>b<EOL><DEDENT>c", "a b c"),
        ("a<INDENT>b<DEDENT>c", "a b c"),
        ("<NUM_LIT>+<STR_LIT>+<CHAR_LIT>", "0++"),
        ("f('<STR_LIT:utf-8>', <NUM_LIT:1.5>, <CHAR_LIT:c>)", "f('utf-8', 1.5, c)"),
        ("<STR_LIT:a\nb>", "a b"),
        ("<STR_LIT:U+0020>", "U+0020"),
        ("<STR_LIT:<NUM_LIT>>", "0"),
        ("<STR_LIT:a>b>", "ab>"),
        ("<STR_LIT:open", "<STR_LIT:open"),
        ("x<EOL", "x<EOL"),
    ],
)
def test_post_processing(code: str, expected: str) -> None:
    assert codexglue.post_process(code) == expected


@pytest.mark.parametrize(
    ("prediction", "answer", "points"),
    [
        ("", "", 100),
        ("", "pass", 0),
        ("pass", "", 0),
        ("n += 10", "n = n + 1", 62),  # 62.5: halves go to the even number
        ("n += 10x", "n = n + 1", 59),  # 58.8
        ("assert dict(chunk) == 1190, queue[token]", "assert dict(depth) == 2713, depth[lines]", 62),  # 62.5
        ("assert dict(chunk) == 1190, queue[token]", "assert dict(entry) == 3804, entry[token]", 72),  # 72.5
        ("assert dict(chunk) == 1190, queue[token]", "chunk = reversed(self.lines, queue=1510)", 38),  # 37.5
        # 42.5 and 7.5 on paper; as floats 1 - 46/80 lies above its half, and 1 - 74/80 below
        ("assert dict(chunk) == 1190, queue[token]", "return dict(items, key=list(self.token))", 43),
        ("ttt" + "#" * 37, "return dict(count, key=list(self.total))", 7),
    ],
)
def test_an_items_score_is_rounded_to_an_integer(prediction: str, answer: str, points: int) -> None:
    assert codexglue.scores([prediction], [answer]).values["edit_similarity"] == points


def test_the_mean_is_over_rounded_items() -> None:
    result = codexglue.scores(["n += 10", "a", "b"], ["n = n + 1", "a", "c"])
    assert result.values["edit_similarity"] == round((62 + 100 + 0) / 3, 2) == 54.0
    assert codexglue.scores(["n += 10"] * 2, ["n = n + 1"] * 2).values["edit_similarity"] == 62.0


@pytest.mark.parametrize("source", ["random 0", "random 1", "random 2", "example"])
def test_scores_are_the_published_formulas(source: str) -> None:
    if source == "example":
        files = (EXAMPLE / "predictions.txt", EXAMPLE / "answers.txt")
        predictions, references = (file.read_text(encoding="utf-8").splitlines() for file in files)
    else:
        predictions, references = random_pairs(int(source.split()[1]))
    result = codexglue.scores(predictions, references)
    found, wanted = (list(map(codexglue.post_process, texts)) for texts in (predictions, references))
    points = []
    for a, b in zip(found, wanted, strict=True):
        both = len(a) + len(b)
        points.append(round(100 * (1 - (both - 2 * common_subsequence(a, b)) / both)) if both else 100)
    assert result.values["edit_similarity"] == round(sum(points) / len(points), 2)
    assert result.values["bleu"] == round(independent_bleu(predictions, references), 2)
    assert result.n == len(points)


def test_a_perfect_prediction_scores_100_against_a_masked_body() -> None:
    masked = "for x in y:<EOL><INDENT>z(x, <NUM_LIT:3>)<EOL><DEDENT>return '<STR_LIT>'"
    source = "    for x in y:\n        z(x, 3)\n    return ''\n"
    result = codexglue.scores([source], [masked])
    assert result.values["edit_similarity"] == 100.0
    assert result.values["bleu"] < 50  # its evaluator counts the words of the masked line as they are
    assert (
        codexglue.scores([codexglue.post_process(text) for text in [source]], ["for x in y: z(x, 3) return ''"]).values[
            "bleu"
        ]
        == 100.0
    )


@pytest.mark.parametrize("predictions", [["", ""], [" ", "\n"]])
def test_empty_predictions_score_0(predictions: list[str]) -> None:
    result = codexglue.scores(predictions, ["a b c", "d"])
    assert (result.values["edit_similarity"], result.values["bleu"]) == (0.0, 0.0)


# ------------------------------------------------------------------------------------------------ held-out pairs


def test_held_out_pairs_are_read_by_split(tmp_path: Path) -> None:
    test, overlap = (Pair(id=name, task="completion", prompt="a", completion="b") for name in ("1", "2"))
    write_jsonl(tmp_path / "test.jsonl", [test])
    write_jsonl(tmp_path / "test_overlap.jsonl", [overlap])
    assert heldout.load(tmp_path) == [test]
    assert heldout.load(tmp_path, "test_overlap") == [overlap]


@pytest.mark.parametrize(
    ("content", "split", "sentence"),
    [
        ({}, "test", r"there is no split 'test' in .* \(it has no splits\); run preprocess_data.py first"),
        ({"train": "", "validation": ""}, "test", r"\(it has train, validation\)"),
        ({"test": "\n"}, "test", "test.jsonl has no pairs"),
        ({"test": '{"id": "1"}\n'}, "test", 'test.jsonl:1: the field "task" of a Pair is missing'),
        ({"test": "{\n"}, "test", "test.jsonl:1: not valid JSON"),
    ],
)
def test_a_missing_or_broken_split_is_refused(
    tmp_path: Path, content: dict[str, str], split: str, sentence: str
) -> None:
    for name, text in content.items():
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        heldout.load(tmp_path, split)


def test_a_missing_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no split 'test'"):
        heldout.load(tmp_path / "absent")
