"""Will it pay? Say what fitting a model to a repository and showing it other files would gain, before a long training.

    python forecast.py --repository path/to/project --model_name_or_path SmolLM2-135M-Instruct.Q4_1.gguf

The history of the repository is the test: what its last commits added is asked about, with what their authors had.
Base and model are asked with and without retrieved files, after two short runs of an eighth and a quarter of
--max_steps. The answer is: fit the model, show it other files, both or neither, with the expected gain of each and its
interval, how many steps are worth it and how long they take here.

docs/forecast.md says how it is computed, and how often it was right.
"""

import argparse
from pathlib import Path

from codefit import cli, console, outputs
from codefit.errors import UserError
from codefit.forecast import stages, start
from codefit.forecast.learning_curve import SHORTER
from codefit.forecast.stages import FOLDER
from codefit.manifest import Manifest, command
from codefit.tasks.token_offsets import context_of

FEWEST_PROMPTS = 30  # without which no benchmark gives a verdict


def build_parser() -> cli.Parser:
    """Return the parser of this script."""
    parser = cli.Parser(__doc__)
    add, positive = parser.add_argument, cli.number(int, 1)
    add("--repository", required=True, help="git repository with its history on this machine: folder or bundle")
    add("--model_name_or_path", type=cli.named, required=True, help="base model: folder, GGUF file or Hub id")
    add("--language", nargs="+", default=[], metavar="NAME", help="languages to read (default: the main ones)")
    add("--subfolder", type=cli.subfolder, metavar="FOLDER", help="read only this folder (default: all of it)")
    add("--output_dir", type=Path, help="folder of all stages (default: outputs/forecast-NAME)")
    add("--max_steps", type=cli.number(int, 2 * SHORTER), default=96, help="steps of the training that is forecast")
    add(
        "--sample",
        type=cli.number(int, FEWEST_PROMPTS),
        default=40,
        metavar="N",
        help="later changes that are asked about now",
    )
    add("--benchmark_sample", type=positive, default=500, metavar="N", help="prompts of the benchmark that is forecast")
    add("--max_prompt_tokens", type=positive, default=256, help="tokens of a prompt before the cursor")
    add("--repository_context", type=positive, default=512, metavar="N", help="tokens of retrieved files")
    add("--seed", type=cli.number(int, 0), default=0, help="seed of the sample of prompts")
    cli.add_output_flags(parser)
    return parser


def plan_of(args: argparse.Namespace) -> stages.Plan:
    """Return what the stages do; model and history are looked at.

    Raises:
        UserError: the context window of the model is too short, or the history does not allow a forecast.
    """
    window = context_of(args.model_name_or_path) or stages.ROW_TOKENS
    if (room := window - args.max_prompt_tokens - stages.NEW_TOKENS) < args.repository_context:
        raise UserError(
            f"{args.model_name_or_path} has a context window of {window} tokens, too short for prompts of "
            f"{args.max_prompt_tokens} tokens, {args.repository_context} of files and {stages.NEW_TOKENS} new ones; "
            f"set --repository_context to at most {max(room, 1)}, or lower --max_prompt_tokens."
        )
    subfolder = args.subfolder or ""
    name = Path(args.repository).resolve().name.removesuffix(".bundle").removesuffix(".git")
    return stages.Plan(
        repository=args.repository,
        model=args.model_name_or_path,
        start=start.start_of(args.repository, args.language, subfolder),
        subfolder=subfolder,
        folder=args.output_dir or Path("outputs", f"forecast-{name}"),
        steps=args.max_steps,
        prompts=args.sample,
        own_tokens=args.max_prompt_tokens,
        file_tokens=args.repository_context,
        row_tokens=min(stages.ROW_TOKENS, window),
        seed=args.seed,
    )


def describe(plan: stages.Plan) -> None:
    """Print what was seen of the history, and what will be done."""
    found = plan.start
    console.show(
        f"history     {console.counted(found.files, 'file')} ({', '.join(found.languages)}); "
        f"{console.counted(found.later, 'changed file')} since {found.since[:10]} are the test, {found.earlier:,} "
        f"before it are the past\noutput      {plan.folder}"
    )


def main() -> None:
    """Run the stages, then compute and show the forecast."""
    args = build_parser().parse_args()
    plan = plan_of(args)
    output = plan.folder / FOLDER
    manifest = Manifest({**vars(args), "output_dir": plan.folder})
    manifest.add_model(plan.model)
    manifest.update(commit=plan.start.commit)
    describe(plan)
    if args.dry_run:
        for words in plan.commands():
            console.show(f"$ {stages.shown(words)}")
        return
    outputs.recover(output)
    if args.overwrite or not manifest.repeats(output, commit=plan.start.commit):
        outputs.refuse_existing(output, args.overwrite)
        for words in plan.commands():
            stages.run([*words, *(["--overwrite"] if args.overwrite else [])])
        write(plan, args.benchmark_sample, args.overwrite, manifest)
    show(plan)


def write(plan: stages.Plan, later: int, overwrite: bool, manifest: Manifest) -> None:
    """Compute the forecast from the finished stages, and write it with picture and page."""
    import msgspec

    from codefit.forecast import outcome, report

    found = outcome.forecast(plan, later)
    for path in (plan.measured / "scores.json", plan.pairs / stages.TEST):
        manifest.add_input(path)
    with outputs.new_directory(plan.folder / FOLDER, overwrite) as folder:
        text = msgspec.json.format(msgspec.json.encode(found)).decode()
        outputs.write_whole(folder / outcome.FILE, text + "\n")
        picture = folder / "forecast.png"
        report.draw(found, picture)
        page = report.page(found, picture, report.next_commands(found, plan), {"Command": command()})
        outputs.write_whole(folder / "forecast.html", page)
        manifest.write(folder)


def show(plan: stages.Plan) -> None:
    """Print a finished forecast, how to go on, and where its page is."""
    from codefit.forecast import outcome, report

    found, output = outcome.read(plan.folder), plan.folder / FOLDER
    console.show(f"\n{report.text(found)}\n")
    for label, words in report.next_commands(found, plan).items():
        console.show(f"{label}:\n  {words}")
    console.show(f"\nreport: {output / 'forecast.html'}\nplot:   {output / 'forecast.png'}")


if __name__ == "__main__":
    cli.run(main, computes=True)
