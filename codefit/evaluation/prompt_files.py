"""The files that prompts come from, which are the unit of intervals and tests; and prompts that allow no conclusion."""

import collections
import re
from collections.abc import Sequence

from codefit.records import Prediction

LARGEST_FILE = 0.5  # share of the prompts from one file above which there is no conclusion
ALIKE = 0.5  # share of a file's prompts in another file from which on the two count as one
DISTINCT = 0.5  # share of distinct prompts below which there is no conclusion
SHORTEST = 3  # characters of a reference that can be right or wrong
TOO_SHORT = 0.5  # share of shorter references above which there is no conclusion
CONTEXT = 400  # last characters of a prompt by which prompts are compared


def clusters(items: Sequence[Prediction]) -> list[str]:
    """Return the file of each item: repository and path, since every package has a setup.py.

    A copy of a file under another name, or one that differs only in numbers and white space, is the same file.
    """
    files = [f"{item.repository}\0{item.path}" if item.path else item.id for item in items]
    asked = [_content(item) for item in items]
    size = collections.Counter(files)
    first: dict[tuple[str, ...], str] = {}
    for file, content in zip(files, asked, strict=True):
        first.setdefault(content, file)
    seen = collections.Counter(
        (file, first[content]) for file, content in zip(files, asked, strict=True) if first[content] != file
    )
    same: dict[str, str] = {}
    for (file, earlier), count in seen.items():  # files come in their order, so an earlier one has its own file already
        if count >= ALIKE * size[file]:
            same.setdefault(file, same.get(earlier, earlier))
    return [same.get(file, file) for file in files]


def _content(item: Prediction) -> tuple[str, ...]:
    """Return the texts of an item, without differences in numbers and white space."""
    texts = (item.prompt[-CONTEXT:], item.suffix or "", item.reference)
    return tuple(re.sub(r"\d+", "0", re.sub(r"\s+", " ", text)) for text in texts)


def doubts(items: Sequence[Prediction]) -> list[str]:
    """Return the reasons why these prompts allow no conclusion about any model."""
    return [*_one_file(items), *_repeated(items), *_too_short(items)]


def _one_file(items: Sequence[Prediction]) -> list[str]:
    (file, most), *others = collections.Counter(clusters(items)).most_common()
    if not others or most <= LARGEST_FILE * len(items):
        return []
    path = file.rpartition("\0")[2]
    return [f"One file ({path}) holds {most} of {len(items)} prompts, so the scores are mostly about that file."]


def _repeated(items: Sequence[Prediction]) -> list[str]:
    distinct = len({_content(item) for item in items})
    if distinct >= DISTINCT * len(items):
        return []
    return [f"Only {distinct} of {len(items)} prompts differ in more than numbers, so the scores count some twice."]


def _too_short(items: Sequence[Prediction]) -> list[str]:
    short = sum(len(item.reference.strip()) < SHORTEST for item in items)
    if short <= TOO_SHORT * len(items):
        return []
    return [
        f"{short} of {len(items)} references have fewer than {SHORTEST} characters, too few to be right or wrong about."
    ]
