"""Stages 1 and 2 compared with alternatives, on a git bundle: paired, in one run, with alternating repeats.

    pip install langchain-text-splitters==1.1.3
    python -m speed.data --bundle kotlin.bundle --language kotlin --repeats 5

Three ways to the same files of one commit, each from the bundle to its end:

- `parse_data.py`: documents, rejections and manifest on the disk;
- worktree: `git clone` and every wanted file read by Python;
- bare: `git clone --bare` and the wanted blobs through `git cat-file --batch`, written nowhere. It makes nothing of
  them, and is as fast as it can be.

Then what stage 2 does with these documents, against the tokenising that it cannot do without:

- `preprocess_data.py`: the whole script with its defaults, from the start of Python to the data set on the disk;
- tokenising: `encode_batch` of the same texts, once, with all cores, and nothing else;
- `build_pairs`: the pairs of the documents alone, as stage 2 builds them;
- LangChain: its recursive splitter that counts tokens, with windows of the same size and step, from the tokenizer of
  Transformers as its documentation has it; and the same from the bare tokenizer, which is faster.

The splitter takes long, so `build_pairs` and it share a seeded sample of the documents. A ratio is the median of the
ratios within a repeat, where all ways meet the same noise; the spread is its range.
"""

import dataclasses
import functools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codefit import cli, console, records
from codefit.code.languages import LANGUAGES, language_of
from codefit.curation.curate import batched
from codefit.engine import Engine
from codefit.errors import UserError
from codefit.tasks.build import build_batch
from codefit.tasks.task import TaskOptions
from codefit.tasks.token_offsets import load_tokenizer

ROOT = Path(__file__).resolve().parent.parent

BASE = ROOT / "data" / "base"
LIMITS = TaskOptions(max_prompt_tokens=512, max_completion_tokens=64, window_step=128, max_pairs_per_file=40, seed=0)

Way = Callable[[Path], Any]


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="git bundle with one branch")
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=["kotlin"], help="languages to read")
    parser.add_argument("--repeats", type=cli.number(int, 1), default=5, help="repeats of every method")
    parser.add_argument(
        "--sample", type=cli.number(int, 1), default=500, help="number of documents that LangChain splits"
    )
    return parser


# ------------------------------------------------------------------------------------------- stage 1


def git(*words: object, stdin: Any = None) -> bytes:
    return subprocess.run(["git", *map(str, words)], stdin=stdin, capture_output=True, check=True).stdout


def script(name: str, *words: object) -> None:
    subprocess.run([sys.executable, str(ROOT / name), *map(str, words)], capture_output=True, check=True)


def wanted(path: str, languages: list[str]) -> bool:
    row = language_of(path)
    return row is not None and row.name in languages


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """A git bundle, its branch, and the languages that are read of it."""

    bundle: Path
    branch: str
    languages: list[str]


def stage_1(folder: Path, source: Source) -> None:
    output = folder / "raw.jsonl"
    script("parse_data.py", "--repository", source.bundle, "--language", *source.languages, "--output", output)


def worktree(folder: Path, source: Source) -> None:
    git("clone", "-q", "-b", source.branch, source.bundle, folder / "clone")
    for place, folders, files in os.walk(folder / "clone"):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            if wanted(name, source.languages):
                Path(place, name).read_bytes()


def bare(folder: Path, source: Source) -> None:
    git("clone", "-q", "--bare", source.bundle, folder / "clone")
    lines = git("-C", folder / "clone", "ls-tree", "-r", "-z", source.branch).decode().split("\0")[:-1]
    rows = (line.partition("\t") for line in lines)
    ids = [facts.split()[2] for facts, _, path in rows if wanted(path, source.languages)]
    (folder / "ids").write_text("".join(f"{blob}\n" for blob in ids))
    with (folder / "ids").open() as file:
        command = ["git", "-C", str(folder / "clone"), "cat-file", "--batch", "--buffer"]
        subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, check=True)


def sources(source: Source) -> dict[str, Way]:
    """Return the ways of stage 1, the own one first."""
    ways = {"parse_data.py": stage_1, "worktree clone + read": worktree, "bare clone + cat-file": bare}
    return {name: functools.partial(way, source=source) for name, way in ways.items()}


# ------------------------------------------------------------------------------------------- stage 2


def preprocess(raw: Path) -> dict[str, Way]:
    """Return the ways of the whole of stage 2, the own one first."""
    texts = [document.content for document in records.read_documents(str(raw))]
    tokenizer = load_tokenizer(str(BASE))
    return {
        "preprocess_data.py": lambda folder: script(
            "preprocess_data.py", "--input", raw, "--model_name_or_path", BASE, "--output", folder / "pairs"
        ),
        "encode_batch of the same text": lambda _: tokenizer.encode_batch(texts, add_special_tokens=False),
    }


def windows(raw: Path, sample: int) -> dict[str, Way]:
    """Return the ways to windows over files, the own one first."""
    try:
        from langchain_text_splitters import RecursiveCharacterTextSplitter
    except ImportError:
        raise UserError(
            "LangChain's splitter is not installed; run: pip install langchain-text-splitters==1.1.3"
        ) from None
    documents = list(records.read_documents(str(raw)))
    documents = random.Random(0).sample(documents, min(sample, len(documents)))
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(str(BASE))
    size = LIMITS.max_prompt_tokens + LIMITS.max_completion_tokens
    shape = {"chunk_size": size, "chunk_overlap": size - LIMITS.window_step}
    whole = AutoTokenizer.from_pretrained(BASE, model_max_length=sys.maxsize)  # it warns of every long text otherwise
    splitters = {
        "LangChain": RecursiveCharacterTextSplitter.from_huggingface_tokenizer(whole, **shape),
        "LangChain, bare tokenizer": RecursiveCharacterTextSplitter(
            length_function=lambda text: len(tokenizer.encode(text, add_special_tokens=False)), **shape
        ),
    }
    build = functools.partial(build_batch, task="completion", tokenizer=tokenizer, options=LIMITS)

    def split(_: Path, splitter: Any) -> None:
        for document in documents:
            splitter.split_text(document.content)

    peers = {name: functools.partial(split, splitter=splitter) for name, splitter in splitters.items()}
    return {"build_pairs": lambda _: list(Engine().run(build, batched(iter(documents)))), **peers}


# ------------------------------------------------------------------------------------------- both


def measure(ways: dict[str, Way], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each way, a number a repeat; who begins changes from repeat to repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in console.progress(range(repeats), "repeats"):
        names = list(ways)[repeat % len(ways) :] + list(ways)[: repeat % len(ways)]
        for name in names:
            folder = Path(tempfile.mkdtemp(prefix="codefit-speed-"))
            began = time.perf_counter()
            ways[name](folder)
            seconds[name].append(time.perf_counter() - began)
            shutil.rmtree(folder)
    return seconds


def report(title: str, seconds: dict[str, list[float]]) -> None:
    """Print the seconds of each way and its ratio to the first."""
    own = next(iter(seconds.values()))
    rows = []
    for name, times in seconds.items():
        ratios = [other / mine for other, mine in zip(times, own, strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append([name, f"{statistics.median(times):.2f}", f"{statistics.median(ratios):.2f}", spread])
    print(console.table(rows, [title, "seconds", f"times {next(iter(seconds))}", "spread"]) + "\n")


def main() -> None:
    args = build_parser().parse_args()
    heads = git("bundle", "list-heads", args.bundle).decode().split()[1::2]
    branch = next(name for name in heads if name.startswith("refs/heads/")).removeprefix("refs/heads/")
    source = Source(args.bundle, branch, args.language)
    report("stage 1", measure(sources(source), args.repeats))
    with tempfile.TemporaryDirectory(prefix="codefit-speed-") as folder:
        stage_1(Path(folder), source)
        raw = Path(folder) / "raw.jsonl"
        report("stage 2", measure(preprocess(raw), args.repeats))
        report("windows over files", measure(windows(raw, args.sample), args.repeats))


if __name__ == "__main__":
    cli.run(main)
