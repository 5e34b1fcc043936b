"""Nucleus sampling for whole batches: temperature and top-p, with a result that does not depend on the batch.

Each prompt has its own random numbers, one per token, derived only from the seed and its token ids. A number picks a
token by cumulative probability, the likeliest token first (arXiv 1904.09751). So a sample depends neither on the other
prompts nor on the batching, apart from rounding of the probabilities.
"""

import dataclasses
import hashlib
import random
from collections.abc import Sequence

import torch


@dataclasses.dataclass(frozen=True, slots=True)
class Nucleus:
    """How tokens are sampled.

    Attributes:
        temperature: logits are divided by it; above 0.
        top_p: sample among the likeliest tokens that together have this probability; above 0, at most 1.
        seed: seed of the random numbers.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    @property
    def name(self) -> str:
        """Its name in signatures and cache keys."""
        return f"t{self.temperature},p{self.top_p},seed{self.seed}"

    def numbers(self, prompt: Sequence[int]) -> random.Random:
        """Return the random number generator of a prompt, given as token ids."""
        digest = hashlib.blake2b(f"{self.seed}\0{list(prompt)}".encode(), digest_size=8).digest()
        return random.Random(digest)

    def draw(self, logits: torch.Tensor, numbers: Sequence[float]) -> torch.Tensor:
        """Sample a token for each row.

        Args:
            logits: shape (rows, vocabulary), any floating-point dtype.
            numbers: one random number in [0, 1) per row.

        Returns:
            token ids, shape (rows,), int64.
        """
        shares, tokens = (logits.float() / self.temperature).softmax(-1).sort(descending=True, stable=True)
        sums = shares.cumsum(-1)
        inside = sums - shares < self.top_p  # a token is included while the likelier ones have not reached top_p
        total = (shares * inside).sum(-1, keepdim=True)
        wanted = torch.tensor(numbers, dtype=sums.dtype, device=sums.device)[:, None] * total
        places = (sums <= wanted).sum(-1, keepdim=True).minimum(inside.sum(-1, keepdim=True) - 1)
        return tokens.gather(-1, places)[:, 0]
