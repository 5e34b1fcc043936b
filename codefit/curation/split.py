"""Which split a file belongs to: a keyed hash of its unit, so that adding a repository never moves old files."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from codefit.cli import UserError

UNITS = ("repository", "directory", "file")
MIN_UNITS = 3


def unit_of(repository: str, path: str, split_by: str) -> str:
    """Return the unit that must not be divided: the repository, the folder a file lies in, or the file."""
    if split_by == "repository":
        return repository
    return f"{repository}/{path}" if split_by == "file" else f"{repository}/{path.rpartition('/')[0]}"


def position(unit: str, seed: int) -> float:
    """Return where a unit lies in [0, 1), the same on every machine and whatever else there is."""
    digest = hashlib.blake2b(f"{seed}\0{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def assign(units: Sequence[str], test_share: float, validation_share: float, seed: int) -> list[str]:
    """Return "train", "validation" or "test" for the unit of every file.

    The lowest positions are the test split, the next ones validation. Where chance leaves a split without a unit, the
    largest split gives it one (its last to train, else its first), so that a small project can be measured too.

    Raises:
        UserError: there are fewer than three units, so that no honest split exists.
    """
    places = {unit: position(unit, seed) for unit in sorted(set(units))}
    if len(places) < MIN_UNITS:
        raise UserError(
            f"{len(places)} unit(s) cannot make three splits; give more files, or a smaller unit with --split_by."
        )
    splits = {unit: _split_at(place, test_share, validation_share) for unit, place in places.items()}
    for split, share, choose in (("train", 1, max), ("test", test_share, min), ("validation", validation_share, min)):
        if share and split not in splits.values():
            (largest, _), *_ = Counter(splits.values()).most_common()
            splits[choose((unit for unit in places if splits[unit] == largest), key=places.__getitem__)] = split
    return [splits[unit] for unit in units]


def _split_at(place: float, test_share: float, validation_share: float) -> str:
    if place < test_share:
        return "test"
    return "validation" if place < test_share + validation_share else "train"
