"""Packed samples are isolated, label-only logits are exact, 4-bit gradients survive an evaluation, resume is exact."""

import dataclasses
import json
import shutil
import types

import numpy as np
import pytest
import torch
import transformers

import train
from codefit import outputs
from codefit.encoding import IGNORE
from codefit.errors import UserError
from codefit.modeling import adapters, hardware, loading
from codefit.training import packing, samples, trainer_settings
from tests.support.training import CONFIGS, SHAPE, SIZE, command, nats_alone, rows_of, samples_of, trainer_of


@pytest.fixture(params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param])


def collate(rows, fixed=False):
    return packing.Collator(rows, SIZE["hidden_size"], fixed)(list(rows))


@pytest.mark.parametrize(("fixed", "end_to_end"), [(False, False), (True, False), (True, True)])
def test_packed_label_only_loss_equals_samples_one_by_one(model, tmp_path, fixed, end_to_end):
    """In rows of the cheapest width, in rows of fixed width, and joined into one row as FlashAttention needs them."""
    samples = samples_of([17, 23, 9, 40, 12, 31])
    trainer = trainer_of(model, samples, tmp_path)
    trainer.end_to_end = end_to_end
    batch = collate(rows_of(samples), fixed)
    assert len(batch["input_ids"]) < len(samples)
    with torch.no_grad():
        nats, labels = nats_alone(model.eval(), samples)
        loss = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(labels))
    assert float(loss) == pytest.approx(nats / labels, rel=1e-5)


def test_packed_gradients_equal_those_of_samples_one_by_one(model, tmp_path):
    samples = samples_of([17, 23, 9, 40, 12, 31])
    trainer = trainer_of(model, samples, tmp_path)
    labels = torch.tensor(sum(len(sample.ids) - sample.start for sample in samples))
    gradients = []
    for batches in ([samples], [[sample] for sample in samples]):
        model.zero_grad()
        for batch in batches:
            trainer.compute_loss(model, collate(rows_of(batch)), num_items_in_batch=labels).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)


def test_no_sample_is_lost_when_a_batch_is_packed_again():
    samples = samples_of([17, 23, 9, 40, 12, 31])
    for fixed in (False, True):
        batch = collate(rows_of(samples), fixed)
        assert (batch["labels"] != IGNORE).sum() == sum(len(sample.ids) - sample.start for sample in samples)
        assert (batch["input_ids"] != 0).sum() == sum(len(sample.ids) for sample in samples)  # 0 is padding


def test_a_batch_of_empty_rows_has_no_labels():
    rows = rows_of([])
    rows.rows = [[], []]  # as fill_up makes them
    assert (collate(rows)["labels"] == IGNORE).all()


def test_flash_attention_is_read_from_the_config(model):
    assert not hardware.flash_attention(model)
    hardware.use_flash_attention(model)  # has no effect without a GPU
    named = types.SimpleNamespace(config=types.SimpleNamespace(_attn_implementation="flash_attention_2"))
    assert hardware.flash_attention(named)


@pytest.mark.parametrize(
    ("installed", "device", "capability", "taken"),
    [
        (True, "cuda", (8, 0), True),
        (True, "cuda", (9, 0), True),
        (True, "cuda", (7, 5), False),  # a T4
        (False, "cuda", (9, 0), False),
        (True, "cpu", (0, 0), False),
        (True, "mps", (0, 0), False),
    ],
)
def test_flash_attention_needs_a_recent_gpu_and_the_package(installed, device, capability, taken):
    assert hardware.takes_flash_attention(installed, device, capability) is taken


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("device", ["cuda", "cpu", "mps"])
@pytest.mark.parametrize("compiled", [True, False])
def test_liger_needs_a_gpu_and_the_package_and_no_compilation(installed, device, compiled):
    taken = trainer_settings.takes_liger(installed, device, compiled)
    assert taken is (installed and device == "cuda" and not compiled)


def test_evaluation_is_a_mean_over_tokens(model, tmp_path):
    samples = samples_of([17, 23, 9])
    metrics = trainer_of(model, samples, tmp_path).evaluate()
    nats, labels = nats_alone(model.eval(), samples)
    assert metrics["eval_loss"] == pytest.approx(nats / labels, rel=1e-5)
    assert metrics["eval_perplexity"] == pytest.approx(np.exp(nats / labels), rel=1e-5)
    assert metrics["eval_bits_per_byte"] == pytest.approx(nats / np.log(2) / 49, rel=1e-5)


@torch.no_grad()
def test_top_k_accuracy_counts_the_likeliest_tokens(model, tmp_path):
    samples = samples_of([40, 50, 60])
    metrics = trainer_of(model, samples, tmp_path).evaluate()
    ranks = []
    for sample in samples:
        ids = torch.from_numpy(sample.ids).long()
        logits = model.eval()(input_ids=ids[None], use_cache=False).logits[0, sample.start - 1 : -1]
        wanted = ids[sample.start :]
        ranks += (logits > logits.gather(1, wanted[:, None])).sum(1).tolist()
    assert metrics["eval_accuracy"] == pytest.approx(np.mean([rank < 1 for rank in ranks]), abs=1e-6)
    assert metrics["eval_top_5_accuracy"] == pytest.approx(np.mean([rank < 5 for rank in ranks]), abs=1e-6)
    assert metrics["eval_top_5_accuracy"] > 0


def test_label_only_gradients_equal_those_of_full_logits(model, tmp_path):
    samples = samples_of([17, 23, 9, 40])
    peft_model = adapters.add_lora(model, r=4, alpha=8, dropout=0.0, targets="all-linear")
    torch.nn.init.normal_(next(p for n, p in peft_model.named_parameters() if "lora_B" in n), std=0.1)
    trainer = trainer_of(peft_model, samples, tmp_path)
    batch = collate(rows_of(samples))
    gradients = []
    for head in (trainer.head, None):
        trainer.head = head
        peft_model.zero_grad()
        count = (batch["labels"] != IGNORE).sum()
        trainer.compute_loss(peft_model, dict(batch), num_items_in_batch=count).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in peft_model.parameters() if p.grad is not None]))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


def test_lora_trains_saves_and_reloads(model, tmp_path):
    model.save_pretrained(tmp_path / "base")
    samples = samples_of([30] * 8)
    trainer = trainer_of(adapters.add_lora(model, r=4, alpha=8, dropout=0.0, targets="all-linear"), samples, tmp_path)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < before
    trainer.model.save_pretrained(tmp_path / "adapter")
    ids = torch.from_numpy(samples[0].ids).long()[None]
    wanted = trainer.model.eval()(input_ids=ids).logits
    base = loading.load_model(str(tmp_path / "base"), dtype=torch.float32)
    again = loading.attach_adapter(base, str(tmp_path / "adapter"))
    torch.testing.assert_close(again(input_ids=ids).logits, wanted, rtol=1e-4, atol=1e-5)


def test_gradient_accumulation_weights_all_labels_equally(tmp_path):
    """Two micro-batches with different numbers of labels give the gradient of one batch that holds both."""
    samples = samples_of([60, 10, 50, 20])
    found = []
    for rows, accumulation in ((2, 1), (1, 2)):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"])
        options = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": accumulation, "max_steps": 1}
        trainer = trainer_of(model, samples, tmp_path, **options, optim="sgd", warmup_steps=0, max_grad_norm=0)
        trainer.train()
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)


QUANTISED = {
    "llama": transformers.LlamaConfig(**SHAPE, **(SIZE | {"hidden_size": 64, "intermediate_size": 128})),
    "codegen": transformers.CodeGenConfig(
        **SHAPE, n_embd=64, n_layer=2, n_head=4, rotary_dim=4, n_positions=128, resid_pdrop=0, embd_pdrop=0
    ),
}


@pytest.mark.parametrize("config", QUANTISED.values(), ids=QUANTISED)
def test_4_bit_gradients_survive_an_evaluation(tmp_path, config):
    """bitsandbytes repacks 4-bit layers at the first forward in evaluation mode on CPUs with avx512_bf16."""
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    base = loading.load_model(str(tmp_path / "base"), load_in_4bit=True)
    assert any(type(module).__name__ == "Linear4bit" for module in base.modules())
    model = adapters.add_lora(base, r=4, alpha=8, dropout=0.0, targets="all-linear")
    trainer = trainer_of(model, samples_of([30] * 8), tmp_path)
    trainer.train()  # so that no matrix of the adapter is zero

    def gradients():
        model.train()
        model.zero_grad()
        batch = collate(trainer.train_dataset)
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(1.0))
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])

    before = gradients()
    trainer.evaluate()
    torch.testing.assert_close(gradients(), before)


def test_adapter_matrices_are_float32(model):
    peft_model = adapters.add_lora(model.to(torch.bfloat16), r=4, alpha=8, dropout=0.0, targets="all-linear")
    assert {p.dtype for p in peft_model.parameters() if p.requires_grad} == {torch.float32}


def test_unknown_target_modules_are_refused(model):
    with pytest.raises(UserError, match=r"lora_target_modules: .*; choose among the linear layers"):
        adapters.add_lora(model, r=4, alpha=8, dropout=0.0, targets=["no_such_layer"])


@torch.no_grad()
def test_smoothed_labels_give_every_token_a_share_of_the_target(model, tmp_path):
    """The smoothed loss is the plain one, mixed with the mean of minus log-probability over the vocabulary."""
    samples = samples_of([17, 23, 9, 40])
    trainer = trainer_of(model, samples, tmp_path, label_smoothing_factor=0.25)
    batch = collate(rows_of(samples))
    count = (batch["labels"] != IGNORE).sum()
    nats, labels = nats_alone(model.eval(), samples)
    spread = 0.0
    for sample in samples:
        logits = model(input_ids=torch.from_numpy(sample.ids).long()[None], use_cache=False).logits[0]
        spread -= float(logits[sample.start - 1 : -1].log_softmax(-1).mean(-1).sum())
    wanted = (0.75 * nats + 0.25 * spread) / labels
    assert float(trainer.compute_loss(model, dict(batch), num_items_in_batch=count)) == pytest.approx(wanted, rel=1e-5)
    trainer.head = None  # as with --torch_compile
    assert float(trainer.compute_loss(model, dict(batch))) == pytest.approx(wanted, rel=1e-5)
    nats, labels = nats_alone(model, samples[:3])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(nats / labels, rel=1e-5)


@pytest.mark.parametrize(("broken", "word"), [("weight", "loss is nan"), ("gradient", "norm of the gradients is inf")])
def test_a_step_that_is_not_finite_names_its_samples(tmp_path, broken, word):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"])
    samples = [dataclasses.replace(sample, source=f"file{at}.py") for at, sample in enumerate(samples_of([30] * 4))]
    trainer = trainer_of(model, samples, tmp_path)
    weight = model.get_output_embeddings().weight
    if broken == "weight":
        weight.data[0] = torch.nan
    else:
        weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(UserError, match=rf"^the {word} at step 1, in the batch of file\d.py(, file\d.py)*; lower"):
        trainer.train()


def test_prompts_get_a_share_of_the_loss(tmp_path):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(CONFIGS["llama"])
    plain = samples_of([20, 13, 28])
    assert samples.with_prompts(plain, 0.0) == plain
    found = samples.with_prompts(plain, 0.25)
    batch = collate(rows_of(found))
    trained = batch["labels"] != IGNORE
    assert trained.sum() == sum(len(sample.ids) - 1 for sample in plain)
    assert "weights" not in collate(rows_of(plain))
    total = trained.sum()
    assert batch["weights"][trained].sum() == pytest.approx(float(total), rel=1e-5)

    nats = {"prompt": 0.0, "completion": 0.0}
    numbers = {"prompt": 0, "completion": 0}
    for sample in plain:
        ids = torch.tensor(sample.ids[None].astype("int64"))
        with torch.no_grad():
            losses = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="none")
        for part, of in (("prompt", losses[: sample.start - 1]), ("completion", losses[sample.start - 1 :])):
            nats[part] += float(of.sum())
            numbers[part] += len(of)
    expected = 0.25 * nats["prompt"] / numbers["prompt"] + 0.75 * nats["completion"] / numbers["completion"]
    trainer = trainer_of(model, found, tmp_path)
    with torch.no_grad():
        loss = trainer.compute_loss(model, batch, num_items_in_batch=int(total))
    assert float(loss) == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------------------------------------- the script


def test_train_writes_a_complete_adapter_and_its_manifest(tiny_base, prepared, tmp_path, capsys):
    output = tmp_path / "adapter"
    train.main(command(tiny_base, prepared, output, "--max_steps", "6", "--eval_steps", "3"))
    names = {path.name for path in output.iterdir()}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "trainer_state.json"}
    assert names >= {"loss.png", "manifest.json"}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))}
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["base_model"] == str(tiny_base)
    assert manifest["ledger"]["read"] == 60
    assert manifest["ledger"]["trained"] + manifest["ledger"]["not needed"] == 60
    assert set(manifest["inputs"]) == {str(prepared / "train.jsonl"), str(prepared / "validation.jsonl")}
    config = json.loads((output / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_base)
    card = (output / "README.md").read_text()
    assert "A LoRA adapter that fits" in card
    assert "[More Information Needed]" not in card
    assert (output / "adapter_model.safetensors").stat().st_mode == (output / "manifest.json").stat().st_mode
    printed = capsys.readouterr().out
    assert f"next:    python merge_lora.py {output}" in printed
    assert not outputs.partial(output).exists()
    with pytest.raises(UserError, match="already exists and is complete; add --overwrite"):
        train.main(command(tiny_base, prepared, output, "--max_steps", "7"))


def test_the_same_command_gives_the_same_weights(tiny_base, prepared, tmp_path):
    for name in ("one", "two"):
        train.main(command(tiny_base, prepared, tmp_path / name, "--max_steps", "3"))
    one, two = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("flags", [["--preview", "2"], ["--dry_run"]])
def test_preview_and_dry_run_write_nothing(tiny_base, prepared, tmp_path, capsys, flags):
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *flags))
    assert list(tmp_path.iterdir()) == []
    assert ("-- trained from here --" in capsys.readouterr().out) == (flags[0] == "--preview")


def test_the_data_set_is_not_overwritten(tiny_base, prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "data")
    (tmp_path / "data" / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match="is read by this run; name another folder"):
        train.main(command(tiny_base, tmp_path / "data", tmp_path / "data", "--overwrite"))
    assert (tmp_path / "data" / "train.jsonl").is_file()


def test_an_output_that_cannot_be_written_is_refused(tiny_base, prepared, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/adapter: .*; choose another place"):
        train.main(command(tiny_base, prepared, tmp_path / "file" / "adapter"))
