"""The files that prompts come from: the unit of intervals and tests, and what leaves nothing to conclude about them."""

import collections
import re
from collections.abc import Sequence

from codefit.records import Prediction

LARGEST_FILE = 0.5  # a share of the prompts from one file, above which nothing is concluded about files
ALIKE = 0.5  # a share of a file's prompts in another file, from which on the two are one file
DISTINCT = 0.5  # a share of prompts that are unlike all others, below which nothing is concluded
SHORTEST = 3  # characters of a reference that says anything
TOO_SHORT = 0.5  # a share of references that say nothing, above which nothing is concluded
CONTEXT = 400  # characters of a prompt's end that tell prompts apart


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
    """Return what is asked, without what numbers and white space tell apart."""
    texts = (item.prompt[-CONTEXT:], item.suffix or "", item.reference)
    return tuple(re.sub(r"\d+", "0", re.sub(r"\s+", " ", text)) for text in texts)


def doubts(items: Sequence[Prediction]) -> list[str]:
    """Return the sentences that leave no conclusion about any model that was asked these prompts."""
    return [*_one_file(items), *_repeated(items), *_too_short(items)]


def _one_file(items: Sequence[Prediction]) -> list[str]:
    (file, most), *others = collections.Counter(clusters(items)).most_common()
    if not others or most <= LARGEST_FILE * len(items):
        return []
    path = file.rpartition("\0")[2]
    return [f"One file ({path}) holds {most} of {len(items)} prompts, so that the scores are mostly about that file."]


def _repeated(items: Sequence[Prediction]) -> list[str]:
    distinct = len({_content(item) for item in items})
    if distinct >= DISTINCT * len(items):
        return []
    return [f"Only {distinct} of {len(items)} prompts differ in more than numbers: the scores count some again."]


def _too_short(items: Sequence[Prediction]) -> list[str]:
    short = sum(len(item.reference.strip()) < SHORTEST for item in items)
    if short <= TOO_SHORT * len(items):
        return []
    return [f"{short} of {len(items)} references have fewer than {SHORTEST} characters, too little to be right about."]
