"""From two short training runs to a long one: how much larger its gain will be.

The curve is in bits per byte of later code, which varies far less than scores of completions. Each doubling of the
training lowers them by less than the one before (power laws of Kaplan et al., arXiv 2001.08361, and Hernandez et al.,
arXiv 2102.01293). What two runs cannot tell is by how much less: by half is the middle, by nothing one end, and no
further gain the other.
"""

import dataclasses

SHORT, SHORTER = 4, 8  # what a run of a quarter and one of an eighth of the steps divide them by
DOUBLINGS = 2  # from a quarter to the whole
DECAY = 0.5  # of the gain from doubling to doubling
ENOUGH = 0.05  # share of the gain below which a further doubling is not worth its time


@dataclasses.dataclass(frozen=True, slots=True)
class Growth:
    """What the rest of the training adds to a gain: value and range, in the unit of the gain."""

    value: float
    low: float
    high: float


def growth(eighth: float, quarter: float) -> Growth:
    """Return what the whole training adds to the gain of a quarter of it, in bits per byte.

    Args:
        eighth: gain in bits per byte of an eighth of the training; below 0 for a loss.
        quarter: the same of a quarter of it.
    """
    step = max(quarter - eighth, 0.0)
    return Growth(step * sum(DECAY**doubling for doubling in range(1, DOUBLINGS + 1)), 0.0, step * DOUBLINGS)


def steps_worth_taking(eighth: float, quarter: float, steps: int, most: int) -> int:
    """Return for how many steps to train: doubled until a doubling adds less than ENOUGH of the gain.

    Args:
        eighth: gain in bits per byte of an eighth of `steps`.
        quarter: the same of a quarter of them.
        steps: of the training that is forecast.
        most: as many as the data are worth.
    """
    taken, gain, added = max(steps // SHORT, 1), quarter, quarter - eighth
    while added * DECAY > ENOUGH * max(gain, 0.0) and 2 * taken <= most:
        added *= DECAY
        gain += added
        taken *= 2
    return min(taken, most)
