"""GGUF files hold what the model holds, in llama.cpp's words; editors are told what the model was trained with."""

import dataclasses
import json
import shutil
import tomllib
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers
import yaml

import merge_lora
from codefit import fim
from codefit.errors import UserError
from codefit.manifest import ROOT
from codefit.modeling import loading
from codefit.modeling import pre_tokenizers as splitting
from codefit.publishing import editors, gguf_tokenizer
from codefit.publishing import gguf as export

BASE = ROOT / "data" / "base"


def fields(path):
    return gguf.GGUFReader(path).fields


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The embedded base model, exported by the script."""
    place = tmp_path_factory.mktemp("kotlin")
    shutil.copytree(BASE, place / "base")
    merge_lora.main(["--hf_repository", str(place / "base"), "--gguf", "q8_0", "f16"])
    return place


def test_a_full_model_is_exported_with_editor_settings(exported, capsys):
    folder = exported / "base-gguf"
    name = exported.name
    files = {f"{name}-Q8_0.gguf", f"{name}-F16.gguf"}
    settings = {"Modelfile", "template", "params", "continue.yaml", "tabby.toml", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == files | settings
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    merge_lora.main(["--hf_repository", str(exported / "base"), "--gguf", "q8_0", "f16"])
    assert "already exported; nothing to do" in capsys.readouterr().out
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp


def test_a_folder_of_the_user_is_not_replaced(tmp_path):
    shutil.copytree(BASE, tmp_path / "base")
    (tmp_path / "base-gguf").mkdir()
    (tmp_path / "base-gguf" / "mine").write_text("x")
    with pytest.raises(UserError, match="was not written by codefit and is not replaced"):
        merge_lora.main(["--hf_repository", str(tmp_path / "base"), "--gguf"])
    assert [path.name for path in (tmp_path / "base-gguf").iterdir()] == ["mine"]


def test_vocabulary_and_sentinels_are_stated(exported):
    found = fields(next((exported / "base-gguf").glob("*F16.gguf")))
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    assert found["general.architecture"].contents() == "llama"
    assert found["tokenizer.ggml.pre"].contents() == "deepseek-coder"
    assert found["tokenizer.ggml.eos_token_id"].contents() == tokenizer.eos_token_id
    assert not found["tokenizer.ggml.add_bos_token"].contents()
    assert "tokenizer.ggml.bos_token_id" not in found
    tokens = found["tokenizer.ggml.tokens"].contents()
    assert tokens == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    for role, sentinel in zip(("pre", "suf", "mid"), fim.BASE.sentinels, strict=True):
        assert found[f"tokenizer.ggml.fim_{role}_token_id"].contents() == tokenizer.convert_tokens_to_ids(sentinel)


def test_weights_are_kept_as_far_as_their_type_allows(exported):
    model = loading.load_model(str(BASE), dtype=torch.float32).state_dict()
    down, norm = "model.layers.1.mlp.down_proj.weight", "model.layers.1.input_layernorm.weight"
    for kind, share in (("F16", 1e-3), ("Q8_0", 1e-2)):
        found = tensors(next((exported / "base-gguf").glob(f"*{kind}.gguf")))
        assert found["blk.1.ffn_down.weight"].tensor_type.name == kind
        read = gguf.quants.dequantize(found["blk.1.ffn_down.weight"].data, found["blk.1.ffn_down.weight"].tensor_type)
        assert np.abs(read - model[down].numpy()).max() <= share * model[down].abs().max()
        np.testing.assert_array_equal(found["blk.1.attn_norm.weight"].data, model[norm].numpy())
        assert "output.weight" not in found, "the base shares its first and its last layer"


def test_the_editors_get_one_format_from_one_table(exported):
    folder = exported / "base-gguf"
    prompt = "<fim_prefix>{}<fim_suffix>{}<fim_middle>"
    settings = yaml.safe_load((folder / "continue.yaml").read_text())
    assert settings["models"][0]["promptTemplates"]["autocomplete"] == prompt.format("{{{prefix}}}", "{{{suffix}}}")
    assert settings["models"][0]["roles"] == ["autocomplete"]
    assert settings["models"][0]["defaultCompletionOptions"]["stop"][0] == "<|endoftext|>"
    assert f'prompt_template = "{prompt.format("{prefix}", "{suffix}")}"' in (folder / "tabby.toml").read_text()
    template = (folder / "template").read_text()
    assert "{{- if .Suffix }}" + prompt.format("{{ .Prompt }}", "{{ .Suffix }}") + "{{ else }}{{ .Prompt }}" in template
    parameters = json.loads((folder / "params").read_text())
    assert parameters == {"num_ctx": 640, "temperature": 0, "stop": ["<|endoftext|>", *fim.BASE.sentinels]}
    modelfile = (folder / "Modelfile").read_text()
    assert modelfile.startswith(f"FROM ./{exported.name}-Q8_0.gguf\n")
    assert template in modelfile
    assert 'PARAMETER stop "<fim_middle>"' in modelfile


@pytest.mark.parametrize("infill", [None, *fim.FORMATS], ids=str)
def test_every_format_can_be_written(infill, tmp_path):
    editors.write(tmp_path, "x.gguf", "x", infill, "<eos>", 100)
    settings = yaml.safe_load((tmp_path / "continue.yaml").read_text())
    template = settings["models"][0]["promptTemplates"]["autocomplete"]
    pieces = ["{{{prefix}}}"] if infill is None else [text for _, text in infill.parts("{{{prefix}}}", "{{{suffix}}}")]
    assert template == "".join(pieces)
    assert (".Suffix" in (tmp_path / "template").read_text()) == (infill is not None)
    spm = infill is not None and infill.order == "SPM"
    assert ("--spm-infill" in editors.server_command(["-m", "x"], infill, 100)) == spm


@pytest.mark.parametrize("text", ['"', "\\", "\x7f", "\x01", "\x85", "\u2028", "\ufeff", "｜a▁b", "😀", ": #", "\n"])
def test_any_text_of_a_model_can_be_written(text, tmp_path):
    infill = dataclasses.replace(fim.BASE, prefix=f"<{text}>")
    editors.write(tmp_path, "x.gguf", text, infill, text, 100)
    (model,) = yaml.safe_load((tmp_path / "continue.yaml").read_bytes())["models"]
    assert model["name"] == text
    assert model["promptTemplates"]["autocomplete"].startswith(f"<{text}>{{{{{{prefix}}}}}}")
    assert model["defaultCompletionOptions"]["stop"] == [text, *infill.sentinels]
    http = tomllib.loads((tmp_path / "tabby.toml").read_bytes().decode())["model"]["completion"]["http"]
    assert (http["model_name"], http["prompt_template"][: len(text) + 2]) == (text, f"<{text}>")


ROPE = {"rope_theta": 10000.0, "rope_type": "default"}
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
ALL = tuple(export.ARCHITECTURES)
LIKE_LLAMA = ("llama", "qwen2", "starcoder2")
LINEAR = {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}}
HALF = {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5}}
UNUSUAL = [
    (ALL, {"rope_parameters": {**ROPE, "rope_theta": 123.0}}, {"rope.freq_base": 123.0}),
    (ALL, LINEAR, {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    (ALL, {"max_position_embeddings": 77}, {"context_length": 77}),
    (("llama", "qwen2"), {"rms_norm_eps": 0.25}, {"attention.layer_norm_rms_epsilon": 0.25}),
    (("phi", "gpt_neox"), {"layer_norm_eps": 0.25}, {"attention.layer_norm_epsilon": 0.25}),
    (("starcoder2",), {"norm_epsilon": 0.25}, {"attention.layer_norm_epsilon": 0.25}),
    ((*LIKE_LLAMA, "phi"), {"num_key_value_heads": 1}, {"attention.head_count_kv": 1, "attention.head_count": 4}),
    (LIKE_LLAMA, {"head_dim": 32}, {"attention.key_length": 32, "rope.dimension_count": 32}),
    (("phi",), {"head_dim": 32}, {"attention.value_length": 32, "rope.dimension_count": 16}),
    (("gpt_neox",), {"head_dim": 32, "num_key_value_heads": 1}, {"attention.head_count_kv": 4}),
    (("gpt_neox",), {"head_dim": 32}, {"attention.key_length": None, "rope.dimension_count": 4}),
    (("phi", "gpt_neox"), HALF, {"rope.dimension_count": 8}),
    (LIKE_LLAMA, HALF, {"rope.dimension_count": 16}),  # Transformers rotates all dimensions of these
    (("gpt_neox",), {"use_parallel_residual": False}, {"use_parallel_residual": False}),
]


@pytest.mark.parametrize(
    ("kind", "changes", "wanted"),
    [(kind, changes, wanted) for kinds, changes, wanted in UNUSUAL for kind in kinds],
)
def test_unusual_values_are_written_as_the_model_computes_them(kind, changes, wanted, tmp_path):
    transformers.CONFIG_MAPPING[kind](vocab_size=97, **{**SIZES, **changes}).save_pretrained(tmp_path)
    name = gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH[export.ARCHITECTURES[kind]]]
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", name)
    export.add_shape(writer, export.read_config(tmp_path))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = {key.removeprefix(f"{name}."): field.contents() for key, field in fields(tmp_path / "x.gguf").items()}
    assert {key: found.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("template", ["{{ messages[0].content }}", [{"name": "default", "template": "{{ 1 }}"}]])
def test_the_chat_template_is_written(template, tmp_path):
    folder = model_folder(tmp_path)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    words = json.loads((folder / "config.json").read_text())["vocab_size"]
    for file in ("in the configuration", "chat_template.jinja"):
        writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
        gguf_tokenizer.add(writer, folder, words)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        first = template if isinstance(template, str) else "{{ 1 }}"
        wanted = first if file == "in the configuration" else "from its file"
        assert fields(tmp_path / "x.gguf")["tokenizer.chat_template"].contents() == wanted
        (folder / "chat_template.jinja").write_text("from its file")


# ---------------------------------------------------------------------------------------------- what is refused


def model_folder(tmp_path, **changes):
    """Copy the base's configuration and tokenizer, changed."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(BASE / name, tmp_path / name)
    (tmp_path / "model.safetensors").write_bytes(b"")
    config = json.loads((BASE / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "codegen"}, "llama.cpp does not support the architecture codegen; omit --gguf"),
        (
            {"model_type": "mixtral"},
            "cannot convert the architecture mixtral to GGUF, only llama, qwen2, phi, gpt_neox",
        ),
        ({"rope_parameters": {"rope_type": "yarn"}}, "cannot convert models with yarn RoPE scaling to GGUF"),
        ({"hidden_act": "gelu"}, "llama.cpp ignores hidden_act = gelu of llama, so its predictions would differ"),
        ({"model_type": "qwen2", "hidden_act": "relu"}, "ignores hidden_act = relu of qwen2"),
        ({"model_type": "phi", "hidden_act": "silu"}, "ignores hidden_act = silu of phi"),
        (
            {"model_type": "phi", "hidden_act": "gelu_new", "qk_layernorm": True},
            "ignores qk_layernorm = True of phi",
        ),
        (
            {"model_type": "gpt_neox", "hidden_act": "gelu", "attention_bias": False},
            "ignores attention_bias = False of gpt_neox",
        ),
        (
            {"model_type": "starcoder2", "hidden_act": "gelu_pytorch_tanh", "use_bias": False},
            "ignores use_bias = False of starcoder2",
        ),
    ],
)
def test_a_model_without_an_equivalent_is_refused_before_anything_is_written(changes, message, tmp_path):
    folder = model_folder(tmp_path, **changes)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=message):
        merge_lora.main(["--hf_repository", str(folder), "--gguf"])
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}], "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}], "starcoder"),
        ([split(splitting.LLAMA3), BYTES], "llama-bpe"),
        ([split(splitting.LLAMA3.replace("{1,3}", "")), BYTES], "qwen2"),
        ([split(r"\w+"), BYTES], None),
        ([{"type": "Digits", "individual_digits": False}, {"type": "ByteLevel"}], None),
        ([{"type": "ByteLevel", "add_prefix_space": True}], None),
        ([{"type": "Metaspace"}], None),
    ],
)
def test_ways_to_split_have_the_names_of_llama_cpp(steps, name, tmp_path):
    content = {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "model": {"type": "BPE", "vocab": {}}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert gguf_tokenizer.pre_tokenizer(tmp_path) == name


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"model_type": "qwen2", "sliding_window": 128, "use_sliding_window": True}, 128),
        ({"model_type": "qwen2", "sliding_window": 128, "use_sliding_window": False}, 512),
        ({"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": True}, 512),
        ({"model_type": "starcoder2", "sliding_window": 64}, 64),
        ({"model_type": "starcoder2", "sliding_window": None}, 512),
        ({"model_type": "llama"}, 512),
    ],
)
def test_the_context_ends_where_a_sliding_window_would_begin_to_hide_something(config, context):
    assert export.context_of({"max_position_embeddings": 512, **config}) == context


def unreachable(splitter, ignore_merges):
    """A tokenizer with a word that no merges lead to."""
    vocab = {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}
    model = {"type": "BPE", "vocab": vocab, "merges": ["a b"], "ignore_merges": ignore_merges}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": splitter}, "model": model}


GPT2_STEPS = [{"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]


@pytest.mark.parametrize(
    ("splitter", "ignore_merges", "refused"),
    [
        ([split(splitting.LLAMA3), BYTES], True, False),
        ([split(splitting.LLAMA3), BYTES], False, True),
        (GPT2_STEPS, False, False),
        (GPT2_STEPS, True, True),
    ],
)
def test_words_without_merges_must_be_read_as_llama_cpp_reads_them(splitter, ignore_merges, refused, tmp_path):
    folder = model_folder(tmp_path)
    content = unreachable(splitter, ignore_merges)
    (folder / "tokenizer.json").write_text(json.dumps(content))
    config = export.read_config(folder)
    if refused:
        with pytest.raises(UserError, match="the vocabulary has words that no merges produce"):
            export.refuse(config, folder)
        content["model"]["merges"].append("ab c")
        (folder / "tokenizer.json").write_text(json.dumps(content))
    export.refuse(config, folder)


def test_a_tokenizer_that_llama_cpp_does_not_know_is_refused(tmp_path):
    folder = model_folder(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, "normalizer": {"type": "Lowercase"}}))
    with pytest.raises(
        UserError, match=r"llama.cpp has no pre-tokenizer that codefit can name for this tokenizer; omit --gguf"
    ):
        merge_lora.main(["--hf_repository", str(folder), "--gguf"])


def test_a_whole_model_is_not_pushed_by_this_script(tmp_path):
    with pytest.raises(UserError, match="is a full model, not an adapter, so there is nothing to merge"):
        merge_lora.main(["--hf_repository", str(BASE), "--gguf", "--push"])


def test_kinds_of_files_are_named_in_the_help(capsys):
    with pytest.raises(SystemExit) as stop:
        merge_lora.build_parser().parse_args(["--gguf", "q4_k_m"])
    assert stop.value.code == 2
    assert "choose from" in capsys.readouterr().err


def test_a_model_without_infill_says_so(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    folder = model_folder(tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if "fim" not in token["content"]]
    for sentinel in fim.BASE.sentinels:
        tokenizer["model"]["vocab"].pop(sentinel, None)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copy(BASE / "model.safetensors", folder / "model.safetensors")
    merge_lora.main(["--hf_repository", str(folder), "--gguf"])
    assert "the model has no fill-in-the-middle" in capsys.readouterr().out
    file = next(Path(tmp_path).rglob("*.gguf"))
    assert not [name for name in fields(file) if "fim" in name]
