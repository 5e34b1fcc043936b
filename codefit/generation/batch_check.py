"""Batch check: how many completions would change if they were decoded in other batches.

Rounding depends on the shape of a batch, and can decide between two tokens that are about equally likely. That is very
rare in float32, and concerns some per cent of the completions in 16 bits.

Nothing is decoded again. One forward pass over a prompt with its completion gives the choice at every position; where
all choices are those of the completion, decoding in that batch would give the same completion, and otherwise not.
"""

from collections.abc import Sequence
from typing import Any

import torch

from codefit.generation.batched import Completion, batches
from codefit.generation.kv_cache import left_padded
from codefit.generation.nucleus import Nucleus
from codefit.generation.prediction_cache import PredictionCache
from codefit.generation.stopping import StopRule

ROWS = 4  # per batch
# A check costs as much as a prefill, so a quarter of the prompts are checked, within these limits.
FEWEST, MOST = 8, 32


def sample(count: int) -> list[int]:
    """Return the indices of the prompts that are checked, evenly spread over `count`."""
    size = min(count, max(FEWEST, min(count // 4, MOST)))
    return [at * count // size for at in range(size)]


def flips(
    model: Any,
    prompts: Sequence[list[int]],
    completions: Sequence[Completion],
    *,
    eos_ids: Sequence[int],
    pad_id: int,
    stop: StopRule | None = None,
    nucleus: Nucleus | None = None,
    cache: PredictionCache | None = None,
) -> tuple[int, int]:
    """Return how many completions of a sample change in batches of ROWS, and the sample size.

    Args:
        model: the model that generated the completions, in eval mode.
        prompts: the prompts, as token ids.
        completions: the completion of each prompt.
        eos_ids: tokens that end a completion.
        pad_id: any valid token id; it does not change the result.
        stop: the stop condition that the completions were generated with.
        nucleus: how their tokens were sampled; decoding was greedy when None.
        cache: earlier results of this model; batches found in it are not computed again, others are added.
    """
    checked = sample(len(prompts))
    changed = 0
    longest = max((len(prompts[at]) + len(completions[at].ids) for at in checked), default=0)
    for part in batches([len(prompts[at]) + len(completions[at].ids) for at in checked], ROWS * longest):
        batch = [checked[at] for at in part]
        rows = [(prompts[at], completions[at].ids) for at in batch]
        request = {"kind": "choices", "rows": rows, "nucleus": nucleus and nucleus.name}
        chosen = cache.get(request) if cache else None
        if chosen is None:
            chosen = _choices(model, rows, nucleus, pad_id)
            if cache:
                cache.put(request, chosen)
        same = (_is_same(completions[at], choice, eos_ids, stop) for at, choice in zip(batch, chosen, strict=True))
        changed += len(batch) - sum(same)
    return changed, len(checked)


@torch.inference_mode()
def _choices(
    model: Any, rows: Sequence[tuple[list[int], list[int]]], nucleus: Nucleus | None, pad_id: int
) -> list[list[int]]:
    """Return for each (prompt, completion) the token chosen at every position of the completion and after it."""
    width = max(len(completion) for _, completion in rows) + 1
    texts = left_padded([prompt + completion for prompt, completion in rows], pad_id, model.device)
    found = []
    for (prompt, completion), logits in zip(rows, texts.forward(model, None, logits_to_keep=width), strict=True):
        own = logits[width - len(completion) - 1 :]
        if nucleus:
            numbers = nucleus.numbers(prompt)
            found.append(nucleus.draw(own, [numbers.random() for _ in own]).tolist())
        else:
            found.append(own.argmax(-1).tolist())
    return found


def _is_same(completion: Completion, chosen: list[int], eos_ids: Sequence[int], stop: StopRule | None) -> bool:
    """Return whether decoding that makes these choices gives the completion, with the same end."""
    if chosen[:-1] != completion.ids:
        return False
    by_rule = stop is not None and bool(completion.ids) and stop.has_ended(completion.ids)
    return completion.finish_reason == "length" or by_rule or chosen[-1] in eos_ids
