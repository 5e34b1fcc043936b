"""The argument parser of all scripts, flag types, and the exit of a script."""

import argparse
import difflib
import errno
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from codefit import console, private_apis
from codefit.disk_errors import no_room
from codefit.distributed import is_first_process
from codefit.errors import UserError


class Parser(argparse.ArgumentParser):
    """An argparse parser that accepts `--flag-name` for `--flag_name` and suggests a flag for a misspelled one."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=private_apis.HelpFormatter, allow_abbrev=False)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        words = [self._spelled(word) for word in (sys.argv[1:] if args is None else args)]
        values, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return values

    def error(self, message: str) -> NoReturn:
        super().error(console.printable(console.masked(message)))

    def given(self, args: Sequence[str] | None = None) -> set[str]:
        """Return the names of the flags that occur in a command, whatever their values."""
        unset = object()
        values = argparse.Namespace(**{action.dest: unset for action in private_apis.actions_of(self)})
        return {name for name, value in vars(self.parse_args(args, values)).items() if value is not unset}

    def group(self, title: str) -> set[str]:
        """Return the names of the flags in the group whose title begins with `title`."""
        groups = private_apis.groups_of(self).items()
        return {action.dest for name, actions in groups if name.startswith(title) for action in actions}

    def _flags(self) -> list[str]:
        return [flag for action in private_apis.actions_of(self) for flag in action.option_strings]

    def _spelled(self, word: str) -> str:
        """Return a flag in the spelling in which it was added, and any other word unchanged."""
        name, equals, value = word.partition("=")
        flags = {_underscored(flag): flag for flag in self._flags()}
        return flags.get(_underscored(name), name) + equals + value

    def _unknown(self, word: str) -> str:
        name = word.split("=")[0]
        flags = [flag for flag in self._flags() if flag.startswith("--")]
        close = difflib.get_close_matches(_underscored(name), flags, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; --help lists the flags."
        return f"unknown argument {name}{hint}"


def _underscored(name: str) -> str:
    return "--" + name[2:].replace("-", "_") if name.startswith("--") else name


def number(kind: type, minimum: float, maximum: float = float("inf")) -> Callable[[str], Any]:
    """Return an argparse type: a finite int or float between minimum and maximum, inclusive."""

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


def named(text: str) -> str:
    """Argparse type: a folder or Hub id that is not empty, since an empty path would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; give a folder or a Hub id")
    return text


def add_output_flags(parser: Parser) -> None:
    """Add the flags that all stages with an output share."""
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--dry_run", action="store_true", help="only print what would happen")


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main and exit: 0 for success, 1 for a UserError (printed in one line), 130 for Ctrl-C."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    others = "" if is_first_process() else f"process {os.environ['RANK']}: "
    if others:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # open until the process ends
    try:
        code = main()
        sys.stdout.flush()  # flushed here, where a closed pipe can still be handled
        sys.exit(code)
    except UserError as error:
        _state(f"{others}error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output (head, less) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        sentence = _of_the_disk(error)
        if sentence is None:
            raise
        _state(f"{others}error: {sentence}")
        sys.exit(1)


def _state(sentence: str) -> None:
    """Print a sentence on a line of its own: progress bars that an error left open are closed first."""
    if "tqdm" in sys.modules:
        for bar in private_apis.open_progress_bars(sys.modules["tqdm"].tqdm):
            bar.close()
    print(console.printable(console.masked(sentence)), file=sys.stderr)


def _of_the_disk(error: Exception) -> str | None:
    """Return the message for a full disk or a path that cannot be used; None for any other error."""
    name = getattr(error, "filename", None)
    place = f" {os.fsdecode(name)}" if isinstance(name, str | bytes | os.PathLike) else ""
    if reason := no_room(error):
        return f"cannot write{place}: {reason}."
    if place and isinstance(error, OSError) and error.errno in UNUSABLE:
        return f"cannot use{place}: {error.strerror}; choose another place."
    return None


UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.EBUSY, errno.EIO}
