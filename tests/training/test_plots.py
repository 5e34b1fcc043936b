"""The plots of training: which curves there are, and numbers on an axis that can be read."""

import itertools

import pytest

from codefit.training import plots


@pytest.fixture
def drawn(drawn, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure) or figure.savefig(path))
    return figures


def numbers_of(axes):
    """Return the numbers on an x axis that are in view, from left to right, with the extent of each in pixels."""
    low, high = axes.get_xlim()
    both = [*zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)]
    labels = [label for place, label in both if low <= place <= high and label.get_text()]
    return [(label.get_text(), label.get_window_extent()) for label in labels]


@pytest.mark.parametrize("count", [2, 3, 20])
@pytest.mark.parametrize("rates", [(1e-4, 1e-2), (3e-4, 5e-3), (2.5e-4, 2.6e-3), (1e-6, 1.0)])
def test_the_numbers_under_trials_do_not_overprint_and_count_in_integers(drawn, tmp_path, count, rates):
    low, high = rates
    rows = [
        {
            "trial": at,
            "state": "pruned" if at % 3 == 1 else "complete",
            "value": 1.0 + at / 10,
            "learning_rate": low * (high / low) ** (at / (count - 1)),
            "weight_decay": 0.123456 * at,
            "lora_r": (8, 16)[at % 2],
            "tokenizer_type": ("bpe", "identifier")[at % 2],
        }
        for at in range(count)
    ]
    logs = {"learning_rate": True, "weight_decay": False, "lora_r": False, "tokenizer_type": False}
    plots.trials(rows, logs, tmp_path / "trials.png")
    for axes in drawn[0].axes:
        found = numbers_of(axes)
        assert found
        for (_, left), (_, right) in itertools.pairwise(found):
            assert left.x1 < right.x0
    assert all(text.isdecimal() for text, _ in numbers_of(drawn[0].axes[0]))


def test_the_learning_rate_is_a_curve_of_the_run(drawn, tmp_path):
    log = [{"step": step, "loss": 2.0, "learning_rate": step / 10} for step in range(1, 5)]
    plots.loss_curve([*log, {"step": 4, "eval_loss": 1.0}], tmp_path / "loss.png")
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == ["Loss", "Learning rate"]
    assert list(drawn[0].axes[1].lines[0].get_ydata()) == [0.1, 0.2, 0.3, 0.4]
