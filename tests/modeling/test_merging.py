"""The weight-by-weight merge computes the same as PEFT with the adapter attached, for every kind of adapter."""

import json
import warnings

import pytest
import torch
import transformers
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors import safe_open

from codefit.errors import UserError
from codefit.evaluation import contenders
from codefit.evaluation.result_schema import Model, Role
from codefit.modeling import hardware, loading, merging

IDS = torch.arange(1, 60)[None]
KINDS = {
    "lora": {"target_modules": "all-linear"},
    "rslora": {"target_modules": "all-linear", "use_rslora": True},
    "dora": {"target_modules": "all-linear", "use_dora": True},
    "whole embeddings": {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    "a whole block": {"target_modules": ["q_proj"], "modules_to_save": ["mlp"]},
    "some tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 5]},
    "lora on embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "lora on the head": {"target_modules": ["lm_head", "q_proj"]},
    "lora on both": {"target_modules": ["lm_head", "embed_tokens"]},
    "a whole head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}
STAY_TIED = {"lora", "rslora", "dora", "a whole block", "some tokens"}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns about tied embeddings, which are tested here
        yield


def make(tmp_path, config, tied=False, architecture=transformers.LlamaConfig, **sizes):
    """Write a tiny base and an adapter with an effect, and return the base."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **sizes}
    base = transformers.AutoModelForCausalLM.from_config(
        architecture(intermediate_size=64, tie_word_embeddings=tied, **sizes)
    )
    base.save_pretrained(tmp_path / "base")
    adapted = get_peft_model(base, config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    return merging.Base(str(tmp_path / "base"), None, False, torch.float32)


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def merged(base, tmp_path, tokenizer, shard_bytes=10**9):
    merging.write_merged(base, str(tmp_path / "adapter"), tokenizer, tmp_path / "merged", torch.float32, shard_bytes)
    return transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_adapter_is_merged(kind, tied, tiny_tokenizer, tmp_path):
    base = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS[kind]), tied)
    adapted = loading.attach_adapter(merging.dequantised(base), str(tmp_path / "adapter"))
    wanted = logits(adapted)
    with adapted.disable_adapter():
        assert (logits(adapted) - wanted).abs().max() > 0.1
    result = merged(base, tmp_path, tiny_tokenizer)
    torch.testing.assert_close(logits(result), wanted, rtol=1e-5, atol=1e-5)
    assert result.config.tie_word_embeddings == (tied and kind in STAY_TIED)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_benchmark_evaluates_the_model_that_the_merge_writes(kind, tied, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "compute_dtype", lambda: torch.float32)  # the benchmark merges only in float32
    base = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS[kind]), tied)
    wanted = logits(loading.attach_adapter(merging.dequantised(base), str(tmp_path / "adapter")))
    folder = str(tmp_path / "adapter")
    models = {
        "base": Model(name=base.name, label="base", role=Role.BASE),
        "adapted": Model(name=folder, label="adapted", role=Role.ADAPTED, kind="adapter", folder=folder),
    }
    found = {key: logits(model) for key, model in contenders.loaded(models, False)}
    torch.testing.assert_close(found["adapted"], wanted, rtol=1e-5, atol=1e-5)
    assert (found["base"] - wanted).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["lora on embeddings", "lora on the head", "some tokens"])
def test_a_model_merged_in_memory_is_saved_unchanged(kind, tmp_path):
    base = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS[kind]), tied=True)
    adapted = loading.attach_adapter(merging.dequantised(base), str(tmp_path / "adapter"))
    wanted = logits(adapted)
    result = merging.merge_in_memory(adapted)
    result.save_pretrained(tmp_path / "merged")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(back), wanted, rtol=1e-5, atol=1e-5)
    assert back.config.tie_word_embeddings == (kind in STAY_TIED)


@pytest.mark.parametrize("kind", ["lora", "dora", "some tokens"])
def test_a_4bit_base_is_dequantised_as_it_was_trained(kind, tiny_tokenizer, tmp_path):
    made = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS[kind]))
    base = merging.Base(made.name, None, True, torch.bfloat16)
    adapted = loading.attach_adapter(merging.dequantised(base), str(tmp_path / "adapter"))
    result = logits(merged(base, tmp_path, tiny_tokenizer))
    torch.testing.assert_close(result, logits(adapted), rtol=1e-5, atol=1e-5)
    assert (result - logits(merged(made, tmp_path, tiny_tokenizer))).abs().max() > 0.001, "NF4 makes a difference"


def test_files_with_other_tensors_than_the_model_are_converted_by_transformers(tiny_tokenizer, tmp_path):
    """The files store the experts of a mixture one by one; in the model they are one tensor."""
    sizes = {"num_local_experts": 2, "num_experts_per_tok": 1, "num_key_value_heads": 4, "head_dim": 8}
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    base = make(tmp_path, config, architecture=transformers.MixtralConfig, **sizes)
    assert not merging.Layers(base, str(tmp_path / "adapter")).match_the_checkpoint()
    wanted = logits(loading.attach_adapter(merging.dequantised(base), str(tmp_path / "adapter")))
    torch.testing.assert_close(logits(merged(base, tmp_path, tiny_tokenizer)), wanted, rtol=1e-4, atol=1e-4)


def test_weights_go_into_files_of_a_limited_size(tiny_tokenizer, tmp_path):
    base = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS["lora"]))
    merged(base, tmp_path, tiny_tokenizer)
    one = tmp_path / "merged" / "model.safetensors"
    with safe_open(one, "pt") as content:
        whole = {name: content.get_tensor(name).clone() for name in content.keys()}  # noqa: SIM118
    wanted = logits(loading.load_model(str(tmp_path / "merged"), dtype=torch.float32))
    result = merged(base, tmp_path, tiny_tokenizer, shard_bytes=20_000)
    assert torch.equal(logits(result), wanted)
    assert not one.exists()
    index = json.loads((tmp_path / "merged" / merging.INDEX).read_text())
    assert set(index["weight_map"]) == set(whole)
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in whole.values())
    files = sorted((tmp_path / "merged").glob("*.safetensors"))
    assert [file.name for file in files] == sorted(set(index["weight_map"].values()))
    for file in files:
        with safe_open(file, "pt") as content:
            held = [content.get_tensor(name).nbytes for name in content.keys()]  # noqa: SIM118
        assert sum(held) <= 20_000 or len(held) == 1
    merged(base, tmp_path, tiny_tokenizer)
    assert [file.name for file in (tmp_path / "merged").glob("model*")] == ["model.safetensors"]


def test_the_same_merge_gives_the_same_bytes(tiny_tokenizer, tmp_path):
    base = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS["lora"]))
    written = []
    for _ in range(2):
        merged(base, tmp_path, tiny_tokenizer)
        written.append({path.name: path.read_bytes() for path in (tmp_path / "merged").iterdir()})
    assert written[0] == written[1]


def test_an_adapter_that_changes_no_weights_is_refused(tiny_tokenizer, tmp_path):
    base = make(tmp_path, PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    with pytest.raises(
        UserError, match="is a prompt_tuning adapter, which changes no weights to merge; serve it with PEFT"
    ):
        merged(base, tmp_path, tiny_tokenizer)


def test_a_base_that_is_stored_quantised_is_refused(tiny_tokenizer, tmp_path):
    base = make(tmp_path, LoraConfig(r=4, task_type="CAUSAL_LM", **KINDS["lora"]))
    config = tmp_path / "base" / "config.json"
    quantised = {**json.loads(config.read_text()), "quantization_config": {"quant_method": "gptq", "bits": 4}}
    config.write_text(json.dumps(quantised))
    with pytest.raises(
        UserError, match="is stored quantised, so no merge would be exact; train on the model before quantisation"
    ):
        merged(base, tmp_path, tiny_tokenizer)
