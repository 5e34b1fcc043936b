"""A corpus of Kotlin files that are all different, and what stage 2 writes of it."""

import json
import random

from codefit.records import SPLITS, Document, Pair, read_jsonl

HEADER = "/*\n * Copyright 2020 Somebody\n */\n\n"
VERBS = ("load", "store", "merge", "split", "count")
NOUNS = ("Tree", "Table", "Index", "Chart", "Frame", "Stream", "Packet", "Cursor")
NAMES = [f"{verb}{noun}" for verb in VERBS for noun in NOUNS]


def kotlin_file(seed):
    """A file of ten functions that no other seed gives."""
    chance = random.Random(seed)
    functions = []
    for number in range(10):
        names = [chance.choice(NAMES) for _ in range(6)]
        functions.append(
            f"fun {names[0]}{number}({names[1]}: Int, {names[2]}: String): Int {{\n"
            f"    val {names[3]} = {names[4]}({names[1]}, {names[2]}.length + {chance.randrange(1000)})\n"
            f"    return {names[3]} + {names[5]}()\n}}\n"
        )
    return "package demo\n\n" + "\n".join(functions)


def documents(count=60, repository="me/one", extra=()):
    files = [Document(HEADER + kotlin_file(n), f"src/d{n % 6}/File{n}.kt", repository) for n in range(count)]
    return [*files, *extra]


def near_copy(number, path, repository="me/one"):
    return Document(kotlin_file(number).replace("package demo", "package other"), path, repository)


EXTRA = [
    Document("val a = 1\n", "src/Short.kt", "me/one"),
    Document(HEADER + kotlin_file(3), "src/much/deeper/Copy.kt", "me/one"),
    Document(kotlin_file(100), "src/notes.txt", "me/one"),
    Document(kotlin_file(101), "src/d1/File1.kt", "me/one"),  # a path that is there already
    *(near_copy(n, f"src/much/deeper/Near{n}.kt") for n in range(0, 60, 2)),
]


def pairs_of(output):
    return {split: list(read_jsonl(output / f"{split}.jsonl", Pair)) for split in SPLITS}


def rejections(output):
    return [json.loads(line) for line in (output / "rejected.jsonl").read_text().splitlines()]


def manifest_of(output):
    return json.loads((output / "manifest.json").read_text())
