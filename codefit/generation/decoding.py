"""Decoding options of a user: how the next token is chosen. Does not import torch."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen. Where temperature, top_k and top_p are all None, decoding is greedy or beam search.

    Attributes:
        temperature: logits are divided by it.
        top_k: sample among the k likeliest tokens.
        top_p: sample among the likeliest tokens that together have this probability (nucleus, arXiv 1904.09751).
        num_beams: number of beams of beam search.
        num_return_sequences: number of completions; with beam search at most num_beams.
        seed: seed for sampling; the same seed gives the same completions.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    num_beams: int = 1
    num_return_sequences: int = 1
    seed: int = 0

    @property
    def samples(self) -> bool:
        """Whether tokens are sampled."""
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p))
