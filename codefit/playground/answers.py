"""Greedy completions of a model, and of its base where it is an adapter, with the probability of every token."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from codefit.encoding import Encoder
from codefit.modeling import loading

ALTERNATIVES = 3  # tokens that are listed for a place, the likeliest first


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One token of a completion.

    Attributes:
        text: what it adds to the text; "" where a character is not complete yet.
        probability: of this token at its place, 0 to 1.
        others: the likeliest tokens at this place, this one included, with their probabilities.
    """

    text: str
    probability: float
    others: tuple[tuple[str, float], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The completion of one model; `stopped` tells whether it ended by itself."""

    label: str
    tokens: tuple[Token, ...]
    stopped: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Models:
    """A loaded model with its encoder; `names` has one name, or those of base and adapter."""

    model: Any
    encoder: Encoder
    names: tuple[str, ...]

    def answers(self, prompt: str, suffix: str | None, max_new_tokens: int) -> list[Answer]:
        """Return a completion of every model, the base first.

        Raises:
            UserError: a suffix is given and the model has no fill-in-the-middle.
        """
        ids = self.encoder.prompt_ids(prompt, suffix) or [self.encoder.eos_id]
        room = loading.context_of(self.model) - len(ids)
        found = []
        for number, name in enumerate(self.names):
            is_base = number < len(self.names) - 1
            with self.model.disable_adapter() if is_base else contextlib.nullcontext():
                found.append(answer(self.model, self.encoder, name, ids, min(max_new_tokens, room)))
        return found


@torch.inference_mode()
def answer(model: Any, encoder: Encoder, label: str, prompt: Sequence[int], max_new_tokens: int) -> Answer:
    """Return the greedy completion of a prompt, as token ids."""
    from transformers import GenerationConfig

    ends = {"eos_token_id": list(encoder.eos_ids), "pad_token_id": encoder.pad_id}
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, output_logits=True, return_dict_in_generate=True, **ends
    )
    ids = torch.tensor([list(prompt)], device=model.device)
    own, model.generation_config = model.generation_config, GenerationConfig(**ends)
    try:
        written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    finally:
        model.generation_config = own
    chosen = written.sequences[0, len(prompt) :].tolist()
    end = next((at for at, token in enumerate(chosen) if token in encoder.eos_ids), None)
    kept = chosen if end is None else chosen[:end]
    texts = pieces(encoder, kept)
    tokens = [
        _token(encoder, id, text, logits[0]) for id, text, logits in zip(kept, texts, written.logits, strict=False)
    ]
    return Answer(label, tuple(tokens), end is not None)


def pieces(encoder: Encoder, ids: Sequence[int]) -> list[str]:
    """Return what each token adds to the text; the token that completes a character adds all of it."""
    found: list[str] = []
    done = ""
    for at in range(len(ids)):
        text = encoder.decode(ids[: at + 1])
        whole = text.removesuffix("\N{REPLACEMENT CHARACTER}") if at < len(ids) - 1 else text
        found.append(whole[len(done) :] if whole.startswith(done) else "")
        done = whole if whole.startswith(done) else done
    return found


def _token(encoder: Encoder, id: int, text: str, logits: torch.Tensor) -> Token:
    """Return a token with its probability, from the logits at its place, shape (vocabulary,)."""
    probabilities = torch.softmax(logits.float(), dim=-1)
    best = torch.topk(probabilities, min(ALTERNATIVES, len(probabilities)))
    others = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    named = tuple((_name(encoder, other), round(value, 4)) for other, value in others)
    return Token(text, round(float(probabilities[id]), 4), named)


def _name(encoder: Encoder, id: int) -> str:
    return "end of text" if id in encoder.eos_ids else encoder.decode([id])
