"""Pass rates: the tests of a benchmark, run on what models wrote. Only with --execute, since that runs their code.

Every program runs in a process of its own (sandbox.py), in an empty folder and with an empty environment: no network,
no other processes, bounded time, memory and files. docs/benchmark.md says what that protects from, and what not.
"""

import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from codefit import console
from codefit.errors import UserError
from codefit.evaluation import sandbox, truncation
from codefit.records import Prediction
from codefit.scoring.pass_rate import CUT_PASS_RATE, PASS_RATE
from codefit.temporary import temporary_folder

Predictions = dict[str, dict[str, list[Prediction]]]  # by benchmark and model
Tests = Mapping[str, str]  # by id of an item: the code that comes after its function, and fails if that is wrong


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one program. Processor time decides, so a busy machine does not make programs fail."""

    cpu_seconds: int = 5
    wall_seconds: int = 60
    memory_bytes: int = 1 << 30
    file_bytes: int = 1 << 20


LIMITS = Limits()


@dataclasses.dataclass(frozen=True, slots=True)
class Walls:
    """What this machine's kernel permits: namespaces without network, and Landlock for files."""

    namespaces: bool
    landlock: bool

    def sentence(self) -> str:
        """Return how the programs are isolated."""
        network = "without network" if self.namespaces else "without sockets in Python only (no namespaces here)"
        files = "" if self.landlock else ", able to read what you can read (no Landlock here)"
        return f"each in its own process, {network}{files}"


def walls() -> Walls:
    """Return what this machine permits.

    Raises:
        UserError: the system is not Linux, whose limits are needed.
    """
    if not sys.platform.startswith("linux"):
        raise UserError("--execute needs the limits of Linux; run it there, in a container, or omit it.")
    with temporary_folder() as folder:
        said = _start({"probe": True}, str(folder), LIMITS)
    return Walls(**json.loads(said or '{"namespaces": false, "landlock": false}'))


def passes(program: str, limits: Limits = LIMITS, root: Path | None = None) -> bool:
    """Return whether a program ends without an error, in an empty folder in `root`, the system's by default."""
    token = secrets.token_hex(16)
    job = {"program": program, "token": token, **dataclasses.asdict(limits)}
    with tempfile.TemporaryDirectory(dir=root) as folder:
        return _start(job, folder, limits) == token


def _start(job: Mapping[str, object], folder: str, limits: Limits) -> str:
    """Return the sandbox's output for a job, "" after a timeout. No process that it started survives."""
    words = [sys.executable, "-I", "-S", "-B", sandbox.__file__]
    with tempfile.TemporaryFile() as said:  # a pipe would have to be read, however much comes
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(json.dumps({**job, "parent": os.getpid()}).encode(), timeout=limits.wall_seconds)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return said.read(1 << 10).decode("utf-8", "replace")


def of_models(predictions: Predictions, tests: Mapping[str, Tests]) -> Predictions:
    """Return the predictions of every benchmark that has tests, with whether they pass, by benchmark and model."""
    if not tests:
        return {}
    console.show(f"running what the models wrote, {walls().sentence()}")
    return {
        name: {key: with_results(items, tests[name], f"{key}, {name}") for key, items in predictions[name].items()}
        for name in tests
    }


def with_results(items: Sequence[Prediction], tests: Tests, what: str) -> list[Prediction]:
    """Return predictions with whether their programs pass: as generated, and cut to the reference's lines.

    Args:
        items: predictions of one model.
        tests: by id of an item.
        what: the label of the progress bar.
    """
    programs = [
        item.prompt + text + (item.suffix or "") + tests[item.id]
        for item in items
        for text in (item.prediction, cut(item))
    ]
    distinct = list(dict.fromkeys(programs))
    with temporary_folder() as root, ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            results = pool.map(lambda program: passes(program, root=root), distinct)
            found = list(console.progress(results, f"run {what}", len(distinct), unit="program"))
        except BaseException:  # whoever stops the run does not wait for the programs that have not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    score = {program: 100.0 * passed for program, passed in zip(distinct, found, strict=True)}
    pairs = zip(items, programs[::2], programs[1::2], strict=True)
    return [
        dataclasses.replace(
            item, scores=item.scores | {PASS_RATE.name: score[whole], CUT_PASS_RATE.name: score[shorter]}
        )
        for item, whole, shorter in pairs
    ]


def cut(item: Prediction) -> str:
    """Return a prediction cut to the reference's lines; in a gap of whole lines it ends with its line.

    An editor's rule would not do: it ends after one statement, and the gap may hold several.
    """
    [text] = truncation.texts("reference_lines", [item])
    whole_lines = item.reference.endswith("\n")
    return text if text.endswith("\n") or not whole_lines else text + "\n"
