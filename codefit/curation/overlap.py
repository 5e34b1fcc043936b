"""Test completions that also occur in train: they move to `test_overlap.jsonl`, so that both can be measured.

A file of the test split is not a near-duplicate of a train file, but single lines of it may occur in train. A
completion overlaps if more than half of its word 10-grams occur in train texts; one of fewer than ten words has none
and stays.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codefit.curation.dedup import Hashes, grams, is_in, word_hashes
from codefit.records import OVERLAP, Pair, read_jsonl, write_jsonl

GRAM = 10
SHARE = 0.5


def overlapping(completions: Sequence[str], train_texts: Iterable[str]) -> NDArray[np.bool_]:
    """Return, for each completion, whether more than half of its 10-grams occur in train, shape (completions,), bool.

    Memory grows with the completions, not with train.
    """
    sets = [np.unique(_grams(text)) for text in completions]
    known = np.unique(np.concatenate([*sets, np.zeros(0, np.uint64)]))
    seen = np.zeros(len(known), np.bool_)
    for text in train_texts if len(known) else ():
        held, places = is_in(known, _grams(text))
        seen[places[held]] = True
    return np.array([len(s) > 0 and float(seen[is_in(known, s)[1]].mean()) > SHARE for s in sets], np.bool_)


def _grams(text: str) -> Hashes:
    """Return the hash of every run of 10 words of a text, shape (runs,), uint64."""
    return grams(word_hashes(text), GRAM)


def move_overlap(folder: Path, train_texts: Iterable[str]) -> Counter[str]:
    """Move the overlapping pairs of `test.jsonl` to `test_overlap.jsonl` and return counts of the moved pairs."""
    pairs = list(read_jsonl(folder / "test.jsonl", Pair))
    overlaps = overlapping([pair.completion for pair in pairs], train_texts).tolist()
    moved = [pair for pair, overlap in zip(pairs, overlaps, strict=True) if overlap]
    kept = [pair for pair, overlap in zip(pairs, overlaps, strict=True) if not overlap]
    if moved:
        write_jsonl(folder / "test.jsonl", kept)
        write_jsonl(folder / f"{OVERLAP}.jsonl", moved)
    emptied = {(p.repository, p.path, p.commit) for p in moved} - {(p.repository, p.path, p.commit) for p in kept}
    ends = sum(pair.finish_reason == "stop" for pair in moved)
    context = sum(bool(pair.context) for pair in moved)
    return Counter(
        pairs=len(moved), natural_ends=ends, pairs_with_context=context, documents_without_pair=-len(emptied)
    )
