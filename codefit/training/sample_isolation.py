"""Whether samples that are packed into one row stay separate in a model. This is tested, not looked up by architecture.

In most architectures Transformers masks attention block by block where position ids restart. It cannot do so where
position ids are not an input (ALiBi, counted positions), or where layers carry a state or a convolution along the row
(Mamba, RWKV and their hybrids).
"""

from typing import Any

import torch

from codefit import console, distributed

SAMPLE_TOKENS = 8
# The relative change of the logits of a sample's first token that another sample before it may cause. In 25
# architectures with random weights it was 0 in those that isolate; in the others at least 1.6e-4 in float32 and 2.5e-3
# in bfloat16.
TOLERANCE = {torch.float32: 1e-5}
TOLERANCE_16_BITS = 1e-3


def may_pack(model: Any) -> bool:
    """Return whether samples may share a row, with a note where they may not; an outline is tested with any weights."""
    if isolates(with_any_weights(model) if model.device.type == "meta" else model):
        return True
    if distributed.is_first_process():
        console.show(
            f"note: packed samples would attend to each other in this model ({model.config.model_type}): "
            "each row holds one sample"
        )
    return False


def isolates(model: Any) -> bool:
    """Return whether samples that are packed into one row cannot attend to each other.

    Two short samples are packed in both orders. Attention is causal, so the first sample of a row is unaffected by the
    second; each sample must get the same logits in second place. Both rows have the same shape, so rounding is equal.
    An influence that rounding hides shows in the gradient of the logits by the other sample, which must be zero.

    Args:
        model: a model with weights, on its device.
    """
    words = len(model.get_input_embeddings().weight)
    ids = torch.arange(1, 2 * SAMPLE_TOKENS + 1) * words // (2 * SAMPLE_TOKENS + 1)
    ours, others = ids.to(model.device).split(SAMPLE_TOKENS)
    was_training = model.training
    model.eval()
    (one, _), (two, seen) = (_logits_and_gradient(model, torch.cat(pair)) for pair in ((ours, others), (others, ours)))
    model.train(was_training)
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE_16_BITS)
    same = all(_difference(first[0], second[SAMPLE_TOKENS]) <= tolerance for first, second in ((one, two), (two, one)))
    return same and not seen.any()


def _logits_and_gradient(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of two samples in one row, and how much the second sample's first token sees of the first.

    Args:
        model: in evaluation mode.
        ids: shape (2 * SAMPLE_TOKENS,).

    Returns:
        Logits, shape (2 * SAMPLE_TOKENS, vocabulary), float32; a gradient by the embeddings, shape (SAMPLE_TOKENS,
        width).
    """
    embedded: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        embedded.append(output.detach().requires_grad_())
        return embedded[0].clone()  # which the model may change in place

    positions = torch.arange(SAMPLE_TOKENS, device=ids.device).repeat(2)[None]
    handle = model.get_input_embeddings().register_forward_hook(keep)
    with torch.enable_grad():
        logits = model(input_ids=ids[None], position_ids=positions, use_cache=False).logits[0].float()
    handle.remove()
    direction = torch.linspace(-1, 1, logits.shape[-1], device=ids.device).sin()
    (gradient,) = torch.autograd.grad(logits[SAMPLE_TOKENS] @ direction, embedded[0])
    return logits.detach(), gradient[0, :SAMPLE_TOKENS]


def with_any_weights(outline: Any) -> Any:
    """Return a model like an outline, whose weights are random and take no memory: all are views of a few numbers.

    Whether samples are isolated depends only on the architecture, so a dry run knows it without the weights.
    """
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(outline.config, dtype=torch.float32).eval()
    draw = torch.Generator().manual_seed(0)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            module.register_parameter(name, torch.nn.Parameter(_view(weight.shape, draw), requires_grad=False))
    return model


def _view(shape: torch.Size, draw: torch.Generator) -> torch.Tensor:
    """Return random float32 numbers of a shape: entry (i, j) is number i + j, and experts are each other's neighbours.

    A stack of matrices takes the memory of one, since grouped products refuse rows that overlap.
    """
    strides = [1] * len(shape) if len(shape) < 3 else [*[1] * (len(shape) - 2), shape[-1], 1]
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    numbers = torch.randn(last + 1, generator=draw) / max(shape[-1:], default=1) ** 0.5
    view: torch.Tensor = numbers.as_strided(shape, strides)
    return view


def _difference(alone: torch.Tensor, packed: torch.Tensor) -> float:
    """Return the distance between two rows of logits, relative to the spread of the first around its mean.

    Args:
        alone: shape (vocabulary,), float32.
        packed: the same.
    """
    share = (packed - alone).norm() / (alone - alone.mean()).norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float(share)
