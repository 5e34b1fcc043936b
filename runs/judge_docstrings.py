"""Keep the docstrings that a judge rates best: quality control by a local instruct model, for the task summary.

    python -m runs.judge_docstrings outputs/airflow/pairs --judge Qwen2.5-Coder-0.5B.gguf --output outputs/airflow/best
    python -m runs.judge_docstrings outputs/airflow/pairs --at_random --output outputs/airflow/random

The judge rates every training docstring from 1 to 5 by the probabilities of these digits, without generating. The
output is a data set with the best of them; judged.jsonl lists all with rating and reason. It also rates docstrings that
belong to other classes, and says how often the author's is rated higher: a judge that cannot tell them apart means
nothing. --at_random keeps as many pairs without a judge, which is what the judge's choice has to be compared with.
Validation and test stay as they are, so that the same benchmark can tell what was better to learn from.
"""

import dataclasses
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console, outputs, records
from codefit.curation import derived
from codefit.errors import UserError
from codefit.manifest import Manifest
from codefit.records import Pair, read_jsonl, write_jsonl

FEWEST = 8  # pairs, below which a share of them is no data set
CHANCE = "not drawn"


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The flags of this program."""

    dataset: str
    judge: str | None
    at_random: bool
    output: Path
    keep: float
    seed: int
    overwrite: bool
    dry_run: bool


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument("dataset", help="folder that preprocess_data.py wrote with --task summary, or one on the Hub")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--judge", help="instruct model that rates the docstrings: a folder, GGUF file or Hub id")
    how.add_argument("--at_random", action="store_true", help="keep a random share instead, to compare with")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new data set")
    parser.add_argument("--keep", type=cli.number(float, 0.01, 1), default=0.5, help="share of the pairs to keep")
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="of the random share and of the exchange")
    cli.add_output_flags(parser)
    return parser


def training_pairs(path: Path) -> list[Pair]:
    """Return the training pairs. Raises UserError if they are too few or not of the task summary."""
    pairs = list(read_jsonl(path, Pair))
    if other := {pair.task for pair in pairs} - {"summary"}:
        raise UserError(f"{path} has pairs of the task {min(other)}; give a data set of --task summary.")
    if len(pairs) < FEWEST:
        raise UserError(f"{path} has {console.counted(len(pairs), 'pair')}, too few to choose from; give more files.")
    return pairs


def judged(pairs: Sequence[Pair], judge: str, seed: int) -> tuple[list[float], dict[str, Any]]:
    """Return the rating of every pair, and what is known about the judge."""
    from codefit.encoding import Encoder
    from codefit.evaluation import docstring_judge
    from codefit.modeling import loading

    model = loading.load_model(judge)
    encoder = Encoder(loading.load_tokenizer(judge), loading.context_in(model.config), ends=loading.ends_in(model))
    own = docstring_judge.ratings(model, encoder, pairs)
    other = docstring_judge.ratings(model, encoder, docstring_judge.swapped(pairs, seed))
    values = [rating.value for rating in own]
    swapped = [rating.value for rating in other]
    return values, {
        "auc": dataclasses.asdict(docstring_judge.auc(values, swapped)),
        "mean_rating": {"own": statistics.fmean(values), "swapped": statistics.fmean(swapped)},
        "deviation": statistics.stdev(values),
        "certainty": statistics.median(rating.certainty for rating in own),
    }


def best(ratings: Sequence[float], count: int) -> set[int]:
    """Return the indices of the highest ratings; of equal ones, those that come first."""
    return set(sorted(range(len(ratings)), key=lambda at: (-ratings[at], at))[:count])


def rows(pairs: Sequence[Pair], ratings: Sequence[float] | None, kept: set[int]) -> list[dict[str, Any]]:
    """Return a row with rating and reason for every pair."""
    if ratings is None:
        reasons = [("drawn" if at in kept else CHANCE) for at in range(len(pairs))]
    else:
        bar = min(ratings[at] for at in kept)
        reasons = [
            f"among the best {len(kept)}" if at in kept else f"rated under {bar:.3f}" for at in range(len(pairs))
        ]
    return [
        {
            "repository": pair.repository,
            "path": pair.path,
            "rule": reasons[at],
            "value": None if ratings is None else round(ratings[at], 4),
            "id": pair.id,
            "kept": at in kept,
        }
        for at, pair in enumerate(pairs)
    ]


def sentence(facts: dict[str, Any]) -> str:
    """Return what is known about a judge, and what its separation means."""
    value, low, high = (facts["auc"][name] for name in ("value", "low", "high"))
    own, swapped = (facts["mean_rating"][name] for name in ("own", "swapped"))
    said = (
        f"mean rating {own:.2f} with a standard deviation of {facts['deviation']:.2f}, of swapped docstrings "
        f"{swapped:.2f}; probability of an answer from 1 to 5: {facts['certainty']:.0%} (median)\n"
        f"the judge rates the author's docstring above one of another class in {value:.0%} [{low:.0%}, {high:.0%}]"
    )
    if low <= 0.5:
        return f"{said}: it may be no better than chance, and its choice may mean nothing"
    return f"{said}; chance is 50%"


def main() -> None:
    """Write the new data set, and print what was kept and whether the judge can tell docstrings apart."""
    request = Request(**vars(build_parser().parse_args()))
    folder = records.dataset_folder(request.dataset)
    pairs = training_pairs(folder / "train.jsonl")
    count = max(1, round(request.keep * len(pairs)))
    if request.dry_run:
        how = f"rate {len(pairs)} docstrings of {folder} with {request.judge}" if request.judge else "draw"
        console.show(f"would {how}, keep {count} of {len(pairs)}, and write {request.output}")
        return
    carried = derived.carried_arguments(folder)
    manifest = Manifest({**dataclasses.asdict(request), **carried})
    outputs.recover(request.output)
    if not request.overwrite and manifest.repeats(request.output):
        return
    outputs.refuse_own_inputs(request.output, [folder, *([request.judge] if request.judge else [])])
    outputs.refuse_existing(request.output, request.overwrite)
    if request.judge:
        ratings, facts = judged(pairs, request.judge, request.seed)
        write(request, folder, manifest, pairs, rows(pairs, ratings, best(ratings, count)), facts)
        console.show(sentence(facts))
    else:
        drawn = set(random.Random(request.seed).sample(range(len(pairs)), count))
        write(request, folder, manifest, pairs, rows(pairs, None, drawn), {})
    console.show(f"{count} of {len(pairs)} pairs are kept")
    console.show(f"output:  {request.output}\nnext:    python train.py --dataset {request.output}")


def write(
    request: Request,
    folder: Path,
    manifest: Manifest,
    pairs: Sequence[Pair],
    judged: Sequence[dict[str, Any]],
    facts: dict[str, Any],
) -> None:
    """Write the data set: the kept pairs, all ratings, what was left out, and the other splits as they are."""
    rejected = [{name: value for name, value in row.items() if name != "kept"} for row in judged if not row["kept"]]
    with outputs.new_directory(request.output, request.overwrite) as work:
        write_jsonl(work / "train.jsonl", (pair for pair, row in zip(pairs, judged, strict=True) if row["kept"]))
        write_jsonl(work / "judged.jsonl", judged)
        write_jsonl(work / "rejected.jsonl", rejected)
        derived.copy_others(folder, work, manifest)
        manifest.add_model(request.judge)
        manifest.update(asked=len(pairs), kept=len(pairs) - len(rejected), **facts)
        manifest.write(work)


if __name__ == "__main__":
    cli.run(main)
