"""The steps of stage 2 that need all documents: deduplication, decontamination and the split."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codefit import console
from codefit.curation.corpus import Corpus, RejectionLog
from codefit.curation.decontamination import contaminated, load_benchmarks
from codefit.curation.dedup import Evaluation, Hashes, near_duplicates, sketch
from codefit.curation.split import Splitting, assign, assign_by_time, boundaries, unit_of
from codefit.dates import moment
from codefit.errors import UserError


def remove_exact_duplicates(corpus: Corpus, log: RejectionLog) -> None:
    """Keep one document of every group of equal texts, the one with the shortest path."""
    first: dict[bytes, str] = {}
    for number in corpus.by_preference(range(len(corpus.entries))):
        entry = corpus.entries[number]
        if entry.content_id in first:
            corpus.reject(log, number, "exact duplicate", first[entry.content_id])
        else:
            first[entry.content_id] = entry.name


def remove_benchmarks(corpus: Corpus, log: RejectionLog, files: Sequence[Path]) -> list[int]:
    """Reject the documents that contain a piece of a benchmark; return the pieces that are only boilerplate.

    Raises:
        UserError: a benchmark cannot be read or contains no text.
    """
    benchmarks = load_benchmarks(files)
    numbers = corpus.of_split("")
    found = [benchmarks.found_in(corpus.text(n)) for n in console.progress(numbers, "decontaminate", unit="file")]
    hits, boilerplate = contaminated(benchmarks, found)
    for row, piece in hits.items():
        corpus.reject(log, numbers[row], "benchmark", benchmarks.name(piece))
    return [int(piece) for piece in boilerplate]


def split_corpus(corpus: Corpus, log: RejectionLog, splitting: Splitting) -> dict[str, Any]:
    """Assign every remaining document to a split; return the boundary dates of a split by time.

    Raises:
        UserError: there are too few units to split.
    """
    if splitting.by == "repository":
        _reject_without_repository(corpus, log)
    if splitting.by != "time":
        kept = [corpus.entries[number] for number in corpus.of_split("")]
        units = [unit_of(entry.repository, entry.path, splitting.by) for entry in kept]
        for entry, split in zip(kept, assign(units, splitting), strict=True):
            entry.split = split
        return {}
    for number in corpus.of_split(""):
        if moment(corpus.entries[number].committed_at) is None:
            corpus.reject(log, number, "no commit date", corpus.entries[number].committed_at)
    kept = [corpus.entries[number] for number in corpus.of_split("")]
    dates = [entry.committed_at for entry in kept]
    since = boundaries(dates, splitting)
    for entry, split in zip(kept, assign_by_time(dates, since), strict=True):
        entry.split = split
    return since


def _reject_without_repository(corpus: Corpus, log: RejectionLog) -> None:
    """Reject the documents that name no repository: any of them may be of a repository of another split.

    Raises:
        UserError: none names one.
    """
    unknown = [number for number in corpus.of_split("") if not corpus.entries[number].repository]
    if unknown and len(unknown) == len(corpus.of_split("")):
        raise UserError(
            "no document names its repository, so --split_by repository cannot divide them; choose --split_by file or "
            "directory."
        )
    for number in unknown:
        corpus.reject(log, number, "no repository", "")


def remove_near_duplicates(corpus: Corpus, log: RejectionLog) -> None:
    """Reject train files that are near-duplicates of a held-out file, then those of another train file."""
    entries = corpus.entries
    evaluation = [n for n, entry in enumerate(entries) if entry.split in {"validation", "test"}]
    index = Evaluation(len(evaluation), lambda row: corpus.shingles_of(evaluation[row]))
    train = []

    def kept() -> Iterator[Hashes]:
        for number in console.progress(corpus.by_preference(corpus.of_split("train")), "compare", unit="file"):
            if match := index.most_similar(corpus.shingles_of(number)):
                like = entries[evaluation[match[0]]].name
                corpus.reject(log, number, "near-duplicate of evaluation", f"{match[1]:.2f} {like}")
            else:
                train.append(number)
                yield corpus.shingles_of(number)

    keys, sizes = sketch(kept())
    for row, survivor, similarity in near_duplicates(keys, sizes, lambda row: corpus.shingles_of(train[row])):
        corpus.reject(log, train[row], "near-duplicate", f"{similarity:.2f} {entries[train[survivor]].name}")
    corpus.forget_shingles()
