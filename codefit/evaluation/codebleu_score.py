"""CodeBLEU (arXiv 2009.10297) of completions by the package codebleu, which is not among the requirements.

A score is the mean of four parts: n-gram match, the same with weighted keywords, match of the syntax trees, and match
of the data flow. Where a reference has no data flow, it is the mean of the other three. The package itself counts a
data flow match of 0 as 1, whatever the reason, so that a completion that gets everything wrong would gain by it.
"""

import contextlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from codefit.errors import UserError
from codefit.evaluation import truncation
from codefit.records import Prediction
from codefit.scoring.metric import library
from codefit.scoring.statistics import Array

REQUIREMENT = "codebleu==0.7.0"
# The package's names of the languages that it knows.
LANGUAGES = {
    **{name: name for name in ("python", "java", "javascript", "php", "c", "cpp", "go", "ruby", "rust")},
    "csharp": "c_sharp",
}
FLOW = "dataflow_match_score"
PARTS = ("ngram_match_score", "weighted_ngram_match_score", "syntax_match_score")


def refuse_without_library() -> None:
    """Raise UserError if the package is not installed."""
    if importlib.util.find_spec("codebleu") is None:
        raise UserError(f"CodeBLEU needs codebleu, which is not installed; run `pip install --no-deps {REQUIREMENT}`.")


def scores(items: Sequence[Prediction]) -> Array:
    """Return (CodeBLEU in percent, 1) for each item, as an editor cuts it; shape (items, 2), float64.

    An item in a language that the package does not know, or without a reference, gets (0, 0).

    Raises:
        UserError: the package is not installed, or knows none of the languages.
    """
    refuse_without_library()
    if not any(item.language in LANGUAGES for item in items):
        raise UserError("CodeBLEU knows none of the languages of these predictions; leave it out.")
    with _quiet():
        return np.array([_score(item) for item in items], np.float64)


def _score(item: Prediction) -> tuple[float, float]:
    language = LANGUAGES.get(item.language)
    if language is None or not item.reference.strip():
        return 0.0, 0.0
    text = truncation.as_editor(item, item.prediction)
    if not text.strip():
        return 0.0, 1.0
    parts = parts_of(text, item.reference, language)
    has_flow = parts_of(item.reference, item.reference, language)[FLOW] > 0
    found = [parts[name] for name in (*PARTS, *([FLOW] if has_flow else []))]
    return 100 * sum(found) / len(found), 1.0


def parts_of(text: str, reference: str, language: str) -> Mapping[str, float]:
    """Return the parts of CodeBLEU by the package's names, from 0 to 1, in one of its languages."""
    from codebleu import calc_codebleu

    found: Mapping[str, float] = calc_codebleu([reference], [text], language)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the package's warning about every reference without data flow, which it writes to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def signature(n: int) -> str:
    """Return the signature of a value of n items."""
    return (
        f"codebleu|weights:equal|flow:if there is any|cut:editor|mean:items|round:none|n:{n}|lib:{library('codebleu')}"
    )
