"""Runs train.py with its weights sharded over processes of this CPU, as FSDP2 shards them over GPUs.

torch shards on any device, but accelerate 1.15 asks it to only where processes have accelerators, and makes DDP of
FSDP on a CPU without a word. So it is told that these have; all the rest, gloo's transfers included, is what runs.

Several commands, with `then` between them, are run in one start of the processes.
"""

import itertools
import os
import sys
from typing import Any

from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

import train

begin = PartialState.__init__


def sharded(self: Any, *words: Any, **options: Any) -> None:
    begin(self, *words, **options)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


def main() -> None:
    # what `accelerate launch` sets for the flags in docs/scaling.md
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT"}
    os.environ |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}
    PartialState.__init__ = sharded
    for is_break, words in itertools.groupby(sys.argv[1:], lambda word: word == "then"):
        if not is_break:
            train.main(list(words))
            print(f"weights: {AcceleratorState().distributed_type.name}")
