"""Loading and saving tokenizers, base models and adapters. From here down torch is imported.

Weights are read from safetensors only, and no code of a model repository ever runs.
"""

import contextlib
import copy
import json
import logging
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from codefit.errors import UserError, first_line
from codefit.modeling import hardware
from codefit.modeling.hub_files import ADAPTER_CONFIG, adapter_folder, base_of, is_adapter

# Words of the libraries that say nothing to a user of these scripts. bitsandbytes warns at import that an optional
# kernel from the Hub is not installed; it works without.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")

# a checkpoint of a run with new tokens holds the whole embedding; the adapter that is the result holds their rows
warnings.filterwarnings("ignore", message="Setting `save_embedding_layers` to `True`")


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """Load a tokenizer by local path or Hub id; a missing pad token becomes end-of-sequence.

    Labels are built from lengths, so that a pad id equal to end-of-sequence hides nothing from training.
    """
    from transformers import AutoTokenizer

    with stated_errors("tokenizer", name):
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def load_model(
    name: str,
    *,
    revision: str | None = None,
    load_in_4bit: bool = False,
    dtype: torch.dtype | None = None,
    place: torch.device | None = None,
) -> Any:
    """Load a causal language model by local path or Hub id, in evaluation mode, on the best device.

    Args:
        name: folder or Hub id.
        revision: commit, tag or branch on the Hub.
        load_in_4bit: quantise to NF4 with double quantisation (QLoRA, arXiv 2305.14314).
        dtype: of the weights, or of the arithmetic of a 4-bit model; hardware.compute_dtype() when None.
        place: another device than the best; on "meta" the model is an outline without weights, and none are read.

    Raises:
        UserError: the model cannot be had, or is of an unknown architecture.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = dtype or hardware.compute_dtype()
    if place is not None and place.type == "meta":
        with stated_errors("model", name), place:
            config = AutoConfig.from_pretrained(name, revision=revision)
            return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    options: dict[str, Any] = {"dtype": dtype, "revision": revision, "use_safetensors": True}
    if load_in_4bit:
        options |= {"quantization_config": nf4(dtype), "device_map": {"": hardware.device()}}
    with stated_errors("model", name):
        loaded: Any = AutoModelForCausalLM.from_pretrained(name, output_loading_info=True, **options)
    model, found = loaded
    if found["missing_keys"]:
        raise UserError(
            f"the weights of {name} lack {_listed(found['missing_keys'])}, which would be random; download it "
            "again, or save it again with all of its weights."
        )
    if load_in_4bit:
        keep_gradients_on_cpu(model)
    else:
        model.to(place or hardware.device())
    return model.eval()


def nf4(dtype: torch.dtype) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def keep_gradients_on_cpu(model: torch.nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit layers in place.

    On CPUs with avx512_bf16, bitsandbytes 0.50 repacks a layer at the first forward in evaluation mode; from then on
    its gradients vanish and a merge dequantises garbage, without an error.
    """
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


@contextlib.contextmanager
def stated_errors(what: str, name: str) -> Iterator[None]:
    """Turn the loaders' many errors into one sentence, and keep their own progress bars off the screen."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if Path(name).is_dir() and not any((Path(name) / file).exists() for file in ("config.json", "tokenizer.json")):
        raise UserError(f"{name} holds no {what}; name a folder written by train.py or merge_lora.py, or a Hub id.")
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"the model {name} does not fit into the GPU; load it in 4 bits, or take a smaller one."
        ) from None
    except (OSError, ValueError, ImportError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = first_line(error)
        if isinstance(error, SafetensorError):
            reason = f"its weights are damaged ({reason})"
        elif "safetensors" in reason:
            reason = "it has no safetensors weights, and pickled ones are not loaded"
        if "trust_remote_code" in reason or "custom code" in reason:
            reason = "it needs code from its repository, which codefit never runs"
        raise UserError(
            f"cannot load the {what} {name}: {reason}; check the name, the network and `hf auth login`."
        ) from None


def load(name: str, *, load_in_4bit: bool = False) -> tuple[Any, Any]:
    """Return tokenizer and model of a base, a merged model, or an adapter (with its base), ready to generate."""
    if not is_adapter(name):
        return load_tokenizer(name), load_model(name, load_in_4bit=load_in_4bit)
    base, revision = base_of(name)
    model = load_model(base, revision=revision, load_in_4bit=load_in_4bit)
    return load_tokenizer(name), attach_adapter(model, str(adapter_folder(name)))


def attach_adapter(model: Any, adapter: str, *, low_cpu_mem_usage: bool = False) -> Any:
    """Return the model with an adapter attached, in evaluation mode; `with model.disable_adapter():` is the base."""
    from peft import PeftModel, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    try:
        grow(model, rows_of(adapter))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            attached = PeftModel.from_pretrained(model, adapter, low_cpu_mem_usage=low_cpu_mem_usage)
        # once more by hand: from_pretrained tells nobody what it found no place for
        found = set_peft_model_state_dict(
            attached, load_peft_weights(adapter, device="cpu"), low_cpu_mem_usage=low_cpu_mem_usage
        )
    except KeyError as error:  # of whole layers and rows of tokens PEFT asks by name
        raise UserError(
            f"the adapter {adapter} lacks the tensor {error.args[0]}; download or train it again."
        ) from None
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = first_line(error)
        raise UserError(f"cannot attach the adapter {adapter}: {reason}; was it trained on another base?") from None
    unplaced = [name for name in found.unexpected_keys if name != "prompt_embeddings"]  # which PEFT puts in by hand
    _refuse_misfit(adapter, attached.state_dict(keep_vars=True), found.missing_keys, unplaced)
    return attached.eval()


# Tensors that PEFT makes from others, so that no adapter stores them.
DERIVED = ("vblora_vector_bank", "prompt_encoder", ".tinylora_v.", ".unilora_theta_d.")


def _refuse_misfit(
    adapter: str, tensors: dict[str, torch.Tensor], missing: Collection[str], unexpected: Collection[str]
) -> None:
    """Raise UserError unless every tensor of an adapter found its place, and every place its tensor.

    Args:
        adapter: its folder.
        tensors: of the model with the adapter, by name; one that is shared has two names.
        missing: tensors of the model that were not in its file, those of the base among them.
        unexpected: tensors of the file that the model has no place for.
    """
    there = {id(tensor) for name, tensor in tensors.items() if name not in {*missing}}
    absent = [
        name
        for name in missing
        if ".default" in name and id(tensors.get(name)) not in there and not any(part in name for part in DERIVED)
    ]
    if unexpected:
        raise UserError(
            f"the adapter {adapter} does not fit its base, which has no place for {_listed(unexpected)}; "
            "was it trained on another base?"
        )
    if absent:
        raise UserError(f"the adapter {adapter} lacks {_listed(absent)}; download or train it again.")


def _listed(names: Iterable[str]) -> str:
    """Return a count of tensors with the first one's name."""
    first, *others = sorted(names)
    return f"the tensor {first}" if not others else f"{len(others) + 1} tensors, such as {first}"


def rows_of(adapter: str) -> int:
    """Return how many rows the embedding of a base must have for the tokens that an adapter brings; 0 for none."""
    config = json.loads((Path(adapter) / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    brought = config.get("trainable_token_indices") or []
    return (
        max((max(ids) for ids in (brought.values() if isinstance(brought, dict) else [brought]) if ids), default=-1) + 1
    )


@torch.no_grad()
def grow(model: Any, rows: int) -> None:
    """Give a model at least so many tokens; a new one is the mean of all, so that two bases grow alike."""
    table = model.get_input_embeddings().weight
    had = len(table)
    if rows <= had:
        return
    model.resize_token_embeddings(rows, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        for weight in (layer.weight, getattr(layer, "bias", None)):
            if weight is not None:
                weight[had:] = weight[:had].float().mean(0).to(weight.dtype)


def context_of(model: Any) -> int:
    """Return how many tokens a model can read; sys.maxsize where its architecture sets no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize


def set_generation_defaults(model: Any, tokenizer: Any) -> None:
    """Make `generate` of the saved model stop at end-of-sequence, pad without a warning, and be greedy."""
    from transformers import GenerationConfig

    model.config.use_cache = True  # training switches it off
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )


def save(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write a model, rounded to dtype, and its tokenizer; the model in memory keeps its precision."""
    rounded = model if model.dtype == dtype else copy.deepcopy(model).to(dtype)
    rounded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
