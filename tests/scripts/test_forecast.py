"""forecast.py on a small repository with a tiny model: all stages, the answer, and what goes wrong."""

import json
import re
import subprocess
import sys
from random import Random

import pytest

import forecast
from codefit.errors import UserError
from codefit.forecast import stages
from codefit.forecast.outcome import Forecast
from codefit.json_files import checked
from codefit.manifest import ROOT
from tests.support import warm
from tests.support.history import History
from tests.support.sources import git

WORDS = [a + b for a in ("al", "be", "ga", "de", "om", "si", "ka", "th") for b in ("pha", "ta", "mma", "gma")]
SMALL = ["--max_prompt_tokens", 48, "--repository_context", 120, "--sample", 30, "--max_steps", 16]


def source(name, more):
    """Return a Python file of its own words, with two more functions in every commit."""
    random = Random(name)
    lines = [f"import {random.choice(WORDS)}", "", ""]
    for n in range(6 + 2 * more):
        one, other, third = ("_".join(random.sample(WORDS, 3)) for _ in range(3))
        lines += [
            f"def {one}({other}, count={n}):",
            f"    {third} = {random.choice(WORDS)}.{random.choice(WORDS)}({other}, {random.randrange(999)})",
            f"    return {name}.{random.choice(WORDS)}({third}, count + {random.randrange(99)})",
            "",
            "",
        ]
    return "\n".join(lines).encode()


@pytest.fixture
def repository(tmp_path):
    """A project of ten files, all of which change in each of fifteen commits."""
    history = History()
    for number in range(15):
        files = {f"src/{name}.py": source(name, number) for name in WORDS[:10]}
        history.commit(f"c{number}", f"2026-01-{1 + number:02}", files)
    return history.build(tmp_path / "project.git")[0]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Run stages, those with a model in warm processes; yield the commands that were run."""
    commands = []

    def run(command):
        script, *words = command
        folder = tmp_path / f"said-{len(commands)}"
        folder.mkdir()
        if script in {"train.py", "benchmarking.py"}:
            code, out, err = warm.Started(script.removesuffix(".py"), words, folder).ended()
        else:
            done = subprocess.run([sys.executable, ROOT / script, *words], capture_output=True, text=True)
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, err
        commands.append([*command, out])

    monkeypatch.setattr(stages, "run", run)
    return commands


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["forecast.py", *map(str, words)])
    forecast.main()


def test_a_forecast_from_a_history_to_the_page(repository, made, tmp_path, monkeypatch, capsys, started, drawn):
    folder = tmp_path / "out"
    words = ["--repository", repository, "--model_name_or_path", made / "base", "--output_dir", folder, *SMALL]
    run(monkeypatch, *words)
    said = capsys.readouterr().out
    assert "history     10 files (python); 80 changed files since 2026-01-08 are the test, 70 before it" in said
    assert [command[0] for command in started] == [
        *("parse_data.py", "preprocess_data.py", "train.py", "train.py", "benchmarking.py"),
    ]
    content = json.loads((folder / "forecast" / "forecast.json").read_text())
    found = checked(content, Forecast, "forecast.json", "again")
    assert [cell.key for cell in found.cells] == ["base-context", "adapted", "adapted-context"]
    assert all(cell.gain.low <= cell.gain.value <= cell.gain.high for cell in found.cells)
    assert found.curve.steps == [0, 2, 4, 16]
    assert found.asked == 30
    assert 30 < found.later == found.signs.questions < 500
    assert found.since.startswith("2026-01-08")
    assert found.seconds_per_step > 0
    assert found.signs.past_bits > 0 < found.signs.later_bits
    page = (folder / "forecast" / "forecast.html").read_text()
    assert "Expected gain in edit similarity over the base" in page
    assert re.search(r'alt="retrieved files [+−0]', page)
    assert f"python train.py --dataset {folder}/pairs" in said.replace("\n", " ")
    assert max(map(len, said.partition("\n\n")[2].partition("Fit the model:")[0].splitlines())) <= 99

    run(monkeypatch, *words)
    again = capsys.readouterr().out
    assert f"{folder}/forecast is complete: the same command made it from the same inputs" in again
    assert again.endswith(said[said.index("\nExpected gain in") :])
    assert len(started) == 5
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite to replace it"):
        run(monkeypatch, *words, "--benchmark_sample", 50)
    assert json.loads((folder / "forecast" / "forecast.json").read_text()) == content

    git(repository, "update-ref", "refs/heads/main", "main~1")
    with pytest.raises(UserError, match="already exists and is complete"):
        run(monkeypatch, *words)  # the history is another one
    assert len(started) == 5


def test_a_dry_run_shows_the_commands_and_writes_nothing(repository, made, tmp_path, monkeypatch, capsys, started):
    words = [
        "--repository",
        repository,
        "--model_name_or_path",
        made / "base",
        "--output_dir",
        tmp_path / "out",
        *SMALL,
    ]
    run(monkeypatch, *words, "--dry_run")
    assert capsys.readouterr().out.count("$ python ") == 5
    assert started == []
    assert not (tmp_path / "out").exists()


def test_a_short_context_window_is_named_before_anything_is_read(repository, made, monkeypatch):
    words = ["--repository", repository, "--model_name_or_path", made / "base", "--repository_context", 100_000]
    with pytest.raises(UserError, match=r"too short for prompts of 256 tokens, 100000 of files and 64 new ones"):
        run(monkeypatch, *words)


def test_a_failed_stage_says_how_to_go_on(tmp_path, capfd):
    with pytest.raises(UserError, match=r"parse_data\.py ended with exit code 1, .* run the same forecast again"):
        stages.run(["parse_data.py", "--repository", str(tmp_path / "absent"), "--language", "python"])
    said = capfd.readouterr()
    assert said.out.startswith("\n$ python parse_data.py --repository ")
    assert "does not exist" in said.err
