"""Has a base model seen the test? It is asked how likely texts are as they stand, and with their own names renamed.

A text that was learned by heart loses more by other names than one that is merely well written, so the loss in held-out
files is compared with that in files that the model cannot have seen, since they are newer than it. Names are renamed
alike in the prompt, the reference and the suffix of a pair. Only likelihoods are needed, so that any base can be asked.
"""

import dataclasses
import hashlib
import keyword
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from codefit.code.lexer import IDENTIFIER
from codefit.encoding import Encoder
from codefit.generation import likelihood
from codefit.records import Pair
from codefit.scoring.statistics import Array

SURE = 0.05  # the probability of such a gap between files of one kind, below which the base has probably seen the test
FEWEST_FILES = 10  # of each kind, below which nothing is said
SHUFFLES = 2_000
SHORTEST = 3  # letters of a name that is renamed: x and id say nothing

# What gives a file names of its own: definitions with their parameters, assignments at the start of a line, loops.
DEFINED = re.compile(
    r"\b(?:def|class|fun|func|function|val|var|let|const|interface|object|struct|enum)\s+([^\W\d]\w*)"
    r"|^[ \t]*(?:self\.|this\.)?([^\W\d]\w*)(?:[ \t]*:[^=\n()]{1,40})?[ \t]*=(?!=)"
    r"|\bfor[ \t(]+([^\W\d]\w*)[ \t]+in\b",
    re.MULTILINE,
)
PARAMETERS = re.compile(r"\b(?:def|fun|func|function)\s+[\w.]+\s*\(([^()]*)\)")
PARAMETER = re.compile(r"(?:^|,)\s*\**([^\W\d]\w*)")
IMPORT = re.compile(r"^[ \t]*(?:import|from|package|using|require)\b[^\n]*", re.MULTILINE)
KEPT = frozenset(("self", "cls", "this", "super", "True", "False", "None", "true", "false", "null", *keyword.kwlist))
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
WORDS = (
    *("account", "action", "area", "batch", "border", "branch", "bucket", "budget", "buffer", "camera", "carrier"),
    *("channel", "circle", "client", "cluster", "colour", "column", "corner", "counter", "course", "cursor", "delta"),
    *("device", "draft", "driver", "editor", "engine", "event", "factor", "filter", "flight", "folder", "frame"),
    *("garden", "handle", "harbour", "holder", "island", "journey", "kernel", "ladder", "layer", "ledger", "level"),
    *("market", "member", "message", "meter", "mirror", "nation", "needle", "object", "office", "option", "order"),
    *("packet", "parcel", "planet", "player", "policy", "portal", "report", "rocket", "sample", "screen", "season"),
    *("signal", "sketch", "source", "square", "station", "stream", "street", "supply", "switch", "target", "ticket"),
    *("token", "tower", "travel", "vector", "vendor", "vessel", "visitor", "volume", "weather", "window", "winter"),
)


def own_names(text: str) -> set[str]:
    """Return the names that a text defines: no keywords, none that it imports, and none of one or two letters."""
    found = {name for match in DEFINED.finditer(text) for name in match.groups() if name}
    found |= {name for match in PARAMETERS.finditer(text) for name in PARAMETER.findall(match[1])}
    imported = {name for line in IMPORT.findall(text) for name in IDENTIFIER.findall(line)}
    return {name for name in found - imported - KEPT if len(name) >= SHORTEST and PART.search(name)}


def renamed(pair: Pair) -> Pair:
    """Return a pair with the names that it defines renamed alike everywhere, in words of the same form."""
    whole = pair.prompt + pair.completion + (pair.suffix or "")
    names = {name: _other(name, pair.path or pair.id) for name in own_names(whole)}

    def rename(text: str) -> str:
        return IDENTIFIER.sub(lambda found: names.get(found[0], found[0]), text)

    # A name that the cursor cuts in two has to stay: its halves are no names.
    cut = re.search(r"\w*$", pair.prompt)
    begun = cut[0] if cut and re.match(r"\w", pair.completion) else ""
    if begun:
        names.pop(begun + re.match(r"\w*", pair.completion)[0], None)  # type: ignore[index]
    return dataclasses.replace(
        pair,
        prompt=rename(pair.prompt[: len(pair.prompt) - len(begun)]) + begun,
        completion=_after_half_a_word(pair.completion, rename) if begun else rename(pair.completion),
        suffix=None if pair.suffix is None else rename(pair.suffix),
    )


def _after_half_a_word(text: str, rename: Any) -> str:
    end = len(re.match(r"\w*", text)[0])  # type: ignore[index]
    return text[:end] + str(rename(text[end:]))


def _other(name: str, file: str) -> str:
    """Return another name of the same form: as many words, with the same capitals and underscores."""

    def word(found: re.Match[str]) -> str:
        part = found[0]
        if part.isdigit():
            return part
        digest = hashlib.blake2b(f"{file}\0{part.lower()}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        other = WORDS[int.from_bytes(digest, "big") % len(WORDS)]
        return other.upper() if part.isupper() and len(part) > 1 else other.title() if part[0].isupper() else other

    return PART.sub(word, name)


def losses(model: Any, encoder: Encoder, pairs: Sequence[Pair]) -> dict[str, float]:
    """Return by file what its references lose by other names, in bits per byte; files without such names are left out.

    Args:
        model: a causal language model in eval mode.
        encoder: of its prompts.
        pairs: prompts and references of whole files.
    """
    others = [renamed(pair) for pair in pairs]
    kept = [at for at, other in enumerate(others) if other.completion != pairs[at].completion]
    sums: dict[str, list[float]] = {}
    for column, asked in enumerate(([pairs[at] for at in kept], [others[at] for at in kept])):
        nats = likelihood.completion_nats(model, encoder, asked, do_progress=True)
        for at, pair, (cost, _) in zip(kept, asked, nats, strict=True):
            found = sums.setdefault(f"{pairs[at].repository}\0{pairs[at].path}", [0.0, 0.0, 0.0, 0.0])
            found[2 * column] += cost
            found[2 * column + 1] += len(pair.completion.encode("utf-8", "surrogatepass"))
    return {
        file: (after / later - before / length) / math.log(2) for file, (before, length, after, later) in sums.items()
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Contamination:
    """What renaming costs, in bits per byte.

    Attributes:
        test: the mean over held-out files.
        newer: the mean over files that the model cannot have seen.
        p: of a difference as large or larger where both are of one kind, one-sided; None with too few files.
    """

    test: float
    newer: float
    p: float | None

    @property
    def is_seen(self) -> bool:
        """Whether the base has probably seen the test."""
        return self.p is not None and self.p < SURE


def compare(test: Mapping[str, float], newer: Mapping[str, float], seed: int = 0) -> Contamination:
    """Return whether held-out files lose more by other names than newer ones: a permutation test over files.

    Args:
        test: the loss of each held-out file.
        newer: the loss of each newer file.
        seed: of the permutations.
    """
    one, other = (np.array([*found.values()], dtype=np.float64) for found in (test, newer))
    enough = min(len(one), len(other)) >= FEWEST_FILES
    first, second = (float(each.mean()) if len(each) else math.nan for each in (one, other))
    return Contamination(first, second, _p_larger(one, other, seed) if enough else None)


def _p_larger(one: Array, other: Array, seed: int) -> float:
    """Return p of the mean of the first values, shape (m,), being above that of the second, shape (n,), by chance."""
    both = np.concatenate([one, other])
    random = np.random.default_rng(seed)
    drawn = random.permuted(np.tile(both, (SHUFFLES, 1)), axis=1)
    found = drawn[:, : len(one)].mean(axis=1) - drawn[:, len(one) :].mean(axis=1)
    as_large = int((found >= float(one.mean() - other.mean()) - 1e-12).sum())
    return (as_large + 1) / (SHUFFLES + 1)
