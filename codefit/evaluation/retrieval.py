"""Retrieval for a prompt, as a plug-in of an editor does it: chunks of other files most like the text at the cursor.

A chunk is a few lines of a file. Chunks are ranked by BM25 (package bm25s) over names and their parts, with a bonus for
files that the prompt's file imports and for files of its folder. The prompt's own file and its near-duplicates are left
out. Frequencies of words are those of all files that any prompt may see; only they, and no text, could be newer than a
prompt of an earlier commit.
"""

import dataclasses
import functools
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from codefit import console
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
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A few lines of a file, from a character on."""

    path: str
    version: Version
    start: int
    text: str


class Retriever:
    """An index over all files that some prompts may see.

    Args:
        files: of the repositories.
        pairs: the prompts that will be asked.
    """

    def __init__(self, files: RepositoryFiles, pairs: Sequence[Pair]) -> None:
        import bm25s

        self._files = files
        self._chunks: dict[str, list[Chunk]] = {}
        self._indexes: dict[str, Any] = {}
        places: dict[str, dict[tuple[str, Version], None]] = {}
        for pair in pairs:
            places.setdefault(pair.repository, {}).update(dict.fromkeys((files.of(pair) or {}).items()))
        for repository, found in places.items():
            chunks = [chunk for path, version in found for chunk in chunks_of(path, version, files.text(version))]
            if chunks:
                index = bm25s.BM25()
                index.index([words(chunk.text) for chunk in chunks], show_progress=False)
                self._chunks[repository], self._indexes[repository] = chunks, index

    def context(self, pair: Pair, tokenizer: Any, limit: int) -> Context:
        """Return what is retrieved for a prompt, the best last.

        Args:
            pair: the prompt.
            tokenizer: a `tokenizers.Tokenizer`, which counts.
            limit: most tokens.
        """
        files = self._files.of(pair)
        query = words(pair.prompt[-QUERY:]) + words((pair.suffix or "")[:AFTER])
        if not files or not query or pair.repository not in self._indexes:
            return Context()
        chunks = self._chunks[pair.repository]
        own = self._files.text(files[pair.path]) if pair.path in files else ""
        scores = self._indexes[pair.repository].get_scores(query) * self._bonus(pair, own, files)
        best = np.argsort(-scores, kind="stable")[:MOST]
        found = [chunks[at] for at in best if scores[at] > 0 and not self._is_copy(chunks[at].version, own)]
        asked = Document("", pair.path, pair.repository, language=pair.language)
        return lay_out(asked, [(chunk.path, chunk.start, chunk.text) for chunk in found], tokenizer, limit)

    def _bonus(self, pair: Pair, own: str, files: Mapping[str, Version]) -> Array:
        """Return the factor of the score of each chunk, shape (chunks,); 0 for one that the prompt cannot see."""
        at = own.find(pair.prompt)
        before = own if pair.commit else own[: max(at, 0)]  # of a later commit, the file as its author found it
        head = f"{before}\n{pair.prompt}"
        imported = {word for line in IMPORT.findall(head) for word in IDENTIFIER.findall(line)}
        folder = posixpath.dirname(pair.path)

        @functools.cache
        def bonus(path: str) -> float:
            stem = posixpath.splitext(posixpath.basename(path))[0]
            return 1 + IMPORTED * (stem in imported) + SAME_FOLDER * (posixpath.dirname(path) == folder)

        chunks = self._chunks[pair.repository]
        return np.array(
            [
                bonus(chunk.path) if chunk.path != pair.path and files.get(chunk.path) == chunk.version else 0.0
                for chunk in chunks
            ]
        )

    def _is_copy(self, version: Version, own: str) -> bool:
        """Return whether a file is a near-duplicate of the prompt's own."""
        return bool(own) and jaccard(self._shingles(version), _shingles(own)) >= THRESHOLD

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - one retriever for one benchmark
    def _shingles(self, version: Version) -> Hashes:
        """Return the shingles of a version, shape (shingles,)."""
        return shingles(self._files.text(version))


@functools.lru_cache(maxsize=1)
def _shingles(text: str) -> Hashes:
    """Return the shingles of a text, shape (shingles,); those of the last one are cached."""
    return shingles(text)


def chunks_of(path: str, version: Version, text: str) -> list[Chunk]:
    """Return a file in chunks of LINES lines; those without a word are left out."""
    lines = text.splitlines(keepends=True)
    starts = np.cumsum([0, *map(len, lines)]).tolist()
    pieces = ((starts[at], "".join(lines[at : at + LINES])) for at in range(0, len(lines), LINES))
    return [Chunk(path, version, start, piece) for start, piece in pieces if IDENTIFIER.search(piece)]


def words(text: str) -> list[str]:
    """Return the names of a text and, in lower case, the parts of names of several parts."""
    found = []
    for name in IDENTIFIER.findall(text):
        parts = PART.findall(name)
        found.append(name)
        found += [part.lower() for part in parts] if len(parts) > 1 else ()
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
        names = names_of_reference(pair)
        found += len(names & set(IDENTIFIER.findall(context.text)))
        wanted += len(names)
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
