"""The argument parser of all scripts, flag types, and the exit of a script."""

import argparse
import difflib
import errno
import math
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from codefit import console, private_apis, processors
from codefit.dates import moment
from codefit.disk_errors import no_room
from codefit.distributed import is_first_process
from codefit.errors import Interrupted, UserError

# What other tools call a flag. Of several flags with the same name elsewhere, the first that a script has is suggested.
ELSEWHERE = {
    "model_name_or_path": "model base base_model model_name model_id tokenizer m",
    "dataset": "data data_path data_dir dataset_name dataset_path train_file input d",
    "input": "data data_path data_dir dataset dataset_path",
    "repository": "repo source url path folder data input",
    "learning_rate": "lr",
    "num_train_epochs": "epochs epoch num_epochs n_epochs",
    "max_steps": "steps iters max_iters iterations num_steps",
    "lora_r": "rank r lora_rank",
    "lora_alpha": "alpha",
    "lora_target_modules": "target_modules targets",
    "per_device_train_batch_size": "batch batch_size bs train_batch_size",
    "tokens_per_batch": "batch batch_size bs",
    "gradient_accumulation_steps": "grad_accum accumulation_steps accumulate_grad_batches",
    "activation_checkpointing": "gradient_checkpointing",
    "warmup_steps": "warmup warmup_ratio",
    "lr_scheduler_type": "scheduler lr_scheduler",
    "max_length": "max_seq_length seq_len seq_length block_size context_length",
    "max_prompt_tokens": "max_seq_length seq_len seq_length block_size context_length max_length",
    "max_new_tokens": "max_tokens n_predict max_length",
    "max_completion_tokens": "max_tokens max_new_tokens",
    "load_in_4bit": "4bit qlora quantize bits load_in_4_bit",
    "output_dir": "output out output_path save_dir o",
    "output": "output_dir out output_path save_dir o",
    "push": "push_to_hub",
    "hf_repository": "push_to_hub hub_model_id hub push model adapter",
    "sample": "limit n num_samples max_samples samples",
    "num_return_sequences": "n num_samples samples",
    "num_beams": "beams",
    "temperature": "temp",
    "num_workers": "workers num_proc jobs j",
    "prompt": "text input",
    "overwrite": "force",
    "full_finetuning": "full",
    "torch_compile": "compile",
}


class Parser(argparse.ArgumentParser):
    """An argparse parser that accepts `--flag-name` for `--flag_name` and suggests a flag for a misspelled one.

    `--help` shows all flags but those of a `rare_group`, which `--help_all` shows too.
    """

    def __init__(self, description: str | None) -> None:
        super().__init__(
            usage="%(prog)s [flags]",
            description=description,
            formatter_class=private_apis.HelpFormatter,
            allow_abbrev=False,
        )
        self._rare: list[Any] = []
        self._models: str | None = None  # whether the script reads a model: "one", "many", or none
        self._needs_model = False

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        words = [self._spelled(word) for word in (sys.argv[1:] if args is None else args)]
        values, unknown = self.parse_known_args(words, namespace)
        wrong = [word for word in unknown if word.startswith("-") or self._models is None]
        if wrong:
            self.error(self._unknown(wrong[0]))
        if self._models:
            self._settle_model(values, unknown)
        return values

    def error(self, message: str) -> NoReturn:
        usage = f"{self.format_usage().rstrip()}; --help lists the flags"
        self.exit(2, f"{usage}\n{self.prog}: error: {console.printable(console.masked(message))}\n")

    def add_model(self, help: str, *, many: bool = False, default: str | None = None, required: bool = False) -> None:
        """Add the model that a script reads: named without a flag, or by --hf_repository, --model or --adapter."""
        self._models, self._needs_model = "many" if many else "one", required
        self.usage = "%(prog)s " + ("MODEL [MODEL ...]" if many else "MODEL") + " [flags]"
        self.add_argument(
            "--hf_repository",
            "--model",
            "--adapter",
            type=named,
            nargs="+" if many else None,
            default=default,
            metavar="MODEL",
            help=help,
        )

    def _settle_model(self, values: argparse.Namespace, words: list[str]) -> None:
        """Take words without a flag as the value of --hf_repository."""
        many = self._models == "many"
        if words and values.hf_repository != self.get_default("hf_repository"):
            self.error(f"the model is named by a flag and again without one ({words[0]}); name it once")
        if len(words) > 1 and not many:
            self.error(self._unknown(words[1]))
        if not all(map(str.strip, words)):
            self.error("the name of the model is empty; give a folder or a Hub id")
        if words:
            values.hf_repository = words if many else words[0]
        elif values.hf_repository is None and self._needs_model:
            self.error("no model is named; give a folder or a Hub id as the first argument")

    def rare_group(self, title: str) -> Any:
        """Return a new group of flags that only --help_all shows."""
        if not self._rare:
            self.add_argument("--help_all", action=_HelpAll, help="show all flags and exit, also the rare ones")
        self._rare.append(self.add_argument_group(title))
        return self._rare[-1]

    def print_help(self, file: Any = None) -> None:
        """Print the help without the rare groups, and what they are about; `format_help` returns all of it."""
        with private_apis.groups_hidden(self, self._rare):
            text = self.format_help()
        if self._rare:
            titles = ", ".join(str(group.title) for group in self._rare)
            text += "\n" + textwrap.fill(f"--help_all also shows: {titles}", console.width()) + "\n"
        (file or sys.stdout).write(text)

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
        flags = [flag for flag in self._flags() if flag.startswith("--") and not flag.startswith("--help")]
        plain = _underscored(name).lstrip("-")
        close = [f"--{flag}" for flag, names in ELSEWHERE.items() if plain in names.split() and f"--{flag}" in flags]
        close = close or difflib.get_close_matches(_underscored(name), flags, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; --help lists the flags."
        return f"unknown argument {name}{hint}"


class _HelpAll(argparse.Action):
    """The flag --help_all."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        sys.stdout.write(parser.format_help())
        parser.exit()


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

    parse.__name__ = kind.__name__  # argparse and the help name the type by it
    return parse


def date(text: str) -> str:
    """Argparse type: an ISO 8601 date, unchanged."""
    if moment(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2020-01-31")
    return text


def subfolder(text: str) -> str:
    """Argparse type: a folder inside a source, without slashes around it; "" for the whole source."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in {"", "."}]
    if ".." in parts:
        raise argparse.ArgumentTypeError(f"{text!r} leaves the source")
    return "/".join(parts)


def named(text: str) -> str:
    """Argparse type: a folder or Hub id that is not empty, since an empty path would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty; give a folder or a Hub id")
    return text


def add_output_flags(parser: Parser) -> None:
    """Add the flags that all stages with an output share."""
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument("--dry_run", action="store_true", help="only print what would happen")


def run(main: Callable[[], int | None], computes: bool = False) -> NoReturn:
    """Run a script's main and exit: 0 for success, 1 for a UserError (printed in one line), 130 for Ctrl-C.

    Args:
        main: the script's main.
        computes: whether it computes with a model, in as many threads as there are free processors.
    """
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # its warnings repeat what our errors say
    others = "" if is_first_process() else f"process {os.environ['RANK']}: "
    if others:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # open until the process ends
    try:
        if computes and not {"-h", "--help", "--help_all", "--help-all"} & {*sys.argv}:
            processors.use_free_ones()
        code = main()
        sys.stdout.flush()  # flushed here, where a closed pipe can still be handled
        sys.exit(code)
    except UserError as error:
        _state(f"{others}error: {error}")
        sys.exit(130 if isinstance(error, Interrupted) else 1)
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
