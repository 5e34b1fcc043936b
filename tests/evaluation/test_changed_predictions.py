"""Predictions that are damaged, changed after the run, or made with different settings are refused."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import benchmarking
from codefit import records
from codefit.errors import UserError
from codefit.records import Prediction
from tests.support.planted import (
    BASE,
    ITEMS,
    SETTINGS,
    Items,
    folder,
    guesses,
    rescored,
)


def nan(item: Prediction) -> Prediction:
    return dataclasses.replace(item, scores={"nats": float("nan"), "tokens": 20})


def broken(kind: str, items: Items) -> Items:
    first, second, *rest = items
    return {
        "swapped": [second, first, *rest],
        "missing": [second, *rest],
        "doubled": [first, first, *rest],
        "doubled at the end": [*items, first],
        "no number": [nan(first), second, *rest],
        "other reference": [dataclasses.replace(first, reference="x\n"), second, *rest],
        "other prompt": [dataclasses.replace(first, prompt="x\n"), second, *rest],
        "more tokens": [dataclasses.replace(first, scores={"nats": 40.0, "tokens": 40}), second, *rest],
    }[kind]


REFUSED = {
    "swapped": "do not hold the same items",
    "missing": "do not hold the same items",
    "doubled": "holds f0:0 twice",
    "doubled at the end": "holds f0:0 twice",
    "no number": "holds nan as nats of f0:0",
    "other reference": "have another prompt or reference for f0:0",
    "other prompt": "have another prompt or reference for f0:0",
    "more tokens": "counts 40 tokens in the reference of f0:0, and the base 20",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_broken_predictions_are_refused(kind: str, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, broken(kind, BASE))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(UserError, match=REFUSED[kind]):
        rescored(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("kind", ["doubled", "doubled at the end", "no number"])
def test_defects_in_both_files_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=REFUSED[kind]):
        rescored(folder(tmp_path / "run", broken(kind, BASE), broken(kind, guesses(ITEMS, 0.8))))


def test_references_that_are_changed_in_both_files_are_refused(tmp_path: Path) -> None:
    from codefit.evaluation.report import comparability

    run = folder(tmp_path / "run", broken("other reference", BASE), broken("other reference", BASE))
    made = json.loads((run / "manifest.json").read_text())
    made["asked"] = {"heldout": comparability.digest(BASE)}
    (run / "manifest.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="has other prompts or references than the manifest says"):
        rescored(run)


CHANGES: dict[str, Callable[[Prediction], Prediction]] = {
    "doubled token counts": lambda item: dataclasses.replace(item, scores={**item.scores, "tokens": 40}),
    "halved nats": lambda item: dataclasses.replace(item, scores={**item.scores, "nats": 20.0}),
    "other files": lambda item: dataclasses.replace(item, path=f"{item.id}.py"),
    "better answers": lambda item: dataclasses.replace(item, prediction=item.reference),
    "other ends": lambda item: dataclasses.replace(item, finish_reason="length"),
}


def with_digests(run: Path) -> Path:
    """Note in the manifest what the models answered, as a run that asks them does."""
    from codefit.evaluation.report import comparability

    made = json.loads((run / "manifest.json").read_text())
    items = {
        key: list(records.read_jsonl(run / f"predictions-{key}-heldout.jsonl", Prediction)) for key in made["models"]
    }
    made["asked"] = {"heldout": comparability.digest(items["base"])}
    made["answered"] = {"heldout": {key: comparability.predictions_digest(rows) for key, rows in items.items()}}
    (run / "manifest.json").write_text(json.dumps(made))
    return run


@pytest.mark.parametrize("change", CHANGES)
def test_answers_that_were_changed_after_the_run_are_refused(change: str, tmp_path: Path) -> None:
    run = with_digests(folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8)))
    rescored(run)
    rescored(run)  # what --rescore writes is the same run
    for key in ("base", "adapted"):
        path = run / f"predictions-{key}-heldout.jsonl"
        records.write_jsonl(path, map(CHANGES[change], list(records.read_jsonl(path, Prediction))))
    with pytest.raises(UserError, match=r"predictions-base-heldout.jsonl was changed after the run"):
        rescored(run)


def test_answers_of_models_that_were_swapped_after_the_run_are_refused(tmp_path: Path) -> None:
    run = with_digests(folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8)))
    one, other = (run / f"predictions-{key}-heldout.jsonl" for key in ("base", "adapted"))
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(texts[1])
    other.write_bytes(texts[0])
    with pytest.raises(UserError, match="was changed after the run"):
        rescored(run)


@pytest.mark.parametrize("name", ["decode", "stop", "new", "prompt", "dtype"])
def test_different_settings_are_refused_unless_allowed(name: str, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8), settings=(SETTINGS, {**SETTINGS, name: "other"}))
    with pytest.raises(UserError, match=f"{name} other.*add --allow_different"):
        rescored(run)
    for text in rescored(run, "--allow_different").values():
        assert "No conclusion about the adapted model on held-out code: the two models used different settings" in text


@pytest.mark.parametrize(("name", "changed"), [("new", "128"), ("dtype", "bf16")])
def test_runs_with_different_settings_are_compared_only_if_allowed(name: str, changed: str, tmp_path: Path) -> None:
    other = {**SETTINGS, name: changed}
    first = folder(tmp_path / "a", BASE, guesses(ITEMS, 0.6, "a"))
    second = folder(tmp_path / "b", BASE, guesses(ITEMS, 0.8, "b"), settings=(other, other))
    command = ["--compare", str(first), str(second), "--output_dir", str(tmp_path / "both")]
    with pytest.raises(UserError, match=f"{name} {changed}.*add --allow_different"):
        benchmarking.main(command)
    assert not (tmp_path / "both").exists()
    benchmarking.main([*command, "--allow_different"])
    assert "used different settings" in (tmp_path / "both" / "report.md").read_text()


# ------------------------------------------------------------------------------------------- the primary metric


def test_the_primary_metric_is_chosen_before_the_run(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8, "x"))
    with pytest.raises(UserError, match="the primary metric is chosen before a run, not after it"):
        rescored(run, "--primary", "chrf")
    made = json.loads((run / "manifest.json").read_text())
    made["arguments"]["primary"] = "chrf"
    (run / "manifest.json").write_text(json.dumps(made))
    assert "The adapted model is better than the base (" in rescored(run, "--primary", "chrf")["markdown"]
    content = json.loads((run / "scores.json").read_text())
    assert content["benchmarks"]["heldout"]["metrics"][0]["metric"] == "chrf"


def test_an_unknown_primary_metric_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarking.main(["--rescore", "--primary", "accuracy"])
    assert "--primary accuracy: choose from edit_similarity_cut, accepted" in capsys.readouterr().err


def test_a_primary_metric_that_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    bare = [dataclasses.replace(item, scores={}) for item in BASE]
    run = folder(tmp_path / "run", bare, bare)
    made = json.loads((run / "manifest.json").read_text())
    made["arguments"]["primary"] = "bits_per_byte"
    (run / "manifest.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="primary metric bits_per_byte cannot be computed for every prediction"):
        rescored(run)
