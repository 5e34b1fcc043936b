"""Orthogonal subspace fine-tuning (OSF, arXiv 2504.07097): full fine-tuning that protects what the base has learned.

The weight of each linear layer is split by its singular values. The directions of the largest are frozen; the rest is
trained, orthogonal to them. The result is an ordinary model: the trained part is merged into the weights.
"""

from typing import Any

import torch

from codefit import private_apis
from codefit.errors import UserError, first_line


def begin(model: Any, effective_rank: float) -> Any:
    """Return the model with its linear layers split, and only the part outside the frozen directions trainable.

    Embeddings, norms, biases and the output layer are frozen, too.

    Args:
        model: the base model, float32.
        effective_rank: share of the singular directions of each weight that is frozen, above 0 and below 1.

    Raises:
        UserError: the model has no linear layers, or one that is too small to be split.
    """
    from peft import OSFConfig, get_peft_model

    config = OSFConfig(target_modules="all-linear", effective_rank=effective_rank, task_type="CAUSAL_LM")
    try:
        split = get_peft_model(model, config)
    except ValueError as error:
        raise UserError(
            f"this model cannot be split for --osf_effective_rank ({first_line(error)}); leave it out."
        ) from None
    if not _layers(split):
        raise UserError(
            f"--osf_effective_rank splits linear layers, and the architecture {model.config.model_type} has none that "
            "PEFT can split; leave it out."
        )
    return split


def is_split(model: Any) -> bool:
    """Return whether `begin` has split a model."""
    return str(getattr(model, "peft_type", "")).endswith("OSF")


@torch.no_grad()
def project(model: Any) -> None:
    """Remove what an optimizer step has added along the frozen directions.

    PEFT projects the gradients. Adam scales each number of a gradient separately, which turns it back towards them.
    """
    for layer in _layers(model):
        trained = layer.osf_svd_params["default"]
        left, right = private_apis.projections_of_osf(layer, "default")
        trained["U_low"].copy_(left(trained["U_low"]))
        trained["V_low"].copy_(right(trained["V_low"]))


def _layers(model: Any) -> list[Any]:
    from peft.tuners.osf.layer import OSFLayer

    return [module for module in model.modules() if isinstance(module, OSFLayer)]
