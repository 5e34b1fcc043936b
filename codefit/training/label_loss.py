"""The loss of tokens with a label: logits only where there are labels, weights of samples, label smoothing."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from codefit.encoding import IGNORE


class LabelOnlyHead:
    """Passes only the hidden states of positions with a label to the output layer.

    With one label in ten tokens and a vocabulary of 50,000, the logits are the largest tensor of a step, and nine
    tenths of them would not be used. The selection is a hook of the output layer, so that it works in every wrapper.
    """

    def __init__(self, model: Any) -> None:
        self.positions: torch.Tensor | None = None
        model.get_output_embeddings().register_forward_pre_hook(self._select)

    def _select(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Return of hidden states, shape (batch, tokens, hidden), those at the positions, shape (positions, hidden)."""
        if self.positions is None:
            return None
        return (inputs[0].flatten(0, 1)[self.positions], *inputs[1:])

    @contextlib.contextmanager
    def only(self, positions: torch.Tensor) -> Iterator[None]:
        """Within the block, logits have shape (len(positions), vocabulary).

        Args:
            positions: indices into the flattened batch, shape (labels,), int64.
        """
        self.positions = positions
        try:
            yield
        finally:
            self.positions = None


def token_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None,
    smoothing: float,
    count: torch.Tensor | int | None,
) -> torch.Tensor:
    """Return the cross entropy with weighted and smoothed labels in nats, shape (): their sum, divided by `count`.

    Args:
        logits: shape (..., vocabulary).
        labels: int64, shape (...); IGNORE has no loss.
        weights: of the labels, float32, shape (...); None: all 1.
        smoothing: share of the target probability that is spread evenly over the vocabulary.
        count: labels of the whole optimizer step; None: those of this batch.
    """
    flat = labels.flatten().to(logits.device)
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), flat, ignore_index=IGNORE, reduction="none", label_smoothing=smoothing
    )
    total = losses.sum() if weights is None else losses @ weights.flatten().to(losses)
    return total / ((flat != IGNORE).sum() if count is None else count)
