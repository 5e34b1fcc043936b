"""The split of a file, by a rule that moves no old file when a repository is added, unless there are few.

By repository, directory or file: a keyed hash of that unit. By time: files committed since a date. The dates are flags;
without them they are derived from the files and recorded in the manifest, so that they can be given the next time.
"""

import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from codefit import console
from codefit.dates import moment
from codefit.errors import UserError

UNITS = ("repository", "directory", "file", "time")
MIN_UNITS = 3
SMALL = 200  # units; with more of them, chance comes near enough to the shares


@dataclasses.dataclass(frozen=True, slots=True)
class Splitting:
    """How to split. The dates are used only if `by` is "time"; empty ones are derived from the shares."""

    by: str
    test_share: float
    validation_share: float
    seed: int = 0
    test_since: str = ""
    validation_since: str = ""


def unit_of(repository: str, path: str, split_by: str) -> str:
    """Return the unit that must not be divided: the repository, the folder of a file, or the file."""
    if split_by == "repository":
        return repository
    return f"{repository}/{path}" if split_by == "file" else f"{repository}/{path.rpartition('/')[0]}"


def position(unit: str, seed: int) -> float:
    """Return the position of a unit in [0, 1); it does not depend on the machine or on other units."""
    digest = hashlib.blake2b(f"{seed}\0{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign(units: Sequence[str], splitting: Splitting) -> list[str]:
    """Return "train", "validation" or "test" for the unit of every file.

    The lowest positions are the test split, the next ones validation. Fewer than SMALL units are divided by rank, so
    that the splits have the number of units nearest to their share, and every requested split at least one; chance
    would leave 1 or 15 of 74 units instead of 7.

    Raises:
        UserError: there are fewer units than requested splits.
    """
    test_share, validation_share = splitting.test_share, splitting.validation_share
    asked = 1 + (test_share > 0) + (validation_share > 0)
    places = {unit: position(unit, splitting.seed) for unit in sorted(set(units))}
    if len(places) < asked:
        raise UserError(
            f"{console.counted(len(places), 'unit')} cannot make {('one', 'two', 'three')[asked - 1]} splits; "
            "give more files, or a smaller unit with --split_by."
        )
    splits = {unit: _split_at(place, test_share, validation_share) for unit, place in places.items()}
    if len(places) < SMALL or len(set(splits.values())) < asked:
        splits = _by_rank(places, test_share, validation_share)
    return [splits[unit] for unit in units]


def _by_rank(places: Mapping[str, float], test_share: float, validation_share: float) -> dict[str, str]:
    """Return the splits of units by the rank of their positions; every requested split has a unit."""
    ranked = sorted(places, key=places.__getitem__)
    validation_least = int(validation_share > 0)
    test = min(_nearest(test_share, len(ranked)), len(ranked) - 1 - validation_least)
    validation = min(_nearest(validation_share, len(ranked)), len(ranked) - 1 - test)
    names = ["test"] * test + ["validation"] * validation
    return dict(itertools.zip_longest(ranked, names, fillvalue="train"))


def _nearest(share: float, units: int) -> int:
    """Return the number of units nearest to a share of them; at least one, unless the share is zero."""
    return max(round(share * units), int(share > 0))


def _split_at(place: float, test_share: float, validation_share: float) -> str:
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"


# ------------------------------------------------------------------------------------------- by time


def _moment(date: str) -> datetime:
    parsed = moment(date)
    assert parsed is not None, "dates are checked earlier"
    return parsed


def boundaries(dates: Sequence[str], splitting: Splitting) -> dict[str, str]:
    """Return the dates since which files are validation and test: as given, or derived from the shares.

    Raises:
        UserError: no dates are given, and the files have fewer than three different ones.
    """
    if splitting.test_since:
        return {"validation_since": splitting.validation_since, "test_since": splitting.test_since}
    counts = Counter(map(_moment, dates))
    newest = sorted(counts, reverse=True)
    if len(newest) < MIN_UNITS:
        raise UserError(
            f"{console.counted(len(newest), 'commit date')} cannot make three splits; "
            "give repositories with more dates, or another --split_by."
        )
    test = _newest(newest[:-2], counts, splitting.test_share * len(dates))
    validation = _newest(newest[test:-1], counts, splitting.validation_share * len(dates))
    return {
        "validation_since": newest[test + validation - 1].isoformat(),
        "test_since": newest[test - 1].isoformat(),
    }


def _newest(dates: Sequence[datetime], counts: Counter[datetime], wanted: float) -> int:
    """Return how many of the dates, newest first, have about the wanted number of files; at least one."""
    files, taken = 0, 0
    while taken < len(dates) and (not taken or files + counts[dates[taken]] <= wanted):
        files += counts[dates[taken]]
        taken += 1
    return taken


def assign_by_time(dates: Sequence[str], since: dict[str, str]) -> list[str]:
    """Return "train", "validation" or "test" for the commit date of every file.

    Raises:
        UserError: a split is left without a file.
    """
    splits = [split_at(date, since) for date in dates]
    for split in ("train", "validation", "test"):
        if split not in splits:
            moments = sorted(map(_moment, dates))
            span = f"{moments[0].date()} to {moments[-1].date()}" if moments else "no date"
            raise UserError(
                f"the {split} split has no file (the commits are from {span}); "
                "change --validation_since and --test_since."
            )
    return splits


def split_at(date: str, since: Mapping[str, str]) -> str:
    """Return the split of a file by its commit date."""
    if _moment(date) >= _moment(since["test_since"]):
        return "test"
    return "validation" if _moment(date) >= _moment(since["validation_since"]) else "train"
