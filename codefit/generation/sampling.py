"""Several completions of one prompt, drawn or searched: temperature, top-k, top-p, beams.

For a person who tries a model; the completions of a benchmark are generation.py's. The decoding is transformers'
own, with none of the defaults that a model's generation_config brings along: what is not asked for is off.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from codefit.generation.batched import Completion


@dataclasses.dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen.

    Attributes:
        temperature: logits are divided by it; None with no top_k and no top_p: greedy, or the best of the beams.
        top_k: draw among the k likeliest tokens.
        top_p: draw among the likeliest tokens that together have this probability (nucleus, arXiv 1904.09751).
        num_beams: keep this many of the likeliest completions at every token.
        num_return_sequences: how many completions; at most num_beams where there are beams.
        seed: of the draws; the same seed gives the same completions.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    num_beams: int = 1
    num_return_sequences: int = 1
    seed: int = 0

    @property
    def draws(self) -> bool:
        """Whether chance has a part."""
        return any(value is not None for value in (self.temperature, self.top_k, self.top_p))


@torch.inference_mode()
def sample(
    model: Any, prompt: Sequence[int], how: Decoding, *, max_new_tokens: int, eos_ids: Sequence[int], pad_id: int
) -> list[Completion]:
    """Return completions of a prompt; beams come with the likeliest first.

    Args:
        model: a causal language model in eval mode.
        prompt: token ids, at least one.
        how: how the next token is chosen.
        max_new_tokens: where a completion that does not stop is cut.
        eos_ids: tokens that end a completion; they are not part of it.
        pad_id: any valid id; what it is has no influence.
    """
    from transformers import GenerationConfig, set_seed

    ends = {"eos_token_id": list(eos_ids), "pad_token_id": pad_id}
    drawing = {"temperature": how.temperature or 1.0, "top_k": how.top_k or 0, "top_p": how.top_p or 1.0}
    config = GenerationConfig(
        do_sample=how.draws,
        num_beams=how.num_beams,
        num_return_sequences=how.num_return_sequences,
        max_new_tokens=max_new_tokens,
        **ends,
        **(drawing if how.draws else {}),
    )
    own, model.generation_config = model.generation_config, GenerationConfig(**ends)
    set_seed(how.seed)
    ids = torch.tensor([list(prompt)], device=model.device)
    try:
        written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    finally:
        model.generation_config = own
    return [_completion(row, frozenset(eos_ids)) for row in written[:, len(prompt) :].tolist()]


def _completion(row: list[int], eos_ids: frozenset[int]) -> Completion:
    """Cut a row at its end; what stands behind it is padding."""
    end = next((at for at, token in enumerate(row) if token in eos_ids), None)
    return Completion(row, "length") if end is None else Completion(row[:end], "stop")
