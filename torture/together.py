"""Starts two runs on one output at the same time, with random offsets.

    python -m torture.together
    python -m torture.together --pairs 200 --only train --seed 4

Half of the pairs run the same command twice, the others two commands that differ in their result. Each of the two ends
in success or with exit code 1 and one sentence, at least one in success unless the output was there already; what lies
there afterwards is what one of them makes alone, and nothing else.
"""

import random
import sys
import time

from codefit import cli
from torture import scenes, server, tables, trees


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--pairs", type=cli.number(int, 1), default=10, help="pairs of runs per scene")
    tables.add_flags(parser)
    return parser


class Pair:
    """Two commands on one output, and what each makes of it alone."""

    def __init__(self, machine: server.Server, scene: scenes.Scene, other: tuple[str, ...]) -> None:
        self.machine, self.scene = machine, scene
        self.commands = [scene.words, other]
        self.stage = scenes.Stage(machine, scene)
        self.results = [self.alone(words) for words in self.commands]

    def alone(self, words: tuple[str, ...]) -> trees.Tree:
        """Return what lies there after one of the commands."""
        self.stage.reset()
        started = time.monotonic()
        outcome = self.machine.run(self.scene.stage, self.stage.words_of(words))
        self.seconds = time.monotonic() - started
        if outcome.code != 0:
            raise RuntimeError(f"{self.scene.name} fails alone: {outcome.stderr}")
        return self.stage.tree()

    def together(self, same: bool, offset: float) -> list[str]:
        """Start both, the second later by an offset in seconds, and return what is wrong with their ends."""
        self.stage.reset()
        folder = self.machine.trial.parent
        said = [[folder / f"{name}{n}" for name in ("stdout", "stderr")] for n in (1, 2)]
        second = self.commands[0 if same else 1]
        children = [self.machine.start(self.scene.stage, self.stage.words_of(self.commands[0]), said=said[0])]
        time.sleep(offset)
        children.append(self.machine.start(self.scene.stage, self.stage.words_of(second), said=said[1]))
        ends = [self.machine.wait(child, texts) for child, texts in zip(children, said, strict=True)]
        return self.judged(ends, self.results[:1] if same else self.results)

    def judged(self, ends: list[server.Outcome], results: list[trees.Tree]) -> list[str]:
        """Return what is wrong with the ends of two runs and with what they left."""
        wrong = [complaint for end in ends if (complaint := end.complaint())]
        if all(end.code for end in ends):
            wrong.append(f"neither run succeeded: {ends[0].stderr[-150:].strip()}")
        found = self.stage.tree()
        if found not in results:
            parts = [min((_unlike(found, result) for result in results), key=len)]
            wrong.append(f"what lies there is of neither run: {', '.join(parts[0][:3])}")
        return wrong + self.stage.harm(found)


def _unlike(found: trees.Tree, result: trees.Tree) -> list[str]:
    return sorted(path for path in {*found, *result} if found.get(path) != result.get(path))


def others(scene: scenes.Scene) -> tuple[str, ...]:
    """Return a command on the same output with another result."""
    if scene.stage == "parse_data":
        return (*scene.words, "--min_bytes", "1010")
    if scene.stage == "merge_lora":
        return (*scene.words, "--max_shard_size", "1MB")
    return (*scene.words, "--seed", "5")


def run(machine: server.Server, scene: scenes.Scene, pairs: int, seed: int) -> tables.Row:
    """Return the results of the pairs of one scene."""
    pair, row, chance = Pair(machine, scene, others(scene)), tables.Row(scene.name), random.Random(seed)
    for number in range(pairs):
        offset = chance.random() ** 2 * pair.seconds * 1.2
        same = number % 2 == 0
        problems = list(dict.fromkeys(pair.together(same, offset)))
        row.add(problems, f"pair {number}, {'the same' if same else 'another'} command {offset:.3f} s later")
    row.show()
    return row


def main() -> None:
    args = build_parser().parse_args()
    found = [scene for scene in scenes.all_scenes() if args.only in scene.name and not scene.stopped]
    machine = scenes.prepared(server.enter("torture.together"), {scene.stage for scene in found})
    rows = [run(machine, scene, 2 if args.quick else args.pairs, args.seed) for scene in found]
    sys.exit(tables.finish(rows, "Two at once", args.markdown))


if __name__ == "__main__":
    main()
