"""The likelihood of references under a model, in nats: the basis of perplexity and bits per byte."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from codefit import console
from codefit.encoding import Encoder
from codefit.generation import kv_cache, reference_nats
from codefit.generation.batched import batches
from codefit.generation.prediction_cache import PredictionCache
from codefit.records import Pair


def completion_nats(
    model: Any,
    encoder: Encoder,
    pairs: Sequence[Pair],
    tokens_per_batch: int = 16384,
    cache: PredictionCache | None = None,
    do_progress: bool = False,
) -> list[tuple[float, int]]:
    """Return the negative log-likelihood of each pair's completion given its prompt, and its number of tokens.

    End-of-sequence is not counted, so that a model that has learned where to stop and one that has not are compared on
    the same tokens. A completion without tokens costs 0 nats.

    Args:
        model: a causal language model in eval mode.
        encoder: the encoder that also makes the prompts for generation.
        pairs: prompts and their references.
        tokens_per_batch: rows times the longest row stays within this, but a batch has at least one row.
        cache: earlier results of this model; batches found in it are not computed again, others are added.
        do_progress: show a progress bar.

    Returns:
        (nats, tokens) per pair, in the order of the pairs.
    """
    prompts = [encoder.pair_ids(pair) for pair in pairs]
    completions = encoder.ids([pair.completion for pair in pairs])
    done = nats_of(model, encoder.pad_id, prompts, completions, tokens_per_batch, cache)
    found = dict(console.progress(done, "likelihood", len(pairs), "pair") if do_progress else done)
    return [(found[index], len(completions[index])) for index in range(len(pairs))]


def nats_of(
    model: Any,
    pad_id: int,
    prompts: list[list[int]],
    completions: list[list[int]],
    tokens_per_batch: int = 16384,
    cache: PredictionCache | None = None,
) -> Iterator[tuple[int, float]]:
    """Yield (index, nats) of completions given their prompts, as token ids; the longest rows come first."""
    rows = [prompt + completion for prompt, completion in zip(prompts, completions, strict=True)]
    if model.device.type == "cpu":
        tokens_per_batch = min(tokens_per_batch, kv_cache.TOKENS_AT_ONCE_ON_CPU)
    for batch in batches([len(row) for row in rows], tokens_per_batch):
        batch_rows = [rows[index] for index in batch]
        lengths = [len(completions[index]) for index in batch]
        request = {"kind": "nats", "rows": batch_rows, "lengths": lengths}
        nats = cache.get(request) if cache else None
        if nats is None:
            nats = _batch_nats(model, kv_cache.left_padded(batch_rows, pad_id, model.device), lengths)
            if cache:
                cache.put(request, nats)
        yield from zip(batch, nats, strict=True)


@torch.inference_mode()
def _batch_nats(model: Any, rows: kv_cache.PaddedPrompts, lengths: list[int]) -> list[float]:
    """Return the nats of the last `lengths` tokens of each row, one number per row.

    Logits are computed only for the positions of the longest completion.
    """
    width = max(lengths)
    found = rows.forward(model, None, logits_to_keep=width + 1)
    ends = zip(found[:, :-1], rows.ids.tolist(), lengths, strict=True)
    return [reference_nats.nats(logits[width - length :], ids[len(ids) - length :]) for logits, ids, length in ends]


@torch.inference_mode()
def next_token_log_probabilities(model: Any, prompts: list[list[int]]) -> torch.Tensor:
    """Return the model's log-probabilities of the token after each prompt, shape (prompts, vocabulary), float32."""
    rows = []
    for ids in prompts:
        logits = kv_cache.left_padded([ids], 0, model.device).forward(model, None)[0, -1]
        rows.append(torch.log_softmax(logits.float(), -1).cpu())
    return torch.stack(rows)
