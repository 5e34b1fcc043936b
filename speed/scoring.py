"""How long does scoring take? Every metric of base and adapted model, per item and in total, with paired intervals.

    make demo
    python -m speed.scoring  # 20,000 pairs made of the demo's references, in files of eight

The goal is under 5 seconds on one core. The times of reading, writing and drawing a report are not in it.
"""

import random
import time
from pathlib import Path

from codefit import cli, console, records
from codefit.evaluation import comparison
from codefit.evaluation.result_schema import BenchmarkInfo, Model, Role
from codefit.records import Prediction


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--dataset", type=Path, default=Path("outputs/demo/SmolLM2-135M-Instruct.Q4_1/pairs"), help="prepared data set"
    )
    parser.add_argument("--pairs", type=cli.number(int, 1), default=20000, help="pairs to score")
    return parser


def answers(references: list[str], right: float, seed: int) -> list[Prediction]:
    """Return predictions of which a share is right; the others are references of other prompts."""
    draw = random.Random(seed)
    return [
        Prediction(
            id=str(at),
            prompt="",
            prediction=reference if draw.random() < right else draw.choice(references),
            reference=reference,
            scores={"nats": draw.uniform(1, 30), "tokens": 12},
            path=f"file{at // 8}",
        )
        for at, reference in enumerate(references)
    ]


def main() -> None:
    """Score once, and print the seconds by part."""
    args = build_parser().parse_args()
    texts = [pair.completion for pair in records.read_jsonl(args.dataset / "train.jsonl", records.Pair)]
    references = [texts[at % len(texts)] for at in range(args.pairs)]
    base, adapted = answers(references, 0.2, 1), answers(references, 0.4, 2)
    marks = [(time.perf_counter(), time.process_time())]
    scored = comparison.score_items(base), comparison.score_items(adapted)
    marks.append((time.perf_counter(), time.process_time()))
    by_role = dict(zip(("base", "adapted"), scored, strict=True))
    models = {role: Model(name="", label=role, role=Role(role)) for role in by_role}
    asked = {"heldout": BenchmarkInfo(title="held-out code")}
    comparison.scores({"heldout": by_role}, models, asked, {}, 0)
    marks.append((time.perf_counter(), time.process_time()))
    rows = [
        [name, f"{marks[end][0] - marks[start][0]:.2f}", f"{marks[end][1] - marks[start][1]:.2f}"]
        for name, start, end in (("items", 0, 1), ("intervals", 1, 2), ("together", 0, 2))
    ]
    print(console.table(rows, [f"{args.pairs} pairs", "wall s", "CPU s"]))


if __name__ == "__main__":
    main()
