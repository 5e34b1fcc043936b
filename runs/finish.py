"""The end of runs/demo.sh and runs/fit.sh, after the scores of the benchmark: completions to read, and how to go on.

    python -m runs.finish outputs/mine --examples 3

Completions are shown as an editor would cut them. Of the prompts with short references, on which the two models differ,
those are shown that stand at a tenth, at half, and at nine tenths in the order of the gain, and no others are chosen.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from codefit import cli, console, fim, records
from codefit.evaluation import truncation
from codefit.evaluation.report import results
from codefit.manifest import read_manifest
from codefit.publishing import editors, folder
from codefit.records import Pair, Prediction
from codefit.scoring.edit_similarity import EDIT_SIMILARITY

WIDTH = 80
SHOWN = 4  # lines of a prompt or completion
SHORTEST, LONGEST = 12, 6  # letters and lines of a reference that can be judged by eye
PLACES = ((0.9, "among the tenth that gained most"), (0.5, "in the middle"), (0.1, "among the tenth that lost most"))


def gains(base: Sequence[Prediction], fitted: Sequence[Prediction]) -> list[tuple[float, Prediction, Prediction]]:
    """Return the gain in edit similarity, base and fitted prediction of each prompt that can be judged by eye."""
    found = []
    for one, other in zip(base, fitted, strict=True):
        wanted = truncation.as_editor(one, one.reference)
        texts = [truncation.as_editor(item, item.prediction) for item in (one, other)]
        if texts[0] == texts[1] or len(wanted.strip()) < SHORTEST or wanted.strip().count("\n") >= LONGEST:
            continue
        before, after = (EDIT_SIMILARITY.of_pair(text, wanted)[0] for text in texts)
        found.append((after - before, one, other))
    return sorted(found, key=lambda row: (row[0], row[1].id))


def example(one: Prediction, other: Prediction) -> str:
    """Return a prompt and its completions as text, at most 80 columns wide."""
    shown = {
        "base": truncation.as_editor(one, one.prediction),
        "fitted": truncation.as_editor(other, other.prediction),
        "reference": truncation.as_editor(one, one.reference),
    }
    lines = _block("", textwrap.dedent("\n".join(one.prompt.split("\n")[-SHOWN:])) + "▮", last=True)
    for name, text in shown.items():
        lines += _block(name, text.strip("\n") or "(nothing)")
    return "\n".join(lines)


def _block(name: str, text: str, last: bool = False) -> list[str]:
    """Return a name and a text as lines with a margin; a long text is cut."""
    lines = console.printable_lines(text.expandtabs(4)).rstrip("\n").split("\n")
    kept = lines[-SHOWN:] if last else lines[:SHOWN]
    marks = [*kept, "…"] if len(lines) > len(kept) and not last else kept
    room = WIDTH - 12
    return [
        f"{name if not at else '':<10}│ {line if len(line) <= room else line[: room - 1] + '…'}".rstrip()
        for at, line in enumerate(marks)
    ]


def examples(benchmark: Path, number: int) -> str:
    """Return some completions of a finished benchmark."""
    predictions = results.read(benchmark).predictions
    found = gains(predictions["heldout"]["base"], predictions["heldout"]["adapted"])
    if not found:
        return "no completion differs between the two models"
    chosen = {min(len(found) - 1, int(place * len(found))): words for place, words in reversed(PLACES[:number])}
    parts = []
    for at in sorted(chosen, reverse=True):
        gain, one, other = found[at]
        parts.append(f"{one.path}: {chosen[at]} ({gain:+.0f} points)\n{example(one, other)}")
    return "\n\n".join(parts)


def next_steps(place: Path) -> str:
    """Return how to try the model, and how to use it in an editor."""
    pairs = records.read_jsonl(place / "pairs" / "test.jsonl", Pair)
    lines = (pair.prompt.rstrip().rpartition("\n")[2].strip() for pair in pairs)
    prompt = next((line for line in lines if sum(map(str.isalnum, line)) >= SHORTEST), "def ")
    text = f"try it:   python complete.py {quote(str(place / 'adapter'))} --prompt {quote(prompt)}"
    gguf = folder.gguf_folder(place / "merged")
    made = read_manifest(gguf) if gguf.is_dir() else {}
    if made:
        file = str(gguf / made["files"][0])
        serve = editors.server_command(["-m", file], fim.named(made.get("infill")), made["context"])
        text += f"\neditor:   {serve}"
    return text


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("folder", type=Path, help="output folder with benchmark, adapter and merged")
    parser.add_argument("--examples", type=cli.number(int, 1, 3), default=3, help="how many completions are shown")
    args = parser.parse_args()
    benchmark = args.folder / "benchmark"
    console.show(f"\n{examples(benchmark, args.examples)}\n")
    console.show(f"report:   {benchmark / 'report.html'}\n{next_steps(args.folder)}")


if __name__ == "__main__":
    cli.run(main)
