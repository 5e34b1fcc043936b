"""What stage 2 prints at its end: tables of rejections and splits, and remarks."""

import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import Any

from codefit import console
from codefit.curation.corpus import RejectionLog

FEW_FILES, FEW_PAIRS = 10, 100  # of the test split


def summary(log: RejectionLog, counts: dict[str, Any], splits: dict[str, dict[str, Any]]) -> str:
    rows = [
        [name, c["documents"], c["pairs"], f"{c['natural_ends'] / c['pairs']:.1%}" if c["pairs"] else "-"]
        for name, c in splits.items()
    ]
    parts = [console.table(rows, ["split", "documents", "pairs", "natural ends"])]
    if log.files:
        rejected = [(*row, console.shortened(path)) for *row, path in log.rows()]
        parts.insert(0, console.table(rejected, ["rejected because", "files", "bytes", "for example"]) + "\n")
    remedy = "choose an earlier date for --history" if "history_changes" in counts else "raise --test_share"
    found = [*remarks(counts, splits), *too_small(splits["test"], remedy)]
    wrapped = (textwrap.fill(line, console.width(), break_on_hyphens=False) for line in found)
    return "\n".join([*parts, *wrapped])


def too_small(test: dict[str, Any], remedy: str = "raise --test_share") -> Iterator[str]:
    """Yield a warning if there is a test split and it is too small to measure with."""
    files, pairs = test["documents"] - test["documents_without_pair"], test["pairs"]
    if test["documents"] and (files < FEW_FILES or pairs < FEW_PAIRS):
        yield (
            f"warning: the test split has {console.counted(files, 'file')} with {console.counted(pairs, 'pair')}, "
            f"too few to measure small differences; {remedy}, or give more files"
        )


def remarks(counts: dict[str, Any], splits: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield further counts, one line each."""
    skipped: Counter[str] = sum((c["skipped"] for c in splits.values()), Counter())
    if skipped:
        yield "cut points without a pair: " + ", ".join(f"{count} {reason}" for reason, count in skipped.most_common())
    if broken := sum((c["syntax_errors"] for c in splits.values()), Counter[str]()):
        languages = ", ".join(f"{count} {language}" for language, count in broken.most_common())
        unread = sum(c["unread_functions"] for c in splits.values())
        yield f"files with syntax errors: {languages}; {unread} of their functions could not be parsed"
    if with_context := sum(c.get("pairs_with_context", 0) for c in splits.values()):
        yield f"{with_context} pairs begin with repository context: other files of their repository and split"
    if moved := splits["test"]["pairs_moved_to_test_overlap"]:
        yield f"in test_overlap.jsonl, since the completion is mostly in train: {console.counted(moved, 'test pair')}"
    if changes := counts.get("history_changes"):
        left_out = ", ".join(f"{count} {reason}" for reason, count in counts["history_left_out"].most_common())
        changed = console.counted(changes, "changed file")
        yield f"the test pairs are of {changed} of later commits; left out: {left_out or 'none'}"
    if counts.get("boundaries"):
        flags = " ".join(f"--{name} {since}" for name, since in counts["boundaries"].items())
        yield f"to split later data at the same dates, add {flags}"
    if counts.get("boilerplate"):
        yield f"{len(counts['boilerplate'])} n-grams occur in too many documents to show contamination and were ignored"
    for name, done in (("not_formatted", "formatted"), ("not_stripped", "stripped")):
        if counts.get(name):
            yield f"not {done}, since it does not parse: {console.counted(counts[name], 'file')}"
    if exported := counts.get("codexglue"):
        left = ", ".join(f"{count} {reason}" for reason, count in exported.most_common() if reason != "exported")
        yield f"exported in CodeXGLUE's format: {exported['exported']} methods" + (
            f"; left out: {left}" if left else ""
        )
    for name in ("redacted", "not_redacted"):
        if kinds := counts.get(name):
            listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
            yield f"{name.replace('_', ' ')}: {listed}"
