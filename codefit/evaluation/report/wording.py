"""What a person looks at: the terminal table, the HTML report, the plots. Here is how they all write numbers and words.

They read the content of `scores.json`: `models` by role (`name`, `label`, …) and `benchmarks` by name: what
`comparison.compare` returns of each, with its `title`.
"""

import math
from collections.abc import Iterator
from typing import Any

from codefit.evaluation import baselines, output_checks, prompt_groups, truncation
from codefit.scoring.metric import in_sentence

COMPAT_LABELS = {"edit_similarity": "Edit similarity", "bleu": "BLEU", "exact_match": "Exact match"}


def title(benchmark: dict[str, Any]) -> str:
    """Return a benchmark's title for the start of a line, with its size."""
    name: str = benchmark["title"]
    return f"{name[0].upper()}{name[1:]}: {benchmark['n']} prompts from {benchmark['files']} files"


def roles(row: dict[str, Any]) -> list[str]:
    """Return the roles of the models in a row of metrics, the base first."""
    return ["base", "adapted", *row.get("others", {})]


def fitted(benchmark: dict[str, Any]) -> list[str]:
    """Return the roles of the adapted models."""
    return list(benchmark["stop_rules"]["against"])


def cell(row: dict[str, Any], role: str) -> dict[str, Any]:
    """Return the value and interval of a model in a row of metrics."""
    found: dict[str, Any] = row[role] if role in row else row["others"][role]
    return found


def against_base(row: dict[str, Any], role: str) -> dict[str, Any]:
    """Return what holds the `difference` and `verdict` of a model against the base in a row of metrics."""
    return row if role == "adapted" else cell(row, role)


def number(value: float, row: dict[str, Any]) -> str:
    """Return a value of a metric: one decimal on the scale to 100, two below 100 otherwise."""
    if math.isnan(value):
        return "–"
    decimals = 1 if row["higher_is_better"] else 2 if abs(value) < 100 else 0
    text = f"{abs(value):.{decimals}f}"
    return f"−{text}" if value < 0 and text.strip("0.") else text


def signed(value: float, row: dict[str, Any]) -> str:
    """Return a difference with its sign; one that rounds to nothing has none."""
    text = number(value, row)
    return f"+{text}" if value > 0 and text.strip("0.") else text


def score(row: dict[str, Any], role: str) -> str:
    """Return "43.2 [40.1, 46.3]" for a model."""
    found = cell(row, role)
    return f"{number(found['value'], row)} [{number(found['low'], row)}, {number(found['high'], row)}]"


def difference(row: dict[str, Any], role: str = "adapted") -> str:
    """Return "+8.2 [+6.0, +10.4]"."""
    return interval(against_base(row, role)["difference"], row)


def interval(found: dict[str, float], row: dict[str, Any]) -> str:
    """Return a difference with its interval, as the metric of a row writes its numbers."""
    return f"{signed(found['value'], row)} [{signed(found['low'], row)}, {signed(found['high'], row)}]"


def share(count: dict[str, int]) -> str:
    """Return "12.5 %" of a count out of a number, and a dash of nothing."""
    return f"{100 * output_checks.share(count):.1f} %" if count["of"] else "–"


def scale(row: dict[str, Any]) -> list[float]:
    """Return the five ticks of a metric's axis: 0 to 100, or 0 to a round number over everything that is shown."""
    top = 100.0
    if not row["higher_is_better"]:
        high = max(cell(row, role)["high"] for role in roles(row))
        power = 10.0 ** math.floor(math.log10(high)) if 0 < high < math.inf else 1.0
        top = next((power * step for step in (1, 2, 4, 8) if power * step >= high), 10 * power)
    return [top * part / 4 for part in range(5)]


def compat_header(models: dict[str, Any]) -> tuple[str, ...]:
    """Return the header of `compat_rows`."""
    return ("CodeXGLUE", *(model["label"] for model in models.values()), "signature")


def compat_rows(benchmark: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the numbers of a benchmark's own code as rows of text; they carry its own rounding to two digits."""
    first = benchmark["compat"]["base"]
    return [
        (
            COMPAT_LABELS.get(name, name),
            *(f"{found[name]:.2f}" for found in benchmark["compat"].values()),
            first["signatures"][name],
        )
        for name in first["signatures"]
    ]


def floors(benchmark: dict[str, Any]) -> str:
    """Return the baselines' values of the headline metric in one line."""
    row = benchmark["metrics"][0]
    values = {found["baseline"]: number(found["values"][row["metric"]], row) for found in benchmark["baselines"]}
    ceiling = values.pop(baselines.CEILING)
    known = ", ".join(f"{name} {value}" for name, value in values.items())
    return f"{in_sentence(row['label'])} without a model: {known}; the references themselves {ceiling}"


def stopping(benchmark: dict[str, Any], models: dict[str, Any]) -> list[str]:
    """Return how each adapted model compares with a base that is cut where that suits it best."""
    row, stops = benchmark["metrics"][0], benchmark["stop_rules"]
    rule = next(found for found in stops["rules"] if found["rule"] == stops["best"])
    base = f"the {models['base']['label']} {rule['label']} ({number(rule['base'], row)})"
    sentences = []
    for role, against in stops["against"].items():
        free, alike = (
            f"{interval(each['difference'], row)}, {each['verdict']}" for each in (against, against["alike"])
        )
        rest = "" if stops["best"] == truncation.AS_GENERATED else f"; cut alike: {alike}"
        sentences.append(f"against {base}, {models[role]['label']} as generated: {free}{rest}")
    return sentences


def groups(benchmark: dict[str, Any], models: dict[str, Any]) -> list[str]:
    """Return in how many groups of prompts each adapted model is better, and by name those in which it is worse."""
    rows = benchmark["slices"]
    sentences = []
    for role in fitted(benchmark) if rows else ():
        better = sum(row["against"][role]["verdict"] == "better" for row in rows)
        worse = [row for row in rows if row["against"][role]["verdict"] == "worse"]
        names = ", ".join(f"{in_sentence(prompt_groups.TITLES[row['kind']])} {row['group']}" for row in worse)
        lost = f"{len(worse)} ({names})" if worse else "none"
        sentences.append(f"{models[role]['label']} by group: better in {better} of {len(rows)}, worse in {lost}")
    return sentences


def verdict(benchmark: dict[str, Any], models: dict[str, Any]) -> list[str]:
    """Return what a benchmark found, in sentences: those about the metric that decides first."""
    row = _decisive(benchmark, "adapted")
    others = [role for role in roles(row) if role not in ("base", "adapted")]
    return [
        _headline(benchmark, models, "adapted"),
        *_others([each for each in benchmark["metrics"] if each is not row], row["verdict"]),
        *(_headline(benchmark, models, role) for role in others),
    ]


def _decisive(benchmark: dict[str, Any], role: str) -> dict[str, Any]:
    """Return the row that a model is judged by: of the headline metric, or the one that the forgetting check names."""
    rows = benchmark["metrics"]
    by = benchmark["forgetting"]["metric"] if role == "adapted" and "forgetting" in benchmark else rows[0]["metric"]
    return next(row for row in rows if row["metric"] == by)


def _headline(benchmark: dict[str, Any], models: dict[str, Any], role: str) -> str:
    row = _decisive(benchmark, role)
    found = against_base(row, role)
    gap, where, name = found["difference"], benchmark["title"], in_sentence(row["label"])
    values = tuple(number(cell(row, each)["value"], row) for each in ("base", role))
    size = f"{signed(gap['value'], row)}, 95 % interval {signed(gap['low'], row)} to {signed(gap['high'], row)}"
    change = f"{name} {values[0]} to {values[1]} ({size})"
    who = f"the {models[role]['label']} model"
    if role == "adapted" and "forgetting" in benchmark:
        margin = number(benchmark["forgetting"]["margin"], row)
        return {
            "forgot": f"Forgot: {who} is worse on {where}: {change}.",
            "kept": f"Kept: {who} has lost less than {margin} on {where}, if anything: {change}.",
            "not resolved": f"Not resolved whether {who} forgot: on {where}, {change}; ask more prompts.",
        }[benchmark["forgetting"]["verdict"]]
    if found["verdict"] == "not resolved":
        return (
            f"No difference is resolved on {where} with {benchmark['n']} prompts for {who}: {change}; "
            f"the smallest that they would show is {number(gap['smallest'], row)}."
        )
    verb = "rises" if gap["value"] > 0 else "falls"
    return f"T{who[1:]} is {found['verdict']} on {where}: {name} {verb} from {values[0]} to {values[1]} ({size})."


def _others(rows: list[dict[str, Any]], headline: str) -> Iterator[str]:
    """Yield "Also better: …", "Worse: …" for the other metrics."""
    for word in ("better", "worse", "not resolved"):
        labels = [row["label"] for row in rows if row["verdict"] == word]
        if labels:
            lead = f"also {word}" if word == headline else word
            yield f"{lead.capitalize()}: {', '.join(labels)}."
