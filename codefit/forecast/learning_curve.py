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
LEAST_BITS = 0.05  # gain in bits per byte from which on a ratio to it is known
POINTS_PER_BIT, MOST_POINTS_PER_BIT = 25.0, 50.0  # of edit similarity, as measured in docs/forecast.md
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


def in_points(grown: Growth, bits: float, points: float) -> Growth:
    """Return the growth of a score.

    A score grows with the gain in bits per byte as it did so far; POINTS_PER_BIT takes the place of a ratio that a
    small gain leaves unknown, and most ratios are below MOST_POINTS_PER_BIT.

    Args:
        grown: growth in bits per byte.
        bits: the gain so far in bits per byte.
        points: the gain so far of the score.
    """
    ratio = points / bits if bits > LEAST_BITS else POINTS_PER_BIT
    ratio = min(max(ratio, 0.0), MOST_POINTS_PER_BIT)
    return Growth(ratio * grown.value, ratio * grown.low, ratio * grown.high)


def steps_worth_taking(eighth: float, quarter: float, steps: int, most: int) -> int:
    """Return for how many steps to train: doubled until a doubling adds less than ENOUGH of the gain.

    Args:
        eighth: gain in bits per byte of an eighth of `steps`.
        quarter: the same of a quarter of them.
        steps: of the training that is forecast.
        most: as many as the data are worth.
    """
    taken, gain, added = max(steps // SHORT, 1), quarter, quarter - eighth
    while added * DECAY > ENOUGH * gain > 0 and 2 * taken <= most:
        added *= DECAY
        gain += added
        taken *= 2
    return min(taken, most)
