"""The check that no evaluation file leaks into train, computed from the texts alone and without a sketch."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codefit import cli, records
from codefit.cli import UserError
from codefit.curation import Options, curate_all
from codefit.curation.dedup import Evaluation, Hashes, content_id, shingles

Texts = Callable[[], Iterator[tuple[str, str, str]]]


@dataclass(frozen=True, slots=True)
class Leak:
    """A train file that is a copy of an evaluation file, or a near-duplicate with that Jaccard similarity."""

    train: str
    evaluation: str
    similarity: float


def find_leaks(texts: Texts) -> Iterator[Leak]:
    """Yield every train file that resembles an evaluation file.

    Args:
        texts: returns (split, name, text) of every file; it is called twice, so that train is never held in memory.
    """
    names: list[str] = []
    sets: list[Hashes] = []
    copies: dict[bytes, str] = {}
    for split, name, text in texts():
        if split != "train":
            names.append(name)
            sets.append(shingles(text))
            copies[content_id(text)] = name
    index = Evaluation(sets)
    for split, name, text in texts():
        if split != "train":
            continue
        if copy := copies.get(content_id(text)):
            yield Leak(name, copy, 1.0)
        elif match := index.most_similar(shingles(text)):
            yield Leak(name, names[match[0]], match[1])


def verify(output: Path) -> str:
    """Check a prepared data set against the documents it was made from, and return one sentence of success.

    Raises:
        UserError: a train file resembles an evaluation file or lies in two splits, or the input is not what it was.
    """
    manifest = cli.read_manifest(output)
    if "documents_kept" not in manifest:
        raise UserError(f"{output} holds no manifest of prepared data; give the folder that was written as --output.")
    for path, sha256 in manifest["inputs"].items():
        if not Path(path).is_file() or cli.sha256(Path(path)) != sha256:
            raise UserError(f"{path} is gone or has changed since {output} was made; restore it, or prepare again.")
    splits = _splits(output)
    leaks = list(find_leaks(lambda: _texts(output, splits, manifest["arguments"])))
    if leaks:
        one = f"{leaks[0].train} resembles {leaks[0].evaluation} ({leaks[0].similarity:.2f})"
        raise UserError(
            f"{output} leaks: {len(leaks)} train files resemble evaluation files ({one}); prepare it again."
        )
    counts = Counter(splits.values())
    return f"no leak: {counts['train']} train files against {counts['validation'] + counts['test']} evaluation files"


def _splits(output: Path) -> dict[str, str]:
    """Return the split of every file that has a pair."""
    splits: dict[str, str] = {}
    for split in records.SPLITS:
        for pair in records.read_jsonl(output / f"{split}.jsonl", records.Pair):
            name = f"{pair.repository}/{pair.path}"
            if splits.setdefault(name, split) != split:
                raise UserError(f"{output} leaks: {name} is in {splits[name]} and in {split}; prepare it again.")
    return splits


def _texts(output: Path, splits: dict[str, str], arguments: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield split, name and curated text of every file that has a pair, read from the input again."""
    missing = dict(splits)
    options = Options.of(arguments)
    for source in arguments["input"]:
        documents = (d for d in records.read_documents(source) if f"{d.repository}/{d.path}" in missing)
        for document, curated in curate_all(documents, options):
            name = f"{document.repository}/{document.path}"
            if isinstance(curated.outcome, records.Document) and name in missing:
                yield missing.pop(name), name, curated.outcome.content
    if missing:
        raise UserError(f"{len(missing)} files of {output} are not in its input, such as {next(iter(missing))}.")
