"""Retrieval for a prompt, as a plug-in of an editor does it: chunks of other files most like the text at the cursor.

A chunk is a few lines of a file. Chunks are ranked by BM25 (package bm25s) over names and their parts, with a bonus for
files that the prompt's file imports and for files of its folder. The prompt's own file and its near-duplicates are left
out. Frequencies of words are those of all files that any prompt may see; only they, and no text, could be newer than a
prompt of an earlier commit.
"""

import dataclasses
import functools
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from codefit import console
from codefit.code import names
from codefit.code.languages import language_of
from codefit.code.lexer import IDENTIFIER
from codefit.curation.dedup import THRESHOLD, Hashes, jaccard, shingles
from codefit.curation.neighbours import IMPORT
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import repository_files, repository_names, task_metrics
from codefit.evaluation.questions import Questions
from codefit.evaluation.repository_files import RepositoryFiles
from codefit.evaluation.result_schema import Cost, Count, Retrieval
from codefit.evaluation.settings import InferenceSettings
from codefit.records import Document, Pair, Prediction
from codefit.scoring.internal_names import INTERNAL_NAMES
from codefit.scoring.statistics import Array
from codefit.sources.timeline import Version
from codefit.tasks.repository_context import Context, lay_out

LINES = 12  # of a chunk
QUERY, AFTER = 600, 100  # characters before and after the cursor that are searched for
IMPORTED, SAME_FOLDER = 1.0, 0.3  # bonus of a chunk, as a share of its score
MOST = 40  # chunks that are tried for one prompt
Place = tuple[str, Version]  # path and text of a file


class Retriever:
    """An index over all files that some prompts may see.

    Args:
        files: of the repositories.
        pairs: the prompts that will be asked.
    """

    def __init__(self, files: RepositoryFiles, pairs: Sequence[Pair]) -> None:
        self._files = files
        places: dict[str, dict[Place, None]] = {}
        for pair in pairs:
            places.setdefault(pair.repository, {}).update(dict.fromkeys((files.of(pair) or {}).items()))
        self._indexes = {repository: _Index(files, list(found)) for repository, found in places.items() if found}

    def context(self, pair: Pair, tokenizer: Any, limit: int) -> Context:
        """Return what is retrieved for a prompt, the best last.

        Args:
            pair: the prompt.
            tokenizer: a `tokenizers.Tokenizer`, which counts.
            limit: most tokens.
        """
        files = self._files.of(pair)
        query = words(pair.prompt[-QUERY:]) + words((pair.suffix or "")[:AFTER])
        if not files or not query:
            return Context()
        own = self._files.text(files[pair.path]) if pair.path in files else ""
        found = self._indexes[pair.repository].best(query, files, pair.path, _imported(pair, own))
        near = [
            (path, start, self._text(version)[start:end])
            for (path, version), start, end in found
            if not self._is_copy(version, own)
        ]
        return lay_out(Document("", pair.path, pair.repository, language=pair.language), near, tokenizer, limit)

    def _is_copy(self, version: Version, own: str) -> bool:
        """Return whether a file is a near-duplicate of the prompt's own."""
        return bool(own) and jaccard(self._shingles(version), _shingles(own)) >= THRESHOLD

    @functools.lru_cache(maxsize=256)  # noqa: B019 - one retriever for one benchmark
    def _text(self, version: Version) -> str:
        return self._files.text(version)

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - as above
    def _shingles(self, version: Version) -> Hashes:
        """Return the shingles of a version, shape (shingles,)."""
        return shingles(self._text(version))


@functools.lru_cache(maxsize=1)
def _shingles(text: str) -> Hashes:
    """Return the shingles of a text, shape (shingles,); those of the last one are cached."""
    return shingles(text)


def _imported(pair: Pair, own: str) -> set[str]:
    """Return the words of the imports above a cursor.

    Args:
        pair: the prompt.
        own: the text of its file: of a later commit as its author found it, else as it is with the completion.
    """
    before = own if pair.commit else own[: max(own.find(pair.prompt), 0)]
    return {word for line in IMPORT.findall(f"{before}\n{pair.prompt}") for word in IDENTIFIER.findall(line)}


class _Index:
    """The chunks of a repository, of all its files in all states that are asked about."""

    def __init__(self, files: RepositoryFiles, places: list[Place]) -> None:
        import bm25s

        self._places = places
        self._spans: list[tuple[int, int]] = []
        self._by_stem: dict[str, list[int]] = {}
        self._by_folder: dict[str, list[int]] = {}
        self._by_path: dict[str, list[int]] = {}
        self._seen: tuple[Mapping[str, Version], Array] | None = None  # the state asked for last, and its files
        file_of: list[int] = []
        tokens: list[list[str]] = []
        for number, (path, version) in enumerate(places):
            stem = posixpath.splitext(posixpath.basename(path))[0]
            self._by_stem.setdefault(stem, []).append(number)
            self._by_folder.setdefault(posixpath.dirname(path), []).append(number)
            self._by_path.setdefault(path, []).append(number)
            text = files.text(version)
            for start, end in chunks(text):
                file_of.append(number)
                self._spans.append((start, end))
                tokens.append(words(text[start:end]))
        self._file_of = np.array(file_of, np.intp)
        self._bm25 = bm25s.BM25()
        if tokens:
            self._bm25.index(tokens, show_progress=False)

    def best(
        self, query: list[str], files: Mapping[str, Version], own: str, imported: Collection[str]
    ) -> list[tuple[Place, int, int]]:
        """Return the places of the best chunks with their first and last characters, the best first.

        Args:
            query: words.
            files: the state that the prompt may see.
            own: path of the prompt's file, which it may not see.
            imported: words of its imports.
        """
        if not self._spans:
            return []
        factors = np.ones(len(self._places))
        for word in imported:
            factors[self._by_stem.get(word, [])] += IMPORTED
        factors[self._by_folder.get(posixpath.dirname(own), [])] += SAME_FOLDER
        factors *= self._visible(files)
        factors[self._by_path.get(own, [])] = 0
        scores = self._bm25.get_scores(query) * factors[self._file_of]
        order = np.argsort(-scores, kind="stable")[:MOST]
        return [(self._places[self._file_of[at]], *self._spans[at]) for at in order if scores[at] > 0]

    def _visible(self, files: Mapping[str, Version]) -> Array:
        """Return 1 for each file of the index that is in a state and 0 for others, shape (files,), float64."""
        if self._seen is None or self._seen[0] is not files:
            self._seen = files, np.array([float(files.get(path) == version) for path, version in self._places])
        return self._seen[1]


def chunks(text: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each LINES lines of a text that have a word."""
    lines = text.splitlines(keepends=True)
    start = 0
    for at in range(0, len(lines), LINES):
        piece = "".join(lines[at : at + LINES])
        if IDENTIFIER.search(piece):
            yield start, start + len(piece)
        start += len(piece)


def words(text: str) -> list[str]:
    """Return the names of a text and, in lower case, the parts of names of several parts."""
    found = []
    for name in IDENTIFIER.findall(text):
        parts = names.parts(name)
        found += [name, *(parts if len(parts) > 1 else ())]
    return found


# ------------------------------------------------------------------------------------------- for a benchmark


@dataclasses.dataclass(frozen=True, slots=True)
class Retrieved:
    """The pairs of a benchmark with what was retrieved for them.

    Attributes:
        pairs: in the order of the benchmark.
        tokens: most tokens of files before a prompt.
        found: of the names of the references that their prompts do not hold, those in the retrieved text.
    """

    pairs: list[Pair]
    tokens: int
    found: Count

    def described(self, costs: Mapping[str, Cost]) -> Retrieval:
        """Return what scores.json holds about it, with what a completion costs each model."""
        prompts = sum(bool(pair.context) for pair in self.pairs)
        return Retrieval(tokens=self.tokens, prompts=prompts, found=self.found, costs=dict(costs))


def for_benchmarks(asked: Sequence[Questions], encoder: Encoder, how: InferenceSettings) -> dict[str, Retrieved]:
    """Return what is retrieved for the benchmarks of code whose repositories are known, by benchmark.

    Raises:
        UserError: there is none, or the prompts already begin with files.
    """
    found = {each.name: for_pairs(each, encoder, how) for each in asked if each.documents and _is_code(each)}
    if not any(pair.context for each in found.values() for pair in each.pairs):
        raise UserError(
            "no other files are known of the repositories of these prompts, so nothing can be retrieved; leave out "
            "--repository_context, or prepare the data again with preprocess_data.py."
        )
    for name, each in found.items():
        count = sum(bool(pair.context) for pair in each.pairs)
        console.show(
            f"{name}: files for {count} of {len(each.pairs)} prompts; they hold {each.found.count} of "
            f"{each.found.of} names of references that the prompts do not hold"
        )
    return found


def _is_code(asked: Questions) -> bool:
    return all(INTERNAL_NAMES in task_metrics.metrics(pair.task) for pair in asked.pairs)


def for_pairs(asked: Questions, encoder: Encoder, how: InferenceSettings) -> Retrieved:
    """Return the pairs of a benchmark with retrieved files before their prompts, which are cut as without files."""
    assert asked.documents
    if any(pair.context for pair in asked.pairs):
        raise UserError(
            f"the prompts of {asked.name} begin with files of the repository already; prepare the data without "
            "--repository_context to compare with and without them."
        )
    files = repository_files.opened(asked.documents, {pair.repository for pair in asked.pairs})
    retriever = Retriever(files, asked.pairs)
    pairs, found, wanted = [], 0, 0
    for pair in console.progress(asked.pairs, f"retrieve for {asked.name}", unit="prompt"):
        context = retriever.context(pair, encoder.codec.tokenizer, how.repository_context)
        brought_in = names_of_reference(pair)
        found += len(brought_in & set(IDENTIFIER.findall(context.text)))
        wanted += len(brought_in)
        pairs.append(context.before(_cut(pair, encoder, how.max_prompt_tokens)))
    return Retrieved(pairs, how.repository_context, Count(found, wanted))


def names_of_reference(pair: Pair) -> set[str]:
    """Return the names that the reference of a pair brings in."""
    if language_of(pair.path, pair.language) is None:
        return set()
    item = Prediction(pair.id, pair.prompt, pair.completion, pair.completion, path=pair.path, suffix=pair.suffix)
    return repository_names.new_names(dataclasses.replace(item, task=pair.task, language=pair.language))


def _cut(pair: Pair, encoder: Encoder, limit: int) -> Pair:
    """Return a pair whose prompt has at most `limit` tokens, as every prompt without files has."""
    [ids] = encoder.first_ids([pair.prompt])
    return pair if len(ids) <= limit else dataclasses.replace(pair, prompt=encoder.decode(ids[-limit:]))
