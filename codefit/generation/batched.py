"""Fast generation for many prompts, greedy or sampled: length-sorted batches that shrink as rows finish.

Prompts are padded on the left, so that the next token of every row is in the same column; the attention mask and the
position ids hide the padding. Prompts with a long common prefix (few-shot examples, repository context) form batches of
their own, in which the prefix is prefilled once.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from codefit import console
from codefit.generation import reference_nats
from codefit.generation.kv_cache import PaddedPrompts, is_plain, left_padded, new_cache, prefill
from codefit.generation.nucleus import Nucleus
from codefit.generation.prediction_cache import PredictionCache
from codefit.generation.stopping import StopRule

LEAVE_SHARE = 0.25  # finished rows are removed once they are this share of a batch: removal copies the KV cache
COMMON_START = 64  # prompts that share fewer tokens than this are not grouped
# A separate batch costs one decoding step per new token, and a step of a small batch takes as long as prefilling this
# many tokens: 28 with data/base on a CPU.
TOKENS_PER_STEP = 32
# By default a batch has as many tokens as fit into a KV cache of CACHE_BYTES, and at most MOST_TOKENS: with data/base
# on two cores, 16,384 took 1.09 times as long as 32,768, and 65,536 took as long.
CACHE_BYTES, MOST_TOKENS = 4e9, 32768


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """A generated completion.

    Attributes:
        ids: token ids without end-of-sequence.
        finish_reason: "stop" or "length".
        nats: the nats of the prompt's reference, where they were computed from the same prefill.
        entropy: of the distribution of the first token after the prompt, in bits, where it was computed.
    """

    ids: list[int]
    finish_reason: str
    nats: float | None = None
    entropy: float | None = dataclasses.field(default=None, compare=False)


def generate(
    model: Any,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    pad_id: int,
    tokens_per_batch: int = 16384,
    stop: StopRule | None = None,
    nucleus: Nucleus | None = None,
    references: Sequence[list[int]] | None = None,
    cache: PredictionCache | None = None,
    do_progress: bool = False,
) -> list[Completion]:
    """Return the completion of each prompt, in the order of the prompts.

    Args:
        model: a causal language model in eval mode.
        prompts: token ids, at least one each.
        max_new_tokens: limit of new tokens.
        eos_ids: tokens that end a completion; they are not part of it.
        pad_id: any valid token id; it does not change the result.
        tokens_per_batch: rows times (longest prompt + what follows it) stays within this, but a batch has at least one
            row; what follows is max_new_tokens, or the longest reference if that is longer.
        stop: a stop condition in addition to end-of-sequence; the token that meets it is part of the completion.
        nucleus: how tokens are sampled; decoding is greedy when None.
        references: the reference of each prompt, as token ids; their nats are computed too, for models with plain
            layers (`is_plain`).
        cache: earlier results of this model; batches found in it are not computed again, others are added.
        do_progress: show a progress bar, of the tokens that are read and written.

    Raises:
        ValueError: a prompt has no tokens.
    """
    if not all(prompts):
        raise ValueError("a prompt without tokens cannot be continued")
    scored = references if references is not None and is_plain(model) else None

    how = _Decoding(max_new_tokens, frozenset(eos_ids), stop, nucleus, pad_id)
    planned = plan(prompts, max_new_tokens, tokens_per_batch, is_plain(model), scored)
    total = sum(map(len, prompts)) + len(prompts) * max_new_tokens
    with console.bar("generating", total, "token", shown=do_progress) as bar:
        completions = dict(_completions(model, prompts, planned, how, scored, cache, bar.update))
    return [completions[index] for index in range(len(prompts))]


@dataclasses.dataclass(frozen=True, slots=True)
class _Decoding:
    """How the tokens of completions are chosen, and where completions end."""

    max_new_tokens: int
    eos_ids: frozenset[int]
    stop: StopRule | None
    nucleus: Nucleus | None
    pad_id: int

    @property
    def request(self) -> dict[str, Any]:
        """What identifies it in the cache of predictions."""
        named = {"nucleus": self.nucleus.name} if self.nucleus else {}
        ends = {"eos_ids": sorted(self.eos_ids), "stop": self.stop and self.stop.name}
        return {"kind": "completions", "max_new_tokens": self.max_new_tokens, **ends, **named}


def _completions(
    model: Any,
    prompts: Sequence[list[int]],
    planned: Sequence[tuple[int, list[int]]],
    how: _Decoding,
    references: Sequence[list[int]] | None,
    cache: PredictionCache | None,
    advance: Callable[[int], Any],
) -> Iterator[tuple[int, Completion]]:
    """Yield (index of the prompt, completion) of all batches; `advance` is told how many more tokens are done."""
    for shared, batch in planned:
        wanted = [references[index] for index in batch] if references is not None else None
        rows = [prompts[index] for index in batch]
        request = {**how.request, "shared": shared, "rows": rows} | ({"references": wanted} if wanted else {})
        stored = cache.get(request) if cache else None
        if stored is not None:
            advance(sum(map(len, rows)) + len(rows) * how.max_new_tokens)
            yield from ((index, Completion(*entry)) for index, entry in zip(batch, stored, strict=True))
            continue
        found: dict[int, Completion] = {}
        for row, completion in _batch(model, rows, shared, how, wanted, advance):
            found[row] = completion
            yield batch[row], completion
        if cache:
            cache.put(request, [dataclasses.astuple(found[row]) for row in range(len(rows))])


# ---------------------------------------------------------------------------------------------- batches


def tokens_that_fit(model: Any) -> int:
    """Return how many tokens a batch may have for a model (which may be on "meta"), by MOST_TOKENS and CACHE_BYTES."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    bytes_per_token = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    return min(MOST_TOKENS, max(1, int(CACHE_BYTES / bytes_per_token)))


def batches(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Return batches of indices, the longest rows first, each of at most tokens_per_batch including padding.

    The longest come first, so that a batch that does not fit into memory fails at the start and not after an hour.
    """
    result: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if not result or (len(result[-1]) + 1) * lengths[result[-1][0]] > tokens_per_batch:
            result.append([])
        result[-1].append(index)
    return result


def plan(
    prompts: Sequence[list[int]],
    new_tokens: int,
    tokens_per_batch: int,
    may_share: bool = True,
    references: Sequence[list[int]] | None = None,
) -> list[tuple[int, list[int]]]:
    """Return batches of prompt indices, each with the length in tokens of the prefix that its prompts share.

    Args:
        prompts: token ids.
        new_tokens: limit of new tokens per prompt.
        tokens_per_batch: as for `batches`.
        may_share: whether to look for shared prefixes.
        references: token ids that are scored after each prompt, and that a batch needs room for.
    """
    groups = _groups(prompts, TOKENS_PER_STEP * new_tokens) if may_share else [(0, list(range(len(prompts))))]
    found = []
    for shared, group in groups:
        parts = batches([len(prompts[index]) + new_tokens for index in group], tokens_per_batch)
        found += [(shared, [group[at] for at in part]) for part in parts]
    found.sort(key=lambda batch: -len(prompts[batch[1][0]]))
    if references is None:
        return found
    return [
        (shared, part)
        for shared, batch in found
        for part in _parts(batch, prompts, references, new_tokens, tokens_per_batch)
    ]


def _parts(
    batch: Sequence[int],
    prompts: Sequence[list[int]],
    references: Sequence[list[int]],
    new_tokens: int,
    tokens_per_batch: int,
) -> list[list[int]]:
    """Return the parts of a batch, sorted by their references, so that a long one makes only its own part smaller."""
    longest = max(len(prompts[index]) for index in batch)
    parts: list[list[int]] = []
    for index in sorted(batch, key=lambda index: len(references[index])):  # little padding of references
        width = longest + max(new_tokens, len(references[index]))
        if not parts or (len(parts[-1]) + 1) * width > tokens_per_batch:
            parts.append([])
        parts[-1].append(index)
    return parts


def _groups(prompts: Sequence[list[int]], worth: int) -> list[tuple[int, list[int]]]:
    """Return (prefix length, prompt indices): groups whose prefix saves `worth` tokens of prefill, then the rest."""
    in_order = sorted(range(len(prompts)), key=lambda index: (prompts[index], index))
    found: list[tuple[int, list[int]]] = []
    rest: list[int] = []
    for _, same_start in itertools.groupby(in_order, key=lambda index: prompts[index][:COMMON_START]):
        group = list(same_start)
        shared = _common(prompts[group[0]], prompts[group[-1]])  # in sorted order the first and last differ most
        if len(group) > 1 and (len(group) - 1) * shared >= worth and shared >= COMMON_START:
            found.append((shared, sorted(group)))
        else:
            rest += group
    return [*found, (0, sorted(rest))] if rest else found


def _common(one: list[int], other: list[int]) -> int:
    """Return the length of the common prefix of two prompts; at least one token of each is left out of it."""
    most = min(len(one), len(other)) - 1
    return next((at for at in range(most) if one[at] != other[at]), most)


# ---------------------------------------------------------------------------------------------- one batch


@torch.inference_mode()
def _batch(
    model: Any,
    prompts: Sequence[list[int]],
    shared: int,
    how: _Decoding,
    references: Sequence[list[int]] | None,
    advance: Callable[[int], Any],
) -> Iterator[tuple[int, Completion]]:
    """Yield (row, completion) of one batch as the rows finish; `advance` is told how many more tokens are done."""
    nucleus, max_new_tokens = how.nucleus, how.max_new_tokens
    room = max([max_new_tokens, *map(len, references or ())])
    cache = new_cache(model, len(prompts), max(map(len, prompts)) + room)
    state = left_padded(prompts, how.pad_id, model.device, shared)
    written: dict[int, list[int]] = {row: [] for row in range(len(prompts))}
    rows = list(written)  # the row of the batch for each row of the tensors
    numbers = [nucleus.numbers(prompt) for prompt in prompts] if nucleus else []
    logits = prefill(model, cache, prompts[0][:shared], state)
    nats = reference_nats.after_prefill(model, cache, state, logits, references) if references else [None] * len(rows)
    entropies = reference_nats.entropies(logits)
    advance(sum(map(len, prompts)))
    for step in range(max_new_tokens):
        if step:
            logits = state.forward(model, cache)[:, -1]
        chosen = nucleus.draw(logits, [numbers[row].random() for row in rows]) if nucleus else logits.argmax(-1)
        unfinished = len(written)
        for row, completion in _ended(rows, chosen.tolist(), written, how):
            yield row, dataclasses.replace(completion, nats=nats[row], entropy=entropies[row])
        spared = (unfinished - len(written)) * (max_new_tokens - step - 1)  # of rows that ended early
        advance(unfinished + spared)
        if not written:
            return
        mask = torch.cat([state.mask, state.mask.new_ones(len(rows), 1)], dim=1)
        state = PaddedPrompts(chosen[:, None], mask, state.positions[:, -1:] + 1)
        if len(written) <= len(rows) * (1 - LEAVE_SHARE):
            kept = torch.tensor([at for at, row in enumerate(rows) if row in written], device=mask.device)
            rows, state = list(written), state[kept]
            cache.batch_select_indices(kept)
    for row, tokens in written.items():
        yield row, Completion(tokens, "length", nats[row], entropies[row])


def _ended(
    rows: list[int], tokens: list[int], written: dict[int, list[int]], how: _Decoding
) -> Iterator[tuple[int, Completion]]:
    """Append a token to each unfinished row; yield the rows that finish with it and remove them from `written`."""
    for row, token in zip(rows, tokens, strict=True):
        if row not in written:
            continue
        if token not in how.eos_ids:
            written[row].append(token)
        if token in how.eos_ids or (how.stop and how.stop.has_ended(written[row])):
            yield row, Completion(written.pop(row), "stop")
