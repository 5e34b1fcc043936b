"""The rows of data that an initialisation of LoRA looks at before training."""

import random
import sys
from pathlib import Path

import torch

from codefit import encoding, records
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.records import Pair

TOKENS = 1 << 15  # that are looked at; CorDA's authors use 256 rows of 2,048 for layers seven times as wide
ROW = 512  # tokens


def rows(folder: Path, encoder: Encoder, seed: int) -> list[dict[str, torch.Tensor]]:
    """Return rows of joined training pairs of a data set, each {"input_ids": shape (1, tokens), int64}.

    Pairs of a row see each other, which changes little of what a layer sees.

    Raises:
        UserError: the data set has no usable pairs.
    """
    pairs = list(records.read_jsonl(folder / "train.jsonl", Pair))
    random.Random(seed).shuffle(pairs)
    samples, _ = encoding.encode(iter(pairs), encoder, sys.maxsize, TOKENS)
    ids = [token for sample in samples for token in sample.ids.tolist()][:TOKENS]
    if not ids:
        raise UserError(f"{folder} has no usable rows to look at before training; prepare more files.")
    return [{"input_ids": torch.tensor([ids[start : start + ROW]])} for start in range(0, len(ids), ROW)]
