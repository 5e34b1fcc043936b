"""Which names of a prediction exist in the repository: in the code of the other files that the author had.

A name that only the prompt's own file has is an invented one: the names below the cursor would be an answer key.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

from codefit.code import names
from codefit.code.languages import language_of
from codefit.code.lexer import IDENTIFIER
from codefit.evaluation import task_metrics, truncation
from codefit.evaluation.repository_files import RepositoryFiles
from codefit.records import Prediction
from codefit.scoring.internal_names import INTERNAL_NAMES, NEW, REFERENCE_NEW, REFERENCE_RIGHT, RIGHT
from codefit.sources.timeline import Version


class RepositoryNames:
    """The names in the code of repositories, with the files that have them."""

    def __init__(self, files: RepositoryFiles) -> None:
        self._files = files
        self._places: dict[str, list[tuple[str, Version]]] = {}
        self._read: set[tuple[str, Version]] = set()
        self._last: Mapping[str, Version] | None = None

    def right(self, asked: set[str], item: Prediction) -> int | None:
        """Return how many of some names exist in a file that counts for an item; None if no repository is known."""
        files = self._files.of(item)
        if files is None:
            return None
        if files is not self._last:
            self._last = files
            for place in files.items() - self._read:
                self._read_names(*place)
        return sum(
            any(path != item.path and files.get(path) == version for path, version in self._places.get(name, ()))
            for name in asked
        )

    def _read_names(self, path: str, version: Version) -> None:
        place = path, version
        self._read.add(place)
        if language := language_of(path, version.language):
            for name in {name for *_, name in names.in_code(self._files.text(version), language)}:
                self._places.setdefault(name, []).append(place)


def noted(items: Sequence[Prediction], known: RepositoryNames | None) -> list[Prediction]:
    """Return predictions with how many names they and their references bring in, and how many are right, if known."""
    return [_noted(item, known) for item in items] if known else list(items)


def _noted(item: Prediction, known: RepositoryNames) -> Prediction:
    if INTERNAL_NAMES not in task_metrics.metrics(item.task) or language_of(item.path, item.language) is None:
        return item
    scores = dict(item.scores)
    reference = dataclasses.replace(item, prediction=item.reference, finish_reason=item.reference_finish_reason)
    for each, new, right in ((item, NEW, RIGHT), (reference, REFERENCE_NEW, REFERENCE_RIGHT)):
        found = new_names(each)
        count = known.right(found, item)
        if count is None:
            return item
        scores |= {new: float(len(found)), right: float(count)}
    return dataclasses.replace(item, scores=scores)


def new_names(item: Prediction) -> set[str]:
    """Return the names in the code of a prediction that the prompt, the suffix and the language do not provide.

    A name that the cursor cuts counts as a whole. The last name of a prediction that the limit cut is left out.
    """
    language = language_of(item.path, item.language)
    assert language is not None
    text = truncation.as_editor(item, item.prediction)
    if item.finish_reason == "length" and len(text) == len(item.prediction):
        text = re.sub(r"\w+$", "", text)
    cursor = len(item.prompt)
    found = [(start, name) for start, end, name in names.in_code(item.prompt + text, language) if end > cursor]
    shown = item.prompt[: min([cursor, *(start for start, _ in found)])] + " " + (item.suffix or "")
    return {name for _, name in found} - set(IDENTIFIER.findall(shown)) - names.provided(language.name)
