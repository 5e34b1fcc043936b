"""Turn documents into training pairs: clean, filter, deduplicate, split, then build the pairs.

    python preprocess_data.py --input data/python_raw.jsonl --output data/python_prepared

    python preprocess_data.py --input data/kotlin_code_raw.jsonl JetBrains/KStack --task completion \\
        --model_name_or_path microsoft/phi-1_5 --max_prompt_tokens 100 --max_completion_tokens 35 --profile standard \\
        --split_by directory --test_share 0.1 --seed 1 --output data/kotlin_100_35 --hf_repository me/kotlin-pairs

    python preprocess_data.py --output data/kotlin_prepared_dataset --verify

The output folder holds train.jsonl, validation.jsonl, test.jsonl, documents.jsonl (the files that were kept),
rejected.jsonl (every rejected document with the reason) and manifest.json. Files are split before pairs are built,
exact duplicates are removed, and no train file is a near-duplicate of a held-out file; `--verify` checks this for an
existing output, starting again from its input.

Documents that parse_data.py read with --history are all for training and validation; the test pairs are what later
commits added, with only what their authors had in prompt and context (docs/history.md).
"""

import argparse
import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console, outputs, records
from codefit.code.languages import LANGUAGES
from codefit.curation import description, hub_inputs, later_changes, repeated_prompts
from codefit.curation.corpus import Corpus, RejectionLog
from codefit.curation.curate import CurationOptions, batched, curate_all
from codefit.curation.curation_flags import add_curation_flags
from codefit.curation.hub_inputs import HubInputs
from codefit.curation.later_changes import Additions, CuratedHistory
from codefit.curation.neighbours import Neighbours
from codefit.curation.split import UNITS, Splitting
from codefit.curation.summary import summary
from codefit.dates import moment
from codefit.engine import ENGINES, Engine
from codefit.errors import UserError
from codefit.manifest import PUSHING, Manifest
from codefit.records import MAX_PROMPT_TOKENS, SPLITS, Rejection
from codefit.tasks.build import Built, build_additions, build_batch, build_in_repository
from codefit.tasks.cutting import MIN_PROMPT_TOKENS
from codefit.tasks.instructions import PROMPT_FORMATS
from codefit.tasks.task import TASKS, TaskOptions, load_task


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--input",
        nargs="+",
        default=["data/kotlin_code_raw.jsonl"],
        metavar="DOCUMENTS",
        help="document files (.jsonl, .parquet) or Hub data sets",
    )
    parser.add_argument("--output", type=Path, default=Path(records.PREPARED), help="folder to write")
    add_task_flags(parser)
    add_curation_flags(parser)
    add_split_flags(parser)
    parser.add_argument(
        "--engine", choices=ENGINES, default="local", help="where curation and pair building run (see docs/scaling.md)"
    )
    parser.add_argument(
        "--num_workers", type=cli.number(int, 1), help="number of processes (default: one per processor)"
    )
    parser.add_argument(
        "--ray_address", help="with --engine ray: address of the cluster (default: start one on this machine)"
    )
    parser.add_argument(
        "--describe", action="store_true", help="also write OUTPUT/data.html: what is in the data, with examples"
    )
    parser.add_argument("--verify", action="store_true", help="check an existing --output for leaks between its splits")
    parser.add_argument("--hf_repository", help="push to this Hub data set")
    parser.add_argument("--private", action="store_true", help="push only to a private data set; a new one is private")
    cli.add_output_flags(parser)
    return parser


def add_task_flags(parser: cli.Parser) -> None:
    """Add the flags of the task: which pairs are built, and how long they are."""
    parser.add_argument("--task", choices=TASKS, default="completion", help="the kind of pairs to build")
    parser.add_argument("--language", nargs="+", choices=LANGUAGES, help="keep only these languages (default: all)")
    parser.add_argument(
        "--model_name_or_path", default="microsoft/phi-1_5", help="model whose tokenizer counts the tokens"
    )
    parser.add_argument(
        "--max_prompt_tokens", type=cli.number(int, 16), default=MAX_PROMPT_TOKENS, help="longest prompt, in tokens"
    )
    parser.add_argument(
        "--max_completion_tokens", type=cli.number(int, 1), default=64, help="longest completion, in tokens"
    )
    parser.add_argument(
        "--repository_context",
        type=cli.number(int, 0),
        default=0,
        metavar="N",
        help="task completion: tokens of each prompt to fill with other files of the repository",
    )
    parser.add_argument("--window_step", type=cli.number(int, 1), default=128, help="tokens between two cut points")
    parser.add_argument("--max_pairs_per_file", type=cli.number(int, 1), default=40, help="most cut points in a file")
    parser.add_argument(
        "--lines_before", type=cli.number(int, 1), default=15, help="task line: lines of context before the target line"
    )
    parser.add_argument(
        "--lines_after", type=cli.number(int, 0), default=10, help="task line: lines of context after the target line"
    )
    parser.add_argument(
        "--prompt_format",
        choices=PROMPT_FORMATS,
        default="plain",
        help="tasks line, naming and summary: the prompt format",
    )
    parser.add_argument(
        "--without_docstring", action="store_true", help="task naming: leave out the documentation of the function"
    )
    parser.add_argument(
        "--check_docstrings",
        action="store_true",
        help="task summary: leave out docstrings that are unfinished, repeat the name or describe missing parameters",
    )
    parser.add_argument(
        "--codexglue", action="store_true", help="task method: also write CodeXGLUE's format, into OUTPUT/codexglue"
    )


def add_split_flags(parser: cli.Parser) -> None:
    """Add the flags of the split and of decontamination."""
    parser.add_argument(
        "--split_by", choices=UNITS, default="file", help="the unit that is never divided between splits"
    )
    parser.add_argument(
        "--validation_since",
        type=cli.date,
        metavar="DATE",
        help="with --split_by time: files committed since then go to validation",
    )
    parser.add_argument(
        "--test_since",
        type=cli.date,
        metavar="DATE",
        help="with --split_by time: files committed since then go to test",
    )
    parser.add_argument(
        "--decontaminate",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="benchmarks (.jsonl, .parquet, text): documents that contain a piece of one are rejected",
    )
    parser.add_argument(
        "--validation_share", type=cli.number(float, 0, 0.4), default=0.05, help="share of units in validation"
    )
    parser.add_argument("--test_share", type=cli.number(float, 0, 0.4), default=0.05, help="share of units in test")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the split and the cut points")


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The settings of a run of this stage.

    Attributes:
        inputs: document files, or data sets on the Hub.
        output: the folder to write, or to verify.
        task: one of TASKS.
        tokenizer: the model whose tokenizer counts.
        limits: of the pairs.
        codexglue: whether the pairs are also written in CodeXGLUE's format.
        curation: what is done to documents.
        splitting: how they are divided.
        decontaminate: benchmarks of which no document may hold a piece.
        engine: what runs the batches.
        describe: whether a page about the data is written.
        verify: whether an output is only checked.
        hf_repository: data set on the Hub to push to.
        private: whether only to a private one.
        overwrite: whether an output that is there is replaced.
        dry_run: whether nothing is done.
    """

    inputs: tuple[str, ...]
    output: Path
    task: str
    tokenizer: str
    limits: TaskOptions
    codexglue: bool
    curation: CurationOptions
    splitting: Splitting
    decontaminate: tuple[Path, ...]
    engine: Engine
    describe: bool
    verify: bool
    hf_repository: str | None
    private: bool
    overwrite: bool
    dry_run: bool

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Request":
        """Return what a command line asks for."""
        since = args.test_since or "", args.validation_since or ""
        return cls(
            inputs=tuple(args.input),
            output=args.output,
            task=args.task,
            tokenizer=args.model_name_or_path,
            limits=TaskOptions(**{field.name: getattr(args, field.name) for field in dataclasses.fields(TaskOptions)}),
            codexglue=args.codexglue,
            curation=CurationOptions.of(vars(args)),
            splitting=Splitting(args.split_by, args.test_share, args.validation_share, args.seed, *since),
            decontaminate=tuple(args.decontaminate),
            engine=Engine(args.engine, args.num_workers, args.ray_address),
            describe=args.describe,
            verify=args.verify,
            hf_repository=args.hf_repository,
            private=args.private,
            overwrite=args.overwrite,
            dry_run=args.dry_run,
        )

    def without_test(self) -> "Request":
        """Return the settings for documents of which none is for the test."""
        return dataclasses.replace(self, splitting=dataclasses.replace(self.splitting, test_share=0))

    def contradiction(self) -> str | None:
        """Return a sentence about flags that contradict each other; None where none do."""
        validation, test = self.splitting.validation_since, self.splitting.test_since
        if (validation or test) and self.splitting.by != "time":
            return "--validation_since and --test_since need --split_by time"
        if bool(validation) != bool(test):
            return "--validation_since and --test_since need each other; give both"
        if test and str(moment(validation)) > str(moment(test)):
            return "--validation_since must not be later than --test_since"
        if self.engine.ray_address and self.engine.name != "ray":
            return "--ray_address needs --engine ray"
        if self.limits.without_docstring and self.task != "naming":
            return "--without_docstring needs --task naming"
        if self.limits.check_docstrings and self.task != "summary":
            return "--check_docstrings needs --task summary"
        if self.limits.repository_context and self.task != "completion":
            return "--repository_context needs --task completion"
        if self.limits.repository_context > self.limits.max_prompt_tokens - MIN_PROMPT_TOKENS:
            return f"--repository_context counts towards --max_prompt_tokens; leave {MIN_PROMPT_TOKENS} for the prompt"
        if self.codexglue and (self.task != "method" or "python" not in (self.curation.language or ["python"])):
            return "--codexglue needs --task method and Python, the only language of its format"
        return None


# ------------------------------------------------------------------------------------------- documents


def read_and_curate(
    request: Request, hub: HubInputs, corpus: Corpus, log: RejectionLog, history: CuratedHistory | None
) -> dict[str, Any]:
    """Fill the corpus, and the history if there is one, from the inputs and return the counts."""
    from codefit.curation.dedup import content_id

    counts = Counter(documents_in=0, licence_headers_removed=0)
    redacted: Counter[str] = Counter()
    names: set[tuple[str, str]] = set()
    documents_of: Counter[str] = Counter()
    documents = hub_inputs.documents(request.inputs, hub, documents_of)
    reading = console.progress(documents, "curate", unit="file")
    for document, curated in curate_all(reading, request.curation, request.engine):
        outcome = curated.outcome
        counts.update(curated.counts, documents_in=1)
        name = document.repository, document.path
        if not isinstance(outcome, Rejection) and name in names:
            outcome = Rejection("same repository and path")
        if isinstance(outcome, Rejection):
            length = len(document.content.encode("utf-8", "surrogatepass"))
            log.add(document.repository, document.path, length, outcome)
        else:
            names.add(name)
            corpus.add(outcome, content_id(outcome.content))
            if history:
                history.add_document(outcome)
            redacted += curated.redacted
    kept = "redacted" if request.curation.redact else "not_redacted"
    return {**counts, "documents_of": documents_of, kept: redacted}


def read_with_history(
    request: Request, hub: HubInputs, corpus: Corpus, log: RejectionLog, histories: Sequence[Path], file: Path
) -> dict[str, Any]:
    """Fill the corpus, write the curated history of the inputs, and return the counts."""
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        history = CuratedHistory(lines)
        counts = read_and_curate(request, hub, corpus, log, history)
        history.add_histories(histories, request.curation, request.engine)
    return {**counts, "history_changes": history.changes, "history_left_out": history.left_out}


def select(request: Request, corpus: Corpus, log: RejectionLog) -> dict[str, Any]:
    """Reject duplicates and contaminated documents, assign the others to splits, and return facts for the manifest."""
    from codefit.curation import selection

    decided: dict[str, Any] = {}
    selection.remove_exact_duplicates(corpus, log)
    if request.decontaminate:
        decided["boilerplate"] = selection.remove_benchmarks(corpus, log, request.decontaminate)
    decided["boundaries"] = selection.split_corpus(corpus, log, request.splitting)
    selection.remove_near_duplicates(corpus, log)
    return decided


# ------------------------------------------------------------------------------------------- pairs


def build_split(request: Request, corpus: Corpus, split: str, tokenizer: Any, file: Path) -> dict[str, Any]:
    """Write the pairs of one split and return the counts."""
    settings = {"task": request.task, "tokenizer": tokenizer, "options": request.limits}
    skipped: Counter[str] = Counter()
    syntax_errors: Counter[str] = Counter()
    counts = Counter(documents=0, documents_without_pair=0, tokens=0, pairs=0, natural_ends=0, unread_functions=0)
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        numbers = console.progress(corpus.of_split(split), f"pairs for {split}", unit="file")
        batches: Iterable[Any] = batched(map(corpus.document, numbers))
        build: Callable[..., Built] = build_batch
        if request.limits.repository_context:
            near = Neighbours(corpus, split, request.limits.repository_context).of
            batches, build = ((batch, list(map(near, batch))) for batch in batches), build_in_repository
        for _, built in request.engine.run(functools.partial(build, **settings), batches):
            lines.write(built.lines)
            counts.update(built.counts)
            skipped.update(built.skipped)
            syntax_errors.update(built.syntax_errors)
    return {**counts, "skipped": skipped, "syntax_errors": syntax_errors}


def build_later(request: Request, tokenizer: Any, file: Path) -> dict[str, Any]:
    """Write the pairs of what later commits added and return the counts; every changed file counts as a document."""
    counts = Counter(documents=0, documents_without_pair=0, tokens=0, pairs=0, natural_ends=0)
    skipped: Counter[str] = Counter()
    context = request.limits.repository_context
    additions = Additions(file.with_name(records.HISTORY), context)
    reading = console.progress(additions, "pairs of later changes", unit="file")
    build = functools.partial(build_additions, tokenizer=tokenizer, options=request.limits)
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for _, built in request.engine.run(build, later_changes.batched(reading)):
            lines.write(built.lines)
            counts.update(built.counts)
            skipped.update(built.skipped)
    return {**counts, "skipped": skipped, "syntax_errors": Counter()}


def without_overlap(test: dict[str, Any], folder: Path, corpus: Corpus) -> dict[str, Any]:
    """Move test pairs that also occur in train out of the test split, and return its new counts."""
    from codefit.curation.overlap import move_overlap

    moved = move_overlap(folder, map(corpus.text, corpus.of_split("train")))
    return {**repeated_prompts.shrunk(test, moved), "pairs_moved_to_test_overlap": moved["pairs"]}


# ------------------------------------------------------------------------------------------- messages


def say_what_would_happen(request: Request) -> None:
    for source in request.inputs:
        path = Path(source)
        if path.is_file():
            console.show(f"{source}: {path.stat().st_size / 1e6:.1f} MB")
        elif path.suffix or source.count("/") != 1:
            raise UserError(f"{source} does not exist; run parse_data.py first, or check --input.")
        else:
            console.show(f"{source}: a Hub data set")
    histories = later_changes.histories(request.inputs)
    later_changes.refuse_flags(histories, request.task, request.splitting.by)
    for history in histories:
        console.show(f"{history}: {history.stat().st_size / 1e6:.1f} MB of later changes, for the test pairs")
    counted = f", counted with the tokenizer of {request.tokenizer}" if load_task(request.task).NEEDS_TOKENS else ""
    console.show(
        f"would build pairs of the task {request.task}{counted}, split by {request.splitting.by}, "
        f"and write them to {request.output}"
    )


def refuse_output(request: Request, is_done: bool) -> None:
    """Raise UserError before anything is done if the output could not be written or pushed in the end."""
    outputs.refuse_own_inputs(request.output, [*request.inputs, request.tokenizer, *request.decontaminate])
    if not is_done:
        outputs.refuse_existing(request.output, request.overwrite)
    if request.hf_repository:
        from codefit.publishing import push

        push.check_repository(request.hf_repository, "dataset", private=request.private or None)


def refuse_too_long(request: Request, context: int | None) -> None:
    """Raise UserError if the longest pairs do not fit into the context of the model, in tokens; None if unknown."""
    prompt, completion = request.limits.max_prompt_tokens, request.limits.max_completion_tokens
    if context is not None and prompt + completion > context:
        raise UserError(
            f"{request.tokenizer} can read {context} tokens, too few for prompts of {prompt} and completions of "
            f"{completion}; lower --max_prompt_tokens or --max_completion_tokens, or name another model."
        )


def refuse_no_test(test: dict[str, Any], left_out: Counter[str]) -> None:
    """Raise UserError if later commits gave no test pair."""
    if not test["pairs"]:
        listed = ", ".join(f"{number} {reason}" for reason, number in (test["skipped"] + left_out).most_common(4))
        raise UserError(
            f"later commits gave no test pair ({listed or 'they added no line'}); choose an earlier date for --history."
        )


def refuse_empty(count: int, reasons: Counter[str]) -> None:
    """Raise UserError if no document, or no pair, is left."""
    if not count:
        listed = ", ".join(f"{rule}: {number}" for rule, number in reasons.most_common(4)) or "there were none"
        raise UserError(f"nothing is left to train on ({listed}); give more files, or try --profile light.")


def prepare(request: Request, hub: HubInputs, manifest: Manifest) -> None:
    """Build the data set, and print what was kept and rejected."""
    tokenizer = None
    if load_task(request.task).NEEDS_TOKENS:
        from codefit.tasks.token_offsets import context_of, load_tokenizer

        tokenizer = load_tokenizer(request.tokenizer)
        refuse_too_long(request, context_of(request.tokenizer))
        limits = request.limits.with_room_for(tokenizer.num_special_tokens_to_add(is_pair=False))
        request = dataclasses.replace(request, limits=limits)
        manifest.add_model(request.tokenizer)
    histories = later_changes.histories(request.inputs)
    later_changes.refuse_flags(histories, request.task, request.splitting.by)
    with (
        outputs.new_directory(request.output, request.overwrite) as folder,
        contextlib.closing(RejectionLog(folder / "rejected.jsonl")) as log,
    ):
        corpus = Corpus(folder)
        if histories:
            counts = read_with_history(request, hub, corpus, log, histories, folder / records.HISTORY)
            request = request.without_test()
        else:
            counts = read_and_curate(request, hub, corpus, log, None)
        refuse_empty(len(corpus.entries), log.files)
        counts.update(select(request, corpus, log))
        splits = {name: build_split(request, corpus, name, tokenizer, folder / f"{name}.jsonl") for name in SPLITS}
        kept = sum(split["documents"] for split in splits.values())
        if histories:
            splits["test"] = build_later(request, tokenizer, folder / "test.jsonl")
            refuse_no_test(splits["test"], counts["history_left_out"])
        splits = repeated_prompts.removed(splits, folder)
        splits["test"] = without_overlap(splits["test"], folder, corpus)
        counts["documents_sha256"] = corpus.write(folder / records.DOCUMENTS, request.splitting.by == "time")
        if request.codexglue:
            from codefit.evaluation.benchmarks import codexglue_export

            counts["codexglue"] = codexglue_export.export(folder, folder / "codexglue")
        assert counts["documents_in"] == kept + log.files.total(), "a document was lost"
        refuse_empty(splits["train"]["pairs"], splits["train"]["skipped"] + log.files)
        if request.describe:
            console.show(description.write(folder, corpus, log, splits, tokenizer) + "\n")
        for path in filter(Path.is_file, [*map(Path, request.inputs), *histories, *request.decontaminate]):
            manifest.add_input(path)
        manifest.update(**counts, hub=hub, documents_kept=kept, rejections=log.files, splits=splits)
        manifest.write(folder)
    console.show(summary(log, counts, splits))
    console.show(
        f"\nwrote {request.output}: {counts['documents_in']} documents in = {kept} kept + {log.files.total()} rejected"
    )


def main(argv: list[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(argv)
    request = Request.of(args)
    if problem := request.contradiction():
        parser.error(problem)
    if request.verify:
        from codefit.curation.leaks import verify

        console.show(verify(request.output))
        return
    if request.dry_run:
        say_what_would_happen(request)
        return
    manifest = Manifest(vars(args))
    outputs.recover(request.output)
    hub = hub_inputs.found(request.inputs, request.output)
    is_done = not request.overwrite and manifest.repeats(request.output, PUSHING, **({"hub": hub} if hub else {}))
    refuse_output(request, is_done)
    if not is_done:
        prepare(request, hub, manifest)
    if request.hf_repository:
        from codefit.publishing import push

        url = push.push_dataset(request.output, request.hf_repository, private=request.private or None)
        console.show(f"pushed to {url}")


if __name__ == "__main__":
    cli.run(main)
