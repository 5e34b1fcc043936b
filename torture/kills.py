"""Kills every stage with SIGKILL at its file-system operations, and runs it again.

    python -m torture.kills
    python -m torture.kills --only "train, resume" --most 1000 --seed 3

The changes of an uninterrupted run are listed first: files opened to be written, writes, renames, removals, folders,
fsyncs. Then the stage is killed, with the programs that it started, at one of them after the other; a write is torn in
its middle. After each kill

- an output that can be seen is the old or the new one, whole;
- the user's own files next to it, and in the folder for temporary files, are as they were;
- the same command, run again, ends with the bytes of an uninterrupted run (times apart) and leaves nothing else.
"""

import random
import sys

from codefit import cli
from torture import scenes, server, tables


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--most",
        type=cli.number(int, 1),
        default=125,
        help="maximum kills per scene; all operations if there are fewer",
    )
    tables.add_flags(parser)
    return parser


def chosen(changes: list[tuple[str, str]], most: int, seed: int) -> list[int]:
    """Return the numbers of the changes to kill at: first all that are no writes, then a sample of the writes."""
    numbers = list(range(1, len(changes) + 1))
    random.Random(seed).shuffle(numbers)
    numbers.sort(key=lambda number: changes[number - 1][0] in {"write", "fsync"})
    return sorted(numbers[:most])


def trial(stage: scenes.Stage, number: int) -> list[str]:
    """Kill at one change, and return what is wrong then or after the next run."""
    stage.reset()
    outcome = stage.run(server.Trap(number))
    found = stage.tree()
    wrong = [] if outcome.code == -9 or not outcome.trapped else [f"not killed, exit code {outcome.code}"]
    return wrong + stage.halves(found) + stage.harm(found) + stage.ends_right()


def kill(machine: server.Server, scene: scenes.Scene, most: int, seed: int) -> tables.Row:
    """Return the results of one scene."""
    stage, row = scenes.Stage(machine, scene), tables.Row(scene.name)
    if stage.faults_without_trap:
        row.add(stage.faults_without_trap, "an uninterrupted run")
    for number in chosen(stage.changes, most, seed):
        problems = list(dict.fromkeys(trial(stage, number)))
        call, path = stage.changes[number - 1]
        row.add(problems, f"change {number} of {len(stage.changes)}, {call} {path}")
    row.show()
    return row


def main() -> None:
    args = build_parser().parse_args()
    found = [scene for scene in scenes.all_scenes() if args.only in scene.name]
    machine = scenes.prepared(server.enter("torture.kills"), {scene.stage for scene in found})
    most = 4 if args.quick else args.most
    rows = [kill(machine, scene, most, args.seed) for scene in found]
    sys.exit(tables.finish(rows, "Killed", args.markdown))


if __name__ == "__main__":
    main()
