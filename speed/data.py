"""Stage 1 against what it replaces, on a git bundle: paired, in one run, with alternating repeats.

    python speed/data.py --bundle kotlin.bundle --language kotlin java --repeats 5

Three ways to the same files of one commit, each from the bundle to its end:

- `parse_data.py`: documents, rejections and manifest on the disk;
- worktree: `git clone` and every wanted file read by Python;
- bare: `git clone --bare` and the wanted blobs through `git cat-file --batch`, written nowhere. It makes nothing of
  them, and is as fast as it can be.

A ratio is the median of the ratios within a repeat, where all ways meet the same noise; the spread is its range.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from codefit import cli  # noqa: E402
from codefit.languages import LANGUAGES, language_of  # noqa: E402


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="git bundle with one branch")
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, default=["kotlin"], help="languages to read")
    parser.add_argument("--repeats", type=cli.number(int, 1), default=5, help="times that every way is gone")
    return parser


def git(*words: object, stdin: int | None = None) -> bytes:
    return subprocess.run(["git", *map(str, words)], stdin=stdin, capture_output=True, check=True).stdout


def wanted(path: str, languages: list[str]) -> bool:
    row = language_of(path)
    return row is not None and row.name in languages


def stage_1(folder: Path, args: argparse.Namespace) -> None:
    words = ["--repository", args.bundle, "--language", *args.language, "--output", folder / "raw.jsonl"]
    command = [sys.executable, str(ROOT / "parse_data.py"), *map(str, words)]
    subprocess.run(command, capture_output=True, check=True)


def worktree(folder: Path, args: argparse.Namespace) -> None:
    git("clone", "-q", "-b", args.branch, args.bundle, folder / "clone")
    for place, folders, files in os.walk(folder / "clone"):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            if wanted(name, args.language):
                Path(place, name).read_bytes()


def bare(folder: Path, args: argparse.Namespace) -> None:
    git("clone", "-q", "--bare", args.bundle, folder / "clone")
    lines = git("-C", folder / "clone", "ls-tree", "-r", "-z", args.branch).decode().split("\0")[:-1]
    rows = (line.partition("\t") for line in lines)
    ids = [facts.split()[2] for facts, _, path in rows if wanted(path, args.language)]
    (folder / "ids").write_text("".join(f"{blob}\n" for blob in ids))
    with (folder / "ids").open() as file:
        command = ["git", "-C", str(folder / "clone"), "cat-file", "--batch", "--buffer"]
        subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, check=True)


WAYS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "parse_data.py": stage_1,
    "worktree clone + read": worktree,
    "bare clone + cat-file": bare,
}


def measure(args: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of each way, a number a repeat; who begins changes from repeat to repeat."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for repeat in cli.progress(range(args.repeats), "repeats"):
        names = list(WAYS)[repeat % len(WAYS) :] + list(WAYS)[: repeat % len(WAYS)]
        for name in names:
            folder = Path(tempfile.mkdtemp(prefix="codefit-speed-"))
            began = time.perf_counter()
            WAYS[name](folder, args)
            seconds[name].append(time.perf_counter() - began)
            shutil.rmtree(folder)
    return seconds


def main() -> None:
    args = build_parser().parse_args()
    heads = git("bundle", "list-heads", args.bundle).decode().split()[1::2]
    args.branch = next(name for name in heads if name.startswith("refs/heads/")).removeprefix("refs/heads/")
    seconds = measure(args)
    rows = []
    for name, times in seconds.items():
        ratios = [other / own for other, own in zip(times, seconds["parse_data.py"], strict=True)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append([name, f"{statistics.median(times):.2f}", f"{statistics.median(ratios):.2f}", spread])
    print(cli.table(rows, ["way", "seconds", "times stage 1", "spread"]))


if __name__ == "__main__":
    cli.run(main)
