"""What a benchmark was asked to do, and what is settled before anything is loaded. Needs no torch.

benchmarking.py makes BenchmarkSettings of its flags; `contenders.resolve` settles what they leave open. Everything
after it takes the narrow settings.
"""

import dataclasses
from typing import Literal

from codefit.generation.decoding import Decoding

Backend = Literal["transformers", "vllm"]


@dataclasses.dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """What the user asked for; what is None is left to the metadata of the first adapted model.

    Attributes:
        adapted: folders or Hub ids of the adapted models.
        base: folder or Hub id of their base.
        few_shot: training pairs in the prompts of the few-shot base; 0 is no such model.
        load_in_4bit: whether models are loaded in 4 bits.
        benchmarks: "heldout", a name of benchmarks/formats.py, or the path of a file.
        dataset: prepared data set of the held-out pairs and the training data.
        split: of the data set.
        forgetting: data set or file of unrelated code.
        sample: prompts of each benchmark; 0 is all.
        seed: of the sample, the examples and the intervals.
        max_new_tokens: most tokens of a prediction, where a benchmark says nothing else.
        max_prompt_tokens: most tokens of a prompt.
        tokens_per_batch: rows times the longest row.
        decoding: how tokens are chosen.
        backend: what writes the predictions.
        with_cache: whether earlier predictions are taken from disk, and new ones stored.
        execute: whether tests are run on what the models wrote.
    """

    adapted: tuple[str, ...]
    base: str | None
    few_shot: int
    load_in_4bit: bool | None
    benchmarks: tuple[str, ...]
    dataset: str | None
    split: str
    forgetting: str | None
    sample: int
    seed: int
    max_new_tokens: int
    max_prompt_tokens: int | None
    tokens_per_batch: int | None
    decoding: Decoding
    backend: Backend
    with_cache: bool
    execute: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class QuestionSettings:
    """Which prompts are asked; the attributes are those of BenchmarkSettings."""

    benchmarks: tuple[str, ...]
    dataset: str
    split: str
    forgetting: str | None
    sample: int
    seed: int
    max_new_tokens: int
    execute: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class InferenceSettings:
    """How models are asked; the attributes are those of BenchmarkSettings."""

    max_prompt_tokens: int
    tokens_per_batch: int
    decoding: Decoding
    load_in_4bit: bool
    backend: Backend
    with_cache: bool
    few_shot: int
    seed: int
