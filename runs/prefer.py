"""Preference training: teach an adapter to prefer what the author wrote to its own wrong completions.

    pip install trl==1.16.0
    python -m runs.prefer outputs/mine/adapter

It completes prompts of the training data, keeps the completions that are over-long, repeat themselves or use invented
names, and trains the adapter by DPO to prefer the reference. The result, `outputs/mine/preferred`, is an adapter like
that of train.py, for merge_lora.py and benchmarking.py; preferences.jsonl in it lists every pair. RESULTS.md says
what it gained and what it cost.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

from codefit import cli, console, outputs, records
from codefit.errors import UserError
from codefit.manifest import Manifest, read_manifest
from codefit.training.settings import OF_ADAPTERS

# From the manifest of the adapter, for merge_lora.py and benchmarking.py.
HANDED_ON = ("base_gguf", "load_in_4bit", "dtype", "dataset", "max_prompt_tokens", "replay")
SHARE = 1 / 6  # of the learning rate of the adapter: see docs/toy-results.md, "Preferences"
FEWEST = 8  # preferences, below which training would only learn these by heart


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The flags of this program."""

    adapter: Path
    output_dir: Path
    prompts: int
    max_new_tokens: int
    learning_rate: float | None
    beta: float
    per_device_train_batch_size: int
    max_steps: int | None
    logging_steps: int
    seed: int
    overwrite: bool
    dry_run: bool


def build_parser() -> cli.Parser:
    """Return the parser of this program."""
    parser = cli.Parser(__doc__)
    parser.add_argument("adapter", type=Path, help="folder that train.py wrote")
    parser.add_argument("--output_dir", type=Path, help="folder of the new adapter (default: next to it, preferred)")
    parser.add_argument("--prompts", type=cli.number(int, 1), default=512, help="training prompts to complete")
    parser.add_argument("--max_new_tokens", type=cli.number(int, 1), default=64, help="longest completion, in tokens")
    parser.add_argument(
        "--learning_rate",
        type=cli.number(float, 0),
        help="at the first step (default: a sixth of what the adapter was trained with)",
    )
    parser.add_argument(
        "--beta", type=cli.number(float, 0), default=0.1, help="how strongly it is kept near the adapter"
    )
    parser.add_argument("--per_device_train_batch_size", type=cli.number(int, 1), default=4, help="preferences a step")
    parser.add_argument("--max_steps", type=cli.number(int, 1), help="steps (default: one pass over the preferences)")
    parser.add_argument(
        "--logging_steps", type=cli.number(int, 1), default=5, help="steps between two lines of the log"
    )
    parser.add_argument("--seed", type=cli.number(int, 0), default=0, help="of the prompts and of their order")
    cli.add_output_flags(parser)
    return parser


def load(adapter: Path, base: str, revision: str | None, made: dict[str, Any]) -> tuple[Any, Any]:
    """Return the adapted model and the encoder of its prompts."""
    from codefit.encoding import Encoder
    from codefit.modeling import hub_files, loading

    if hub_files.rows_of(str(adapter)):
        raise UserError(f"{adapter} has learned new tokens, which preference training does not know; use another one.")
    tokenizer = loading.load_tokenizer(base, revision)
    model = loading.load_model(base, revision=revision, load_in_4bit=bool(made.get("load_in_4bit")))
    model = loading.attach_adapter(model, str(adapter))
    encoder = Encoder(
        tokenizer, made.get("max_prompt_tokens") or records.MAX_PROMPT_TOKENS, ends=loading.ends_in(model)
    )
    return model, encoder


def trained_with(made: dict[str, Any]) -> float:
    """Return the learning rate that an adapter was trained with, the default of train.py if it does not say."""
    return float(made.get("arguments", {}).get("learning_rate") or OF_ADAPTERS["learning_rate"])


def completed(model: Any, encoder: Any, pairs: list[records.Pair], max_new_tokens: int) -> list[records.Prediction]:
    """Return the greedy completion of every prompt."""
    from codefit.evaluation import inference
    from codefit.generation import batched, stopping

    asked = inference.Asked(pairs, encoder, max_new_tokens, stopping.of_tasks(pair.task for pair in pairs))
    return inference.predict(model, asked, batched.tokens_that_fit(model)).items


def choices(found: list[Any], pairs: list[records.Pair], encoder: Any) -> list[Any]:
    """Return the token ids of preferences, which are about some of the pairs."""
    from codefit.training.preference import Choice

    def ids(text: str, ends: bool) -> list[int]:
        return [*encoder.completion_ids(text), *([encoder.eos_id] if ends else [])]

    by_id = {pair.id: pair for pair in pairs}
    return [
        Choice(
            encoder.pair_ids(by_id[each.prediction.id]),
            ids(each.prediction.reference, True),
            ids(each.prediction.prediction, each.prediction.finish_reason == "stop"),
        )
        for each in found
    ]


def main() -> None:
    """Write the new adapter, and print what was preferred and what to do next."""
    flags = vars(build_parser().parse_args())
    output = flags["output_dir"] or outputs.next_to(str(flags["adapter"]), "preferred")
    made = read_manifest(flags["adapter"])
    request = Request(**{**flags, "output_dir": output})
    if not made.get("dataset"):
        raise UserError(f"{request.adapter} does not say what it was trained on; name a folder that train.py wrote.")
    train = records.dataset_folder(made["dataset"]) / "train.jsonl"

    from codefit.training import preference

    preference.refuse_without_trl()
    if request.dry_run:
        console.show(f"would complete {request.prompts} prompts of {train}, and write the new adapter to {output}")
        return
    manifest = Manifest(dataclasses.asdict(request))
    outputs.recover(output)
    if not request.overwrite and manifest.repeats(output):
        return
    outputs.refuse_own_inputs(output, [request.adapter, made["dataset"]])
    outputs.refuse_existing(output, request.overwrite)
    write(request, made, train, manifest)


def write(request: Request, made: dict[str, Any], train: Path, manifest: Manifest) -> None:
    """Complete the prompts, train and save."""
    from codefit import temporary
    from codefit.evaluation import preferences
    from codefit.evaluation.training_lookup import TrainingData
    from codefit.modeling import adapters, hub_files
    from codefit.publishing import cards
    from codefit.training import preference

    base, revision = hub_files.base_of(str(request.adapter), made.get("base_model"))
    model, encoder = load(request.adapter, base, revision, made)
    started = time.monotonic()
    pairs = preferences.sampled(train, request.prompts, request.seed)
    items = completed(model, encoder, pairs, request.max_new_tokens)
    found = preferences.found(items, TrainingData(train).identifiers)
    counted = preferences.counts(found)
    listed = ", ".join(f"{why} ({count})" for why, count in counted.items() if count)
    console.show(f"{len(found)} of {len(items)} completions are wrong: {listed}")
    if len(found) < FEWEST:
        raise UserError(f"{len(found)} wrong completions are too few to learn from; raise --prompts.")
    settings = preference.PreferenceSettings(
        learning_rate=SHARE * trained_with(made) if request.learning_rate is None else request.learning_rate,
        beta=request.beta,
        per_device_train_batch_size=request.per_device_train_batch_size,
        max_steps=request.max_steps,
        logging_steps=request.logging_steps,
        seed=request.seed,
    )
    sampled = time.monotonic()
    with outputs.new_directory(request.output_dir, request.overwrite) as work, temporary.temporary_folder() as scratch:
        log = preference.train(model, encoder.tokenizer, choices(found, pairs, encoder), settings, scratch)
        adapters.save(model, work, base, revision)
        encoder.tokenizer.save_pretrained(work)
        records.write_jsonl(work / "preferences.jsonl", (each.row for each in found))
        records.write_jsonl(work / "log.jsonl", log)
        manifest.add_model(str(request.adapter))
        manifest.add_input(train)
        seconds = {"sampling": round(sampled - started, 1), "training": round(time.monotonic() - sampled, 1)}
        facts = {
            "base_model": base,
            "base_revision": revision,
            "asked": len(items),
            "preferences": counted,
            "seconds_of": seconds,
            "learning_rate": settings.learning_rate,
        }
        manifest.update(**{name: made.get(name) for name in HANDED_ON}, **facts)
        manifest.write(work)
        outputs.write_whole(work / "README.md", cards.adapter_card(work, request.output_dir.name))
    console.show(f"sampled in {seconds['sampling']} s, trained in {seconds['training']} s")
    console.show(f"output:  {request.output_dir}\nnext:    python benchmarking.py {request.output_dir}")


if __name__ == "__main__":
    cli.run(main)
