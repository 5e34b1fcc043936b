"""Conversion of a model to a GGUF file, which llama.cpp, Ollama, LM Studio and Tabby load.

Tensor names, keys and quantisers come from llama.cpp's own `gguf` package. This module does the work of its converter
for five architectures, weight by weight, so that no model is ever in memory as a whole. The fill-in-the-middle tokens,
which llama.cpp needs to serve an editor, are written from `codefit.fim`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from codefit import console, model_files
from codefit.errors import UserError
from codefit.publishing import gguf_tokenizer

# Transformers' model_type, and llama.cpp's name of the architecture.
ARCHITECTURES = {
    "llama": "LLAMA",
    "qwen2": "QWEN2",
    "phi": "PHI2",  # phi-1, phi-1_5 and phi-2
    "gpt_neox": "GPTNEOX",
    "starcoder2": "STARCODER2",
}
UNKNOWN_TO_LLAMA_CPP = ("codegen", "gptj")  # llama.cpp has no graph for these, at most a name
# The activation that llama.cpp's graphs use, whatever a configuration says. The variants of GELU differ by less than
# its rounding.
GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
SILU = ("silu", "swish")
ACTIVATIONS = {"llama": SILU, "qwen2": SILU, "phi": GELU, "gpt_neox": GELU, "starcoder2": GELU}
# Settings that its graphs assume: the name, the value, and the default in Transformers.
TAKEN_FOR_GRANTED = {
    "phi": (("qk_layernorm", False, False),),
    "gpt_neox": (("attention_bias", True, True),),
    "starcoder2": (("use_bias", True, True),),
}
# The embedding that is also the output layer, for architectures in which llama.cpp needs a separate output layer.
TIED = {"phi": "model.embed_tokens.weight", "gpt_neox": "gpt_neox.embed_in.weight"}
OUTPUT = "output.weight"
ROTATE_A_PART = ("phi", "gpt_neox")  # architectures in which RoPE rotates a share of a head's dimensions


def refuse(config: dict[str, Any], tokenizer: Path) -> None:
    """Raise UserError, before anything is written, if a model cannot be converted to GGUF.

    Args:
        config: the content of its config.json.
        tokenizer: the folder of its tokenizer.
    """
    kind = config.get("model_type")
    if kind in UNKNOWN_TO_LLAMA_CPP:
        raise UserError(
            f"llama.cpp does not support the architecture {kind}; omit --gguf and serve the merged model with vLLM."
        )
    converter = "omit --gguf and convert the merged model with llama.cpp's convert_hf_to_gguf.py"
    if kind not in ARCHITECTURES:
        raise UserError(
            f"codefit cannot convert the architecture {kind} to GGUF, only {', '.join(ARCHITECTURES)}; {converter}."
        )
    scaling = _rope(config)["rope_type"]
    if scaling not in {"default", "linear"}:
        raise UserError(f"codefit cannot convert models with {scaling} RoPE scaling to GGUF; {converter}.")
    for name, value in _other_than_llama_cpp(config):
        raise UserError(
            f"llama.cpp ignores {name} = {value} of {kind}, so its predictions would differ; "
            "omit --gguf and serve the merged model with vLLM."
        )
    if reason := gguf_tokenizer.refusal(tokenizer):
        raise UserError(f"{reason}; {converter}.")


def _other_than_llama_cpp(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each setting for which llama.cpp assumes another value."""
    kind = config["model_type"]
    activation = config.get("hidden_act") or config.get("hidden_activation") or ACTIVATIONS[kind][0]
    if activation not in ACTIVATIONS[kind]:
        yield "hidden_act", activation
    for name, value, usual in TAKEN_FOR_GRANTED.get(kind, ()):
        if config.get(name, usual) != value:
            yield name, config[name]


def context_of(config: dict[str, Any]) -> int:
    """Return the context window that a GGUF file of a model may have, in tokens.

    llama.cpp uses full attention for these architectures. That is equal as long as a sliding window covers the context.
    """
    context = int(config["max_position_embeddings"])
    window = config.get("sliding_window")
    slides = config["model_type"] == "starcoder2" or config.get("use_sliding_window", False)
    return min(context, int(window)) if window and slides else context


def write(folder: Path, file: Path, kind: str, name: str) -> None:
    """Write the model in a folder as a GGUF file.

    Args:
        folder: a full model, as written by merge_lora.py.
        file: the output file.
        kind: type of the matrices: "q8_0" (8 bits, in blocks of 32), "f16" or "f32"; vectors are float32.
        name: name of the model, for the metadata.

    Raises:
        UserError: the architecture, its rope scaling or its tokenizer has no equivalent, or the disk is full.
    """
    import gguf

    from codefit.modeling.merging import BaseWeights, refuse_full_disk_for_merge

    config = read_config(folder)
    refuse(config, folder)
    architecture = gguf.MODEL_ARCH[ARCHITECTURES[config["model_type"]]]
    writer = gguf.GGUFWriter(file, gguf.MODEL_ARCH_NAMES[architecture])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if kind == "f32" else f"MOSTLY_{kind.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_shape(writer, config)
    gguf_tokenizer.add(writer, folder, config["vocab_size"])

    checkpoint = BaseWeights(str(folder), None)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    stored: dict[str, str] = {}
    for each in checkpoint.file_of:
        if not _is_left_out(each, config):
            place = names.get_name(each, try_suffixes=(".weight", ".bias"))
            if place is None:
                raise UserError(
                    f"{folder} has the weight {each}, unknown for {config['model_type']}; merge the adapter again."
                )
            stored[place] = each
    if config.get("tie_word_embeddings") and config["model_type"] in TIED:
        stored[OUTPUT] = TIED[config["model_type"]]
    needed = 0
    for place, each in stored.items():
        shape = checkpoint.shape(each)
        stored_as = _type_of(shape, kind)
        block, nbytes = gguf.GGML_QUANT_SIZES[stored_as]
        size = int(np.prod(shape)) // block * nbytes
        writer.add_tensor_info(place, shape, np.dtype(np.float32), size, stored_as)
        needed += size
    refuse_full_disk_for_merge(file.parent, needed, "GGUF file")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for each in console.progress(stored.values(), kind, unit="weight"):
        weight = _laid_out(each, checkpoint.read(each).float().numpy(), config)
        stored_as = _type_of(checkpoint.shape(each), kind)
        writer.write_tensor_data(gguf.quants.quantize(np.ascontiguousarray(weight), stored_as))
    writer.close()


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.json."""
    return model_files.model_config(folder / model_files.CONFIG)


# ---------------------------------------------------------------------------------------------- shape


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """Return RoPE theta, scaling type and share of rotated dimensions, for any version of Transformers.

    Transformers rotates all dimensions of the other architectures, whatever their configuration says.
    """
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    rope.setdefault("rope_type", rope.get("type", "default"))
    rope.setdefault("rope_theta", config.get("rope_theta", config.get("rotary_emb_base", 10000.0)))
    rope.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", config.get("rotary_pct", 1.0)))
    return rope if config["model_type"] in ROTATE_A_PART else rope | {"partial_rotary_factor": 1.0}


def _heads(config: dict[str, Any]) -> tuple[int, int, int]:
    """Return the number of query heads, of key/value heads, and the dimension of a head."""
    asking = config["num_attention_heads"]
    if config["model_type"] == "gpt_neox":  # it has no settings for the other two
        return asking, asking, config["hidden_size"] // asking
    answering = config.get("num_key_value_heads") or asking
    return asking, answering, config.get("head_dim") or config["hidden_size"] // asking


def add_shape(writer: Any, config: dict[str, Any]) -> None:
    """Write the sizes of a model, from its configuration."""
    import gguf

    asking, answering, width = _heads(config)
    rope = _rope(config)
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(asking)
    writer.add_head_count_kv(answering)
    if width != config["hidden_size"] // asking:
        writer.add_key_length(width)
        writer.add_value_length(width)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    writer.add_rope_dimension_count(int(width * rope["partial_rotary_factor"]))
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    else:
        writer.add_layer_norm_eps(config.get("layer_norm_eps", config.get("norm_epsilon")))
    if config["model_type"] == "gpt_neox":
        writer.add_parallel_residual(config.get("use_parallel_residual", True))


# ---------------------------------------------------------------------------------------------- weights


def _is_left_out(name: str, config: dict[str, Any]) -> bool:
    """Return whether a tensor is not stored because llama.cpp computes it or it equals another one."""
    computed = name.endswith((".rotary_emb.inv_freq", ".attention.bias", ".attention.masked_bias"))
    is_head = name in ("lm_head.weight", "embed_out.weight")
    return computed or (is_head and bool(config.get("tie_word_embeddings")))


def _type_of(shape: list[int], kind: str) -> Any:
    """Return the storage type of a tensor: float32 for vectors, `kind` for matrices, float16 if blocks do not fit."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) == 1:
        return GGMLQuantizationType.F32
    asked = GGMLQuantizationType[kind.upper()]
    return asked if shape[-1] % GGML_QUANT_SIZES[asked][0] == 0 else GGMLQuantizationType.F16


def _laid_out(name: str, weight: np.ndarray, config: dict[str, Any]) -> np.ndarray:
    """Return a weight of shape (rows, ...), same shape and dtype, with its rows in llama.cpp's order."""
    asking, answering, width = _heads(config)
    if config["model_type"] == "llama" and (".q_proj." in name or ".k_proj." in name):
        # Transformers rotates the first half of a head with the second, llama.cpp's Llama pairs of neighbours
        heads = asking if ".q_proj." in name else answering
        return weight.reshape(heads, 2, width // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    if config["model_type"] == "gpt_neox" and ".query_key_value." in name:
        # from (query, key, value) per head to all queries, all keys, all values
        return weight.reshape(asking, 3, width, *weight.shape[1:]).swapaxes(0, 1).reshape(weight.shape)
    return weight
