"""Curricula: how difficult a document is, and in which order a model from scratch sees the documents.

Without a curriculum the rows of an epoch come in random order. A curriculum (Bengio et al., ICML 2009) orders them by
difficulty. `--curriculum_by` says how difficulty is measured, `--curriculum` how the rows are ordered by it:

    sequential      from easy to hard
    reversed        from hard to easy (the reverse curriculum of arXiv 1811.00739)
    sliding_window  each row is drawn at random from the WINDOW easiest rows that were not seen yet
    hybrid          a random order whose first half is then sorted from easy to hard: half of the run is a curriculum,
                    the other half is not
    growing_pool    each row is drawn at random from a pool that grows from the easiest tenth to all rows, linearly
                    over the first half of the run (competence, arXiv 1903.09848)
    growing_pool_reversed  the same, with a pool that grows from the hardest tenth

In all of them but those with a pool, a row is seen once per epoch. Where --max_steps cuts an epoch short, its rows are
chosen at random before they are ordered, so that the hard ones are not missing.

With `--curriculum_by own_loss` the difficulty is renewed in every epoch: it is the loss that the model itself has on a
row when the epoch begins. The first epoch is in random order.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from codefit import console, distributed, encoding
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.records import Pair
from codefit.training.settings import CurriculumSettings, ScheduleSettings

OWN_LOSS = "own_loss"
POOL = 0.1  # share of the rows that a growing pool begins with
POOL_GROWS = 0.5  # share of the run in which it grows
WINDOW = 0.2  # share of an epoch's rows that the sliding window holds
BLOCK = 32  # samples packed together: rows stay nearly in order, and 97 % full instead of 98 %

CurriculumPlan = Callable[[Sequence[int], int], tuple[list[list[int]], list[int]]]


# ---------------------------------------------------------------------------------------------- difficulty


def by_difficulty(
    order: CurriculumSettings, pairs: Sequence[Pair], encoder: Encoder, enough_tokens: float = float("inf")
) -> list[Pair]:
    """Return documents from easy to hard: all, or the first ones that together have enough tokens.

    Args:
        order: the measure of difficulty.
        pairs: the documents, in random order.
        encoder: the encoder of the model that is trained.
        enough_tokens: once they are reached no further document is read, as in scratch.samples.
    """
    ids: list[np.ndarray] = []
    tokens = 0
    for start in range(0, len(pairs), 64):
        if tokens >= enough_tokens:
            break
        found = encoder.ids([pair.completion for pair in pairs[start : start + 64]])
        ids += [np.asarray(row, dtype=np.int64) for row in found]
        tokens += sum(map(len, found))
    chosen = pairs[: len(ids)]
    if order.curriculum_by == "loss":
        values = losses(chosen, str(order.curriculum_model))
    else:
        values = {"length": lengths, "rarity": rarities, "entropy": entropies}[order.curriculum_by](ids)
    ranked = sorted(range(len(chosen)), key=lambda at: (values[at], at))
    if ranked:
        console.show(f"curriculum  {order.curriculum} by {order.curriculum_by}: ", end="")
        console.show(
            f"{values[ranked[0]]:.2f} to {values[ranked[-1]]:.2f}, median {values[ranked[len(ranked) // 2]]:.2f}"
        )
    return [chosen[at] for at in ranked]


def lengths(ids: Sequence[np.ndarray]) -> list[float]:
    """Return the number of tokens of each document, given as token ids: arrays of shape (tokens,), int64."""
    return [float(len(row)) for row in ids]


def rarities(ids: Sequence[np.ndarray]) -> list[float]:
    """Return the mean negative log-probability of each document's tokens under the unigram distribution, in nats.

    This is the sentence rarity of arXiv 1903.09848 divided by the length, which is a separate measure here.

    Args:
        ids: token ids of each document, shape (tokens,), int64.
    """
    counts = np.bincount(np.concatenate([*ids, np.zeros(0, np.int64)]))
    nats = -np.log(np.maximum(counts, 1) / max(1, counts.sum()))
    return [float(nats[row].mean()) if len(row) else 0.0 for row in ids]


def entropies(ids: Sequence[np.ndarray]) -> list[float]:
    """Return the Shannon entropy of each document's token distribution, in bits.

    Args:
        ids: token ids of each document, shape (tokens,), int64.
    """

    def entropy(row: np.ndarray) -> float:
        shares = np.unique(row, return_counts=True)[1] / max(1, len(row))
        return float(-(shares * np.log2(shares)).sum()) if len(row) else 0.0

    return [entropy(row) for row in ids]


def losses(pairs: Sequence[Pair], model_name: str) -> list[float]:
    """Return the bits per byte of each document under a trained model, in pieces that fit into its context window.

    The unit is bits per byte, since that model has a different tokenizer.
    """
    from codefit.generation import likelihood
    from codefit.modeling import loading

    tokenizer, model = loading.load(model_name)
    encoder = Encoder(tokenizer, loading.context_of(model))
    room = loading.context_of(model) - 1
    pieces: list[list[int]] = []
    owner: list[int] = []
    for at, ids in enumerate(encoder.ids([pair.completion for pair in pairs])):
        cut = [ids[start : start + room] for start in range(0, len(ids), room)]
        pieces += cut
        owner += [at] * len(cut)
    nats = [0.0] * len(pairs)
    done = likelihood.nats_of(model, encoder.pad_id, [[encoder.eos_id]] * len(pieces), pieces)
    for piece, value in console.progress(done, "difficulty", len(pieces), "piece"):
        nats[owner[piece]] += value
    return [
        value / math.log(2) / max(1, len(pair.completion.encode())) for value, pair in zip(nats, pairs, strict=True)
    ]


# ---------------------------------------------------------------------------------------------- order


def plan(order: CurriculumSettings, schedule: ScheduleSettings, seed: int) -> CurriculumPlan | None:
    """Return the function that packs sorted samples into rows and orders them; None without a curriculum.

    That function raises UserError where the difficulty would be renewed only after the end of the run.
    """
    if not order.curriculum:
        return None
    renewed = order.curriculum_by == OWN_LOSS
    kind = "random" if renewed else order.curriculum
    per_step = schedule.rows_per_step(distributed.processes())

    def planned(sample_lengths: Sequence[int], row_tokens: int) -> tuple[list[list[int]], list[int]]:
        rows = pack_in_order(sample_lengths, row_tokens)
        epochs = schedule.num_train_epochs
        total = schedule.max_steps * per_step if schedule.max_steps else math.ceil(len(rows) * epochs)
        if renewed and total <= len(rows):
            raise UserError(
                "--curriculum_by own_loss orders the rows from the second epoch on, and this run has no second one; "
                "raise --num_train_epochs or --max_steps."
            )
        return rows, visits(kind, len(rows), total, seed)

    return planned


def pack_in_order(sample_lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Return rows of sample indices as encoding.pack does, but packed block by block, so that the order stays."""
    rows: list[list[int]] = []
    for start in range(0, len(sample_lengths), BLOCK):
        block = encoding.pack(sample_lengths[start : start + BLOCK], row_tokens)
        rows += sorted([start + index for index in sorted(row)] for row in block)
    return rows


def visits(curriculum: str, rows: int, total: int, seed: int) -> list[int]:
    """Return the order in which rows are seen over the whole run; rows are numbered from easy to hard.

    Args:
        curriculum: one of the names in this module's docstring, or "random".
        rows: number of rows.
        total: number of rows seen in the run; without a pool each row is seen total // rows times, and some, at random,
            once more.
        seed: seed of the random choices.
    """
    chance = random.Random(seed)
    order: list[int] = []
    while len(order) < total:
        epoch = chance.sample(range(rows), min(rows, total - len(order)))
        order += ordered(curriculum, epoch, range(rows), len(order), total, chance)
    return order


def ordered(
    curriculum: str, epoch: list[int], ranks: Sequence[int], start: int, total: int, chance: random.Random
) -> list[int]:
    """Return the rows that are seen in an epoch, or in the rest of one, in their order.

    Args:
        curriculum: as for `visits`.
        epoch: the rows in random order.
        ranks: of every row of the data, its place from easy to hard.
        start: how many rows are seen before in the run.
        total: number of rows seen in the run.
        chance: random numbers.
    """
    if curriculum == "random":
        return epoch
    if curriculum.startswith("growing_pool"):
        return list(_pool_draws(curriculum, ranks, range(start, start + len(epoch)), total, chance))
    if curriculum == "hybrid":
        part = min(len(epoch), max(0, total // 2 - start))
        return sorted(epoch[:part], key=ranks.__getitem__) + epoch[part:]
    ranked = sorted(epoch, key=ranks.__getitem__, reverse=curriculum == "reversed")
    return list(_window_draws(ranked, chance)) if curriculum == "sliding_window" else ranked


def _pool_draws(
    curriculum: str, ranks: Sequence[int], places: range, total: int, chance: random.Random
) -> Iterator[int]:
    """Yield the row that is seen at each place of the run, drawn at random from the pool of that time."""
    by_rank = sorted(range(len(ranks)), key=ranks.__getitem__, reverse=curriculum == "growing_pool_reversed")
    for place in places:
        share = min(1.0, POOL + (1 - POOL) * place / (POOL_GROWS * total))
        yield by_rank[chance.randrange(math.ceil(share * len(by_rank)))]


def _window_draws(ranked: list[int], chance: random.Random) -> Iterator[int]:
    """Yield every item once, each drawn at random from the first ones that are left."""
    size = math.ceil(WINDOW * len(ranked))
    window, rest = ranked[:size], iter(ranked[size:])
    while window:
        at = chance.randrange(len(window))
        yield window[at]
        following: Any = next(rest, None)
        if following is None:
            window.pop(at)
        else:
            window[at] = following
