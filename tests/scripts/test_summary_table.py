"""runs/summary.py: the table of runs/summary.sh, from the scores of its benchmarks."""

import sys

import pytest

from codefit.errors import UserError
from codefit.evaluation import result_schema as schema
from runs import summary

STOPS = "stops_at_natural_end"


def write_benchmark(folder, base, adapted, stops=45):
    """Write the scores of a benchmark of 50 prompts: the values of both models in both metrics."""
    folder.mkdir(parents=True)
    gain = adapted - base
    rows = [
        schema.MetricRow(
            metric,
            label,
            "%",
            True,
            50,
            "",
            {role: schema.Score(value, value - 1, value + 1) for role, value in [("base", base), ("adapted", adapted)]},
            {"adapted": schema.Difference(gain, gain - 2, gain + 2, 0.01, 1.0, "better")},
        )
        for metric, label in [("chrf", "chrF"), ("rouge_l", "ROUGE-L")]
    ]
    floors = [("empty", 0.0), ("nearest", 12.25), ("references", 100.0)]
    counts = {"base": schema.Count(1, 50), "adapted": schema.Count(stops, 50)}
    found = schema.BenchmarkResult(
        title="held-out code",
        n=50,
        files=30,
        task="summary",
        decoding="",
        metrics=rows,
        checks=[schema.Check(STOPS, STOPS, schema.Count(50, 50), counts)],
        baselines=[schema.Baseline(name, name, dict.fromkeys(["chrf", "rouge_l"], value)) for name, value in floors],
        stop_rules=schema.StopRules([schema.StopRule("as_generated", "", {})], "as_generated", {}),
        groups=[],
        findings=[],
    )
    models = {
        "base": schema.Model(role=schema.Role.BASE, name="b", label="base"),
        "adapted": schema.Model(role=schema.Role.ADAPTED, name="a", label="adapted"),
    }
    schema.write(schema.Scores(models, {"heldout": found}, 2), folder / "scores.json")


def table(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["summary", str(folder)])
    summary.main()
    return [line.split("  ") for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def folder(tmp_path):
    for style in ("plain", "verbose"):
        write_benchmark(tmp_path / style / "benchmark", 10.0, 20.5)
    return tmp_path


def cells(row):
    return [cell.strip() for cell in row if cell.strip()]


def test_a_greedy_row_has_the_interval_over_files_and_the_best_floor(folder, monkeypatch, capsys):
    _, _, first, *rest = table(folder, monkeypatch, capsys)
    assert cells(first) == ["plain", "chrF", "greedy", "10.0", "20.5", "+10.5 [+8.5, +12.5]", "12.2", "90"]
    assert [cells(row)[:3] for row in rest] == [
        ["plain", "ROUGE-L", "greedy"],
        ["verbose", "chrF", "greedy"],
        ["verbose", "ROUGE-L", "greedy"],
    ]


def test_a_drawn_row_has_mean_and_deviation_over_the_seeds(folder, monkeypatch, capsys):
    write_benchmark(folder / "plain" / "drawn-0", 10.0, 15.0, stops=40)
    write_benchmark(folder / "plain" / "drawn-1", 12.0, 19.0, stops=50)
    drawn = cells(table(folder, monkeypatch, capsys)[3])
    # gains 5 and 7: mean 6, standard error 1, 12.706 standard errors on either side
    assert drawn == ["plain", "chrF", "2 seeds", "11.0 ± 1.4", "17.0 ± 2.8", "+6.0 [-6.7, +18.7]", "12.2", "90"]


def test_a_folder_without_scores_is_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match="benchmark holds no scores"):
        table(tmp_path, monkeypatch, capsys)
