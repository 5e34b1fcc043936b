"""scores.json and manifests: they round-trip; older or broken ones are refused."""

import json
import math

import msgspec
import pytest

from codefit.errors import UserError
from codefit.evaluation import result_schema
from codefit.evaluation.result_schema import Difference, Model, Role, Score
from tests.support.report import MODELS, measured

MANIFEST = {
    "command": ["benchmarking.py"],
    "arguments": {"seed": 0, "split": "test", "sample": 3},
    "versions": {"python": "3.11"},
    "models": {"base": {"name": "b", "label": "base"}, "adapted": {"name": "a", "label": "adapted"}},
    "benchmarks": {"heldout": {"title": "held-out code"}},
    "toolkit_commit": None,
    "dataset": "data",
}


def test_scores_are_read_as_they_were_written(tmp_path):
    scores = measured("some/adapter")
    result_schema.write(scores, tmp_path / "scores.json")
    assert result_schema.read(tmp_path) == scores
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["format"] == result_schema.FORMAT
    row = content["benchmarks"]["heldout"]["metrics"][0]
    assert row["scores"].keys() == content["models"].keys() == MODELS.keys()
    assert row["against_base"].keys() == MODELS.keys() - {"base"}


def test_nan_and_infinity_round_trip(tmp_path):
    scores = measured("some/adapter")
    row = scores.benchmarks["heldout"].metrics[0]
    odd = {"base": Score(math.nan, -math.inf, math.inf), "adapted": row.scores["adapted"]}
    gap = {"adapted": Difference(math.nan, math.nan, math.nan, 1.0, math.inf, "not resolved")}
    row = msgspec.structs.replace(row, scores=odd, against_base=gap)
    result_schema.write(measured("some/adapter", [row]), tmp_path / "scores.json")
    found = result_schema.read(tmp_path).benchmarks["heldout"].headline
    assert math.isnan(found.scores["base"].value)
    assert (found.scores["base"].low, found.scores["base"].high) == (-math.inf, math.inf)
    assert found.against_base["adapted"].smallest == math.inf


def older(content):
    del content["format"]


def another_number(content):
    content["benchmarks"]["heldout"]["metrics"][0]["scores"]["base"]["value"] = "40"


def another_verdict(content):
    content["benchmarks"]["heldout"]["metrics"][0]["against_base"]["adapted"]["verdict"] = "great"


def no_metrics(content):
    del content["benchmarks"]["heldout"]["metrics"]


def no_score_of_a_model(content):
    del content["benchmarks"]["heldout"]["metrics"][0]["scores"]["adapted"]


def no_difference_of_a_model(content):
    content["benchmarks"]["heldout"]["metrics"][0]["against_base"] = {}


def newer(content):
    content["format"] = 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (older, "was written by an older codefit"),
        (newer, "Invalid enum value 3"),
        (another_number, 'value" must be a number, not text'),
        (another_verdict, "Invalid enum value 'great'"),
        (no_metrics, 'metrics" is missing'),
        (no_score_of_a_model, "lacks the score of a model"),
        (no_difference_of_a_model, "lacks the score of a model"),
    ],
)
def test_unreadable_scores_say_how_to_write_them_again(tmp_path, change, reason):
    result_schema.write(measured("some/adapter"), tmp_path / "scores.json")
    content = json.loads((tmp_path / "scores.json").read_text())
    change(content)
    (tmp_path / "scores.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=reason) as error:
        result_schema.read(tmp_path)
    assert str(error.value).endswith(f"; write it again with benchmarking.py --rescore --output_dir {tmp_path}.")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "[" * 100_000])
def test_files_that_are_not_scores_are_refused(tmp_path, text):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(UserError, match=r"write it again with benchmarking\.py --rescore") as error:
        result_schema.read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_folder_without_scores_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no scores.json; name the --output_dir of benchmarking.py"):
        result_schema.read(tmp_path)


def test_a_manifest_of_an_older_codefit_gives_models_their_roles(tmp_path):
    few = {"name": "b", "label": "2-shot base", "kind": "few-shot"}
    second = {"name": "c", "label": "merged", "kind": "merged", "folder": "c", "unknown": 1}
    made = {**MANIFEST, "models": {**MANIFEST["models"], "adapted-2": second, "few-shot": few}}
    models = result_schema.of_manifest(made, tmp_path).models
    assert [model.role for model in models.values()] == [Role.BASE, Role.ADAPTED, Role.ADAPTED, Role.FEW_SHOT]
    assert models["few-shot"] == Model(name="b", label="2-shot base", role=Role.FEW_SHOT)
    assert models["adapted-2"] == Model(name="c", label="merged", role=Role.ADAPTED, kind="merged", folder="c")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"models": []}, '"models" must be an object, not a list'),
        ({"models": {"base": 3}}, "must be an object, not a whole number"),
        ({"models": {"base": {"label": "base"}}}, 'name" is missing'),
        ({"models": {"adapted": MANIFEST["models"]["adapted"]}}, "does not name a base and an adapted model"),
        ({"benchmarks": {"heldout": {}}}, 'title" is missing'),
        ({"benchmarks": {"heldout": {"title": "x", "format": "os"}}}, "Invalid enum value 'os'"),
        ({"arguments": {"seed": -1, "split": "test"}}, '"arguments.seed" must be a whole number >= 0'),
        ({"command": "benchmarking.py"}, '"command" must be a list, not text'),
    ],
)
def test_a_manifest_that_does_not_describe_a_benchmark_is_refused(tmp_path, changes, reason):
    with pytest.raises(UserError, match=reason) as error:
        result_schema.of_manifest({**MANIFEST, **changes}, tmp_path / "manifest.json")
    assert str(error.value).endswith("; run the benchmark again.")
