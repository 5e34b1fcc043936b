"""Stop rules that cut finished predictions: a model that only learned to stop gains nothing over a base that is cut.

The rule of the reference's lines knows the answer: no model can follow it, and no rule of lines can do better, so a
gain over a base that it cuts does not come from stopping.
"""

from collections.abc import Sequence

from codefit.code.languages import LANGUAGES, Language, language_of
from codefit.code.structure import Structure
from codefit.records import Prediction

CONTEXT = 2000  # characters of the prompt that are read for the natural end

RULES = {
    "as_generated": "as generated",
    "first_line": "cut at the end of its first line",
    "natural_end": "cut at its first natural end",
    "reference_lines": "cut to the reference's lines",
}
AS_GENERATED = "as_generated"


def texts(rule: str, items: Sequence[Prediction]) -> list[str]:
    """Return the predictions as a rule cuts them."""
    return [CUTS[rule](item) for item in items]


def applies(rule: str, items: Sequence[Prediction]) -> bool:
    """Return whether a rule can cut every prediction: a natural end needs a known language."""
    return rule != "natural_end" or all(_language(item) for item in items)


def _as_generated(item: Prediction) -> str:
    return item.prediction


def _first_line(item: Prediction) -> str:
    return _lines(item.prediction, 1)


def _reference_lines(item: Prediction) -> str:
    return _lines(item.prediction, item.reference.strip("\n").count("\n") + 1)


def _lines(text: str, count: int) -> str:
    """Return a text up to the end of a line; blank lines at its head are not counted."""
    head = len(text) - len(text.lstrip("\n"))
    return text[:head] + "\n".join(text[head:].split("\n")[:count])


def _natural_end(item: Prediction) -> str:
    language = _language(item)
    if language is None:
        return item.prediction
    prompt = item.prompt[-CONTEXT:]
    whole = prompt + item.prediction
    end = Structure(whole, language).natural_end(len(prompt), len(whole))
    return item.prediction if end is None else whole[len(prompt) : end]


def _language(item: Prediction) -> Language | None:
    return LANGUAGES.get(item.language) or language_of(item.path)


CUTS = {
    AS_GENERATED: _as_generated,
    "first_line": _first_line,
    "natural_end": _natural_end,
    "reference_lines": _reference_lines,
}
