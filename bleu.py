"""Score predictions against references: edit similarity and BLEU as CodeXGLUE reports them, as JSON.

    python bleu.py -a answers.txt -p predictions.txt
    python bleu.py --input predictions.jsonl

A text file holds one item per line; an empty line is an empty item. A predictions file of benchmarking.py is scored
twice: "compat" holds CodeXGLUE's rounded scores, "honest" every text metric of the predictions' task, unrounded. Each
score has a signature that says how it was computed. CodeXGLUE's evaluator post-processes lines (<EOL>, literals) for
edit similarity but not for BLEU, and its edit similarity equals this one only where python-Levenshtein is installed.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codefit import cli, console
from codefit.errors import UserError
from codefit.records import Prediction, read_jsonl

if TYPE_CHECKING:
    from codefit.evaluation.result_schema import ProfileScores


def build_parser() -> cli.Parser:
    """Return the parser of this script."""
    parser = cli.Parser(__doc__)
    parser.add_argument("-a", "--answers", type=Path, metavar="FILE", help="the references, one per line")
    parser.add_argument(
        "-p", "--predictions", type=Path, metavar="FILE", help="the predictions of a model, one per line"
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="a predictions-*.jsonl file of benchmarking.py")
    return parser


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file, without their endings, LF or CR LF; a CR elsewhere is part of its line.

    Raises:
        UserError: the file cannot be read, is not UTF-8 or is empty.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8 with one item per line.") from None
    if not text:
        raise UserError(f"{path} is empty; give a file with one item per line.")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def score_lines(answers: Path, predictions: Path) -> dict[str, Any]:
    """Return the CodeXGLUE scores of a text file of predictions."""
    from codefit.evaluation.benchmarks import codexglue

    wanted, found = read_lines(answers), read_lines(predictions)
    if len(wanted) != len(found):
        raise UserError(
            f"{answers} has {console.counted(len(wanted), 'line')} and {predictions} has {len(found)}; "
            "give one prediction per reference."
        )
    return _flat(codexglue.scores(found, wanted))


def score_records(path: Path) -> dict[str, Any]:
    """Return the scores of a predictions file in both profiles, "compat" and "honest"."""
    from codefit.evaluation import task_metrics
    from codefit.evaluation.benchmarks import codexglue

    records = list(read_jsonl(path, Prediction))
    if not records:
        raise UserError(f"{path} holds no predictions; give a file with one JSON object per line.")
    found, wanted = [record.prediction for record in records], [record.reference for record in records]
    honest = task_metrics.scores(found, wanted, task_metrics.task_of(records))
    return {"compat": _flat(codexglue.scores(found, wanted)), "honest": _flat(honest)}


def _flat(scores: "ProfileScores") -> dict[str, Any]:
    """Return scores as they are printed: the values, and `n` and `signatures` on the same level."""
    return {**scores.values, "n": scores.n, "signatures": scores.signatures}


def main(argv: list[str] | None = None) -> None:
    """Read the files, score them, print JSON."""
    parser = build_parser()
    args = parser.parse_args(argv)
    texts = args.answers is not None, args.predictions is not None
    if any(texts) == (args.input is not None) or any(texts) != all(texts):
        parser.error("give either --answers and --predictions, or --input")
    result = score_records(args.input) if args.input else score_lines(args.answers, args.predictions)
    console.show(json.dumps(result, indent=2))


if __name__ == "__main__":
    cli.run(main)
