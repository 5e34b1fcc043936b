"""Detection of duplicate and near-duplicate files, with numpy alone.

Two files are near-duplicates if their sets of word 5-grams (any script, case-sensitive) have a Jaccard similarity of at
least 0.7 (the choice of SantaCoder and StarCoder2, arXiv 2402.19173). A file of fewer than 10 words has too few 5-grams
to compare and can only be an exact duplicate.

- `Evaluation` finds the train files that are near-duplicates of held-out files. It is exact: no sketch, no misses.
- `sketch` and `similar_groups` find candidates inside the train split with one-permutation MinHash (Li, Owen and
  Zhang 2012) of 256 bins in 32 bands of 8 rows. Every candidate is verified with the exact `jaccard`.

Shingles are the 5-grams of a file as 64-bit hashes. The words are hashed without a Python loop: the hash of a word is a
polynomial of its bytes modulo 2**64, computed from cumulative sums over the file.
"""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]  # of words, of runs of words, or of band keys

THRESHOLD = 0.7
GRAM = 5
MIN_WORDS = 10
BINS, BANDS, ROWS = 256, 32, 8
SKETCHED_TOGETHER = 512
BLOCK = 1 << 16  # bytes hashed at once
COUNTERS = 1 << 22
ATTEMPTS = 48  # random draws of a bin to copy into an empty one, before the next bin is taken

BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
NO_WORD = re.compile(r"[^\w\x00-\x7f]+")
# Thai, Lao, Burmese, Khmer, kana, Chinese characters: each character counts as a word
WRITTEN_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

MIX_1, MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # splitmix64
EMPTY = np.uint64(2**64 - 1)


def content_id(text: str) -> bytes:
    """Return a digest that is equal for two texts that differ only in line ends and trailing white space."""
    lines = "\n".join(line.rstrip() for line in text.rstrip().split("\n"))
    return hashlib.blake2b(lines.encode(), digest_size=16).digest()


# ------------------------------------------------------------------------------------------- 5-grams


def _values_of_bytes() -> Hashes:
    """Return what each byte counts in the hash of a word, shape (256,), uint64; 0 for what is no part of a word."""
    values = np.zeros(256, np.uint64)
    words = [ord(c) for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"] + list(range(128, 256))
    values[words] = _mixed(np.array(words, np.uint64))
    return values


def _mixed(hashes: Hashes) -> Hashes:
    """Return hashes of the same shape (uint64) in which every bit depends on every bit (splitmix64's finaliser)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * MIX_1
    hashes = (hashes ^ (hashes >> np.uint64(27))) * MIX_2
    return hashes ^ (hashes >> np.uint64(31))


VALUES = _values_of_bytes()


@functools.lru_cache(2)
def _powers(base: int, count: int) -> Hashes:
    """Return the powers base**0 to base**(count - 1) modulo 2**64, shape (count,), uint64."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def word_hashes(text: str) -> Hashes:
    """Return the hash of every word of a text, in order; shape (words,), dtype uint64."""
    if not text.isascii():
        text = WRITTEN_WITHOUT_SPACES.sub(r" \g<0> ", NO_WORD.sub(" ", text))
    return np.concatenate([np.zeros(0, np.uint64), *map(_hashes_of_words, _blocks(text.encode()))])


def _blocks(data: bytes) -> Iterator[bytes]:
    """Yield blocks of whole lines, so that the temporary arrays stay small."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + BLOCK) + 1 or data.find(b"\n", start + BLOCK) + 1 or len(data)
        yield data[start:end]
        start = end


def _hashes_of_words(data: bytes) -> Hashes:
    """Return the hash of every word of a UTF-8 text, in order; shape (words,), uint64."""
    values = VALUES[np.frombuffer(data, np.uint8)]
    inside = np.concatenate(([False], values != 0, [False]))
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    starts, ends = edges[0::2], edges[1::2]
    room = max(BLOCK, 1 << len(values).bit_length())
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers(BASE, room)[: len(values)], out=sums[1:])
    return _mixed((sums[ends] - sums[starts]) * _powers(pow(BASE, -1, 2**64), room)[starts])


def shingles(text: str) -> Hashes:
    """Return the shingles of a text, sorted and unique; shape (shingles,), uint64; empty for fewer than 10 words."""
    words = word_hashes(text)
    if len(words) < MIN_WORDS:
        return np.zeros(0, np.uint64)
    hashes = np.sort(grams(words, GRAM))
    return hashes[np.concatenate(([True], hashes[1:] != hashes[:-1]))]


def grams(words: Hashes, length: int) -> Hashes:
    """Return the hash of every n-gram of `length` words, in order: from shape (words,) to (n-grams,), uint64."""
    count = max(0, len(words) - length + 1)
    hashes = words[:count].copy()
    for offset in range(1, length):
        hashes = hashes * np.uint64(BASE) + words[offset : count + offset]
    return _mixed(hashes)


def jaccard(one: Hashes, other: Hashes) -> float:
    """Return the exact Jaccard similarity of two sets of shingles, each shape (n,), uint64; 0 if one is empty."""
    small, large = sorted((one, other), key=len)
    if not len(small):
        return 0.0
    common = np.count_nonzero(is_in(large, small)[0])
    return float(common / (len(one) + len(other) - common))


def is_in(keys: Hashes, wanted: Hashes) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return, for each wanted hash, whether it is among the sorted keys, and the position where it is or would be.

    Args:
        keys: sorted hashes, at least one, shape (keys,), uint64.
        wanted: shape (n,), uint64; the results are bool and int64 of the same shape.
    """
    places = np.searchsorted(keys, wanted)
    return keys[np.minimum(places, len(keys) - 1)] == wanted, places


# ------------------------------------------------------------------------------------------- against held-out files


class Evaluation:
    """The shingle sets of the held-out files, indexed to find every file that is similar to one of them.

    A file similar to a held-out file e contains at least 0.7 |e| of its shingles, and so at least one of any
    |e| - ceil(0.7 |e|) + 1 of them. Only that many are indexed, the rarest ones. Their frequency is estimated with
    counters that shingles share, which affects only the speed, not the result.

    Args:
        count: number of held-out files.
        shingles_of: returns the shingles of one of them, shape (shingles,), uint64; called more than once per file.
    """

    def __init__(self, count: int, shingles_of: Callable[[int], Hashes]) -> None:
        self.shingles_of = shingles_of
        counters = np.zeros(COUNTERS, np.uint16)
        for number in range(count):
            places = np.unique(shingles_of(number) % np.uint64(COUNTERS))
            counters[places] += counters[places] < np.iinfo(np.uint16).max
        keys, owners = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)]
        for number in range(count):
            shingle_set = shingles_of(number)
            length = len(shingle_set) - int(np.ceil(THRESHOLD * len(shingle_set))) + 1 if len(shingle_set) else 0
            rarest = np.argsort(counters[shingle_set % np.uint64(COUNTERS)], kind="stable")[:length]
            keys.append(shingle_set[rarest])
            owners.append(np.full(length, number, np.int32))
        flat = np.concatenate(keys)
        order = np.argsort(flat, kind="stable")
        self.keys = flat[order]
        self.owners = np.concatenate(owners)[order]

    def most_similar(self, shingle_set: Hashes) -> tuple[int, float] | None:
        """Return the held-out file most similar to a file and their similarity, or None if none reaches 0.7.

        Args:
            shingle_set: the shingles of the file, shape (shingles,), uint64.
        """
        if not len(self.keys) or not len(shingle_set):
            return None
        known, places = is_in(self.keys, shingle_set)
        ends = np.searchsorted(self.keys, shingle_set[known], "right")
        hits = [self.owners[start:end] for start, end in zip(places[known], ends, strict=True)]
        owners = np.unique(np.concatenate(hits)).tolist() if hits else []
        similarities = [(jaccard(self.shingles_of(owner), shingle_set), -owner) for owner in owners]
        similarity, negative = max(similarities, default=(0.0, 0))
        return (-negative, similarity) if similarity >= THRESHOLD else None


# ------------------------------------------------------------------------------------------- inside a split


def sketch(shingle_sets: Iterable[Hashes]) -> tuple[Hashes, NDArray[np.int64]]:
    """Return the band keys of each file, shape (files, 32), uint64, and the sizes of the sets, shape (files,), int64.

    Two similar files share a key with high probability. The top 8 bits of a shingle select its bin, and the smallest
    shingle of each bin is kept. An empty bin copies a randomly drawn one, with the same draws for every file
    (densification, Shrivastava and Li 2014).
    """
    keys, sizes = [np.zeros((0, BANDS), np.uint64)], [0]
    signed = ((_smallest_by_bin(shingle_set), len(shingle_set)) for shingle_set in shingle_sets)
    while chunk := list(itertools.islice(signed, SKETCHED_TOGETHER)):
        keys.append(_band_keys(np.stack([signature for signature, _ in chunk])))
        sizes += [size for _, size in chunk]
    return np.concatenate(keys), np.array(sizes[1:], np.int64)


def _band_keys(signatures: Hashes) -> Hashes:
    """Return a key for each band of signatures of shape (files, 256); shape (files, 32), uint64 both."""
    bands = _without_empty_bins(signatures).reshape(-1, BANDS, ROWS)
    keys = np.broadcast_to(np.arange(BANDS, dtype=np.uint64), bands.shape[:2])
    for row in range(ROWS):
        keys = _mixed(keys * np.uint64(BASE) + bands[:, :, row])
    return keys


def _smallest_by_bin(shingle_set: Hashes) -> Hashes:
    """Return the signature of a set: the smallest shingle of each bin, or EMPTY; shape (256,), uint64."""
    signature = np.full(BINS, EMPTY)
    bins = (shingle_set >> np.uint64(56)).astype(np.int64)
    first = np.flatnonzero(
        np.diff(bins, prepend=-1)
    )  # the set is sorted, so the first shingle of a bin is its smallest
    signature[bins[first]] = shingle_set[first]
    return signature


@functools.cache
def _draws() -> NDArray[np.int64]:
    """Return the bin to copy from, shape (attempts, bins), int64; the last attempts take the next bins in order."""
    generator = np.random.Generator(np.random.PCG64(0))
    random = np.stack([generator.permutation(BINS) for _ in range(ATTEMPTS)])
    return np.concatenate([random, (np.arange(BINS) + np.arange(1, BINS)[:, None]) % BINS])


def _without_empty_bins(signatures: Hashes) -> Hashes:
    """Return signatures, shape (files, 256), uint64, with their empty bins filled from others.

    One in which all bins are empty stays as it is.
    """
    filled = signatures.copy()
    rows, bins = np.nonzero((signatures == EMPTY) & (signatures != EMPTY).any(axis=1)[:, None])
    for attempt, sources in enumerate(_draws(), 1):
        if not len(rows):
            break
        copied = signatures[rows, sources[bins]]
        found = copied != EMPTY
        filled[rows[found], bins[found]] = copied[found] + np.uint64(attempt)
        rows, bins = rows[~found], bins[~found]
    return filled


def near_duplicates(
    keys: Hashes, sizes: NDArray[np.int64], shingles_of: Callable[[int], Hashes]
) -> Iterator[tuple[int, int, float]]:
    """Yield (file, kept file, similarity) for every file that is similar to a kept one.

    The files come in the order of preference: a file is kept if no earlier kept file shares a band key and is similar
    to it. So no file is removed because of one that is itself removed.

    Args:
        keys: band keys, shape (files, 32), uint64.
        sizes: number of shingles of each file, shape (files,), int64.
        shingles_of: returns the shingles of a file, shape (shingles,), uint64.
    """
    flat = np.sort(keys, axis=None)
    shared = np.unique(flat[1:][flat[1:] == flat[:-1]])
    survivors: dict[int, list[int]] = {}
    for file in range(len(keys)):
        mine = keys[file][is_in(shared, keys[file])[0]].tolist() if len(shared) and sizes[file] else []
        candidates = sorted({other for key in mine for other in survivors.get(key, ())})
        if match := _first_similar(file, candidates, sizes, shingles_of):
            yield file, *match
        else:
            for key in mine:
                survivors.setdefault(key, []).append(file)


def _first_similar(
    file: int, candidates: Sequence[int], sizes: NDArray[np.int64], shingles_of: Callable[[int], Hashes]
) -> tuple[int, float] | None:
    """Return the first candidate that a file is similar to, and their similarity; the arguments are those of
    near_duplicates, sizes of shape (files,), int64.
    """
    for other in candidates:
        small, large = sorted((sizes[file], sizes[other]))
        if small >= THRESHOLD * large:  # otherwise the sizes alone rule similarity out
            similarity = jaccard(shingles_of(file), shingles_of(other))
            if similarity >= THRESHOLD:
                return other, similarity
    return None
