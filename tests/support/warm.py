"""Scripts in processes of their own, forked from one that has imported torch already: a start costs no import."""

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from codefit import cli
from codefit.manifest import ROOT

CONTEXT = multiprocessing.get_context("forkserver")


class Started:
    """A script that runs; what it prints goes to two files.

    Args:
        module: its name, such as "train" or "tests.support.sharded".
        words: of its command line.
        folder: in which its two files are made.
        environment: what is changed for it.
    """

    def __init__(self, module: str, words: list[str], folder: Path, **environment: str) -> None:
        self._said = [folder / f"{module}-{environment.get('RANK', 0)}.{kind}" for kind in ("out", "err")]
        _warm()
        self.process = CONTEXT.Process(target=_run, args=(module, words, self._said, os.environ | environment))
        self.process.start()

    def stop(self, number: int) -> None:
        """Send it a signal."""
        assert self.process.pid
        os.kill(self.process.pid, number)

    def ended(self, seconds: float = 900) -> tuple[int, str, str]:
        """Wait for it, and return its exit code (negative: a signal) and what it printed as output and as errors."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        assert self.process.exitcode is not None
        out, err = (path.read_text() if path.exists() else "" for path in self._said)
        return self.process.exitcode, out, err


def _warm() -> None:
    """Start the process that all others are forked from; it is started once."""
    CONTEXT.set_forkserver_preload(["benchmarking", "train", "tests.support.sharded"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        multiprocessing.forkserver.ensure_running()


def _run(module: str, words: list[str], said: list[Path], environment: dict[str, str]) -> None:
    """Become what a shell starts, also where the tests run in the background or under nohup, and ignore signals."""
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [f"{module}.py", *words]
    main: Any = __import__(module, fromlist=["main"]).main
    cli.run(main)
