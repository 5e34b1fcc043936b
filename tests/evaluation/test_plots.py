"""The plots of scores and of the training curve: deterministic bytes, and a panel for each logged curve."""

import dataclasses

import msgspec
import pytest

from codefit.evaluation.report.plots import scores
from codefit.training import plots
from tests.support.report import ADAPTED, BASE, compared

pytestmark = pytest.mark.usefixtures("drawn")


def size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


LOG = [
    {"step": step, "loss": 3 / step, "grad_norm": 1.0}
    | ({"eval_loss": 3.5 / step, "eval_accuracy": 0.5} if step % 5 == 0 else {})
    for step in range(1, 61)
]


def test_plots_are_deterministic(tmp_path):
    content = compared()[0]
    for name in ("a", "b"):
        plots.loss_curve(LOG, tmp_path / f"loss-{name}.png")
        scores(content, tmp_path / f"scores-{name}.png")
    for kind in ("loss", "scores"):
        assert (tmp_path / f"{kind}-a.png").read_bytes() == (tmp_path / f"{kind}-b.png").read_bytes()


def test_the_curve_has_a_panel_for_each_logged_value(tmp_path):
    logs = {
        3: LOG,
        2: [{"step": 1, "loss": 2.0, "grad_norm": 0.5}],
        1: [{"step": 1, "eval_loss": 2.0}],
        0: [{"step": 1, "train_runtime": 3.0}],
    }
    widths = {}
    for panels, log in logs.items():
        plots.loss_curve(log, tmp_path / "loss.png")
        widths[panels] = size(tmp_path / "loss.png")[0]
    assert widths[3] > widths[2] > widths[1] == widths[0]


def test_a_running_mean_is_plotted_at_the_middle_of_its_window(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.loss_curve([{"step": step, "loss": float(step * step)} for step in range(50)], tmp_path / "loss.png")
    (axes,) = figures[0].axes
    points, mean = (line.get_xydata().tolist() for line in axes.lines)
    assert len(points) == 50
    assert mean[0] == [2, pytest.approx((0 + 1 + 4 + 9 + 16) / 5)]
    assert mean[-1] == [47, pytest.approx(sum(step * step for step in range(45, 50)) / 5)]
    assert len(mean) == 46
    assert axes.lines[1].get_label() == "training, mean of 5"


def test_the_score_plot_grows_with_the_benchmarks(tmp_path):
    content = compared()[0]
    scores(content, tmp_path / "one.png")
    benchmarks = {**content.benchmarks, "codexglue": content.benchmarks["heldout"]}
    both = msgspec.structs.replace(content, benchmarks=benchmarks)
    scores(both, tmp_path / "two.png")
    assert size(tmp_path / "two.png")[1] > 1.7 * size(tmp_path / "one.png")[1]


def test_the_score_plot_needs_no_likelihood(tmp_path):
    content = compared([dataclasses.replace(item, scores={}) for item in BASE], ADAPTED)[0]
    scores(content, tmp_path / "scores.png")
    assert size(tmp_path / "scores.png")[0] == 1600
