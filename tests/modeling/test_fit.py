"""An adapter fits its base tensor by tensor, and a base has all of its weights; otherwise there is an error."""

import json
import re
import shutil

import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import complete
import merge_lora
from codefit.errors import UserError
from codefit.modeling import loading
from tests.support.training import CONFIGS


def plain_adapter(base, folder, **more):
    """Save an adapter made with plain PEFT, with matrices that change the output."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    model = peft.get_peft_model(model, peft.LoraConfig(r=4, task_type="CAUSAL_LM", **more))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tiny_base, tiny_tokenizer, tmp_path):
    folder = plain_adapter(tiny_base, tmp_path / "adapter", target_modules="all-linear")
    tiny_tokenizer.save_pretrained(folder)
    return folder


def rewrite(file, change):
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


NO_PLACE = "does not fit its base, which has no place for .*; was it trained on another base"
LACKS = r"the adapter .* lacks \d+ tensors, such as .*; download or train it again"
DAMAGES = {
    "all renamed": (lambda all_: {"x." + name: tensor for name, tensor in all_.items()}, NO_PLACE),
    "layers renamed": (lambda all_: {re.sub("layers", "h", name): tensor for name, tensor in all_.items()}, NO_PLACE),
    "one tensor too many": (lambda all_: all_ | {"base_model.model.lora_A.weight": torch.ones(2)}, NO_PLACE),
    "half of them": (lambda all_: dict(list(all_.items())[::2]), LACKS),
    "none of them": (lambda all_: {}, LACKS),
}


STAGES = {
    "merge_lora": lambda name, tmp: merge_lora.main(["--hf_repository", name, "--output_dir", str(tmp / "merged")]),
    "complete": lambda name, tmp: complete.main(["--hf_repository", name, "--prompt", "def f("]),
    "load": lambda name, tmp: loading.load(name),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("stage", STAGES)
def test_an_adapter_that_does_not_fit_is_refused(adapter, damage, stage, tmp_path):
    change, message = DAMAGES[damage]
    rewrite(adapter / "adapter_model.safetensors", change)
    with pytest.raises(UserError, match=message):
        STAGES[stage](str(adapter), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_an_adapter_of_another_base_of_the_same_shape_is_refused(adapter, tmp_path, tiny_tokenizer):
    """Modules with the same name would fit; the others have different names."""
    config = transformers.PhiConfig(
        vocab_size=len(tiny_tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "phi")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(tmp_path / "phi")}))
    with pytest.raises(UserError, match="was it trained on another base"):
        merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")])
    assert not (tmp_path / "merged").exists()


KINDS = {
    "all linear": {"target_modules": "all-linear"},
    "two modules": {"target_modules": ["q_proj", "v_proj"]},
    "a copied head": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "new rows": {"target_modules": ["q_proj"], "trainable_token_indices": [5, 6]},
    "dora": {"target_modules": ["q_proj"], "use_dora": True},
    "one layer": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_made_with_plain_peft_fit(tiny_base, tmp_path, kind):
    folder = plain_adapter(tiny_base, tmp_path / "adapter", **KINDS[kind])
    model = loading.attach_adapter(loading.load_model(str(tiny_base), dtype=torch.float32), str(folder))
    stored = load_file(folder / "adapter_model.safetensors")
    assert stored.keys() <= peft.get_peft_model_state_dict(model).keys()


@pytest.mark.parametrize("kind", ["a copied head", "new rows"])
def test_missing_tensors_other_than_the_matrices_are_noticed(tiny_base, tmp_path, kind):
    folder = plain_adapter(tiny_base, tmp_path / "adapter", **KINDS[kind])
    rewrite(folder / "adapter_model.safetensors", lambda all_: {name: all_[name] for name in all_ if "lora_" in name})
    with pytest.raises(UserError, match="lacks the tensor"):
        loading.attach_adapter(loading.load_model(str(tiny_base)), str(folder))


# ---------------------------------------------------------------------------------------------- bases


@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_base_that_lacks_a_tensor_is_refused(architecture, tmp_path):
    base = tmp_path / "base"
    transformers.AutoModelForCausalLM.from_config(CONFIGS[architecture]).save_pretrained(base)
    loading.load_model(str(base))
    lost = sorted(load_file(base / "model.safetensors"))[3]
    rewrite(base / "model.safetensors", lambda all_: {name: all_[name] for name in all_ if name != lost})
    with pytest.raises(UserError, match=f"the weights of .* lack the tensor {re.escape(lost)}, which would be init"):
        loading.load_model(str(base))


def test_a_tied_output_layer_does_not_count_as_missing(tmp_path):
    config = transformers.LlamaConfig(**{**CONFIGS["llama"].to_dict(), "tie_word_embeddings": True})
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    assert "lm_head.weight" not in load_file(tmp_path / "base" / "model.safetensors")
    loading.load_model(str(tmp_path / "base"))


def test_an_adapter_is_not_merged_into_an_incomplete_base(adapter, tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    rewrite(tmp_path / "base" / "model.safetensors", lambda all_: dict(list(all_.items())[::2]))
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(tmp_path / "base")}))
    with pytest.raises(UserError, match=r"lack \d+ tensors, such as model"):
        merge_lora.main(["--hf_repository", str(adapter), "--output_dir", str(tmp_path / "merged")])
    assert not (tmp_path / "merged").exists()
