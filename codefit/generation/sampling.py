"""Several completions of one prompt by sampling or beam search: temperature, top-k, top-p, beams.

For trying a model by hand; a benchmark uses batched.py. Decoding is done by Transformers, without the defaults of the
model's generation_config: an option that is not given is off.
"""

from collections.abc import Sequence
from typing import Any

import torch

from codefit.generation.batched import Completion
from codefit.generation.decoding import Decoding


@torch.inference_mode()
def sample(
    model: Any, prompt: Sequence[int], how: Decoding, *, max_new_tokens: int, eos_ids: Sequence[int], pad_id: int
) -> list[Completion]:
    """Return completions of a prompt; those of beam search come in the order of their likelihood.

    Args:
        model: a causal language model in eval mode.
        prompt: token ids, at least one.
        how: how the next token is chosen.
        max_new_tokens: limit of new tokens.
        eos_ids: tokens that end a completion; they are not part of it.
        pad_id: any valid token id; it does not change the result.
    """
    from transformers import GenerationConfig, set_seed

    ends = {"eos_token_id": list(eos_ids), "pad_token_id": pad_id}
    sampled = {"temperature": how.temperature or 1.0, "top_k": how.top_k or 0, "top_p": how.top_p or 1.0}
    config = GenerationConfig(
        do_sample=how.samples,
        num_beams=how.num_beams,
        num_return_sequences=how.num_return_sequences,
        max_new_tokens=max_new_tokens,
        **ends,
        **(sampled if how.samples else {}),
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
    """Return a row cut at its end-of-sequence; what follows is padding."""
    end = next((at for at, token in enumerate(row) if token in eos_ids), None)
    return Completion(row, "length") if end is None else Completion(row[:end], "stop")
