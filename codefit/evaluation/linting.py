"""What ruff says about Python completions in their files, and did not say about the files as their authors wrote them.

A completion, as an editor cuts it, takes the place of its reference in the document that the prompt was cut from. A
finding is new if the file has it more often than before, by rule and message; all syntax errors of a file count as one.
"""

import dataclasses
import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from codefit.curation.curate import with_line_feeds
from codefit.evaluation import truncation
from codefit.records import Document, Prediction
from codefit.scoring.metric import library
from codefit.scoring.statistics import Array
from codefit.temporary import temporary_folder

LAST = 200  # characters before the cursor by which a completion finds its place
SYNTAX = "invalid-syntax"


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """The text of a file before and after a reference."""

    before: str
    after: str


def places(items: Sequence[Prediction], documents: Iterable[Document]) -> list[Place | None]:
    """Return the place of each item, in order; None where it is not Python, or not found in its document just once."""
    wanted = {(item.repository, item.path) for item in items if item.language == "python"}
    texts = {
        (each.repository, each.path): with_line_feeds(each.content)
        for each in documents
        if (each.repository, each.path) in wanted
    }
    return [_place(item, texts) for item in items]


def _place(item: Prediction, texts: Mapping[tuple[str, str], str]) -> Place | None:
    text = texts.get((item.repository, item.path), "")
    before = item.prompt[-LAST:]
    if not item.reference or text.count(before + item.reference) != 1:
        return None
    start = text.index(before + item.reference) + len(before)
    return Place(text[:start], text[start + len(item.reference) :])


def new_findings(items: Sequence[Prediction], found: Sequence[Place | None]) -> Array:
    """Return (new findings, 1) for each item, (0, 0) for one without a place; shape (items, 2), float64."""
    pairs = [(item, place) for item, place in zip(items, found, strict=True) if place]
    texts = [place.before + truncation.as_editor(item, item.prediction) + place.after for item, place in pairs]
    completed = findings(texts)
    written = findings([place.before + item.reference + place.after for item, place in pairs])
    counts = iter([(one - other).total() for one, other in zip(completed, written, strict=True)])
    return np.array([(next(counts), 1) if place else (0, 0) for place in found], np.float64).reshape(len(items), 2)


def findings(texts: Sequence[str]) -> list[Counter[tuple[str, str]]]:
    """Return how often each rule and message of ruff's default rules is found in each Python text."""
    from ruff import find_ruff_bin

    with temporary_folder() as folder:
        for number, text in enumerate(texts):
            (folder / f"{number}.py").write_text(text, encoding="utf-8", errors="surrogatepass", newline="\n")
        command = [find_ruff_bin(), "check", "--isolated", "--no-cache", "--exit-zero", "--output-format", "json", "."]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=True)
    counted: list[Counter[tuple[str, str]]] = [Counter() for _ in texts]
    for row in json.loads(run.stdout):
        of_file = counted[int(row["filename"].rpartition("/")[2].removesuffix(".py"))]
        if row["code"] in {None, SYNTAX}:
            of_file[SYNTAX, ""] = 1
        else:
            of_file[row["code"], row["message"]] += 1
    return counted


def signature(n: int) -> str:
    """Return the signature of a value of n items."""
    return f"findings|rules:default|new:by-rule-and-message|cut:editor|mean:items|n:{n}|lib:{library('ruff')}"
