"""Numbers and sentences about scores, as the terminal, the Markdown page, the HTML page and the plot show them."""

import math
from collections.abc import Mapping, Sequence

from codefit.console import counted
from codefit.evaluation import baselines, prompt_groups, truncation
from codefit.evaluation.result_schema import BenchmarkResult, Count, Difference, MetricRow, Model, Score
from codefit.scoring.metric import in_sentence

ENTROPY = "entropy of the first token after the prompt, in bits"
COMPAT_LABELS = {"edit_similarity": "Edit similarity", "bleu": "BLEU", "exact_match": "Exact match"}

Models = Mapping[str, Model]  # by key, the base first


def title(result: BenchmarkResult) -> str:
    """Return a benchmark's title for the start of a line, with its size."""
    return f"{capital(result.title)}: {counted(result.n, 'prompt')} from {counted(result.files, 'file')}"


def capital(text: str) -> str:
    """Return a text with its first letter capitalised."""
    return text[:1].upper() + text[1:]


def fitted(result: BenchmarkResult) -> list[str]:
    """Return the keys of the adapted models."""
    return list(result.stop_rules.against_base)


def name(row: MetricRow) -> str:
    """Return the name of a metric for the middle of a sentence."""
    return "edit similarity" if row.metric == "edit_similarity_cut" else in_sentence(row.label)


def label(row: MetricRow, result: BenchmarkResult) -> str:
    """Return the label of a metric in a table, with the number of prompts if not all have a value."""
    return row.label if row.n == result.n else f"{row.label} ({counted(row.n, 'prompt')})"


def number(value: float, row: MetricRow) -> str:
    """Return a value of a metric: one decimal on the scale to 100, two below 100 otherwise."""
    return decimal(value, 1 if row.higher_is_better else 2 if abs(value) < 100 else 0)


def decimal(value: float, decimals: int) -> str:
    """Return a number with so many decimals; one that rounds to zero has no sign."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{decimals}f}"
    return f"−{text}" if value < 0 and text.strip("0.") else text


def signed(value: float, row: MetricRow) -> str:
    """Return a difference with its sign; one that rounds to zero has none."""
    return _with_plus(value, number(value, row))


def points(found: Difference | Score) -> str:
    """Return "+8.2 [+6.0, +10.4]", a difference on the scale to 100 with its interval."""
    value, low, high = (_with_plus(each, decimal(each, 1)) for each in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]"


def _with_plus(value: float, text: str) -> str:
    return f"+{text}" if value > 0 and text.strip("0.") else text


def score(row: MetricRow, key: str) -> str:
    """Return "43.2 [40.1, 46.3]" for a model."""
    found = row.scores[key]
    return f"{number(found.value, row)} [{number(found.low, row)}, {number(found.high, row)}]"


def interval(found: Difference | Score, row: MetricRow) -> str:
    """Return "+8.2 [+6.0, +10.4]", as the metric of a row writes its numbers."""
    return f"{signed(found.value, row)} [{signed(found.low, row)}, {signed(found.high, row)}]"


def resolvable(found: Difference, row: MetricRow) -> str:
    """Return the smallest difference that would show; "" where all files agree, so that nothing tells how they vary."""
    text = number(found.smallest, row)
    return text if text.strip("0.") and math.isfinite(found.smallest) else ""


def entropy(result: BenchmarkResult, models: Models) -> list[str]:
    """Return how undecided each model is after the prompts, in one sentence, if that was measured."""
    found = ", ".join(f"{model.label} {bits(result.entropy[key])}" for key, model in models.items() if result.entropy)
    return [f"{ENTROPY}: {found}"] if found else []


def bits(found: Score) -> str:
    """Return a number of bits with its interval, as "2.31 [2.10, 2.52]"."""
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def share(count: Count) -> str:
    """Return a share such as "12.5 %"; a dash for a share of nothing."""
    return f"{100 * count.share:.1f} %" if count.of else "–"


def scale(row: MetricRow) -> list[float]:
    """Return the five ticks of a metric's axis: 0 to 100, or 0 to a round number over everything that is shown."""
    top = 100.0
    if not row.higher_is_better:
        high = max(found.high for found in row.scores.values())
        power = 10.0 ** math.floor(math.log10(high)) if 0 < high < math.inf else 1.0
        top = next((power * step for step in (1, 2, 4, 8) if power * step >= high), 10 * power)
    return [top * part / 4 for part in range(5)]


def compat_header(models: Models) -> tuple[str, ...]:
    """Return the header of `compat_rows`."""
    return ("CodeXGLUE", *(model.label for model in models.values()), "signature")


def compat_rows(result: BenchmarkResult) -> list[tuple[str, ...]]:
    """Return the numbers of a benchmark's own code as rows of text; they carry its own rounding to two digits."""
    if not result.compat:
        return []
    first = result.compat["base"]
    return [
        (
            COMPAT_LABELS.get(name, name),
            *(f"{found.values[name]:.2f}" for found in result.compat.values()),
            signature,
        )
        for name, signature in first.signatures.items()
    ]


def floors(result: BenchmarkResult) -> str:
    """Return the baselines' values of the primary metric in one line."""
    row = result.headline
    values = {found.baseline: number(found.values[row.metric], row) for found in result.baselines}
    ceiling = values.pop(baselines.CEILING)
    known = ", ".join(f"{baseline} {value}" for baseline, value in values.items())
    cut = ", cut," if row.metric == "edit_similarity_cut" else ""
    return f"{name(row)}{cut} without a model: {known}; the references themselves {ceiling}"


def stopping(result: BenchmarkResult, models: Models) -> list[str]:
    """Return how each adapted model compares with the base cut by the stop rule that gives it the best score."""
    row, stops = result.headline, result.stop_rules
    rule = stops.best_rule
    base = f"the {models['base'].label} {rule.label} ({number(rule.values['base'], row)})"
    sentences = []
    for key, against in stops.against_base.items():
        free, alike = (interval(each, row) for each in (against.as_generated, against.cut_alike))
        rest = "" if stops.best == truncation.AS_GENERATED else f"; cut alike: {alike}"
        sentences.append(f"against {base}, {models[key].label} as generated: {free}{rest}")
    return sentences


def groups(result: BenchmarkResult, models: Models) -> list[str]:
    """Return in how many groups of prompts each adapted model is better, and by name those in which it is worse."""
    sentences = []
    for key in (key for key in fitted(result) if result.groups and key not in result.doubts):
        better = sum(group.against_base[key].verdict == "better" for group in result.groups)
        worse = [group for group in result.groups if group.against_base[key].verdict == "worse"]
        names = ", ".join(f"{in_sentence(prompt_groups.TITLES[group.kind])} {group.group}" for group in worse)
        lost = f"{len(worse)} ({names})" if worse else "none"
        sentences.append(f"{models[key].label} by group: better in {better} of {len(result.groups)}, worse in {lost}")
    return sentences


def reference_names(result: BenchmarkResult) -> list[str]:
    """Return what the references reach in internal names; nothing where that is not known."""
    found = result.reference_names
    if found is None:
        return []
    return [f"Internal names of the references: {found.count} of {found.of} exist in other files ({share(found)})."]


def secondary(rows: Sequence[MetricRow]) -> list[str]:
    """Return "Secondary metrics, … better: …; worse: …." for the metrics that do not carry the verdict."""
    found = []
    for word in ("better", "worse", "not resolved", "too few"):
        if labels := [in_sentence(row.label) for row in rows if row.against_base["adapted"].verdict == word]:
            found.append(f"{word}: {', '.join(labels)}")
    return [f"Secondary metrics, corrected for their number: {'; '.join(found)}."] if found else []
