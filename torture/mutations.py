"""Damages every kind of file that the stages read, and runs the stages on it.

    python -m torture.mutations
    python -m torture.mutations --only adapter_config --number 5000 --seed 7
    python -m torture.mutations --only adapter_config --number 1 --first 17 --show

Each mutation goes through the stage itself in a child process. It ends well, or with exit code 1 and one sentence:
never with a traceback, never later than the time limit, never with 2 GB of memory, and without control characters on
the terminal. The damaged file is what it was afterwards, and nothing is left where the output would be.
"""

import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from codefit import cli
from torture import inputs, mutate, scenes, server, tables, trees

Command = tuple[str, list[str]]


@dataclass(frozen=True)
class Kind:
    """Files of one kind, and the commands that read them; paths are those of the folder of inputs.

    Args:
        copied: a folder of the inputs that is copied to the work folder for every trial; files are damaged there.
    """

    name: str
    files: tuple[str, ...]
    mutator: mutate.MUTATOR
    commands: tuple[Command, ...]
    copied: str = ""


def kinds() -> list[Kind]:
    """Return all kinds of files."""
    adapter = ["--hf_repository", "../inputs/adapter"]
    parse = ["--language", "kotlin", "--output", "out.jsonl", "--repository"]
    prepare = [*inputs.PREPARING, "--output", "out", "--input"]
    train = ("train", [*inputs.TRAINING, "--max_steps", "1", "--output_dir", "out"])
    merge, ask = ("merge_lora", [*adapter, "--output_dir", "out"]), ("benchmarking", [*adapter, *inputs.ASKING])
    ask[1].extend(("--output_dir", "out"))
    looked = [(stage, [*words, "--dry_run"]) for stage, words in (train, merge, ask)]
    of_model = (merge, ask, *looked)
    compare = ("benchmarking", ["--compare", "../inputs/benchmark", "../inputs/other", "--output_dir", "out"])
    scores = ("merge_lora", [*adapter, "--output_dir", "out", "--dry_run", "--scores", "../inputs/benchmark"])
    rescore = ("benchmarking", ["--rescore", "--output_dir", "../inputs/benchmark", "--dry_run"])
    predicted = ("predictions-base-heldout.jsonl", "predictions-adapted-heldout.jsonl", "baselines-heldout.jsonl")
    bleu = ("bleu", ["--input", "../inputs/benchmark/predictions-adapted-heldout.jsonl"])
    tokenizers = ("tokenizer.json", "tokenizer_config.json")
    prepared = ("preprocess_data", [*prepare, "../inputs/documents.jsonl"])
    return [
        Kind("documents, JSON Lines", ("documents.jsonl",), mutate.of_jsonl, (prepared,)),
        Kind(
            "documents, Parquet",
            ("documents.parquet",),
            mutate.of_bytes,
            (("preprocess_data", [*prepare, "../inputs/documents.parquet"]),),
        ),
        Kind(
            "pairs",
            ("pairs/train.jsonl", "pairs/validation.jsonl", "pairs/test.jsonl"),
            mutate.of_jsonl,
            (ask, looked[0], looked[2], looked[2]),
        ),
        Kind(
            "git bundle", ("bundled.bundle",), mutate.of_bytes, (("parse_data", [*parse, "../inputs/bundled.bundle"]),)
        ),
        Kind("tar", ("tarred.tar.gz",), mutate.of_gzip, (("parse_data", [*parse, "../inputs/tarred.tar.gz"]),)),
        Kind("zip", ("zipped.zip",), mutate.of_bytes, (("parse_data", [*parse, "../inputs/zipped.zip"]),)),
        Kind("adapter_config.json", ("adapter/adapter_config.json",), mutate.of_json, (merge, ask, *looked[1:])),
        Kind("config.json", ("base/config.json", "base/generation_config.json"), mutate.of_json, of_model),
        Kind(
            "tokenizer files",
            tuple(f"{folder}/{name}" for folder in ("base", "adapter") for name in tokenizers),
            mutate.of_json,
            (prepared, *looked, merge),
        ),
        Kind(
            "safetensors",
            ("base/model.safetensors", "adapter/adapter_model.safetensors"),
            mutate.of_safetensors,
            (merge, merge, ask, looked[0]),
        ),
        Kind("manifest", ("adapter/manifest.json", "pairs/manifest.json"), mutate.of_json, (ask, merge, *looked)),
        Kind(
            "scores", ("benchmark/scores.json", "benchmark/manifest.json"), mutate.of_json, (scores, compare, rescore)
        ),
        Kind(
            "predictions", tuple(f"benchmark/{name}" for name in predicted), mutate.of_jsonl, (rescore, compare, bleu)
        ),
        Kind("checkpoint records", ("*.json", "checkpoint-*/*.json", "*/*.json"), mutate.of_json, (train,), "stopped"),
    ]


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--number", type=cli.number(int, 1), default=1000, help="mutations per kind of file")
    parser.add_argument("--first", type=cli.number(int, 0), default=0, help="number of the first mutation")
    parser.add_argument("--limit", type=cli.number(int, 1), default=30, help="time limit of a stage in seconds")
    parser.add_argument("--show", action="store_true", help="print the output of each stage")
    tables.add_flags(parser)
    return parser


def add_stopped_training(machine: server.Server) -> None:
    """Add the files of a killed training run to the inputs."""
    words = [*inputs.TRAINING, "--max_steps", "1", "--output_dir", "out"]
    machine.run("train", words, log=True)
    changes = machine.changes()
    sealed = [n for n, (call, path) in enumerate(changes, 1) if call == "rename" and "complete.json" in path]
    clear(machine)
    machine.run("train", words, server.Trap((sealed or [len(changes) // 2])[-1] + 2))
    trees.copy(machine.trial / "work", machine.trial / "inputs" / "stopped")
    clear(machine)


def clear(machine: server.Server) -> None:
    """Empty the folders that a stage writes into."""
    for name in ("work", "tmp", "cache"):
        shutil.rmtree(machine.trial / name, ignore_errors=True)
        (machine.trial / name).mkdir()


def files_of(machine: server.Server, kind: Kind) -> list[str]:
    """Return the files of a kind that are there, as paths in the inputs."""
    folder = machine.trial / "inputs" / kind.copied
    found = [
        path
        for pattern in kind.files
        for path in sorted(folder.rglob(pattern) if kind.copied else folder.glob(pattern))
        if path.is_file()
    ]
    return [str(path.relative_to(folder)) for path in dict.fromkeys(found)]


def trial(machine: server.Server, kind: Kind, file: str, damaged: bytes, command: Command, show: bool) -> list[str]:
    """Run a stage on a damaged file, and return what is wrong with its outcome."""
    place = machine.trial / "inputs" / file
    if kind.copied:
        trees.copy(machine.trial / "inputs" / kind.copied, machine.trial / "work")
        place = machine.trial / "work" / file
    whole = place.read_bytes()
    place.write_bytes(damaged)
    outcome = machine.run(*command)
    wrong = [complaint] if (complaint := outcome.complaint()) else []
    if not kind.copied:
        wrong += ["the input was changed"] if place.read_bytes() != damaged else []
        place.write_bytes(whole)
        left = sorted(path.name for name in ("work", "tmp") for path in (machine.trial / name).iterdir())
        seen = [name for name in left if not name.startswith("out") or outcome.code]
        # A training leaves what the next run goes on with.
        if seen and not wrong and command[0] != "train":
            wrong.append(f"left over after exit {outcome.code}: {seen[0]}")
    if show:
        print(file, *command, outcome.code, outcome.stderr[-3000:], sep="\n")
    clear(machine)
    return wrong


def mutate_kind(machine: server.Server, kind: Kind, numbers: range, seed: int, show: bool) -> tables.Row:
    """Return what became of the mutations of one kind."""
    row, files = tables.Row(kind.name), files_of(machine, kind)
    for number in numbers:
        chance = random.Random(f"{seed}/{kind.name}/{number}")
        file, command = chance.choice(files), chance.choice(kind.commands)
        whole = (machine.trial / "inputs" / kind.copied / file).read_bytes()
        damaged = kind.mutator(whole, chance) if Path(file).suffix != ".jinja" else mutate.of_bytes(whole, chance)
        problems = trial(machine, kind, file, damaged, command, show)
        row.add(problems, f"--only {kind.name!r} --seed {seed} --first {number} --number 1: {file}, {command[0]}")
    row.show()
    return row


def main() -> None:
    args = build_parser().parse_args()
    found = [kind for kind in kinds() if args.only in kind.name]
    stages = {stage for kind in found for stage, _ in kind.commands}
    machine = scenes.prepared(server.enter("torture.mutations"), stages, args.limit)
    if stages - {"parse_data"}:
        trees.copy(machine.trial / "inputs" / "benchmark", machine.trial / "inputs" / "other")
        add_stopped_training(machine)
    number = 20 if args.quick else args.number
    rows = [mutate_kind(machine, kind, range(args.first, args.first + number), args.seed, args.show) for kind in found]
    sys.exit(tables.finish(rows, "Damaged", args.markdown))


if __name__ == "__main__":
    main()
