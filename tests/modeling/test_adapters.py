"""Every training method trains, saves, and gives the same logits when the result is loaded from disk."""

import json

import pytest
import torch
import transformers

import benchmarking
import complete
import merge_lora
import train
from codefit import encoding, records
from codefit.errors import UserError
from codefit.modeling import adapters, hardware, loading
from codefit.records import Pair
from codefit.training import packing, trainer_settings
from tests.support.training import CONFIGS, command, samples_of, settings_of, trainer_of

LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear"}
METHODS = {"lora": {}, "qlora": {}, "dora": {"use_dora": True}, "full": {}}
VARIANTS = {
    **{init: {"init": init} for init in ("gaussian", "orthogonal", "olora", "pissa", "pissa_niter_16", "loftq")},
    "rslora": {"use_rslora": True},
    "pissa_rslora": {"init": "pissa", "use_rslora": True},
    "loftq_rslora": {"init": "loftq", "use_rslora": True},
    "qdora": {"use_dora": True},
}
IDS = torch.tensor([[5, 17, 3, 80, 41, 9, 2, 60]])


def logits_of(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits


def fit(base, folder, method, in_4bit, tokenizer):
    """Train a few steps, save; return the logits before and after."""
    torch.manual_seed(0)
    model = loading.load_model(str(base), load_in_4bit=in_4bit, dtype=torch.float32)
    before = logits_of(model)
    beginning = None
    if method is None:
        model = adapters.all_weights(model)
    else:
        model = adapters.add_lora(model, **LORA, **method)
        if method.get("init") == "loftq":
            adapters.initialise_with_loftq(model, str(base), None)
        if method.get("init") in ("pissa", "pissa_niter_16", "olora"):
            beginning = folder / "beginning"
            adapters.save_initial_matrices(model, beginning)
    trainer = trainer_of(model, samples_of([30] * 8), folder, max_steps=3)
    trainer.train()
    after = logits_of(model)
    if method is None:
        adapters.save_whole(model, tokenizer, folder / "saved", torch.float32)
    else:
        adapters.save(model, folder / "saved", str(base), None, beginning)
    return before, after


def read_back(base, folder, whole, in_4bit):
    if whole:
        return loading.load_model(str(folder / "saved"), dtype=torch.float32)
    model = loading.load_model(str(base), load_in_4bit=in_4bit, dtype=torch.float32)
    return loading.attach_adapter(model, str(folder / "saved"))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_method_trains_saves_and_reloads(architecture, method, tmp_path, tiny_tokenizer):
    torch.manual_seed(0)
    base = tmp_path / "base"
    transformers.AutoModelForCausalLM.from_config(CONFIGS[architecture]).save_pretrained(base)
    whole, in_4bit = method == "full", method == "qlora"
    before, after = fit(base, tmp_path, None if whole else METHODS[method], in_4bit, tiny_tokenizer)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(logits_of(read_back(base, tmp_path, whole, in_4bit)), after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_fits_the_unchanged_base(llama, variant, tmp_path, tiny_tokenizer):
    in_4bit = variant in ("loftq", "loftq_rslora", "qdora")
    before, after = fit(llama, tmp_path, VARIANTS[variant], in_4bit, tiny_tokenizer)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(logits_of(read_back(llama, tmp_path, False, in_4bit)), after, rtol=1e-3, atol=2e-5)
    assert json.loads((tmp_path / "saved" / "adapter_config.json").read_text())["init_lora_weights"] in (
        True,
        "gaussian",
        "orthogonal",
    )


@pytest.mark.parametrize("use_rslora", [False, True])
def test_loftq_starts_closer_to_the_base_than_plain_4_bits(llama, use_rslora):
    exact = logits_of(loading.load_model(str(llama), dtype=torch.float32))
    model = loading.load_model(str(llama), load_in_4bit=True, dtype=torch.float32)
    plain = (logits_of(model) - exact).norm()
    model = adapters.add_lora(model, **(LORA | {"r": 16}), init="loftq", use_rslora=use_rslora)
    adapters.initialise_with_loftq(model, str(llama), None)
    assert (logits_of(model) - exact).norm() < 0.8 * plain


def test_an_initialisation_that_differs_from_the_stopped_run_is_refused(llama, tmp_path):
    model = adapters.add_lora(loading.load_model(str(llama)), **LORA, init="pissa")
    adapters.save_initial_matrices(model, tmp_path / "beginning")
    adapters.save_initial_matrices(model, tmp_path / "beginning")
    next(p for name, p in model.named_parameters() if "lora_A" in name).data[0] += 1
    with pytest.raises(UserError, match="the initialisation differs from that of the stopped run"):
        adapters.save_initial_matrices(model, tmp_path / "beginning")


def test_loraplus_gives_the_second_matrix_a_higher_learning_rate(llama):
    words = ["--loraplus_lr_ratio", "16", "--learning_rate", "1e-3", "--weight_decay", "0.1"]
    factory = trainer_settings.optimizer_factory(settings_of(*words))
    model = adapters.add_lora(loading.load_model(str(llama)), **LORA)
    rates = {id(p): group["lr"] for group in factory(model).param_groups for p in group["params"]}
    trained = {name: rates[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert {rate for name, rate in trained.items() if "lora_A" in name} == {1e-3}
    assert {rate for name, rate in trained.items() if "lora_B" in name} == {16e-3}


# ---------------------------------------------------------------------------------------------- the script


def test_an_adapter_saved_with_pissa_has_the_reported_loss(tiny_base, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.float32)  # bfloat16 rounds by more than is compared
    words = ["--max_steps", "4", "--init_lora_weights", "pissa", "--loraplus_lr_ratio", "4", "--eval_predictions", "0"]
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *words))
    reported = json.loads((tmp_path / "adapter" / "manifest.json").read_text())["validation"]["eval_loss"]
    tokenizer, model = loading.load(str(tmp_path / "adapter"))
    encoder = encoding.Encoder(tokenizer, 128)
    pairs = list(records.read_jsonl(prepared / "validation.jsonl", Pair))
    trainer = trainer_of(model, samples_of([30]), tmp_path)
    trainer.eval_dataset = packing.PackedRows(list(encoder.samples(pairs)), 512, encoder.pad_id)
    trainer.data_collator = packing.Collator(trainer.eval_dataset, model.config.hidden_size)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(reported, rel=1e-4)
    assert not (tmp_path / "adapter" / "beginning").exists()


def test_the_other_stages_accept_a_fully_finetuned_model(tiny_base, prepared, tmp_path, capsys):
    whole = tmp_path / "whole"
    train.main(command(tiny_base, prepared, whole, "--max_steps", "3", "--full_finetuning", "--eval_predictions", "0"))
    names = {path.name for path in whole.iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json", "loss.png"}
    assert f"next:    python benchmarking.py {whole}" in capsys.readouterr().out
    complete.main(["--hf_repository", str(whole), "--prompt", "def f(", "--max_new_tokens", "2"])
    benchmarking.main(["--hf_repository", str(whole), "--output_dir", str(tmp_path / "benchmark"), "--dry_run"])
    assert f"{'base':<15} {tiny_base}" in capsys.readouterr().out
    with pytest.raises(UserError, match="is a full model, not an adapter, so there is nothing to merge"):
        merge_lora.main(["--hf_repository", str(whole)])
