"""Replace the completions of a data set by those of a larger model: self-distilled or synthetic data.

    python -m runs.distil outputs/mine/pairs --teacher Qwen2.5-Coder-0.5B.gguf --output outputs/mine/distilled

The teacher completes training prompts greedily. A completion, cut as an editor cuts it, is kept if it ends, is not
empty, repeats neither itself nor the prompt, has no more syntax errors than the author's, and is likely to the teacher
itself. The other pairs are left out; rejected.jsonl names the reason for each. Validation and test stay the author's,
so that the same benchmark can tell whether the teacher's completions are better to learn from than real ones.
"""

import dataclasses
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console, outputs, records
from codefit.curation import derived
from codefit.errors import UserError
from codefit.manifest import Manifest
from codefit.records import Pair, Prediction, read_jsonl, write_jsonl


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The flags of this program."""

    dataset: str
    teacher: str
    output: Path
    prompts: int
    max_new_tokens: int
    max_nats: float
    seed: int
    overwrite: bool
    dry_run: bool


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument("dataset", help="folder that preprocess_data.py wrote, or a data set on the Hub")
    parser.add_argument(
        "--teacher", required=True, help="model whose completions are learned: a folder, GGUF file or Hub id"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the new data set")
    parser.add_argument("--prompts", type=cli.number(int, 1), default=1000, help="training prompts to complete")
    parser.add_argument("--max_new_tokens", type=cli.number(int, 1), default=64, help="longest completion, in tokens")
    parser.add_argument(
        "--max_nats", type=cli.number(float, 0), default=1.0, help="nats per token above which a completion is unlikely"
    )
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="of the prompts")
    cli.add_output_flags(parser)
    return parser


def fault(item: Prediction, text: str) -> str:
    """Return what is wrong with a completion, cut to `text`; "" for nothing."""
    from codefit.evaluation import output_checks
    from codefit.scoring.parse_rate import PARSE_RATE

    if item.finish_reason == "length" and text == item.prediction:
        return "no end"
    for reason, holds in output_checks.TEXT_CHECKS.values():
        if holds(text, item.prompt):
            return reason
    shown = dataclasses.replace(item, prediction=text)
    if PARSE_RATE.applies([shown]) and not PARSE_RATE.of_item(shown)[0]:
        return "syntax errors"
    return ""


def chosen(path: Path, count: int, seed: int) -> list[Pair]:
    """Return at most `count` training pairs, sampled by seed, in their order in the file."""
    pairs = list(read_jsonl(path, Pair))
    return [pairs[at] for at in sorted(random.Random(seed).sample(range(len(pairs)), min(count, len(pairs))))]


def distilled(
    pairs: Sequence[Pair], request: Request, max_prompt_tokens: int
) -> tuple[list[Pair], list[dict[str, Any]]]:
    """Return the pairs with the teacher's completions, and a row with the reason for each pair that is left out."""
    from codefit.encoding import Encoder
    from codefit.evaluation import inference, truncation
    from codefit.generation import batched, likelihood, stopping
    from codefit.modeling import loading

    model = loading.load_model(request.teacher)
    encoder = Encoder(loading.load_tokenizer(request.teacher), max_prompt_tokens, ends=loading.ends_in(model))
    asked = inference.Asked(pairs, encoder, request.max_new_tokens, stopping.of_tasks(pair.task for pair in pairs))
    size = batched.tokens_that_fit(model)
    items = inference.predict(model, asked, size).items
    texts = [truncation.as_editor(item, item.prediction) for item in items]
    faults = [fault(item, text) for item, text in zip(items, texts, strict=True)]
    good = [
        dataclasses.replace(pair, completion=text, finish_reason="stop")
        for pair, text, why in zip(pairs, texts, faults, strict=True)
        if not why
    ]
    nats = likelihood.completion_nats(model, encoder, good, size, do_progress=True)
    rejected = [_row(pair, why) for pair, why in zip(pairs, faults, strict=True) if why]
    kept = []
    for pair, (value, tokens) in zip(good, nats, strict=True):
        if value > request.max_nats * tokens:
            rejected.append(_row(pair, "unlikely", round(value / tokens, 3)))
        else:
            kept.append(pair)
    return kept, rejected


def _row(pair: Pair, rule: str, value: float | None = None) -> dict[str, Any]:
    return {"repository": pair.repository, "path": pair.path, "rule": rule, "value": value, "id": pair.id}


def main() -> None:
    """Write the new data set, and print what was kept."""
    request = Request(**vars(build_parser().parse_args()))
    folder = records.dataset_folder(request.dataset)
    if request.dry_run:
        console.show(
            f"would complete {request.prompts} prompts of {folder} with {request.teacher}, and write {request.output}"
        )
        return
    carried = derived.carried_arguments(folder)
    manifest = Manifest({**dataclasses.asdict(request), **carried})
    outputs.recover(request.output)
    if not request.overwrite and manifest.repeats(request.output):
        return
    outputs.refuse_own_inputs(request.output, [folder, request.teacher])
    outputs.refuse_existing(request.output, request.overwrite)
    pairs = chosen(folder / "train.jsonl", request.prompts, request.seed)
    kept, rejected = distilled(pairs, request, carried.get("max_prompt_tokens") or records.MAX_PROMPT_TOKENS)
    if not kept:
        raise UserError(
            "no completion of the teacher is kept; raise --max_nats or --max_new_tokens, or choose another."
        )
    reasons = Counter(row["rule"] for row in rejected)
    by_author = {pair.id: pair.completion for pair in pairs}
    same = sum(pair.completion.strip() == by_author[pair.id].strip() for pair in kept)
    with outputs.new_directory(request.output, request.overwrite) as work:
        write_jsonl(work / "train.jsonl", kept)
        write_jsonl(work / "rejected.jsonl", rejected)
        derived.copy_others(folder, work, manifest)
        manifest.add_model(request.teacher)
        facts = {"teacher": request.teacher, "asked": len(pairs), "kept": len(kept), "as_the_author": same}
        manifest.update(**facts, rejections=reasons)
        manifest.write(work)
    listed = ", ".join(f"{rule} ({count})" for rule, count in reasons.most_common())
    others = f"; left out: {listed}" if listed else ""
    console.show(f"{len(kept)} of {len(pairs)} completions are kept ({same} as the author wrote them){others}")
    console.show(f"output:  {request.output}\nnext:    python train.py --dataset {request.output}")


if __name__ == "__main__":
    cli.run(main)
