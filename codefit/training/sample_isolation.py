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
    """Return whether samples may share a row, with a note where they may not; on the meta device this is not tested."""
    if model.device.type == "meta" or isolates(model):
        return True
    if distributed.is_first_process():
        console.show(
            f"note: packed samples would attend to each other in this model ({model.config.model_type}): "
            "each row holds one sample"
        )
    return False


@torch.no_grad()
def isolates(model: Any) -> bool:
    """Return whether samples that are packed into one row cannot attend to each other.

    Two short samples are packed in both orders. Attention is causal, so the first sample of a row is unaffected by the
    second; each sample must get the same logits in second place. Both rows have the same shape, so rounding is equal.

    Args:
        model: a model with weights, on its device.
    """
    words = len(model.get_input_embeddings().weight)
    ids = torch.arange(1, 2 * SAMPLE_TOKENS + 1) * words // (2 * SAMPLE_TOKENS + 1)
    ours, others = ids.to(model.device).split(SAMPLE_TOKENS)
    positions = torch.arange(SAMPLE_TOKENS, device=model.device).repeat(2)[None]
    was_training = model.training
    model.eval()
    one, two = (
        model(input_ids=torch.cat(pair)[None], position_ids=positions, use_cache=False).logits[0].float()
        for pair in ((ours, others), (others, ours))
    )
    model.train(was_training)
    tolerance = TOLERANCE.get(model.dtype, TOLERANCE_16_BITS)
    return all(_difference(first[0], second[SAMPLE_TOKENS]) <= tolerance for first, second in ((one, two), (two, one)))


def _difference(alone: torch.Tensor, packed: torch.Tensor) -> float:
    """Return the distance between two rows of logits, relative to the spread of the first around its mean.

    Args:
        alone: shape (vocabulary,), float32.
        packed: the same.
    """
    share = (packed - alone).norm() / (alone - alone.mean()).norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float(share)
