"""What of a base is trained: LoRA in its variants, or all weights; and how that is saved."""

from pathlib import Path
from typing import Any

import torch

from codefit.errors import UserError, first_line
from codefit.modeling import hub_files, loading

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
) -> Any:
    """Return the model with new LoRA matrices, ready for training.

    The matrices are float32, whatever the base is in. A base quantised to 4 bits is prepared as QLoRA needs it.

    Args:
        model: the base.
        r: rank.
        alpha: the scale is alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv 2312.03732).
        dropout: in front of the matrices.
        targets: names of modules, or "all-linear".
        use_rslora: rank-stabilised scale.
        use_dora: magnitude and direction apart (arXiv 2402.09353).
        init: how the matrices begin; "loftq" needs `begin_with_loftq` afterwards.
        new_tokens: ids whose rows of the input embedding are trained too.

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
        lora_alpha=alpha,  # type: ignore[arg-type]  # a float does too
        lora_dropout=dropout,
        target_modules=targets,
        exclude_modules=kept,
        use_rslora=use_rslora,
        use_dora=use_dora,
        init_lora_weights=True if init in ("default", "loftq") else init,  # type: ignore[arg-type]
        trainable_token_indices=new_tokens or None,
        task_type="CAUSAL_LM",
        bias="none",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(
            f"--lora_target_modules: {first_line(error)}; choose among the linear layers {', '.join(sorted(linear))}."
        ) from None


@torch.no_grad()
def begin_with_loftq(model: Any, name: str, revision: str | None) -> None:
    """Let the LoRA matrices of a 4-bit model begin with what quantising has lost, as LoftQ does in one step.

    The base stays as NF4 makes it, so that the adapter fits every 4-bit copy of it. Of W - NF4(W) the largest singular
    values are taken, divided by LoRA's scale (arXiv 2310.08659, algorithm 1 with one alternation).

    Raises:
        UserError: the weights before quantising cannot be read.
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


def all_weights(model: Any) -> Any:
    """Return the model with every weight trained, in float32: bfloat16 would lose most steps of a small rate."""
    return model.float().requires_grad_(True)


# ---------------------------------------------------------------------------------------------- saving


def keep_beginning(model: Any, folder: Path) -> None:
    """Write the matrices as they begin, for `save`, where the base was changed to fit them.

    Raises:
        UserError: the folder holds the beginning of a stopped run, and this one begins differently.
    """
    from safetensors.torch import load_file

    stored = folder / "adapter_model.safetensors"
    had = load_file(stored) if stored.is_file() else None
    model.save_pretrained(folder)
    if had is None:
        return
    now = load_file(stored)
    if any(not torch.equal(had[name], now[name]) for name in had):
        raise UserError(
            f"on this machine the initialisation differs from that of the stopped run in {folder.parent}; "
            "continue where it was started, or add --overwrite to start anew."
        )


def save(
    model: Any, folder: Path, base: str, revision: str | None, beginning: Path | None = None, weights: Any = None
) -> None:
    """Write the adapter into a folder as a standard PEFT adapter of its base.

    Args:
        model: the trained PEFT model.
        folder: where to.
        base: name of the base.
        revision: of the base, where its commit on the Hub is not known.
        beginning: what `keep_beginning` wrote. What was learned since then is written as a LoRA of twice the rank,
            which fits the base as everybody has it.
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


def save_whole(model: Any, tokenizer: Any, folder: Path, dtype: torch.dtype, weights: Any = None) -> None:
    """Write a whole model in a type, with its tokenizer and the defaults of `generate`.

    Args: as for `save`.
    """
    loading.set_generation_defaults(model, tokenizer)
    if weights is None:
        loading.save(model, tokenizer, folder, dtype)
    else:
        tied = model.all_tied_weights_keys  # an output layer that is the embedding was gathered twice
        kept = {name: tensor.to(dtype) for name, tensor in weights.items() if name not in tied}
        model.save_pretrained(folder, state_dict=kept)
        tokenizer.save_pretrained(folder)
