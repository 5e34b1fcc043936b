"""Loading and saving tokenizers, base models and adapters. Imports torch.

Weights are read from safetensors only, and no code of a model repository ever runs.
"""

import contextlib
import copy
import logging
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from codefit import fim, limited_process, model_files
from codefit.errors import UserError, first_line
from codefit.gguf_base import local_model
from codefit.model_files import ADAPTER_CONFIG, CONFIG, TOKENIZER
from codefit.modeling import hardware, hub_files

# Messages of libraries that do not help a user of these scripts. bitsandbytes warns at import that an optional kernel
# from the Hub is not installed; it works without. Transformers prints a table of weights that do not fit, for which
# there is an error here, and lists the layers that are not sharded.
for _library in ("bitsandbytes", "transformers.modeling_utils", "transformers.distributed.tensor_parallel"):
    logging.getLogger(_library).setLevel(logging.ERROR)

warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")

# a checkpoint of a run with new tokens holds the whole embedding; the final adapter holds only their rows
warnings.filterwarnings("ignore", message="Setting `save_embedding_layers` to `True`")


# The relative change of a token's logits that the next token may cause; rounding stays far below.
LOOKS_AHEAD = 1e-2
MOST_NEW_TOKENS = 1 << 16  # that an adapter may add


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """Load a tokenizer from a folder, GGUF file or the Hub; a missing pad token becomes end-of-sequence.

    Labels are built from lengths, so a pad id equal to end-of-sequence does not mask end-of-sequence in training.
    """
    from transformers import AutoTokenizer

    name = local_model(name)
    with stated_errors("tokenizer", name):
        if Path(name).is_dir():
            model_files.check_tokenizer(Path(name))
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
        tokenizer("a")  # some defects show only when text is tokenised
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return tokenizer


def load_tokenizer_of(adapter: str, base: str, revision: str | None) -> Any:
    """Load the tokenizer of an adapter, or that of its base where the adapter was saved without one."""
    return load_tokenizer(adapter) if hub_files.has_tokenizer(adapter) else load_tokenizer(base, revision)


def fit_tokens(tokenizer: Any, rows: int, name: str) -> None:
    """Check that a model has an embedding row for every token that it can be given.

    Padding is masked, so a pad token without a row is replaced by end-of-sequence. Special tokens that codefit never
    uses are ignored.

    Args:
        tokenizer: the model's tokenizer.
        rows: rows of its embedding.
        name: name of the model, for the error message.

    Raises:
        UserError: a token that text, sentinels or the chat template can contain has no row.
    """
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    known = fim.detect(tokenizer.get_vocab())
    used = {tokenizer.eos_token, tokenizer.bos_token, *(known.sentinels if known else ())}
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    templates = str(getattr(tokenizer, "chat_template", None) or "")
    for token, number in sorted(beyond.items(), key=lambda item: item[1]):
        if token in used or token not in special or token in templates:
            raise UserError(
                f"the tokenizer gives {token!r} the id {number}, but the embedding of {name} has only {rows} rows; "
                "use the tokenizer that belongs to the model, or an adapter that was saved with its new tokens."
            )
    if tokenizer.pad_token in beyond:
        tokenizer.pad_token = tokenizer.eos_token


def end_ids(tokenizer: Any, *models: tuple[str, str | None]) -> list[int]:
    """Return the ids of all end-of-sequence tokens: first the tokenizer's, which is trained, then those models name.

    Args:
        tokenizer: the model's tokenizer.
        models: name and revision of the model, or of the adapter and its base.
    """
    named = (end for name, revision in models for end in hub_files.ends_of(name, revision))
    return list(dict.fromkeys([tokenizer.eos_token_id, *named]))


def load_model(
    name: str,
    *,
    revision: str | None = None,
    load_in_4bit: bool = False,
    dtype: torch.dtype | None = None,
    place: torch.device | None = None,
) -> Any:
    """Load a causal language model from a folder, GGUF file or the Hub, in evaluation mode, on the best device.

    Args:
        name: folder, GGUF file or Hub id.
        revision: commit, tag or branch on the Hub.
        load_in_4bit: quantise to NF4 with double quantisation (QLoRA, arXiv 2305.14314).
        dtype: dtype of the weights, or of the computation of a 4-bit model; hardware.compute_dtype() when None.
        place: the device to use instead of the best one; on "meta" the model has no weights, and none are read.

    Raises:
        UserError: the model cannot be found or loaded, or its architecture is not known.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    name, dtype = local_model(name), dtype or hardware.compute_dtype()
    hardware.share_key_value_heads()
    with stated_errors("model", name):
        hub_files.check_model(name, revision)
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
            f"the weights of {name} lack {_listed(found['missing_keys'])}, which would be initialised at random; "
            "download it again, or save it again with all of its weights."
        )
    if load_in_4bit:
        keep_gradients_on_cpu(model)
    else:
        model.to(place or hardware.device())
    refuse_broken(model.eval(), f"the model {name}")
    refuse_looking_ahead(model, f"the model {name}")
    return model


@torch.no_grad()
def refuse_broken(model: Any, what: str, weights: Iterable[tuple[str, torch.Tensor]] | None = None) -> None:
    """Raise UserError where weights are not finite, or a forward pass of the model fails.

    Args:
        model: a model in evaluation mode, on its device.
        what: what the model is called at the start of the error message.
        weights: names and tensors, of any shape and dtype, to check; all weights of the model when None.
    """
    for name, weight in model.named_parameters() if weights is None else weights:
        if weight.is_floating_point() and weight.dtype.itemsize > 1 and weight.numel():
            least, most = torch.aminmax(weight.detach())
            if not torch.isfinite(most - least):
                raise UserError(
                    f"{what} is damaged: its weight {name} holds NaN or infinite values; download or train it again."
                )
    try:
        logits = model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device), use_cache=False).logits
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a wrong configuration can fail in any way
        raise UserError(f"{what} cannot be run ({first_line(error)}); check its config.json.") from None
    if torch.isnan(logits).any():
        raise UserError(f"{what} computes NaN; download it again, or use another one.")


@torch.no_grad()
def refuse_looking_ahead(model: Any, what: str) -> None:
    """Raise UserError where what is predicted after a token changes with the token that follows (BERT, XLNet).

    Args:
        model: in evaluation mode, on its device.
        what: which model it is, the beginning of a sentence.
    """
    words = len(model.get_input_embeddings().weight)
    one, two = (
        model(input_ids=torch.tensor([[0, following]], device=model.device), use_cache=False).logits[0, 0].float()
        for following in (words // 3, 2 * words // 3)
    )
    if float((one - two).norm()) > LOOKS_AHEAD * float((one - one.mean()).norm()):
        raise UserError(
            f"{what} ({model.config.model_type}) sees the token that it is to predict, so that no loss and no "
            "perplexity would mean anything; take a causal language model."
        )


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

    On CPUs with avx512_bf16, bitsandbytes 0.50 repacks a layer at the first forward pass in evaluation mode; from then
    on its gradients vanish and a merge dequantises garbage, without an error.
    """
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False


@contextlib.contextmanager
def stated_errors(what: str, name: str) -> Iterator[None]:
    """Turn the loaders' many errors into one-sentence messages, and hide their progress bars."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    if Path(name).is_dir() and not any((Path(name) / file).exists() for file in (CONFIG, TOKENIZER)):
        raise UserError(f"{name} holds no {what}; name a folder written by train.py or merge_lora.py, or a Hub id.")
    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError(
            f"the model {name} does not fit into GPU memory; load it in 4 bits, or use a smaller one."
        ) from None
    except (UserError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # third-party files make libraries fail in any way; a Rust panic is no Exception
        reason = first_line(error)
        if isinstance(error, SafetensorError):
            reason = f"its weights are damaged ({reason})"
        elif "safetensors" in reason:
            reason = "it has no safetensors weights, and pickled ones are not loaded"
        if "ignore_mismatched_sizes" in reason:
            reason = "its weights do not have the shapes that its config.json asks for"
        if "trust_remote_code" in reason or "custom code" in reason:
            reason = "it needs code from its repository, which codefit never runs"
        raise UserError(
            f"cannot load the {what} {name}: {reason}; check the name (for the base of an adapter, give "
            "--model_name_or_path), the network and `hf auth login`."
        ) from None


def load(name: str, *, base: str | None = None, load_in_4bit: bool = False) -> tuple[Any, Any]:
    """Return tokenizer and model of a base, a merged model, or an adapter with its base, ready to generate.

    `model.generation_config.eos_token_id` lists all end-of-sequence tokens, the trained one first.

    Args:
        name: folder or Hub id.
        base: base model of an adapter, instead of the one that it names.
        load_in_4bit: as for `load_model`.
    """
    if not hub_files.is_adapter(name):
        tokenizer, model = load_tokenizer(name), load_model(name, load_in_4bit=load_in_4bit)
        ends = end_ids(tokenizer, (name, None))
    else:
        folder = str(hub_files.adapter_folder(name))
        base, revision = hub_files.base_of(folder, base)
        tokenizer = load_tokenizer_of(folder, base, revision)
        model = attach_adapter(load_model(base, revision=revision, load_in_4bit=load_in_4bit), folder)
        ends = end_ids(tokenizer, (folder, None), (base, revision))
    fit_tokens(tokenizer, len(model.get_input_embeddings().weight), name)
    model.generation_config.eos_token_id = ends
    return tokenizer, model


def attach_adapter(model: Any, adapter: str, *, low_cpu_mem_usage: bool = False) -> Any:
    """Return the model with an adapter attached, in evaluation mode; `model.disable_adapter()` gives the base again."""
    from peft import PeftModel, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    config = model_files.adapter_config(Path(adapter) / ADAPTER_CONFIG)
    names = [name for name, _ in model.named_modules()]
    limited_process.try_patterns(config.patterns(), names, str(Path(adapter) / ADAPTER_CONFIG))
    try:
        grow(model, hub_files.rows_of(adapter))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # refused below
            attached = PeftModel.from_pretrained(model, adapter, low_cpu_mem_usage=low_cpu_mem_usage)
        # set once more by hand, since from_pretrained does not report unexpected tensors
        found = set_peft_model_state_dict(
            attached, load_peft_weights(adapter, device="cpu"), low_cpu_mem_usage=low_cpu_mem_usage
        )
    except KeyError as error:  # PEFT looks up fully trained layers and token rows by name
        missing = str(error.args[0])
        if "." not in missing:  # not a tensor but a kind of adapter
            raise UserError(
                f"cannot attach the adapter {adapter}: PEFT does not know {missing}; was it written by a newer version?"
            ) from None
        raise UserError(f"the adapter {adapter} lacks the tensor {missing}; download or train it again.") from None
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # third-party files make PEFT fail in any way
        reason = first_line(error)
        raise UserError(f"cannot attach the adapter {adapter}: {reason}; was it trained on another base?") from None
    unplaced = [name for name in found.unexpected_keys if name != "prompt_embeddings"]  # PEFT places those separately
    _refuse_misfit(adapter, attached.state_dict(keep_vars=True), found.missing_keys, unplaced)
    attached.eval()
    if not low_cpu_mem_usage:
        own = ((name, weight) for name, weight in attached.named_parameters() if _is_of_adapter(name))
        refuse_broken(attached, f"the adapter {adapter}", own)
    return attached


# Tensors that PEFT derives from others, so that no adapter file stores them.
DERIVED = ("vblora_vector_bank", "prompt_encoder", ".tinylora_v.", ".unilora_theta_d.")


def _refuse_misfit(
    adapter: str, tensors: dict[str, torch.Tensor], missing: Collection[str], unexpected: Collection[str]
) -> None:
    """Raise UserError unless the tensors of an adapter's file match those that its model needs.

    Args:
        adapter: the adapter's folder.
        tensors: tensors of the model with the adapter, by name, of any shape; a shared tensor has two names.
        missing: tensors of the model that are not in the file, including those of the base.
        unexpected: tensors of the file that the model does not have.
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
    """Return the number of tensors and the first one's name, as words."""
    first, *others = sorted(names)
    return f"the tensor {first}" if not others else f"{len(others) + 1} tensors, such as {first}"


def can_be_merged(adapted: Any) -> bool:
    """Return whether an adapter can be merged: a learned bias needs a layer of the base that has a bias."""
    for layer in adapted.modules():
        learned = getattr(layer, "lora_bias", None) or {}
        if any(learned.values()) and getattr(layer.get_base_layer(), "bias", None) is None:
            return False
    return True


def _is_of_adapter(name: str) -> bool:
    return "lora_" in name or "modules_to_save" in name or "trainable_tokens" in name


@torch.no_grad()
def grow(model: Any, rows: int) -> None:
    """Grow a model's vocabulary to at least `rows` tokens; new rows are the mean of all, the same in every process."""
    table = model.get_input_embeddings().weight
    had = len(table)
    if rows <= had:
        return
    if rows > had + MOST_NEW_TOKENS:
        raise UserError(
            f"the adapter trains token id {rows - 1}, but the base has {had} tokens; was it trained on another base?"
        )
    model.resize_token_embeddings(rows, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        for weight in (layer.weight, getattr(layer, "bias", None)):
            if weight is not None:
                weight[had:] = weight[:had].float().mean(0).to(weight.dtype)


def context_of(model: Any) -> int:
    """Return a model's context window in tokens; sys.maxsize where its architecture sets no limit."""
    return context_in(model.config)


def config_named(name: str, revision: str | None = None) -> Any:
    """Return the configuration of a folder, GGUF file or Hub id; no weights are read."""
    from transformers import AutoConfig

    name = local_model(name)
    with stated_errors("model", name):
        hub_files.check_model(name, revision)
        return AutoConfig.from_pretrained(name, revision=revision)


def hidden_size_in(model_config: Any) -> int | None:
    """Return the size of the hidden states that a configuration names; None if it names none."""
    size = getattr(model_config.get_text_config(), "hidden_size", None)
    return size if isinstance(size, int) and size > 0 else None


def context_in(model_config: Any) -> int:
    """Return the context window that a configuration names; sys.maxsize if it names none."""
    config = model_config.get_text_config()
    sizes = (getattr(config, name, None) for name in model_files.CONTEXTS)
    return next((size for size in sizes if isinstance(size, int) and size > 0), sys.maxsize)


def ends_in(model: Any) -> list[int]:
    """Return the end-of-sequence tokens of a model's generation_config."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    return list(ends) if isinstance(ends, list) else [] if ends is None else [ends]


def set_generation_defaults(model: Any, tokenizer: Any, ends: list[int] | None = None) -> None:
    """Make `generate` of the saved model greedy, end at all its end-of-sequence tokens and pad without a warning.

    Args:
        model: the model that is saved.
        tokenizer: its tokenizer, whose end-of-sequence token comes first.
        ends: all end-of-sequence tokens; those of the model's generation_config when None.
    """
    from transformers import GenerationConfig

    model.config.use_cache = True  # training switches it off
    ends = list(dict.fromkeys([tokenizer.eos_token_id, *(ends_in(model) if ends is None else ends)]))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
    )


def save(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype) -> None:
    """Write a model, rounded to dtype, and its tokenizer; the model in memory is not changed."""
    rounded = model if model.dtype == dtype else copy.deepcopy(model).to(dtype)
    rounded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
