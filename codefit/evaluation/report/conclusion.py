"""What a benchmark found, as sentences. The first one answers the user's question, and a reader may stop after it.

It keeps content and stopping apart: completions are cut as an editor cuts them, and what more is gained as they were
generated comes from stopping. It names the strongest floor. Where no conclusion is possible, it says so instead of
"better".
"""

import math

from codefit.console import counted
from codefit.evaluation import forgetting, output_checks, prompt_groups
from codefit.evaluation.report import wording
from codefit.evaluation.report.wording import Models, interval, number
from codefit.evaluation.result_schema import BenchmarkResult, Difference, MetricRow, Role
from codefit.scoring import statistics
from codefit.scoring.metric import in_sentence

CUT = {"edit_similarity_cut": "edit_similarity", "accepted": "exact_match"}  # primary metrics that are cut, and uncut
FLOORS = {
    "empty": "writing nothing",
    "constant": "always the most frequent training completion",
    "nearest": "looking up training code",
}
MOST_GROUPS = 3  # named in a sentence
HITS = {"accepted": "Accepted without a change", "exact_match": "Exactly right"}  # metrics that are counts of prompts
ALL = 0.1  # a share of the whole gain that content has at most, where all of it comes from stopping


def sentences(result: BenchmarkResult, models: Models) -> list[str]:
    """Return what a benchmark found: about the adapted model first, then its secondary metrics and other models."""
    first = _forgetting(result, models) if result.forgetting else _headline(result, models, "adapted")
    return [
        first,
        *(wording.secondary(result.metrics[1:]) if "adapted" not in result.doubts else []),
        *wording.reference_names(result),
        *(
            _headline(result, models, key)
            for key in result.headline.against_base
            if key != "adapted" and models[key].role is not Role.CONTEXT  # those are in the grid
        ),
    ]


def accepted(result: BenchmarkResult, models: Models) -> str:
    """Return "Accepted without a change: 5 → 7 of 200 prompts (not resolved)."; "" where no metric counts prompts."""
    found = {row.metric: row for row in result.metrics}
    row = found.get("accepted") or (found.get("exact_match") if result.task == "naming" else None)
    if row is None:
        return ""
    counts = {key: round(row.scores[key].value * row.n / 100) for key in models}
    verdicts = {key: gap.verdict for key, gap in row.against_base.items()}
    if len(models) == 2:
        change = f"{counts['base']} → {counts['adapted']} of {counted(row.n, 'prompt')} ({verdicts['adapted']})"
    else:
        others = (f"{models[key].label} {counts[key]} ({verdict})" for key, verdict in verdicts.items())
        change = f"of {counted(row.n, 'prompt')} {models['base'].label} {counts['base']}, {', '.join(others)}"
    return f"{HITS[row.metric]}: {change}."


def warnings(result: BenchmarkResult, models: Models) -> list[str]:
    """Return the findings that the sentences do not already give as reasons."""
    said = " ".join(sentences(result, models))
    return [finding for finding in result.findings if _inner(finding) not in said]


def _headline(result: BenchmarkResult, models: Models, key: str) -> str:
    who, where = f"the {models[key].label} model", result.title
    if key in result.doubts:
        return f"No conclusion about {who} on {where}: {_reasons(result, key)}. Its scores: {_change(result, key)}."
    gap, row = result.headline.against_base[key], result.headline
    size = f"{interval(gap, row)} {wording.name(row)}"
    if gap.verdict == "too few":
        return f"{_too_few(result)} to tell whether {who} is better on {where} ({size})."
    if gap.verdict == "better":
        found = f"{_better(result, who, key, size)}{_by_stopping(result, key)}{_look_up_unknown(result, key)}"
        return f"{found}{_groups(result, key)}."
    if _learned_to_stop(result, key):
        found = _only_stops(result, who, key)
    else:
        found = _worse(result, who, size) if gap.verdict == "worse" else _unresolved(result, who, size, key)
    return f"{found}{_below_floor(result, key)}{_groups(result, key)}."


def _reasons(result: BenchmarkResult, key: str) -> str:
    return "; ".join(_inner(sentence) for sentence in result.doubts[key])


def _only_stops(result: BenchmarkResult, who: str, key: str) -> str:
    """Return how much a model gains that is not shown to write better content, and how much of it by stopping."""
    row, where, uncut = result.headline, result.title, _uncut(result)
    assert uncut is not None
    gap, whole = row.against_base[key], uncut.against_base[key]
    share = "all" if gap.value <= ALL * whole.value else number(whole.value - gap.value, row)
    gain = f"{wording.capital(who)} gains {number(whole.value, uncut)} points in {wording.name(uncut)} on {where}"
    if gap.verdict == "worse":
        content = f"it is worse than the base ({number(row.scores['base'].value, row)}): {interval(gap, row)}"
    elif _is_same(gap, row):
        content = f"it is the same as the base within {forgetting.MARGIN:.0f} points ({interval(gap, row)})"
    else:
        content = f"no difference is shown ({interval(gap, row)})"
    return f"{gain}, {share} of them from stopping; with stopping taken out, {content}"


def _by_stopping(result: BenchmarkResult, key: str) -> str:
    """Return the end of a sentence about a model that is better and has also learned to stop."""
    row, uncut = result.headline, _uncut(result)
    if uncut is None or not _learned_to_stop(result, key):
        return ""
    more = uncut.against_base[key].value - row.against_base[key].value
    return f"; stopping adds {wording.signed(more, row)}" if more > 0 else ""


def _worse(result: BenchmarkResult, who: str, size: str) -> str:
    row, where = result.headline, result.title
    base = number(row.scores["base"].value, row)
    return wording.capital(f"{_lead(row)}{who} is worse than the base ({base}) on {where}: {size}")


def _better(result: BenchmarkResult, who: str, key: str, size: str) -> str:
    row, where = result.headline, result.title
    base = number(row.scores["base"].value, row)
    lead = wording.capital(f"{_lead(row)}{who}")
    floor = result.floors.get(key)
    if floor is None or (floor.floor == "empty" and floor.difference.verdict == "better"):
        return f"{lead} is better than the base ({base}) on {where}: {size}"
    name = f"{FLOORS[floor.floor]} ({number(floor.value, row)})"
    if floor.difference.verdict == "better":
        return f"{lead} is better on {where}: {size}; better than the base ({base}) and than {name}"
    relation = "worse than" if floor.difference.verdict == "worse" else "not shown to be better than"
    return f"{lead} is {relation} {name} on {where}, though better than the base ({base}): {size}"


def _below_floor(result: BenchmarkResult, key: str) -> str:
    """Return the end of a sentence about a model that is worse than the strongest floor; "" if it is not."""
    floor = result.floors.get(key)
    if floor is None or floor.difference.verdict != "worse":
        return ""
    return f"; worse than {FLOORS[floor.floor]} ({number(floor.value, result.headline)})"


def _unresolved(result: BenchmarkResult, who: str, size: str, key: str) -> str:
    row, gap = result.headline, result.headline.against_base[key]
    where, files = result.title, counted(result.files, "file")
    if _is_same(gap, row):
        content = f"the content of {who}" if row.metric in CUT else who
        same = f"{content} is the same as the base's within {forgetting.MARGIN:.0f} points on {where}: {size}"
        return wording.capital(same)
    found = f"{_lead(row)}no difference between {who} and the base is shown on {where}: {size}"
    smallest = wording.resolvable(gap, row)
    return wording.capital(f"{found} (these {files} would show {smallest} or more)" if smallest else found)


def _is_same(gap: Difference, row: MetricRow) -> bool:
    """Return whether a difference is shown to be below the margin that people notice."""
    return row.unit == "%" and gap.mcnemar_p is None and max(-gap.low, gap.high) < forgetting.MARGIN


def _uncut(result: BenchmarkResult) -> MetricRow | None:
    """Return the primary metric of predictions as they were generated; None if the primary metric does not cut them."""
    return next((row for row in result.metrics if row.metric == CUT.get(result.headline.metric)), None)


def _learned_to_stop(result: BenchmarkResult, key: str) -> bool:
    """Return whether a model is better as it was generated, and fewer of its predictions need an editor's cut."""
    uncut = _uncut(result)
    if uncut is None or uncut.against_base[key].verdict != "better":
        return False
    runs_on = next(row for row in result.checks if row.check == output_checks.RUNS_ON)
    return runs_on.counts[key].count < runs_on.counts["base"].count


def _look_up_unknown(result: BenchmarkResult, key: str) -> str:
    if key not in result.floors or any(row.baseline == "nearest" for row in result.baselines):
        return ""
    return "; not compared with a look-up, since the training data are not available"


def _groups(result: BenchmarkResult, key: str) -> str:
    """Return in which groups of prompts a model is worse, for the end of a sentence; the largest groups first."""
    worse = [
        group for group in result.groups if key in group.against_base and group.against_base[key].verdict == "worse"
    ]
    names = [
        f"{in_sentence(prompt_groups.TITLES[group.kind])} {group.group}"
        for group in sorted(worse, key=lambda group: -group.n)
    ]
    more = f" and {len(names) - MOST_GROUPS} more groups" if len(names) > MOST_GROUPS else ""
    return f"; worse in: {', '.join(names[:MOST_GROUPS])}{more}" if names else ""


def _too_few(result: BenchmarkResult) -> str:
    """Return "Too few prompts (12 from 3 files; about 3 more files are needed)"."""
    per_file = result.n / result.files
    more = max(statistics.FEWEST_FILES - result.files, math.ceil((statistics.FEWEST_ITEMS - result.n) / per_file), 1)
    files = "1 more file is" if more == 1 else f"{more} more files are"
    return f"Too few prompts ({result.n} from {counted(result.files, 'file')}; about {files} needed)"


def _lead(row: MetricRow) -> str:
    return "With stopping taken out, " if row.metric in CUT else ""


def _inner(sentence: str) -> str:
    """Return a sentence for the middle of another one."""
    text = sentence.removesuffix(".")
    return text[0].lower() + text[1:] if text[:2] != text[:2].upper() else text


def _change(result: BenchmarkResult, key: str, row: MetricRow | None = None) -> str:
    """Return "edit similarity 43.2 to 48.1 (+4.9 [+0.4, +9.8])"."""
    row = row or result.headline
    values = [number(row.scores[each].value, row) for each in ("base", key)]
    return f"{wording.name(row)} {values[0]} to {values[1]} ({interval(row.against_base[key], row)})"


def _forgetting(result: BenchmarkResult, models: Models) -> str:
    found = result.forgetting
    assert found is not None
    row = next(row for row in result.metrics if row.metric == found.metric)
    who, where, margin = f"the {models['adapted'].label} model", result.title, number(found.margin, row)
    change = _change(result, "adapted", row)
    if found.verdict == "cannot tell" and "adapted" in result.doubts:
        return f"Cannot tell whether {who} forgot, on {where}: {_reasons(result, 'adapted')}. Its scores: {change}."
    if found.verdict == "cannot tell" and row.against_base["adapted"].verdict == "too few":
        return f"{_too_few(result)} to tell whether {who} forgot: on {where}, {change}."
    return {
        "forgot": f"Forgot: {who} is worse on {where}: {change}; a loss below {margin} would not matter.",
        "forgot less than the margin": f"Forgot, but less than {margin}: {who} is worse on {where}: {change}.",
        "kept": f"Kept: {who} has lost less than {margin} on {where}, if anything: {change}.",
        "cannot tell": f"Cannot tell whether {who} forgot: on {where}, {change}; a loss of {margin} is not ruled out.",
        "not checked": f"Not checked whether {who} finds {where} less likely: no likelihoods were measured; {change}.",
    }[found.verdict]
