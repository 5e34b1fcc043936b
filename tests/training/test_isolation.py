"""A model is tried before it is trained: where packed samples would see each other, a row holds one of them."""

import copy
import re

import pytest
import torch
import transformers

import train
from codefit.training import isolation, packing
from codefit.training.trainer import CodeTrainer
from tests.support.architectures import HEADS, ISOLATE, SEE_EACH_OTHER
from tests.support.training import SIZE, command, samples_of

LENGTHS = [17, 23, 9, 40, 12, 31]


def made(config, shaken=0.0):
    """Return a model with random weights; shaken, they are large enough that what a token sees changes its loss."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn_like(weight) * shaken)
    return model


@torch.no_grad()
def nats_alone(model, samples):
    """Return the summed loss of samples, one forward pass each, and the number of labels."""
    nats = labels = 0.0
    for sample in samples:
        ids = torch.from_numpy(sample.ids).long()
        logits = model(input_ids=ids[None], use_cache=False).logits[0, sample.start - 1 : -1]
        nats += float(torch.nn.functional.cross_entropy(logits.float(), ids[sample.start :], reduction="sum"))
        labels += len(ids) - sample.start
    return nats, labels


@torch.no_grad()
def nats_in_rows(model, samples, folder, *, isolates):
    """Return the loss of the trainer over the same samples."""
    rows = packing.PackedRows(samples, 64, pad_id=0, isolates=isolates)
    options = transformers.TrainingArguments(str(folder), max_steps=1, report_to=[], use_cpu=True)
    collator = packing.Collator(rows, SIZE["hidden_size"])
    trainer = CodeTrainer(model=model, args=options, train_dataset=rows, eval_dataset=rows, data_collator=collator)
    return float(trainer.compute_loss(model, collator(list(rows)), num_items_in_batch=torch.tensor(1)))


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_the_trial_tells_who_keeps_samples_apart_and_the_loss_is_that_of_samples_alone(name, tmp_path, capsys):
    model, samples = made((ISOLATE | SEE_EACH_OTHER)[name], shaken=0.1), samples_of(LENGTHS)
    together = isolation.may_pack(model)
    assert together == (name in ISOLATE)
    note = f"note: samples in one row would see each other in this model ({model.config.model_type}): one a row\n"
    assert capsys.readouterr().out == ("" if together else note)
    alone, labels = nats_alone(model, samples)
    assert nats_in_rows(model, samples, tmp_path, isolates=together) == pytest.approx(alone, rel=1e-5)
    if not together:
        packed = nats_in_rows(model, samples, tmp_path, isolates=True)
        assert abs(packed - alone) / labels > 1e-5, "packed, the loss is another one"


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_the_smallest_weights_and_16_bits_are_told_too(name):
    model = made((ISOLATE | SEE_EACH_OTHER)[name])
    assert isolation.isolates(model) == (name in ISOLATE)
    assert isolation.isolates(model.to(torch.bfloat16)) == (name in ISOLATE)


@pytest.mark.parametrize("name", [*ISOLATE, *SEE_EACH_OTHER])
def test_a_dry_run_decides_without_the_weights(name):
    with torch.device("meta"):
        outline = transformers.AutoModelForCausalLM.from_config((ISOLATE | SEE_EACH_OTHER)[name])
    assert isolation.may_pack(outline) == (name in ISOLATE)
    assert outline.device.type == "meta"


def test_what_is_lost_in_rounding_is_found_by_the_gradient():
    """A layer of convolution that 16 bits do not show in the logits of a model with a vocabulary of this size."""
    config = copy.deepcopy(SEE_EACH_OTHER["lfm2"])
    config.vocab_size = 600
    assert not isolation.isolates(made(config).to(torch.bfloat16))


def test_random_weights_without_memory_are_random():
    model = isolation.with_any_weights(transformers.LlamaForCausalLM(ISOLATE["llama"]))
    weight = model.model.layers[0].mlp.up_proj.weight
    assert torch.linalg.matrix_rank(weight) == 32
    assert weight.untyped_storage().nbytes() == 4 * (sum(weight.shape) - 1)


def test_a_model_goes_on_as_it_was():
    model = made(ISOLATE["llama"]).train()
    isolation.isolates(model)
    assert model.training


def test_one_sample_a_row_has_rows_of_one_sample():
    samples = samples_of(LENGTHS)
    rows = packing.PackedRows(samples, 64, pad_id=0, isolates=False)
    assert sorted(len(row[0].ids) for row in rows) == sorted(LENGTHS)
    assert {len(row) for row in rows} == {1}
    rows.fill_up(4)
    batch = packing.Collator(rows, SIZE["hidden_size"])(list(rows)[4:])
    assert batch["input_ids"].shape == (2, max(len(row[0].ids) for row in list(rows)[4:6]))
    assert packing.Collator(rows, SIZE["hidden_size"])([[]])["input_ids"].shape == (1, 1)


def test_a_run_says_that_it_does_not_pack(tiny_base, prepared, tmp_path, capsys):
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_base)
    special = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
    made(transformers.FalconConfig(**{**HEADS, "vocab_size": len(tokenizer)}, alibi=True, **special)).save_pretrained(
        tmp_path / "falcon"
    )
    tokenizer.save_pretrained(tmp_path / "falcon")
    more = ["--max_steps", "2", "--no-load_in_4bit", "--eval_predictions", "0"]
    note = "samples in one row would see each other in this model (falcon)"
    train.main(command(tmp_path / "falcon", prepared, tmp_path / "out", *more, "--dry_run"))
    assert note in (foreseen := capsys.readouterr().out)
    train.main(command(tmp_path / "falcon", prepared, tmp_path / "out", *more))
    assert note in (printed := capsys.readouterr().out)
    rows = re.compile(r"packed into .*")
    assert rows.findall(printed) == rows.findall(foreseen) != []
    assert (tmp_path / "out" / "adapter_model.safetensors").is_file()
