"""The KV cache of a batch, in memory that is allocated once; prompts are prefilled in chunks, a shared prefix once.

Transformers' own cache copies its whole content at every token. On a CPU, prefill is faster in chunks whose activations
fit into the processor's cache: 128 prompts of 128 tokens took data/base 2.7 s of CPU time in chunks of 2,048 tokens,
and 3.4 s in one piece.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer

from codefit.errors import UserError, first_line

TOKENS_AT_ONCE_ON_CPU = 2048


@dataclasses.dataclass(slots=True)
class PaddedPrompts:
    """Left-padded token ids, their attention mask and position ids, each of shape (rows, n), int64.

    Where the prompts share a prefix of `shared` tokens, ids and positions hold only what follows it; the mask, of shape
    (rows, shared + n), covers both.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    shared: int = 0

    def __getitem__(self, rows: Any) -> "PaddedPrompts":
        return PaddedPrompts(self.ids[rows], self.mask[rows], self.positions[rows], self.shared)

    def forward(self, model: Any, cache: Any, logits_to_keep: int = 1) -> torch.Tensor:
        """Return the logits at the last positions, shape (rows, logits_to_keep, vocabulary), in the model's dtype.

        Raises:
            UserError: the architecture cannot continue a text from a cache, or a text is longer than its table of
                positions.
        """
        try:
            output = model(
                input_ids=self.ids,
                attention_mask=None if self.mask.all() else self.mask,
                position_ids=self.positions,
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=logits_to_keep,
            )
        except torch.OutOfMemoryError:
            raise
        except IndexError:  # positions are embeddings, as in GPT-2
            raise UserError(
                f"a prompt with its reference has {int(self.positions.max()) + 1} tokens, more than the positions that "
                "the model has learned; prepare the data with a lower --max_prompt_tokens, or leave out rows with long "
                "references."
            ) from None
        except (RuntimeError, ValueError) as error:
            if cache is None:
                raise
            raise _without_cache(model, first_line(error)) from None
        if cache is not None and not any(torch.is_tensor(value) for it in cache.layers for value in vars(it).values()):
            raise _without_cache(model, "it leaves the cache empty")
        logits: torch.Tensor = output.logits
        return logits


def _without_cache(model: Any, reason: str) -> UserError:
    return UserError(
        f"a model of the architecture {model.config.model_type} cannot write completions in codefit: it does not "
        f"continue from a KV cache as other models do ({reason}); use another base model."
    )


def left_padded(rows: Sequence[list[int]], pad_id: int, device: Any, shared: int = 0) -> PaddedPrompts:
    """Return rows of token ids with padding on the left, without their first `shared` tokens."""
    longest = max(map(len, rows)) - shared
    ids = [[pad_id] * (longest - len(row) + shared) + row[shared:] for row in rows]
    mask = [[1] * shared + [0] * (longest - len(row) + shared) + [1] * (len(row) - shared) for row in rows]
    covered = torch.tensor(mask, device=device)
    positions = (covered.cumsum(-1) - 1).clamp(min=0)[:, shared:]
    return PaddedPrompts(torch.tensor(ids, device=device), covered, positions, shared)


def new_cache(model: Any, rows: int, length: int) -> Any:
    """Return an empty KV cache with room for `rows` rows of `length` tokens."""
    cache = DynamicCache(config=model.config)
    layers: Any = [ReservedLayer(rows, length) if type(it) is DynamicLayer else it for it in cache.layers]
    cache.layers = layers
    return cache


def is_plain(model: Any) -> bool:
    """Return whether every layer attends to all earlier tokens; a sliding window would count padding after a prefix."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def rows_at_once(model: Any, rows: PaddedPrompts) -> int:
    """Return how many rows are prefilled together; on a GPU all of them, since chunks do not help there."""
    if model.device.type != "cpu" or not is_plain(model):
        return len(rows.ids)
    return max(1, TOKENS_AT_ONCE_ON_CPU // rows.ids.shape[1])


def prefill(model: Any, cache: Any, prefix: list[int], rows: PaddedPrompts) -> torch.Tensor:
    """Prefill an empty KV cache with the prompts of a batch, and return the logits at their last tokens.

    Args:
        model: a causal language model in eval mode.
        cache: from `new_cache`.
        prefix: the tokens that all rows share, prefilled once; empty where the layers are not plain (`is_plain`).
        rows: what follows the prefix.

    Returns:
        logits of shape (rows, vocabulary), in the model's dtype.
    """
    count = len(rows.ids)
    if prefix:
        look_at(cache, slice(0, 1), 0)
        left_padded([prefix], 0, rows.ids.device).forward(model, cache)
        for layer in cache.layers:
            layer.spread(len(prefix))
    pieces = []
    size = rows_at_once(model, rows)
    for at in range(0, count, size):
        if size < count or prefix:
            look_at(cache, slice(at, at + size), len(prefix))
        pieces.append(rows[at : at + size].forward(model, cache)[:, -1])
    if size < count:
        look_at(cache, slice(0, count), len(prefix) + rows.ids.shape[1])
    return torch.cat(pieces)


def look_at(cache: Any, rows: slice, tokens: int) -> None:
    """Restrict the cache to these rows and their first `tokens` tokens; the next forward pass continues there."""
    for layer in cache.layers:
        layer.look_at(rows, tokens)


class ReservedLayer(DynamicLayer):
    """Keys and values of one layer, shape (rows, key/value heads, length, head size), in memory allocated once."""

    def __init__(self, rows: int, length: int) -> None:
        super().__init__()
        self.size = rows, length
        self.shown = slice(0, rows)
        self.memory: list[torch.Tensor] = []

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Append states of new tokens, shape (rows, key/value heads, tokens, head size), and return those of all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.memory = [self._reserve(key_states), self._reserve(value_states)]
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        for memory, states in zip(self.memory, (key_states, value_states), strict=True):
            memory[self.shown, :, start:end] = states
        self.look_at(self.shown, end)
        return self.keys, self.values

    def look_at(self, rows: slice, tokens: int) -> None:
        """Restrict keys and values to these rows and their first `tokens` tokens."""
        self.shown = rows
        if self.memory:
            self.keys, self.values = (memory[rows, :, :tokens] for memory in self.memory)

    def spread(self, tokens: int) -> None:
        """Copy the first `tokens` tokens of the first row to all rows."""
        for memory in self.memory:
            memory[1:, :, :tokens] = memory[:1, :, :tokens]

    def _reserve(self, states: torch.Tensor) -> torch.Tensor:
        """Return memory for states like these, of their dtype; shape (rows, key/value heads, length, head size)."""
        rows, length = self.size
        return states.new_empty(rows, states.shape[1], length, states.shape[3])

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows with these indices, shape (rows,), int64, ascending; the memory is not freed."""
        tokens = self.get_seq_length()
        moved = [(to, row) for to, row in enumerate(indices.tolist()) if to != row]
        for memory in self.memory:
            for to, row in moved:
                memory[to, :, :tokens] = memory[row, :, :tokens]
        self.look_at(slice(0, len(indices)), tokens)
