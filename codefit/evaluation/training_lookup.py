"""Baselines from the training data: its most frequent completion, and the completion of the most similar prompt.

A model that is not better than this look-up has learned nothing beyond it. Similar prompts share rare words at their
end: the similarity is the cosine of inverse document frequencies over the set of the last 64 words, and over the last
two, three and four words in order, which say most about what comes next.
"""

import collections
import hashlib
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from codefit.code.lexer import IDENTIFIER
from codefit.records import Pair, read_jsonl

WORD = re.compile(r"\w+|[^\w\s]|\n")
TAIL = 64  # words at the end of a prompt that count
ORDERS = (2, 3, 4)
SHARED_BY = 0.1  # features in more than this share of the prompts are ignored: uninformative, and most of the time
MOST = 20_000  # training pairs that are searched; of more, a seeded sample
REMEMBERED = 200  # characters of a prompt's end, and of what follows the gap, that identify a pair


class TrainingData:
    """The training pairs of a data set, as the baselines and leak checks need them.

    Attributes:
        count: number of pairs.
        constant: the most frequent completion.
        identifiers: all identifiers in prompts, completions and suffixes.
    """

    def __init__(self, path: Path, seed: int = 0) -> None:
        completions: collections.Counter[str] = collections.Counter()
        self.identifiers: set[str] = set()
        self.count = 0
        self._known: set[bytes] = set()
        self._kept: list[Pair] = []
        chance = random.Random(seed)
        for pair in read_jsonl(path, Pair):
            completions[pair.completion] += 1
            for text in (pair.prompt, pair.completion, pair.suffix or ""):
                self.identifiers.update(IDENTIFIER.findall(text))
            self._known.add(_digest(pair.prompt, pair.completion, pair.suffix))
            self.count += 1
            if len(self._kept) < MOST:
                self._kept.append(pair)
            elif (place := chance.randrange(self.count)) < MOST:
                self._kept[place] = pair
        self.constant = max(completions, key=lambda text: (completions[text], text), default="")
        self._index = _Index([pair.prompt for pair in self._kept])

    def holds(self, prompt: str, completion: str, suffix: str | None = None) -> bool:
        """Return whether the training data have a pair with this end of the prompt, completion and suffix."""
        return _digest(prompt, completion, suffix) in self._known

    def nearest(self, prompts: Iterable[str]) -> Iterator[str]:
        """Yield the completion of the training prompt most similar to each prompt; `constant` where none is similar."""
        for prompt in prompts:
            found = self._index.nearest(prompt)
            yield self.constant if found is None else self._kept[found].completion

    def examples(self, count: int, seed: int) -> list[Pair]:
        """Return few-shot examples: training pairs that run to their natural end, sampled by seed."""
        whole = [pair for pair in self._kept if pair.finish_reason == "stop" and pair.completion and not pair.suffix]
        return random.Random(seed).sample(whole, min(count, len(whole)))


class _Index:
    """An inverted index from features to the prompts that have them."""

    def __init__(self, prompts: Sequence[str]) -> None:
        postings: dict[str, list[int]] = collections.defaultdict(list)
        for number, prompt in enumerate(prompts):
            for feature in _features(prompt):
                postings[feature].append(number)
        most = max(SHARED_BY * len(prompts), 2)
        self._postings = {name: np.array(found) for name, found in postings.items() if len(found) <= most}
        self._weights = {name: math.log(1 + len(prompts) / len(found)) for name, found in self._postings.items()}
        squares = np.zeros(len(prompts))
        for name, found in self._postings.items():
            squares[found] += self._weights[name] ** 2
        self._lengths = np.sqrt(np.maximum(squares, 1e-12))

    def nearest(self, prompt: str) -> int | None:
        scores = np.zeros(len(self._lengths))
        for feature in sorted(
            _features(prompt) & self._postings.keys()
        ):  # in a fixed order, so that sums of floats repeat
            scores[self._postings[feature]] += self._weights[feature] ** 2
        scores /= self._lengths
        best = int(scores.argmax()) if len(scores) else 0
        return best if len(scores) and scores[best] > 0 else None


def _features(prompt: str) -> set[str]:
    words = WORD.findall(prompt[-8 * TAIL :])[-TAIL:]
    last = {f"{order}\0" + " ".join(words[-order:]) for order in ORDERS if len(words) >= order}
    return {word for word in words if word[0].isalnum() or word[0] == "_"} | last


def _digest(prompt: str, completion: str, suffix: str | None) -> bytes:
    text = f"{prompt[-REMEMBERED:]}\0{completion}\0{(suffix or '')[:REMEMBERED]}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=12).digest()
