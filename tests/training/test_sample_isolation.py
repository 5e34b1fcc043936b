"""Isolation is tested before training: where packed samples would attend to each other, a row holds one sample."""

import copy
import re

import pytest
import torch
import transformers

import train
from codefit.training import packing, sample_isolation
from codefit.training.trainer import CodeTrainer
from tests.support.architectures import HEADS, ISOLATE, SEE_EACH_OTHER
from tests.support.training import SIZE, VOCABULARY, command, nats_alone, samples_of

LENGTHS = [17, 23, 9, 40, 12, 31]


def made(config, shaken=0.0):
    """Return a model with random weights; `shaken` makes them large enough that context changes the loss."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn_like(weight) * shaken)
    return model


@torch.no_grad()
def nats_in_rows(model, samples, folder, *, isolates):
    """Return the loss of the trainer over the same samples."""
    rows = packing.PackedRows(samples, 64, pad_id=0, isolates=isolates)
    options = transformers.TrainingArguments(str(folder), max_steps=1, report_to=[], use_cpu=True)
    collator = packing.Collator(rows, SIZE["hidden_size"])
    trainer = CodeTrainer(model=model, args=options, train_dataset=rows, eval_dataset=rows, data_collator=collator)
    return float(trainer.compute_loss(model, collator(list(rows)), num_items_in_batch=torch.tensor(1)))


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_isolation_is_detected_and_the_loss_equals_that_of_unpacked_samples(name, tmp_path, capsys):
    model, samples = made((ISOLATE | SEE_EACH_OTHER)[name], shaken=0.1), samples_of(LENGTHS)
    together = sample_isolation.may_pack(model)
    assert together == (name in ISOLATE)
    note = f"attend to each other in this model ({model.config.model_type}): each row holds one sample\n"
    assert capsys.readouterr().out == ("" if together else f"note: packed samples would {note}")
    alone, labels = nats_alone(model, samples)
    assert nats_in_rows(model, samples, tmp_path, isolates=together) == pytest.approx(alone, rel=1e-5)
    if not together:
        packed = nats_in_rows(model, samples, tmp_path, isolates=True)
        assert abs(packed - alone) / labels > 1e-5, "the loss of packed samples differs"


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_isolation_is_detected_with_small_weights_and_in_16_bits(name):
    model = made((ISOLATE | SEE_EACH_OTHER)[name])
    assert sample_isolation.isolates(model) == (name in ISOLATE)
    assert sample_isolation.isolates(model.to(torch.bfloat16)) == (name in ISOLATE)


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_a_dry_run_decides_without_the_weights(name):
    with torch.device("meta"):
        outline = transformers.AutoModelForCausalLM.from_config((ISOLATE | SEE_EACH_OTHER)[name])
    assert sample_isolation.may_pack(outline) == (name in ISOLATE)
    assert outline.device.type == "meta"


def test_what_is_lost_in_rounding_is_found_by_the_gradient():
    """A layer of convolution that 16 bits do not show in the logits of a model with a vocabulary of this size."""
    config = copy.deepcopy(SEE_EACH_OTHER["lfm2"])
    config.vocab_size = 600
    assert not sample_isolation.isolates(made(config).to(torch.bfloat16))


def test_random_weights_without_memory_are_random():
    model = sample_isolation.with_any_weights(transformers.LlamaForCausalLM(ISOLATE["llama"]))
    weight = model.model.layers[0].mlp.up_proj.weight
    assert torch.linalg.matrix_rank(weight) == 32
    assert weight.untyped_storage().nbytes() == 4 * (sum(weight.shape) - 1)


def test_the_check_does_not_change_the_model():
    model = made(ISOLATE["llama"]).train()
    sample_isolation.isolates(model)
    assert model.training


def test_without_isolation_every_row_holds_one_sample():
    samples = samples_of(LENGTHS)
    rows = packing.PackedRows(samples, 64, pad_id=0, isolates=False)
    assert sorted(len(row[0].ids) for row in rows) == sorted(LENGTHS)
    assert {len(row) for row in rows} == {1}
    rows.fill_up(4)
    batch = packing.Collator(rows, SIZE["hidden_size"])(list(rows)[4:])
    assert batch["input_ids"].shape == (2, max(len(row[0].ids) for row in list(rows)[4:6]))
    assert packing.Collator(rows, SIZE["hidden_size"])([[]])["input_ids"].shape == (1, 1)


def test_a_run_without_packing_prints_a_note(tiny_base, prepared, tmp_path, capsys):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base)
    special = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    made(transformers.FalconConfig(**{**HEADS, "vocab_size": len(tokenizer)}, alibi=True, **special)).save_pretrained(
        tmp_path / "falcon"
    )
    tokenizer.save_pretrained(tmp_path / "falcon")
    more = ["--max_steps", "2", "--no-load_in_4bit", "--eval_predictions", "0"]
    note = "packed samples would attend to each other in this model (falcon)"
    train.main(command(tmp_path / "falcon", prepared, tmp_path / "out", *more, "--dry_run"))
    assert note in (foreseen := capsys.readouterr().out)
    train.main(command(tmp_path / "falcon", prepared, tmp_path / "out", *more))
    assert note in (printed := capsys.readouterr().out)
    rows = re.compile(r"(?m)^steps .*")
    assert rows.findall(printed) == rows.findall(foreseen) != []
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()


def test_a_model_that_changes_its_embeddings_in_place_is_tested_too(tmp_path):
    sizes = {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 2, "n_head": 4, "dff": 48, "n_positions": 128}
    model, samples = made(transformers.CTRLConfig(**sizes), shaken=0.1), samples_of(LENGTHS)
    together = sample_isolation.may_pack(model)
    alone, _ = nats_alone(model, samples)
    assert nats_in_rows(model, samples, tmp_path, isolates=together) == pytest.approx(alone, rel=1e-5)
