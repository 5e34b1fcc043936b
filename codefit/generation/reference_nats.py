"""The nats of references from the KV cache of their prompts, so that generation and likelihood share one prefill."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from codefit.generation import kv_cache
from codefit.generation.kv_cache import PaddedPrompts

TOKENS_AT_ONCE = kv_cache.TOKENS_AT_ONCE_ON_CPU  # also on a GPU, where it limits the memory of the logits


def after_prefill(
    model: Any, cache: Any, prompts: PaddedPrompts, logits: torch.Tensor, references: Sequence[list[int]]
) -> list[float]:
    """Return the nats of a reference after each prompt, 0 where it has no tokens; the cache is left as it was.

    Args:
        model: a causal language model in eval mode.
        cache: the cache after the prefill, with plain layers, and with room for the longest reference.
        prompts: the prompts of the cache.
        logits: those at their last tokens, shape (rows, vocabulary), in the model's dtype.
        references: token ids; the padding is least where rows next to each other are of about the same length.
    """
    found: list[float] = []
    start, size = prompts.mask.shape[1], max(1, TOKENS_AT_ONCE // max(1, *map(len, references)))
    for at in range(0, len(references), size):
        rows = slice(at, at + size)
        texts = _continued(prompts[rows], references[rows])
        width = texts.ids.shape[1]
        kv_cache.look_at(cache, rows, start)
        later = texts.forward(model, cache, logits_to_keep=width) if width else logits[rows, None][:, :0]
        for first, others, reference in zip(logits[rows], later, references[rows], strict=True):
            found.append(nats(torch.cat([first[None], others])[: len(reference)], reference))
    kv_cache.look_at(cache, slice(0, len(references)), start)
    return found


def nats(logits: torch.Tensor, tokens: Sequence[int]) -> float:
    """Return the negative log-likelihood of n tokens; logits of shape (n, vocabulary), any floating-point dtype."""
    target = torch.tensor(tokens, dtype=torch.long, device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits.float(), target, reduction="none").double().sum())


def entropies(logits: torch.Tensor) -> list[float]:
    """Return the entropy of each row's distribution in bits; logits of shape (rows, vocabulary), any floating dtype."""
    found: list[float] = []
    for row in logits:  # one at a time, since a large vocabulary in float32 takes memory
        logs = row.float().log_softmax(-1)
        found.append(float(-(logs.exp() * logs).sum() / math.log(2)))
    return found


def _continued(prompts: PaddedPrompts, references: Sequence[list[int]]) -> PaddedPrompts:
    """Return the references without their last tokens, padded on the right, as continuations of the prompts.

    Padding has the position of the last token before it: a model with an embedding for each position has no more of
    them than its context window.
    """
    width = max(0, max(map(len, references)) - 1)
    ids = [[*reference[:width], *[0] * (width - len(reference))] for reference in references]
    lengths = prompts.positions.new_tensor([[len(reference)] for reference in references])
    places = torch.arange(1, width + 1, device=lengths.device).minimum((lengths - 1).clamp(min=0))
    mask = torch.cat([prompts.mask, prompts.mask.new_ones(len(references), width)], dim=1)
    return PaddedPrompts(
        prompts.ids.new_tensor(ids).reshape(len(references), width), mask, prompts.positions[:, -1:] + places
    )
