"""`--verify`: check that nothing leaks into train, exactly, from the input and the pairs alone."""

import collections
import contextlib
import io
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from codefit import console, records
from codefit.curation import hub_inputs, later_leaks
from codefit.curation.curate import CurationOptions, curate_all
from codefit.curation.decontamination import contaminated, load_benchmarks
from codefit.curation.dedup import Evaluation, Hashes, content_id, shingles
from codefit.curation.overlap import overlapping
from codefit.curation.pair_texts import foreign_text
from codefit.curation.repeated_prompts import prompt_id
from codefit.curation.split import split_at, unit_of
from codefit.errors import UserError
from codefit.manifest import read_manifest, sha256
from codefit.tasks.repository_context import pieces

Texts = Callable[[], Iterator[tuple[str, str, str]]]

Name = tuple[str, str]  # repository and path of a file, not joined: two files could have the same joined name


@dataclass(frozen=True, slots=True)
class Leak:
    """A train file that is a copy or a near-duplicate of a held-out file, with their Jaccard similarity."""

    train: str
    evaluation: str
    similarity: float


def find_leaks(texts: Texts) -> Iterator[Leak]:
    """Yield every train file that is a copy or a near-duplicate of a held-out file.

    Args:
        texts: returns (split, name, text) of every file; called twice, so that train is never held in memory.
    """
    names: list[str] = []
    sets: list[Hashes] = []
    copies: dict[bytes, str] = {}
    for split, name, text in texts():
        if split != "train":
            names.append(name)
            sets.append(shingles(text))
            copies[content_id(text)] = name
    index = Evaluation(len(sets), sets.__getitem__)
    for split, name, text in texts():
        if split != "train":
            continue
        if copy := copies.get(content_id(text)):
            yield Leak(name, copy, 1.0)
        elif match := index.most_similar(shingles(text)):
            yield Leak(name, names[match[0]], match[1])


def verify(output: Path) -> str:
    """Check a prepared data set against its input documents, and return a sentence that reports success.

    Raises:
        UserError: a train file is a near-duplicate of a held-out file; a unit or a prompt is in two splits; a file
            contains a piece of a benchmark; train contains a completion of test; a pair contains text that is not in
            its document; or the input has changed.
    """
    manifest = read_manifest(output)
    if "documents_kept" not in manifest:
        raise UserError(f"{output} has no manifest of preprocess_data.py; give the folder of an earlier --output.")
    for path, digest in manifest["inputs"].items():
        if not Path(path).is_file() or sha256(Path(path)) != digest:
            raise UserError(
                f"{path} is missing or has changed since {output} was made; restore it, or prepare the data again."
            )
    prepared = Prepared(output, manifest)
    for reason in prepared.leaks():
        raise UserError(f"{output} has a leak: {reason}; prepare the data again.")
    counts = Counter(prepared.splits.values())
    later = f" and {prepared.later} pairs of later commits" if prepared.later else ""
    held_out = counts["validation"] + counts["test"]
    return f"no leak: {counts['train']} train files against {held_out} held-out files{later}"


class Prepared:
    """A prepared data set and its curated documents."""

    def __init__(self, output: Path, manifest: dict[str, Any]) -> None:
        self.output = output
        self.manifest = manifest
        self.arguments = manifest["arguments"]
        self.completions: list[str] = []
        self.prompts: dict[str, dict[bytes, str]] = defaultdict(dict)  # by split: ids of pairs by their prompt_id
        self.splits: dict[Name, str] = {}
        self.places: dict[Name, list[tuple[Path, int]]] = defaultdict(
            list
        )  # the byte offsets of the lines with a file's pairs
        self.units: dict[str, str] = {}
        self.later = 0  # test pairs of later commits
        self.taken: dict[
            Name, set[tuple[int, int, bytes]]
        ] = {}  # of the pieces of a file used as context: start, length and hash

    def leaks(self) -> Iterator[str]:
        """Yield a clause for each kind of leak that was found."""
        yield from self._divided_units()
        yield from self._repeated_prompts()
        leaks = list(find_leaks(lambda: ((split, _shown(d), d.content) for split, d in self.documents())))
        if leaks:
            one = f"{leaks[0].train} resembles {leaks[0].evaluation} ({leaks[0].similarity:.2f})"
            yield f"{len(leaks)} train files are near-duplicates of held-out files ({one})"
        if self.later:
            pairs = (pair for path in self._pair_files() for _, pair in _pairs_at(path) if pair.commit)
            yield from later_leaks.leaks(self.output, self.arguments, pairs)
        yield from self._wrong_context()
        yield from self._misplaced_in_time()
        yield from self._benchmarks()
        foreign: list[str] = []
        train = self._train_texts(foreign)
        overlaps = int(overlapping(self.completions, train).sum())
        collections.deque(train, maxlen=0)  # without completions to search for, the texts of train were not read
        if overlaps:
            yield f"train contains {console.counted(overlaps, 'completion')} of test"
        if foreign:
            yield f"{len(foreign)} pairs contain text that is not in their document ({foreign[0]})"

    def _train_texts(self, foreign: list[str]) -> Iterator[str]:
        """Yield the texts of train; check all documents, and add pairs with text not in their document to `foreign`."""
        with contextlib.ExitStack() as stack:
            files = {path: stack.enter_context(path.open("rb")) for path in self._pair_files()}
            for split, document in self.documents():
                for path, offset in self.places[_name(document)]:
                    files[path].seek(offset)
                    pair = records.Pair(**orjson.loads(files[path].readline()))
                    if field := foreign_text(pair, document.content):
                        foreign.append(f"the {field} of {pair.id} in {path.name}")
                if split == "train":
                    yield document.content

    def _pair_files(self) -> list[Path]:
        names = (f"{split}.jsonl" for split in (*records.SPLITS, records.OVERLAP))
        return [path for name in names if (path := self.output / name).is_file()]

    def _divided_units(self) -> Iterator[str]:
        """Read the pairs, and yield the units that are in more than one split."""
        files = {split: self.output / f"{split}.jsonl" for split in (*records.SPLITS, records.OVERLAP)}
        by = self.arguments.get("split_by", "file")
        for name, file in files.items():
            split = name.removesuffix("_overlap")
            for offset, pair in _pairs_at(file) if name == split or file.is_file() else ():
                if name == "test":
                    self.completions.append(pair.completion)
                if pair.commit:  # its file is also in train, as it was earlier
                    self.later += 1
                    yield from self._read_prompt(pair, split)
                    continue
                self.places[_name(pair)].append((file, offset))
                yield from self._read_prompt(pair, split)
                for path in (pair.path, *(file["path"] for file in pair.context or [])):
                    unit = unit_of(pair.repository, path, "file" if by == "time" else by)
                    if self.units.setdefault(unit, split) != split:
                        yield f"{unit} is in {self.units[unit]} and in {split}"
                    self.splits[pair.repository, path] = split

    def _read_prompt(self, pair: records.Pair, split: str) -> Iterator[str]:
        try:
            if prompt := prompt_id(pair):
                self.prompts[split].setdefault(prompt, pair.id)
            for path, start, text in pieces(pair) if pair.commit is None else ():
                self.taken.setdefault((pair.repository, path), set()).add((start, len(text), content_id(text)))
                if path == pair.path:
                    yield f"{pair.id} has its own file as context"
        except ValueError as error:
            yield str(error)

    def _repeated_prompts(self) -> Iterator[str]:
        for one, other in itertools.combinations(records.SPLITS, 2):
            if common := self.prompts[one].keys() & self.prompts[other].keys():
                example = min((self.prompts[one][prompt], self.prompts[other][prompt]) for prompt in common)
                yield f"{len(common)} prompts of {one} are also in {other} ({' and '.join(example)})"

    def _wrong_context(self) -> Iterator[str]:
        """Yield the files whose text differs from what a prompt contains as their text."""
        for _, document in self.documents() if self.taken else ():
            for start, length, found in self.taken.get(_name(document), ()):
                if content_id(document.content[start : start + length]) != found:
                    yield f"a prompt contains text that is not in {_shown(document)}"

    def _misplaced_in_time(self) -> Iterator[str]:
        since = self.manifest.get("boundaries") or {}
        for split, document in self.documents() if since else ():
            if split_at(document.committed_at, since) != split:
                yield f"{_shown(document)} of {document.committed_at} is in {split}"

    def _benchmarks(self) -> Iterator[str]:
        if not (files := self.arguments.get("decontaminate")):
            return
        benchmarks = load_benchmarks(list(map(Path, files)))
        found = {_name(document): benchmarks.found_in(document.content) for _, document in self.documents()}
        boilerplate = np.array(self.manifest.get("boilerplate", []), np.uint64)
        hits, _ = contaminated(benchmarks, list(found.values()), boilerplate)
        for row, piece in hits.items():
            yield f"{'/'.join(list(found)[row])} contains a piece of {benchmarks.name(piece)}"

    def documents(self) -> Iterator[tuple[str, records.Document]]:
        """Yield (split, curated document) for every file that has a pair, read from the input again."""
        missing, taken = dict(self.splits), set[str]()
        for source in self.arguments["input"]:
            revision = hub_inputs.commit_of(self.manifest, source)
            documents = records.read_documents(source, taken, revision)
            wanted = (document for document in documents if _name(document) in missing)
            for _, curated in curate_all(wanted, CurationOptions.of(self.arguments)):
                if isinstance(curated.outcome, records.Document) and _name(curated.outcome) in missing:
                    yield missing.pop(_name(curated.outcome)), curated.outcome
        if missing:
            one = "/".join(next(iter(missing)))
            raise UserError(f"{len(missing)} files of {self.output} are not in its input, such as {one}.")


def _pairs_at(file: Path) -> Iterator[tuple[int, records.Pair]]:
    """Yield the pairs of a file, each with the byte offset of its line."""
    pairs = records.read_jsonl(file, records.Pair)
    offset = 0
    with file.open("rb") if file.is_file() else io.BytesIO() as lines:
        for pair in pairs:
            while not (line := lines.readline()).strip() and line:
                offset += len(line)
            yield offset, pair
            offset += len(line)


def _name(record: records.Document | records.Pair) -> Name:
    return record.repository, record.path


def _shown(document: records.Document) -> str:
    return f"{document.repository}/{document.path}"
