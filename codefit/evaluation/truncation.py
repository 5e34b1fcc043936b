"""Stop rules that cut finished predictions: a model that only learned to stop gains nothing over a base that is cut.

An editor cuts what a model writes before it shows it, so the primary metric of completions is about predictions that
are cut as an editor cuts them: at the end of the line (with its open brackets) for a cursor within a line, at the end
of the block otherwise, before a dedent, and where the suffix begins again. A task that asks for one line or for one
body ends with it. The rule of the reference's lines knows the
answer: no model can follow it, and no rule of lines can do better, so a gain over a base that it cuts does not come
from stopping.
"""

import functools
import re
from collections.abc import Sequence

from codefit.code.languages import LANGUAGES, Language, language_of
from codefit.code.structure import Structure
from codefit.generation import stopping
from codefit.records import Prediction

CONTEXT = 2000  # characters of the prompt that are read for the natural end
SHORTEST_SUFFIX = 3  # letters of the suffix's first line: a shorter one, as "})", occurs by chance

RULES = {
    "as_generated": "as generated",
    "first_line": "cut at the end of its first line",
    "natural_end": "cut at its first natural end",
    "editor": "cut as an editor cuts",
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
    return (
        item.prediction if language is None else _until_natural_end(item.prompt[-CONTEXT:], item.prediction, language)
    )


def _until_natural_end(prompt: str, text: str, language: Language) -> str:
    whole = prompt + text
    end = Structure(whole, language).natural_end(len(prompt), len(whole))
    return text if end is None else whole[len(prompt) : end]


def as_editor(item: Prediction, text: str) -> str:
    """Return a text at the cursor of an item as an editor would keep it; a reference is cut by the same rule."""
    return _as_editor(item.prompt[-CONTEXT:], text, item.suffix or "", _language(item), item.task)


@functools.lru_cache(maxsize=200_000)  # every metric and group needs the same texts
def _as_editor(prompt: str, text: str, suffix: str, language: Language | None, task: str) -> str:
    text = _before_suffix(text, suffix)
    if (stop := stopping.of_tasks((task,))) != "end":
        return stopping.text_until(stop, text)
    within_line = bool(prompt.rpartition("\n")[2].strip())
    if language is None:
        return _lines(text, 1) if within_line else _before_dedent(text)
    whole = _until_natural_end(prompt, text, language)
    return whole if within_line or whole != text else _before_dedent(text)


def _before_dedent(text: str) -> str:
    """Return a text up to the first line that is indented less than its first one."""
    lines = text.split("\n")
    indents = [len(line) - len(line.lstrip()) if line.strip() else None for line in lines]
    first = next((indent for indent in indents if indent is not None), 0)
    end = next((at for at, indent in enumerate(indents) if indent is not None and indent < first), len(lines))
    return text if end == len(lines) else "\n".join(lines[:end]).rstrip()


def _before_suffix(text: str, suffix: str) -> str:
    """Return a text up to where it repeats the first line of the suffix, if that line says anything."""
    line = next((line.strip() for line in suffix.split("\n") if line.strip()), "")
    if len(re.findall(r"\w", line)) < SHORTEST_SUFFIX:
        return text
    found = re.search(rf"{re.escape(line)}[ \t]*(?:\n|$)", text)
    return text[: found.start()].rstrip() if found else text


def _editor(item: Prediction) -> str:
    return as_editor(item, item.prediction)


def _language(item: Prediction) -> Language | None:
    return LANGUAGES.get(item.language) or language_of(item.path)


CUTS = {
    AS_GENERATED: _as_generated,
    "first_line": _first_line,
    "natural_end": _natural_end,
    "editor": _editor,
    "reference_lines": _reference_lines,
}
