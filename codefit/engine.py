"""Run a pure function over batches, locally or on a cluster; the results come in the order of the batches.

- `local`: processes on this machine, with nothing to install;
- `daft`: Daft on this machine;
- `ray`: Daft on a Ray cluster, whose machines need the packages of requirements.txt; codefit itself is sent to them.

The result does not depend on the engine or the number of processes: the function gets the same batches everywhere, and
results keep their order. Only a few batches are in memory at a time, however many there are.
"""

import functools
import itertools
import logging
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, TypeVar

from codefit.errors import UserError, first_line
from codefit.manifest import ROOT

ENGINES = ("local", "daft", "ray")
INSTALL = "pip install --no-deps daft==0.7.26 && pip install ray==2.60.0"
WAITING = 3  # queued batches per process, so that none waits for work
PER_QUERY = 32  # batches per processor in one query of Daft
PULSE = 0.5  # seconds between checks whether the parent process is alive

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Engine:
    """The engine: one of `ENGINES`, the number of processes (None: one per processor), the address of a Ray cluster."""

    name: str = "local"
    num_workers: int | None = None
    ray_address: str | None = None

    def run(self, function: Callable[[Batch], Result], batches: Iterable[Batch]) -> Iterator[tuple[Batch, Result]]:
        """Yield each batch with its result, in order.

        Args:
            function: a module-level function, or a `functools.partial` of one; it and its results must be picklable.

        Raises:
            UserError: Daft or Ray is not installed, the cluster cannot be reached, or a process was killed.
        """
        workers = self.num_workers or processors()
        if self.name != "local":
            return _on_daft(load_daft(self.name, self.ray_address), function, batches, workers)
        batches = iter(batches)
        first = list(itertools.islice(batches, 2))
        if workers == 1 or len(first) < 2:  # a single batch is done before a process has started
            return ((batch, function(batch)) for batch in itertools.chain(first, batches))
        return _on_processes(function, itertools.chain(first, batches), workers)


# ------------------------------------------------------------------------------------------- this machine

_function: Callable[[Any], Any]  # in a worker process


def _begin(function: Callable[[Any], Any], parent: int) -> None:
    """Prepare a worker: it exits with its parent, leaves Ctrl-C to it, and keeps the tokenizer single-threaded."""
    global _function
    _function = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PULSE)
    os._exit(1)


def _call(batch: Any) -> Any:
    return _function(batch)


def _on_processes(
    function: Callable[[Batch], Result], batches: Iterable[Batch], workers: int
) -> Iterator[tuple[Batch, Result]]:
    waiting: deque[tuple[Batch, Future[Result]]] = deque()
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(function, os.getpid())) as pool:
        try:
            for batch in batches:
                waiting.append((batch, pool.submit(_call, batch)))
                if len(waiting) > WAITING * workers:
                    ready, future = waiting.popleft()
                    yield ready, future.result()
            while waiting:
                ready, future = waiting.popleft()
                yield ready, future.result()
        except BrokenProcessPool:
            raise UserError(
                "a worker process was killed, most likely because memory ran out; give a smaller --num_workers."
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


# ------------------------------------------------------------------------------------------- Daft and Ray


@functools.cache
def load_daft(name: str, address: str | None) -> Any:
    """Return the daft package with its runner set, which is possible only once in a process.

    Raises:
        UserError: a package is missing, or Ray cannot be started or reached.
    """
    os.environ |= {"DO_NOT_TRACK": "true", "DAFT_ANALYTICS_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    try:
        import daft
    except ImportError:
        raise UserError(f"--engine {name} needs further packages; run: {INSTALL}") from None
    if name == "daft":
        daft.set_runner_native()
    else:
        _connect(address)
        daft.set_runner_ray(noop_if_initialized=True)
    return daft


def _connect(address: str | None) -> None:
    """Connect to a Ray cluster, or start one on this machine."""
    try:
        import ray
    except ImportError:
        raise UserError(f"--engine ray needs further packages; run: {INSTALL}") from None
    if ray.is_initialized():
        return
    sent = {"py_modules": [str(ROOT / "codefit")], "env_vars": {"TOKENIZERS_PARALLELISM": "false"}}
    try:
        ray.init(address=address, runtime_env=sent, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray also raises Exception itself, for example when its processes start too slowly
        if address is None:
            problem = f"cannot start Ray on this machine ({first_line(error)})"
            raise UserError(f"{problem}; try again when it is less busy, or use --engine daft.") from None
        raise UserError(
            f"cannot reach a Ray cluster at {address} ({first_line(error)}); check --ray_address."
        ) from None


def _on_daft(
    daft: Any, function: Callable[[Batch], Result], batches: Iterable[Batch], workers: int
) -> Iterator[tuple[Batch, Result]]:
    """Give Daft a few batches at a time, so that memory stays flat; a row of the column holds one batch."""
    python = daft.DataType.python()

    class Worker:
        def __init__(self, function: Callable[[Any], Any]) -> None:
            self.function = function

        @daft.method.batch(return_dtype=python, batch_size=1)  # type: ignore[untyped-decorator]
        def run(self, batches: Any) -> Any:
            return daft.Series.from_pylist(list(map(self.function, batches.to_pylist())), "result", python)

    worker = daft.cls(Worker, use_process=True, max_concurrency=workers)(function)
    remaining = iter(batches)
    while some := list(itertools.islice(remaining, PER_QUERY * workers)):
        column = daft.Series.from_pylist(some, "batch", python)
        frame = daft.from_pydict({"number": list(range(len(some))), "batch": column})
        found = frame.select(frame["number"], worker.run(frame["batch"]).alias("result")).to_pydict()
        results = dict(zip(found["number"], found["result"], strict=True))
        yield from ((batch, results[number]) for number, batch in enumerate(some))
