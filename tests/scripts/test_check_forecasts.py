"""Forecasts next to what was measured later: coverage, advice and regret."""

import itertools
import json
import sys

import msgspec
import pytest

from codefit.errors import UserError
from codefit.evaluation import result_schema
from codefit.evaluation.result_schema import CELLS, Count, Difference, Grid, GridPlace, Score
from codefit.forecast.expectation import Cell
from codefit.forecast.outcome import Curve, Forecast
from codefit.forecast.signs import Signs
from runs import check_forecasts
from runs.check_forecasts import Checked
from tests.support.report import compared


def forecast(advice, gains, half=5.0):
    cells = [
        Cell(key, Score(gain, gain - half, gain + half), 100, Score(gain, gain - 9, gain + 9), "better", 0.5, 700)
        for key, gain in zip(CELLS[1:], gains, strict=True)
    ]
    signs = Signs(10, 100, 200, Count(3, 60), 25.0, Count(5, 20), 1.1, 1.2)
    curve = Curve([0, 12, 24, 96], [1.2, 1.1, 1.0, 0.9], 0.8, 1.0)
    return Forecast(advice, "edit similarity", 30.0, cells, 96, 80, 60, 40, 96, 4.0, "2026-01-01", curve, signs)


def grid(advice, scores, shown=()):
    values = dict(zip(CELLS, scores, strict=True))
    gaps = [
        (one, other, Difference(values[other] - values[one], -1, 1, 0.5, 3, shown_by(values, one, other, shown)))
        for one, other in itertools.combinations(CELLS, 2)
    ]
    whole = GridPlace("", 80, 40, {key: Score(value, value - 5, value + 5) for key, value in values.items()}, gaps)
    return Grid(advice, [whole], result_schema.Retrieval(tokens=512, prompts=80, found=Count(5, 20), costs={}))


def shown_by(values, one, other, shown):
    if (one, other) not in shown:
        return "not resolved"
    return "better" if values[other] > values[one] else "worse"


FITTED = [("base", "adapted")]
A = Checked("a", forecast("tune", (2, 8, 9)), grid("tune", (30, 33, 39, 38), FITTED))
B = Checked("b", forecast("neither", (1, 1, 1)), grid("both", (30, 32, 31, 44)))


def test_an_interval_holds_what_was_measured():
    assert A.held == {"base-context": True, "adapted": True, "adapted-context": True}
    assert B.held == {"base-context": True, "adapted": True, "adapted-context": False}
    assert check_forecasts.rows([A])[1] == ("a", "fitted", "+8.0 [+3.0, +13.0]", "+9.0", "yes")


def test_regret_is_what_the_best_way_scored_more():
    assert check_forecasts.advice_rows([A, B]) == [
        ("a", "tune", "tune", "yes", "0.0", "0.0", "6.0", "1.0"),
        ("b", "neither", "both", "yes", "14.0", "13.0", "12.0", "0.0"),
    ]


def test_where_nothing_helps_the_base_is_best():
    worse = Checked("c", forecast("neither", (0, 0, 0)), grid("neither", (30, 29, 28, 20)))
    assert worse.regret("base") == 0.0
    assert worse.regret("adapted-context") == 10.0


@pytest.mark.parametrize(
    ("advice", "scores", "shown", "paid"),
    [
        ("tune", (30, 33, 39, 42), FITTED, True),
        ("tune", (30, 33, 39, 42), [*FITTED, ("adapted", "adapted-context")], False),
        ("tune", (30, 44, 39, 42), [*FITTED, ("base-context", "adapted")], False),
        ("tune", (30, 33, 39, 42), [("base", "adapted-context")], False),
        ("neither", (30, 33, 39, 42), [], True),
        ("neither", (30, 33, 39, 42), FITTED, False),
        ("both", (30, 33, 39, 42), [("base", "adapted-context"), ("base", "adapted")], True),
    ],
)
def test_an_advice_pays_if_it_is_better_than_the_base_and_nothing_is_better_than_it(advice, scores, shown, paid):
    assert Checked("d", forecast(advice, (1, 1, 1)), grid("tune", scores, shown)).paid is paid


def test_the_summary_counts():
    assert check_forecasts.summary([A, B]) == (
        "5 of 6 intervals hold the measured gain; the advice was that of the grid for 1 of 2, and for 2 it paid "
        "and nothing was shown to pay more; mean regret in points: the advice 7.0, always fitting 6.5, always "
        "retrieving 9.0, always both 0.5"
    )


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "forecast-a" / "forecast").mkdir(parents=True)
    content = msgspec.to_builtins(A.forecast)
    (tmp_path / "forecast-a" / "forecast" / "forecast.json").write_text(json.dumps(content))
    scores, _ = compared()
    [name] = scores.benchmarks
    with_grid = msgspec.structs.replace(scores.benchmarks[name], grid=A.grid)
    (tmp_path / "benchmark").mkdir()
    result_schema.write(
        msgspec.structs.replace(scores, benchmarks={name: with_grid}), tmp_path / "benchmark" / result_schema.FILE
    )
    (tmp_path / "without").mkdir()
    result_schema.write(scores, tmp_path / "without" / result_schema.FILE)
    return tmp_path


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["check_forecasts.py", *map(str, words)])
    check_forecasts.main()


def test_the_tables_and_the_plot(folders, monkeypatch, capsys, drawn):
    plot = folders / "plot.png"
    run(monkeypatch, folders / "forecast-a", "--benchmarks", folders / "benchmark", "--plot", plot)
    said = capsys.readouterr().out
    assert "3 of 3 intervals hold the measured gain; the advice was that of the grid for 1 of 1" in said
    assert "+8.0 [+3.0, +13.0]" in said
    assert plot.read_bytes()[:4] == b"\x89PNG"


def test_what_is_missing_is_named(folders, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"absent holds no finished forecast; run forecast\.py"):
        run(monkeypatch, folders / "absent", "--benchmarks", folders / "benchmark")
    with pytest.raises(UserError, match="was run without --repository_context"):
        run(monkeypatch, folders / "forecast-a", "--benchmarks", folders / "without")
    with pytest.raises(SystemExit):
        run(monkeypatch, folders / "forecast-a", "--benchmarks", folders / "without", folders / "benchmark")
    assert "1 forecasts and 2 benchmarks; give one for each" in capsys.readouterr().err
