"""Scores published by third parties are reproduced to the last digit: tests/data/published/README.md."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import benchmarking
import bleu
from codefit.manifest import ROOT

FOLDER = ROOT / "tests" / "data" / "published"
# chrF as it was published. ROUGE-L was published as the median of an unseeded bootstrap (0.1248, 0.1449, 0.1022,
# 0.1180); the number here is the exact mean of rouge_score's items.
PUBLISHED = {
    "simple-base": (20.884837837589842, 0.12599807348861194),
    "simple-adapted": (20.543954407512338, 0.14524355959167057),
    "verbose-base": (15.988238018691073, 0.10333719080049737),
    "verbose-adapted": (17.991021768521975, 0.11866268520480822),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_scores_to_the_last_digit(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    bleu.main(["--input", str(FOLDER / f"{name}.jsonl.gz")])
    honest = json.loads(capsys.readouterr().out)["honest"]
    chrf, rouge = PUBLISHED[name]
    assert (honest["n"], honest["chrf"]) == (25, chrf)
    assert honest["rouge_l"] == pytest.approx(100 * rouge, rel=1e-14)


def rescored(folder: Path) -> dict[str, Any]:
    """Return scores.json of a benchmark with the published predictions."""
    models = {role: {"name": "Llama-3.2-1B", "label": role} for role in ("base", "adapted")}
    about = {prompt: {"title": f"{prompt} prompt"} for prompt in ("simple", "verbose")}
    made = {"models": models, "benchmarks": about, "arguments": {"split": "test", "seed": 0}, "dataset": ""}
    made |= {"command": [], "versions": {}, "toolkit_commit": ""}
    (folder / "manifest.json").write_text(json.dumps(made), encoding="utf-8")
    for file in FOLDER.glob("*.jsonl.gz"):
        prompt, role = file.name.removesuffix(".jsonl.gz").split("-")
        (folder / f"predictions-{role}-{prompt}.jsonl").write_bytes(gzip.decompress(file.read_bytes()))
    benchmarking.main(["--rescore", "--output_dir", str(folder)])
    found: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["benchmarks"]
    return found


def test_25_published_items_are_too_few_for_a_verdict(tmp_path: Path) -> None:
    benchmarks = rescored(tmp_path)
    for prompt, found in benchmarks.items():
        rows = {row["metric"]: row for row in found["metrics"]}
        for role in ("base", "adapted"):
            assert rows["chrf"]["scores"][role]["value"] == PUBLISHED[f"{prompt}-{role}"][0]
        assert {rows[name]["against_base"]["adapted"]["verdict"] for name in ("chrf", "rouge_l")} == {"too few"}
