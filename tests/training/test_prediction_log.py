"""Predictions during training: what a resumed run keeps of them, and the page of how they change."""

import types

import pytest

from codefit.errors import UserError
from codefit.records import Pair
from codefit.training import prediction_log

PAIRS = [Pair(id=f"p{n}", task="completion", prompt="x" * 400 + str(n), completion="a <b> c") for n in range(4)]


def log(folder, resumed_at=0):
    made = prediction_log.PredictionLog(folder, PAIRS)
    made.on_train_begin(None, types.SimpleNamespace(global_step=resumed_at, is_world_process_zero=True), None)
    return made


def test_a_resumed_run_drops_the_predictions_after_its_checkpoint(tmp_path):
    first = log(tmp_path)
    for step in (0, 2, 4):
        first.add(step, [f"{step}"] * 4)
    (tmp_path / "predictions.html").unlink()
    resumed = log(tmp_path, resumed_at=2)
    assert (tmp_path / "predictions.html").read_text().count("step 2</th>") == 3
    resumed.add(2, ["again"] * 4)  # known already
    resumed.add(4, ["new"] * 4)
    kept = prediction_log.read(tmp_path)
    assert [(entry.step, entry.text) for entry in kept[::4]] == [(0, "0"), (2, "2"), (4, "new")]
    assert kept[3] == prediction_log.KeptPrediction(0, "p3", ("x" * 400 + "3")[-300:], "a <b> c", "0")
    log(tmp_path).add(0, ["from the beginning"] * 4)
    assert [entry.text for entry in prediction_log.read(tmp_path)] == ["from the beginning"] * 4


def test_the_page_shows_three_prompts_and_reads_no_text_as_markup(tmp_path):
    made = log(tmp_path)
    made.add(0, ["<script>"] * 4)
    made.add(5, ["a <b> c"] * 4)
    page = (tmp_path / "predictions.html").read_text()
    assert page.count("<h2>") == 3
    assert page.count("<mark>") == 3  # at step 0 only
    assert "<script>" not in page
    assert page.count("a &lt;b&gt; c") == 6  # each reference, and each prediction that equals it


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "predictions.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(UserError, match=r"predictions.jsonl is damaged .*; remove it, and run the command again"):
        log(tmp_path, resumed_at=3)
