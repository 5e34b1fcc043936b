"""Which weights of a base model are trained (LoRA in its variants, or all of them), and how they are saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codefit.errors import UserError, first_line
from codefit.model_files import ADAPTER_WEIGHTS
from codefit.modeling import data_driven, hub_files, loading, merging, osf

# Where PEFT refuses to adapt the output projection, since Mamba's kernels read its weights themselves.
KEEP_OUT_PROJ = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")


def add_lora(
    model: Any,
    *,
    r: int,
    alpha: float,
    dropout: float,
    targets: str | list[str],
    use_rslora: bool = False,
    use_dora: bool = False,
    init: str = "default",
    new_tokens: list[int] | None = None,
    rows: Sequence[data_driven.Row] = (),
) -> Any:
    """Return the model with new LoRA matrices, ready for training.

    The matrices are float32, whatever the dtype of the base. A base quantised to 4 bits is prepared for QLoRA.

    Args:
        model: the base model.
        r: rank.
        alpha: the scale is alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv 2312.03732).
        dropout: dropout probability of the input of the matrices.
        targets: names of modules, or "all-linear".
        use_rslora: use the rank-stabilised scale.
        use_dora: train magnitude and direction separately (arXiv 2402.09353).
        init: how the matrices are initialised; "loftq" needs a call of `initialise_with_loftq` afterwards.
        new_tokens: token ids whose rows of the input embedding are trained too.
        rows: of data that "eva" and "corda" look at.

    Raises:
        UserError: the target modules do not exist in this model.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if getattr(model, "is_loaded_in_4bit", False):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    linear = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    kept = ["out_proj"] if targets == "all-linear" and model.config.model_type in KEEP_OUT_PROJ else None
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT accepts a float too
        lora_dropout=dropout,
        target_modules=targets,
        exclude_modules=kept,
        use_rslora=use_rslora,
        use_dora=use_dora,
        init_lora_weights=True if init in ("default", "loftq") else init,  # type: ignore[arg-type]
        trainable_token_indices=new_tokens or None,
        task_type="CAUSAL_LM",
        bias="none",
        **data_driven.config_of(init),
    )
    try:
        return (
            data_driven.begin(model, config, rows, init) if init in data_driven.INITS else get_peft_model(model, config)
        )
    except ValueError as error:
        raise UserError(
            f"--lora_target_modules: {first_line(error)}; choose among the linear layers {', '.join(sorted(linear))}."
        ) from None


@torch.no_grad()
def initialise_with_loftq(model: Any, name: str, revision: str | None) -> None:
    """Initialise the LoRA matrices of a 4-bit model with the quantisation error, as one step of LoftQ does.

    The quantised base does not change, so that the adapter fits every 4-bit copy of it. The matrices hold the largest
    singular values of W - NF4(W), divided by LoRA's scale (arXiv 2310.08659, algorithm 1 with one alternation).

    Raises:
        UserError: the weights before quantisation cannot be read.
    """
    import bitsandbytes
    from peft.tuners.lora import Linear4bit

    whole = loading.load_model(name, revision=revision, place=torch.device("cpu"))
    for path, layer in model.get_base_model().named_modules():
        if not isinstance(layer, Linear4bit):
            continue
        kept = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
        lost = whole.get_submodule(path).weight.to(kept.device).float() - kept
        left, values, right = torch.linalg.svd(lost, full_matrices=False)
        rank = layer.r["default"]
        root = values[:rank].sqrt()
        layer.lora_A["default"].weight.copy_(root[:, None] * right[:rank])
        layer.lora_B["default"].weight.copy_(left[:, :rank] * root / layer.scaling["default"])


def all_weights(model: Any, osf_effective_rank: float | None = None) -> Any:
    """Return the model with all weights trainable, in float32: bfloat16 rounds away most updates of a small rate.

    With `osf_effective_rank`, only what `osf.begin` leaves trainable.
    """
    model = model.float().requires_grad_(True)
    return model if osf_effective_rank is None else osf.begin(model, osf_effective_rank)


# ---------------------------------------------------------------------------------------------- saving


def save_initial_matrices(model: Any, folder: Path) -> None:
    """Write the initial matrices, which `save` needs where the initialisation changed the base (PiSSA and others).

    Raises:
        UserError: the folder holds the initial matrices of a stopped run, and they differ from these.
    """
    from safetensors.torch import load_file

    stored = folder / ADAPTER_WEIGHTS
    had = load_file(stored) if stored.is_file() else None
    model.save_pretrained(folder)
    if had is None:
        return
    now = load_file(stored)
    if any(not torch.equal(had[name], now[name]) for name in had):
        raise UserError(
            f"on this machine the initialisation differs from that of the stopped run in {folder.parent}; "
            "continue on the machine where it was started, or add --overwrite to start again."
        )


def save(
    model: Any, folder: Path, base: str, revision: str | None, beginning: Path | None = None, weights: Any = None
) -> None:
    """Write the adapter into a folder as a standard PEFT adapter of its base model.

    Args:
        model: the trained PEFT model.
        folder: the folder to write to.
        base: name of the base model.
        revision: revision of the base, used where its commit on the Hub is not known.
        beginning: the folder written by `save_initial_matrices`. The difference from those initial matrices is written
            as a LoRA of twice the rank, which fits the unchanged base.
        weights: the state dict, where it had to be gathered from several processes.
    """
    config = model.peft_config["default"]
    config.base_model_name_or_path = base
    if isinstance(config.target_modules, set):  # so that the same run gives the same file
        config.target_modules = sorted(config.target_modules)
    config.revision = hub_files.commit_of(base, revision) or revision
    more: dict[str, Any] = {"save_embedding_layers": False} | ({} if weights is None else {"state_dict": weights})
    if beginning is not None:
        more["path_initial_model_for_weight_conversion"] = str(beginning)
    model.save_pretrained(folder, **more)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card is a form that nobody has filled in


def save_whole(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype, weights: Any = None) -> None:
    """Write a full model in the given dtype, with its tokenizer and the defaults of `generate`.

    The arguments are those of `save`.
    """
    if osf.is_split(model):
        model = merging.merge_in_memory(model)
    loading.set_generation_defaults(model, tokenizer)
    if weights is None:
        loading.save(model, tokenizer, folder, dtype)
    else:
        tied = model.all_tied_weights_keys  # a tied output layer was gathered twice
        kept = {name: tensor.to(dtype) for name, tensor in weights.items() if name not in tied}
        model.save_pretrained(folder, state_dict=kept)
        tokenizer.save_pretrained(folder)
