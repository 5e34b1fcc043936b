"""Models on the same prompts: scores of every item, metrics with intervals, and verdicts. No model is loaded."""

import dataclasses
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from codefit.evaluation import (
    baselines,
    differences,
    forgetting,
    grid,
    leak_signs,
    output_checks,
    prompt_files,
    prompt_groups,
    task_metrics,
    truncation,
)
from codefit.evaluation.benchmarks import codexglue, formats
from codefit.evaluation.benchmarks.formats import Format
from codefit.evaluation.result_schema import (
    FORMAT,
    NO_CONCLUSION,
    AgainstBest,
    AgainstFloor,
    BenchmarkInfo,
    BenchmarkResult,
    Count,
    Difference,
    GenerationSettings,
    Group,
    MetricRow,
    Model,
    ProfileScores,
    Role,
    Score,
    Scores,
    StopRule,
    StopRules,
)
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.internal_names import REFERENCE_NEW, REFERENCE_RIGHT
from codefit.scoring.metric import Metric, TextMetric
from codefit.scoring.statistics import Array

BASE, ADAPTED = "base", "adapted"  # the keys of the first two models
ENTROPY = "entropy"  # in the scores of a prediction: of the first token after the prompt, in bits
COPIED = 0.5  # a share of the look-up's wrong answers that a model gives too, from which on it is a look-up

Row = TypeVar("Row", MetricRow, Group)
ByModel = Mapping[str, Sequence[Prediction]]  # predictions of each model for the same items in the same order


def score_items(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the predictions with each metric of texts per item; what the model measured (nats) is kept."""
    metrics = task_metrics.text_metrics(task_metrics.task_of(predictions))
    columns = [metric.value(metric.of_items(predictions)).tolist() for metric in metrics]
    names = [metric.name for metric in metrics]
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return [
        dataclasses.replace(item, scores={**item.scores, **row}) for item, row in zip(predictions, rows, strict=True)
    ]


def scores(
    predictions: Mapping[str, ByModel],
    models: dict[str, Model],
    asked: Mapping[str, BenchmarkInfo],
    stored: Mapping[str, Mapping[str, Sequence[str]]],
    seed: int,
    profile: str = "honest",
    primary: str | None = None,
) -> Scores:
    """Return the content of scores.json.

    Args:
        predictions: by benchmark and model.
        models: by key, the base first.
        asked: what is known of each benchmark.
        stored: answers of baselines, by benchmark and baseline.
        seed: of the permutations and of the random baseline.
        profile: "compat" adds CodeXGLUE's own numbers to every benchmark, and not to its own only.
        primary: the metric that carries the verdict; when None that of the task.
    """
    found = {}
    for name, by_model in predictions.items():
        info = asked[name]
        result = compare(by_model, models, info, seed, stored.get(name, {}), primary)
        found[name] = msgspec.structs.replace(
            result,
            forgetting=forgetting.check(result) if info.forgetting else None,
            compat=_compat(info.format, by_model, profile),
        )
    decided = {name: without_doubtful_verdicts(result) for name, result in corrected(found).items()}
    return Scores(models, decided, FORMAT)


def _compat(form: Format, by_model: ByModel, profile: str) -> dict[str, ProfileScores] | None:
    """Return the scores of a benchmark's own evaluator by model; None if there is none and none was requested."""
    score = getattr(formats.module(form), "scores", codexglue.scores if profile == "compat" else None)
    if score is None:
        return None
    return {
        key: score([item.prediction for item in items], [item.reference for item in items])
        for key, items in by_model.items()
    }


def compare(
    by_model: ByModel,
    models: Mapping[str, Model],
    info: BenchmarkInfo,
    seed: int,
    stored: Mapping[str, Sequence[str]],
    primary: str | None = None,
) -> BenchmarkResult:
    """Return the result of one benchmark, without the forgetting check and the compat profile.

    Args:
        by_model: predictions of the base, of the adapted model, and of any others.
        models: what is known of each.
        info: what is known of the benchmark.
        seed: of the permutations and of the random baseline.
        stored: answers of the baselines that need training data or a tokenizer.
        primary: the metric that carries the verdict; when None that of the task.
    """
    base = by_model[BASE]
    task = task_metrics.task_of(base)
    metrics = task_metrics.applicable(by_model, primary)
    fitted = [key for key in by_model if models[key].role is Role.ADAPTED]
    how = _signed(info.decoding)
    checks = output_checks.rows(by_model)
    floors = baselines.rows(base, stored, seed)
    doubts = {key: _doubts(by_model, models, key, info, stored) for key in fitted}
    words = {key: f"{models[key].label} model" for key in by_model}
    return BenchmarkResult(
        title=info.title,
        n=len(base),
        files=len(set(prompt_files.clusters(base))),
        task=task,
        decoding=how,
        metrics=[_row(metric, by_model, seed, how) for metric in metrics],
        checks=checks,
        baselines=floors,
        stop_rules=_stops(metrics[0], by_model, fitted, seed),
        groups=_groups(metrics[0], {key: by_model[key] for key in (BASE, *fitted)}, seed),
        doubts={key: found for key, found in doubts.items() if found},
        entropy=mean_entropy(by_model),
        floors=_against_floors(metrics[0], by_model, fitted, stored, seed),
        reference_names=_reference_names(base),
        grid=grid.of(metrics[0], by_model, info.retrieval, seed),
        findings=_once(
            [
                *(found for each in doubts.values() for found in each),
                *output_checks.findings(checks, {key: words[key] for key in fitted}, words[BASE]),
                *leak_signs.findings({BASE: base}, words, {}),
                *baselines.findings(floors, task),
            ]
        ),
    )


def _reference_names(items: Sequence[Prediction]) -> Count | None:
    """Return how many of the names that references bring in exist in other files; None where that is not known."""
    right, new = (round(sum(item.scores.get(name, 0.0) for item in items)) for name in (REFERENCE_RIGHT, REFERENCE_NEW))
    return Count(right, new) if new else None


def _once(sentences: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(sentences))


def _doubts(
    by_model: ByModel, models: Mapping[str, Model], key: str, info: BenchmarkInfo, stored: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the reasons why no conclusion about an adapted model is possible, whatever its scores."""
    word, base = f"{models[key].label} model", f"{models[BASE].label} model"
    loss = models[key].validation_loss
    pair = {BASE: by_model[BASE], key: by_model[key]}
    return [
        *_asked_differently(info.decoding, key),
        *leak_signs.findings(pair, {BASE: base, key: word}, {key: loss} if loss else {}),
        *output_checks.doubts(output_checks.rows(pair), key, word, base),
        *_copies(by_model[key], stored, word),
        *prompt_files.doubts(by_model[key]),
    ]


def _copies(items: Sequence[Prediction], stored: Mapping[str, Sequence[str]], word: str) -> list[str]:
    """Return a sentence if a model mostly gives the answers of the nearest training items."""
    answers = stored.get("nearest", ())
    same = sum(
        item.prediction.strip() == answer.strip() != item.reference.strip()
        for item, answer in zip(items, answers, strict=False)
    )
    other = sum(item.reference.strip() != answer.strip() for item, answer in zip(items, answers, strict=False))
    if not other or same < COPIED * other:
        return []
    return [f"The {word} copies the nearest training item in {same} of {other} prompts where that is wrong."]


def _signed(decoding: Mapping[str, GenerationSettings]) -> str:
    """Return the generation settings as the end of a signature; those that differ are given for each model."""
    if not decoding:
        return ""
    values = {
        name: [getattr(facts, name) for facts in decoding.values()] for name in GenerationSettings.__struct_fields__
    }
    return "|".join(f"{name}:{','.join(found if len(set(found)) > 1 else found[:1])}" for name, found in values.items())


def differing_settings(decoding: Mapping[str, GenerationSettings], key: str) -> list[str]:
    """Return the names of the settings that differ between a model and the base."""
    if BASE not in decoding or key not in decoding:
        return []
    base, other = (msgspec.structs.asdict(decoding[each]) for each in (BASE, key))
    return [name for name in base if name != "flips" and base[name] != other[name]]


def _asked_differently(decoding: Mapping[str, GenerationSettings], key: str) -> list[str]:
    """Return a sentence if two models used different generation settings, which a paired comparison ignores."""
    differ = differing_settings(decoding, key)
    found = [msgspec.structs.asdict(decoding[each]) for each in (BASE, key) if differ]
    if not differ:
        return []
    ways = " and ".join(", ".join(f"{name} {facts[name]}" for name in differ) for facts in found)
    return [f"The two models used different settings ({ways}): part of any difference may come from that."]


def _row(metric: Metric, by_model: ByModel, seed: int, how: str) -> MetricRow:
    """Return one metric of every model, with a signature of how it is computed and how predictions were generated.

    Items without a value in any model are left out.
    """
    stats = {key: metric.of_items(items) for key, items in by_model.items()}
    valued = np.any([metric.have_value(found) for found in stats.values()], axis=0)
    stats = {key: found[valued] for key, found in stats.items()}
    clusters = list(itertools.compress(prompt_files.clusters(by_model[BASE]), valued))
    return MetricRow(
        metric=metric.name,
        label=metric.label,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        n=len(clusters),
        signature=f"{metric.signature(len(clusters))}|{how}".rstrip("|"),
        scores={key: differences.score(metric, found, clusters) for key, found in stats.items()},
        against_base={
            key: differences.difference(metric, stats[BASE], found, clusters, seed)
            for key, found in stats.items()
            if key != BASE
        },
    )


def mean_entropy(by_model: ByModel) -> dict[str, Score]:
    """Return each model's mean entropy after the prompts; {} unless it was computed for every prediction."""
    if not all(ENTROPY in item.scores for items in by_model.values() for item in items):
        return {}
    clusters = prompt_files.clusters(by_model[BASE])
    scale = statistics.Scale(statistics.mean, bounds=(0.0, math.inf))
    stats = {key: np.array([(item.scores[ENTROPY], 1.0) for item in items]) for key, items in by_model.items()}
    return {key: Score(*statistics.interval(found, clusters, scale)) for key, found in stats.items()}


# ---------------------------------------------------------------------------------------------- stop rules


def _stops(metric: Metric, by_model: ByModel, fitted: Collection[str], seed: int) -> StopRules:
    """Return the primary metric under every stop rule, and the base at its best against each adapted model."""
    base = by_model[BASE]
    metric = task_metrics.uncut(metric)
    rules = [rule for rule in truncation.RULES if truncation.applies(rule, base)]
    stats = {(rule, key): _cut(metric, rule, items) for rule in rules for key, items in by_model.items()}
    rows = [
        StopRule(rule, truncation.RULES[rule], {key: metric.corpus_score(stats[rule, key]) for key in by_model})
        for rule in rules
    ]
    sign = 1 if metric.higher_is_better else -1
    best = max(rows, key=lambda row: sign * row.values[BASE]).rule
    against = {}
    for key in fitted:
        free, cut = (
            differences.difference(metric, stats[best, BASE], stats[rule, key], prompt_files.clusters(base), seed)
            for rule in (truncation.AS_GENERATED, best)
        )
        against[key] = AgainstBest(free, cut)
    return StopRules(rows, best, against)


def _cut(metric: Metric, rule: str, items: Sequence[Prediction]) -> Array:
    """Return the statistics of n predictions as a rule cuts them, shape (n, k), float64."""
    return metric.of_items(items, truncation.texts(rule, items))


def _against_floors(
    metric: Metric, by_model: ByModel, fitted: Collection[str], stored: Mapping[str, Sequence[str]], seed: int
) -> dict[str, AgainstFloor]:
    """Return each adapted model against the strongest answers that no model wrote."""
    if not isinstance(metric, TextMetric):
        return {}
    base = by_model[BASE]
    answers = baselines.answers(base, stored, seed)
    stats = {name: metric.of_items(base, texts) for name, texts in answers.items() if name in baselines.FLOORS}
    sign = 1 if metric.higher_is_better else -1
    floor = max(stats, key=lambda name: sign * metric.corpus_score(stats[name]))
    return {
        key: AgainstFloor(
            floor,
            metric.corpus_score(stats[floor]),
            differences.difference(
                metric, stats[floor], metric.of_items(by_model[key]), prompt_files.clusters(base), seed
            ),
        )
        for key in fitted
    }


# ---------------------------------------------------------------------------------------------- groups


def _groups(metric: Metric, by_model: ByModel, seed: int) -> list[Group]:
    """Return the primary metric in every group of prompts, the largest group of its kind first.

    A kind that has all prompts in one group is left out: its row would be that of the whole.
    """
    base = by_model[BASE]
    stats = {key: metric.of_items(items) for key, items in by_model.items()}
    clusters = prompt_files.clusters(base)
    members: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(base):
        for kind, group in prompt_groups.of(item).items():
            members.setdefault((kind, group), []).append(index)
    kinds = [kind for kind in prompt_groups.TITLES if sum(kind == other for other, _ in members) > 1]
    shown = [(named, at) for named, at in members.items() if named[0] in kinds]
    rows = []
    for (kind, group), at in sorted(shown, key=lambda pair: (kinds.index(pair[0][0]), -len(pair[1]), pair[0])):
        inside = [clusters[index] for index in at]
        against = {
            key: differences.difference(metric, stats[BASE][at], found[at], inside, seed)
            for key, found in stats.items()
            if key != BASE
        }
        values = {key: metric.corpus_score(found[at]) for key, found in stats.items()}
        rows.append(Group(kind, group, len(at), len(set(inside)), values, against))
    return rows


def corrected(results: dict[str, BenchmarkResult]) -> dict[str, BenchmarkResult]:
    """Return the benchmarks with every p and verdict corrected, so a table of equal models seldom has a verdict.

    The primary difference is that of the first adapted model in the primary metric of the first benchmark: it was named
    before the run. All others are secondary, over metrics, groups, benchmarks and models. The forgetting check has a
    test of its own. What is too few for a verdict is no member of the family.
    """
    name, first = next(iter(results.items()))
    primary = (name, first.headline.metric, ADAPTED)
    rows: list[tuple[str, MetricRow | Group]] = []
    for name, result in results.items():
        rows += [*((name, row) for row in result.metrics), *((name, group) for group in result.groups)]
    gaps = {(name, _row_name(row), key): gap for name, row in rows for key, gap in row.against_base.items()}
    secondary = [place for place, gap in gaps.items() if place != primary and gap.verdict != "too few"]
    p, p_values = statistics.family(
        differences.p_of(gaps[primary]), [differences.p_of(gaps[place]) for place in secondary]
    )
    known = {primary: p, **dict(zip(secondary, p_values, strict=True))}
    found = {place: differences.with_p(gap, known[place]) if place in known else gap for place, gap in gaps.items()}
    return {
        name: msgspec.structs.replace(
            result,
            metrics=[_with_gaps(row, name, found) for row in result.metrics],
            groups=[_with_gaps(row, name, found) for row in result.groups],
        )
        for name, result in results.items()
    }


def _row_name(row: MetricRow | Group) -> str:
    return row.metric if isinstance(row, MetricRow) else f"{row.kind}: {row.group}"


def _with_gaps(row: Row, benchmark: str, found: Mapping[tuple[str, str, str], Difference]) -> Row:
    """Return a row with the differences that are found for its benchmark, name and models."""
    against = {key: found[benchmark, _row_name(row), key] for key in row.against_base}
    return msgspec.structs.replace(row, against_base=against)


def without_doubtful_verdicts(result: BenchmarkResult) -> BenchmarkResult:
    """Return a benchmark without verdicts for models about which there is no conclusion."""

    doubted = result.doubts

    def undecided(row: Row) -> Row:
        against = {
            key: msgspec.structs.replace(gap, verdict=NO_CONCLUSION)
            if key in doubted and gap.verdict != "too few"
            else gap
            for key, gap in row.against_base.items()
        }
        return msgspec.structs.replace(row, against_base=against)

    return msgspec.structs.replace(
        result,
        metrics=[undecided(row) for row in result.metrics],
        groups=[undecided(row) for row in result.groups],
        grid=grid.without_conclusion(result.grid) if result.grid and ADAPTED in doubted else result.grid,
    )
