"""Many prompts to many completions, greedily and fast: length-sorted batches that rows leave when they have ended.

Prompts are padded on the left, so that every row of a batch writes its next token in the same column; the attention
mask and the positions hide the padding. The keys and values of a batch live in memory reserved once, where
transformers' own cache copies all of them at every token.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from codefit import cli

LEAVE_SHARE = 0.25  # rows that ended are taken out once they are this share of a batch: taking out copies the cache


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote: token ids without end-of-sequence, and why it ended: "stop" (by itself) or "length"."""

    ids: list[int]
    finish_reason: str


def generate(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    pad_id: int,
    tokens_per_batch: int = 16384,
    do_progress: bool = False,
) -> list[Completion]:
    """Return the greedy completion of each prompt, in the order of the prompts.

    Args:
        model: a causal language model in eval mode.
        prompts: token ids, at least one each.
        max_new_tokens: where a completion that does not stop is cut.
        eos_ids: tokens that end a completion; they are not part of it.
        pad_id: any valid id; what it is has no influence.
        tokens_per_batch: rows times (longest prompt + max_new_tokens) stays within this, but a batch has at least one.
        do_progress: show a progress bar.

    Raises:
        ValueError: a prompt has no tokens.
    """
    if not all(prompts):
        raise ValueError("a prompt without tokens cannot be continued")
    done = _completions(model, prompts, max_new_tokens, frozenset(eos_ids), pad_id, tokens_per_batch)
    found = dict(cli.progress(done, "generating", len(prompts), "prompt") if do_progress else done)
    return [found[index] for index in range(len(prompts))]


def batches(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Return batches of indices, the longest first, each of at most tokens_per_batch when padded to its longest.

    The longest come first, so that a batch that does not fit into memory fails at once and not after an hour.
    """
    result: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not result or (len(result[-1]) + 1) * lengths[result[-1][0]] > tokens_per_batch:
            result.append([])
        result[-1].append(index)
    return result


def left_padded(rows: Sequence[list[int]], pad_id: int, device: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ids, attention mask and position ids of rows aligned at their right end, each of shape (rows, longest)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def _completions(
    model: Any,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    eos_ids: frozenset[int],
    pad_id: int,
    tokens_per_batch: int,
) -> Iterator[tuple[int, Completion]]:
    """Yield (index, completion) as rows end."""
    for batch in batches([len(prompt) + max_new_tokens for prompt in prompts], tokens_per_batch):
        inputs = left_padded([prompts[index] for index in batch], pad_id, model.device)
        for row, completion in _batch(model, *inputs, max_new_tokens, eos_ids):
            yield batch[row], completion


def _batch(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    positions: torch.Tensor,
    max_new_tokens: int,
    eos_ids: frozenset[int],
) -> Iterator[tuple[int, Completion]]:
    """Yield (row, completion) of one batch as rows end. Shapes of ids, mask and positions: (rows, longest prompt)."""
    cache = _cache(model, ids.shape[1] + max_new_tokens)
    padded = not bool(mask.all())
    written: dict[int, list[int]] = {row: [] for row in range(len(ids))}
    rows = list(written)  # which row of the batch each row of the tensors is
    for _ in range(max_new_tokens):
        chosen = _next_tokens(model, ids, mask if padded else None, positions, cache)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if row in written and token in eos_ids:
                yield row, Completion(written.pop(row), "stop")
            elif row in written:
                written[row].append(token)
        if not written:
            return
        ids, positions = chosen[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(written) <= len(rows) * (1 - LEAVE_SHARE):
            kept = torch.tensor([at for at, row in enumerate(rows) if row in written], device=ids.device)
            rows = list(written)
            ids, mask, positions = ids[kept], mask[kept], positions[kept]
            cache.batch_select_indices(kept)
    for row, tokens in written.items():
        yield row, Completion(tokens, "length")


@torch.inference_mode()
def _next_tokens(
    model: Any, ids: torch.Tensor, mask: Any, positions: torch.Tensor, cache: DynamicCache
) -> torch.Tensor:
    """Return the likeliest next token of each row, shape (rows,)."""
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    token: torch.Tensor = output.logits[:, -1].argmax(-1)
    return token


def _cache(model: Any, length: int) -> DynamicCache:
    cache = DynamicCache(config=model.config)
    cache.layers = [_ReservedLayer(length) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class _ReservedLayer(DynamicLayer):
    """Keys and values of one layer, in memory reserved for the whole length. Shape (rows, heads, length, head size)."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Append the states of new tokens, and return those of all tokens so far."""
        start = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.memory = [self._reserve(key_states), self._reserve(value_states)]
        end = start + key_states.shape[2]
        for memory, states in zip(self.memory, (key_states, value_states), strict=True):
            memory[:, :, start:end] = states
        self.keys, self.values = (memory[:, :, :end] for memory in self.memory)
        return self.keys, self.values

    def _reserve(self, states: torch.Tensor) -> torch.Tensor:
        rows, heads, _, size = states.shape
        return states.new_empty(rows, heads, self.length, size)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows only."""
        end = self.get_seq_length()
        self.memory = [memory[indices] for memory in self.memory]
        self.keys, self.values = (memory[:, :, :end] for memory in self.memory)
