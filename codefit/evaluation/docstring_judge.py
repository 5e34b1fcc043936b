"""A model as a judge of docstrings: the expected rating from 1 to 5, after a rubric in its chat template.

The rating is the mean of the five ratings, weighted with the probabilities of their tokens, as in G-Eval (Liu et al.
2023, arXiv 2303.16634): it tells pairs apart that would get the same number, and needs no generation. Whether a judge
sees anything is a question of its own: `swapped` gives every class the docstring of another one, and `auc` says how
often the judge rates the author's docstring higher than such a one.
"""

import dataclasses
import math
import random
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from codefit import console
from codefit.code.languages import LANGUAGES
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.generation import kv_cache
from codefit.generation.batched import batches
from codefit.records import Pair
from codefit.scoring.statistics import Array, Z
from codefit.tasks.instructions import code_of

RATINGS = (1, 2, 3, 4, 5)
QUESTION = """Here is a {language} class without its docstring:

```{language}
{code}
```

This docstring was proposed for it:

"{docstring}"

Rate the docstring. 5: it says correctly and specifically what this class is for, and a reader learns something that \
the name does not say. 3: it fits the class, but is vague or says little more than the name. 1: it is wrong, is about \
something else, or says nothing. Answer with one digit from 1 to 5 and nothing else."""


class Rating(NamedTuple):
    """The expected rating, from 1 to 5, and the probability that the judge answers with one of the five at all."""

    value: float
    certainty: float


@dataclasses.dataclass(frozen=True, slots=True)
class Separation:
    """How often a rating of an author's docstring is above that of a swapped one, from 0 to 1, with a 95 % interval."""

    value: float
    low: float
    high: float


def question(pair: Pair) -> str:
    """Return what the judge is asked about the docstring of a pair of the task summary."""
    language = LANGUAGES[pair.language]
    return QUESTION.format(language=language.name, code=code_of(pair.prompt, language), docstring=pair.completion)


def ratings(model: Any, encoder: Encoder, pairs: Sequence[Pair]) -> list[Rating]:
    """Return the rating of each pair's docstring, in the order of the pairs.

    Args:
        model: a causal language model in eval mode.
        encoder: of its tokenizer, which has a chat template. A question over its limit loses the head of the class.
        pairs: of the task summary.

    Raises:
        UserError: the tokenizer has no chat template, or a digit is more than one token.
    """
    digits = [_token_of(encoder, str(rating)) for rating in RATINGS]
    asked = [Pair(pair.id, pair.task, question(pair), "", prompt_format="chat") for pair in pairs]
    rows = [encoder.pair_ids(each) for each in asked]
    done = _rated(model, rows, encoder.pad_id, digits)
    found = dict(console.progress(done, "judge", len(rows), "docstring"))
    return [found[at] for at in range(len(rows))]


def _token_of(encoder: Encoder, digit: str) -> int:
    ids = encoder.completion_ids(digit)
    if len(ids) != 1:
        raise UserError(f"the judge's tokenizer has no token for the digit {digit}; choose another model.")
    return ids[0]


@torch.inference_mode()
def _rated(model: Any, rows: list[list[int]], pad_id: int, digits: list[int]) -> Iterator[tuple[int, Rating]]:
    """Yield (index, rating) of questions given as token ids; the longest come first."""
    for batch in batches([len(row) for row in rows], kv_cache.TOKENS_AT_ONCE_ON_CPU):
        padded = kv_cache.left_padded([rows[at] for at in batch], pad_id, model.device)
        logits = padded.forward(model, None)[:, -1].float()
        five = logits[:, digits]
        values = five.softmax(-1) @ torch.tensor(RATINGS, dtype=torch.float32, device=five.device)
        certain = (five.logsumexp(-1) - logits.logsumexp(-1)).exp()
        yield from zip(batch, map(Rating, values.tolist(), certain.tolist()), strict=True)


def swapped(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Return the pairs with their docstrings passed on in a circle, so that each class has that of another one."""
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    giver = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    return [dataclasses.replace(pair, completion=pairs[giver[at]].completion) for at, pair in enumerate(pairs)]


def auc(own: Sequence[float], other: Sequence[float]) -> Separation:
    """Return the probability that a rating of the one kind is above one of the other kind; ties count half.

    This is the area under the ROC curve; 0.5 is chance. The interval is DeLong's (Biometrics 44, 1988) for ratings that
    belong together in twos, here by their class.

    Args:
        own: ratings of the authors' docstrings, two at least.
        other: ratings of the swapped ones, in the order of the classes.
    """
    firsts, others = np.asarray(own, np.float64), np.asarray(other, np.float64)
    above = _share_below(firsts, others)
    parts = above + 1 - _share_below(others, firsts)
    value, error = float(above.mean()), float(parts.std(ddof=1)) / math.sqrt(len(parts))
    return Separation(value, max(0.0, value - Z * error), min(1.0, value + Z * error))


def _share_below(values: Array, of: Array) -> Array:
    """Return for each value the share of some others that are below it, shape (values,); equal ones count half.

    They are sorted, since a table of all comparisons would not fit into memory.
    """
    ranked = np.sort(of)
    found: Array = (np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")) / 2 / len(of)
    return found
