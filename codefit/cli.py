"""What every script shares: the parser, stated errors, outputs that are whole or absent, manifests, progress.

Nothing here imports a heavy package, so that `--help` answers at once.
"""

import argparse
import contextlib
import difflib
import hashlib
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from codefit import locks

MANIFEST = "manifest.json"
ROOT = Path(__file__).resolve().parent.parent


class UserError(Exception):
    """A problem the user can solve: one sentence that says what happened and what to do."""


# ---------------------------------------------------------------------------------------------- parser


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keep the docstring's layout and show every default that is a value."""

    def _get_help_string(self, action: argparse.Action) -> str:
        help_text = action.help or ""
        valueless = any(action.default is value for value in (None, False, argparse.SUPPRESS))
        if valueless or "(default" in help_text:
            return help_text
        if isinstance(action.default, list):
            return f"{help_text} (default: {' '.join(map(str, action.default))})"
        return help_text + " (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An argparse parser that takes `--flag-name` for `--flag_name` and suggests the flag that was meant."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=_HelpFormatter, allow_abbrev=False)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        words = [self._spelled(word) for word in (sys.argv[1:] if args is None else args)]
        values, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return values

    def given(self, args: Sequence[str] | None = None) -> set[str]:
        """Return the names of the flags that stand in a command, whatever their values."""
        unset = object()
        values = argparse.Namespace(**{action.dest: unset for action in self._actions})
        return {name for name, value in vars(self.parse_args(args, values)).items() if value is not unset}

    def group(self, title: str) -> set[str]:
        """Return the names of the flags of a group, by the beginning of its title."""
        groups = [group for group in self._action_groups if (group.title or "").startswith(title)]
        return {action.dest for group in groups for action in group._group_actions}

    def _spelled(self, word: str) -> str:
        """Return a flag as it was added, however it was spelled, and any other word as it is."""
        name, equals, value = word.partition("=")
        flags = {_underscored(flag): flag for flag in self._option_string_actions}
        return flags.get(_underscored(name), name) + equals + value

    def _unknown(self, word: str) -> str:
        name = word.split("=")[0]
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        close = difflib.get_close_matches(_underscored(name), flags, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; --help lists the flags."
        return f"unknown argument {name}{hint}"


def _underscored(name: str) -> str:
    return "--" + name[2:].replace("-", "_") if name.startswith("--") else name


def number(kind: type, minimum: float, maximum: float = float("inf")) -> Callable[[str], Any]:
    """Return an argparse type: a finite int or float between minimum and maximum, both included."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
            if not math.isfinite(value):
                raise ValueError
        except (ValueError, OverflowError):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of type {kind.__name__}") from None
        if not minimum <= value <= maximum:
            limits = f"at least {minimum:g}" if maximum == float("inf") else f"between {minimum:g} and {maximum:g}"
            raise argparse.ArgumentTypeError(f"{text} must be {limits}")
        return value

    return parse


def processes() -> int:
    """Return how many processes `accelerate launch` or torchrun started for this command."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Return whether this process is the one that prints, writes and pushes."""
    return os.environ.get("RANK", "0") == "0"


def add_output_flags(parser: Parser) -> None:
    """Add the flags that mean the same in every stage that writes an output."""
    parser.add_argument("--overwrite", action="store_true", help="replace an output that is already there")
    parser.add_argument("--dry_run", action="store_true", help="say what would happen, and do nothing")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main and exit: 0 done, 1 a stated problem in one line, 130 stopped by the user."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    others = "" if is_first_process() else f"process {os.environ['RANK']}: "
    if others:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # until the process ends
    try:
        code = main()
        sys.stdout.flush()  # here, where a reader that went away can still be dealt with
        sys.exit(code)
    except UserError as error:
        print(f"{others}error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def first_line(error: BaseException) -> str:
    """Return what a library says of an error, as a part of a sentence: its first line without the full stop."""
    return " ".join(str(error).strip().split("\n")[0].split()).rstrip(".") or type(error).__name__


# ---------------------------------------------------------------------------------------------- outputs


def refuse_existing(output: Path, overwrite: bool) -> None:
    """Raise UserError if output exists and may not be replaced; a folder of the user's own never is."""
    if output.name in {"", ".."}:
        raise UserError(f"{output} cannot be an output; name a new file or folder in it.")
    if output.exists() and not overwrite:
        raise UserError(f"{output} is already there and complete; add --overwrite to replace it.")
    if output.is_dir() and any(output.iterdir()) and not manifest_of(output).is_file():
        raise UserError(f"{output} was not written by codefit and is not replaced; choose another place.")


def partial(output: Path) -> Path:
    """Return the name under which an output is built, beside its final place."""
    return output.with_name(output.name + ".partial")


@contextlib.contextmanager
def new_directory(output: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well it is fsynced and becomes `output`.

    A killed run leaves only `output.partial`, so an output that exists is a complete one; a UserError leaves nothing.
    """
    aside = partial(output)
    with alone(output):
        make_folder(aside, empty=True)
        try:
            yield aside
        except UserError:
            _remove(aside)
            raise
        commit(aside, output)


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """Keep other runs away from an output and what lies beside it for it. A killed run keeps nobody away.

    Raises:
        UserError: another run is writing the output, or nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(locks.beside(output))
        except OSError as error:
            raise UserError(f"cannot write {output}: {error.strerror}; choose another place.") from None
        if not held:
            raise UserError(f"another run is writing {output}; wait until it has ended, or choose another place.")
        yield


def make_folder(folder: Path, empty: bool = False) -> None:
    """Make a folder and its parents; raise UserError where that cannot be. `empty` removes what was in it."""
    try:
        if empty:
            _remove(folder)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = str(folder).removesuffix(".partial")
        raise UserError(f"cannot write {place}: {error.strerror}; choose another place.") from None


def commit(aside: Path, output: Path) -> None:
    """Flush a finished file or folder to disk and move it to its final place, replacing what was there."""
    for file in [aside] if aside.is_file() else [p for p in aside.rglob("*") if p.is_file()]:
        fsync(file)
    if output.exists() and (output.is_dir() or aside.is_dir()):  # only a file takes a file's place in one step
        old = output.with_name(output.name + ".old")
        _remove(old)
        output.rename(old)
        aside.rename(output)
        _remove(old)
    else:
        aside.replace(output)
    fsync(output.parent)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---------------------------------------------------------------------------------------------- manifest


def command() -> str:
    """Return the command that is running, to be run again."""
    return shlex.join(["python", sys.argv[0], *sys.argv[1:]])


class Manifest:
    """What produced an output: started with the command, filled along the way, written beside the output."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.started = time.monotonic()
        self.content: dict[str, Any] = {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "arguments": {key: _plain(value) for key, value in vars(args).items()},
            "toolkit_commit": toolkit_commit(),
            "versions": versions(),
            "inputs": {},
        }

    def add_input(self, path: Path) -> None:
        """Record a file that was read, with its sha256."""
        self.content["inputs"][str(path)] = sha256(path)

    def update(self, **facts: Any) -> None:
        """Record facts such as counts by reason."""
        self.content.update({key: _plain(value) for key, value in facts.items()})

    def write(self, path: Path) -> None:
        """Write the manifest; a folder gets a `manifest.json`, a file `x.jsonl` gets `x.manifest.json` beside it."""
        self.content["seconds"] = round(time.monotonic() - self.started, 2)
        target = path / MANIFEST if path.is_dir() else manifest_of(path)
        target.write_text(json.dumps(self.content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def manifest_of(path: Path) -> Path:
    """Return where the manifest of an output lies."""
    return path / MANIFEST if path.is_dir() else path.with_suffix(".manifest.json")


def read_manifest(output: Path) -> dict[str, Any]:
    """Return the manifest of an output of an earlier stage, or {} if the output came from elsewhere."""
    path = manifest_of(output)
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a JSON object; run the stage that wrote {output} again.")
    return content


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def toolkit_commit() -> str | None:
    """Return the commit of this toolkit, with "-dirty" when its files differ from it; None outside git."""
    try:
        head, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.strip() + ("-dirty" if status else "")


def _git(*words: str) -> str:
    # A toolkit without a repository of its own must not be taken for a part of the one it was unpacked in.
    place = {**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=place).stdout


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    import importlib.metadata  # not cheap, and --help needs none of it

    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "peft", "bitsandbytes", "datasets", "tokenizers", "sacrebleu", "RapidFuzz"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


# ---------------------------------------------------------------------------------------------- terminal


def progress(items: Iterable[Any], description: str, total: int | None = None, unit: str = "it") -> Iterable[Any]:
    """Wrap an iterable in a progress bar with rate and estimate; in a pipe it prints a line every 10 seconds."""
    from tqdm import tqdm

    pause = 0.1 if sys.stderr.isatty() else 10
    silent = not is_first_process()
    return tqdm(items, description, total=total, unit=unit, mininterval=pause, ncols=99, leave=True, disable=silent)


def table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> str:
    """Return rows as aligned text columns; numbers are set to the right."""
    cells = [list(map(str, header)), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [all(_is_number(row[column]) for row in rows) and bool(rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        aligned = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        return "  ".join(aligned).rstrip()

    return "\n".join([line(cells[0]), "  ".join("-" * width for width in widths), *map(line, cells[1:])])


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) or str(cell)[:1] in "0123456789+-"


def shortened(text: str, width: int = 40) -> str:
    """Return a text that fits a column of a table; of a long path the end says more than the beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]


def duration(seconds: float) -> str:
    """Return seconds as people say them: 8 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
