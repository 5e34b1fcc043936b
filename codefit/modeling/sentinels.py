"""Fill-in-the-middle for bases without sentinels (Phi, CodeGen, Llama): new tokens that are trained with the adapter.

They are spelled as in StarCoder, which editors recognise (codefit/fim.py). A new token is initialised with the mean of
all tokens. The adapter trains and stores only the rows of these tokens in the input embedding. An untied output layer
keeps the mean for them, since no completion contains one. Where the embedding has no free rows it grows, and it grows
in the same way when the adapter is attached.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from codefit import fim
from codefit.modeling import loading
from codefit.records import Pair, read_jsonl


def missing(tokenizer: Any, datasets: Iterable[Path]) -> tuple[str, ...]:
    """Return the sentinels that training on these data sets adds to a tokenizer; () where it has some or needs none."""
    if fim.detect(tokenizer.get_vocab()):
        return ()
    pairs = (pair for folder in datasets for pair in read_jsonl(folder / "train.jsonl", Pair))
    return fim.BASE.sentinels if any(pair.suffix is not None for pair in pairs) else ()


@torch.no_grad()
def add(tokenizer: Any, model: Any, sentinels: tuple[str, ...]) -> list[int]:
    """Add sentinels to a tokenizer and its model, and return their ids."""
    tokenizer.add_tokens(list(sentinels), special_tokens=True)
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(sentinels))
    loading.grow(model, max(ids) + 1)
    table = model.get_input_embeddings().weight
    table[ids] = table[: min(ids)].float().mean(0).to(table.dtype)
    return ids
