"""The prompts of benchmarks: named sets of pairs from a data set, CodeXGLUE, installed packages, or a file."""

import dataclasses
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from codefit import console, records
from codefit.errors import UserError
from codefit.evaluation import repository_files
from codefit.evaluation.benchmarks import codexglue, formats, heldout, installed_methods, pairs
from codefit.evaluation.benchmarks.formats import Format
from codefit.evaluation.settings import QuestionSettings
from codefit.manifest import Manifest
from codefit.records import DOCUMENTS, OVERLAP, Pair

FORGETTING = "forgetting"
EXAMPLE = 400  # characters of a prompt that a few-shot example contains
FILES = (".jsonl", ".json", ".jsonl.gz")  # CodeXGLUE's line completion is called test.json, and is JSONL
SPLITS = {"test": "held-out code", OVERLAP: "held-out code that resembles training code"}


@dataclasses.dataclass(frozen=True, slots=True)
class Questions:
    """The pairs of one benchmark.

    Attributes:
        name: its name.
        title: its name in the middle of a sentence.
        pairs: its prompts and references.
        new_tokens: limit of new tokens.
        format: the module of codefit/evaluation/benchmarks that read it.
        stop: a stop condition of codefit/generation/stopping.py; "" for that of the pairs' tasks.
        tests: by id of a pair the code that tests what was written; {} where nothing is run.
        documents: the files of the repositories that the pairs come from; None where they are not known.
    """

    name: str
    title: str
    pairs: Sequence[Pair]
    new_tokens: int
    format: Format = "pairs"
    stop: str = ""
    tests: Mapping[str, str] = dataclasses.field(default_factory=dict)
    documents: Path | None = None


def is_known(name: str) -> bool:
    """Return whether a word is a valid value of --benchmark."""
    return name == "heldout" or formats.named(name) is not None or name.endswith(FILES)


def load(asked: QuestionSettings, manifest: Manifest) -> list[Questions]:
    """Return the benchmarks in order, the forgetting check last; files that are read are recorded in the manifest.

    The test split of a data set includes its test_overlap. Where no data set or file of unrelated code is given, the
    forgetting check is the one that comes with the data set, if any.

    Raises:
        UserError: a benchmark cannot be found or read, or two have the same name.
    """
    found: list[Questions] = []
    dataset, new_tokens = asked.dataset, asked.max_new_tokens
    for name in dict.fromkeys(map(_available, asked.benchmarks)):
        if name == "heldout":
            found += _heldout(dataset, asked.split, new_tokens, manifest)
        elif form := formats.named(name):
            found.append(_named(form, asked, manifest))
        else:
            path = _existing(name)
            manifest.add_input(path)
            of_file = _of_file(path, new_tokens, asked.execute)
            found.append(dataclasses.replace(of_file, documents=_documents(path, manifest)))
    if asked.execute and not any(questions.tests for questions in found):
        raise UserError(
            "--execute runs the tests of HumanEval-Infilling, and no benchmark of this run has tests; name its file "
            "with --benchmark, or omit --execute."
        )
    if unrelated := _forgetting(asked.forgetting, dataset):
        manifest.add_input(unrelated)
        title = f"unrelated code ({Path(asked.forgetting or unrelated).name})"
        found.append(
            Questions(FORGETTING, title, pairs.load(unrelated), new_tokens, documents=_documents(unrelated, manifest))
        )
    taken = [questions.name for questions in found]
    if twice := [name for name in taken if taken.count(name) > 1]:
        raise UserError(f"two benchmarks are called {twice[0]}; rename one of the files.")
    return found


def _available(name: str) -> str:
    """Return the name of a benchmark; that of functions of installed packages where CodeXGLUE's is not to be had."""
    if name != "codexglue":
        return name
    try:
        codexglue.test_file()
    except UserError as missing:
        console.show(f"note: {missing} Until then, functions of installed packages are asked (installed_methods)")
        return "installed_methods"
    return name


def _named(form: Format, asked: QuestionSettings, manifest: Manifest) -> Questions:
    """Return the benchmark of a name; its checksum is printed, and recorded in the manifest."""
    module = formats.module(form)
    path = codexglue.test_file() if form == "codexglue" else installed_methods.make(_training_files(asked))
    manifest.add_input(path)
    digest = manifest.content["inputs"][str(path)]
    console.show(f"{form}: {path}, sha256 {digest}")
    title = module.TITLE if form == "codexglue" else f"{module.TITLE} (sha256 {digest[:12]})"
    return _questions(form, title, form, module.load(path), asked.max_new_tokens)


def _training_files(asked: QuestionSettings) -> list[Path]:
    """Return the files that the models were trained on, as far as they are on this machine, with a note on others."""
    files = [Path(name) / "train.jsonl" for name in dict.fromkeys((asked.dataset, *asked.trained_on))]
    for file in files:
        if not file.is_file():
            console.show(f"note: {file} is not on this machine, so what it contains is not left out")
    return [file for file in files if file.is_file()]


def _of_file(path: Path, new_tokens: int, execute: bool) -> Questions:
    """Return the benchmark in a file, whose format is detected, with its tests if they are to be run."""
    form = formats.format_of(path)
    module = formats.module(form)
    tests = module.tests(path) if execute and hasattr(module, "tests") else {}
    title = path.name if form == "pairs" else f"{module.TITLE_WITH_TESTS if tests else module.TITLE} ({path.name})"
    found = _questions(_name(path), title, form, module.load(path), new_tokens)
    return dataclasses.replace(found, tests=tests)


def _questions(name: str, title: str, form: Format, asked: list[Pair], new_tokens: int) -> Questions:
    """Return a benchmark with the limit and stop condition that its module sets."""
    module = formats.module(form)
    stop = module.stop(asked) if hasattr(module, "stop") else ""
    return Questions(name, title, asked, getattr(module, "NEW_TOKENS", new_tokens), form, stop)


def _heldout(dataset: str, split: str, new_tokens: int, manifest: Manifest) -> list[Questions]:
    folder = records.dataset_folder(dataset)
    overlap = folder / f"{OVERLAP}.jsonl"
    splits = [split, OVERLAP] if split == "test" and overlap.is_file() and overlap.stat().st_size else [split]
    found = []
    for name in splits:
        asked = heldout.load(folder, name)
        manifest.add_input(folder / f"{name}.jsonl")
        title = SPLITS.get(name, f"the {name} split")
        label = name if name == OVERLAP else "heldout"
        documents = _documents(folder / f"{name}.jsonl", manifest)
        found.append(Questions(label, title, asked, new_tokens, documents=documents))
    if documents is None:
        console.show(f"note: {folder} has no {DOCUMENTS}, so internal names are not measured; prepare it again")
    return found


def _documents(pairs: Path, manifest: Manifest) -> Path | None:
    """Return where the files of the repositories of a file of pairs are, if known, and record it in the manifest."""
    documents = repository_files.path_of(pairs)
    if documents:
        manifest.add_input(documents)
    return documents


def _existing(name: str) -> Path:
    if not Path(name).is_file():
        raise UserError(f"cannot read {name}: the file does not exist; check the path.")
    return Path(name)


def _name(path: Path) -> str:
    """Return the name of a file's benchmark: its stem, in characters that any file system accepts."""
    return re.sub(r"[^\w.-]+", "_", Path(path.name.removesuffix(".gz")).stem)


def _forgetting(source: str | None, dataset: str) -> Path | None:
    """Return the file of the forgetting check; for a data set that is its test split."""
    if source is None:
        carried = Path(dataset) / f"{FORGETTING}.jsonl"
        return carried if carried.is_file() else None
    if source.endswith(".jsonl"):
        return _existing(source)
    path = records.dataset_folder(source) / "test.jsonl"
    if not path.is_file():
        raise UserError(f"{source} has no test.jsonl to check forgetting on; name a JSONL file of pairs instead.")
    return path


def draw(questions: Questions, sample: int, seed: int) -> Questions:
    """Return a seeded sample in the order of the benchmark, and print its size; 0 means all."""
    total = len(questions.pairs)
    if not 0 < sample < total:
        console.show(f"{questions.name}: all {console.counted(total, 'prompt')}")
        return questions
    console.show(f"{questions.name}: a sample of {sample} of {total} prompts")
    drawn = sorted(random.Random(seed).sample(range(total), sample))
    return dataclasses.replace(questions, pairs=[questions.pairs[index] for index in drawn])


def with_examples(asked: Questions, examples: Sequence[Pair]) -> Questions:
    """Return the benchmark with the same few-shot examples before every prompt.

    An example is the end of its prompt and its completion, followed by a blank line. Prompts that are too long lose
    the first examples, since prompts are cut on the left.
    """
    shown = "".join(f"{_tail(pair.prompt)}{pair.completion.rstrip()}\n\n" for pair in examples)
    longer = [dataclasses.replace(pair, prompt=shown + pair.prompt) for pair in asked.pairs]
    return dataclasses.replace(asked, pairs=longer)


def _tail(prompt: str) -> str:
    """Return the last lines of a prompt, about EXAMPLE characters of them."""
    tail = prompt[-EXAMPLE:]
    return tail.partition("\n")[2] if len(prompt) > EXAMPLE and "\n" in tail else tail
