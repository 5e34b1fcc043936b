"""Running what models wrote: right programs pass, wrong ones fail, and hostile ones reach nothing."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codefit.errors import UserError
from codefit.evaluation import execution, questions
from codefit.evaluation.benchmarks import humaneval_infilling
from codefit.evaluation.execution import Limits
from codefit.evaluation.settings import QuestionSettings
from codefit.manifest import Manifest
from codefit.records import Prediction
from codefit.scoring.pass_rate import CUT_PASS_RATE, PASS_RATE

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits are those of Linux")

ITEM = {
    "task_id": "MultiLineInfilling/HumanEval/900/L1_L2",
    "entry_point": "largest",
    "prompt": "import math\n\n\ndef largest(numbers):\n    best = -math.inf\n",
    "suffix": "    return best\n",
    "canonical_solution": "    for number in numbers:\n        best = max(best, number)\n",
    "test": "\ndef check(candidate):\n    assert candidate([3, 1, 4, 5]) == 5\n    assert candidate([-2, -7]) == -2\n",
}
SHORT = Limits(cpu_seconds=1, wall_seconds=20)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "HumanEval-MultiLineInfilling.jsonl"
    path.write_text(json.dumps(ITEM) + "\n")
    return path


def predicted(text, **facts):
    return Prediction(
        id=ITEM["task_id"],
        prompt=ITEM["prompt"],
        prediction=text,
        reference=ITEM["canonical_solution"],
        suffix=ITEM["suffix"],
        task="infill",
        language="python",
        path="HumanEval/900",
        **facts,
    )


def results(file, *texts):
    return execution.with_results([predicted(text) for text in texts], humaneval_infilling.tests(file), "base")


# ---------------------------------------------------------------------------------------------- right and wrong


def test_a_right_solution_passes_and_a_wrong_one_fails(file):
    right, other, wrong, broken = results(
        file,
        ITEM["canonical_solution"],
        "    best = sorted(numbers)[-1]\n",
        "    best = numbers[0]\n",
        "    for number in\n",
    )
    assert [item.scores["pass_rate"] for item in (right, other, wrong, broken)] == [100, 100, 0, 0]
    assert PASS_RATE.of_items([right, other, wrong, broken])[:, 0].tolist() == [100, 100, 0, 0]


def test_what_runs_on_is_cut_to_the_lines_of_the_reference(file):
    [item] = results(file, ITEM["canonical_solution"] + "    return best\n\n\ndef largest(numbers):\n    return 0\n")
    assert (item.scores["pass_rate"], item.scores["pass_rate_cut"]) == (0, 100)
    assert (PASS_RATE.of_item(item)[0], CUT_PASS_RATE.of_item(item)[0]) == (0, 100)


def test_a_line_break_that_a_model_leaves_out_is_added_where_the_gap_ends_with_its_line(file):
    [item] = results(file, ITEM["canonical_solution"].rstrip("\n"))
    assert (item.scores["pass_rate"], item.scores["pass_rate_cut"]) == (0, 100)


def test_scores_that_are_there_are_kept(file):
    tests = humaneval_infilling.tests(file)
    [item] = execution.with_results([predicted("    pass\n", scores={"nats": 3.0})], tests, "base")
    assert item.scores == {"nats": 3.0, "pass_rate": 0.0, "pass_rate_cut": 0.0}


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(0)",
        "import os\nos._exit(0)",
        "import sys\nsys.exit()",
        "assert False",
        "def f(): return f()\nf()",
        "x = (",
        "import sys\nsys.stdout.write('a' * 32)\n1 / 0",
    ],
)
def test_only_a_program_that_ends_without_error_passes(program):
    assert not execution.passes(program)


def test_a_program_may_print_compute_and_write_in_its_folder():
    assert execution.passes("import random, hashlib, collections\nprint('x' * 10_000_000)\nopen('a', 'w').write('b')")


def test_a_run_that_is_stopped_begins_no_more_programs(file, monkeypatch):
    begun = []
    monkeypatch.setattr(execution, "passes", lambda program, root: begun.append(time.sleep(0.05)))

    def stopped(found, *_, **__):
        next(iter(found))
        raise KeyboardInterrupt

    monkeypatch.setattr(execution.console, "progress", stopped)
    with pytest.raises(KeyboardInterrupt):
        results(file, *(f"    best = {number}\n" for number in range(400)))
    assert len(begun) < 100


# ---------------------------------------------------------------------------------------------- what is contained


def test_an_endless_loop_ends():
    started = time.monotonic()
    assert not execution.passes("while True: pass", SHORT)
    assert time.monotonic() - started < SHORT.wall_seconds


def test_a_sleeper_ends():
    assert not execution.passes("import time\ntime.sleep(1000)", Limits(cpu_seconds=1, wall_seconds=1))


def test_a_program_that_wants_all_memory_fails():
    assert not execution.passes("x = bytearray(3 << 30)")
    assert not execution.passes("x = []\nwhile True: x.append('a' * (1 << 20))")


def children_named(mark):
    found = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if mark in line]


@pytest.mark.parametrize(
    "program",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess\nsubprocess.Popen(['sleep', '7654.321'])",
        "import os\nos.system('sleep 7654.321')",
        "import os\nos.posix_spawn('/bin/sleep', ['sleep', '7654.321'], {})",
        "import os\nos.execv('/bin/sleep', ['sleep', '7654.321'])",
        "import multiprocessing\nmultiprocessing.Process(target=print).start()",
        "import ctypes\nctypes.CDLL(None).fork()",
    ],
)
def test_no_process_is_started(program):
    assert not execution.passes(program, SHORT)
    assert children_named("7654.321") == []


def test_other_processes_are_out_of_reach():
    ours = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        execution.passes(f"import os, signal\nos.kill({ours.pid}, signal.SIGKILL)")
        assert ours.poll() is None
    finally:
        ours.kill()
        ours.wait()


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_there_is_no_network(kind):
    """Not even this machine's own: a server here is asked, and hears nothing."""
    server = socket.socket(socket.AF_INET, getattr(socket, kind))
    server.bind(("127.0.0.1", 0))
    if kind == "SOCK_STREAM":
        server.listen()
    server.setblocking(False)
    port = server.getsockname()[1]
    program = f"import socket\ns = socket.socket(2, socket.{kind})\ns.connect(('127.0.0.1', {port}))\ns.send(b'x')"
    assert not execution.passes(program)
    with server, pytest.raises(BlockingIOError):
        server.accept() if kind == "SOCK_STREAM" else server.recv(10)


def test_a_namespace_has_no_network_below_python_either():
    """The hook in Python is not the only wall: without it, the kernel still knows no way to a server here."""
    if not execution.walls().namespaces:
        pytest.skip("this machine permits no namespaces")
    server = socket.create_server(("127.0.0.1", 0))
    code = "from codefit.evaluation import sandbox; import socket, sys; assert sandbox.leave_namespaces(); "
    code += f"sys.exit(socket.socket().connect_ex(('127.0.0.1', {server.getsockname()[1]})) != 101)"  # ENETUNREACH
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    server.close()


def test_files_are_out_of_reach(tmp_path):
    secret, mine = tmp_path / "secret.txt", tmp_path / "mine.txt"
    secret.write_text("token")
    mine.write_text("kept")
    execution.passes(f"open({str(tmp_path / 'new.txt')!r}, 'w').write('x')")
    execution.passes(f"open({str(mine)!r}, 'w').write('x')")
    execution.passes(f"import os\nos.remove({str(mine)!r})")
    execution.passes(f"import os\nos.rename({str(mine)!r}, 'a')")
    if not execution.walls().landlock:
        pytest.skip("this kernel has no Landlock")
    assert not execution.passes(f"open({str(secret)!r}).read()")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "secret.txt"]
    assert mine.read_text() == "kept"


def test_large_files_and_many_files_are_refused():
    assert not execution.passes("open('a', 'wb').write(b'x' * (2 << 20))")
    assert not execution.passes("found = [open(str(n), 'w') for n in range(100)]")


def test_the_environment_is_empty_and_the_folder_too(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert execution.passes("import os\nassert 'HF_TOKEN' not in os.environ, 1\nassert os.listdir() == []")
    assert not execution.passes("import torch")


def test_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    execution.passes("open('a', 'w').write('b')")
    execution.passes("while True: pass", SHORT)
    assert list(tmp_path.iterdir()) == []


def test_the_sandbox_dies_with_the_run(tmp_path):
    code = "from codefit.evaluation import execution; execution.passes('import time; time.sleep(500)')"
    run = subprocess.Popen([sys.executable, "-c", code], cwd=Path(execution.__file__).parents[2])
    deadline = time.monotonic() + 60

    def started():
        return any(str(run.pid) == line.split()[0] for line in parents() if "sandbox.py" in line)

    def parents():
        found = subprocess.run(["ps", "-ewwo", "ppid,args"], capture_output=True, text=True, check=True)
        return found.stdout.splitlines()

    while not started() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert started()
    before = [line for line in parents() if "sandbox.py" in line]
    run.kill()
    run.wait()
    while (left := [line for line in parents() if "sandbox.py" in line]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert before
    assert left == []


# ---------------------------------------------------------------------------------------------- what is asked


def asked(path, execute):
    settings = QuestionSettings((str(path),), "nowhere", "test", None, 0, 0, 64, execute)
    return questions.load(settings, Manifest({}))


def test_tests_are_read_only_when_they_are_to_be_run(file):
    [without], [with_tests] = asked(file, False), asked(file, True)
    assert without.tests == {}
    assert "no test is run" in without.title
    assert list(with_tests.tests) == [ITEM["task_id"]]
    assert with_tests.title == f"HumanEval infilling, its tests run ({file.name})"


@pytest.mark.parametrize("harm", [{"test": None}, {"entry_point": "a b"}, {"entry_point": "f(); import os"}])
def test_a_row_without_a_test_is_one_sentence(harm, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({**ITEM, **harm}) + "\n")
    with pytest.raises(UserError, match='--execute needs the fields "test" and "entry_point"; take the file'):
        asked(path, True)


def test_nothing_to_run_is_one_sentence(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(UserError, match="no benchmark of this run has tests; name its file with --benchmark"):
        asked(path, True)


def test_another_system_is_refused(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(UserError, match="--execute needs the limits of Linux"):
        execution.walls()


def test_it_is_said_what_keeps_programs_apart():
    whole, bare = execution.Walls(True, True), execution.Walls(False, False)
    assert whole.sentence() == "each in its own process, without network"
    assert "in Python only" in bare.sentence()
    assert "able to read what you can read" in bare.sentence()
