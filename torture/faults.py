"""Makes a stage's file-system operations fail, one after the other.

    python -m torture.faults
    python -m torture.faults --only merge_lora --errors ENOSPC EIO --most 500

A full disk (ENOSPC) and a used-up quota (EDQUOT) fail every call that takes space from the chosen change on; EACCES and
EIO fail one call. The stage ends with exit code 1 and one sentence, or in success with the right output where it can do
without the call. An output that can be seen is the old or the new one, the user's own files are as they were, and the
same command, run again on a sound disk, ends with the bytes of an undisturbed run and leaves nothing else.
"""

import random
import sys

from codefit import cli
from torture import scenes, server, tables

FULL = ("ENOSPC", "EDQUOT")
WITHOUT_SPACE = {"unlink", "unlinkat", "rmdir", "fsync", "fdatasync", "rename", "renameat", "renameat2"}
ON_OPEN_FILES = {"write", "fsync", "fdatasync", "ftruncate", "ftruncate64", "sendfile", "copy_file_range"}
IMPOSSIBLE = {"ENOSPC": WITHOUT_SPACE, "EDQUOT": WITHOUT_SPACE, "EACCES": ON_OPEN_FILES}


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--errors", nargs="+", choices=server.ERRORS, default=list(server.ERRORS), help="the errors to inject")
    add("--most", type=cli.number(int, 1), default=6, help="maximum failures per scene and error")
    tables.add_flags(parser)
    return parser


def traps(changes: list[tuple[str, str]], error: str, most: int, seed: int) -> list[server.Trap]:
    """Return a sample of the places where an error can come."""
    full = error in FULL
    numbers = [n for n, (call, _) in enumerate(changes, 1) if call not in IMPOSSIBLE.get(error, ())]
    picked = sorted(random.Random(f"{seed}/{error}").sample(numbers, min(most, len(numbers))))
    action = server.FAIL_FROM_HERE_ON if full else server.FAIL_ONCE
    return [server.Trap(number, action, server.ERRORS[error]) for number in picked]


def trial(stage: scenes.Stage, trap: server.Trap) -> list[str]:
    """Let one change fail, and return what is wrong then or after the next run."""
    stage.reset()
    outcome = stage.run(trap)
    found = stage.tree()
    wrong = [complaint] if (complaint := outcome.complaint()) else []
    wrong += stage.halves(found) + stage.harm(found)
    if outcome.code == 0:
        wrong += [problem for problem in stage.differences(found) if not problem.startswith("the user's")]
    return wrong + stage.ends_right()


def fail(machine: server.Server, scene: scenes.Scene, errors: list[str], most: int, seed: int) -> tables.Row:
    """Return the results of one scene."""
    stage, row = scenes.Stage(machine, scene), tables.Row(scene.name)
    for error in errors:
        for trap in traps(stage.changes, error, most, seed):
            problems = list(dict.fromkeys(trial(stage, trap)))
            call, path = stage.changes[trap.number - 1]
            row.add(problems, f"{error} at change {trap.number} of {len(stage.changes)}, {call} {path}")
    row.show()
    return row


def main() -> None:
    args = build_parser().parse_args()
    found = [scene for scene in scenes.all_scenes() if args.only in scene.name]
    machine = scenes.prepared(server.enter("torture.faults"), {scene.stage for scene in found})
    most = 1 if args.quick else args.most
    rows = [fail(machine, scene, args.errors, most, args.seed) for scene in found]
    sys.exit(tables.finish(rows, "Failed calls", args.markdown))


if __name__ == "__main__":
    main()
