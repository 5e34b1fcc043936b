"""The engine: the same results in the same order from one process, several, Daft, and two nodes of a Ray cluster."""

import functools
import importlib.util
import itertools
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import preprocess_data
from codefit import engine
from codefit.curation import curate
from codefit.engine import Engine
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.records import Document, write_jsonl

BASE = ROOT / "data" / "base"
DAFT = importlib.util.find_spec("daft") is not None
RAY = importlib.util.find_spec("ray") is not None


def multiplied(batch, by):
    time.sleep(0.01 * (batch[0] % 3))  # later batches are ready earlier
    return [number * by for number in batch]


def killed(batch):
    os.kill(os.getpid(), signal.SIGKILL)


def refused(batch):
    raise UserError(f"batch {batch} is refused; give another.")


def document(number):
    lines = [f"def f_{number}_{n}(value_{n}):\n    return value_{n} * {n * number} + total\n" for n in range(30)]
    return Document("\n".join(lines), f"package/m{number}.py", "me/one", language="python")


@pytest.fixture
def source(tmp_path):
    write_jsonl(tmp_path / "documents.jsonl", [*map(document, range(60)), document(3), Document("x\n", "x.py")])
    return tmp_path / "documents.jsonl"


def words(source, output, *more):
    flags = ["--input", source, "--output", output, "--model_name_or_path", BASE, "--test_share", 0.2, *more]
    return list(map(str, flags))


def data_of(output):
    return {path.name: path.read_bytes() for path in output.iterdir() if path.name != "manifest.json"}


# --------------------------------------------------------------------------------------------- processes


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_results_come_in_order_from_any_number_of_processes(workers, count):
    batches = [[number] for number in range(count)]
    found = list(Engine(num_workers=workers).run(functools.partial(multiplied, by=3), iter(batches)))
    assert found == [([number], [number * 3]) for number in range(count)]


def test_only_a_few_batches_are_read_ahead():
    counter = itertools.count()
    endless = ([number] for number in counter)
    running = Engine(num_workers=2).run(functools.partial(multiplied, by=1), endless)
    assert [next(running)[1] for _ in range(20)] == [[number] for number in range(20)]
    running.close()
    assert next(counter) < 20 + 2 * engine.WAITING + 5


def test_an_error_of_a_function_is_the_error_of_the_run():
    with pytest.raises(UserError, match=r"batch 0 is refused; give another\."):
        list(Engine(num_workers=2).run(refused, range(9)))


def test_a_killed_process_is_one_sentence():
    message = r"a worker process was killed, most likely because memory ran out; give a smaller --num_workers\."
    with pytest.raises(UserError, match=message):
        list(Engine(num_workers=2).run(killed, range(9)))


@pytest.mark.parametrize("name", ["daft", "ray"])
def test_a_missing_engine_is_one_sentence(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "daft", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    message = f"--engine {name} needs further packages; run: pip install --no-deps daft==0.7.26 && pip install ray=="
    with pytest.raises(UserError, match=message):
        Engine(name).run(refused, [1])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (None, r"cannot start Ray on this machine \(timed out\); try again when it is less busy, or use --engine daft"),
        ("10.0.0.1:6379", r"cannot reach a Ray cluster at 10.0.0.1:6379 \(timed out\); check --ray_address"),
    ],
)
def test_ray_that_does_not_start_is_one_sentence(address, message, monkeypatch):
    def too_slow(**options):
        raise Exception("timed out\nlog")  # Ray raises this class

    ray = types.SimpleNamespace(is_initialized=lambda: False, init=too_slow)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "daft", types.SimpleNamespace())
    engine.load_daft.cache_clear()
    with pytest.raises(UserError, match=message):
        Engine("ray", ray_address=address).run(refused, [1])


def test_an_address_needs_ray(capsys):
    with pytest.raises(SystemExit, match="2"):
        preprocess_data.main(["--ray_address", "10.0.0.1:6379"])
    assert "--ray_address needs --engine ray" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------- stage 2


def test_bytes_do_not_depend_on_processes_or_batches(source, tmp_path, monkeypatch):
    preprocess_data.main(words(source, tmp_path / "one", "--num_workers", 1))
    monkeypatch.setattr(curate, "BATCH", 5000)
    for workers in (1, 3):
        preprocess_data.main(words(source, tmp_path / str(workers), "--num_workers", workers))
        assert data_of(tmp_path / str(workers)) == data_of(tmp_path / "one")


def children_of(process):
    try:
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are watched in /proc")
def test_a_killed_run_leaves_no_process_and_does_no_harm(tmp_path):
    source = tmp_path / "documents.jsonl"
    write_jsonl(source, map(document, range(900)))
    command = [sys.executable, str(ROOT / "preprocess_data.py"), *words(source, tmp_path / "out", "--num_workers", 2)]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while len(workers := children_of(run.pid)) < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    run.communicate()
    assert len(workers) >= 2
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    assert not (tmp_path / "out").exists()
    preprocess_data.main(words(source, tmp_path / "out", "--num_workers", 2))
    preprocess_data.main(words(source, tmp_path / "other", "--num_workers", 1))
    assert data_of(tmp_path / "out") == data_of(tmp_path / "other")


# --------------------------------------------------------------------------------------------- Daft and Ray


def run_apart(source, output, *flags):
    """Run stage 2 in a process of its own: where Daft runs can be told once in a process."""
    command = [sys.executable, str(ROOT / "preprocess_data.py"), *words(source, output, *flags)]
    run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAY_AUTH_MODE": "disabled"})
    assert run.returncode == 0, run.stderr


@pytest.mark.skipif(not DAFT, reason="daft is not installed")
def test_daft_makes_the_same_bytes(source, tmp_path):
    preprocess_data.main(words(source, tmp_path / "local"))
    run_apart(source, tmp_path / "daft", "--engine", "daft", "--num_workers", 2)
    assert data_of(tmp_path / "daft") == data_of(tmp_path / "local")


@pytest.mark.skipif(not (DAFT and RAY), reason="daft and ray are not both installed")
def test_two_nodes_of_a_ray_cluster_make_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    source = tmp_path / "documents.jsonl"
    write_jsonl(source, map(document, range(300)))  # several batches, so that both nodes have some
    preprocess_data.main(words(source, tmp_path / "local"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        run_apart(source, tmp_path / "ray", "--engine", "ray", "--ray_address", cluster.address, "--num_workers", 2)
    finally:
        cluster.shutdown()
    assert data_of(tmp_path / "ray") == data_of(tmp_path / "local")
