"""Try a model: the text before the cursor in, its completion out.

    python complete.py --hf_repository data/base --prompt "def read_lines(path):"

    python complete.py --hf_repository outputs/kotlin/adapter --file Main.kt --line 12 --column 9 --max_new_tokens 32

    python complete.py --hf_repository data/base --prompt "def " --temperature 0.8 --top_p 0.95 --num_return_sequences 3

The prompt is text, a place in a file (what stands before it is the prompt), or standard input. A model that knows
fill-in-the-middle also takes the text behind the cursor: with --suffix, or with --infill from the file.

The completion is greedy: always the likeliest token. --temperature, --top_k and --top_p draw instead, --num_beams
searches for a likely whole. The same --seed draws the same.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console
from codefit.errors import UserError
from codefit.generation.decoding import Decoding
from codefit.records import MAX_PROMPT_TOKENS


def build_parser() -> cli.Parser:
    """Return the parser of this script."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--hf_repository", type=cli.named, required=True, help="a model or an adapter: a folder or a Hub id")
    add("--model_name_or_path", type=cli.named, help="the base of an adapter; when absent, what its metadata name")
    add("--prompt", help="text before the cursor")
    add("--suffix", help="text behind the cursor, for a model that knows fill-in-the-middle")
    add("--file", type=Path, help="take the prompt from a file")
    add("--line", type=cli.number(int, 1), default=1, help="line of the cursor in --file, from 1")
    add("--column", type=cli.number(int, 1), default=1, help="column of the cursor in --file, from 1")
    add("--infill", action="store_true", help="give the model what stands behind the cursor in --file")
    add(
        "--max_prompt_tokens",
        type=cli.number(int, 1),
        help="a longer prompt is cut on the left; when absent: as trained",
    )
    add("--max_new_tokens", type=cli.number(int, 1), default=64, help="limit of the completion")
    _add_decoding_flags(parser.add_argument_group("decoding, greedy when all are absent"))
    add("--load_in_4bit", action=argparse.BooleanOptionalAction, help="load in 4 bits; when absent: as trained")
    return parser


def _add_decoding_flags(group: Any) -> None:
    add, positive = group.add_argument, cli.number(int, 1)
    add("--temperature", type=cli.number(float, 0), help="draw; under 1 the likely tokens more often, over 1 less")
    add("--top_k", type=positive, help="draw among the k likeliest tokens")
    add("--top_p", type=cli.number(float, 0, 1), help="draw among the likeliest tokens with this probability together")
    add("--num_beams", type=positive, default=1, help="beam search: keep so many likely completions at every token")
    add("--num_return_sequences", type=positive, default=1, help="how many completions to print")
    add("--seed", type=cli.number(int, 0), default=0, help="seed of the draws")


@dataclasses.dataclass(frozen=True, slots=True)
class PromptSource:
    """Where the prompt comes from: a text, a place in a file, or standard input where both are absent.

    Attributes:
        prompt: text before the cursor.
        suffix: text after it.
        file: the file of the cursor.
        line: of the cursor, from 1.
        column: of the cursor, from 1.
        infill: whether the file also gives the suffix.
    """

    prompt: str | None
    suffix: str | None
    file: Path | None
    line: int
    column: int
    infill: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; what is None is as the model was trained."""

    model: str
    base: str | None
    source: PromptSource
    decoding: Decoding
    max_prompt_tokens: int | None
    max_new_tokens: int
    load_in_4bit: bool | None

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Request":
        """Return what a command line asks for."""
        return cls(
            model=args.hf_repository,
            base=args.model_name_or_path,
            source=PromptSource(
                **{field.name: getattr(args, field.name) for field in dataclasses.fields(PromptSource)}
            ),
            decoding=Decoding(**{field.name: getattr(args, field.name) for field in dataclasses.fields(Decoding)}),
            max_prompt_tokens=args.max_prompt_tokens,
            max_new_tokens=args.max_new_tokens,
            load_in_4bit=args.load_in_4bit,
        )


def refuse_decoding(how: Decoding) -> None:
    """Raise UserError for flags that contradict each other."""
    draws = [f"--{name}" for name in ("temperature", "top_k", "top_p") if getattr(how, name) is not None]
    zero = [f"--{name}" for name in ("temperature", "top_p") if getattr(how, name) == 0]
    if zero:
        raise UserError(f"{zero[0]} 0 leaves nothing to draw; leave it out for the greedy completion, or raise it.")
    if draws and how.num_beams > 1:
        raise UserError(f"{draws[0]} draws and --num_beams searches; give one of the two.")
    if how.num_return_sequences > 1 and not draws and how.num_beams == 1:
        raise UserError(
            f"there is one greedy completion, not {how.num_return_sequences}; add --temperature to draw several, or "
            "--num_beams to search for several."
        )
    if how.num_return_sequences > how.num_beams > 1:
        raise UserError(
            f"{how.num_beams} beams give at most as many completions, not {how.num_return_sequences}; "
            "raise --num_beams."
        )


def read_prompt(source: PromptSource) -> tuple[str, str | None]:
    """Return the text before and behind the cursor.

    Raises:
        UserError: the prompt is given twice or not at all, or the file or the place in it does not exist.
    """
    if source.file is None:
        if source.infill:
            raise UserError("--infill takes the suffix from a file; add --file, or give --suffix instead.")
        return (_standard_input() if source.prompt is None else source.prompt), source.suffix
    if source.prompt is not None or source.suffix is not None:
        raise UserError("--file gives the prompt already; leave out --prompt and --suffix, or leave out --file.")
    try:
        lines = source.file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {source.file} as text: {error}; check the path.") from None
    if source.line > len(lines):
        raise UserError(f"{source.file} has {len(lines)} lines, there is no line {source.line}; choose one of them.")
    if source.column > len(lines[source.line - 1]) + 1:
        raise UserError(f"line {source.line} of {source.file} has no column {source.column}; choose one of its own.")
    text = "\n".join(lines)
    cursor = sum(len(line) + 1 for line in lines[: source.line - 1]) + source.column - 1
    return text[:cursor], text[cursor:] if source.infill else None


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UserError("the prompt on standard input is not UTF-8 text; give it as UTF-8.") from None


def main(argv: Sequence[str] | None = None) -> None:
    """Print the completion, or several under a line each that says how they ended."""
    request = Request.of(build_parser().parse_args(argv))
    refuse_decoding(request.decoding)
    prompt, suffix = read_prompt(request.source)

    from codefit.encoding import Encoder
    from codefit.generation import sampling
    from codefit.modeling import hub_files, loading

    made = hub_files.manifest_of(request.model)
    in_4bit = bool(made.get("load_in_4bit")) if request.load_in_4bit is None else request.load_in_4bit
    tokenizer, model = loading.load(request.model, base=request.base, load_in_4bit=in_4bit)
    room = loading.context_of(model) - request.max_new_tokens
    if room < 1:
        raise UserError(f"the model reads {loading.context_of(model)} tokens; lower --max_new_tokens.")
    longest = min(request.max_prompt_tokens or made.get("max_prompt_tokens") or MAX_PROMPT_TOKENS, room)
    encoder = Encoder(tokenizer, longest, ends=loading.ends_in(model))
    completions = sampling.sample(
        model,
        encoder.prompt_ids(prompt, suffix),
        request.decoding,
        max_new_tokens=request.max_new_tokens,
        eos_ids=encoder.eos_ids,
        pad_id=encoder.pad_id,
    )
    for number, completion in enumerate(completions, 1):
        if len(completions) > 1:
            console.show(f"--- {number} of {len(completions)} ({completion.finish_reason})")
        written = encoder.decode(completion.ids)
        if sys.stdout.isatty():
            console.show(written)
        else:  # byte for byte, for a file or an editor
            sys.stdout.write(written + "\n")


if __name__ == "__main__":
    cli.run(main)
