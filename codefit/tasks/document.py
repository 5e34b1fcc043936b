"""Whole files for training from scratch: an empty prompt, and the whole text as the completion."""

from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.records import Document, Pair
from codefit.tasks.cutting import name_of
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = False
NEEDS_SYNTAX = False
STOP = "end"


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the one pair of a document, unless it is empty."""
    if not document.content.strip():
        skipped["empty document"] += 1
        return
    yield Pair(
        id=name_of(document),
        task="document",
        prompt="",
        completion=document.content,
        repository=document.repository,
        path=document.path,
        language=document.language,
    )
