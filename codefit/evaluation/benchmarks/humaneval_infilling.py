"""The format of HumanEval-Infilling: functions of HumanEval with a gap of a line, several lines or a span.

A row is `task_id, prompt, suffix, canonical_solution`, in addition to `entry_point` and `test`. The tests are never
run, since that would run what a model wrote: predictions are compared with the canonical solution, so no number is the
pass@k of the papers. Items of one function of HumanEval belong together in intervals.
Source of the format: github.com/openai/human-eval-infilling (arXiv 2207.14255).
"""

import re
from pathlib import Path

from codefit.errors import UserError
from codefit.records import Pair, read_rows

TITLE = "HumanEval infilling, compared with its solutions, no test is run"
NEW_TOKENS = 256  # a gap can be most of a function
FIELDS = ("task_id", "prompt", "suffix", "canonical_solution")
FUNCTION = re.compile(r"HumanEval/\d+")


def load(path: Path) -> list[Pair]:
    """Return the items of a file as pairs of task "infill".

    Raises:
        UserError: the file is missing, or a row is broken.
    """
    pairs = []
    for place, row in read_rows(path):
        for field in FIELDS:
            if not isinstance(row.get(field), str):
                raise UserError(f'{place}: the field "{field}" must be text; rows need {", ".join(FIELDS)}.')
        function = FUNCTION.search(row["task_id"])
        pairs.append(
            Pair(
                id=row["task_id"],
                task="infill",
                prompt=row["prompt"],
                completion=row["canonical_solution"],
                suffix=row["suffix"],
                path=function[0] if function else row["task_id"],
                language="python",
            )
        )
    return pairs
