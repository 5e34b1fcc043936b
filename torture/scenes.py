"""The scenes: every stage as a first run, over a finished output, and continuing a stopped run."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torture import inputs, server, trees

HALF = 0.6  # of the changes of a training, after which it is stopped to be continued


@dataclass(frozen=True)
class Group:
    """Paths that are one output: the first of them shows that it is there, the last says what all of them are."""

    names: tuple[str, ...]

    def neighbours(self) -> list[str]:
        """Return names that a user may have next to the output, and that look like a tool's own."""
        first = Path(self.names[0])
        return [f"{first}.{word}" for word in ("old", "partial", "lock", "bak")] + [f"{first.stem}-2"]


@dataclass(frozen=True)
class Scene:
    """One command on one state of the work folder.

    Args:
        before: the command that made the output that is replaced; None for a first run.
        stopped: whether a run was killed on its way, so that the command goes on from there.
    """

    name: str
    stage: str
    words: tuple[str, ...]
    groups: tuple[Group, ...]
    before: tuple[str, ...] | None = None
    stopped: bool = False


def _documents(name: str) -> Group:
    return Group((name, f"{name}.rejected.jsonl", f"{name}.manifest.json"))


def _pair(name: str, stage: str, words: list[str], other: list[str], *groups: Group) -> list[Scene]:
    """Return a first run, and the same over what another command made."""
    replacing = (*words, "--overwrite")
    return [
        Scene(f"{name}, first run", stage, tuple(words), groups),
        Scene(f"{name}, --overwrite", stage, replacing, groups, (*words, *other)),
    ]


def all_scenes() -> list[Scene]:
    """Return the scenes of all stages."""
    read = ["--language", "kotlin", "--repository", "../inputs/bundled.bundle", "../inputs/tarred.tar.gz"]
    fetch = ["--language", "kotlin", "--repository", "file://{inputs}/bundled.git", "../inputs/zipped.zip"]
    make = ["--input", "../inputs/documents.jsonl", *inputs.PREPARING]
    adapter = ["--hf_repository", "../inputs/adapter"]
    train = [*inputs.TRAINING, "--output_dir", "adapter"]
    whole = [*inputs.TRAINING[:-2], "--full_finetuning", "--max_steps", "2"]
    merge = [*adapter, "--output_dir", "merged", "--gguf"]
    ask = [*adapter, *inputs.ASKING, "--output_dir", "benchmark"]
    new = ["--from_scratch", "--vocab_size", "300", "--hidden_size", "16", "--num_hidden_layers", "1"]
    new += ["--num_attention_heads", "2", "--intermediate_size", "16", "--dataset", "../inputs/whole"]
    new += ["--max_length", "128", "--max_steps", "2", "--save_steps", "1", "--eval_predictions", "0"]
    fine = ["--gguf", "f16", "--max_shard_size", "1MB"]
    scenes = [
        *_pair(
            "parse_data to JSON Lines",
            "parse_data",
            [*read, "--output", "raw.jsonl"],
            ["--min_bytes", "1010"],
            _documents("raw.jsonl"),
        ),
        *_pair(
            "parse_data to Parquet",
            "parse_data",
            [*read, "--output", "raw.parquet"],
            ["--min_bytes", "1010"],
            _documents("raw.parquet"),
        ),
        *_pair(
            "parse_data of a URL",
            "parse_data",
            [*fetch, "--output", "web.jsonl"],
            ["--min_bytes", "1010"],
            _documents("web.jsonl"),
        ),
        *_pair("preprocess_data", "preprocess_data", [*make, "--output", "pairs"], ["--seed", "5"], Group(("pairs",))),
        *_pair("train", "train", train, ["--seed", "5"], Group(("adapter",))),
        Scene("train, resume", "train", tuple(train), (Group(("adapter",)),), stopped=True),
        *_pair("train --full_finetuning", "train", [*whole, "--output_dir", "full"], ["--seed", "5"], Group(("full",))),
        *_pair("train --from_scratch", "train", [*new, "--output_dir", "model"], ["--seed", "5"], Group(("model",))),
        *_pair("merge_lora --gguf", "merge_lora", merge, fine, Group(("merged",)), Group(("merged-gguf",))),
        *_pair("benchmarking", "benchmarking", ask, ["--seed", "5"], Group(("benchmark",))),
        Scene(
            "benchmarking --rescore",
            "benchmarking",
            ("--rescore", "--output_dir", "benchmark"),
            (Group(("benchmark",)),),
            tuple(ask),
        ),
    ]
    return scenes


class Stage:
    """A scene that is set up: what lies there before, and what has to lie there after it.

    Args:
        machine: the warm process.
    """

    def __init__(self, machine: server.Server, scene: Scene) -> None:
        self.machine, self.scene = machine, scene
        self.saved = machine.trial.with_name("before")
        shutil.rmtree(self.saved, ignore_errors=True)
        self._clear()
        if scene.before:
            self._made(self.words_of(scene.before))
        self._add_neighbours()
        self._save()
        self.old = trees.tree(self.saved)
        self.users = {path: what for path, what in self.old.items() if not trees.part({path: what}, self._all_names())}
        self.first = self.run(log=True)
        self.changes = machine.changes()
        after = trees.tree(machine.trial)
        self.new = trees.part(after, self._all_names())
        self.expected = {**self.users, **self.new}
        self.faults_without_trap = self.differences(after) if self.first.code == 0 else [self._failed(self.first)]
        if scene.stopped:
            self._stop_on_the_way()

    def _stop_on_the_way(self) -> None:
        self.reset()
        self.run(server.Trap(int(len(self.changes) * HALF)))
        self._save()
        self.run(log=True)
        self.changes = self.machine.changes()

    def _all_names(self) -> tuple[str, ...]:
        return tuple(f"work/{name}" for group in self.scene.groups for name in group.names)

    def _add_neighbours(self) -> None:
        temporary = self.machine.trial / "tmp"
        places = [self.machine.trial / "work" / name for group in self.scene.groups for name in group.neighbours()]
        for path in [*places, temporary / "codefit-thesis.lock", temporary / "codefit-thesis" / "chapter"]:
            path.parent.mkdir(exist_ok=True)
            if path.suffix in {".old", ".bak"}:
                path.mkdir()
                path /= "notes.txt"
            path.write_text(f"the user's own: {path.name}\n")

    def _clear(self) -> None:
        for name in ("work", "tmp", "cache"):
            shutil.rmtree(self.machine.trial / name, ignore_errors=True)
            (self.machine.trial / name).mkdir()

    def _made(self, words: list[str]) -> None:
        outcome = self.machine.run(self.scene.stage, words)
        if outcome.code != 0:
            raise RuntimeError(f"{self.scene.name}: the output that is replaced cannot be made: {outcome.stderr}")
        shutil.rmtree(self.machine.trial / "cache")
        shutil.rmtree(self.machine.trial / "tmp")
        (self.machine.trial / "cache").mkdir()
        (self.machine.trial / "tmp").mkdir()

    def _save(self) -> None:
        for name in ("work", "tmp", "cache"):
            trees.copy(self.machine.trial / name, self.saved / name)

    def reset(self) -> None:
        """Restore the folders to their state before the first run."""
        for name in ("work", "tmp", "cache"):
            trees.copy(self.saved / name, self.machine.trial / name)

    def run(self, trap: server.Trap | None = None, **more: bool) -> server.Outcome:
        """Run the command of the scene."""
        return self.machine.run(self.scene.stage, self.words_of(self.scene.words), trap, **more)

    def words_of(self, words: tuple[str, ...]) -> list[str]:
        """Return the words of a command with the place of the inputs filled in."""
        return [word.replace("{inputs}", str(self.machine.trial / "inputs")) for word in words]

    # ------------------------------------------------------------------------------------------ what is checked

    def tree(self) -> trees.Tree:
        """Return what lies in the folders of the trial now, without the inputs and the predictions that are kept."""
        found = trees.tree(self.machine.trial)
        return {
            path: what
            for path, what in found.items()
            if path.startswith(("work/", "tmp/")) and not trees.is_probe_of_python(path, what)
        }

    def harm(self, found: trees.Tree) -> list[str]:
        """Return which of the user's files were changed or removed."""
        return [
            f"the user's {path} was changed"
            for path, what in self.users.items()
            if found.get(path) != what and path.startswith(("work/", "tmp/"))
        ]

    def halves(self, found: trees.Tree) -> list[str]:
        """Return which visible outputs are neither the old nor the new one."""
        wrong = []
        for group in self.scene.groups:
            names = tuple(f"work/{name}" for name in group.names)
            seen, old, new = (trees.part(tree, names) for tree in (found, self.old, self.new))
            if names[0] not in found and names[0] not in old:
                continue  # nothing is shown yet
            if len(names) > 1 and names[-1] not in found:  # without a manifest a file claims nothing but to be whole
                seen, old, new = (trees.part(tree, names[:1]) for tree in (seen, old, new))
            if seen not in (old, new):
                what = "is gone" if names[0] not in found else "is neither the old nor the new one"
                parts = [path for path in {*seen, *new} if seen.get(path) != new.get(path)]
                wrong.append(f"{group.names[0]} {what} ({', '.join(sorted(parts)[:3])})")
        return wrong

    def differences(self, found: trees.Tree) -> list[str]:
        """Return how the folders differ from those after an uninterrupted run."""
        expected = {path: what for path, what in self.expected.items() if path.startswith(("work/", "tmp/"))}
        found = {path: what for path, what in found.items() if path.startswith(("work/", "tmp/"))}
        left = sorted(path for path in found if path not in expected)
        other = sorted(
            path
            for path in trees.part(found, self._all_names())
            if found[path] != expected.get(path) and path in expected
        )
        missing = sorted(path for path in expected if path not in found and path not in self.users)
        wrong = [f"left over: {left[0]}"] if left else []
        wrong += [f"not the bytes of an uninterrupted run: {', '.join(other[:3])}"] if other else []
        return wrong + ([f"missing: {missing[0]}"] if missing else []) + self.harm(found)

    def _failed(self, outcome: server.Outcome) -> str:
        return f"exit {outcome.code}: {outcome.stderr.strip()[-200:]}"

    def ends_right(self) -> list[str]:
        """Run the command again, and return what is wrong with its end and with what lies there then."""
        outcome = self.run()
        complete = all(f"work/{group.names[0]}" in self.tree() for group in self.scene.groups)
        refused = complete and outcome.code == 1 and "already exists" in outcome.stderr
        wrong = [] if outcome.code == 0 or refused else [f"the next run: {self._failed(outcome)}"]
        if complaint := outcome.complaint():
            wrong.append(f"the next run: {complaint}")
        return wrong + self.differences(self.tree())


def prepared(folder: Path, stages: set[str], limit: float = 60) -> server.Server:
    """Return a warm process with the inputs of some stages in place."""
    only_reads = stages <= {"parse_data"}
    machine = server.Server(folder, limit, stages if only_reads else server.STAGES)
    place = machine.trial / "inputs"
    for name in ("inputs", "work", "tmp", "cache"):
        (machine.trial / name).mkdir(parents=True)
    inputs.sources(place)
    if only_reads:
        return machine
    inputs.documents(place)
    inputs.base(place)
    for name, _ in inputs.stages("").items():
        stage, words = inputs.stages(f"../inputs/{name}")[name]
        outcome = machine.warm(stage, words)
        if outcome.code != 0:
            raise RuntimeError(f"{name} cannot be made: {outcome.stderr}")
    return machine
