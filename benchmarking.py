"""Measure what fitting changed: base and adapted models on the same prompts, with intervals, verdicts and a report.

The shortest command evaluates 500 held-out prompts from the data set that the adapter was trained on:

    python benchmarking.py outputs/kotlin/adapter

Held-out prompts and CodeXGLUE in full, adapter and merged model in one table, and a check for forgetting:

    python benchmarking.py outputs/kotlin/adapter outputs/kotlin/merged \\
        --benchmark heldout codexglue --forgetting data/python_pairs --sample 0 --output_dir outputs/kotlin/benchmark

Score stored predictions again without a model; compare two earlier runs, paired by prompt:

    python benchmarking.py --output_dir outputs/kotlin/benchmark --rescore
    python benchmarking.py --compare outputs/kotlin/benchmark outputs/other/benchmark --output_dir outputs/compared
"""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codefit import cli, console, hub_names, outputs
from codefit.errors import UserError
from codefit.evaluation.settings import BenchmarkSettings, InferenceSettings, QuestionSettings
from codefit.generation.decoding import Decoding
from codefit.manifest import Manifest
from codefit.training import run_folder

if TYPE_CHECKING:
    from codefit.evaluation.questions import Questions
    from codefit.evaluation.report import results
    from codefit.evaluation.result_schema import Model, Scores
    from codefit.evaluation.training_lookup import TrainingData


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add, count = parser.add_argument, cli.number(int, 0)
    parser.add_model("read from here: folders or Hub ids of the adapters or merged models to evaluate", many=True)
    add(
        "--model_name_or_path",
        type=cli.named,
        help="their base model; default: the one that the adapted model's metadata names",
    )
    known = "heldout, codexglue, installed_methods, or JSONL files: docs/benchmark.md"
    add("--benchmark", nargs="+", default=["heldout"], help=known)
    add("--dataset", help="prepared data set; default: the one the first model was trained on")
    add("--sample", type=count, default=500, metavar="N", help="prompts per benchmark, sampled by --seed; 0 means all")
    add("--forgetting", metavar="DATA", help="data set or JSONL file of unrelated code, to check for forgetting")
    add(
        "--output_dir",
        type=Path,
        help="folder for predictions, scores and report; default: benchmark, next to the first model",
    )
    cli.add_output_flags(parser)
    add("--seed", type=count, default=0, help="seed of the sample of prompts and of the intervals")
    add_decoding_flags(parser.add_argument_group("prompts and decoding"))
    add_earlier_runs_flags(parser.add_argument_group("earlier runs"))
    add_rare_flags(parser.rare_group("further measurements and the library"))
    return parser


def add_decoding_flags(group: Any) -> None:
    """Add the flags for lengths, decoding and memory."""
    add, positive, count = group.add_argument, cli.number(int, 1), cli.number(int, 0)
    add(
        "--max_new_tokens",
        type=positive,
        default=64,
        help="limit of new tokens; CodeXGLUE's benchmarks have their own limits",
    )
    add("--max_prompt_tokens", type=positive, help="longer prompts are cut on the left; default: as in training")
    add("--temperature", type=cli.number(float, 0.01), help="sample with this temperature; default: greedy decoding")
    add(
        "--top_p", type=cli.number(float, 0.01, 1), help="sample among the likeliest tokens with this total probability"
    )
    add("--generation_seed", type=count, default=0, help="seed of sampled predictions")
    add(
        "--load_in_4bit",
        action=argparse.BooleanOptionalAction,
        help="load models in 4 bits; default: as the adapter was trained",
    )


def add_earlier_runs_flags(group: Any) -> None:
    """Add the flags that work on stored predictions, without a model."""
    add = group.add_argument
    add("--rescore", action="store_true", help="score the predictions in --output_dir again, without a model")
    add("--compare", nargs=2, type=Path, metavar=("A", "B"), help="compare two earlier runs on the same prompts")
    add("--allow_different", action="store_true", help="also compare runs whose decoding, prompt limit or dtype differ")


def add_rare_flags(group: Any) -> None:
    """Add the flags that few runs need."""
    add, positive, count = group.add_argument, cli.number(int, 1), cli.number(int, 0)
    add("--split", default="test", help="split of the data set; test includes test_overlap where there is one")
    add(
        "--few_shot",
        type=count,
        default=0,
        metavar="K",
        help="also evaluate the base with K training pairs as examples in the prompt",
    )
    add(
        "--chat_base",
        action="store_true",
        help="also ask the base of a chat model in its chat template, with its answer taken out of the code block",
    )
    add(
        "--repository_context",
        type=count,
        default=0,
        metavar="N",
        help="also ask base and adapted model with N tokens of retrieved files: docs/adaptation.md",
    )
    add("--system_prompt", default="", metavar="TEXT", help="of --chat_base; default: the one of the chat template")
    add(
        "--execute",
        action="store_true",
        help="run the tests of HumanEval-Infilling on what the models wrote, sandboxed: docs/benchmark.md",
    )
    add("--primary", metavar="METRIC", help="metric that carries the verdict, named before the run; default: by task")
    add("--profile", choices=["honest", "compat"], default="honest", help="compat adds CodeXGLUE's own rounded scores")
    add("--tokens_per_batch", type=positive, help="rows times longest row (default: a KV cache of 4 GB, at most 32768)")
    add(
        "--backend",
        choices=["transformers", "vllm"],
        default="transformers",
        help="library that generates the predictions",
    )
    add("--no_cache", action="store_true", help="neither reuse stored predictions nor store new ones")


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The settings of a command.

    Attributes:
        settings: of the models and the questions, where models are asked.
        rescore: whether the predictions in the output are scored again.
        compare: two earlier runs to compare.
        allow_different: whether answers of other decoding, prompt limits or dtype may be compared.
        primary: the metric that carries the verdict.
        profile: "compat" adds CodeXGLUE's own scores.
        output: where predictions, scores and report go.
        overwrite: whether an output that is there is replaced.
        dry_run: whether nothing is done.
    """

    settings: BenchmarkSettings
    rescore: bool
    compare: tuple[Path, Path] | None
    allow_different: bool
    primary: str | None
    profile: str
    output: Path
    overwrite: bool
    dry_run: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Request":
        """Return the settings for the flags."""
        settings = BenchmarkSettings(
            adapted=tuple(args.hf_repository or ()),
            base=args.model_name_or_path,
            few_shot=args.few_shot,
            load_in_4bit=args.load_in_4bit,
            benchmarks=tuple(args.benchmark),
            dataset=args.dataset,
            split=args.split,
            forgetting=args.forgetting,
            sample=args.sample,
            seed=args.seed,
            max_new_tokens=args.max_new_tokens,
            max_prompt_tokens=args.max_prompt_tokens,
            tokens_per_batch=args.tokens_per_batch,
            decoding=Decoding(temperature=args.temperature, top_p=args.top_p, seed=args.generation_seed),
            backend=args.backend,
            with_cache=not args.no_cache,
            execute=args.execute,
            chat_base=args.chat_base,
            system_prompt=args.system_prompt,
            repository_context=args.repository_context,
        )
        return cls(
            settings=settings,
            rescore=args.rescore,
            compare=tuple(args.compare) if args.compare else None,
            allow_different=args.allow_different,
            primary=args.primary,
            profile=args.profile,
            output=args.output_dir or default_output(settings.adapted, args.compare),
            overwrite=args.overwrite,
            dry_run=args.dry_run,
        )

    def contradiction(self) -> str | None:
        """Return a sentence about contradictory flags; None if there are none."""
        from codefit.evaluation import questions, task_metrics
        from codefit.evaluation.benchmarks import formats

        decoding, names = self.settings.decoding, self.settings.benchmarks
        if not (self.rescore or self.compare or self.settings.adapted):
            return "--hf_repository is needed: the adapter or merged model to evaluate"
        if self.primary and self.primary not in task_metrics.NAMES:
            return f"--primary {self.primary}: choose from {', '.join(task_metrics.NAMES)}"
        if self.settings.execute and (self.rescore or self.compare):
            return "--execute runs what models write now: leave it out, stored results of tests are kept"
        if self.settings.system_prompt and not self.settings.chat_base:
            return "--system_prompt has no effect without --chat_base: add it, or omit the prompt"
        if self.settings.repository_context and (self.rescore or self.compare):
            return "--repository_context asks models: leave it out, stored predictions with files are kept"
        if self.settings.repository_context and self.settings.backend == "vllm":
            return "--repository_context needs --backend transformers"
        if decoding.seed and not decoding.samples:
            return "--generation_seed has no effect without sampling: add --temperature or --top_p"
        if self.settings.backend == "vllm" and decoding.samples:
            return "--backend vllm decodes greedily; leave out --temperature and --top_p, or --backend"
        if unknown := [name for name in names if not questions.is_known(name)]:
            known = ", ".join(("heldout", *formats.NAMES))
            return f"--benchmark {unknown[0]}: choose from {known}, or name a .jsonl, .json or .jsonl.gz file"
        return None


def default_output(adapted: Sequence[str], compare: Sequence[Path] | None) -> Path:
    """Return the default folder of the results: next to the first model, or to the first of two earlier runs."""
    if compare:
        return outputs.next_to(str(compare[0]), "compared")
    return outputs.next_to(adapted[0], "benchmark") if adapted else Path(run_folder.OUTPUT).with_name("benchmark")


# ---------------------------------------------------------------------------------------------- preparation


def load_questions(settings: QuestionSettings, manifest: Manifest) -> "list[Questions]":
    """Return the benchmarks with their prompts, sampled."""
    from codefit.evaluation import questions

    found = questions.load(settings, manifest)
    return [questions.draw(asked, settings.sample, settings.seed) for asked in found]


def load_training(settings: QuestionSettings, few_shot: int, manifest: Manifest) -> "TrainingData | None":
    """Return the training data for baselines, examples and leak checks; None where they are not on this machine."""
    from codefit import records
    from codefit.evaluation.training_lookup import TrainingData

    heldout = "heldout" in settings.benchmarks
    folder = records.dataset_folder(settings.dataset) if heldout else Path(settings.dataset)
    path = folder / "train.jsonl"
    if path.is_file() and path.stat().st_size:
        manifest.add_input(path)
        return TrainingData(path, settings.seed)
    if few_shot:
        raise UserError(f"--few_shot needs examples from {path}, which does not exist; name the data with --dataset.")
    console.show(f"note: no training data in {settings.dataset}, so there is no look-up baseline and no leak check")
    return None


def describe(
    models: "dict[str, Model]", how: InferenceSettings, asked: "list[Questions]", encoder: Any
) -> dict[str, int]:
    """Print models, benchmarks and batches; return for each benchmark how many prompts are cut on the left."""
    from codefit.generation.batched import batches

    for key, model in models.items():
        quantised = " in 4 bits" if how.load_in_4bit and key == "base" else ""
        kind = f" ({model.kind or model.role})" if key != "base" else ""
        console.show(f"{model.label:<15} {model.name}{kind}{quantised}")
    cut = {}
    for each in asked:
        samples = list(encoder.samples(each.pairs))
        cut[each.name] = sum(sample.cut > 0 for sample in samples)
        rows = len(batches([sample.start + each.new_tokens for sample in samples], how.tokens_per_batch))
        console.show(
            f"{each.name:<15} {console.counted(len(each.pairs), 'prompt')} ({cut[each.name]} cut on the left), "
            f"batches for each model: {rows}"
        )
    return cut


def refuse_lossy_tokens(asked: "list[Questions]", encoder: Any) -> dict[str, list[str]]:
    """Return the references of each benchmark after encoding and decoding with the tokenizer.

    Raises:
        UserError: the tokenizer loses so much that no prediction could match its reference.
    """
    from codefit.scoring.edit_similarity import EDIT_SIMILARITY

    found = {}
    for each in asked:
        references = [pair.completion for pair in each.pairs]
        found[each.name] = [encoder.decode(ids) for ids in encoder.ids(references)]
        score = EDIT_SIMILARITY.score(found[each.name], references)
        if score < 99:
            raise UserError(
                f"{each.name}: encoded and decoded by the tokenizer, the references score only {score:.1f} in edit "
                "similarity, and no model could score more; use a base whose tokenizer is lossless."
            )
    return found


def answer_without_model(
    asked: "list[Questions]", training: "TrainingData | None", references: dict[str, list[str]]
) -> "results.Stored":
    """Return for each benchmark the answers of the baselines that need training data or a tokenizer."""
    found: dict[str, dict[str, list[str]]] = {}
    for each in asked:
        found[each.name] = {"references": references[each.name]}
        if training:
            nearest = console.progress(training.nearest(pair.prompt for pair in each.pairs), "nearest", len(each.pairs))
            found[each.name] |= {"constant": [training.constant] * len(each.pairs), "nearest": list(nearest)}
    return found


# ---------------------------------------------------------------------------------------------- the benchmark


def ask_models(settings: BenchmarkSettings, manifest: Manifest, output: Path, dry_run: bool) -> "results.Run | None":
    """Return the predictions of all models, or None after a dry run; the benchmarks are recorded in the manifest."""
    from codefit.evaluation import contenders, execution, inference, questions, result_schema, retrieval
    from codefit.evaluation.report import comparability, results
    from codefit.evaluation.result_schema import BenchmarkInfo

    found = contenders.resolve(settings)
    how = found.inference
    manifest.add_model(found.models[contenders.BASE].name)
    if how.backend == "vllm":
        from codefit.generation import vllm_backend

        adapters = [str(model.folder) for model in found.models.values() if model.kind == "adapter"]
        base = found.models[contenders.BASE]
        vllm_backend.refuse_unsupported(base.name, base.revision, adapters, how.load_in_4bit)
    asked = load_questions(found.questions, manifest)
    encoders, models = contenders.encoders(
        found.models, how.max_prompt_tokens, how.system_prompt, how.repository_context
    )
    found = dataclasses.replace(found, models=models)
    encoder = encoders["adapted"]
    cut = describe(models, how, asked, encoder)
    console.show(f"{'output':<15} {output}")
    if dry_run:
        return None
    references = refuse_lossy_tokens(asked, encoder)
    training = load_training(found.questions, how.few_shot, manifest)
    retrieved = retrieval.for_benchmarks(asked, encoder, how) if how.repository_context else {}
    with_files = {name: each.pairs for name, each in retrieved.items()}
    predicted = inference.of_models(found, asked, encoders, training, with_files)
    predictions = {name: {key: model.items for key, model in by_key.items()} for name, by_key in predicted.items()}
    costs = {name: {key: it.cost for key, it in by_key.items() if it.cost} for name, by_key in predicted.items()}
    predictions |= execution.of_models(predictions, {each.name: each.tests for each in asked if each.tests})
    benchmarks = {
        each.name: BenchmarkInfo(
            title=each.title,
            forgetting=each.name == questions.FORGETTING,
            format=each.format,
            decoding={key: model.settings for key, model in predicted[each.name].items()},
            retrieval=retrieved[each.name].described(costs[each.name]) if each.name in retrieved else None,
        )
        for each in asked
    }
    manifest.update(
        models=result_schema.plain(models),
        benchmarks=result_schema.plain(benchmarks),
        dataset=found.questions.dataset,
        load_in_4bit=how.load_in_4bit,
        cut_prompts=cut,
        asked={name: comparability.digest(by_key["base"]) for name, by_key in predictions.items()},
        answered={
            name: {key: comparability.predictions_digest(items) for key, items in by_key.items()}
            for name, by_key in predictions.items()
        },
    )
    about = result_schema.of_manifest(manifest.content, output)
    loss_png = Path(str(models["adapted"].folder)) / run_folder.LOSS_CURVE
    return results.Run(
        predictions, answer_without_model(asked, training, references), about, manifest.content, loss_png
    )


def gather(request: Request, manifest: Manifest) -> "results.Run | None":
    """Return the run to score: read from disk, combined from two runs, or generated now; None after a dry run."""
    from codefit.evaluation.report import comparability, results

    if request.rescore:
        run = results.read(request.output)
        if request.primary not in (None, run.about.arguments.primary):
            raise UserError("the primary metric is chosen before a run, not after it; leave out --primary.")
        for name, info in run.about.benchmarks.items():
            comparability.refuse_different(info.decoding, f"{name} in {request.output}", request.allow_different)
        manifest.update(predicted_by=run.made)
        if request.dry_run:
            console.show(f"would score again: {', '.join(run.predictions)} in {request.output}")
        return None if request.dry_run else run
    how = request.settings
    for name in how.adapted:
        hub_names.reach_for(name)
    read = (*how.adapted, how.base, how.dataset, how.forgetting, *how.benchmarks, *(request.compare or ()))
    outputs.refuse_own_inputs(request.output, read)
    outputs.refuse_existing(request.output, request.overwrite or request.dry_run)
    for name in (*how.adapted, *map(str, request.compare or ())):
        manifest.add_model(name)
    if request.compare:
        run = results.side_by_side(request.compare[0], request.compare[1], manifest)
        for name, info in run.about.benchmarks.items():
            comparability.refuse_different(info.decoding, name, request.allow_different)
        if request.dry_run:
            console.show(f"would compare {request.compare[0]} and {request.compare[1]} on {', '.join(run.predictions)}")
        return None if request.dry_run else run
    return ask_models(request.settings, manifest, request.output, request.dry_run)


def show(output: Path, scores: "Scores") -> None:
    """Print the tables of a benchmark, and where its report is."""
    from codefit.evaluation.report import results, terminal
    from codefit.records import OVERLAP

    for name, result in scores.benchmarks.items():
        small = name == OVERLAP and terminal.is_too_small(result)  # nobody asked for it by name
        text = terminal.brief(result) if small else terminal.table(result, scores.models)
        console.show(f"\n{text}", paint=terminal.coloured)
    if not any(result.forgetting for result in scores.benchmarks.values()):
        console.show("\nforgetting: not checked; add --forgetting with unrelated code")
    console.show(f"\nreport: {output / 'report.html'}\nplot:   {output / 'scores.png'}")
    for errors in filter(Path.is_file, (results.errors_file(output, name) for name in scores.benchmarks)):
        console.show(f"errors: {errors}")


def main(argv: Sequence[str] | None = None) -> None:
    """Generate predictions, or read earlier ones; score, compare and report."""
    parser = build_parser()
    args = parser.parse_args(argv)
    request = Request.of(args)
    if problem := request.contradiction():
        parser.error(problem)
    from codefit.evaluation import comparison, result_schema
    from codefit.evaluation.report import results

    manifest = Manifest({**vars(args), "output_dir": request.output})
    outputs.recover(request.output)
    if not (request.rescore or request.overwrite or request.dry_run) and manifest.repeats(request.output):
        show(request.output, result_schema.read(request.output))
        return
    run = gather(request, manifest)
    if run is None:
        return
    score = comparison.score_items
    scored = {name: {key: score(items) for key, items in found.items()} for name, found in run.predictions.items()}
    about = run.about
    scores = comparison.scores(
        scored,
        about.models,
        about.benchmarks,
        run.stored,
        about.arguments.seed,
        profile=request.profile,
        primary=about.arguments.primary,
    )
    with outputs.new_directory(request.output, request.overwrite or request.rescore) as folder:
        results.write(folder, scores, dataclasses.replace(run, predictions=scored))
        manifest.write(folder)
    show(request.output, scores)


if __name__ == "__main__":
    cli.run(main, computes=True)
