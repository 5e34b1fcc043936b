"""Adapters that begin with what data show: where they begin, what they leave alone, and that they are saved whole."""

import json

import pytest
import torch

import merge_lora
import train
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.manifest import read_manifest
from codefit.modeling import adapters, data_driven, loading
from codefit.records import Pair, write_jsonl
from codefit.training import calibration
from tests.support.training import SHAPE, command

LORA = {"r": 4, "alpha": 8, "dropout": 0.0, "targets": "all-linear"}
WORDS = SHAPE["vocab_size"]


def rows(words=WORDS, count=24, length=64, seed=0):
    """Return rows of few different tokens, so that layers see much of few directions."""
    chance = torch.Generator().manual_seed(seed)
    return [{"input_ids": torch.randint(0, words, (1, length), generator=chance)} for _ in range(count)]


def loaded(llama, init, **more):
    return adapters.add_lora(loading.load_model(str(llama), dtype=torch.float32), **LORA, init=init, **more)


def inputs_of(model, name, data):
    """Return what a layer sees of the rows, shape (tokens, width), float32."""
    seen = []
    layer = next(module for path, module in model.named_modules() if path.endswith(name))
    hook = layer.register_forward_hook(lambda _, given, __: seen.append(given[0].flatten(0, 1)))
    with torch.no_grad():
        for row in data:
            model(**row)
    hook.remove()
    return torch.cat(seen)


def first_matrix(model, name):
    return next(weight for path, weight in model.named_parameters() if f"{name}.lora_A" in path).detach()


@pytest.mark.parametrize("init", ["eva", "corda"])
def test_the_base_says_the_same_at_the_beginning(llama, init):
    ids = torch.tensor([[5, 17, 3, 80, 41]])
    with torch.no_grad():
        before = loading.load_model(str(llama), dtype=torch.float32)(ids).logits
        torch.testing.assert_close(loaded(llama, init, rows=rows())(ids).logits, before, rtol=1e-3, atol=1e-4)


def test_eva_begins_where_the_inputs_of_a_layer_have_most(llama):
    data = rows(words=12)
    base = loading.load_model(str(llama), dtype=torch.float32)
    seen = inputs_of(base, "layers.0.self_attn.q_proj", data)
    matrix = first_matrix(loaded(llama, "eva", rows=data), "layers.0.self_attn.q_proj")
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(4), rtol=0, atol=1e-3)
    centred = seen - seen.mean(0)
    kept = (centred @ matrix.T).norm() / centred.norm()
    by_chance = torch.nn.functional.normalize(torch.randn(4, 64), dim=1)
    best = torch.linalg.svdvals(centred)[:4].norm() / centred.norm()
    assert kept > 0.95 * best
    assert (centred @ by_chance.T).norm() / centred.norm() < 0.7 * kept


def test_corda_takes_the_part_that_the_data_need_least(llama):
    """What it takes out of a layer moves the layer's answers to the data far less than what PiSSA takes."""
    data = rows(words=12)
    name = "layers.0.self_attn.q_proj"
    seen = inputs_of(loading.load_model(str(llama), dtype=torch.float32), name, data)

    def moved(init, **more):
        layer = loaded(llama, init, **more).get_base_model().get_submodule(f"model.{name}")
        part = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * layer.scaling["default"]
        return (seen @ part.detach().T).norm()

    assert moved("corda", rows=data) < 0.2 * moved("pissa")


@pytest.mark.parametrize("init", ["eva", "corda"])
def test_the_same_seed_begins_the_same(llama, init):
    one, two = (loaded(llama, init, rows=rows()).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("init", ["eva", "corda"])
def test_too_few_tokens_are_one_sentence(llama, init):
    for data in ([], rows(length=3)):
        with pytest.raises(UserError, match=f"--init_lora_weights {init} needs rows of at least --lora_r 4 tokens"):
            loaded(llama, init, rows=data)


def test_layers_are_those_of_all_linear(llama):
    found = data_driven.linear_layers(loading.load_model(str(llama)))
    assert found == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


# ---------------------------------------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def replay(prepared, tmp_path_factory):
    """Other code, to be kept."""
    folder = tmp_path_factory.mktemp("replay")
    for split in ("train", "validation", "test"):
        (folder / f"{split}.jsonl").write_bytes((prepared / f"{split}.jsonl").read_bytes())
    return folder


@pytest.mark.parametrize("init", ["eva", "corda"])
def test_what_is_saved_has_the_loss_that_was_reported(init, tiny_base, prepared, replay, tmp_path):
    words = ["--max_steps", "3", "--init_lora_weights", init, "--eval_predictions", "0"]
    words += ["--replay", str(replay), "--replay_ratio", "0"]
    train.main(command(tiny_base, prepared, tmp_path / "adapter", *words))
    made = read_manifest(tmp_path / "adapter")
    assert made["arguments"]["init_lora_weights"] == init
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["init_lora_weights"] is True
    assert config["r"] == 16 * (2 if init == "corda" else 1)
    merge_lora.main(["--hf_repository", str(tmp_path / "adapter")])
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_a_preview_and_a_dry_run_look_at_no_data(tiny_base, prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "rows", lambda *_: pytest.fail("looked"))
    train.main(command(tiny_base, prepared, tmp_path / "adapter", "--init_lora_weights", "eva", "--dry_run"))
    assert "init_lora_weights" in capsys.readouterr().out


def test_rows_are_joined_pairs_in_an_order_of_the_seed(prepared, tiny_base, monkeypatch):
    encoder = Encoder(loading.load_tokenizer(str(tiny_base)), 128)
    monkeypatch.setattr(calibration, "ROW", 50)
    one, again, other = (calibration.rows(prepared, encoder, seed) for seed in (0, 0, 1))
    assert all(torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0]["input_ids"], other[0]["input_ids"])
    assert {row["input_ids"].shape for row in one[:-1]} == {(1, 50)}


def test_data_without_usable_rows_are_one_sentence(tiny_base, tmp_path):
    encoder = Encoder(loading.load_tokenizer(str(tiny_base)), 128)
    write_jsonl(tmp_path / "train.jsonl", [Pair(id="a", task="completion", prompt="x", completion="")])
    with pytest.raises(UserError, match="has no usable rows to look at before training; prepare more files"):
        calibration.rows(tmp_path, encoder, 0)
