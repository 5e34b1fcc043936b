"""Pairs that ask the same as another pair: their prompts, with the suffix, are equal but for white space.

The name of a function can be learned by heart if another file has a copy of it, although the files are no duplicates.
So only one pair of each prompt stays: that of the test split, else that of validation, else the first one in train.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from codefit.records import SPLITS, Pair
from codefit.tasks.repository_context import own_prompt

HELD_OUT = "prompt of a held-out pair"
REPEATED = "prompt of an earlier pair"


def prompt_id(pair: Pair) -> bytes:
    """Return a digest of the prompt and suffix of a pair without context and white space; b"" if they are empty."""
    text = "".join(f"{own_prompt(pair)}\0{pair.suffix or ''}".split())
    return hashlib.blake2b(text.encode(), digest_size=16).digest() if text != "\0" else b""


def removed(splits: dict[str, dict[str, Any]], folder: Path) -> dict[str, dict[str, Any]]:
    """Remove pairs that ask the same as another pair from a folder, and return the new counts of its splits."""
    lost = remove_repeated_prompts(folder)
    reasons = {name: Counter({reason: lost[name][reason] for reason in (HELD_OUT, REPEATED)}) for name in splits}
    return {
        name: {**shrunk(counts, lost[name]), "skipped": counts["skipped"] + reasons[name]}
        for name, counts in splits.items()
    }


def shrunk(counts: dict[str, Any], lost: Counter[str]) -> dict[str, Any]:
    """Return the counts of a split that lost pairs."""
    names = ("documents_without_pair", "pairs", "natural_ends", "pairs_with_context")
    return {**counts, **{name: counts[name] - lost[name] for name in names if name in counts}}


def remove_repeated_prompts(folder: Path) -> dict[str, Counter[str]]:
    """Remove pairs from every split in a folder, and return for each the counts by which it shrinks, and the reasons.

    The counts are those of overlap.py; the reasons are HELD_OUT and REPEATED.
    """
    held_out: set[bytes] = set()
    return {split: _removed(folder / f"{split}.jsonl", held_out) for split in reversed(SPLITS)}


def _removed(file: Path, held_out: set[bytes]) -> Counter[str]:
    """Remove the pairs of a split whose prompt occurred before, and add the prompts of the others to `held_out`."""
    lost: Counter[str] = Counter()
    own: set[bytes] = set()
    before, after = set(), set()
    kept = file.with_name(f"{file.name}.kept")
    with file.open("rb") as lines, kept.open("wb") as left:
        for line in lines:
            pair = Pair(**orjson.loads(line))
            prompt, name = prompt_id(pair), (pair.repository, pair.path, pair.commit)
            before.add(name)
            if prompt and (prompt in own or prompt in held_out):
                lost[HELD_OUT if prompt in held_out else REPEATED] += 1
                lost.update(pairs=1, natural_ends=pair.finish_reason == "stop", pairs_with_context=bool(pair.context))
                continue
            own.add(prompt)
            after.add(name)
            left.write(line)
    kept.replace(file)
    held_out |= own
    lost["documents_without_pair"] -= len(before - after)
    return lost
