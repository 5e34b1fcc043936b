"""The format of CodeXGLUE's line completion: the rest of a line from the tokens before it, in Python and Java.

A row is `input` and `gt`, tokens with single spaces: `<s>` begins a file, `<EOL>` ends a line of Python, literals are
masked. A prompt is the tokens as text, with literals restored; Java has no line ends there, and the rest of a line goes
up to `;` or `}`, or before `{`. Since this is not source code, pairs have no language, and parsing is not checked.
Source of data and scores: github.com/microsoft/CodeXGLUE, Code-Code/CodeCompletion-line.
"""

from collections.abc import Sequence
from pathlib import Path

from codefit.errors import UserError
from codefit.evaluation.benchmarks.codexglue import similarity, with_literals
from codefit.evaluation.result_schema import ProfileScores
from codefit.records import Pair, read_rows
from codefit.scoring import metric

TITLE = "CodeXGLUE line completion"
NEW_TOKENS = 100  # as in CodeXGLUE's own code
FIELDS = ("input", "gt")


def load(path: Path) -> list[Pair]:
    """Return the rows of a file as pairs of task "line"; without an `id` a row is known by its number.

    Raises:
        UserError: the file is missing, or a row is broken.
    """
    pairs = []
    for number, (place, row) in enumerate(read_rows(path), 1):
        for field in FIELDS:
            if not isinstance(row.get(field), str):
                raise UserError(f'{place}: the field "{field}" must be text; rows need {" and ".join(FIELDS)}.')
        prompt = _text(row["input"].removeprefix("<s>").strip())
        goes_on = prompt and not prompt.endswith("\n")
        completion = with_literals(row["gt"]).strip()
        pairs.append(
            Pair(
                id=str(row.get("id", f"row {number}")),
                task="line",
                prompt=prompt,
                completion=f" {completion}" if goes_on else completion,
            )
        )
    return pairs


def _text(tokens: str) -> str:
    """Return tokens as text, the lines of Python as lines."""
    return "\n".join(line.strip(" ") for line in with_literals(tokens).split("<EOL>"))


def stop(pairs: Sequence[Pair]) -> str:
    """Return the stop condition: the end of the line, or of the statement where no prompt has lines (Java)."""
    return "line" if any("\n" in pair.prompt for pair in pairs) else "statement"


def scores(predictions: Sequence[str], references: Sequence[str]) -> ProfileScores:
    """Return edit similarity and exact match as CodeXGLUE's evaluator reports them.

    Edit similarity is the mean of integers, rounded half to even; white space counts in it, but not in exact match.
    """
    found, wanted = ([with_literals(text.strip()) for text in texts] for texts in (predictions, references))
    n = len(wanted)
    pairs = list(zip(found, wanted, strict=True))
    exact = sum(one.split() == other.split() for one, other in pairs)
    end = f"pp:codexglue-line|round:2|n:{n}|lib"
    library = metric.library("Levenshtein")
    return ProfileScores(
        {
            "edit_similarity": round(sum(similarity(*pair) for pair in pairs) / n, 2),
            "exact_match": round(100 * exact / n, 2),
        },
        n,
        {
            "edit_similarity": f"edit_similarity|sim:indel|item:integer-half-even|{end}:{library}",
            "exact_match": f"exact_match|tok:whitespace|{end}:none",
        },
    )
