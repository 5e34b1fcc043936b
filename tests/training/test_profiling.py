"""--profile: a table of the operations of a few steps."""

import transformers

from codefit.training import profiling
from tests.support.training import CONFIGS, samples_of, trainer_of


def trained(tmp_path, steps):
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"])
    trainer = trainer_of(model, samples_of([30] * 8), tmp_path, max_steps=steps)
    trainer.add_callback(profiling.ProfileSteps(tmp_path))
    trainer.train()


def test_the_steps_after_the_first_ones_are_measured(tmp_path):
    trained(tmp_path, 6)
    text = (tmp_path / "profile.txt").read_text()
    assert text.startswith("steps 3 to 5: ")
    assert "aten::mm" in text
    assert "Self CPU %" in text


def test_a_run_that_is_too_short_says_so(tmp_path, capsys):
    trained(tmp_path, 2)
    assert "note: --profile measures the steps after the first 2, and this run had no more" in capsys.readouterr().out
    assert not (tmp_path / "profile.txt").exists()
