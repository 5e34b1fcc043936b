"""A custom benchmark: any JSONL file of pairs.

A row needs `prompt` and `completion`; the other fields of a pair are optional. Without an `id` the row number is used.
"""

import dataclasses
from pathlib import Path

from codefit.errors import UserError
from codefit.records import Pair, from_row, read_rows


def load(path: Path) -> list[Pair]:
    """Return the pairs of a JSONL file.

    Raises:
        UserError: the file is missing or has no pairs, or a row is broken.
    """
    fields = {field.name: field for field in dataclasses.fields(Pair)}
    found = []
    for number, (place, row) in enumerate(read_rows(path), 1):
        found.append(from_row(Pair, fields, {"id": f"row {number}", "task": "completion", **row}, place))
    if not found:
        raise UserError(f"{path} has no pairs; add rows with a prompt and a completion.")
    return found
