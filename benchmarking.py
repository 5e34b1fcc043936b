"""Measure what fitting changed: base and adapted model on the same prompts, with intervals, verdicts and a report.

The smallest command asks 500 held-out prompts of the data set that the adapter was trained on:

    python benchmarking.py --hf_repository outputs/kotlin/adapter

CodeXGLUE too, everything in it, on a merged model; and all scores anew from predictions that are there already:

    python benchmarking.py --hf_repository outputs/kotlin/merged --model_name_or_path microsoft/phi-1_5 \\
        --benchmark heldout codexglue --sample 0 --output_dir outputs/kotlin/benchmark
    python benchmarking.py --output_dir outputs/kotlin/benchmark --rescore
"""

import argparse
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from codefit import cli
from codefit.cli import UserError
from codefit.records import Pair, Prediction
from codefit.report import results, terminal

BENCHMARKS = ("heldout", "codexglue")
NEW_TOKENS = {"codexglue": 256}  # a method is longer than a completion; the benchmark's own code stops at 256
DATASET = "data/kotlin_prepared_dataset"
PROMPT_TOKENS = 512  # for an adapted model of others, which says nothing about its prompts


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add, positive, count = parser.add_argument, cli.number(int, 1), cli.number(int, 0)
    add("--hf_repository", help="the adapted model: a folder or Hub id of an adapter or a merged model")
    add("--model_name_or_path", help="its base; when absent, what the adapted model's metadata name")
    add("--benchmark", nargs="+", choices=BENCHMARKS, default=["heldout"], help="what to ask")
    add("--dataset", help=f"prepared data set; when absent, the one of the training, or {DATASET}")
    add("--split", default="test", help="split of the data set")
    add("--sample", type=count, default=500, metavar="N", help="prompts of each benchmark, drawn by seed; 0 is all")
    add("--max_new_tokens", type=positive, default=64, help="where a prediction is cut; CodeXGLUE's at 256")
    add(
        "--max_prompt_tokens", type=positive, help="a longer prompt is cut on the left; when absent: as in the training"
    )
    add("--tokens_per_batch", type=positive, default=16384, help="rows times longest row; less needs less memory")
    add("--load_in_4bit", action=argparse.BooleanOptionalAction, help="when absent: as the adapter was trained")
    add("--seed", type=count, default=0, help="seed of the sample and of the intervals")
    add("--output_dir", type=Path, default=Path("outputs/kotlin/benchmark"), help="where predictions and report go")
    add("--rescore", action="store_true", help="score the predictions in --output_dir anew, without a model")
    cli.add_output_flags(parser)
    return parser


# ---------------------------------------------------------------------------------------------- what is compared


def resolve(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what is known of both models by role, and fill the flags that were left to the adapted model's metadata.

    Raises:
        UserError: the adapted model cannot be had, or its base is not known.
    """
    from codefit import models

    is_adapter = models.is_adapter(args.hf_repository)
    folder = models.adapter_folder(args.hf_repository) if is_adapter else Path(args.hf_repository)
    made = models.manifest_of(args.hf_repository)
    base, revision = args.model_name_or_path, None
    if base is None and is_adapter:
        base, revision = models.base_of(str(folder))
    elif base is None:
        base, revision = made.get("base_model"), made.get("base_revision")
    if base is None:
        raise UserError(f"{args.hf_repository} does not name its base model; give it with --model_name_or_path.")
    args.dataset = args.dataset or made.get("dataset") or DATASET
    args.max_prompt_tokens = args.max_prompt_tokens or made.get("max_prompt_tokens", PROMPT_TOKENS)
    if args.load_in_4bit is None:
        args.load_in_4bit = is_adapter and bool(made.get("load_in_4bit"))
    adapted = {"name": args.hf_repository, "kind": "adapter" if is_adapter else "merged", "folder": str(folder)}
    return {"base": {"name": base, "revision": revision}, "adapted": adapted}


def refuse_other_tokens(base: Any, adapted: Any, names: dict[str, Any]) -> None:
    """Raise UserError if two models have different tokens: asked with one tokenizer, one would answer nonsense."""
    if base.get_vocab() != adapted.get_vocab():
        raise UserError(
            f"{names['adapted']['name']} has another vocabulary than {names['base']['name']} and was not made from it; "
            "name its true base with --model_name_or_path."
        )


def load_pairs(args: argparse.Namespace, manifest: cli.Manifest) -> dict[str, list[Pair]]:
    """Return the pairs to ask, by benchmark."""
    from codefit import records
    from codefit.benchmarks import codexglue, heldout

    found: dict[str, list[Pair]] = {}
    if "heldout" in args.benchmark:
        folder = records.dataset_folder(args.dataset)
        found["heldout"] = heldout.load(folder, args.split)
        manifest.add_input(folder / f"{args.split}.jsonl")
    if "codexglue" in args.benchmark:
        found["codexglue"] = codexglue.load()
    return {name: draw(name, pairs, args) for name, pairs in found.items()}


def draw(name: str, pairs: list[Pair], args: argparse.Namespace) -> list[Pair]:
    """Return a seeded sample in the order of the benchmark, and say how much of it that is."""
    if not 0 < args.sample < len(pairs):
        print(f"{name}: all {len(pairs)} prompts")
        return pairs
    print(f"{name}: a sample of {args.sample} of {len(pairs)} prompts")
    return [pairs[index] for index in sorted(random.Random(args.seed).sample(range(len(pairs)), args.sample))]


def describe(
    args: argparse.Namespace, names: dict[str, Any], pairs: dict[str, list[Pair]], encoder: Any
) -> dict[str, int]:
    """Say what will be asked, in how many batches, and return by benchmark how many prompts are cut on the left."""
    from codefit.generation import batches

    print(f"base        {names['base']['name']}{' in 4 bits' if args.load_in_4bit else ''}")
    print(f"adapted     {names['adapted']['name']} ({names['adapted']['kind']})")
    cut = {}
    for benchmark, asked in pairs.items():
        limit = NEW_TOKENS.get(benchmark, args.max_new_tokens)
        samples = list(encoder.samples(asked))
        cut[benchmark] = sum(sample.cut > 0 for sample in samples)
        rows = len(batches([sample.start + limit for sample in samples], args.tokens_per_batch))
        print(f"{benchmark:<12}{len(asked)} prompts ({cut[benchmark]} cut on the left), batches for each model: {rows}")
    print(f"output      {args.output_dir}")
    return cut


# ---------------------------------------------------------------------------------------------- the models


def ask_models(
    args: argparse.Namespace, names: dict[str, Any], pairs: dict[str, list[Pair]], encoder: Any
) -> results.Predictions:
    """Return the predictions of both models. An adapter needs its base loaded once: without it, it is the base."""
    from codefit import models

    base = {"revision": names["base"]["revision"], "load_in_4bit": args.load_in_4bit}
    model = models.load_model(names["base"]["name"], **base)
    if names["adapted"]["kind"] == "adapter":
        model = models.attach_adapter(model, names["adapted"]["folder"])
        with model.disable_adapter():
            before = ask(args, "base", model, pairs, encoder)
    else:
        before = ask(args, "base", model, pairs, encoder)
        del model
        model = models.load_model(names["adapted"]["name"], load_in_4bit=args.load_in_4bit)
    after = ask(args, "adapted", model, pairs, encoder)
    return {name: (before[name], after[name]) for name in pairs}


def ask(
    args: argparse.Namespace, role: str, model: Any, pairs: dict[str, list[Pair]], encoder: Any
) -> dict[str, list[Prediction]]:
    """Return what one model predicts, by benchmark.

    Raises:
        UserError: the prompts do not fit into the model, or a batch does not fit into the memory of the GPU.
    """
    import torch

    refuse_long_prompts(args, role, model, pairs)
    found = {}
    for benchmark, asked in pairs.items():
        print(f"{role} model, {benchmark}: {len(asked)} prompts")
        limit = NEW_TOKENS.get(benchmark, args.max_new_tokens)
        try:
            found[benchmark] = predict(model, encoder, asked, limit, args.tokens_per_batch)
        except torch.OutOfMemoryError:
            raise UserError(
                f"a batch of {args.tokens_per_batch} tokens does not fit into the GPU; halve --tokens_per_batch."
            ) from None
    return found


def refuse_long_prompts(args: argparse.Namespace, role: str, model: Any, benchmarks: Iterable[str]) -> None:
    """Raise UserError before anything is asked if the prompts of a benchmark do not fit into a model."""
    from codefit import models

    context = models.context_of(model)
    for benchmark in benchmarks:
        limit = NEW_TOKENS.get(benchmark, args.max_new_tokens)
        if args.max_prompt_tokens + limit > context:
            raise UserError(
                f"the {role} model reads {context} tokens, fewer than a prompt of {args.max_prompt_tokens} and "
                f"{limit} new ones; set --max_prompt_tokens to at most {context - limit}."
            )


def predict(model: Any, encoder: Any, pairs: Sequence[Pair], limit: int, tokens_per_batch: int) -> list[Prediction]:
    """Return a prediction per pair, with the nats of its reference. A prediction never holds any of the prompt."""
    from codefit import generation, likelihood

    completions = generation.generate(
        model,
        [sample.ids[: sample.start].tolist() for sample in encoder.samples(pairs)],
        max_new_tokens=limit,
        eos_ids=encoder.eos_ids,
        pad_id=encoder.pad_id,
        tokens_per_batch=tokens_per_batch,
        do_progress=True,
    )
    measured = likelihood.completion_nats(model, encoder, pairs, tokens_per_batch, do_progress=True)
    return [
        Prediction(
            id=pair.id,
            prompt=pair.prompt,
            prediction=encoder.decode(completion.ids),
            reference=pair.completion,
            finish_reason=completion.finish_reason,
            scores={"nats": nats, "tokens": tokens},
            path=pair.path,
            suffix=pair.suffix,
            reference_finish_reason=pair.finish_reason,
        )
        for pair, completion, (nats, tokens) in zip(pairs, completions, measured, strict=True)
    ]


# ---------------------------------------------------------------------------------------------- the story


def ask_anew(args: argparse.Namespace, manifest: cli.Manifest) -> results.Predictions | None:
    """Return the predictions of both models, or None after a dry run; what was asked goes into the manifest."""
    from codefit import encoding, models

    names = resolve(args)
    pairs = load_pairs(args, manifest)
    manifest.update(models=names, dataset=args.dataset, load_in_4bit=args.load_in_4bit)
    tokenizer = models.load_tokenizer(names["base"]["name"], names["base"]["revision"])
    if names["adapted"]["kind"] == "merged":
        refuse_other_tokens(tokenizer, models.load_tokenizer(args.hf_repository), names)
    encoder = encoding.Encoder(tokenizer, args.max_prompt_tokens)
    manifest.update(cut_prompts=describe(args, names, pairs, encoder))
    return None if args.dry_run else ask_models(args, names, pairs, encoder)


def main(argv: Sequence[str] | None = None) -> None:
    """Ask both models, or read what they said before; score, compare, report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not args.rescore and not args.hf_repository:
        parser.error("--hf_repository is needed: the adapter or merged model to measure")
    from codefit import comparison

    manifest = cli.Manifest(args)
    if args.rescore:
        predictions, made = results.read(args.output_dir)
        loss_png = args.output_dir / "loss.png"
        manifest.update(predicted_by=made)
        if args.dry_run:
            print(f"would score {', '.join(predictions)} in {args.output_dir} anew")
            return
    else:
        cli.refuse_existing(args.output_dir, args.overwrite or args.dry_run)
        asked = ask_anew(args, manifest)
        if asked is None:
            return
        predictions, made = asked, manifest.content
        loss_png = Path(made["models"]["adapted"]["folder"]) / "loss.png"

    score = comparison.score_items
    scored = {name: (score(base), score(adapted)) for name, (base, adapted) in predictions.items()}
    scores = comparison.scores(scored, made["models"], made["arguments"]["seed"])
    with cli.new_directory(args.output_dir) as folder:
        results.write(folder, scores, scored, made, loss_png)
        manifest.write(folder)

    for name, benchmark in scores["benchmarks"].items():
        print(f"\n{terminal.table(name, benchmark)}")
    print(f"\nreport: {args.output_dir / 'report.html'}\nplot:   {args.output_dir / 'scores.png'}")


if __name__ == "__main__":
    cli.run(main)
