"""`benchmarking.py --execute`: tests of HumanEval-Infilling, run on what the embedded base wrote."""

import json
import sys

import pytest

import benchmarking
from codefit.errors import UserError
from codefit.evaluation import execution
from codefit.evaluation.benchmarks import humaneval_infilling
from codefit.manifest import ROOT
from tests.support.benchmark import predictions, scores

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits are those of Linux"),
]


def run(output, *words):
    base = str(ROOT / "data" / "base")
    model = ["--hf_repository", base, "--model_name_or_path", base, "--max_prompt_tokens", "128"]
    benchmarking.main([*model, "--output_dir", str(output), *words])


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Six items: three that pass whatever is written in a text, three that never do."""
    monkeypatch.setattr(humaneval_infilling, "NEW_TOKENS", 8)
    row = {"entry_point": "f", "canonical_solution": "b\n", "test": "def check(f):\n    assert f() == 1\n"}
    good = {"prompt": "x = r'''a", "suffix": "'''\ndef f():\n    return 1\n"}
    bad = {"prompt": "def f():\n    return 2\nx = r'''a", "suffix": "'''\n"}
    rows = [{**row, **(good, bad)[n % 2], "task_id": f"MultiLineInfilling/HumanEval/{n}/L1_L2"} for n in range(6)]
    path = tmp_path / "HumanEval-MultiLineInfilling.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_pass_rate_is_one_more_metric(file, tmp_path, capsys):
    run(tmp_path / "out", "--benchmark", str(file), "--execute")
    said = capsys.readouterr().out
    assert f"running what the models wrote, {execution.walls().sentence()}" in said
    result = scores(tmp_path / "out")["benchmarks"][file.stem]
    assert "its tests run" in result["title"]
    rows = {row["metric"]: row for row in result["metrics"]}
    assert result["metrics"][0]["metric"] == "edit_similarity_cut"
    items = predictions(tmp_path / "out", "base", file.stem)
    assert [item.scores["pass_rate"] for item in items] == [100.0 * ("'''" not in item.prediction) * (n % 2 == 0)
        for n, item in enumerate(items)]  # fmt: skip
    share = sum(item.scores["pass_rate"] for item in items) / 6
    found = rows["pass_rate"]
    assert found["scores"]["base"]["value"] == pytest.approx(share)
    assert found["scores"]["base"]["low"] < share < found["scores"]["base"]["high"], "Wilson's interval"
    assert found["signature"].startswith("pass_rate|tests:run|samples:1|cut:none|round:none|n:6")
    assert "Pass rate" in said


def test_results_of_tests_survive_a_rescoring(file, tmp_path, monkeypatch):
    run(tmp_path / "out", "--benchmark", str(file), "--execute")
    before = scores(tmp_path / "out")["benchmarks"]
    monkeypatch.setattr(execution, "passes", lambda *_: pytest.fail("run again"))
    benchmarking.main(["--rescore", "--output_dir", str(tmp_path / "out")])
    assert scores(tmp_path / "out")["benchmarks"] == before


def test_nothing_is_run_without_the_flag(file, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "passes", lambda *_: pytest.fail("run"))
    run(tmp_path / "out", "--benchmark", str(file))
    result = scores(tmp_path / "out")["benchmarks"][file.stem]
    assert "no test is run" in result["title"]
    assert "pass_rate" not in [row["metric"] for row in result["metrics"]]


@pytest.mark.parametrize("metric", ["pass_rate", "pass_rate_cut", "perplexity"])
def test_a_metric_that_baselines_have_no_value_in_carries_no_verdict(metric, capsys):
    with pytest.raises(SystemExit):
        benchmarking.main(["--hf_repository", "a", "--primary", metric])
    assert f"--primary {metric}: choose from edit_similarity_cut, accepted" in capsys.readouterr().err


def test_a_benchmark_without_tests_is_one_sentence(tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "a", "completion": "b"}\n')
    with pytest.raises(UserError, match="and no benchmark of this run has tests"):
        run(tmp_path / "out", "--benchmark", str(pairs), "--execute")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("other", [["--rescore"], ["--compare", "a", "b"]])
def test_it_runs_only_what_is_written_now(other, capsys):
    with pytest.raises(SystemExit):
        benchmarking.main([*other, "--execute"])
    assert "--execute runs what models write now" in capsys.readouterr().err
