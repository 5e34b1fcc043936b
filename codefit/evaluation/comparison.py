"""Models on the same prompts: scores of every item, metrics with intervals, and verdicts. No model is loaded."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import msgspec

from codefit.evaluation import baselines, leak_signs, output_checks, prompt_groups, task_metrics, truncation
from codefit.evaluation.benchmarks import codexglue, formats
from codefit.evaluation.benchmarks.formats import Format
from codefit.evaluation.result_schema import (
    FORMAT,
    AgainstBest,
    BenchmarkInfo,
    BenchmarkResult,
    Difference,
    Forgetting,
    ForgettingVerdict,
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
from codefit.scoring.bits_per_byte import BITS_PER_BYTE
from codefit.scoring.metric import Metric, in_sentence
from codefit.scoring.statistics import Array, Verdict

BASE, ADAPTED = "base", "adapted"  # the keys of the first two models
RESOLVED = 0.05
# Points of the headline metric: a reader of code would not notice a loss that is surely smaller. "Out of the BLEU"
# (Evtikhiev et al., JSS 2023) finds that people do not see differences below 2 to 5 points.
KEPT = 2.0

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
) -> Scores:
    """Return the content of scores.json.

    Args:
        predictions: by benchmark and model.
        models: by key, the base first.
        asked: what is known of each benchmark.
        stored: answers of baselines, by benchmark and baseline.
        seed: of the bootstrap.
        profile: "compat" adds CodeXGLUE's own numbers to every benchmark, and not to its own only.
    """
    found = {}
    for name, by_model in predictions.items():
        info = asked[name]
        result = compare(by_model, models, info, seed, stored.get(name, {}))
        found[name] = msgspec.structs.replace(
            result,
            forgetting=_forgetting(result) if info.forgetting else None,
            compat=_compat(info.format, by_model, profile),
        )
    return Scores(models, found, FORMAT)


def _compat(form: Format, by_model: ByModel, profile: str) -> dict[str, ProfileScores] | None:
    """Return by model the numbers of a benchmark's own code; None where it has none and none were asked for."""
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
) -> BenchmarkResult:
    """Return what one benchmark found about its models, except the forgetting check and the compat profile.

    Args:
        by_model: predictions of the base, of the adapted model, and of any others.
        models: what is known of each.
        info: what is known of the benchmark.
        seed: of the bootstrap.
        stored: answers of the baselines that need training data or a tokenizer.
    """
    base = by_model[BASE]
    task = task_metrics.task_of(base)
    words = {key: f"{model.label} model" for key, model in models.items()}
    fitted = {key: words[key] for key in by_model if models[key].role is Role.ADAPTED}
    losses = {key: model.validation_loss for key, model in models.items() if model.validation_loss}
    how = _signed(info.decoding)
    rows = [_row(metric, by_model, seed, how) for metric in _metrics(by_model)]
    checks = output_checks.rows(by_model)
    floors = baselines.rows(base, stored, seed)
    stops = _stops(by_model, fitted, seed)
    return BenchmarkResult(
        title=info.title,
        n=len(base),
        files=len(set(_clusters(base))),
        task=task,
        decoding=how,
        metrics=rows,
        checks=checks,
        baselines=floors,
        stop_rules=stops,
        groups=_groups({key: by_model[key] for key in (BASE, *fitted)}, seed),
        findings=[
            *output_checks.findings(checks, fitted, words[BASE]),
            *(found for key, word in fitted.items() for found in _only_stopping(rows[0], stops, key, word)),
            *(found for key, word in fitted.items() for found in _only_looking_up(by_model[key], stored, seed, word)),
            *leak_signs.findings(by_model, words, losses),
            *baselines.findings(floors, task),
            *_asked_differently(info.decoding),
        ],
    )


def _signed(decoding: Mapping[str, GenerationSettings]) -> str:
    """Return how models were asked as the end of a signature; what differs between them is given for each in turn."""
    if not decoding:
        return ""
    values = {
        name: [getattr(facts, name) for facts in decoding.values()] for name in GenerationSettings.__struct_fields__
    }
    return "|".join(f"{name}:{','.join(found if len(set(found)) > 1 else found[:1])}" for name, found in values.items())


def _asked_differently(decoding: Mapping[str, GenerationSettings]) -> list[str]:
    """Return a sentence if two models were asked in different ways, which a paired comparison does not allow for."""
    if BASE not in decoding or ADAPTED not in decoding:
        return []
    found = [msgspec.structs.asdict(decoding[key]) for key in (BASE, ADAPTED)]
    differ = [name for name in found[0] if name != "flips" and found[0][name] != found[1][name]]
    if not differ:
        return []
    ways = " and ".join(", ".join(f"{name} {facts[name]}" for name in differ) for facts in found)
    return [f"The two models were asked in different ways ({ways}): a part of any difference may come from that."]


def _clusters(items: Sequence[Prediction]) -> list[str]:
    return [item.path or item.id for item in items]


def _metrics(by_model: ByModel) -> list[Metric]:
    """Return the metrics that all predictions allow, in the order of the tables."""
    first, *others = (task_metrics.applicable(items) for items in by_model.values())
    return [metric for metric in first if all(metric in table for table in others)]


def _row(metric: Metric, by_model: ByModel, seed: int, how: str) -> MetricRow:
    """Return one metric of every model, signed by how it is counted and how the models were asked."""
    clusters = _clusters(by_model[BASE])
    stats = {key: metric.of_items(items) for key, items in by_model.items()}
    return MetricRow(
        metric=metric.name,
        label=metric.label,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        n=len(clusters),
        signature=f"{metric.signature(len(clusters))}|{how}".rstrip("|"),
        scores={key: _interval(metric, found, clusters, seed) for key, found in stats.items()},
        against_base={
            key: _difference(metric, stats[BASE], found, clusters, seed) for key, found in stats.items() if key != BASE
        },
    )


def _interval(metric: Metric, stats: Array, clusters: Sequence[str], seed: int) -> Score:
    """Return the score of n items from their statistics, shape (n, k); a percentage stays within 0 and 100."""
    found = statistics.intervals(stats, clusters, metric.value, seed)
    if metric.unit == "%":  # with few files the interval runs over them
        return Score(found.value, max(0.0, found.low), min(100.0, found.high))
    return Score(*found)


def _difference(metric: Metric, before: Array, after: Array, clusters: Sequence[str], seed: int) -> Difference:
    """Return the difference of two models from the statistics of the same n items, shape (n, k)."""
    found = statistics.compare(before, after, clusters, metric.value, metric.higher_is_better, seed)
    low, high = found.low, found.high
    if metric.unit == "%":  # with few files the interval runs over what two percentages can differ by
        low, high = max(-100.0, low), min(100.0, high)
    mcnemar_p = statistics.mcnemar(before[:, 0], after[:, 0]) if metric.is_hit else None
    # No resample of a few hits of one model alone has a loss.
    resolved = mcnemar_p is None or mcnemar_p < RESOLVED
    verdict = found.verdict if resolved else "not resolved"
    return Difference(found.difference, low, high, found.p, found.smallest, verdict, mcnemar_p)


# ---------------------------------------------------------------------------------------------- stop rules


def _stops(by_model: ByModel, fitted: Collection[str], seed: int) -> StopRules:
    """Return the headline metric under every stop rule, and the base at its best against each adapted model."""
    base = by_model[BASE]
    metric = task_metrics.headline(task_metrics.task_of(base))
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
            _difference(metric, stats[best, BASE], stats[rule, key], _clusters(base), seed)
            for rule in (truncation.AS_GENERATED, best)
        )
        against[key] = AgainstBest(free, cut)
    return StopRules(rows, best, against)


def _cut(metric: Metric, rule: str, items: Sequence[Prediction]) -> Array:
    """Return the statistics of n predictions as a rule cuts them, shape (n, k), float64."""
    return metric.of_items(items, truncation.texts(rule, items))


def _only_stopping(row: MetricRow, stops: StopRules, key: str, word: str) -> list[str]:
    """Return a sentence if the gain of the headline metric is gone once predictions are cut where they should end."""
    against = stops.against_base[key]
    if row.against_base[key].verdict != "better":
        return []
    if "better" in (against.as_generated.verdict, against.cut_alike.verdict):
        return []
    rule = stops.best_rule
    return [
        f"The {word} mostly learned to stop: {rule.label}, the base scores {rule.values[BASE]:.1f}, and no gain over "
        "that is resolved."
    ]


def _only_looking_up(
    adapted: Sequence[Prediction], stored: Mapping[str, Sequence[str]], seed: int, word: str
) -> list[str]:
    """Return a sentence if a model is not better than the answers of the nearest training items, or may not be."""
    if "nearest" not in stored:
        return []
    metric = task_metrics.headline(task_metrics.task_of(adapted))
    before, after = metric.of_items(adapted, stored["nearest"]), metric.of_items(adapted)
    found = _difference(metric, before, after, _clusters(adapted), seed)
    if found.verdict == "better":
        return []
    values = [metric.corpus_score(stats) for stats in (before, after)]
    shown = "shown to be " if found.value > 0 else ""
    return [
        f"The {word} ({values[1]:.1f}) is not {shown}better than a look-up of the nearest training item "
        f"({values[0]:.1f}) in {in_sentence(metric.label)}."
    ]


# ---------------------------------------------------------------------------------------------- groups, forgetting


def _groups(by_model: ByModel, seed: int) -> list[Group]:
    """Return the headline metric in every group of prompts, the largest group of its kind first.

    A kind that has all prompts in one group is left out: its row would be that of the whole. The verdicts of a model
    are corrected for the number of groups (p by Holm), so that the whole table seldom has a false one.
    """
    base = by_model[BASE]
    metric = task_metrics.headline(task_metrics.task_of(base))
    stats = {key: metric.of_items(items) for key, items in by_model.items()}
    clusters = _clusters(base)
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
            key: _difference(metric, stats[BASE][at], found[at], inside, seed)
            for key, found in stats.items()
            if key != BASE
        }
        values = {key: metric.corpus_score(found[at]) for key, found in stats.items()}
        rows.append(Group(kind, group, len(at), len(set(inside)), values, against))
    return _corrected(rows)


def _corrected(rows: list[Group]) -> list[Group]:
    """Return groups with the p values and verdicts of each model corrected for their number."""
    keys = list(rows[0].against_base) if rows else []
    p_values = {key: statistics.holm([row.against_base[key].p for row in rows]) for key in keys}
    return [
        msgspec.structs.replace(
            row,
            against_base={key: _with_p(found, p_values[key][place]) for key, found in row.against_base.items()},
        )
        for place, row in enumerate(rows)
    ]


def _with_p(found: Difference, p: float) -> Difference:
    verdict: Verdict = "not resolved" if p >= RESOLVED else found.verdict
    return msgspec.structs.replace(found, p=p, verdict=verdict)


def _forgetting(result: BenchmarkResult) -> Forgetting:
    """Return what the forgetting check found, by the metric that decides.

    "forgot" is a loss that is resolved, "kept" one that is surely smaller than the margin, if there is one at all. Both
    the headline metric and bits per byte have to be kept: a model that learned to stop scores better and can have
    forgotten.
    """
    found = [_kept(row) for row in result.metrics if row is result.headline or row.metric == BITS_PER_BYTE.name]
    return min(found, key=lambda each: ("forgot", "not resolved", "kept").index(each.verdict))


def _kept(row: MetricRow) -> Forgetting:
    gap = row.against_base[ADAPTED]
    margin = KEPT if row.unit == "%" else KEPT / 100 * row.scores[BASE].value
    loss = -gap.low if row.higher_is_better else gap.high
    verdict: ForgettingVerdict = "forgot" if gap.verdict == "worse" else "kept" if loss < margin else "not resolved"
    return Forgetting(verdict, margin, row.metric)
