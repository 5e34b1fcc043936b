"""LoRA matrices initialised from data: EVA for what is learned, CorDA for what is preserved.

EVA (arXiv 2410.07170) begins in the directions of which the inputs of a layer have most, on the training data. CorDA in
its knowledge-preserved mode (arXiv 2406.05223) begins in the directions that matter least for other data, so that what
a base knows of these is changed last; it takes them out of the base's weights, as PiSSA does.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from codefit.errors import UserError

INITS = EVA, CORDA = "eva", "corda"
DAMPING = 0.01  # of the mean variance, so that directions without any can be divided by it
Row = dict[str, torch.Tensor]  # input_ids, shape (1, tokens), int64


@dataclasses.dataclass(frozen=True, slots=True)
class Directions:
    """A part of a layer, by the names that PEFT reads: U, shape (out, rank), S, (rank,), and V, (in, rank), float32."""

    U_WC: torch.Tensor
    S_WC: torch.Tensor
    V_WC: torch.Tensor


def config_of(init: str) -> dict[str, Any]:
    """Return what a LoraConfig needs in addition for an initialisation. EVA keeps the rank of every layer."""
    from peft.tuners.lora.config import CordaConfig, EvaConfig

    if init == EVA:
        return {"eva_config": EvaConfig(rho=1.0, use_label_mask=False)}
    return {"corda_config": CordaConfig(corda_method="kpm")} if init == CORDA else {}


def begin(model: Any, config: Any, rows: Sequence[Row], init: str) -> Any:
    """Return a model with LoRA matrices initialised from the rows, by a LoraConfig with `config_of(init)`.

    Raises:
        UserError: the rows are too few.
    """
    from peft import get_peft_model

    refuse_few(rows, config.r, init)
    if init == CORDA:
        everywhere = config.target_modules == "all-linear"
        prepare_corda(model, linear_layers(model) if everywhere else list(config.target_modules), rows, config.r)
    adapted = get_peft_model(model, config)
    if init == EVA:
        begin_with_eva(adapted, rows)
    return adapted


def linear_layers(model: Any) -> list[str]:
    """Return the names of the linear layers except the output layer, as PEFT's "all-linear" means them."""
    head = model.get_output_embeddings()
    found = (
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    )
    return sorted({name.rpartition(".")[2] for name in found})


def refuse_few(rows: Sequence[Row], rank: int, init: str) -> None:
    """Raise UserError where the data have fewer tokens than the matrices have rows."""
    longest = max((row["input_ids"].shape[1] for row in rows), default=0)
    if longest < rank:
        raise UserError(
            f"--init_lora_weights {init} needs rows of at least --lora_r {rank} tokens, but the longest row of the "
            f"data has {longest}; prepare more files, or omit the flag."
        )


@torch.no_grad()
def prepare_corda(model: Any, targets: Sequence[str], rows: Sequence[Row], rank: int) -> None:
    """Give every target layer the directions that matter least for the rows, which PEFT makes its matrices of.

    PEFT's own code for this needs a package that PEFT does not install.

    Args:
        model: the base.
        targets: names of layers.
        rows: of the data that are to be kept.
        rank: directions of a layer.
    """
    covariances: dict[torch.nn.Module, torch.Tensor] = {}

    def add(layer: torch.nn.Module, given: tuple[torch.Tensor, ...], _: Any) -> None:
        seen = given[0].flatten(0, -2).float()
        covariances[layer] = covariances.get(layer, 0) + seen.T @ seen

    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] in targets
    ]
    hooks = [layer.register_forward_hook(add) for layer in layers]
    for row in rows:
        model(input_ids=row["input_ids"].to(model.device), use_cache=False)
    for hook in hooks:
        hook.remove()
    for layer, covariance in covariances.items():
        layer.eigens = _least(layer.weight.float(), covariance, rank)  # type: ignore[operator, arg-type, assignment]


def _least(weight: torch.Tensor, covariance: torch.Tensor, rank: int) -> Directions:
    """Return the last singular triples of W C, with V divided by C, so that U S V is a part of W.

    Args:
        weight: W, shape (out, in), float32.
        covariance: of the inputs, C, shape (in, in), float32.
        rank: how many.
    """
    covariance = covariance / covariance.diagonal().mean()
    damped = covariance + DAMPING * torch.eye(len(covariance), device=covariance.device)
    left, values, right = torch.linalg.svd(weight @ damped, full_matrices=False)
    least = torch.linalg.solve(damped, right[-rank:].T)  # C is symmetric: V C^-1 = (C^-1 V^T)^T
    return Directions(left[:, -rank:], values[-rank:], least)


@torch.no_grad()
def begin_with_eva(model: Any, rows: Sequence[Row]) -> None:
    """Initialise a PEFT model's matrices with the principal directions of the rows; the result is a plain LoRA."""
    from peft import initialize_lora_eva_weights

    initialize_lora_eva_weights(
        model,
        rows,
        forward_fn=lambda model, inputs: model(**inputs, use_cache=False),
        gather_distributed_inputs=False,  # every process has the same rows
        show_progress_bar=False,
    )
    config = model.peft_config["default"]
    config.init_lora_weights, config.eva_config = True, None
