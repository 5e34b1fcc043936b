"""How many threads to compute with: no more than there are processors for this process, and than are free.

Threads that share a processor wait for each other at every step: on a machine whose two processors were busy, a
training step took 97 s with two threads and 3.8 s with one.
"""

import os
import statistics
import sys
import time
from pathlib import Path

from codefit import console

SAMPLES = 5  # of the number of running threads
PAUSE = 0.02  # seconds between two samples
CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
LOAD = Path("/proc/loadavg")


def use_free_ones() -> None:
    """Make torch, which is imported later, use fewer threads where they would wait, and say so on stderr.

    OMP_NUM_THREADS, where it is set, decides.
    """
    if os.environ.get("OMP_NUM_THREADS") or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return
    there, allowed = cores(), quota()
    free = max(1, (os.cpu_count() or 1) - busy())
    threads = max(1, int(min(there, allowed, free)))
    if threads >= there:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    reason = f"the container may use {allowed:g}" if allowed <= free else "the others are busy"
    console.show(f"using {threads} of {there} processors: {reason}; OMP_NUM_THREADS changes that.", file=sys.stderr)


def allowed_cpus() -> set[int]:
    """Return the numbers of the processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def cores() -> int:
    """Return the number of cores that this process may run on; the two threads of a core count once, as for torch."""
    found = set()
    for number in allowed_cpus():
        try:
            siblings = (CPUS / f"cpu{number}/topology/thread_siblings_list").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            siblings = ""
        found.add(siblings or str(number))
    return len(found)


def quota() -> float:
    """Return how many processors the container may use at a time, from cgroup v2 or v1; infinity without a limit."""
    limits = [
        *((folder / "cpu.max", None) for folder in _own_groups()),
        *(
            (CGROUPS / name / "cpu.cfs_quota_us", CGROUPS / name / "cpu.cfs_period_us")
            for name in ("cpu", "cpu,cpuacct")
        ),
    ]
    found = [_limit(file, period) for file, period in limits]
    return min(found, default=float("inf"))


def _own_groups() -> list[Path]:
    """Return the folder of this process's cgroup v2 and those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    own = next((line[3:].strip("/") for line in lines if line.startswith("0::")), "")
    return [CGROUPS / own, *(CGROUPS / parent for parent in Path(own).parents)] if own else [CGROUPS]


def _limit(file: Path, period: Path | None) -> float:
    try:
        words = file.read_text(encoding="ascii").split()
        words += period.read_text(encoding="ascii").split() if period else []
        share, length = float(words[0]), float(words[1])
    except (OSError, ValueError, IndexError):  # no such file, or "max"
        return float("inf")
    return share / length if share > 0 and length > 0 else float("inf")


def busy() -> int:
    """Return how many threads of other programs run at this moment: the median of a few samples; 0 if unknown."""
    found = []
    for _ in range(SAMPLES):
        try:
            running = int(LOAD.read_text(encoding="ascii").split()[3].split("/")[0])
        except (OSError, ValueError, IndexError):
            return 0
        found.append(max(0, running - 1))  # this thread is one of them
        time.sleep(PAUSE)
    return int(statistics.median(found))
