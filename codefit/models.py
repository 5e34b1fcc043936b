"""Loading and saving tokenizers, base models and adapters. From here down torch is imported.

Weights are read from safetensors only, and no code of a model repository ever runs.
"""

import contextlib
import copy
import hashlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from codefit import cli
from codefit.cli import UserError

# Words of the libraries that say nothing to a user of these scripts. bitsandbytes warns at import that an optional
# kernel from the Hub is not installed; it works without.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")

# a checkpoint of a run with new tokens holds the whole embedding; the adapter that is the result holds their rows
warnings.filterwarnings("ignore", message="Setting `save_embedding_layers` to `True`")

ADAPTER_CONFIG = "adapter_config.json"


def device() -> torch.device:
    """Return the device that models are put on: the GPU if there is one, unless `accelerate launch --cpu` says no."""
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """Return bfloat16 where this machine multiplies it fast, else float32.

    Of processors only those with AMX do: two matrices of 640 x 2048 and 2048 x 8192 took an Intel Xeon that has
    avx512_bf16 and no AMX 1.9 times as long in bfloat16 as in float32 (82 and 153 billion operations a second).
    """
    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """Load a tokenizer by local path or Hub id; a missing pad token becomes end-of-sequence.

    Labels are built from lengths, so that a pad id equal to end-of-sequence hides nothing from training.
    """
    from transformers import AutoTokenizer

    with loading("tokenizer", name):
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
        dtype: of the weights, or of the arithmetic of a 4-bit model; compute_dtype() when None.
        place: another device than the best; on "meta" the model is an outline without weights, and none are read.

    Raises:
        UserError: the model cannot be had, or is of an unknown architecture.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = dtype or compute_dtype()
    if place is not None and place.type == "meta":
        with loading("model", name), place:
            config = AutoConfig.from_pretrained(name, revision=revision)
            return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    options: dict[str, Any] = {"dtype": dtype, "revision": revision, "use_safetensors": True}
    if load_in_4bit:
        options |= {"quantization_config": nf4(dtype), "device_map": {"": device()}}
    with loading("model", name):
        model: Any = AutoModelForCausalLM.from_pretrained(name, **options)
    if load_in_4bit:
        keep_gradients_on_cpu(model)
    else:
        model.to(place or device())
    return model.eval()


def use_flash_attention(model: Any) -> None:
    """Switch a model, or the base of an adapter, to flash-attention 2 where it is installed and can run."""
    from transformers.utils.import_utils import is_flash_attn_2_available

    base = model.get_base_model() if hasattr(model, "peft_config") else model
    capability = torch.cuda.get_device_capability() if device().type == "cuda" else (0, 0)
    if base._supports_flash_attn and takes_flash_attention(is_flash_attn_2_available(), device().type, capability):
        base.set_attn_implementation("flash_attention_2")


def takes_flash_attention(installed: bool, device_type: str, capability: tuple[int, int]) -> bool:
    """Return whether flash-attention 2 is used: it needs a GPU of compute capability 8.0 (Ampere) or newer."""
    return installed and device_type == "cuda" and capability >= (8, 0)


def flash_attention(model: Any) -> bool:
    """Return whether a model's attention is flash-attention, which keeps samples apart in a batch of one row only."""
    return str(model.config._attn_implementation).startswith("flash_attention")


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
def loading(what: str, name: str) -> Iterator[None]:
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
        reason = cli.first_line(error)
        if isinstance(error, SafetensorError):
            reason = f"its weights are damaged ({reason})"
        elif "safetensors" in reason:
            reason = "it has no safetensors weights, and pickled ones are not loaded"
        if "trust_remote_code" in reason or "custom code" in reason:
            reason = "it needs code from its repository, which codefit never runs"
        raise UserError(
            f"cannot load the {what} {name}: {reason}; check the name, the network and `hf auth login`."
        ) from None


# ---------------------------------------------------------------------------------------------- adapters


def is_adapter(name: str) -> bool:
    """Return whether a folder or Hub repository holds a PEFT adapter."""
    if Path(name).is_dir():
        return (Path(name) / ADAPTER_CONFIG).is_file()
    return _hub_file(name, ADAPTER_CONFIG) is not None


def is_whole(name: str) -> bool:
    """Return whether a folder or Hub repository holds a whole model."""
    return (Path(name) / "config.json").is_file() if Path(name).is_dir() else bool(_hub_file(name, "config.json"))


def base_of(adapter: str) -> tuple[str, str | None]:
    """Return name and revision of the base that an adapter was trained on, from its own metadata.

    Raises:
        UserError: the adapter has no readable adapter_config.json, or it names no base.
    """
    path = Path(adapter) / ADAPTER_CONFIG if Path(adapter).is_dir() else _hub_file(adapter, ADAPTER_CONFIG)
    if path is None or not Path(path).is_file():
        raise UserError(f"{adapter} holds no {ADAPTER_CONFIG}; train.py writes one into its --output_dir.")
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not valid JSON; train again, or download the adapter again.") from None
    if not config.get("base_model_name_or_path"):
        raise UserError(f"{path} does not name its base model; give it with --model_name_or_path.")
    return config["base_model_name_or_path"], config.get("revision")


def _hub_file(repository: str, file: str) -> Path | None:
    """Return a downloaded file of a Hub repository, or None if that repository has no such file."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file))
    except LocalEntryNotFoundError as error:  # no connection; a repository that is cached may be known not to have it
        if try_to_load_from_cache(repository, "config.json") or try_to_load_from_cache(repository, ADAPTER_CONFIG):
            return None
        reason = cli.first_line(error)
        raise UserError(
            f"{repository} is not a local folder, and the Hub cannot be reached ({reason}); check the name."
        ) from None
    except EntryNotFoundError:
        return None
    except Exception as error:  # the client raises OSError, ValueError and bare transport errors for one thing
        reason = cli.first_line(error)
        raise UserError(
            f"{repository} is neither a local folder nor readable on the Hub ({reason}); check the name and your login."
        ) from None


def adapter_folder(name: str) -> Path:
    """Return the local folder of an adapter; one on the Hub is downloaded.

    Raises:
        UserError: it cannot be had, or has no safetensors weights.
    """
    folder = Path(name)
    if (folder / "config.json").is_file() and not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{name} is a whole model, not an adapter, so that there is nothing to merge; "
            "give it to benchmarking.py and complete.py as it is."
        )
    if not folder.is_dir():
        config = _hub_file(name, ADAPTER_CONFIG)
        if config is None:
            raise UserError(f"{name} on the Hub holds no {ADAPTER_CONFIG}; name the repository train.py pushed to.")
        for file in ("adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "manifest.json"):
            _hub_file(name, file)
        folder = config.parent
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"{name} holds no adapter_model.safetensors; train.py writes one into its --output_dir.")
    return folder


def manifest_of(name: str) -> dict[str, Any]:
    """Return what the stage that wrote a model or adapter recorded, from its folder or from the Hub; {} if nothing."""
    if Path(name).is_dir():
        return cli.read_manifest(Path(name))
    file = _hub_file(name, cli.MANIFEST)
    return cli.read_manifest(file.parent) if file else {}


def load(name: str, *, load_in_4bit: bool = False) -> tuple[Any, Any]:
    """Return tokenizer and model of a base, a merged model, or an adapter (with its base), ready to generate."""
    if not is_adapter(name):
        return load_tokenizer(name), load_model(name, load_in_4bit=load_in_4bit)
    base, revision = base_of(name)
    model = load_model(base, revision=revision, load_in_4bit=load_in_4bit)
    return load_tokenizer(name), attach_adapter(model, str(adapter_folder(name)))


def attach_adapter(model: Any, adapter: str, *, low_cpu_mem_usage: bool = False) -> Any:
    """Return the model with an adapter attached, in evaluation mode; `with model.disable_adapter():` is the base."""
    from peft import PeftModel

    try:
        grow(model, rows_of(adapter))
        return PeftModel.from_pretrained(model, adapter, low_cpu_mem_usage=low_cpu_mem_usage).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = cli.first_line(error)
        raise UserError(f"cannot attach the adapter {adapter}: {reason}; was it trained on another base?") from None


def fingerprint(model: Any) -> dict[str, str]:
    """Return what identifies the function that a loaded model computes, wherever it was loaded from.

    The weights as they lie in memory, quantised or not, with those of an adapter unless it is disabled, so that a base
    under a disabled adapter is that base; the architecture and the adapter's settings; dtype and device.
    """
    prefix = getattr(getattr(model, "base_model", None), "prefix", None)  # of the adapter's own weights: "lora_"
    is_off = any(getattr(module, "disable_adapters", False) is True for module in model.modules())
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NAMES_OF_A_CONFIG}
    facts: dict[str, Any] = {"config": config, "attention": model.config._attn_implementation}
    if prefix and not is_off:
        adapters = {name: adapter.to_dict() for name, adapter in model.peft_config.items()}
        facts["adapters"] = {
            name: {key: value for key, value in adapter.items() if key not in _NAMES_OF_A_CONFIG}
            for name, adapter in adapters.items()
        }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=_as_json).encode())
    named = {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if not (prefix and is_off and prefix in name)
    }
    for name, tensor in sorted(named.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    where = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    kernels = torch.backends.cpu.get_cpu_capability() if model.device.type == "cpu" else ""
    return {"model": digest.hexdigest(), "dtype": str(model.dtype), "device": f"{where} {kernels}".strip()}


# What names a model or adapter and does not change what it computes.
_NAMES_OF_A_CONFIG = {"_name_or_path", "transformers_version", "architectures", "base_model_name_or_path", "revision"}


def _as_json(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


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
