"""Models on the same prompts: scores of every item, metrics with intervals, and the verdicts. Needs no model."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from codefit.evaluation import baselines, leak_signs, output_checks, prompt_groups, task_metrics, truncation
from codefit.evaluation.benchmarks import codexglue, formats
from codefit.records import Prediction
from codefit.scoring import statistics
from codefit.scoring.bits_per_byte import BITS_PER_BYTE
from codefit.scoring.metric import Metric, in_sentence
from codefit.scoring.statistics import Array

BASE, ADAPTED = "base", "adapted"  # the first two roles; further models have roles of their own
RESOLVED = 0.05
# Points of the headline metric: a loss that is surely smaller is none that a reader of code would notice. "Out of the
# BLEU" (Evtikhiev et al., JSS 2023) finds that people do not see differences below 2 to 5 points.
KEPT = 2.0

ByRole = Mapping[str, Sequence[Prediction]]  # predictions of each model for the same items in the same order


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
    predictions: Mapping[str, ByRole],
    models: dict[str, Any],
    asked: Mapping[str, Any],
    stored: Mapping[str, Mapping[str, Sequence[str]]],
    seed: int,
    profile: str = "honest",
) -> dict[str, Any]:
    """Return the content of scores.json.

    Args:
        predictions: by benchmark and role.
        models: what is known of each model, by role: `name`, `label`, `validation_loss` where it is known.
        asked: what is known of each benchmark: `title`, `forgetting` where it is that check, and `decoding`: how each
            model was asked, by role.
        stored: answers of baselines, by benchmark and baseline.
        seed: of the bootstrap.
        profile: "compat" adds CodeXGLUE's own numbers to every benchmark, and not to its own only.
    """
    found = {}
    for name, by_role in predictions.items():
        decoding = asked[name].get("decoding", {})
        facts = {"title": asked[name]["title"], **compare(by_role, models, seed, stored.get(name, {}), decoding)}
        if asked[name].get("forgetting"):
            facts["forgetting"] = _forgetting(facts)
        if compat := _compat(asked[name].get("format", "pairs"), by_role, profile):
            facts["compat"] = compat
        found[name] = facts
    return {"models": models, "benchmarks": found}


def _compat(form: str, by_role: ByRole, profile: str) -> dict[str, Any]:
    """Return by role the numbers of a benchmark's own code; {} where it has none and none were asked for."""
    score = getattr(formats.module(form), "scores", codexglue.scores if profile == "compat" else None)
    if score is None:
        return {}
    return {
        role: score([item.prediction for item in items], [item.reference for item in items])
        for role, items in by_role.items()
    }


def compare(
    by_role: ByRole,
    models: Mapping[str, Any],
    seed: int,
    stored: Mapping[str, Sequence[str]],
    decoding: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """Return what one benchmark found about its models.

    Args:
        by_role: predictions of the base, of the adapted model, and of any others.
        models: what is known of each, by role.
        seed: of the bootstrap.
        stored: answers of the baselines that need training data or a tokenizer.
        decoding: by role, by name what can move the answers beside model and prompts; {} where it is not known.

    Returns:
        `n`, `files`, `task`, `headline`, `decoding` in one line, `metrics` (a row per metric: `metric`, `label`,
        `unit`, `higher_is_better`, `n`, `signature`; `value`, `low`, `high` for `base`, `adapted` and `difference`;
        `verdict`; `others`, by role: a value with its own difference and verdict), `checks`, `baselines`,
        `stop_rules`, `slices` and `findings`.
    """
    base = by_role[BASE]
    task = task_metrics.task_of(base)
    words = {role: f"{model['label']} model" for role, model in models.items()}
    fitted = {role: words[role] for role in by_role if role.startswith(ADAPTED)}
    losses = {role: model["validation_loss"] for role, model in models.items() if model.get("validation_loss")}
    how = _signed(decoding)
    rows = [_row(metric, by_role, seed, how) for metric in _metrics(by_role)]
    checks = output_checks.rows(by_role)
    floors = baselines.rows(base, stored, seed)
    stops = _stops(by_role, seed)
    return {
        "n": len(base),
        "files": len(set(_clusters(base))),
        "task": task,
        "headline": rows[0]["metric"],
        "decoding": how,
        "metrics": rows,
        "checks": checks,
        "baselines": floors,
        "stop_rules": stops,
        "slices": _slices({role: by_role[role] for role in (BASE, *fitted)}, seed),
        "findings": [
            *output_checks.findings(checks, fitted, words[BASE]),
            *(found for role, word in fitted.items() for found in _only_stopping(rows[0], stops, role, word)),
            *(found for role, word in fitted.items() for found in _only_looking_up(by_role[role], stored, seed, word)),
            *leak_signs.findings(by_role, words, losses),
            *baselines.findings(floors, task),
            *_asked_differently(decoding),
        ],
    }


def _signed(decoding: Mapping[str, Mapping[str, str]]) -> str:
    """Return how models were asked as the end of a signature; what differs between them is given for each in turn."""
    names = next(iter(decoding.values()), {})
    values = {name: [facts.get(name, "unknown") for facts in decoding.values()] for name in names}
    return "|".join(f"{name}:{','.join(found if len(set(found)) > 1 else found[:1])}" for name, found in values.items())


def _asked_differently(decoding: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a sentence if two models were asked in different ways, which a paired comparison does not allow for."""
    found = [decoding[role] for role in (BASE, ADAPTED) if role in decoding]
    differ = [name for name in found[0] if name != "flips" and found[0][name] != found[-1].get(name)] if found else []
    if not differ:
        return []
    ways = " and ".join(", ".join(f"{name} {facts.get(name, 'unknown')}" for name in differ) for facts in found)
    return [f"The two models were asked in different ways ({ways}): a part of any difference may come from that."]


def _clusters(items: Sequence[Prediction]) -> list[str]:
    return [item.path or item.id for item in items]


def _metrics(by_role: ByRole) -> list[Metric]:
    """Return the metrics that all predictions allow, in the order of the tables."""
    first, *others = (task_metrics.applicable(items) for items in by_role.values())
    return [metric for metric in first if all(metric in table for table in others)]


def _row(metric: Metric, by_role: ByRole, seed: int, how: str) -> dict[str, Any]:
    """Return one metric of every model, signed by how it is counted and how the models were asked."""
    clusters = _clusters(by_role[BASE])
    stats = {role: metric.of_items(items) for role, items in by_role.items()}
    cells = {role: _interval(metric, found, clusters, seed) for role, found in stats.items()}
    against = {
        role: _difference(metric, stats[BASE], found, clusters, seed) for role, found in stats.items() if role != BASE
    }
    row = {
        "metric": metric.name,
        "label": metric.label,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "n": len(clusters),
        "signature": f"{metric.signature(len(clusters))}|{how}".rstrip("|"),
        "base": cells[BASE],
        "adapted": cells[ADAPTED],
        **against[ADAPTED],
    }
    others = {role: {**cells[role], **against[role]} for role in cells if role not in (BASE, ADAPTED)}
    return {**row, "others": others} if others else row


def _interval(metric: Metric, stats: Array, clusters: Sequence[str], seed: int) -> dict[str, float]:
    """Return `value`, `low`, `high`; with few files the interval of a percentage is cut at 0 and 100."""
    found = statistics.intervals(stats, clusters, metric.value, seed)._asdict()
    if metric.unit == "%":
        found |= {"low": max(0.0, found["low"]), "high": min(100.0, found["high"])}
    return found


def _difference(metric: Metric, before: Array, after: Array, clusters: Sequence[str], seed: int) -> dict[str, Any]:
    found = statistics.compare(before, after, clusters, metric.value, metric.higher_is_better, seed)
    difference = {"value": found.difference, "low": found.low, "high": found.high, "p": found.p}
    if metric.unit == "%":  # with few files the interval runs over what two percentages can differ by
        difference |= {"low": max(-100.0, found.low), "high": min(100.0, found.high)}
    verdict = found.verdict
    if metric.is_hit:
        difference["mcnemar_p"] = statistics.mcnemar(before[:, 0], after[:, 0])
        if difference["mcnemar_p"] >= RESOLVED:  # no resample of a few hits of one model alone has a loss
            verdict = "not resolved"
    return {"difference": {**difference, "smallest": found.smallest}, "verdict": verdict}


# ---------------------------------------------------------------------------------------------- stop rules


def _stops(by_role: ByRole, seed: int) -> dict[str, Any]:
    """Return the headline metric of every model under every stop rule, and the base at its best against the adapted.

    `rules` holds a row per rule with a value by role, and `best` is the rule that suits the base best. `against` holds
    by role of each adapted model a `difference` and `verdict` of its predictions as generated against the base's as
    that rule cuts them, and in `alike` the same where the rule cuts both.
    """
    base = by_role[BASE]
    metric = task_metrics.headline(task_metrics.task_of(base))
    rules = [rule for rule in truncation.RULES if truncation.applies(rule, base)]
    stats = {(rule, role): _cut(metric, rule, items) for rule in rules for role, items in by_role.items()}
    rows: list[dict[str, Any]] = [
        {
            "rule": rule,
            "label": truncation.RULES[rule],
            **{role: metric.corpus_score(stats[rule, role]) for role in by_role},
        }
        for rule in rules
    ]
    sign = 1 if metric.higher_is_better else -1
    best = max(rows, key=lambda row: sign * row[BASE])["rule"]
    against = {}
    for role in (role for role in by_role if role.startswith(ADAPTED)):
        free, cut = (
            _difference(metric, stats[best, BASE], stats[rule, role], _clusters(base), seed)
            for rule in (truncation.AS_GENERATED, best)
        )
        against[role] = {**free, "alike": cut}
    return {"rules": rows, "best": best, "against": against}


def _cut(metric: Metric, rule: str, items: Sequence[Prediction]) -> Array:
    return metric.of_items(items, truncation.texts(rule, items))


def _only_stopping(row: dict[str, Any], stops: dict[str, Any], role: str, word: str) -> list[str]:
    """Return a sentence if the gain of the headline metric is gone once predictions are cut where they should end."""
    found, against = row if role == ADAPTED else row["others"][role], stops["against"][role]
    if found["verdict"] != "better" or "better" in (against["verdict"], against["alike"]["verdict"]):
        return []
    rule = next(row for row in stops["rules"] if row["rule"] == stops["best"])
    return [
        f"The {word} mostly learned to stop: {rule['label']}, the base scores {rule[BASE]:.1f}, and no gain over that "
        "is resolved."
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
    if found["verdict"] == "better":
        return []
    values = [metric.corpus_score(stats) for stats in (before, after)]
    shown = "shown to be " if found["difference"]["value"] > 0 else ""
    return [
        f"The {word} ({values[1]:.1f}) is not {shown}better than a look-up of the nearest training item "
        f"({values[0]:.1f}) in {in_sentence(metric.label)}."
    ]


# ---------------------------------------------------------------------------------------------- slices, forgetting


def _slices(by_role: ByRole, seed: int) -> list[dict[str, Any]]:
    """Return the headline metric in every group of prompts, the largest group of its kind first.

    A kind that has all prompts in one group is left out: its row would be that of the whole.

    A row holds `kind`, `group`, `n`, `files`, a value by role, and in `against` by role of each adapted model its
    `difference` and `verdict`. A model's verdicts are corrected for the number of groups (`p` by Holm), so that the
    whole table seldom has one false one.
    """
    base = by_role[BASE]
    metric = task_metrics.headline(task_metrics.task_of(base))
    stats = {role: metric.of_items(items) for role, items in by_role.items()}
    clusters = _clusters(base)
    groups: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(base):
        for kind, group in prompt_groups.of(item).items():
            groups.setdefault((kind, group), []).append(index)
    kinds = [kind for kind in prompt_groups.TITLES if sum(kind == other for other, _ in groups) > 1]
    rows: list[dict[str, Any]] = []
    shown = [(key, at) for key, at in groups.items() if key[0] in kinds]
    for (kind, group), at in sorted(shown, key=lambda pair: (kinds.index(pair[0][0]), -len(pair[1]), pair[0])):
        inside = [clusters[index] for index in at]
        against = {
            role: _difference(metric, stats[BASE][at], found[at], inside, seed)
            for role, found in stats.items()
            if role != BASE
        }
        values = {role: metric.corpus_score(found[at]) for role, found in stats.items()}
        about = {"kind": kind, "group": group, "n": len(at), "files": len(set(inside))}
        rows.append({**about, **values, "against": against})
    for role in (role for role in by_role if role != BASE):
        found = [row["against"][role] for row in rows]
        for against, p in zip(found, statistics.holm([each["difference"]["p"] for each in found]), strict=True):
            against["difference"]["p"] = p
            if p >= RESOLVED:
                against["verdict"] = "not resolved"
    return rows


def _forgetting(benchmark: dict[str, Any]) -> dict[str, Any]:
    """Return the `verdict` of the forgetting check, its `margin`, and the `metric` that decided it.

    "forgot" is a loss that is resolved, "kept" one that is surely smaller than the margin, if there is one at all. Both
    the headline metric and bits per byte have to be kept: who learns to stop scores better and can have forgotten.
    """
    rows = benchmark["metrics"]
    found = [_kept(row) for row in rows if row is rows[0] or row["metric"] == BITS_PER_BYTE.name]
    return min(found, key=lambda each: ("forgot", "not resolved", "kept").index(each["verdict"]))


def _kept(row: dict[str, Any]) -> dict[str, Any]:
    margin = KEPT if row["unit"] == "%" else KEPT / 100 * row["base"]["value"]
    loss = -row["difference"]["low"] if row["higher_is_better"] else row["difference"]["high"]
    verdict = "forgot" if row["verdict"] == "worse" else "kept" if loss < margin else "not resolved"
    return {"verdict": verdict, "margin": margin, "metric": row["metric"]}
