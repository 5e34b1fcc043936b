"""Runs a stage in a forked child of a warm process, so that a trial costs no import, and kills it at any change."""

import contextlib
import errno
import gc
import importlib
import mmap
import os
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from codefit import cli, manifest

STATE, FOLDER = "TORTURE_STATE", "TORTURE_FOLDER"  # of the environment
STAGES = ("parse_data", "preprocess_data", "train", "merge_lora", "benchmarking", "bleu")
KILL, FAIL_ONCE, FAIL_FROM_HERE_ON = 1, 2, 3
LAYOUT = struct.Struct("lliiii1024s1024s")  # struct state of shim.c
CURSOR_UP = "\x1b[A"  # of nested progress bars
PICTURE = b"\x89PNG\r\n\x1a\n"
MEMORY = 2 << 30  # bytes that a stage may take in addition to what the warm process holds


@dataclass(frozen=True)
class Trap:
    """What happens at the n-th change of the file system: a kill, or a call that fails with an errno."""

    number: int
    action: int = KILL
    error: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a stage ended: exit code (negative: the signal; None: the time limit), output and resources."""

    code: int | None
    stdout: str
    stderr: str
    peak_bytes: int
    changes: int
    trapped: bool

    def complaint(self) -> str | None:
        """Return what is wrong with this outcome; None for success, or exit code 1 with one sentence."""
        text = (self.stderr + self.stdout).replace(CURSOR_UP, "")
        if self.code is None:
            return "did not end within the time limit"
        if self.peak_bytes > MEMORY:
            return f"took {self.peak_bytes / 2**30:.1f} GB of memory"
        if any((ord(sign) < 32 and sign not in "\t\n\r") or 127 <= ord(sign) < 160 for sign in text):
            return "control characters on the terminal"
        if "Traceback (most recent call last)" in text:
            last = next((line for line in reversed(self.stderr.splitlines()) if line.strip()), "")
            return f"traceback: {last[:150]}"
        if self.code == 0:
            return None
        said = [line for line in self.stderr.splitlines() if line.startswith("error: ")]
        if self.code != 1:
            return f"exit code {self.code}"
        if len(said) != 1 or said[0][-1] not in ".?" or not self.stderr.rstrip().endswith(said[0]):
            return f"exit 1 without one sentence: {self.stderr[-150:].strip()!r}"
        return None


def enter(module: str) -> Path:
    """Return the folder of a harness that runs under the shim; the first call starts one and ends with it."""
    if STATE in os.environ:
        return Path(os.environ[FOLDER])
    folder = Path(tempfile.mkdtemp(prefix="torture-")).resolve()
    try:
        shim = folder / "shim.so"
        source = Path(__file__).with_name("shim.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True)
        (folder / "state").write_bytes(bytes(LAYOUT.size))
        (folder / "home").mkdir()
        fixed = dict.fromkeys(("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "DO_NOT_TRACK", "PYTHONUNBUFFERED"), "1")
        here = {"HOME": folder / "home", "HF_HOME": folder / "home" / "hf", "MPLCONFIGDIR": folder / "home" / "mpl"}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
            **fixed,
            **{name: str(path) for name, path in here.items()},
            **{STATE: str(folder / "state"), FOLDER: str(folder), "LD_PRELOAD": str(shim)},
            **{"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "PYTHONHASHSEED": "0"},
        }
        sys.exit(subprocess.run([sys.executable, "-m", module, *sys.argv[1:]], env=environment).returncode)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Server:
    """The warm process. Stages run in `folder/work`, with `folder/tmp` for temporary files.

    Args:
        folder: of `enter`.
        limit: seconds that a stage may take.
        stages: the names of those that it can run; importing all of them takes longer than some trials.
    """

    def __init__(self, folder: Path, limit: float = 60, stages: Iterable[str] = STAGES) -> None:
        self.limit = limit
        self.trial = folder / "trial"
        self.said = [folder / "stdout", folder / "stderr"]
        self.log = folder / "changes"
        with Path(os.environ[STATE]).open("r+b") as file:
            self.state = mmap.mmap(file.fileno(), LAYOUT.size)
        self.stages = {name: importlib.import_module(name) for name in stages}
        self._settle_what_never_changes()
        self.known: set[str] = set()

    def _settle_what_never_changes(self) -> None:
        """Read git and package metadata once, not in every trial."""
        commit, versions = manifest.toolkit_commit(), manifest.versions()
        for module in [manifest, *self.stages.values()]:
            if hasattr(module, "toolkit_commit"):
                module.toolkit_commit = lambda: commit  # type: ignore[attr-defined]
        manifest.versions = lambda: dict(versions)
        if self.stages.keys() - {"parse_data"}:
            from matplotlib.figure import Figure

            # Drawing takes as long as all else, and what is drawn is no matter here.
            Figure.savefig = lambda figure, path, **options: Path(path).write_bytes(PICTURE)  # type: ignore

    def warm(self, stage: str, words: list[str]) -> Outcome:
        """Run a stage once, and import here what it had to import."""
        listing = self.log.with_name("modules")
        listing.unlink(missing_ok=True)
        outcome = self.run(stage, words, listing=listing)
        if listing.exists():
            for name in listing.read_text().split():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
        gc.collect()
        gc.freeze()
        return outcome

    def start(self, stage: str, words: list[str], trap: Trap | None = None, **more: Any) -> int:
        """Start a stage in a child of its own process group, and return its process id."""
        log = str(self.log) if more.get("log") else ""
        self.log.unlink(missing_ok=True)
        number, action, error = (trap.number, trap.action, trap.error) if trap else (0, 0, 0)
        root = str(self.trial).encode()
        self.state[:] = LAYOUT.pack(0, number, action, error, 1, 0, root, log.encode())
        child = os.fork()
        if child:
            return child
        try:
            self._become(stage, words, more.get("said", self.said))
            code = _exit_code(self.stages[stage].main)
            if listing := more.get("listing"):
                listing.write_text("\n".join(sorted(sys.modules)))
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
        os._exit(code)

    def _become(self, stage: str, words: list[str], said: list[Path]) -> None:
        """Set this child process up as a shell would start it."""
        os.setsid()
        for number, path in enumerate([Path(os.devnull), *said]):
            file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, number)
            os.close(file)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(self.trial / "work")
        os.environ.update(TMPDIR=str(self.trial / "tmp"), CODEFIT_CACHE=str(self.trial / "cache"))
        tempfile.tempdir = None
        sys.argv = [f"{stage}.py", *words]
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MEMORY, size + 2 * MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def wait(self, child: int, said: list[Path] | None = None) -> Outcome:
        """Wait for a child to end, for so long as the limit allows, and end what is left of its group."""
        descriptor = os.pidfd_open(child)
        ended = select.select([descriptor], [], [], self.limit)[0]
        os.close(descriptor)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status, usage = os.wait4(child, 0)
        counter, _, _, _, _, reached, *_ = LAYOUT.unpack(self.state[:])
        stdout, stderr = (path.read_text(errors="replace") if path.exists() else "" for path in said or self.said)
        code = os.waitstatus_to_exitcode(status) if ended else None
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Outcome(code, stdout, stderr, max(0, usage.ru_maxrss * 1024 - held), counter, bool(reached))

    def run(self, stage: str, words: list[str], trap: Trap | None = None, **more: Any) -> Outcome:
        """Run a stage until it ends or reaches its trap."""
        outcome = self.wait(self.start(stage, words, trap, **more), more.get("said"))
        self.state[:] = bytes(LAYOUT.size)
        return outcome

    def changes(self) -> list[tuple[str, str]]:
        """Return the changes of the last run that was logged: call and path in the folder of the trial."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return [(call, path) for _, call, path in (line.split(" ", 2) for line in lines)]


def _exit_code(main: Any) -> int:
    try:
        cli.run(main)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    return _unreachable()


def _unreachable() -> NoReturn:
    raise AssertionError("cli.run always exits")


ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EACCES", "EIO")}
