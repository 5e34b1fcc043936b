"""How the next token is chosen, as a user asks for it. Needs no torch."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen.

    Attributes:
        temperature: logits are divided by it; None with no top_k and no top_p: greedy, or the best of the beams.
        top_k: sample among the k likeliest tokens.
        top_p: sample among the likeliest tokens that together have this probability (nucleus, arXiv 1904.09751).
        num_beams: keep this many of the likeliest completions at every token.
        num_return_sequences: how many completions; at most num_beams where there are beams.
        seed: of the samples; the same seed gives the same completions.
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
