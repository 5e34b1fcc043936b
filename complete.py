"""Try a model: give it the text before the cursor, get its completion.

    python complete.py data/base --prompt "def read_lines(path):"

    python complete.py outputs/kotlin/adapter --with_base

    python complete.py outputs/kotlin/adapter --file Main.kt --line 12 --column 9 --max_new_tokens 32

    python complete.py data/base --prompt "def " --temperature 0.8 --top_p 0.95 --num_return_sequences 3

    python complete.py outputs/kotlin/adapter --web

The prompt is text, a position in a file (the prompt is the text before it), or standard input. On a terminal without
--prompt and --file, the model is loaded once and completes one prompt after the other. A model trained for
fill-in-the-middle also takes the text after the cursor: from --suffix, or with --infill from the file.

Decoding is greedy by default. --temperature, --top_k and --top_p turn on sampling, --num_beams turns on beam search.
The same --seed gives the same samples.
"""

import argparse
import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codefit import cli, console
from codefit.errors import UserError
from codefit.generation.decoding import Decoding
from codefit.records import MAX_PROMPT_TOKENS

if TYPE_CHECKING:
    from codefit.encoding import Encoder


def build_parser() -> cli.Parser:
    """Return the parser of this script."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    parser.add_model("read from here: the folder of a model or an adapter, or its Hub id", required=True)
    add(
        "--model_name_or_path",
        type=cli.named,
        help="base model of an adapter (default: the one that its metadata name)",
    )
    add("--prompt", help="text before the cursor")
    add("--suffix", help="text after the cursor, for a model trained for fill-in-the-middle")
    add("--file", type=Path, help="take the prompt from a file")
    add("--line", type=cli.number(int, 1), help="line of the cursor in --file, from 1; when absent: the file's end")
    add(
        "--column",
        type=cli.number(int, 1),
        help="column of the cursor in --file, from 1; when absent: the line's start",
    )
    add("--infill", action="store_true", help="also give the model the text after the cursor in --file")
    add("--with_base", action="store_true", help="show the completion of an adapter's base model next to its own")
    add(
        "--web",
        type=cli.number(int, 0, 65535),
        nargs="?",
        const=0,
        metavar="PORT",
        help="serve a page on this machine: type code, see completions of base and model with probabilities",
    )
    add(
        "--max_prompt_tokens",
        type=cli.number(int, 1),
        help="a longer prompt is cut on the left (default: as in training)",
    )
    add("--max_new_tokens", type=cli.number(int, 1), default=64, help="longest completion, in tokens")
    _add_decoding_flags(parser.add_argument_group("decoding (greedy without these flags)"))
    add(
        "--load_in_4bit",
        action=argparse.BooleanOptionalAction,
        help="load the weights in 4 bits (default: as in training)",
    )
    return parser


def _add_decoding_flags(group: Any) -> None:
    add, positive = group.add_argument, cli.number(int, 1)
    add(
        "--temperature",
        type=cli.number(float, 0),
        help="sample with this temperature: below 1 favours likely tokens, above 1 unlikely ones",
    )
    add("--top_k", type=positive, help="sample from the k most likely tokens")
    add(
        "--top_p",
        type=cli.number(float, 0, 1),
        help="sample from the most likely tokens that together have this probability",
    )
    add("--num_beams", type=positive, default=1, help="beam search: number of beams")
    add("--num_return_sequences", type=positive, default=1, help="number of completions to print")
    add("--seed", type=cli.number(int, 0), default=0, help="random seed of sampling")


@dataclasses.dataclass(frozen=True, slots=True)
class PromptSource:
    """Where the prompt comes from: a text, a place in a file, or standard input where both are absent.

    Attributes:
        prompt: text before the cursor.
        suffix: text after it.
        file: the file of the cursor.
        line: of the cursor, from 1; None for the end of the file.
        column: of the cursor, from 1; None for the start of the line.
        infill: whether the file also gives the suffix.
    """

    prompt: str | None
    suffix: str | None
    file: Path | None
    line: int | None
    column: int | None
    infill: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The settings of a completion; None means as the model was trained."""

    model: str
    base: str | None
    source: PromptSource
    decoding: Decoding
    max_prompt_tokens: int | None
    max_new_tokens: int
    load_in_4bit: bool | None
    with_base: bool
    web: int | None

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
            with_base=args.with_base,
            web=args.web,
        )


def refuse_decoding(how: Decoding) -> None:
    """Raise UserError for flags that contradict each other."""
    sampling_flags = [f"--{name}" for name in ("temperature", "top_k", "top_p") if getattr(how, name) is not None]
    zero = [f"--{name}" for name in ("temperature", "top_p") if getattr(how, name) == 0]
    if zero:
        raise UserError(f"{zero[0]} 0 leaves no token to sample; omit it for greedy decoding, or raise it.")
    if sampling_flags and how.num_beams > 1:
        raise UserError(f"{sampling_flags[0]} turns on sampling and --num_beams beam search; give only one of them.")
    if how.num_return_sequences > 1 and not sampling_flags and how.num_beams == 1:
        raise UserError(
            f"greedy decoding gives one completion, not {how.num_return_sequences}; add --temperature to sample "
            "several, or --num_beams to search for several."
        )
    if how.num_return_sequences > how.num_beams > 1:
        raise UserError(
            f"{how.num_beams} beams give at most as many completions, not {how.num_return_sequences}; "
            "raise --num_beams."
        )


def refuse_for_web(request: Request) -> None:
    """Raise UserError for flags that have no effect on the page."""
    source = request.source
    given = {"--prompt": source.prompt, "--suffix": source.suffix, "--file": source.file, "--infill": source.infill}
    for flag, value in given.items():
        if value:
            raise UserError(f"--web takes the code from its page; omit {flag}.")
    if request.with_base:
        raise UserError("--web always shows the base of an adapter next to it; omit --with_base.")
    if request.decoding != Decoding(seed=request.decoding.seed):
        raise UserError("--web decodes greedily, to show probabilities; omit the flags of sampling and beam search.")


def read_prompt(source: PromptSource) -> tuple[str, str | None]:
    """Return the text before the cursor and, if asked for, the text after it.

    Raises:
        UserError: flags contradict each other, or the file or the position in it does not exist.
    """
    if source.file is None:
        if source.infill:
            raise UserError("--infill takes the suffix from a file; add --file, or give --suffix instead.")
        return (_standard_input() if source.prompt is None else source.prompt), source.suffix
    if source.prompt is not None or source.suffix is not None:
        raise UserError("--file already gives the prompt; omit --prompt and --suffix, or omit --file.")
    try:
        lines = source.file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {source.file} as text: {error}; check the path.") from None
    text = "\n".join(lines)
    cursor = len(text) if source.line is None and source.column is None else _cursor(source, lines)
    return text[:cursor], text[cursor:] if source.infill else None


def _cursor(source: PromptSource, lines: list[str]) -> int:
    """Return the number of characters before the cursor."""
    line, column = source.line or 1, source.column or 1
    if line > len(lines):
        raise UserError(f"{source.file} has {console.counted(len(lines), 'line')} and no line {line}; lower --line.")
    if column > len(lines[line - 1]) + 1:
        raise UserError(f"line {line} of {source.file} has no column {column}; lower --column.")
    return sum(len(text) + 1 for text in lines[: line - 1]) + column - 1


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UserError("the prompt on standard input is not UTF-8 text; convert it to UTF-8.") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Completer:
    """A loaded model, and how it is asked."""

    request: Request
    model: Any
    encoder: "Encoder"

    @classmethod
    def load(cls, request: Request) -> "Completer":
        """Load the model of a command.

        Raises:
            UserError: the model cannot be loaded, or does not suit the flags.
        """
        from codefit.modeling import hub_files

        made = hub_files.manifest_of(request.model)  # a wrong name is refused before torch is imported
        if request.with_base and not hub_files.is_adapter(request.model):
            raise UserError(f"{request.model} is not an adapter, so it has no base to show; leave out --with_base.")

        from codefit.encoding import Encoder
        from codefit.modeling import loading

        in_4bit = bool(made.get("load_in_4bit")) if request.load_in_4bit is None else request.load_in_4bit
        tokenizer, model = loading.load(request.model, base=request.base, load_in_4bit=in_4bit)
        room = loading.context_of(model) - request.max_new_tokens
        if room < 1:
            raise UserError(
                f"the model has a context window of {loading.context_of(model)} tokens; lower --max_new_tokens."
            )
        longest = min(request.max_prompt_tokens or made.get("max_prompt_tokens") or MAX_PROMPT_TOKENS, room)
        return cls(request, model, Encoder(tokenizer, longest, ends=loading.ends_in(model)))

    def completions(self, prompt: str, suffix: str | None) -> "list[tuple[str, str]]":
        """Return text and finish reason of each completion of a prompt."""
        from codefit.generation import sampling

        found = sampling.sample(
            self.model,
            self.encoder.prompt_ids(prompt, suffix),
            self.request.decoding,
            max_new_tokens=self.request.max_new_tokens,
            eos_ids=self.encoder.eos_ids,
            pad_id=self.encoder.pad_id,
        )
        return [(self.encoder.decode(each.ids), each.finish_reason) for each in found]

    def show(self, prompt: str, suffix: str | None) -> None:
        """Print the completions of a prompt, and with --with_base first those of the base."""
        adapted = self.completions(prompt, suffix)
        if not self.request.with_base:
            return show(adapted)
        with self.model.disable_adapter():
            base = self.completions(prompt, suffix)
        if sys.stdout.isatty() and console.width() >= SIDE_BY_SIDE:
            for (left, _), (right, _) in zip(base, adapted, strict=True):
                console.show(side_by_side(left, right, console.width()))
            return None
        for label, found in (("base", base), ("adapted", adapted)):
            console.show(f"=== {label}", flush=True)
            show(found)
        return None


SIDE_BY_SIDE = 60  # columns of a terminal in which two completions are shown next to each other
NOTHING = "(the model stopped at once)"


def show(completions: Sequence[tuple[str, str]]) -> None:
    """Print completions; where there are several, a line with the finish reason before each."""
    for number, (written, reason) in enumerate(completions, 1):
        if len(completions) > 1:
            console.show(f"--- {number} of {len(completions)} ({reason})")
        if not written:
            console.show(NOTHING, file=sys.stderr)
        if sys.stdout.isatty():
            console.show(written, end="\n" if written else "")
        else:  # byte for byte, for a file or an editor
            sys.stdout.write(written + "\n")
            sys.stdout.flush()


def side_by_side(left: str, right: str, columns: int) -> str:
    """Return the completions of base and adapted model in two columns; long lines are wrapped."""
    half = (columns - 3) // 2

    def lines(title: str, text: str) -> list[str]:
        found = console.printable_lines((text or NOTHING).expandtabs(4)).split("\n")
        pieces = [line[at : at + half] for line in found for at in range(0, max(len(line), 1), half)]
        return [title, "-" * half, *pieces]

    rows = itertools.zip_longest(lines("base", left), lines("adapted", right), fillvalue="")
    return "\n".join(f"{one:<{half}} | {other}".rstrip() for one, other in rows)


def serve(completer: Completer) -> None:
    """Serve the page until Ctrl-C; an adapter is shown next to its base."""
    from codefit.modeling import hub_files
    from codefit.playground import server
    from codefit.playground.answers import Models

    request, encoder = completer.request, completer.encoder
    names: tuple[str, ...] = (request.model,)
    if hub_files.is_adapter(request.model):
        base, _ = hub_files.base_of(str(hub_files.adapter_folder(request.model)), request.base)
        names = (base, request.model)
    ask = Models(completer.model, encoder, names).answers
    server.serve(ask, names, encoder.fim is not None, request.max_new_tokens, request.web or 0)


def converse(completer: Completer) -> None:
    """Complete one prompt after the other from the terminal, until end of input."""
    hint = "type or paste the text before the cursor; an empty line completes it, Ctrl-D ends."
    console.show(hint, file=sys.stderr)
    while True:
        lines: list[str] = []
        while (line := sys.stdin.readline()) not in {"", "\n"}:
            lines.append(line)
        if lines:
            completer.show("".join(lines).removesuffix("\n"), completer.request.source.suffix)
        if not line:
            return


def main(argv: Sequence[str] | None = None) -> None:
    """Print the completion of a prompt, or of one after the other."""
    request = Request.of(build_parser().parse_args(argv))
    refuse_decoding(request.decoding)
    if request.web is not None:
        refuse_for_web(request)
        return serve(Completer.load(request))
    source = request.source
    if source.prompt is None and source.file is None and not source.infill and sys.stdin.isatty():
        return converse(Completer.load(request))
    prompt, suffix = read_prompt(source)
    return Completer.load(request).show(prompt, suffix)


if __name__ == "__main__":
    cli.run(main, computes=True)
