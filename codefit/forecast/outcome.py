"""The answer of a forecast, as forecast.json holds it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from codefit import json_files
from codefit.errors import UserError
from codefit.evaluation import result_schema
from codefit.evaluation.report import results, wording
from codefit.evaluation.result_schema import CELLS, Advice, BenchmarkResult, Grid
from codefit.forecast import expectation, learning_curve, likelihoods, signs
from codefit.forecast.expectation import Cell, Fitting, Gain, measured
from codefit.forecast.learning_curve import SHORT, SHORTER, growth
from codefit.forecast.signs import Signs
from codefit.forecast.stages import FOLDER, TEST, Plan
from codefit.manifest import read_manifest
from codefit.records import Pair, Prediction, read_jsonl
from codefit.scoring.bits_per_byte import BITS_PER_BYTE
from codefit.training.run_folder import STATE

BASE, FILES, ADAPTED, BOTH = CELLS
FILE = "forecast.json"
PASSES = 3  # over the training data, after which more steps repeat what is known


class Curve(msgspec.Struct, frozen=True):
    """Bits per byte of later code: without training, after the two short runs, and as expected at the end.

    Attributes:
        steps: of each point.
        bits: of the fitted model without files, the last one expected.
        low: of the last one, if every doubling gained as much as the one before.
        high: of the last one, if no further doubling gained anything.
    """

    steps: list[int]
    bits: list[float]
    low: float
    high: float


class Forecast(msgspec.Struct, frozen=True):
    """What a team can expect.

    Attributes:
        advice: what the verdicts of a later benchmark are expected to say.
        metric: the name of the primary metric.
        base: its score.
        cells: what each of the other three is expected to gain.
        steps: of the training that the gains are about.
        later: prompts of the benchmark that they are about.
        asked: prompts that were asked now.
        files: that these come from.
        worth: steps after which a doubling adds little.
        seconds_per_step: on this machine, by the clock.
        since: the date that divides past and later changes.
        curve: the learning curve.
        signs: what the data look like.
    """

    advice: Advice
    metric: str
    base: float
    cells: list[Cell]
    steps: int
    later: int
    asked: int
    files: int
    worth: int
    seconds_per_step: float
    since: str
    curve: Curve
    signs: Signs


def read(folder: Path) -> Forecast:
    """Return the forecast in the folder of forecast.py.

    Raises:
        UserError: there is none, or it was changed by hand.
    """
    path = folder / FOLDER / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no finished forecast; run forecast.py with this --output_dir first.")
    remedy = "run the forecast again, with --overwrite"
    return json_files.checked(json_files.load(path, remedy), Forecast, str(path), remedy)


def forecast(plan: Plan, later: int) -> Forecast:
    """Return the forecast from the finished stages.

    Args:
        plan: of the stages.
        later: prompts of the benchmark that it is about.

    Raises:
        UserError: no files could be retrieved.
    """
    result, by_model = _measured(plan)
    assert result.grid
    bits = {key: signs.bits(items) for key, items in by_model.items()}
    pairs = {pair.id: pair for pair in read_jsonl(plan.pairs / TEST, Pair)}
    asked = [pairs[item.id] for item in by_model[BASE]]
    shorter = likelihoods.bits_after(plan.model, plan.adapter(SHORTER), asked, plan.own_tokens)
    eighth, quarter = bits[BASE] - shorter, bits[BASE] - bits[ADAPTED]
    grown = growth(eighth, quarter)
    spread = _bits_half(result)
    fitting = Fitting(
        expectation.fitted(measured(result.grid, BASE, ADAPTED), Gain(quarter, spread), grown),
        expectation.fitted(measured(result.grid, FILES, BOTH), Gain(bits[FILES] - bits[BOTH], spread), grown),
    )
    later = min(later, _pairs(plan)["test"]["pairs"])
    return Forecast(
        advice=expectation.advice(result.grid, fitting, later),
        metric=wording.name(result.headline),
        base=result.grid.places[0].scores[BASE].value,
        cells=expectation.cells(result.grid, fitting, later),
        steps=plan.steps,
        later=later,
        asked=result.n,
        files=result.files,
        worth=learning_curve.steps_worth_taking(eighth, quarter, plan.steps, most_steps(plan)),
        seconds_per_step=_seconds_per_step(plan),
        since=plan.start.since,
        curve=_curve(plan, bits[BASE], eighth, quarter),
        signs=_signs(plan, result, result.grid, by_model),
    )


def _measured(plan: Plan) -> tuple[BenchmarkResult, Mapping[str, list[Prediction]]]:
    """Return the scores and the predictions of the benchmark after a quarter of the steps."""
    [result] = result_schema.read(plan.measured).benchmarks.values()
    if result.grid is None:
        raise UserError(f"{plan.measured} has no grid; remove {plan.folder} and run the forecast again.")
    [by_model] = results.read(plan.measured).predictions.values()
    return result, by_model


def _bits_half(result: BenchmarkResult) -> float:
    """Return half the interval of what fitting gained in bits per byte."""
    row = next(row for row in result.metrics if row.metric == BITS_PER_BYTE.name)
    gap = row.against_base[ADAPTED]
    return (gap.high - gap.low) / 2


def _curve(plan: Plan, start: float, eighth: float, quarter: float) -> Curve:
    grown = growth(eighth, quarter)
    steps = [0, plan.steps // SHORTER, plan.steps // SHORT, plan.steps]
    end = start - quarter
    return Curve(steps, [start, start - eighth, end, end - grown.value], end - grown.high, end - grown.low)


def most_steps(plan: Plan) -> int:
    """Return how many steps PASSES over the training data are."""
    seen = read_manifest(plan.adapter(SHORT))
    tokens = seen["tokens"] / seen["samples"]
    return max(1, int(PASSES * _pairs(plan)["train"]["pairs"] * tokens // plan.row_tokens))


def _pairs(plan: Plan) -> dict[str, Any]:
    """Return what stage 2 counted, by split."""
    return dict(read_manifest(plan.pairs)["splits"])


def _seconds_per_step(plan: Plan) -> float:
    """Return the median time of a step of the longer run; the mean where none was timed, as after a late resume."""
    made = read_manifest(plan.adapter(SHORT))
    return float(made.get("seconds_per_step") or made["train_seconds"] / made["steps"])


def _signs(plan: Plan, result: BenchmarkResult, grid: Grid, by_model: Mapping[str, list[Prediction]]) -> Signs:
    pairs = _pairs(plan)
    return Signs(
        documents=pairs["train"]["documents"],
        pairs=pairs["train"]["pairs"],
        questions=pairs["test"]["pairs"],
        new_names=signs.new_names(by_model[BASE]),
        nearest=signs.nearest(result),
        found=grid.retrieval.found,
        past_bits=_past_bits(plan),
        later_bits=signs.bits(by_model[BASE]),
    )


def _past_bits(plan: Plan) -> float:
    """Return the bits per byte of the validation pairs before the training."""
    state = json_files.load(plan.adapter(SHORT) / STATE, "run the forecast again in another folder")
    return float(state["log_history"][0]["eval_bits_per_byte"])
