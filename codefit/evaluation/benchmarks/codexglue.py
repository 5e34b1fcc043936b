"""CodeXGLUE Method-Generation for Python: 20,000 methods to write from their signature and docstring.

Here are both the pairs and the two scores of its leaderboard. The data masks literals (`<NUM_LIT>`, `<STR_LIT:x>`) and
writes line ends and indentation as `<EOL>`, `<INDENT>` and `<DEDENT>`. Prompts and references are turned back into
source code, because that is what a model reads and writes. CodeXGLUE's scores do not change by that, since
`post_process` makes the same text of a masked body and of its source.
Source of data and scores: github.com/microsoft/CodeXGLUE, Code-Code/Method-Generation.
"""

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import Levenshtein

from codefit import hub_names
from codefit.errors import UserError, first_line
from codefit.evaluation.result_schema import ProfileScores
from codefit.manifest import ROOT
from codefit.records import Pair, read_rows
from codefit.scoring import metric

TITLE = "CodeXGLUE method generation"
NEW_TOKENS = 256  # a method is longer than a completion; CodeXGLUE's own code stops at 256
LOCAL = ROOT / "data" / "test_codexglue.jsonl"
DATASET = "microsoft/codexglue_method_generation"
REVISION = "2d6d185183689dd19e0116dd8e3c11a9fed0ba42"  # dev and test were replaced in October 2021
FIELDS = ("signature", "body", "docstring", "id")
LITERAL = re.compile(r"<(?:STR|NUM|CHAR)_LIT:(.*?)>", re.DOTALL)
UNNAMED = {"<NUM_LIT>": "0", "<STR_LIT>": "", "<CHAR_LIT>": ""}
INDENT = "    "


# ------------------------------------------------------------------------------------------------ pairs


def test_file() -> Path:
    """Return the test set: data/test_codexglue.jsonl of this toolkit if it is there, else the Hub's at REVISION.

    Raises:
        UserError: there is no such file, and it cannot be downloaded.
    """
    if LOCAL.is_file():
        return LOCAL
    from huggingface_hub import hf_hub_download

    hub_names.reach_for(DATASET)
    try:
        return Path(hf_hub_download(DATASET, "test.jsonl", repo_type="dataset", revision=REVISION))
    except Exception as error:  # the client raises a dozen unrelated types here
        reason = first_line(error)
        raise UserError(
            f"the CodeXGLUE test set is not available: {LOCAL} is missing and loading {DATASET} from the Hub failed "
            f"({reason}); save its test.jsonl under that name, or connect to the Hub."
        ) from None


def load(path: Path) -> list[Pair]:
    """Return the rows {signature, body, docstring, id} of a JSONL file as pairs of task "method".

    A pair's prompt is the signature, and below it the docstring, indented and in quotes, up to the line end; its
    completion is the body, indented. Its path is the file's part of the id (`f19` of `f19:c4:m1`), so that methods of
    one file are known to belong together.

    Raises:
        UserError: the file is missing, a row is broken, or there are no rows.
    """
    pairs = [_pair(row, place) for place, row in read_rows(path)]
    if not pairs:
        raise UserError(f"{path} has no rows; put CodeXGLUE's test.jsonl there.")
    return pairs


def _pair(row: dict[str, Any], place: str) -> Pair:
    for field in FIELDS:
        if not isinstance(row.get(field), str):
            raise UserError(f'{place}: the field "{field}" must be text; rows need {", ".join(FIELDS)}.')
    return Pair(
        id=row["id"],
        task="method",
        prompt=prompt(row["signature"], row["docstring"]),
        completion=restore(row["body"], depth=1).rstrip(),
        path=row["id"].split(":")[0],
        language="python",
    )


def prompt(signature: str, docstring: str) -> str:
    """Return the source that a model continues: the signature, and below it the docstring, indented and in quotes."""
    head = restore(signature).strip().replace("U+0020", " ").replace("U+002C", ",")  # how literals hide two characters
    lines = inspect.cleandoc(docstring).splitlines() or [""]
    lines = [f'"""{lines[0]}', *lines[1:]]
    return "\n".join([head, *((INDENT + line).rstrip() for line in lines)]) + '"""\n'


def restore(code: str, depth: int = 0) -> str:
    """Return normalised code as Python source, indented from `depth` levels on; a masked literal becomes 0 or empty."""
    lines = []
    for line in with_literals(code).split("<EOL>"):
        depth += line.count("<INDENT>") - line.count("<DEDENT>")
        lines.append((INDENT * depth + _without_marks(line).strip()).rstrip())
    return "\n".join(lines)


def _without_marks(code: str) -> str:
    return code.replace("<INDENT>", " ").replace("<DEDENT>", " ")


def with_literals(code: str) -> str:
    """Return code with its masked literals restored: 0 or empty where only the mask is known."""
    for mask, literal in UNNAMED.items():
        code = code.replace(mask, literal)
    for named in list(LITERAL.finditer(code)):
        code = code.replace(named[0], named[1])
    return code


# ------------------------------------------------------------------------------------------------ scores


def post_process(code: str) -> str:
    """Return code as CodeXGLUE compares it: literals restored, everything on one line with single spaces."""
    return " ".join(with_literals(_without_marks(code.replace("<EOL>", "\n"))).split())


def scores(predictions: Sequence[str], references: Sequence[str]) -> ProfileScores:
    """Return edit similarity and BLEU as CodeXGLUE reports them.

    Its evaluator post-processes both sides for edit similarity only; BLEU counts the words of the lines as they are.
    Edit similarity is the mean of integers: each item is rounded half to even, as its evaluator does where
    python-Levenshtein is installed. Without that it falls back on difflib, whose numbers are others (27.98 for 37.53
    on its own sample).
    """
    from codefit.scoring.bleu import BLEU

    found = [post_process(prediction.strip()) for prediction in predictions]
    wanted = [post_process(reference.strip()) for reference in references]
    n = len(wanted)
    values = {
        "edit_similarity": round(sum(map(similarity, found, wanted)) / n, 2),
        "bleu": round(BLEU.score(predictions, references), 2),
    }
    return ProfileScores(values, n, _signatures(n))


def similarity(found: str, wanted: str) -> int:
    """Return the edit similarity of two texts as CodeXGLUE rounds it."""
    return round(100 * Levenshtein.ratio(found, wanted))


def _signatures(n: int) -> dict[str, str]:
    similarity, counting = map(metric.library, ("Levenshtein", "sacrebleu"))
    end = f"round:2|n:{n}|lib"
    return {
        "edit_similarity": f"edit_similarity|sim:indel|item:integer-half-even|pp:codexglue|{end}:{similarity}",
        "bleu": f"bleu|tok:whitespace|order:4|smooth:add-1-all|pp:none|{end}:{counting}",
    }
