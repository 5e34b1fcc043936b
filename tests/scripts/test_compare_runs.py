"""runs/compare_runs.py: the validations of several runs in one plot, by tokens and by minutes."""

import json
import sys

import pytest

from codefit.errors import UserError
from codefit.training import plots
from runs import compare_runs


def make_run(folder, losses, tokens=2_000_000, seconds=120.0):
    folder.mkdir(parents=True)
    rows = [{"step": 5 * at, "eval_loss": loss, "eval_bits_per_byte": loss / 2} for at, loss in enumerate(losses)]
    log = [{"step": 1, "loss": 9.0}, *rows, {"step": 10, "train_runtime": 1.0}]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    facts = {"steps": 10, "trained_tokens": tokens, "train_seconds": seconds}
    (folder / "manifest.json").write_text(json.dumps(facts))
    return folder


def compare(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["compare_runs", *map(str, words)])
    compare_runs.main()


def test_runs_are_drawn_by_tokens_and_by_minutes(tmp_path, monkeypatch, capsys):
    runs = [make_run(tmp_path / "a" / "model", [3, 2, 1]), make_run(tmp_path / "b" / "model", [3, 1, 2], seconds=60)]
    drawn = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure) or save(figure, path))
    compare(monkeypatch, *runs, "--output", tmp_path / "plots" / "runs.png")
    assert (tmp_path / "plots" / "runs.png").read_bytes().startswith(b"\x89PNG")
    tokens, minutes, *_ = drawn[0].axes
    assert [list(line.get_xdata()) for line in tokens.lines] == [[0, 1, 2], [0, 1, 2]]
    assert [list(line.get_xdata()) for line in minutes.lines] == [[0, 1, 2], [0, 0.5, 1]]
    assert [list(line.get_ydata()) for line in minutes.lines] == [[3, 2, 1], [3, 1, 2]]
    assert [line.get_label() for line in minutes.lines] == ["a/model", "b/model"]
    printed = capsys.readouterr().out
    assert "a/model" in printed
    assert "2,000,000" in printed


def test_what_is_no_run_is_named(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", [3, 2])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty is not a finished run of train.py .*; give its output folder"):
        compare(monkeypatch, run, tmp_path / "empty")
    with pytest.raises(UserError, match="a run is named twice; name each run once"):
        compare(monkeypatch, run, run)
    with pytest.raises(UserError, match=r"plot.pdf is not the name of a PNG file; write it as name.png"):
        compare(monkeypatch, run, "--output", tmp_path / "plot.pdf")
    (run / "log.jsonl").write_text('{"step": "x"}\n')
    with pytest.raises(UserError, match=r"log.jsonl is damaged .*; leave out this run"):
        compare(monkeypatch, run)
