"""The format of HumanEval-Infilling: functions of HumanEval with a gap of a line, several lines or a span.

A row is `task_id, prompt, suffix, canonical_solution`, in addition to `entry_point` and `test`. Predictions are
compared with the canonical solution. The tests are run only when that is asked for, since it runs what a model wrote
(evaluation/execution.py). Items of one function of HumanEval belong together in intervals.
Source of the format: github.com/openai/human-eval-infilling (arXiv 2207.14255).
"""

import re
from pathlib import Path

from codefit.errors import UserError
from codefit.records import Pair, read_rows

TITLE = "HumanEval infilling, compared with its solutions, no test is run"
TITLE_WITH_TESTS = "HumanEval infilling, its tests run"
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


def tests(path: Path) -> dict[str, str]:
    """Return by id of an item the code that tests its function.

    Raises:
        UserError: a row has no test.
    """
    found = {}
    for place, row in read_rows(path):
        if not (isinstance(row.get("test"), str) and str(row.get("entry_point")).isidentifier()):
            raise UserError(
                f'{place}: --execute needs the fields "test" and "entry_point"; take the file of '
                "openai/human-eval-infilling as it is, or leave out --execute."
            )
        found[str(row["task_id"])] = f"\n{row['test']}\ncheck({row['entry_point']})\n"
    return found
