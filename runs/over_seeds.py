"""How sure a mean over seeds is, for the tables of runs/*.sh."""

import math
import statistics

# 97.5 % quantiles of Student's t by degrees of freedom (any table of it)
QUANTILES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def interval(differences: list[float], digits: int = 4) -> str:
    """Return the mean of differences with its 95 % interval, as text; of one seed without."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return f"{mean:+.{digits}f}"
    half = QUANTILES[len(differences) - 1] * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{mean:+.{digits}f} [{mean - half:+.{digits}f}, {mean + half:+.{digits}f}]"
