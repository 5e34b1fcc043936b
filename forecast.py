"""Will it pay? Say what fitting a model to a repository and showing it other files would gain, before a long training.

    python forecast.py --repository path/to/project --model_name_or_path SmolLM2-135M-Instruct.Q4_1.gguf

The history of the repository is the test: what its last commits added is asked about, with what their authors had.
Base and model are asked with and without retrieved files, after two short runs of an eighth and a quarter of
--max_steps. The answer is: fit the model, show it other files, both or neither, with the expected gain of each and its
interval, how many steps are worth it and how long they take here. With 135 M parameters on two cores it takes up to ten
minutes.

docs/forecast.md says how it is computed, and how often it was right.
"""

import argparse
from pathlib import Path

from codefit import cli, console, outputs
from codefit.errors import UserError
from codefit.forecast import stages, start
from codefit.forecast.learning_curve import SHORTER
from codefit.manifest import Manifest, command
from codefit.tasks.token_offsets import context_of

FOLDER = "forecast"  # of the answer, in the folder of all stages
FEWEST_PROMPTS = 30  # without which no benchmark gives a verdict


def build_parser() -> cli.Parser:
    """Return the parser of this script."""
    parser = cli.Parser(__doc__)
    add, positive = parser.add_argument, cli.number(int, 1)
    add("--repository", required=True, help="git repository with its history on this machine: folder or bundle")
    add("--model_name_or_path", type=cli.named, required=True, help="base model: folder, GGUF file or Hub id")
    add("--language", nargs="+", default=[], metavar="NAME", help="languages to read (default: the main ones)")
    add("--subfolder", help="read only this folder of the repository (default: all of it)")
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
    subfolder = (args.subfolder or "").strip("/")
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
    outputs.recover(output)
    outputs.refuse_existing(output, overwrite=True)
    describe(plan)
    if args.dry_run:
        for words in plan.commands():
            console.show(f"$ {stages.shown(words)}")
        return
    for words in plan.commands():
        stages.run([*words, *(["--overwrite"] if args.overwrite else [])])
    answer(plan, args.benchmark_sample, output, manifest)


def answer(plan: stages.Plan, later: int, output: Path, manifest: Manifest) -> None:
    """Compute the forecast from the finished stages; write and show it."""
    import msgspec

    from codefit.forecast import outcome, report

    found = outcome.forecast(plan, later)
    adapter = plan.folder / "adapter"
    pays = found.advice in {"tune", "both"}
    go_on = {
        "Fit the model" if pays else "To fit the model all the same": stages.shown(plan.train(adapter, found.worth)),
        "Then measure": stages.shown(plan.grid(adapter, plan.folder / "benchmark", found.later)),
    }
    with outputs.new_directory(output, overwrite=True) as folder:
        text = msgspec.json.format(msgspec.json.encode(found)).decode()
        outputs.write_whole(folder / "forecast.json", text + "\n")
        report.draw(found, folder / "forecast.png")
        page = report.page(found, folder / "forecast.png", go_on, {"Command": command()})
        outputs.write_whole(folder / "forecast.html", page)
        manifest.write(folder)
    console.show(f"\n{report.text(found)}\n")
    for label, words in go_on.items():
        console.show(f"{label}:\n  {words}")
    console.show(f"\nreport: {output / 'forecast.html'}\nplot:   {output / 'forecast.png'}")


if __name__ == "__main__":
    cli.run(main, computes=True)
