"""What the data of a forecast look like: their size, how new the later code is, how much of it is found elsewhere."""

import msgspec

from codefit.evaluation import prompt_groups
from codefit.evaluation.result_schema import CELLS, BenchmarkResult, Count
from codefit.records import Prediction
from codefit.scoring.bits_per_byte import BITS_PER_BYTE, bits_per_byte

BASE, FILES, ADAPTED, BOTH = CELLS


class Signs(msgspec.Struct, frozen=True):
    """What is seen of a repository and its later changes.

    Attributes:
        documents: files of the past that are trained on.
        pairs: training pairs of them.
        questions: pairs of later changes.
        new_names: later completions with a name that the training files do not have, of those asked about.
        nearest: the metric of a look-up of the nearest training example: how much the code repeats itself.
        found: of the names that completions bring in, those in the retrieved files.
        past_bits: the base's bits per byte of the past, on validation pairs.
        later_bits: the base's bits per byte of later code.
    """

    documents: int
    pairs: int
    questions: int
    new_names: Count
    nearest: float | None
    found: Count
    past_bits: float
    later_bits: float


def bits(items: list[Prediction]) -> float:
    """Return the bits per byte of the references."""
    nats, sizes = zip(*map(BITS_PER_BYTE.of_item, items), strict=True)
    return bits_per_byte(sum(nats), int(sum(sizes)))


def new_names(items: list[Prediction]) -> Count:
    """Return how many completions have a name that the training files do not have."""
    return Count(sum(item.scores.get(prompt_groups.NOT_IN_TRAINING, 0) > 0 for item in items), len(items))


def nearest(result: BenchmarkResult) -> float | None:
    """Return the primary metric of the look-up; None where the training data could not be read."""
    found = {each.baseline: each.values for each in result.baselines}
    return found.get("nearest", {}).get(result.headline.metric)
