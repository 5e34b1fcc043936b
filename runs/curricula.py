"""The table of runs/curricula.sh: the results of each document order over its seeds.

    python -m runs.curricula outputs/curricula

A difference is that of runs with the same seed, against random order; its interval is Student's t over the seeds. It
says what another seed would do, and nothing about other documents.
"""

import statistics
from collections import defaultdict
from pathlib import Path

from codefit import cli, console
from codefit.errors import UserError
from codefit.manifest import read_manifest
from runs.over_seeds import interval

CONTROL = "random"


def validations(folder: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Return the validation of every run by order and seed; a run lies in the folder ORDER-SEED."""
    found: dict[str, dict[int, dict[str, float]]] = defaultdict(dict)
    for file in sorted(folder.glob("*-[0-9]*/manifest.json")):
        order, _, seed = file.parent.name.rpartition("-")
        found[order][int(seed)] = read_manifest(file.parent)["validation"]
    if CONTROL not in found:
        raise UserError(f"{folder} holds no runs in random order; run sh runs/curricula.sh first.")
    return found


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="output folder of runs/curricula.sh")
    found = validations(parser.parse_args().folder)
    rows = []
    for order, seeds in sorted(found.items(), key=lambda item: item[0] != CONTROL):
        bits = [seeds[seed]["eval_bits_per_byte"] for seed in sorted(seeds)]
        control = [found[CONTROL][seed]["eval_bits_per_byte"] for seed in sorted(seeds)]
        differences = [own - other for own, other in zip(bits, control, strict=True)]
        names = ("eval_perplexity", "eval_top_5_accuracy")
        perplexity, top_5 = (statistics.fmean(run[name] for run in seeds.values()) for name in names)
        against = "" if order == CONTROL else interval(differences)
        each = " ".join(f"{value:.4f}" for value in bits)
        rows.append([order, each, f"{statistics.fmean(bits):.4f}", f"{perplexity:.1f}", f"{top_5:.1%}", against])
    print(console.table(rows, ["order", "bits/byte by seed", "mean", "perplexity", "top 5", f"against {CONTROL}"]))


if __name__ == "__main__":
    cli.run(main)
