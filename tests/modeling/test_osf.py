"""`--osf_effective_rank`: full fine-tuning keeps the largest singular directions of every linear layer exactly."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file

import train
from codefit.errors import UserError
from codefit.modeling import osf
from codefit.training import estimate, flag_checks
from tests.support.training import CONFIGS, SHAPE, command, settings_of

SHARE = 0.5


class Killed(BaseException):
    """In place of SIGKILL: no code of the run may catch it."""


class KillAtTheEnd(transformers.TrainerCallback):
    """Its last checkpoint is saved then, and the result is not."""

    def on_train_end(self, args, state, control, **more):
        raise Killed


def frozen_change(before, after):
    """Return how far the largest directions of a weight moved, and how far the weight moved, over its norm."""
    left, values, right = torch.linalg.svd(before)
    kept = int(len(values) * SHARE)
    moved = after - before
    along = max((left[:, :kept].T @ moved).norm(), (moved @ right[:kept].T).norm())
    return float(along / before.norm()), float(moved.norm() / before.norm())


def test_a_run_leaves_the_largest_directions_and_saves_a_plain_model_also_after_a_kill(tiny_base, prepared, tmp_path):
    more = ["--full_finetuning", "--osf_effective_rank", str(SHARE), "--max_steps", "3", "--eval_predictions", "0"]
    words = command(tiny_base, prepared, tmp_path / "made", *more, "--activation_checkpointing")
    with pytest.raises(Killed):
        train.main(words, [KillAtTheEnd()])
    train.main(words)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_base, tmp_path / "made"))
    assert before.keys() == after.keys()
    linear = [name for name in before if name.endswith("_proj.weight")]
    changes = {name: frozen_change(before[name].float(), after[name]) for name in linear}
    assert all(along < 1e-5 < 1e-3 < moved for along, moved in changes.values()), changes
    assert all(torch.equal(before[name].float(), after[name]) for name in {*before} - {*linear})
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert "adapter_config.json" not in names
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    assert manifest["arguments"]["osf_effective_rank"] == SHARE
    resumed = (tmp_path / "made" / "model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "made")
    train.main(words)
    assert (tmp_path / "made" / "model.safetensors").read_bytes() == resumed


def test_projecting_removes_only_what_lies_along_the_frozen_directions():
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"])
    split = osf.begin(model, SHARE)
    layers = [module for module in split.modules() if hasattr(module, "osf_svd_params")]
    start = [layer.osf_svd_params["default"]["U_low"].clone() for layer in layers]
    osf.project(split)
    for layer, untouched in zip(layers, start, strict=True):
        torch.testing.assert_close(layer.osf_svd_params["default"]["U_low"], untouched)
        left, _, right = torch.linalg.svd(layer.get_base_layer().weight)
        kept = layer.effective_rank["default"]
        trained = layer.osf_svd_params["default"]
        for name in ("U_low", "V_low"):
            torch.nn.init.normal_(trained[name])
        osf.project(split)
        assert (left[:, :kept].T @ trained["U_low"]).abs().max() < 1e-5
        assert (trained["V_low"] @ right[:kept].T).abs().max() < 1e-5
        assert trained["U_low"].norm() > 1


def test_what_cannot_be_split_is_refused():
    gpt2 = transformers.GPT2Config(**SHAPE, n_embd=32, n_layer=1, n_head=2, n_positions=64)
    with pytest.raises(UserError, match="the architecture gpt2 has none that PEFT can split; leave it out"):
        osf.begin(transformers.AutoModelForCausalLM.from_config(gpt2), SHARE)
    with pytest.raises(UserError, match=r"cannot be split for --osf_effective_rank .*; leave it out"):
        osf.begin(transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"]), 0.01)
    settings = settings_of("--full_finetuning", "--osf_effective_rank", "0.5")
    with pytest.raises(UserError, match="does not train the embedding of new tokens; leave it out, or use a base"):
        flag_checks.refuse_new_tokens(settings, ["<fim_prefix>"])


def test_the_disk_needs_room_for_the_model_that_is_written():
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"])
    numbers = sum(weight.numel() for weight in model.parameters())
    split = osf.begin(model, 0.95)
    trained = sum(weight.numel() for weight in split.parameters() if weight.requires_grad)
    assert trained < numbers / 2
    assert estimate.bytes_written(split, settings_of().lora) == 4 * numbers + 3 * 12 * trained
