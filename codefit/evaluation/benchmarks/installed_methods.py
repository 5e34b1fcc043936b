"""Functions of installed packages, for a machine with neither CodeXGLUE's test set nor a connection to the Hub.

The task and the format of the file are CodeXGLUE's, the functions are others, so scores of the two sets are not
comparable. requirements.txt pins the packages, so the same training data give the same bytes. None of the packages is
in the corpus of `data/base`; other bases may have seen them. Functions that share ten words in a row with the training
data are left out.
"""

import hashlib
import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from codefit import console
from codefit.curation.dedup import Hashes, grams, is_in, word_hashes
from codefit.errors import UserError
from codefit.evaluation.benchmarks import codexglue, codexglue_export
from codefit.gguf_base import cache_folder
from codefit.outputs import write_whole
from codefit.records import Document, Pair, read_jsonl, to_line
from codefit.tasks import method
from codefit.tasks.task import TaskOptions

TITLE = "functions of installed packages"
NEW_TOKENS = codexglue.NEW_TOKENS
PACKAGES = ("accelerate", "datasets", "gguf", "gitpython", "huggingface_hub", "peft")
GRAM = 10  # words, as in curation/decontamination.py
LEFT_OUT = re.compile(r"(?:^|/)(?:tests?|testing|_?vendor|conftest\.py)(?:/|$)|(?:^|/)test_[^/]*$")
# Lengths are in characters, since the set must not depend on a tokenizer.
LIMITS = TaskOptions(max_prompt_tokens=1_200, max_completion_tokens=800, window_step=1, max_pairs_per_file=5, seed=0)
load = codexglue.load


def make(training: Sequence[Path]) -> Path:
    """Write the set into codefit's cache folder, named by the sha256 of its bytes, and return its path.

    Args:
        training: the files of pairs that the models of the benchmark were trained on.

    Raises:
        UserError: none of the packages is installed, or all functions occur in the training data.
    """
    lost: Counter[str] = Counter()
    documents = (document for name in PACKAGES for document in _documents(name, lost))
    pairs = _without_copies((pair for document in documents for pair in _methods(document)), lost)
    if not pairs:
        raise UserError(f"none of {', '.join(PACKAGES)} is installed with its source; install requirements.txt.")
    pairs = _decontaminated(pairs, training, lost)
    literals = codexglue_export.Literals.that_keep(*codexglue_export.frequent_literals(pairs))
    rows = [codexglue_export.row(pair, literals) for pair in pairs]
    lost.update(row for row in rows if isinstance(row, str))
    text = "".join(to_line(row) for row in rows if isinstance(row, dict))
    if not text:
        raise UserError(f"the training data contain all {TITLE}; name a file of other prompts with --benchmark.")
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = cache_folder() / "benchmarks" / f"installed_methods-{digest[:12]}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
    left_out = ", ".join(f"{count} {reason}" for reason, count in lost.most_common())
    console.show(f"{TITLE}: {text.count(chr(10))}" + (f"; left out: {left_out}" if left_out else ""))
    return path


def _documents(package: str, lost: Counter[str]) -> Iterator[Document]:
    """Yield the Python files of an installed package, in the order of their paths, without its tests."""
    try:
        installed = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return
    for file in sorted(installed.files or (), key=str):
        if file.suffix != ".py" or ".." in file.parts or LEFT_OUT.search(file.as_posix()):
            continue
        try:
            content = Path(str(file.locate())).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            lost["files that cannot be read"] += 1
            continue
        repository = f"{package}/{installed.version}"
        yield Document(content, file.as_posix(), repository, language="python")


def _methods(document: Document) -> Iterator[Pair]:
    return method.build_pairs(document, range(len(document.content)), LIMITS, Counter())


def _without_copies(pairs: Iterable[Pair], lost: Counter[str]) -> list[Pair]:
    """Return the pairs whose prompt and whose body, without white space, no earlier pair has."""
    kept, seen = [], set[str]()
    for pair in pairs:
        texts = {"".join(pair.prompt.split()), "".join(pair.completion.split())}
        if texts & seen:
            lost["copies"] += 1
        else:
            kept.append(pair)
        seen |= texts
    return kept


def _decontaminated(pairs: Sequence[Pair], training: Sequence[Path], lost: Counter[str]) -> list[Pair]:
    """Return the pairs that have ten words and share no ten words in a row with training data."""
    pieces = [_pieces(pair.prompt + pair.completion) for pair in pairs]
    keys = np.unique(np.concatenate([np.zeros(0, np.uint64), *pieces]))
    found = np.zeros(len(keys), np.bool_)
    for file in training:
        for pair in read_jsonl(file, Pair):
            held, places = is_in(keys, _pieces(pair.prompt + pair.completion + (pair.suffix or "")))
            found[places[held]] = True
    kept = []
    for pair, own in zip(pairs, pieces, strict=True):
        if not len(own):
            lost["too short to compare"] += 1
        elif found[np.searchsorted(keys, own)].any():
            lost["in the training data"] += 1
        else:
            kept.append(pair)
    return kept


def _pieces(text: str) -> Hashes:
    """Return the hash of every ten words in a row of a text, shape (pieces,), uint64."""
    return grams(word_hashes(text), GRAM)
