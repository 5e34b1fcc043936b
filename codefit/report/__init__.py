"""What a person looks at: the terminal table, the HTML report, the plots. Here is how they all write numbers and words.

They read the content of `scores.json`: `models` (`base` and `adapted`: `name`, …) and `benchmarks`, by name: `n`,
`files`, `metrics` (rows of `comparison.compare`), `checks` (rows of `pathology.rows`) and `findings`.
"""

import math
from typing import Any

from codefit import pathology

TITLES = {"heldout": "held-out code", "codexglue": "CodeXGLUE method generation"}
COMPAT_HEADER = ("CodeXGLUE", "base", "adapted", "signature")
HEADLINE = "edit_similarity"  # the metric that the verdict is about


def title(name: str) -> str:
    """Return a benchmark's title for the start of a line."""
    return TITLES[name][0].upper() + TITLES[name][1:]


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


def score(row: dict[str, Any], model: str) -> str:
    """Return "43.2 [40.1, 46.3]" for a model."""
    cell = row[model]
    return f"{number(cell['value'], row)} [{number(cell['low'], row)}, {number(cell['high'], row)}]"


def difference(row: dict[str, Any]) -> str:
    """Return "+8.2 [+6.0, +10.4]"."""
    cell = row["difference"]
    return f"{signed(cell['value'], row)} [{signed(cell['low'], row)}, {signed(cell['high'], row)}]"


def share(count: dict[str, int]) -> str:
    """Return "12.5 %" of a count out of a number, and a dash of nothing."""
    return f"{100 * pathology.share(count):.1f} %" if count["of"] else "–"


def scale(row: dict[str, Any]) -> list[float]:
    """Return the five ticks of a metric's axis: 0 to 100, or 0 to a round number over everything that is shown."""
    top = 100.0
    if not row["higher_is_better"]:
        high = max(row[model]["high"] for model in ("base", "adapted"))
        power = 10.0 ** math.floor(math.log10(high)) if 0 < high < math.inf else 1.0
        top = next((power * step for step in (1, 2, 4, 8) if power * step >= high), 10 * power)
    return [top * part / 4 for part in range(5)]


def compat_rows(benchmark: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return CodeXGLUE's numbers as rows of text under COMPAT_HEADER; they carry its own rounding to two digits."""
    base, adapted = benchmark["compat"]["base"], benchmark["compat"]["adapted"]
    labels = {"edit_similarity": "Edit similarity", "bleu": "BLEU"}
    return [
        (label, f"{base[name]:.2f}", f"{adapted[name]:.2f}", base["signatures"][name]) for name, label in labels.items()
    ]


def verdict(name: str, benchmark: dict[str, Any]) -> list[str]:
    """Return what a benchmark found, in sentences; the first is about the headline metric."""
    row = next(row for row in benchmark["metrics"] if row["metric"] == HEADLINE)
    cell, where = row["difference"], TITLES[name]
    values = (number(row[model]["value"], row) for model in ("base", "adapted"))
    change = " to ".join(values)
    interval = f"{signed(cell['low'], row)} to {signed(cell['high'], row)}"
    size = f"{signed(cell['value'], row)}, 95 % interval {interval}"
    if row["verdict"] == "not resolved":
        sentence = (
            f"No difference is resolved on {where} with {benchmark['n']} prompts: edit similarity {change} ({size})."
        )
    else:
        verb = "rises" if cell["value"] > 0 else "falls"
        sentence = f"The adapted model is {row['verdict']} on {where}: edit similarity {verb} from {change} ({size})."
    return [sentence, *_others(benchmark["metrics"], row["verdict"])]


def _others(rows: list[dict[str, Any]], headline: str) -> list[str]:
    """Return "Also better: …", "Worse: …" for the other metrics."""
    sentences = []
    for verdict_word in ("better", "worse", "not resolved"):
        labels = [row["label"] for row in rows if row["verdict"] == verdict_word and row["metric"] != HEADLINE]
        if labels:
            lead = f"also {verdict_word}" if verdict_word == headline else verdict_word
            sentences.append(f"{lead.capitalize()}: {', '.join(labels)}.")
    return sentences
