"""Benchmarks with made-up predictions, scored by `benchmarking.py --rescore`."""

import dataclasses
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import benchmarking
from codefit import records
from codefit.records import Prediction

NAMES = ("load", "store", "parse", "render", "merge", "split", "encode", "decode", "open", "close")
FILES, PER_FILE = 20, 5
SETTINGS = {
    "decode": "greedy",
    "stop": "eos",
    "new": "64",
    "prompt": "512",
    "by": "t",
    "dtype": "fp32",
    "device": "cpu",
}

Items = list[Prediction]


def line(chance: random.Random) -> str:
    """Return a line of code that no other prompt has."""
    one, other, third = (f"{chance.choice(NAMES)}_{chance.randrange(10**6)}" for _ in range(3))
    return f"{one} = {other}({third}, {chance.choice(NAMES)}={chance.randrange(99)})"


def asked(files: int = FILES, per_file: int = PER_FILE, seed: int = 0) -> Items:
    """Return prompts with their references, without predictions."""
    chance = random.Random(seed)
    return [
        Prediction(
            id=f"f{file}:{number}",
            prompt=f"import os\n\n# {line(chance)}\n# {line(chance)}\n",
            prediction="",
            reference=f"{line(chance)}\n",
            path=f"src/f{file}.py",
            repository="some/project",
            scores={"nats": 40.0 + chance.random(), "tokens": 20},
        )
        for file in range(files)
        for number in range(per_file)
    ]


def guess(item: Prediction, right: float, seed: str) -> Prediction:
    """Return an item whose prediction is its reference with a share of the characters garbled by seed."""
    chance = random.Random(f"{item.id} {seed}")
    letters = [letter if chance.random() < right else chance.choice("abcdefgh") for letter in item.reference[:-1]]
    return dataclasses.replace(item, prediction="".join(letters) + "\n")


def guesses(items: Sequence[Prediction], right: float, seed: str = "") -> Items:
    return [guess(item, right, seed) for item in items]


def replaced(items: Sequence[Prediction], write: Callable[[Prediction], str]) -> Items:
    return [dataclasses.replace(item, prediction=write(item)) for item in items]


def folder(
    path: Path, base: Items, adapted: Items, nearest: Sequence[str] = (), settings: tuple[dict[str, str], ...] = ()
) -> Path:
    """Write a finished benchmark of these predictions."""
    models = {key: {"name": key, "label": key, "role": key} for key in ("base", "adapted")}
    decoding = dict(zip(("base", "adapted"), settings or (SETTINGS, SETTINGS), strict=True))
    made = {
        "command": [],
        "arguments": {"seed": 0, "split": "test"},
        "versions": {},
        "models": models,
        "benchmarks": {"heldout": {"title": "held-out code", "decoding": decoding}},
        "toolkit_commit": None,
        "dataset": "data",
    }
    path.mkdir()
    (path / "manifest.json").write_text(json.dumps(made), encoding="utf-8")
    for key, items in (("base", base), ("adapted", adapted)):
        records.write_jsonl(path / f"predictions-{key}-heldout.jsonl", items)
    if nearest:
        rows = [
            {"id": item.id, "references": item.reference, "constant": "pass\n", "nearest": text}
            for item, text in zip(base, nearest, strict=True)
        ]
        records.write_jsonl(path / "baselines-heldout.jsonl", rows)
    return path


def rescored(path: Path, *flags: str) -> dict[str, str]:
    """Return the text before the score table, on one line, for each form of the report."""
    benchmarking.main(["--rescore", "--output_dir", str(path), *flags])
    page = (path / "report.html").read_text(encoding="utf-8").split('<p class="others">')[0].split("<h1>")[1]
    markdown = (path / "report.md").read_text(encoding="utf-8").split("\n|")[0]
    return {name: " ".join(text.split()) for name, text in (("html", page), ("markdown", markdown))}


ITEMS = asked()
BASE = guesses(ITEMS, 0.5)
GOOD = replaced(ITEMS, lambda item: re.sub(r"[a-z]+_[0-9]+", "x1", item.reference))  # parses, and is not exact
LOOK_UP = [item.prediction for item in guesses(ITEMS, 0.6, "look-up")]
