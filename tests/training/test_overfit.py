"""The check that a few examples can be learned by heart: a sound run passes, broken labels and ends are found."""

import dataclasses

import numpy as np
import pytest

import train
from codefit import encoding
from codefit.encoding import Sample
from codefit.errors import UserError
from codefit.training import overfit, packing
from tests.support.training import command, settings_of


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(overfit, "EXAMPLES", 4)


def words(tiny_base, prepared, tmp_path, *more):
    fast = ["--overfit", "--full_finetuning", "--max_prompt_tokens", "24", "--max_length", "256"]
    return [*command(tiny_base, prepared, tmp_path / "model"), *fast, *more]


def test_a_sound_run_learns_its_examples_and_keeps_nothing(tiny_base, prepared, tmp_path, capsys):
    train.main(words(tiny_base, prepared, tmp_path))
    assert "all 4 greedy outputs match their references" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_labels_that_are_shifted_wrongly_are_found(tiny_base, prepared, tmp_path, monkeypatch):
    """The loss goes to zero all the same."""
    lay_out = packing.encoding.lay_out

    def shifted(*args):
        row = lay_out(*args)
        return row | {"labels": np.roll(row["labels"], -1)}

    monkeypatch.setattr(encoding, "lay_out", shifted)
    with pytest.raises(
        UserError, match=r"^4 of 4 greedy outputs differ from their references although the loss is 0.0"
    ):
        train.main(words(tiny_base, prepared, tmp_path))


def test_a_run_that_learns_nothing_is_named(tiny_base, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(overfit, "STEPS", 2)
    wanted = r"^4 examples could not be learned by heart: the loss is \d.\d+ nats per token after 2 steps; raise"
    with pytest.raises(UserError, match=wanted):
        train.main(words(tiny_base, prepared, tmp_path, "--learning_rate", "1e-9"))


def test_a_search_is_no_check(tiny_base, prepared, tmp_path):
    more = ["--trials", "2", "--search", "learning_rate=1e-4..1e-2"]
    with pytest.raises(UserError, match="--overfit is a check of one run in one process; leave it out, or --trials"):
        train.main(words(tiny_base, prepared, tmp_path, *more))


def test_the_chosen_examples_have_different_prompts_and_are_short():
    same = [Sample(np.array([5, 6, end], np.int32), 2) for end in (7, 8)]
    others = [Sample(np.arange(length, dtype=np.int32), length // 2) for length in (40, 12, 30, 20, 8)]
    found = overfit.chosen([*same, *others])
    assert [len(sample.ids) for sample in found] == [3, 8, 12, 20]


def test_the_settings_have_no_schedule_of_their_own():
    made = overfit.settings_of(settings_of("--num_train_epochs", "2", "--label_smoothing_factor", "0.1"))
    assert (made.schedule.max_steps, made.schedule.label_smoothing_factor) == (overfit.STEPS, 0.0)
    assert dataclasses.replace(made.schedule, max_steps=None).lr_scheduler_type == "constant"
