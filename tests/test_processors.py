"""How many threads a script computes with: the cores, the container's quota, and what other programs leave."""

import os
from pathlib import Path

import pytest

from codefit import processors


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 8 cores, idle and without a quota."""
    for name in ("OMP_NUM_THREADS", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(processors, "PAUSE", 0)
    monkeypatch.setattr(processors, "CPUS", tmp_path / "cpus")
    monkeypatch.setattr(processors, "CGROUPS", tmp_path / "cgroups")
    monkeypatch.setattr(processors, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(processors, "allowed_cpus", lambda: set(range(8)))
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    (tmp_path / "loadavg").write_text("0.10 0.10 0.10 1/300 4711\n")
    return tmp_path


def limit(machine: Path, name: str, text: str) -> None:
    path = machine / "cgroups" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def chosen(capsys: pytest.CaptureFixture[str]) -> tuple[str | None, str]:
    processors.use_free_ones()
    return os.environ.get("OMP_NUM_THREADS"), capsys.readouterr().err


def test_an_idle_machine_without_a_quota_is_left_to_torch(capsys: pytest.CaptureFixture[str]) -> None:
    assert chosen(capsys) == (None, "")


@pytest.mark.parametrize(
    ("files", "threads"),
    [
        ({"cpu.max": "200000 100000\n"}, "2"),
        ({"cpu.max": "150000 100000\n"}, "1"),
        ({"cpu.max": "50000 100000\n"}, "1"),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "1600000 100000\n"}, None),
        ({"cpu.max": "damaged"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "3"),
        ({"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, "3"),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_a_container_quota_of_either_version_counts(
    machine: Path, files: dict[str, str], threads: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in files.items():
        limit(machine, name, text)
    found, said = chosen(capsys)
    assert found == threads
    assert said.startswith(f"using {threads} of 8 processors: the container may use ") or (not said and not threads)


@pytest.mark.parametrize(("running", "threads"), [("1", None), ("4", "5"), ("8", "1"), ("40", "1"), ("?", None)])
def test_other_programs_keep_their_processors(
    machine: Path, running: str, threads: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "loadavg").write_text(f"9.0 9.0 9.0 {running}/300 4711\n")
    found, said = chosen(capsys)
    assert found == threads
    if threads:
        assert said == f"using {threads} of 8 processors: the others are busy; OMP_NUM_THREADS changes that.\n"
        assert len(said) <= 80


def test_two_threads_of_a_core_count_once(machine: Path) -> None:
    for number in range(8):
        place = machine / f"cpus/cpu{number}/topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{number % 4},{number % 4 + 4}\n")
    assert processors.cores() == 4


@pytest.mark.parametrize(("name", "value"), [("OMP_NUM_THREADS", "6"), ("WORLD_SIZE", "2")])
def test_a_number_that_was_chosen_is_kept(
    machine: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    limit(machine, "cpu.max", "100000 100000\n")
    assert chosen(capsys) == ("6" if name == "OMP_NUM_THREADS" else None, "")
