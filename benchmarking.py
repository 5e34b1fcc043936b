"""Measure what fitting changed: base and adapted models on the same prompts, with intervals, verdicts and a report.

The smallest command asks 500 held-out prompts of the data set that the adapter was trained on:

    python benchmarking.py --hf_repository outputs/kotlin/adapter

CodeXGLUE too, everything in it, adapter and merged model in one table, and what was forgotten of another corpus:

    python benchmarking.py --hf_repository outputs/kotlin/adapter outputs/kotlin/merged \\
        --benchmark heldout codexglue --forgetting data/python_pairs --sample 0 --output_dir outputs/kotlin/benchmark

All scores anew from predictions that are there already; and two earlier runs side by side, paired:

    python benchmarking.py --output_dir outputs/kotlin/benchmark --rescore
    python benchmarking.py --compare outputs/kotlin/benchmark outputs/other/benchmark --output_dir outputs/compared
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codefit import cli, console, outputs
from codefit.errors import UserError
from codefit.manifest import Manifest

if TYPE_CHECKING:
    from codefit.evaluation.questions import Questions
    from codefit.evaluation.report import results
    from codefit.evaluation.training_lookup import TrainingData


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add, positive, count = parser.add_argument, cli.number(int, 1), cli.number(int, 0)
    add(
        "--hf_repository",
        type=cli.named,
        nargs="+",
        help="adapted models: folders or Hub ids of adapters or merged models",
    )
    add("--model_name_or_path", type=cli.named, help="their base; when absent, what the adapted model's metadata name")
    add("--benchmark", nargs="+", default=["heldout"], help="heldout, codexglue, or JSONL files: docs/benchmark.md")
    add("--dataset", help="prepared data set; when absent, the one of the training, or data/kotlin_prepared_dataset")
    add("--split", default="test", help="split of the data set; with test, test_overlap is asked too where it is there")
    add("--forgetting", metavar="DATA", help="data set or JSONL of unrelated code: was anything forgotten?")
    add("--sample", type=count, default=500, metavar="N", help="prompts of each benchmark, drawn by seed; 0 is all")
    add("--few_shot", type=count, default=0, metavar="K", help="ask the base also with K training pairs as examples")
    add("--profile", choices=["honest", "compat"], default="honest", help="compat adds CodeXGLUE's rounded numbers")
    add("--max_new_tokens", type=positive, default=64, help="where a prediction is cut; CodeXGLUE's at 256")
    add(
        "--max_prompt_tokens", type=positive, help="a longer prompt is cut on the left; when absent: as in the training"
    )
    add("--temperature", type=cli.number(float, 0.01), help="draw the tokens; when absent, and --top_p: greedy")
    add("--top_p", type=cli.number(float, 0.01, 1), help="draw among the likeliest tokens of this probability together")
    add("--generation_seed", type=count, default=0, help="seed of what is drawn")
    add("--tokens_per_batch", type=positive, help="rows times longest row (default: 4 GB of keys and values, or 32768)")
    add("--backend", choices=["transformers", "vllm"], default="transformers", help="what writes the completions")
    add("--no_cache", action="store_true", help="ask anew what a model was asked before, and do not store it")
    add("--load_in_4bit", action=argparse.BooleanOptionalAction, help="when absent: as the adapter was trained")
    add("--seed", type=count, default=0, help="seed of the sample and of the intervals")
    add("--output_dir", type=Path, default=Path("outputs/kotlin/benchmark"), help="where predictions and report go")
    add("--rescore", action="store_true", help="score the predictions in --output_dir anew, without a model")
    add("--compare", nargs=2, type=Path, metavar=("A", "B"), help="two folders of earlier runs on the same prompts")
    cli.add_output_flags(parser)
    return parser


# ---------------------------------------------------------------------------------------------- before asking


def load_questions(args: argparse.Namespace, manifest: Manifest) -> "list[Questions]":
    """Return what is asked, sampled."""
    from codefit.evaluation import questions

    found = questions.load(args.benchmark, args.dataset, args.split, args.max_new_tokens, args.forgetting, manifest)
    return [questions.draw(asked, args.sample, args.seed) for asked in found]


def load_training(args: argparse.Namespace, manifest: Manifest) -> "TrainingData | None":
    """Return what is kept of the training data, for baselines, examples and leaks; None where they are not here."""
    from codefit import records
    from codefit.evaluation.training_lookup import TrainingData

    folder = records.dataset_folder(args.dataset) if "heldout" in args.benchmark else Path(args.dataset)
    path = folder / "train.jsonl"
    if path.is_file() and path.stat().st_size:
        manifest.add_input(path)
        return TrainingData(path, args.seed)
    if args.few_shot:
        raise UserError(f"--few_shot takes its examples from {path}, which is not there; name the data with --dataset.")
    console.show(f"note: no training data in {args.dataset}: no nearest training item, no look for leaks")
    return None


def describe(
    args: argparse.Namespace, by_role: dict[str, Any], asked: "list[Questions]", encoder: Any
) -> dict[str, int]:
    """Say what will be asked, in how many batches, and return by benchmark how many prompts are cut on the left."""
    from codefit.generation.batched import batches

    for role, model in by_role.items():
        quantised = " in 4 bits" if args.load_in_4bit and role == "base" else ""
        kind = f" ({model['kind']})" if "kind" in model else ""
        console.show(f"{model['label']:<12}{model['name']}{kind}{quantised}")
    cut = {}
    for each in asked:
        samples = list(encoder.samples(each.pairs))
        cut[each.name] = sum(sample.cut > 0 for sample in samples)
        rows = len(batches([sample.start + each.new_tokens for sample in samples], args.tokens_per_batch))
        console.show(
            f"{each.name:<11} {len(each.pairs)} prompts ({cut[each.name]} cut on the left), "
            f"batches for each model: {rows}"
        )
    console.show(f"output      {args.output_dir}")
    return cut


def refuse_lossy_tokens(asked: "list[Questions]", encoder: Any) -> dict[str, list[str]]:
    """Return by benchmark the references as they come out of the tokenizer.

    Raises:
        UserError: so much of them is lost that no prediction could be like its reference.
    """
    from codefit.scoring import edit_similarity
    from codefit.scoring.metric import gather

    found = {}
    for each in asked:
        references = [pair.completion for pair in each.pairs]
        found[each.name] = [encoder.decode(ids) for ids in encoder.ids(references)]
        stats = gather(edit_similarity, found[each.name], references)
        score = float(edit_similarity.value(stats.sum(axis=0)))
        if score < 99:
            raise UserError(
                f"{each.name}: the references score only {score:.1f} in edit similarity after the tokenizer, so that "
                "no model could do better; use a base whose tokenizer gives every text back as it was."
            )
    return found


def answer_without_model(
    asked: "list[Questions]", training: "TrainingData | None", references: dict[str, list[str]]
) -> "results.Stored":
    """Return by benchmark the answers of the baselines that need training data or a tokenizer."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in asked:
        found[each.name] = {"references": references[each.name]}
        if training:
            nearest = console.progress(training.nearest(pair.prompt for pair in each.pairs), "nearest", len(each.pairs))
            found[each.name] |= {"constant": [training.constant] * len(each.pairs), "nearest": list(nearest)}
    return found


# ---------------------------------------------------------------------------------------------- the story


def ask_anew(args: argparse.Namespace, manifest: Manifest) -> "results.Run | None":
    """Return what all models said, or None after a dry run; what was asked goes into the manifest."""
    from codefit.evaluation import contenders, inference, questions
    from codefit.evaluation.report import results

    by_role = contenders.resolve(args)
    if args.backend == "vllm":
        from codefit.generation import vllm_backend

        adapters = [model["folder"] for model in by_role.values() if model.get("kind") == "adapter"]
        vllm_backend.refuse_what_it_cannot(adapters, args.load_in_4bit)
    asked = load_questions(args, manifest)
    about: dict[str, dict[str, Any]] = {
        each.name: {"title": each.title, "forgetting": each.name == questions.FORGETTING, "format": each.format}
        for each in asked
    }
    manifest.update(models=by_role, benchmarks=about, dataset=args.dataset, load_in_4bit=args.load_in_4bit)
    encoders = contenders.encoders(by_role, args.max_prompt_tokens)
    encoder = encoders["adapted"]
    manifest.update(cut_prompts=describe(args, by_role, asked, encoder))
    if args.dry_run:
        return None
    references = refuse_lossy_tokens(asked, encoder)
    training = load_training(args, manifest)
    answers = inference.of_models(args, by_role, asked, encoders, training)
    for name, found in answers.items():
        about[name]["decoding"] = {role: answer.decoding for role, answer in found.items()}
    manifest.update(benchmarks=about)
    predictions = {name: {role: answer.items for role, answer in found.items()} for name, found in answers.items()}
    loss_png = Path(by_role["adapted"]["folder"]) / "loss.png"
    return results.Run(predictions, answer_without_model(asked, training, references), manifest.content, loss_png)


def gather(args: argparse.Namespace, manifest: Manifest) -> "results.Run | None":
    """Return what there is to score: read again, put together from two runs, or asked anew; None after a dry run."""
    from codefit.evaluation.report import results

    if args.rescore:
        run = results.read(args.output_dir)
        manifest.update(predicted_by=run.made)
        if args.dry_run:
            console.show(f"would score {', '.join(run.predictions)} in {args.output_dir} anew")
        return None if args.dry_run else run
    outputs.refuse_existing(args.output_dir, args.overwrite or args.dry_run)
    if args.compare:
        run = results.side_by_side(args.compare[0], args.compare[1], manifest)
        if args.dry_run:
            console.show(f"would compare {args.compare[0]} and {args.compare[1]} on {', '.join(run.predictions)}")
        return None if args.dry_run else run
    return ask_anew(args, manifest)


def check(parser: cli.Parser, args: argparse.Namespace) -> None:
    """Exit with 2 where the flags cannot be meant."""
    from codefit.evaluation import questions
    from codefit.evaluation.benchmarks import formats

    if not (args.rescore or args.compare or args.hf_repository):
        parser.error("--hf_repository is needed: the adapter or merged model to measure")
    if args.generation_seed and args.temperature is None and args.top_p is None:
        parser.error("--generation_seed needs something to draw: add --temperature or --top_p")
    if args.backend == "vllm" and not (args.temperature is None and args.top_p is None):
        parser.error("--backend vllm answers greedily; leave out --temperature and --top_p, or the backend")
    if unknown := [name for name in args.benchmark if not questions.is_known(name)]:
        known = ", ".join(("heldout", *formats.NAMES))
        parser.error(f"--benchmark {unknown[0]}: choose from {known}, or name a .jsonl, .json or .jsonl.gz file")


def main(argv: Sequence[str] | None = None) -> None:
    """Ask the models, or read what they said before; score, compare, report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    check(parser, args)
    from codefit.evaluation import comparison
    from codefit.evaluation.report import results, terminal

    manifest = Manifest(args)
    run = gather(args, manifest)
    if run is None:
        return
    score = comparison.score_items
    scored = {name: {role: score(items) for role, items in found.items()} for name, found in run.predictions.items()}
    made = run.made
    about = (made["models"], made["benchmarks"], run.stored, made["arguments"]["seed"], args.profile)
    scores = comparison.scores(scored, *about)
    with outputs.new_directory(args.output_dir, args.overwrite or args.rescore) as folder:
        results.write(folder, scores, dataclasses.replace(run, predictions=scored))
        manifest.write(folder)

    for benchmark in scores["benchmarks"].values():
        console.show(f"\n{terminal.table(benchmark, scores['models'])}")
    console.show(f"\nreport: {args.output_dir / 'report.html'}\nplot:   {args.output_dir / 'scores.png'}")
    for errors in filter(Path.is_file, (results.errors_file(args.output_dir, name) for name in scores["benchmarks"])):
        console.show(f"errors: {errors}")


if __name__ == "__main__":
    cli.run(main)
