"""Retrieval for a prompt, as a plug-in of an editor does it: chunks of other files that are like the end of it.

Chunks are ranked by `ChunkIndex` (BM25 of package bm25s). Of the best ones, those are chosen that bring in the most of
what a completion may need: names that the prompt does not have, each weighted by the chunks that hold it, per character
(greedy, as in the summaries of Lin and Bilmes 2010, "Multi-document Summarization via Budgeted Maximization of
Submodular Functions"). The prompt's own file and its near-duplicates are left out.
"""

import collections
import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from codefit import console
from codefit.code import names
from codefit.code.languages import language_of
from codefit.code.lexer import IDENTIFIER
from codefit.curation.dedup import THRESHOLD, Hashes, jaccard, shingles
from codefit.curation.neighbours import IMPORT
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import repository_files, repository_names, task_metrics
from codefit.evaluation.chunk_index import Chunk, ChunkIndex, Place
from codefit.evaluation.questions import FORGETTING, Questions
from codefit.evaluation.repository_files import RepositoryFiles
from codefit.evaluation.result_schema import Cost, Count, Retrieval
from codefit.evaluation.settings import InferenceSettings
from codefit.records import Document, Pair, Prediction
from codefit.scoring.internal_names import INTERNAL_NAMES
from codefit.sources.timeline import Version
from codefit.tasks.repository_context import Context, lay_out

AFTER = 100  # characters after the cursor that are searched for
POOL = 100  # chunks among which is chosen
MOST = 40  # chunks that are tried for one prompt
SHARPNESS = 2  # the exponent of a chunk's score in the weight of its names
HEADER = 40  # characters that the first chunk of a file costs more, for the path of the file


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
        self._indexes = {repository: ChunkIndex(found, files.text) for repository, found in places.items() if found}

    def context(self, pair: Pair, tokenizer: Any, limit: int) -> Context:
        """Return what is retrieved for a prompt, the file of the best chunk last.

        Args:
            pair: the prompt.
            tokenizer: a `tokenizers.Tokenizer`, which counts.
            limit: most tokens.
        """
        files = self._files.of(pair)
        if not files:
            return Context()
        own = self._files.text(files[pair.path]) if pair.path in files else ""
        suffix = pair.suffix or ""
        found = self._indexes[pair.repository].best(
            pair.prompt, suffix[:AFTER], files, pair.path, _imported(pair, own), POOL
        )
        copies = {version for version in {chunk.version for chunk in found} if self._is_copy(version, own)}
        texts = [(it, self._text(it.version)[it.start : it.end]) for it in found if it.version not in copies]
        language = language_of(pair.path, pair.language)
        known = set(IDENTIFIER.findall(f"{pair.prompt} {suffix}")) | (
            names.provided(language.name) if language else set()
        )
        near = [(chunk.path, chunk.start, text) for chunk, text in itertools.islice(_chosen(texts, known), MOST)]
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


def _chosen(found: Sequence[tuple[Chunk, str]], known: Collection[str]) -> Iterator[tuple[Chunk, str]]:
    """Yield chunks with their texts, first the one that brings in the most for its length, then the next.

    Args:
        found: chunks with their texts, the best first.
        known: names that bring nothing in.
    """
    left = [(chunk, text, set(IDENTIFIER.findall(text)) - set(known)) for chunk, text in found]
    weights: dict[str, float] = collections.defaultdict(float)
    for chunk, _, brought in left:
        for name in brought:
            weights[name] += (chunk.score / left[0][0].score) ** SHARPNESS
    paths: set[str] = set()

    def gain(item: tuple[Chunk, str, set[str]]) -> float:
        chunk, text, brought = item
        cost = len(text) + (0 if chunk.path in paths else HEADER)
        return chunk.score * sum(weights[name] for name in sorted(brought)) / cost

    while left := [item for item in left if item[2]]:
        best = max(left, key=gain)
        yield best[:2]
        paths.add(best[0].path)
        left = [(chunk, text, brought - best[2]) for chunk, text, brought in left]


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

    The forgetting check is about the model alone, so it is asked without files.

    Raises:
        UserError: there is none, or the prompts already begin with files.
    """
    wanted = [each for each in asked if each.documents and _is_code(each) and each.name != FORGETTING]
    found = {each.name: for_pairs(each, encoder, how) for each in wanted}
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
